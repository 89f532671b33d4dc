//! Owns what the report is made of: plain data, as a run concluded it or a publication keeps it. `view`
//! turns it into text, `compare` sets two beside each other.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::returns::PoolData;
use super::sections::SectionsData;
use crate::model::time::TimeWindow;
use crate::model::zone::Zone;

/// Everything the report is made of, as the run concluded it.
#[derive(Debug, Clone)]
pub struct ReportData {
    pub run_id: String,
    pub publication: u64,
    pub code_version: String,
    /// When it was published.
    pub created_ms: i64,
    pub window: TimeWindow,
    /// In which instants are shown; days stay UTC days.
    pub zone: Zone,
    /// The price that costs rest on, in words: `list`, `effective`.
    pub price_basis: String,
    pub clusters: Vec<String>,
    pub gpus: u64,
    pub classes: Vec<ClassTotal>,
    pub days: Vec<DayClasses>,
    pub findings: Vec<FindingData>,
    pub workloads: Vec<WorkloadRow>,
    pub blind_spots: Vec<BlindSpot>,
    pub blindness: Vec<BlindCost>,
    pub prices: Vec<PriceRow>,
    pub sections: SectionsData,
    pub pools: Vec<PoolData>,
    /// What the numbers rest on → SHA-256.
    pub digests: BTreeMap<String, String>,
    /// GPU-milliseconds that slots existed, from inventory alone: what the ledger must sum to.
    pub capacity_ms: i64,
}

/// One class of the ledger over the window.
#[derive(Debug, Clone)]
pub struct ClassTotal {
    pub class: String,
    pub ms: i64,
    pub cost_usd: Option<Decimal>,
    /// Milliseconds whose price is unknown: counted, never costed.
    pub unpriced_ms: i64,
}

/// One day's milliseconds by class.
#[derive(Debug, Clone)]
pub struct DayClasses {
    pub date: String,
    pub closed: bool,
    pub classes: Vec<(String, i64)>,
}

/// One finding as detectors and netting concluded it.
#[derive(Debug, Clone)]
pub struct FindingData {
    pub id: String,
    pub handle: String,
    pub detector: String,
    /// Its detector's place in netting: what comes first is claimed first.
    pub order: i64,
    pub title: String,
    pub status: String,
    pub reason: String,
    pub confidence: String,
    /// Why it is no surer, by name.
    pub confidence_because: Vec<String>,
    /// Who accepted it as waste for now, until when and why.
    pub accepted: Option<String>,
    /// Share of the seconds that were known, 0 to 1.
    pub coverage: Option<Decimal>,
    pub waste_gpu_ms: i64,
    pub gross_window_usd: Option<Decimal>,
    pub net_window_usd: Option<Decimal>,
    pub net_monthly_usd: Option<Decimal>,
    pub net_p10_usd: Option<Decimal>,
    pub net_p90_usd: Option<Decimal>,
    /// What it ranks by; no money.
    pub priority_usd: Option<Decimal>,
    pub realisable_monthly_usd: Option<Decimal>,
    /// Until when the rest stays paid: a time, or words where no time is known.
    pub realisable_after: Option<String>,
    pub price_basis: String,
    pub remedy: String,
    pub evidence: Vec<(String, String)>,
    pub recommendation: Option<RecommendationData>,
}

/// What a finding asks a person to change.
#[derive(Debug, Clone, Serialize)]
pub struct RecommendationData {
    pub id: String,
    pub action: String,
    /// In the order in which they are made; empty where none can be written.
    pub changes: Vec<ChangeData>,
    pub not_possible: Option<String>,
    /// Fewest and most replicas after the change.
    pub limits: Vec<(String, i64)>,
    pub expires: Option<String>,
    pub risk: String,
    pub disruption: String,
}

/// One change of one object, as its controller keeps it.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeData {
    pub object: String,
    pub field: String,
    pub current: String,
    pub proposed: String,
    /// RFC 6902, as canonical JSON.
    pub patch: String,
    pub inverse: String,
    pub managed_by: Option<String>,
    pub observed_at: Option<String>,
    pub warnings: Vec<String>,
    pub verify: Vec<String>,
}

/// One workload's part of the ledger.
#[derive(Debug, Clone)]
pub struct WorkloadRow {
    pub cluster: String,
    pub namespace: String,
    pub kind: String,
    pub name: String,
    pub model: Option<String>,
    pub gpu_product: Option<String>,
    pub team: Option<String>,
    pub ms_by_class: BTreeMap<String, i64>,
    pub cost_usd: Option<Decimal>,
}

/// Something that could not be seen, and why.
#[derive(Debug, Clone, Serialize)]
pub struct BlindSpot {
    pub what: String,
    pub why: String,
    pub gpu_hours: String,
}

/// A telemetry line that is lacking, and what its lack costs.
#[derive(Debug, Clone, Serialize)]
pub struct BlindCost {
    pub cluster: String,
    pub line: String,
    pub remedy: String,
    pub gpu_hours: String,
    pub cost: String,
}

/// A price that was used.
#[derive(Debug, Clone)]
pub struct PriceRow {
    pub key: String,
    pub usd_per_gpu_hour: Option<Decimal>,
    pub rung: String,
    pub provenance: String,
}
