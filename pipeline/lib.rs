//! idleproof: a ledger of GPU-seconds over an LLM serving fleet.
//!
//! Data flows one way through the rooms: `ingest → lake → inventory → detect → report → approve`;
//! `cli` drives them. Dependencies point down, and `tests/it/tidy.rs` fails on an edge that does
//! not. What each room owns stands at the head of its `mod.rs`; the whole is in ARCHITECTURE.md.

pub mod approve;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod detect;
pub mod exit;
pub mod gate;
pub mod ingest;
pub mod inventory;
pub mod lake;
pub mod model;
pub mod report;
pub mod simulate;
