//! Integration tests: one binary, one module a room.

mod lake;
mod tidy;
mod tsdb;
