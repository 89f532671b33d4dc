//! Owns what a scaling spec would have done over demand that was recorded: the published algorithms as
//! step simulators, and a serving model that says what each would have cost and served.
//!
//! Pure: it is handed a timeline of demand, start-up times and a spec, and gives counts and times. It
//! knows no lake, no SQL, no clock and no price; `cli/simulate` reads, prices and prints.

mod cron;
pub mod demand;
mod fleet;
pub mod hpa;
pub mod keda;
pub mod knative;
pub mod manifest;
mod quantity;
pub mod replay;
pub mod schedule;
pub mod signal;
pub mod spec;

pub use demand::{Bucket, Demand, Timeline};
pub use replay::{Hour, Outcome, Serving, replay, replay_observed};
pub use spec::{Spec, SpecError};
