//! Owns signatures of people: SSHSIG over the exact bytes of a file, made with a key file or an
//! agent, and verified as `ssh-keygen -Y verify` does.
//!
//! Namespace and algorithms are fixed lists; a hardware key's signature must say that its owner was
//! present; a certificate may stand where the key does (`certificate`). Private keys live as long as
//! one call. Called by decisions and the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rsa::pkcs1v15::SigningKey;
use rsa::sha2::Sha512;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::{BigUint, RsaPrivateKey};
use ssh_agent_client_rs::{Client, Identity};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, Mpint, PrivateKey, PublicKey, Signature, SshSig,
};
use zeroize::Zeroizing;

use super::ApproveError;
use super::certificate::{self, SK_TRAILER_BYTES};
use super::signers::{Signers, fingerprint, unfit};

/// What people sign under: a signature for git or for another tool is none for a decision.
pub const DECISION_NAMESPACE: &str = "idleproof.decision.v1";

/// A signature file is a few hundred bytes, with RSA two thousand.
const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
/// Bit of a hardware key's flags: somebody touched it.
const USER_PRESENT: u8 = 1;

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    pub principal: String,
    pub fingerprint: String,
}

/// Verifies a signature over a file's bytes and says whose it is at an instant.
pub fn verify_person(
    message: &[u8],
    signature: &[u8],
    signers: &Signers,
    at_ms: i64,
) -> Result<Identified, String> {
    let (key, certificate) = verify_signature(message, signature)?;
    let principal = match &certificate {
        None => signers.principal_of(key.key_data(), DECISION_NAMESPACE, at_ms)?,
        Some(certificate) => signers
            .principal_of_certificate(certificate, DECISION_NAMESPACE, at_ms)
            .map_err(|why| format!("the certificate does not count: {why}"))?,
    };
    Ok(Identified {
        principal,
        fingerprint: fingerprint(key.key_data()),
    })
}

/// The key that made a signature that holds, whoever it belongs to, and the certificate shown with it.
fn verify_signature(
    message: &[u8],
    signature: &[u8],
) -> Result<(PublicKey, Option<Certificate>), String> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err("the signature file is too large".to_owned());
    }
    let (signature, certificate) = certificate::take_out(signature)?;
    let key = verify_plain(message, &signature)?;
    Ok((key, certificate))
}

fn verify_plain(message: &[u8], signature: &[u8]) -> Result<PublicKey, String> {
    let sig = certificate::plain(signature)?;
    if sig.version() != SshSig::VERSION {
        return Err("the signature's version is not 1".to_owned());
    }
    if sig.namespace() != DECISION_NAMESPACE {
        return Err(format!(
            "the signature is for `{}`, not for `{DECISION_NAMESPACE}`: sign with `ssh-keygen -Y sign -n {DECISION_NAMESPACE}`",
            super::visible(sig.namespace())
        ));
    }
    if !matches!(sig.hash_alg(), HashAlg::Sha256 | HashAlg::Sha512) {
        return Err("the signature's hash is neither SHA-256 nor SHA-512".to_owned());
    }
    if let Some(why) = unfit(sig.public_key()) {
        return Err(why);
    }
    let fits = match (sig.public_key().algorithm(), sig.algorithm()) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { hash: Some(_) }) => true,
        (
            key @ (Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256),
            made,
        ) => key == made,
        (
            Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            },
            Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            },
        ) => true,
        _ => false,
    };
    if !fits {
        return Err(format!(
            "the signature's algorithm {} is not its key's, {}",
            sig.algorithm(),
            sig.public_key().algorithm()
        ));
    }
    if matches!(
        sig.algorithm(),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    ) {
        let bytes = sig.signature_bytes();
        let flags = bytes
            .len()
            .checked_sub(SK_TRAILER_BYTES)
            .and_then(|at| bytes.get(at));
        if flags.is_none_or(|flags| flags & USER_PRESENT == 0) {
            return Err("the hardware key was not touched for this signature".to_owned());
        }
    }
    let key = PublicKey::from(sig.public_key().clone());
    key.verify(DECISION_NAMESPACE, message, &sig)
        .map_err(|_| "the signature does not match the file's bytes".to_owned())?;
    Ok(key)
}

/// Asks for a passphrase: the prompt, and back the text.
pub type AskPassphrase<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;

/// Signs with a private key file; with a public key, through the agent that holds its private half
/// (hardware keys are signed with so); with a certificate, through the agent or the private key beside it.
pub fn sign_decision(
    message: &[u8],
    key_path: &Path,
    agent: Option<&Path>,
    ask: AskPassphrase<'_>,
) -> Result<String, ApproveError> {
    let text = private_text(key_path)?;
    let refuse = |why: String| ApproveError::Invalid {
        what: format!("the key `{}`", key_path.display()),
        why,
    };
    let certificate = certificate::of_file(&text).transpose().map_err(refuse)?;
    let sig = if let Some(certificate) = &certificate {
        if let Some(why) =
            certificate::fault(certificate).or_else(|| unfit(certificate.public_key()))
        {
            return Err(refuse(why));
        }
        let public = PublicKey::from(certificate.public_key().clone());
        let beside = private_beside(key_path);
        match (agent, beside) {
            (Some(socket), beside) => {
                match (
                    sign_by_agent(message, &public, Some(certificate), socket),
                    beside,
                ) {
                    (Ok(sig), _) => sig,
                    (Err(_), Some(private)) => sign_by_file(message, &private, &public, ask)?,
                    (Err(why), None) => return Err(refuse(why)),
                }
            }
            (None, Some(private)) => sign_by_file(message, &private, &public, ask)?,
            (None, None) => {
                return Err(refuse(
                    "it is a certificate; its private key is not beside it and SSH_AUTH_SOCK names no agent".to_owned(),
                ));
            }
        }
    } else if text.contains("PRIVATE KEY") {
        sign_with(message, key_path, &text, ask)?
    } else {
        let public = PublicKey::from_openssh(text.trim()).map_err(|error| {
            refuse(format!(
                "it is neither a private nor a public OpenSSH key: {error}"
            ))
        })?;
        if let Some(why) = unfit(public.key_data()) {
            return Err(refuse(why));
        }
        let socket = agent.ok_or_else(|| {
            refuse("it is a public key and SSH_AUTH_SOCK names no agent: start one, or give the private key".to_owned())
        })?;
        sign_by_agent(message, &public, None, socket).map_err(refuse)?
    };
    let mut pem = certificate::pem(&sig).map_err(refuse)?;
    if let Some(certificate) = &certificate {
        pem = certificate::put_in(&pem, certificate).map_err(refuse)?;
    }
    // An agent may sign with an algorithm that nobody accepts (RSA with SHA-1): better known now.
    verify_signature(message, pem.as_bytes()).map_err(refuse)?;
    Ok(pem)
}

/// What may be a private key: overwritten when it is let go.
fn private_text(path: &Path) -> Result<Zeroizing<String>, ApproveError> {
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| ApproveError::file("read the key", path, error))
}

/// `id_ed25519` of `id_ed25519-cert.pub`, where it lies there.
fn private_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix("-cert.pub")?;
    Some(path.with_file_name(name)).filter(|private| private.exists())
}

fn sign_by_file(
    message: &[u8],
    path: &Path,
    certified: &PublicKey,
    ask: AskPassphrase<'_>,
) -> Result<SshSig, ApproveError> {
    let text = private_text(path)?;
    let sig = sign_with(message, path, &text, ask)?;
    if sig.public_key() == certified.key_data() {
        Ok(sig)
    } else {
        Err(ApproveError::Invalid {
            what: format!("the key `{}`", path.display()),
            why: "the certificate beside it is of another key".to_owned(),
        })
    }
}

/// Signs with the text of a private key file.
fn sign_with(
    message: &[u8],
    path: &Path,
    text: &str,
    ask: AskPassphrase<'_>,
) -> Result<SshSig, ApproveError> {
    let refuse = |why: String| ApproveError::Invalid {
        what: format!("the key `{}`", path.display()),
        why,
    };
    let mode = fs::metadata(path)
        .map_err(|error| ApproveError::file("read the key", path, error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(refuse(format!(
            "its mode is {:04o}, so others can read it: run `chmod 600` on it",
            mode & 0o7777
        )));
    }
    let mut key = PrivateKey::from_openssh(text)
        .map_err(|error| refuse(format!("it is no OpenSSH private key: {error}")))?;
    if let Some(why) = unfit(key.public_key().key_data()) {
        return Err(refuse(why));
    }
    if key.is_encrypted() {
        let passphrase = ask(&format!("Passphrase of {}: ", path.display()))
            .map(Zeroizing::new)
            .map_err(|error| refuse(format!("its passphrase was not given: {error}")))?;
        key = key
            .decrypt(passphrase.as_bytes())
            .map_err(|_| refuse("the passphrase does not open it".to_owned()))?;
    }
    if matches!(
        key.algorithm(),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    ) {
        return Err(refuse(
            "it is a hardware key's handle: add it to the agent (`ssh-add`) and give its `.pub`, or sign with `ssh-keygen -Y sign`".to_owned(),
        ));
    }
    match key.key_data() {
        KeypairData::Rsa(pair) => sign_by_rsa(message, pair).map_err(refuse),
        _ => SshSig::sign(&key, DECISION_NAMESPACE, HashAlg::Sha512, message)
            .map_err(|error| refuse(error.to_string())),
    }
}

/// The key crate hands one prime of an RSA key over twice and then refuses its own key (as of 0.6.7), so
/// the key is put together here. Blinded, as timing tells of RSA.
fn sign_by_rsa(message: &[u8], pair: &RsaKeypair) -> Result<SshSig, String> {
    let number = |part: &Mpint| {
        part.as_positive_bytes()
            .map(BigUint::from_bytes_be)
            .ok_or_else(|| "a part of it is no positive number".to_owned())
    };
    let key = RsaPrivateKey::from_components(
        number(&pair.public.n)?,
        number(&pair.public.e)?,
        number(&pair.private.d)?,
        vec![number(&pair.private.p)?, number(&pair.private.q)?],
    )
    .map_err(|error| error.to_string())?;
    let data = SshSig::signed_data(DECISION_NAMESPACE, HashAlg::Sha512, message)
        .map_err(|error| error.to_string())?;
    let made = SigningKey::<Sha512>::new(key)
        .try_sign_with_rng(&mut ssh_key::rand_core::OsRng, &data)
        .map_err(|error| error.to_string())?;
    let algorithm = Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    };
    let signature = Signature::new(algorithm, made.to_vec()).map_err(|error| error.to_string())?;
    SshSig::new(
        pair.public.clone().into(),
        DECISION_NAMESPACE,
        HashAlg::Sha512,
        signature,
    )
    .map_err(|error| error.to_string())
}

fn sign_by_agent(
    message: &[u8],
    public: &PublicKey,
    certificate: Option<&Certificate>,
    socket: &Path,
) -> Result<SshSig, String> {
    let mut client = Client::connect(socket).map_err(|error| {
        format!(
            "the agent at `{}` does not answer: {error}",
            socket.display()
        )
    })?;
    let data = SshSig::signed_data(DECISION_NAMESPACE, HashAlg::Sha512, message)
        .map_err(|error| error.to_string())?;
    let held = client
        .list_all_identities()
        .map_err(|error| format!("the agent does not list its keys: {error}"))?;
    // A hardware key may be held under its certificate alone.
    let known = held.iter().find(|identity| match identity {
        Identity::PublicKey(key) => key.key_data() == public.key_data(),
        Identity::Certificate(known) => {
            certificate.is_some_and(|wanted| wanted.public_key() == known.public_key())
        }
    });
    let Some(known) = known else {
        return Err(format!(
            "the agent does not hold {}: add it with `ssh-add`",
            fingerprint(public.key_data())
        ));
    };
    let signature = client
        .sign_with_ref(known, &data)
        .map_err(|error| format!("the agent did not sign: {error}"))?;
    SshSig::new(
        public.key_data().clone(),
        DECISION_NAMESPACE,
        HashAlg::Sha512,
        signature,
    )
    .map_err(|error| error.to_string())
}
