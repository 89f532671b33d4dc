//! The decoders of hostile bytes, as the program has them, and one entry for each fuzz target.
//!
//! The tree of modules mirrors `pipeline/`, as far as the decoders import each other; the sources
//! are the program's own. What stands here beside them: the few types of `prometheus/mod.rs` whose
//! file also names the HTTP client, and the way from bytes to a decoder's argument. Checksums are
//! made right, or no input would get past them; every second input comes as it is.

#![allow(dead_code, unused_imports)]

pub mod ingest;
pub mod model;

pub use ingest::kubernetes::take as lists;
pub use ingest::prometheus::answers::{answers, exports};
pub use ingest::prometheus::remote::{chunks, frames, samples};
pub use ingest::tsdb::{block, index, meta};
