//! Owns verification of a manifest: signature first, parsing second, then the files it names.
//!
//! Needs the envelope, a public key and, for the subjects, the folder they stand in: no lake, no
//! network. An envelope has one byte form, so any flipped byte is refused, white space and base64
//! padding included.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::envelope::ENVELOPE_BYTES_MAX;
use super::statement::STATEMENT_TYPE;
use super::strict::parse_strict;
use super::{ApproveError, Envelope, PAYLOAD_TYPE, PREDICATE_TYPE, Subject, VerifyingKey};
use crate::model::canonical::{sha256_hex, to_canonical};

/// What a verified manifest says.
#[derive(Debug)]
pub struct VerifiedManifest {
    /// The fingerprint of the key that signed.
    pub keyid: String,
    pub subjects: Vec<Subject>,
    pub predicate: Value,
    /// How each named file stands to the manifest.
    pub checks: Vec<(String, SubjectCheck)>,
}

/// How a file named by the manifest was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectCheck {
    Matches,
    /// Not beside the manifest: nothing to compare.
    Absent,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementSubject {
    name: String,
    digest: StatementDigest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementDigest {
    sha256: String,
}

/// Verifies a manifest file and every file beside it that it names.
pub fn verify_manifest_file(
    path: &Path,
    key: &VerifyingKey,
) -> Result<VerifiedManifest, ApproveError> {
    let bytes = read_capped(path)?;
    let mut manifest = verify_envelope(path, &bytes, key)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    for subject in &manifest.subjects {
        // A name is data: it must never lead out of the manifest's own folder.
        if subject.name.contains(['/', '\\', '\0']) || subject.name.starts_with('.') {
            return Err(ApproveError::rejected(
                path,
                format!(
                    "it names a subject `{}`, which is no plain file name",
                    subject.name
                ),
            ));
        }
        let file = folder.join(&subject.name);
        let check = match fs::read(&file) {
            Ok(content) if sha256_hex(&content) == subject.sha256 => SubjectCheck::Matches,
            Ok(_) => {
                return Err(ApproveError::rejected(
                    &file,
                    "its bytes are not the ones that the manifest vouches for: restore the \
                     original, or run again for a new manifest",
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SubjectCheck::Absent,
            Err(error) => return Err(ApproveError::file("read", &file, error)),
        };
        manifest.checks.push((subject.name.clone(), check));
    }
    Ok(manifest)
}

/// Verifies the bytes of an envelope; `path` only names them in errors.
pub fn verify_envelope(
    path: &Path,
    bytes: &[u8],
    key: &VerifyingKey,
) -> Result<VerifiedManifest, ApproveError> {
    let reject = |why: &str| ApproveError::rejected(path, why);
    let envelope: Envelope = serde_json::from_slice(bytes)
        .map_err(|error| reject(&format!("it is no DSSE envelope: {error}")))?;
    if envelope.to_bytes()? != bytes {
        return Err(reject(
            "its bytes are not in the form that idleproof writes",
        ));
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(reject(&format!("its payload type is not `{PAYLOAD_TYPE}`")));
    }
    let [signature] = envelope.signatures.as_slice() else {
        return Err(reject("it does not carry exactly one signature"));
    };
    if signature.keyid != key.fingerprint() {
        return Err(reject(&format!(
            "it names the key {}, the key given is {}",
            signature.keyid,
            key.fingerprint()
        )));
    }
    let (Some(payload), Some(sig)) = (
        Envelope::decode(&envelope.payload),
        Envelope::decode(&signature.sig),
    ) else {
        return Err(reject("its payload or signature is not base64"));
    };
    if !key.verifies(
        &super::pre_authentication_encoding(PAYLOAD_TYPE, &payload),
        &sig,
    ) {
        return Err(reject("the signature does not match its content"));
    }

    // From here on the bytes are known to be the signer's.
    let value = parse_strict(&payload, ENVELOPE_BYTES_MAX as usize)
        .map_err(|why| reject(&format!("its payload cannot be used: {why}")))?;
    if to_canonical(&value).ok().map(String::into_bytes).as_deref() != Some(&payload) {
        return Err(reject("its payload is not canonical JSON"));
    }
    let statement: Statement = serde_json::from_value(value)
        .map_err(|error| reject(&format!("its payload is no in-toto statement: {error}")))?;
    if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return Err(reject(&format!("its payload is no `{PREDICATE_TYPE}`")));
    }
    Ok(VerifiedManifest {
        keyid: signature.keyid.clone(),
        subjects: statement
            .subject
            .into_iter()
            .map(|s| Subject {
                name: s.name,
                sha256: s.digest.sha256,
            })
            .collect(),
        predicate: statement.predicate,
        checks: Vec::new(),
    })
}

fn read_capped(path: &Path) -> Result<Vec<u8>, ApproveError> {
    let file = fs::File::open(path).map_err(|error| ApproveError::file("read", path, error))?;
    let mut bytes = Vec::new();
    file.take(ENVELOPE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ApproveError::file("read", path, error))?;
    if bytes.len() as u64 > ENVELOPE_BYTES_MAX {
        return Err(ApproveError::rejected(
            path,
            format!("it is larger than {ENVELOPE_BYTES_MAX} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
