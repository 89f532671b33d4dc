//! Owns the one error type of the lake. Each message says what failed, where, and what to do.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use deltalake_core::DeltaTableError;

use crate::model::time::format_ms;

/// What can go wrong between the rows and the store.
///
/// Causes are part of the message and not `#[source]`: printing the chain would say them twice.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error(
        "cannot use {url:?} as a lake: {reason}; give a local path or a file://, s3://, gs:// or az:// URL"
    )]
    BadUrl { url: String, reason: String },
    #[error("the option {key:?} for the store {url} cannot be used: {reason}; see docs/lake.md")]
    BadOption {
        url: String,
        key: String,
        reason: String,
    },
    #[error(
        "there is no lake at {url}: run `idleproof run` or `idleproof ingest` first, or correct [lake] url"
    )]
    NotALake { url: String },
    #[error(
        "the lake at {url} has format {found}, and this program reads format {known}: use the program that wrote it"
    )]
    UnknownFormat { url: String, found: u64, known: u64 },
    #[error(
        "the store at {url} overwrites an object that exists when asked not to, so two writers would lose each other's rows: it can be read, and is refused for writing; choose a store with conditional puts (docs/lake.md)"
    )]
    NoConditionalPut { url: String },
    #[error(
        "cannot {action} {key}: {cause}; check that the lake's store is reachable and writable"
    )]
    Store {
        action: &'static str,
        key: String,
        cause: Box<object_store::Error>,
    },
    #[error("{key} is damaged: {reason}; restore it from a copy of the lake")]
    Corrupt { key: String, reason: String },
    #[error("the Parquet file cannot be read: {0}; export it anew, or give it as CSV")]
    Foreign(String),
    #[error("cannot {action} the table {table}: {cause}")]
    Delta {
        action: &'static str,
        table: String,
        cause: Box<DeltaTableError>,
    },
    #[error("cannot write Parquet for the table {table}: {cause}")]
    Parquet {
        table: String,
        cause: Box<ParquetError>,
    },
    #[error("cannot arrange rows for the table {table}: {cause}")]
    Arrow {
        table: String,
        cause: Box<ArrowError>,
    },
    #[error("the lake has no table {table}: see pipeline/lake/schema/tables.rs")]
    UnknownTable { table: String },
    #[error(
        "the table {table} of this lake is of another version of this program: {reason}; {todo}"
    )]
    OtherVersion {
        table: String,
        reason: String,
        todo: &'static str,
    },
    #[error("rows do not fit the table {table}: {reason}")]
    Rows { table: String, reason: String },
    #[error("the lease {name} is held by {holder} since {}: wait for it, or raise --lease-wait", format_ms(*since_ms))]
    LeaseHeld {
        name: String,
        holder: String,
        since_ms: i64,
    },
    #[error(
        "the lease {name} (number {number}) was lost to another writer, so nothing more is committed under it: run again"
    )]
    LeaseLost { name: String, number: u64 },
    #[error("the lease {held} does not cover this write, which needs {needed}")]
    WrongLease { held: String, needed: String },
    #[error(
        "gave up committing to {table} after {attempts} conflicts with other writers: run again when fewer write"
    )]
    Contended { table: String, attempts: u32 },
    #[error(
        "windows were replaced {attempts} times while the lake's tables were looked at: run again when fewer write"
    )]
    Unsteady { attempts: u32 },
    #[error(
        "the window {window} of {source_name} in {table} overlaps {existing}, which it does not contain: replace that window whole"
    )]
    WindowOverlap {
        table: String,
        source_name: String,
        window: String,
        existing: String,
    },
    #[error(
        "publication {number} was made by another run meanwhile, so this one is not published: run again"
    )]
    PublicationTaken { number: u64 },
    #[error("there is no publication {number}: the newest is {newest}")]
    NoSuchPublication { number: u64, newest: u64 },
    #[error("evidence {sha256} is not in the lake")]
    NoSuchEvidence { sha256: String },
    #[error("cannot {action}: {cause}")]
    Sql {
        action: String,
        cause: Box<DataFusionError>,
    },
}

impl LakeError {
    pub(crate) fn store(
        action: &'static str,
        key: impl ToString,
        cause: object_store::Error,
    ) -> Self {
        Self::Store {
            action,
            key: key.to_string(),
            cause: Box::new(cause),
        }
    }

    pub(crate) fn delta(action: &'static str, table: &str, cause: DeltaTableError) -> Self {
        Self::Delta {
            action,
            table: table.to_owned(),
            cause: Box::new(cause),
        }
    }

    pub(crate) fn arrow(table: &str, cause: ArrowError) -> Self {
        Self::Arrow {
            table: table.to_owned(),
            cause: Box::new(cause),
        }
    }

    pub(crate) fn parquet(table: &str, cause: ParquetError) -> Self {
        Self::Parquet {
            table: table.to_owned(),
            cause: Box::new(cause),
        }
    }

    pub(crate) fn sql(action: impl Into<String>, cause: DataFusionError) -> Self {
        Self::Sql {
            action: action.into(),
            cause: Box::new(cause),
        }
    }

    /// Whether an object that was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let Self::Store { cause, .. } = self else {
            return false;
        };
        matches!(**cause, object_store::Error::NotFound { .. })
    }

    /// What the store said, without the words about the lake; the whole message otherwise.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Store { cause, .. } => cause.to_string(),
            other => other.to_string(),
        }
    }

    /// Another run holds the lease: exit code 7, while all else about the lake is 5.
    #[must_use]
    pub const fn is_lease_held(&self) -> bool {
        matches!(self, Self::LeaseHeld { .. })
    }
}
