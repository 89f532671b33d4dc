//! Owns Kubernetes snapshots, from the API itself or as `kubectl get … -o json` lists in folders named
//! by their time: objects of any kind become raw `objects` after redaction. Concludes nothing:
//! `inventory` folds them.
//!
//! Live: `client` asks, `discovery` and `kinds` say what for, `snapshot` lists it; `live` adds it to
//! the lake by `increment`, or `files` writes it where `export` reads it. `servers` finds metrics servers,
//! and `route` is the way to one through the API server.

mod client;
mod discovery;
mod error;
mod export;
mod files;
mod fold;
mod increment;
mod kinds;
mod lists;
mod live;
mod redact;
mod route;
mod servers;
mod snapshot;
mod tables;

pub use client::{ClusterApi, ClusterOptions};
pub use error::KubernetesError;
pub use export::{DayOfObjects, KubernetesExport};
pub use increment::{KnownDay, KnownObject};
pub use kinds::is_read;
pub use live::ingest_live;
pub use route::{ClusterRoute, ServicePlace};
pub use servers::{FoundServer, find_servers};
pub use snapshot::{KindCounts, KindState, Snapshot};

/// Raised when redaction or folding changes what is stored of the same input.
pub(super) const RULES_VERSION: &str = "kubernetes-export/3";
