//! Integration tests: one binary, one module a room.

mod ingest;
mod lake;
mod prometheus;
mod tidy;
mod tsdb;
