//! Integration tests: one binary, one module a room.

mod inventory;
mod tidy;
mod tsdb;
