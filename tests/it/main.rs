//! Integration tests: one binary, one module a room.

mod economics;
mod inventory;
mod lake;
mod prometheus;
mod tidy;
mod tsdb;
