//! Owns what a command can end with, and which exit code each end has.

use std::path::PathBuf;

use crate::approve::ApproveError;
use crate::config::ConfigError;
use crate::detect::DetectError;
use crate::detect::derive::DeriveError;
use crate::exit::Exit;
use crate::ingest::IngestError;
use crate::inventory::ReadError;
use crate::inventory::batches::BatchError;
use crate::lake::LakeError;
use crate::lake::columns::ColumnError;
use crate::report::ReportError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Inventory(#[from] ReadError),
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error(transparent)]
    Derive(#[from] DeriveError),
    #[error(transparent)]
    Rows(#[from] BatchError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Approve(#[from] ApproveError),
    #[error(transparent)]
    Column(#[from] ColumnError),
    #[error("cannot print a row: {0}")]
    Format(String),
    #[error("cannot write to stdout: {0}")]
    Stdout(std::io::Error),
    #[error("cannot {what} `{}`: {source}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The arguments or the configuration ask for something that is not there.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Verification(String),
    #[error("{0}")]
    Unexpected(String),
}

impl CliError {
    pub(super) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Self::File {
            what,
            path: path.into(),
            source,
        }
    }

    /// The documented exit code of this end.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::Report(_) => Exit::Usage,
            Self::Lake(error) => lake_exit(error),
            Self::Inventory(ReadError::Lake { source, .. }) => lake_exit(source),
            Self::Ingest(error) if error.is_unavailable() => Exit::Unavailable,
            Self::Ingest(error) if error.lake().is_some() => {
                error.lake().map_or(Exit::Unexpected, lake_exit)
            }
            Self::Ingest(_) => Exit::Usage,
            Self::Approve(error) if error.is_rejection() => Exit::Verification,
            Self::Approve(_) | Self::File { .. } => Exit::Usage,
            Self::Verification(_) => Exit::Verification,
            Self::Detect(error) => error.exit(),
            Self::Inventory(_)
            | Self::Column(_)
            | Self::Derive(_)
            | Self::Rows(_)
            | Self::Format(_)
            | Self::Stdout(_)
            | Self::Unexpected(_) => Exit::Unexpected,
        }
    }
}

fn lake_exit(error: &LakeError) -> Exit {
    match error {
        LakeError::LeaseHeld { .. } => Exit::LeaseHeld,
        LakeError::BadUrl { .. }
        | LakeError::NotALake { .. }
        | LakeError::NoSuchPublication { .. }
        | LakeError::NoConditionalPut { .. }
        | LakeError::UnknownFormat { .. }
        | LakeError::OtherVersion { .. }
        | LakeError::Sql { .. } => Exit::Usage,
        _ => Exit::Unavailable,
    }
}
