//! As `pipeline/ingest/tsdb/mod.rs`, whose file also names the runtime.

#[path = "../../../../pipeline/ingest/tsdb/file.rs"]
mod file;
#[path = "../../../../pipeline/ingest/tsdb/index.rs"]
mod index;
#[path = "../../../../pipeline/ingest/tsdb/meta.rs"]
mod meta;
#[path = "../../../../pipeline/ingest/tsdb/segment.rs"]
mod segment;
#[path = "../../../../pipeline/ingest/tsdb/select.rs"]
mod select;

#[path = "../blocks.rs"]
pub mod blocks;
