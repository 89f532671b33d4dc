//! Owns what a gate is without the lake: manifests read from text, diffs taken apart, what changed between
//! two sides, how verdicts add up, and the forms in which they are told.
//!
//! Pure: no file, no process, no SQL, no clock. `cli/gate` reads both sides, asks the lake, folds, places
//! and replays, and hands this room plain data.

pub mod change;
pub mod diff;
pub mod document;
pub mod effect;
mod markdown;
pub mod outcome;
mod render;
mod sarif;
mod table;

pub use change::{Change, changes};
pub use document::{Document, Refusal};
pub use markdown::{markdown, sentences};
pub use outcome::{Fit, Report, Row, Side, Verdict};
pub use sarif::sarif;
pub use table::table;
