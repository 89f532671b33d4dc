//! Owns the errors of ingest: what failed, where, and what to do.

use std::path::PathBuf;

use super::aliases::AliasError;
use super::kubernetes::KubernetesError;
use super::pivot::PivotError;
use super::prometheus::SourceError;
use super::rows::RowError;
use crate::lake::LakeError;

/// Why a window was not ingested. The lake keeps what it held of that window, or knows it as
/// incomplete.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The read itself: nothing of the window was written.
    #[error("source `{name}`, window {window}: {source}")]
    Source {
        name: String,
        window: String,
        source: SourceError,
    },
    #[error("source `{name}`, window {window}: {source}")]
    Pivot {
        name: String,
        window: String,
        source: PivotError,
    },
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    #[error(transparent)]
    Alias(#[from] AliasError),
    #[error(transparent)]
    Row(#[from] RowError),
    #[error("cannot keep what source `{name}` gave for {window}: {source}")]
    Lake {
        name: String,
        window: String,
        source: LakeError,
    },
    #[error("{what}; {todo}")]
    Config { what: String, todo: &'static str },
}

/// A folder of Kubernetes snapshots that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "cannot read the Kubernetes export {}: {source}; check the path and its permissions",
        path.display()
    )]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{} is no Kubernetes list: {reason}; write it again with `kubectl get … -o json \
         --show-managed-fields`, or take the file out of the folder",
        path.display()
    )]
    List { path: PathBuf, reason: String },
    #[error(
        "{} holds more than {limit} bytes of JSON; split the list over several files",
        path.display()
    )]
    TooLarge { path: PathBuf, limit: u64 },
    #[error(
        "the snapshot folder {} is not named by its time; name it in RFC 3339, as in \
         2026-11-01T06-30-00Z",
        path.display()
    )]
    FolderName { path: PathBuf },
    #[error(
        "two snapshot folders in {} mean the same time {time}; take one of them out",
        path.display()
    )]
    SameTime { path: PathBuf, time: String },
}

impl IngestError {
    /// Whether trying again later may help: the source or the lake cannot be reached.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Source { source, .. } => matches!(
                source,
                SourceError::Remote { .. }
                    | SourceError::Refused { .. }
                    | SourceError::Vanished { .. }
                    | SourceError::Limited { .. }
                    | SourceError::Broken { .. }
            ),
            Self::Kubernetes(error) => error.is_unavailable(),
            Self::Export(export) => matches!(export, ExportError::Io { .. }),
            Self::Lake { source, .. } => {
                matches!(
                    source,
                    LakeError::Store { .. } | LakeError::Contended { .. }
                )
            }
            _ => false,
        }
    }

    /// The lake's own error, which may say that another run holds the lease.
    #[must_use]
    pub fn lake(&self) -> Option<&LakeError> {
        match self {
            Self::Lake { source, .. } => Some(source),
            _ => None,
        }
    }
}
