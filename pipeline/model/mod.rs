//! Owns the words that all rooms share: time windows, workload identity, digests, how involved a statement may
//! be. No I/O.

pub mod bounds;
pub mod canonical;
pub mod time;
pub mod workload;
pub mod zone;

pub use time::TimeWindow;
pub use workload::WorkloadId;
