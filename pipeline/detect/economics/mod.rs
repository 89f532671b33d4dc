//! Owns what a GPU-second costs and what a workload would need elsewhere: prices, fit, estimates,
//! placements.
//!
//! It reads the catalogue and rows, and gives rows back. It opens no lake, runs no SQL
//! and asks no clock. Called by the parent room between the rollups and the detectors.

pub mod bill;
pub mod calibration;
pub mod device;
pub mod engine;
pub mod estimator;
pub mod fit;
pub mod measured;
pub mod packing;
pub mod placements;
pub mod prices;
pub mod rows;
pub mod speed;
