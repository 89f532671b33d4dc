//! Integration tests: one binary, one module a room.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::print_stderr,
    reason = "helpers of tests stand outside of test functions"
)]

mod approve;
mod approve_certificates;
mod approve_cli;
mod approve_cluster;
mod approve_export;
mod approve_gates;
mod approve_hardware;
mod approve_keys;
mod approve_kill;
mod approve_log;
mod approve_outcomes;
mod approve_peers;
mod approve_savings;
mod approve_verifiers;
mod approve_world;
mod backends;
mod bad_input;
mod browser;
mod bucket_blocks;
mod bucket_peers;
mod check;
mod contract;
mod crash;
mod deploy;
mod documented;
mod economics;
mod exports;
mod faulty_store;
mod fleet;
mod forced;
mod gate;
mod image;
mod ingest;
mod inventory;
mod inventory_facts;
mod inventory_views;
mod kube_server;
mod kubernetes;
mod kubernetes_faults;
mod lake;
mod lake_work;
mod lakes_agree;
mod loopback;
mod news;
mod old_lakes;
mod own_rules;
mod pairs;
mod peers;
mod platforms;
mod prometheus;
mod remote_auth;
mod remote_keys;
mod remote_live;
mod remote_windows;
mod sample;
mod scalers;
mod scan;
mod scenarios;
mod schemas;
mod serve;
mod serve_catalogue;
mod service;
mod shell;
mod simulate;
mod stores;
mod systems;
mod systems_pages;
mod telling;
mod tidy;
mod tsdb;
mod upkeep;
mod weekly;
