//! Integration tests: one binary, one module a room.

mod prometheus;
mod tidy;
mod tsdb;
