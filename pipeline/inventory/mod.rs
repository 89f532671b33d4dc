//! Owns the fold of objects and telemetry into validity intervals: nodes, slices, holders, pods,
//! workloads and autoscalers. The fold is pure: plain structs in, rows out, no I/O and no clock.
//! `detect` calls it through `read` (the lake's tables in) and `batches` (Arrow out).

mod arithmetic;
pub mod batches;
mod classes;
mod command;
mod declared;
pub mod detail_rows;
mod details;
mod devices;
mod embedded;
mod families;
mod family_gpus;
mod fold;
mod history;
mod holders;
mod identity;
pub mod input;
mod json;
mod links;
mod lint;
mod looks;
mod managed;
mod marks;
mod metrics;
mod network;
mod node_facts;
mod nodes;
mod objects;
mod owners;
mod parallel;
mod pods;
mod policy;
mod quality;
pub mod read;
mod remedies;
mod resources;
pub mod rows;
mod scalers;
mod served_models;
mod shares;
mod slices;
mod systems;
mod timeline;
mod views;
mod watched;
mod workloads;

pub use declared::{Declared, declared};
pub use embedded::Embedded;
pub use fold::fold;
pub use input::{Catalogue, Inputs};
pub use managed::changed_by;
pub use read::{ReadError, read};
pub use remedies::{Asked, asked, remedies};
pub use rows::{Inventory, clip_to_days};
pub use systems::{remedy, system_pages, systems, systems_page};
