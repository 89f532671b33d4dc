//! Owns what a GPU-second costs and what a workload would need elsewhere: prices, fit, estimates,
//! placements.
//!
//! It reads the catalogue and plain input rows, and gives plain rows back. It knows no lake, no SQL
//! and no clock. Called by the parent room between the rollups and the detectors.

pub mod estimator;
pub mod fit;
pub mod placements;
pub mod prices;
