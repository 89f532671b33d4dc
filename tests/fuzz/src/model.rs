//! As `pipeline/model/mod.rs`.

#[path = "../../../pipeline/model/time.rs"]
pub mod time;
pub use time::TimeWindow;
