//! Owns the sections that look at the same ledger from other sides: slices, what a model's tokens cost,
//! and how each workload's tier fits; weeks and what moved are `weeks`', what workloads do `uses`', what was
//! changed and billed `changes`'. Plain data in, final text out.
//!
//! It adds up and ranks what it is given, nothing else. `view` puts the sections into the report.

mod changes;
mod memory;
mod uses;
mod weeks;

use rust_decimal::Decimal;
use serde::Serialize;

use super::format::{gpu_hours, percent, usd};
use crate::model::TimeWindow;
use crate::model::zone::Zone;
pub use changes::{BillData, Contradiction, EventData};
use changes::{BillView, EventView};
pub use memory::MemoryData;
use memory::{MemoryView, memory};
pub use uses::UseData;
use uses::UseView;
pub use weeks::{MoverData, WeekData};
use weeks::{MoverView, WeekView};

/// Rows of one dimension beyond these are one row.
const SLICES_SHOWN: usize = 25;
/// One value of one dimension.
#[derive(Debug, Clone)]
pub struct SliceData {
    pub dimension: String,
    pub slice: String,
    pub ms: i64,
    pub unknown_ms: i64,
    pub unpriced_ms: i64,
    pub cost_usd: Option<Decimal>,
    pub waste_usd: Option<Decimal>,
}

/// A model's dollars and tokens.
#[derive(Debug, Clone)]
pub struct UnitCostData {
    pub cluster: String,
    pub model: String,
    pub tokens: Option<i64>,
    pub held_usd: Option<Decimal>,
    pub allocation_usd: Option<Decimal>,
    pub usage_usd: Option<Decimal>,
}

/// A workload's placement of today beside the cheapest that would do.
#[derive(Debug, Clone)]
pub struct TierFitData {
    pub workload: String,
    pub today: String,
    pub verdict: String,
    pub today_replicas: Option<i64>,
    pub today_usd: Option<Decimal>,
    pub today_itl_ms: Option<i64>,
    pub cheapest: Option<String>,
    pub cheapest_replicas: Option<i64>,
    pub cheapest_usd: Option<Decimal>,
    pub cheapest_itl_ms: Option<i64>,
    pub confidence: Option<String>,
}

/// All of them, as read.
#[derive(Debug, Clone, Default)]
pub struct SectionsData {
    pub slices: Vec<SliceData>,
    pub unit_costs: Vec<UnitCostData>,
    pub weeks: Vec<WeekData>,
    /// Week → closed days that the lake holds of it.
    pub week_days: Vec<(i64, i64)>,
    pub movers: Vec<MoverData>,
    pub tier_fit: Vec<TierFitData>,
    pub memory: Vec<MemoryData>,
    pub uses: Vec<UseData>,
    pub events: Vec<EventData>,
    /// Changes of scale in the window, those that are not shown too.
    pub events_all: i64,
    pub bill: Vec<BillData>,
    pub contradictions: Vec<Contradiction>,
}

/// All of them, ready to print.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Sections {
    pub slices: Vec<SliceTable>,
    pub unit_costs: Vec<UnitCostView>,
    pub weeks: Vec<WeekView>,
    pub movers: Vec<MoverView>,
    /// One sentence: what the last week cost against the one before, and why.
    pub bridge: Option<String>,
    pub tier_fit: Vec<TierFitView>,
    pub memory: Vec<MemoryView>,
    pub uses: Vec<UseView>,
    pub events: Vec<EventView>,
    pub events_all: i64,
    /// `None` where no bill was read.
    pub bill: Option<BillView>,
    pub contradictions: Vec<Contradiction>,
}

/// One dimension.
#[derive(Debug, Clone, Serialize)]
pub struct SliceTable {
    pub dimension: String,
    pub rows: Vec<SliceView>,
}

/// One row of a dimension.
#[derive(Debug, Clone, Serialize)]
pub struct SliceView {
    pub slice: String,
    pub gpu_hours: String,
    pub cost: String,
    pub waste: String,
    pub waste_share: String,
    pub unknown: String,
}

/// One model's unit costs.
#[derive(Debug, Clone, Serialize)]
pub struct UnitCostView {
    pub cluster: String,
    pub model: String,
    pub tokens: String,
    pub cost: String,
    pub allocation: String,
    pub usage: String,
}

/// One workload's fit.
#[derive(Debug, Clone, Serialize)]
pub struct TierFitView {
    pub workload: String,
    pub today: String,
    pub today_cost: String,
    pub today_latency: String,
    pub cheapest: String,
    pub cheapest_cost: String,
    pub cheapest_latency: String,
    pub confidence: String,
    /// Whether today's placement carries the peak, as estimated.
    pub verdict: String,
}

fn money(amount: Option<Decimal>) -> String {
    amount.map_or_else(|| "price unknown".to_owned(), usd)
}

impl Sections {
    #[must_use]
    pub fn new(data: &SectionsData, window: TimeWindow, zone: Zone) -> Self {
        let window_end_ms = window.end_ms;
        let (movers, bridge) = weeks::movers(data, window_end_ms);
        Self {
            slices: slices(&data.slices),
            unit_costs: data.unit_costs.iter().map(unit_cost).collect(),
            weeks: weeks::weeks(data, window_end_ms),
            movers,
            bridge,
            tier_fit: data.tier_fit.iter().map(tier_fit).collect(),
            memory: data.memory.iter().map(memory).collect(),
            uses: (data.uses.iter())
                .map(|row| uses::use_of(row, window))
                .collect(),
            events: (data.events.iter())
                .map(|row| changes::event(row, zone))
                .collect(),
            events_all: data.events_all,
            bill: changes::bill(&data.bill),
            contradictions: data.contradictions.clone(),
        }
    }
}

fn slices(data: &[SliceData]) -> Vec<SliceTable> {
    let mut tables: Vec<(String, Vec<SliceData>)> = Vec::new();
    for row in data {
        match tables.last_mut() {
            Some((dimension, rows)) if *dimension == row.dimension => rows.push(row.clone()),
            _ => tables.push((row.dimension.clone(), vec![row.clone()])),
        }
    }
    tables
        .into_iter()
        .map(|(dimension, mut rows)| {
            if rows.len() > SLICES_SHOWN {
                let rest = rows.split_off(SLICES_SHOWN - 1);
                rows.push(all_of(&dimension, &rest));
            }
            SliceTable {
                dimension,
                rows: rows.iter().map(slice).collect(),
            }
        })
        .collect()
}

fn all_of(dimension: &str, rest: &[SliceData]) -> SliceData {
    let sum = |pick: fn(&SliceData) -> i64| rest.iter().map(pick).sum();
    SliceData {
        dimension: dimension.to_owned(),
        slice: format!("{} others", rest.len()),
        ms: sum(|row| row.ms),
        unknown_ms: sum(|row| row.unknown_ms),
        unpriced_ms: sum(|row| row.unpriced_ms),
        cost_usd: Some(rest.iter().filter_map(|row| row.cost_usd).sum()),
        waste_usd: Some(rest.iter().filter_map(|row| row.waste_usd).sum()),
    }
}

fn slice(row: &SliceData) -> SliceView {
    let waste = row.waste_usd.unwrap_or_default();
    let mut cost = money(row.cost_usd);
    if row.cost_usd.is_some() && row.unpriced_ms > 0 {
        cost = format!(
            "{cost}, and {} GPU-hours unpriced",
            gpu_hours(row.unpriced_ms)
        );
    }
    SliceView {
        slice: row.slice.clone(),
        gpu_hours: gpu_hours(row.ms),
        cost,
        waste: row.cost_usd.map_or_else(|| "–".to_owned(), |_| usd(waste)),
        waste_share: row
            .cost_usd
            .map_or_else(|| "–".to_owned(), |cost| percent(waste, cost)),
        unknown: percent(Decimal::from(row.unknown_ms), Decimal::from(row.ms)),
    }
}

fn unit_cost(row: &UnitCostData) -> UnitCostView {
    let each = |amount: Option<Decimal>| amount.map_or_else(|| "–".to_owned(), a_million);
    UnitCostView {
        cluster: row.cluster.clone(),
        model: row.model.clone(),
        tokens: row
            .tokens
            .filter(|tokens| *tokens > 0)
            .map_or_else(|| "none counted".to_owned(), millions),
        cost: money(row.held_usd),
        allocation: each(row.allocation_usd),
        usage: each(row.usage_usd),
    }
}

/// What a million tokens costs: small numbers keep a third decimal.
fn a_million(usd: Decimal) -> String {
    format!("${}", usd.round_dp(if usd < Decimal::TEN { 3 } else { 2 }))
}

fn millions(tokens: i64) -> String {
    let millions = Decimal::from(tokens) / Decimal::from(1_000_000);
    format!("{} M", millions.round_dp(1))
}

fn tier_fit(row: &TierFitData) -> TierFitView {
    let at = |candidate: &str, replicas: Option<i64>| {
        replicas.map_or_else(
            || candidate.to_owned(),
            |replicas| format!("{replicas} × {candidate}"),
        )
    };
    let latency = |ms: Option<i64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
    TierFitView {
        workload: row.workload.clone(),
        today: at(&row.today, row.today_replicas),
        // Without replicas that would carry the peak there is nothing to price.
        today_cost: match row.today_replicas {
            Some(_) => money(row.today_usd),
            None => "–".to_owned(),
        },
        today_latency: latency(row.today_itl_ms),
        cheapest: row.cheapest.as_ref().map_or_else(
            || "none is sure to carry it".to_owned(),
            |name| at(name, row.cheapest_replicas),
        ),
        cheapest_cost: if row.cheapest.is_some() {
            money(row.cheapest_usd)
        } else {
            "–".to_owned()
        },
        cheapest_latency: latency(row.cheapest_itl_ms),
        confidence: row.confidence.clone().unwrap_or_else(|| "–".to_owned()),
        verdict: row.verdict.clone(),
    }
}

#[cfg(test)]
mod tests;
