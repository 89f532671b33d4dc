//! Owns signatures of people: SSHSIG over the exact bytes of a file, made with a key file or an
//! agent, and verified as `ssh-keygen -Y verify` does.
//!
//! Namespace and algorithms are fixed lists; a hardware key's signature must say that its owner was
//! present. Private keys live as long as one call. Called by decisions and the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ssh_agent_client_rs::{Client, Identity};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use super::ApproveError;
use super::signers::{Signers, fingerprint, unfit};

/// What people sign under: a signature for git or for another tool is none for a decision.
pub const DECISION_NAMESPACE: &str = "idleproof.decision.v1";

/// A signature file is a few hundred bytes, with RSA two thousand.
const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
/// Bit of a hardware key's flags: somebody touched it.
const USER_PRESENT: u8 = 1;
const SK_TRAILER_BYTES: usize = 5;

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
    let key = verify_signature(message, signature)?;
    let principal = signers.principal_of(key.key_data(), DECISION_NAMESPACE, at_ms)?;
    Ok(Identified {
        principal,
        fingerprint: fingerprint(key.key_data()),
    })
}

/// The key that made a signature that holds, whoever it belongs to.
fn verify_signature(message: &[u8], signature: &[u8]) -> Result<PublicKey, String> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err("the signature file is too large".to_owned());
    }
    let sig = SshSig::from_pem(signature)
        .map_err(|error| format!("the signature is no SSH signature: {error}"))?;
    // One encoding: lengths in it that no reader checks would make many files of one signature.
    let again = sig
        .to_pem(LineEnding::LF)
        .map_err(|error| format!("the signature is no SSH signature: {error}"))?;
    if body(&again) != body(&String::from_utf8_lossy(signature)) {
        return Err("the signature is not in the one encoding".to_owned());
    }
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

/// What stands between the armour's lines, without its line breaks.
fn body(pem: &str) -> String {
    pem.lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim_end().chars())
        .collect()
}

/// Asks for a passphrase: the prompt, and back the text.
pub type AskPassphrase<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;

/// Signs with a private key file, or, where the file is a public key, with the agent that holds its
/// private half (hardware keys are signed with so).
pub fn sign_decision(
    message: &[u8],
    key_path: &Path,
    agent: Option<&Path>,
    ask: AskPassphrase<'_>,
) -> Result<String, ApproveError> {
    let text = fs::read_to_string(key_path)
        .map_err(|error| ApproveError::file("read the key", key_path, error))?;
    let refuse = |why: String| ApproveError::Invalid {
        what: format!("the key `{}`", key_path.display()),
        why,
    };
    let sig = if text.contains("PRIVATE KEY") {
        let mode = fs::metadata(key_path)
            .map_err(|error| ApproveError::file("read the key", key_path, error))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!(
                "its mode is {:04o}, so others can read it: run `chmod 600` on it",
                mode & 0o7777
            )));
        }
        let mut key = PrivateKey::from_openssh(&text)
            .map_err(|error| refuse(format!("it is no OpenSSH private key: {error}")))?;
        if let Some(why) = unfit(key.public_key().key_data()) {
            return Err(refuse(why));
        }
        if matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Err(refuse(
                "RSA signs through an agent (`ssh-add`, then give its `.pub`) or with `ssh-keygen -Y sign`".to_owned(),
            ));
        }
        if key.is_encrypted() {
            let passphrase = ask(&format!("Passphrase of {}: ", key_path.display()))
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
        SshSig::sign(&key, DECISION_NAMESPACE, HashAlg::Sha512, message)
            .map_err(|error| refuse(error.to_string()))?
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
        sign_by_agent(message, &public, socket).map_err(refuse)?
    };
    let pem = sig
        .to_pem(LineEnding::LF)
        .map_err(|error| refuse(error.to_string()))?;
    // An agent may sign with an algorithm that nobody accepts (RSA with SHA-1): better known now.
    verify_signature(message, pem.as_bytes()).map_err(refuse)?;
    Ok(pem)
}

fn sign_by_agent(message: &[u8], public: &PublicKey, socket: &Path) -> Result<SshSig, String> {
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
    let known = held.iter().any(|identity| match identity {
        Identity::PublicKey(key) => key.key_data() == public.key_data(),
        Identity::Certificate(_) => false,
    });
    if !known {
        return Err(format!(
            "the agent does not hold {}: add it with `ssh-add`",
            fingerprint(public.key_data())
        ));
    }
    let signature = client
        .sign(public.clone(), &data)
        .map_err(|error| format!("the agent did not sign: {error}"))?;
    SshSig::new(
        public.key_data().clone(),
        DECISION_NAMESPACE,
        HashAlg::Sha512,
        signature,
    )
    .map_err(|error| error.to_string())
}
