//! Owns what is concluded from the lake: rollups, the ledger, detectors, prices, netting, findings.

pub mod derive;
pub mod economics;
pub mod query;

pub use query::{Detector, Params, Query, QueryError, QuerySet};
