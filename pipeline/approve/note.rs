//! Owns checkpoints: C2SP signed notes with the origin, size and root of a log, signed with the
//! pipeline's Ed25519 key, and witnesses' cosignatures on them. Called by the log and the verifiers.
//!
//! Formats: c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature (cosignature/v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::merkle::Hash;
use super::{ApproveError, PipelineKey, VerifyingKey};

const ED25519: u8 = 0x01;
const COSIGNATURE_V1: u8 = 0x04;
/// A checkpoint with a dozen cosignatures is two kilobytes.
pub(super) const NOTE_BYTES_MAX: usize = 64 * 1024;

/// What a checkpoint says, once a signature on it has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// A witness whose cosignature held, and when it says that it saw the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    pub name: String,
    pub seen_s: u64,
}

impl Checkpoint {
    /// The three lines that are signed.
    #[must_use]
    pub fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// The signed note.
    pub fn sign(&self, key: &PipelineKey) -> Result<String, ApproveError> {
        let body = self.body();
        let mut bytes = key_id(&self.origin, ED25519, &key.verifying_key().raw()?).to_vec();
        bytes.extend(key.sign(body.as_bytes())?);
        Ok(format!(
            "{body}\n\u{2014} {} {}\n",
            self.origin,
            STANDARD.encode(bytes)
        ))
    }

    /// Reads a note that one of the log's keys signed under its origin.
    pub fn verify(note: &str, keys: &[VerifyingKey]) -> Result<Self, String> {
        let (body, signatures) = parts(note)?;
        let checkpoint = Self::parse(&body)?;
        for (name, bytes) in &signatures {
            if *name != checkpoint.origin {
                continue;
            }
            for key in keys {
                let raw = key.raw().map_err(|error| error.to_string())?;
                let id = key_id(name, ED25519, &raw);
                if bytes.get(..4) == Some(&id)
                    && bytes
                        .get(4..)
                        .is_some_and(|sig| key.verifies(body.as_bytes(), sig))
                {
                    return Ok(checkpoint);
                }
            }
        }
        Err("no signature on it is by a key of this log".to_owned())
    }

    fn parse(body: &str) -> Result<Self, String> {
        let lines: Vec<&str> = body.lines().collect();
        let [origin, size, root, ..] = lines.as_slice() else {
            return Err("it is no checkpoint".to_owned());
        };
        let number: u64 = size
            .parse()
            .map_err(|_| "its size is no number".to_owned())?;
        if number.to_string() != *size || origin.is_empty() {
            return Err("its size or origin is not in the one form".to_owned());
        }
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| Hash::try_from(bytes).ok())
            .ok_or("its root is no SHA-256 hash")?;
        Ok(Self {
            origin: (*origin).to_owned(),
            size: number,
            root,
        })
    }
}

/// The witnesses among those known whose cosignature on a note holds.
pub fn witnesses(note: &str, known: &[(String, VerifyingKey)]) -> Result<Vec<Witness>, String> {
    let (body, signatures) = parts(note)?;
    let mut seen = Vec::new();
    for (name, key) in known {
        let raw = key.raw().map_err(|error| error.to_string())?;
        let id = key_id(name, COSIGNATURE_V1, &raw);
        for (_, bytes) in signatures.iter().filter(|(other, _)| other == name) {
            let Some((head, sig)) = bytes.split_at_checked(12) else {
                continue;
            };
            let Ok(time) = <[u8; 8]>::try_from(&head[4..]) else {
                continue;
            };
            let seen_s = u64::from_be_bytes(time);
            let message = format!("cosignature/v1\ntime {seen_s}\n{body}");
            if head[..4] == id && key.verifies(message.as_bytes(), sig) {
                seen.push(Witness {
                    name: name.clone(),
                    seen_s,
                });
                break;
            }
        }
    }
    Ok(seen)
}

/// A cosignature line for a note, as a witness makes it: for those who run one with an OpenSSH key.
pub fn cosign(
    note: &str,
    name: &str,
    key: &PipelineKey,
    seen_s: u64,
) -> Result<String, ApproveError> {
    let refuse = |why: String| ApproveError::Refused {
        what: "the checkpoint".to_owned(),
        why,
    };
    let (body, _) = parts(note).map_err(refuse)?;
    let mut bytes = key_id(name, COSIGNATURE_V1, &key.verifying_key().raw()?).to_vec();
    bytes.extend(seen_s.to_be_bytes());
    bytes.extend(key.sign(format!("cosignature/v1\ntime {seen_s}\n{body}").as_bytes())?);
    Ok(format!("\u{2014} {name} {}\n", STANDARD.encode(bytes)))
}

type Signatures = Vec<(String, Vec<u8>)>;

/// The body and the signatures of a note.
fn parts(note: &str) -> Result<(String, Signatures), String> {
    if note.len() > NOTE_BYTES_MAX {
        return Err("it is too large for a checkpoint".to_owned());
    }
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err("it holds control characters".to_owned());
    }
    let (body, signatures) = note.rsplit_once("\n\n").ok_or("it is no signed note")?;
    let body = format!("{body}\n");
    let signatures = signatures
        .strip_suffix('\n')
        .ok_or("it does not end in a line")?;
    let mut out = Vec::new();
    for line in signatures.split('\n') {
        let (name, bytes) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or("a signature line is not in the form of notes")?;
        let bytes = STANDARD
            .decode(bytes)
            .map_err(|_| "a signature is not base64".to_owned())?;
        out.push((name.to_owned(), bytes));
    }
    Ok((body, out))
}

fn key_id(name: &str, kind: u8, raw: &[u8]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', kind]);
    hasher.update(raw);
    let digest = hasher.finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The key as verifiers of notes are given it: `name+id+base64`.
pub fn verifier_key(origin: &str, key: &VerifyingKey) -> Result<String, ApproveError> {
    let raw = key.raw()?;
    let mut bytes = vec![ED25519];
    bytes.extend(&raw);
    Ok(format!(
        "{origin}+{}+{}",
        hex::encode(key_id(origin, ED25519, &raw)),
        STANDARD.encode(bytes)
    ))
}

/// An inclusion proof in the form of c2sp.org/tlog-proof, with the entry as extra data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub entry: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    pub note: String,
}

const PROOF_HEAD: &str = "c2sp.org/tlog-proof@v1";

impl Proof {
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{PROOF_HEAD}\nextra {}\nindex {}\n",
            STANDARD.encode(&self.entry),
            self.index
        );
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a proof and holds it to the log's keys: the entry stands in the log, or this fails.
    pub fn verify(text: &str, keys: &[VerifyingKey]) -> Result<(Self, Checkpoint), String> {
        if text.len() > 4 * NOTE_BYTES_MAX {
            return Err("it is too large for a proof".to_owned());
        }
        let (head, note) = text.split_once("\n\n").ok_or("it is no proof")?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEAD) {
            return Err(format!("it does not begin with {PROOF_HEAD}"));
        }
        let entry = lines
            .next()
            .and_then(|line| line.strip_prefix("extra "))
            .and_then(|line| STANDARD.decode(line).ok())
            .ok_or("it does not hold its entry")?;
        let index: u64 = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|line| line.parse().ok())
            .ok_or("it has no index")?;
        let path = lines
            .map(|line| {
                STANDARD
                    .decode(line)
                    .ok()
                    .and_then(|bytes| Hash::try_from(bytes).ok())
            })
            .collect::<Option<Vec<Hash>>>()
            .ok_or("one of its hashes is none")?;
        let checkpoint = Checkpoint::verify(note, keys)?;
        let leaf = super::merkle::leaf_hash(&entry);
        if !super::merkle::verify_inclusion(&leaf, index, checkpoint.size, &path, &checkpoint.root)
        {
            return Err("the entry does not stand in the log at this place".to_owned());
        }
        let proof = Self {
            entry,
            index,
            path,
            note: note.to_owned(),
        };
        Ok((proof, checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_what_they_were_when_signed() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = PipelineKey::open_or_create(&folder.path().join("key")).unwrap();
        let (other, _) = PipelineKey::open_or_create(&folder.path().join("other")).unwrap();
        let checkpoint = Checkpoint {
            origin: "log.example/a".into(),
            size: 7,
            root: [3; 32],
        };
        let note = checkpoint.sign(&key).unwrap();
        let keys = [key.verifying_key()];
        assert_eq!(Checkpoint::verify(&note, &keys).unwrap(), checkpoint);
        assert!(Checkpoint::verify(&note, &[other.verifying_key()]).is_err());
        for (at, _) in note.char_indices() {
            let mut bent = note.clone().into_bytes();
            bent[at] ^= 1;
            if let Ok(text) = String::from_utf8(bent) {
                assert!(Checkpoint::verify(&text, &keys).is_err(), "byte {at}");
            }
        }
        let cosigned = format!(
            "{note}{}",
            cosign(&note, "w.example", &other, 1_800_000_000).unwrap()
        );
        assert_eq!(Checkpoint::verify(&cosigned, &keys).unwrap(), checkpoint);
        let known = [("w.example".to_owned(), other.verifying_key())];
        let seen = witnesses(&cosigned, &known).unwrap();
        assert_eq!(
            seen,
            [Witness {
                name: "w.example".into(),
                seen_s: 1_800_000_000
            }]
        );
        assert!(witnesses(&note, &known).unwrap().is_empty());
        assert!(
            witnesses(&cosigned.replace("\n7\n", "\n8\n"), &known)
                .unwrap()
                .is_empty()
        );
    }
}
