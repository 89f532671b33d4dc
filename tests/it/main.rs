//! Integration tests: one binary, one module a room.

mod economics;
mod ingest;
mod inventory;
mod lake;
mod prometheus;
mod tidy;
mod tsdb;
