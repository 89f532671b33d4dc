//! Owns the lake: object keys, Parquet, Delta commits, leases, publications, evidence.

pub mod columns;
pub mod schema;
