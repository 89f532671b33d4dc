//! Integration tests: one binary, one module a room.

mod bad_input;
mod economics;
mod ingest;
mod inventory;
mod lake;
mod lakes_agree;
mod prometheus;
mod sample;
mod tidy;
mod tsdb;
