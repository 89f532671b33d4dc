//! Owns the alias file as it is written: what `aliases.rs` makes its meaning of.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::{ContainerLabels, GpuLabels, ScalerLabels, ServingLabels};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) sum: Vec<String>,
    pub(super) labels: RawLabels,
    pub(super) exporter: Vec<RawExporter>,
    pub(super) misc: Vec<RawMisc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields are the tables that the file names"
)]
pub(super) struct RawLabels {
    pub(super) gpu_samples: GpuLabels,
    pub(super) serving_samples: ServingLabels,
    pub(super) container_samples: ContainerLabels,
    pub(super) scaler_samples: ScalerLabels,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExporter {
    pub(super) name: String,
    pub(super) table: String,
    #[serde(default)]
    pub(super) prefixes: Vec<String>,
    #[serde(default, rename = "where")]
    pub(super) filters: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) confirm: Vec<String>,
    #[serde(default)]
    pub(super) rank_labels: Vec<String>,
    #[serde(default)]
    pub(super) fallback: bool,
    #[serde(default)]
    pub(super) reject: Vec<[f64; 2]>,
    pub(super) scaler_kind: Option<String>,
    #[serde(default)]
    pub(super) scaler_name: Vec<String>,
    #[serde(default)]
    pub(super) namespace: Vec<String>,
    pub(super) metrics: Vec<RawAlias>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlias {
    pub(super) metric: String,
    pub(super) column: Option<String>,
    pub(super) histogram: Option<String>,
    #[serde(default = "one")]
    pub(super) scale: f64,
    #[serde(default, rename = "where")]
    pub(super) filters: BTreeMap<String, Vec<String>>,
    pub(super) from_label: Option<String>,
}

const fn one() -> f64 {
    1.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMisc {
    pub(super) name: String,
    #[serde(default)]
    pub(super) exported_wins: bool,
    #[serde(default, rename = "where")]
    pub(super) filters: BTreeMap<String, Vec<String>>,
    pub(super) families: Vec<Vec<String>>,
}
