//! Owns the words that all rooms share: time windows, workload identity, digests. No I/O.

pub mod canonical;
pub mod time;
pub mod workload;
pub mod zone;

pub use time::TimeWindow;
pub use workload::WorkloadId;
