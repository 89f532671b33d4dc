//! Owns SSH certificates in signatures: taking one out of a signature file and putting one in, and
//! whether it speaks for a person.
//!
//! A certificate stands where the signature has its key, so what is verified is the plain signature
//! with the certified key. Who may issue them, and for whom, are `cert-authority` lines of
//! `allowed_signers`, which `signers` reads. Stricter than `ssh-keygen`: one person a certificate, no
//! critical options, an end. Called by `sshsig` and `signers`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, Certificate, HashAlg, LineEnding, PublicKey, SshSig};

use super::visible;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// As `ssh-keygen` breaks its lines.
const LINE: usize = 70;
/// The flags and the counter of a hardware key.
pub(super) const SK_TRAILER_BYTES: usize = 5;
const SUFFIX: &str = "-cert-v01@openssh.com";
/// `SSHSIG` and the version, which precede the key.
const PREAMBLE_BYTES: usize = 10;

/// A signature file with its certificate, if it has one, and as it would be with the plain key.
pub(super) fn take_out(signature: &[u8]) -> Result<(Vec<u8>, Option<Certificate>), String> {
    let plain = || (signature.to_vec(), None);
    // What is no armour or no signature is the plain reader's to refuse.
    let Some(blob) = dearmoured(signature) else {
        return Ok(plain());
    };
    let Some((key, rest)) = blob.get(PREAMBLE_BYTES..).and_then(string) else {
        return Ok(plain());
    };
    let is_certificate = string(key)
        .and_then(|(name, _)| std::str::from_utf8(name).ok())
        .is_some_and(|name| name.ends_with(SUFFIX));
    if !is_certificate {
        return Ok(plain());
    }
    let certificate = read(key)?;
    let mut bytes = blob[..PREAMBLE_BYTES].to_vec();
    push(&mut bytes, &key_bytes(certificate.public_key())?);
    bytes.extend_from_slice(rest);
    Ok((armoured(&bytes).into_bytes(), Some(certificate)))
}

/// A signature by a plain key as one by its certificate.
pub(super) fn put_in(signature: &str, certificate: &Certificate) -> Result<String, String> {
    let unreadable = || "the signature is not what was made".to_owned();
    let blob = dearmoured(signature.as_bytes()).ok_or_else(unreadable)?;
    let (_, rest) = blob
        .get(PREAMBLE_BYTES..)
        .and_then(string)
        .ok_or_else(unreadable)?;
    let mut bytes = blob[..PREAMBLE_BYTES].to_vec();
    let key = certificate.to_bytes().map_err(|error| error.to_string())?;
    push(&mut bytes, &key);
    bytes.extend_from_slice(rest);
    Ok(armoured(&bytes))
}

/// Reads a certificate's bytes, in their one encoding.
fn read(bytes: &[u8]) -> Result<Certificate, String> {
    let certificate = Certificate::from_bytes(bytes).map_err(|error| unread(&error))?;
    if certificate.to_bytes().ok().as_deref() == Some(bytes) {
        Ok(certificate)
    } else {
        Err("the certificate is not in the one encoding".to_owned())
    }
}

fn unread(error: &ssh_key::Error) -> String {
    format!(
        "the certificate cannot be read ({error}): it must have an end (`ssh-keygen -s CA -V +52w …`)"
    )
}

/// The certificate of a `-cert.pub` file; `None` where the text is none.
pub(super) fn of_file(text: &str) -> Option<Result<Certificate, String>> {
    let kind = text.split_whitespace().next()?;
    kind.ends_with(SUFFIX)
        .then(|| Certificate::from_openssh(text.trim()).map_err(|error| unread(&error)))
}

/// What of a certificate does not depend on who issued it.
pub(super) fn fault(certificate: &Certificate) -> Option<String> {
    if certificate.cert_type() != CertType::User {
        return Some("it is a host's certificate, not a person's".to_owned());
    }
    // `ssh-keygen -Y verify` looks past them; what an issuer calls critical is not to be looked past.
    let critical: Vec<String> = certificate
        .critical_options()
        .keys()
        .map(|name| visible(name))
        .collect();
    (!critical.is_empty()).then(|| {
        format!(
            "it has the critical options {}, which nobody keeps here",
            critical.join(", ")
        )
    })
}

/// Whose it is, of those whom an authority may speak for: one person, or nobody.
pub(super) fn person(certificate: &Certificate, patterns: &str) -> Result<String, String> {
    let [name] = certificate.valid_principals() else {
        return Err(format!(
            "it names {} people, and a decision is one person's",
            certificate.valid_principals().len()
        ));
    };
    if matches(patterns, name) {
        Ok(name.clone())
    } else {
        Err(format!(
            "its authority may not speak for `{}`",
            visible(name)
        ))
    }
}

/// Whether the authority's signature holds, and the certificate at an instant.
pub(super) fn holds(certificate: &Certificate, at_ms: i64) -> bool {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    u64::try_from(at_ms.div_euclid(1000))
        .is_ok_and(|seconds| certificate.validate_at(seconds, [&authority]).is_ok())
}

/// OpenSSH's list of patterns: one must match and none with `!`.
pub(super) fn matches(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if glob(not.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= glob(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// `*` and `?`, without recursion: after the last star everything may be tried again a byte later.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(part) if *part == b'?' || part == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((before, tried)) => {
                    star = Some((before, tried + 1));
                    at = before + 1;
                    from = tried + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|part| *part == b'*')
}

/// The signature's bytes; `None` where this is not the armour that `ssh-keygen` writes.
fn dearmoured(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let body = text
        .trim_end()
        .strip_prefix(BEGIN)?
        .strip_suffix(END)?
        .lines()
        .map(str::trim_end)
        .collect::<String>();
    STANDARD.decode(body).ok()
}

fn armoured(bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = format!("{BEGIN}\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// A string of the SSH wire format, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length <= rest.len()).then(|| rest.split_at(length))
}

fn push(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

fn key_bytes(key: &KeyData) -> Result<Vec<u8>, String> {
    PublicKey::from(key.clone())
        .to_bytes()
        .map_err(|error| error.to_string())
}

/// What stands between the armour's lines, without its line breaks.
pub(super) fn body(pem: &str) -> String {
    pem.lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim_end().chars())
        .collect()
}

/// A signature as a file, as `ssh-keygen` writes it.
///
/// The key crate writes the flags and the counter of a hardware key's ECDSA signature into it instead
/// of behind it (as of 0.6.7), which nobody reads, itself included: those are put together here.
pub(super) fn pem(sig: &SshSig) -> Result<String, String> {
    if sig.algorithm() != Algorithm::SkEcdsaSha2NistP256 {
        return sig
            .to_pem(LineEnding::LF)
            .map_err(|error| error.to_string());
    }
    let bytes = sig.signature_bytes();
    let (made, touch) = bytes
        .len()
        .checked_sub(SK_TRAILER_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(|| "the signature is cut off".to_owned())?;
    let mut answer = Vec::new();
    push(&mut answer, sig.algorithm().as_str().as_bytes());
    push(&mut answer, made);
    answer.extend_from_slice(touch);
    let mut blob = b"SSHSIG".to_vec();
    blob.extend_from_slice(&sig.version().to_be_bytes());
    push(&mut blob, &key_bytes(sig.public_key())?);
    push(&mut blob, sig.namespace().as_bytes());
    push(&mut blob, sig.reserved());
    push(&mut blob, sig.hash_alg().as_str().as_bytes());
    push(&mut blob, &answer);
    Ok(armoured(&blob))
}

/// The plain signature of a file's bytes, in the one encoding.
pub(super) fn plain(signature: &[u8]) -> Result<SshSig, String> {
    let unreadable = |error: String| format!("the signature is no SSH signature: {error}");
    let sig = SshSig::from_pem(signature).map_err(|error| unreadable(error.to_string()))?;
    // Lengths in it that no reader checks would make many files of one signature.
    let again = pem(&sig).map_err(unreadable)?;
    if body(&again) != body(&String::from_utf8_lossy(signature)) {
        return Err("the signature is not in the one encoding".to_owned());
    }
    Ok(sig)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_openssh_s() {
        for (patterns, name, fits) in [
            ("*@example.com", "ada@example.com", true),
            ("*@example.com", "ada@example.com.evil.test", false),
            ("ada,bob", "bob", true),
            ("*,!eve", "eve", false),
            ("!eve", "ada", false),
            ("a?a", "ada", true),
            ("a?a", "aa", false),
            ("*a*a*", "banana", true),
            ("", "", true),
            ("", "ada", false),
        ] {
            assert_eq!(matches(patterns, name), fits, "{patterns} {name}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_left_as_it_is() {
        for bytes in [
            &b""[..],
            b"\xff",
            b"-----BEGIN SSH SIGNATURE-----\n????\n-----END SSH SIGNATURE-----\n",
        ] {
            let (plain, certificate) = take_out(bytes).unwrap();
            assert_eq!((plain.as_slice(), certificate), (bytes, None));
        }
        // A certificate's name and nothing of one.
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        let mut key = Vec::new();
        push(&mut key, b"ssh-ed25519-cert-v01@openssh.com");
        push(&mut blob, &key);
        let error = take_out(armoured(&blob).as_bytes()).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
