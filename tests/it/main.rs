//! Integration tests: one binary, one module a room.

mod economics;
mod tidy;
mod tsdb;
