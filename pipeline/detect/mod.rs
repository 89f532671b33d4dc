//! Owns what is concluded from the lake: rollups, the ledger, detectors, prices, netting, findings.
//!
//! Which SQL runs and in which order is `queries/`'; a run calls `derive` by day, then
//! [`window_queries`], `economics`, [`detect`] and [`collect`], in this order. `cli` is the caller.

pub mod accepted;
pub mod derive;
pub mod economics;
mod error;
mod evidence;
mod explain;
pub mod findings;
pub mod netting;
pub mod query;
mod runner;

pub use accepted::Acceptance;
pub use error::DetectError;
pub use evidence::{Evidence, EvidenceManifest, collect};
pub use explain::{replay, replay_all};
pub use findings::{
    Answer, Finding, Observed, PlannedChange, PlannedTarget, Recommendation, RunRows, run_rows,
};
pub use query::{Detector, Params, Query, QueryError, QuerySet};
pub use runner::{DetectInputs, Detection, NettedClaim, detect, window_queries};
