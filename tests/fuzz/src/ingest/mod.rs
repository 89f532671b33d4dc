//! As `pipeline/ingest/mod.rs`.

pub mod kubernetes;
pub mod prometheus;
pub mod tsdb;
