//! Owns what is signed: manifests and decisions, the policy that says which decisions count, the audit
//! log, and the patches that leave. The only room that sees a private key.
//!
//! It hashes written bytes and never renders anything again: what was reviewed is what is signed.
//! Verification needs neither the lake nor the network; the log lies in the lake's store and is
//! reached through `lake`. Called by `cli`. Formats: docs/manifest.md, docs/approvals.md,
//! docs/audit-log.md.

mod archive;
mod certificate;
mod decision;
mod entry;
mod envelope;
mod export;
mod import;
mod joint;
mod keys;
mod log;
mod log_verify;
mod merkle;
mod note;
mod outcome;
mod policy;
mod quorum;
mod realised;
mod recommendation;
mod record;
mod review;
mod scoreboard;
mod signers;
mod sshsig;
mod statement;
mod strict;
mod verify;

pub use archive::{pack, unpack};
pub use decision::{DECISION_BYTES_MAX, DECISION_TYPE, Decision, Limits, Verb};
pub use entry::{ENTRY_BYTES_MAX, Entry, Kind};
pub use envelope::{Envelope, PAYLOAD_TYPE, pre_authentication_encoding};
pub use export::{Candidate, Exported, ObjectNow, export, objections};
pub use import::{AuthorityFiles, Imported, Incoming, Judged, Verdict, import};
pub use joint::{Ground, share};
pub use keys::{PipelineKey, VerifyingKey};
pub use log::{Head, LOG_LEASE, Log};
pub use log_verify::{Anchor, Audit};
pub use merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};
pub use note::{Checkpoint, Proof, Witness, cosign, verifier_key, witnesses};
pub use outcome::{
    ChangeFate, Fate, Held, Latency, Outcome, Seen, Sight, WhoChanged, follow, held, state,
};
pub use policy::{Policy, authority_sha256};
pub use quorum::{LoggedDecision, Standing, State};
pub use realised::{DAYS_MAX, DAYS_MIN, Day, Realised, realised};
pub use recommendation::{Change, Recommendation, recommendations};
pub use record::{Authority, LoggedManifest, Records};
pub use review::{review, review_decision};
pub use scoreboard::{BAND_MAX, BAND_MIN, SCORES_TO_NARROW, Score, scoreboard};
pub use signers::Signers;
pub use sshsig::{AskPassphrase, DECISION_NAMESPACE, Identified, sign_decision, verify_person};
pub use statement::{ManifestInput, PREDICATE_TYPE, RecommendationEntry, Subject, statement_bytes};
pub use strict::{parse_strict, unseen_character, visible};
pub use verify::{SubjectCheck, VerifiedManifest, verify_envelope, verify_manifest_file};

use std::path::{Path, PathBuf};

use crate::lake::LakeError;

/// A batch of the log holds entries of a run: thousands of decisions at most.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

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
    #[error("cannot write canonical JSON: {0}")]
    Canonical(#[from] crate::model::canonical::FloatInCanonicalJson),
    #[error("cannot sign: {0}")]
    Sign(String),
    /// The bytes are not what was signed, or not signed by this key.
    #[error("`{}` does not verify: {why}", path.display())]
    Rejected { path: PathBuf, why: String },
    /// The same of something that is no file.
    #[error("{what} does not verify: {why}")]
    Refused { what: String, why: String },
    /// What a person gave cannot be used.
    #[error("{what} cannot be used: {why}")]
    Invalid { what: String, why: String },
    #[error(transparent)]
    Lake(#[from] LakeError),
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
        matches!(self, Self::Rejected { .. } | Self::Refused { .. })
    }
}
