//! Owns what can go wrong between a derived lake and its findings, and the exit code of each.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use super::netting::ClaimFault;
use super::query::QueryError;
use crate::exit::Exit;
use crate::lake::LakeError;
use crate::lake::columns::ColumnError;
use crate::model::canonical::FloatInCanonicalJson;

/// Why detection or a replay of it failed.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("detector `{detector}`: {cause}")]
    Columns {
        detector: String,
        cause: ColumnError,
    },
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// A detector that breaks its contract.
    #[error("detector `{detector}`, row {row}: {why}; correct its SQL")]
    Contract {
        detector: String,
        row: usize,
        why: String,
    },
    #[error("detector `{detector}` breaks the ledger: {cause}; correct its claims")]
    Claims { detector: String, cause: ClaimFault },
    #[error("there is no detector `{id}` to set parameters of; there are {known}")]
    UnknownDetector { id: String, known: String },
    #[error("cannot {action}: {cause}")]
    Session {
        action: String,
        cause: DataFusionError,
    },
    #[error("cannot {action}: {cause}")]
    Arrow { action: String, cause: ArrowError },
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Canonical(#[from] FloatInCanonicalJson),
    #[error("the evidence {sha256} cannot be read: {why}")]
    Evidence { sha256: String, why: String },
    #[error("the evidence {sha256} is not what was stored: its digest is {found}")]
    Tampered { sha256: String, found: String },
    #[error("the evidence of run `{run_id}` has no finding `{finding_id}`")]
    NoFinding { run_id: String, finding_id: String },
}

impl DetectError {
    /// The documented exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Query(
                QueryError::Bad { .. }
                | QueryError::UnknownParam { .. }
                | QueryError::BadParam { .. },
            )
            | Self::Columns { .. }
            | Self::Contract { .. }
            | Self::Claims { .. }
            | Self::UnknownDetector { .. } => Exit::Usage,
            Self::Evidence { .. } | Self::Tampered { .. } | Self::NoFinding { .. } => {
                Exit::Verification
            }
            Self::Query(_)
            | Self::Column(_)
            | Self::Session { .. }
            | Self::Arrow { .. }
            | Self::Lake(_)
            | Self::Canonical(_) => Exit::Unexpected,
        }
    }

    pub(super) fn session(action: impl Into<String>) -> impl FnOnce(DataFusionError) -> Self {
        let action = action.into();
        move |cause| Self::Session { action, cause }
    }

    pub(super) fn arrow(action: impl Into<String>) -> impl FnOnce(ArrowError) -> Self {
        let action = action.into();
        move |cause| Self::Arrow { action, cause }
    }
}
