//! Integration tests: one binary, one module a room.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::print_stderr,
    reason = "helpers of tests stand outside of test functions"
)]

mod bad_input;
mod economics;
mod fleet;
mod ingest;
mod inventory;
mod kube_server;
mod kubernetes;
mod kubernetes_faults;
mod lake;
mod lakes_agree;
mod platforms;
mod prometheus;
mod sample;
mod scalers;
mod systems;
mod tidy;
mod tsdb;
