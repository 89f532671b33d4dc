//! As `pipeline/ingest/prometheus/mod.rs`, without the HTTP client.

#[path = "../../../../pipeline/ingest/prometheus/answer.rs"]
mod answer;
#[path = "../answers.rs"]
pub mod answers;
#[path = "../../../../pipeline/ingest/prometheus/chunks/mod.rs"]
pub mod chunks;
#[path = "../../../../pipeline/ingest/prometheus/lines.rs"]
mod lines;
#[path = "../../../../pipeline/ingest/prometheus/matcher.rs"]
mod matcher;
#[path = "../../../../pipeline/ingest/prometheus/merge.rs"]
mod merge;
#[path = "../../../../pipeline/ingest/prometheus/series.rs"]
mod series;
#[path = "../../../../pipeline/ingest/prometheus/wire.rs"]
mod wire;

#[path = "../remote.rs"]
pub mod remote;

pub use matcher::{MatchOp, Matcher, Pattern};
pub(crate) use merge::SeriesBuilder;
pub use series::*;

/// As in `pipeline/ingest/prometheus/mod.rs`.
pub const USUAL_REPLICA_LABELS: [&str; 2] = ["prometheus_replica", "__replica__"];

pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: {what}; {todo}", path.display())]
    Block {
        path: std::path::PathBuf,
        what: String,
        todo: &'static str,
    },
    #[error("{} vanished", path.display())]
    Vanished { path: std::path::PathBuf },
    #[error("{0}")]
    Sink(SinkError),
}
