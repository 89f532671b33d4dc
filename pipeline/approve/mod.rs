//! Owns what is signed: the in-toto statement, the DSSE envelope, the pipeline's key and
//! verification. The only room that sees a private key.
//!
//! It hashes written bytes and never renders anything again: what was reviewed is what is signed.
//! Verification needs neither the lake nor the network. Called by `cli`.

mod envelope;
mod keys;
mod statement;
mod verify;

pub use envelope::{Envelope, PAYLOAD_TYPE, pre_authentication_encoding};
pub use keys::{PipelineKey, VerifyingKey};
pub use statement::{ManifestInput, PREDICATE_TYPE, RecommendationEntry, Subject, statement_bytes};
pub use verify::{SubjectCheck, VerifiedManifest, verify_envelope, verify_manifest_file};

use std::path::{Path, PathBuf};

/// What went wrong while signing or verifying, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    #[error("cannot {what} `{}`: {source}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is not a usable OpenSSH key: {why}; the pipeline signs with an unencrypted Ed25519 key as `ssh-keygen -t ed25519` writes it", path.display())]
    Key { path: PathBuf, why: String },
    #[error("cannot write the manifest: {0}")]
    Canonical(#[from] crate::model::canonical::FloatInCanonicalJson),
    #[error("cannot sign the manifest: {0}")]
    Sign(String),
    /// The bytes are not what was signed, or not signed by this key.
    #[error("`{}` does not verify: {why}", path.display())]
    Rejected { path: PathBuf, why: String },
}

impl ApproveError {
    fn file(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }

    fn rejected(path: &Path, why: impl Into<String>) -> Self {
        Self::Rejected {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// True where a signature or digest did not hold, as opposed to a file that cannot be read.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }
}
