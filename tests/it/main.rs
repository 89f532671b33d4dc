//! Integration tests: one binary, one module a room.

mod economics;
mod lake;
mod tidy;
mod tsdb;
