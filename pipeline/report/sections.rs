//! Owns the sections that look at the same ledger from other sides: slices, what a model's tokens cost,
//! weeks, what moved, and how each workload's tier fits. Plain data in, final text out.
//!
//! It adds up and ranks what it is given, nothing else. `view` puts the sections into the report.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use serde::Serialize;

use super::format::{gpu_hours, percent, usd};
use crate::model::time::date_of;

/// Movers beyond these are one row: the table is read, the sum still holds.
const MOVERS_SHOWN: usize = 10;
/// Rows of one dimension beyond these are one row.
const SLICES_SHOWN: usize = 25;
/// Height of the weeks' chart in SVG units.
const HEIGHT: i64 = 120;
const WEEKS: i64 = 13;
const WEEK_MS: i64 = 7 * crate::model::time::DAY_MS;

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

/// One class of one week.
#[derive(Debug, Clone)]
pub struct WeekData {
    pub week_start_ms: i64,
    pub class: String,
    pub ms: i64,
    pub cost_usd: Option<Decimal>,
}

/// A holder's cost in the week before last and in the last one.
#[derive(Debug, Clone)]
pub struct MoverData {
    /// `cluster/namespace/kind/name`, or the product that nobody held.
    pub what: String,
    pub before_ms: i64,
    pub after_ms: i64,
    pub before_usd: Decimal,
    pub after_usd: Decimal,
    pub before_waste_usd: Decimal,
    pub after_waste_usd: Decimal,
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
    pub avoidable: String,
    pub avoidable_share: String,
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

/// One week, with its bar.
#[derive(Debug, Clone, Serialize)]
pub struct WeekView {
    pub start: String,
    pub days: i64,
    pub whole: bool,
    pub gpu_hours: String,
    pub cost: String,
    pub avoidable: String,
    pub avoidable_share: String,
    pub unknown: String,
    pub x: i64,
    pub width: i64,
    pub cost_y: i64,
    pub cost_height: i64,
    pub avoidable_y: i64,
    pub avoidable_height: i64,
    pub label: String,
}

/// One mover.
#[derive(Debug, Clone, Serialize)]
pub struct MoverView {
    pub what: String,
    pub before: String,
    pub after: String,
    pub change: String,
    pub hours: String,
    pub waste: String,
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

fn is_waste(class: &str) -> bool {
    super::view::is_waste(class)
}

fn money(amount: Option<Decimal>) -> String {
    amount.map_or_else(|| "price unknown".to_owned(), usd)
}

/// With its sign, as a change is read.
fn signed(amount: Decimal) -> String {
    let text = usd(amount);
    if text.starts_with('−') {
        text
    } else {
        format!("+{text}")
    }
}

impl Sections {
    #[must_use]
    pub fn new(data: &SectionsData, window_end_ms: i64) -> Self {
        let (movers, bridge) = movers(data, window_end_ms);
        Self {
            slices: slices(&data.slices),
            unit_costs: data.unit_costs.iter().map(unit_cost).collect(),
            weeks: weeks(data, window_end_ms),
            movers,
            bridge,
            tier_fit: data.tier_fit.iter().map(tier_fit).collect(),
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
        avoidable: row.cost_usd.map_or_else(|| "–".to_owned(), |_| usd(waste)),
        avoidable_share: row
            .cost_usd
            .map_or_else(|| "–".to_owned(), |cost| percent(waste, cost)),
        unknown: percent(Decimal::from(row.unknown_ms), Decimal::from(row.ms)),
    }
}

fn unit_cost(row: &UnitCostData) -> UnitCostView {
    let each = |amount: Option<Decimal>| {
        amount.map_or_else(
            || "–".to_owned(),
            |usd| format!("${}", usd.round_dp(if usd < Decimal::TEN { 3 } else { 2 })),
        )
    };
    UnitCostView {
        cluster: row.cluster.clone(),
        model: row.model.clone(),
        tokens: row.tokens.filter(|tokens| *tokens > 0).map_or_else(
            || "none counted".to_owned(),
            |tokens| {
                let millions = Decimal::from(tokens) / Decimal::from(1_000_000);
                format!("{} M", millions.round_dp(1))
            },
        ),
        cost: money(row.held_usd),
        allocation: each(row.allocation_usd),
        usage: each(row.usage_usd),
    }
}

fn weeks(data: &SectionsData, window_end_ms: i64) -> Vec<WeekView> {
    let Some(first) = data.weeks.iter().map(|week| week.week_start_ms).min() else {
        return Vec::new();
    };
    let shown = ((window_end_ms - first) / WEEK_MS).clamp(1, WEEKS);
    let starts: Vec<i64> = (1..=shown)
        .rev()
        .map(|back| window_end_ms - back * WEEK_MS)
        .collect();
    let of = |start: i64, waste_only: bool| -> Decimal {
        data.weeks
            .iter()
            .filter(|week| week.week_start_ms == start && (!waste_only || is_waste(&week.class)))
            .filter_map(|week| week.cost_usd)
            .sum()
    };
    let most = starts.iter().map(|start| of(*start, false)).max();
    let most = most.filter(|usd| !usd.is_zero()).unwrap_or(Decimal::ONE);
    let height = |amount: Decimal| -> i64 {
        use rust_decimal::prelude::ToPrimitive as _;
        (amount * Decimal::from(HEIGHT) / most)
            .round()
            .to_i64()
            .unwrap_or(0)
    };
    let step = 720 / shown.max(1);
    starts
        .iter()
        .zip(0_i64..)
        .map(|(start, index)| {
            let ms = |unknown_only: bool| -> i64 {
                data.weeks
                    .iter()
                    .filter(|week| {
                        week.week_start_ms == *start && (!unknown_only || week.class == "unknown")
                    })
                    .map(|week| week.ms)
                    .sum()
            };
            let days = (data.week_days.iter())
                .find(|(week, _)| week == start)
                .map_or(0, |(_, days)| *days);
            let (cost, waste) = (of(*start, false), of(*start, true));
            let (cost_height, avoidable_height) = (height(cost), height(waste));
            let date = date_of(*start);
            WeekView {
                label: date.get(5..).unwrap_or_default().to_owned(),
                start: date,
                days,
                whole: days == 7,
                gpu_hours: gpu_hours(ms(false)),
                cost: usd(cost),
                avoidable: usd(waste),
                avoidable_share: percent(waste, cost),
                unknown: percent(Decimal::from(ms(true)), Decimal::from(ms(false))),
                x: 40 + index * step,
                width: (step - 8).clamp(1, 90),
                cost_y: HEIGHT - cost_height,
                cost_height,
                avoidable_y: HEIGHT - avoidable_height,
                avoidable_height,
            }
        })
        .collect()
}

/// Only where both weeks are whole: a hole would be told as a change.
fn movers(data: &SectionsData, window_end_ms: i64) -> (Vec<MoverView>, Option<String>) {
    let whole = |back: i64| {
        let start = window_end_ms - back * WEEK_MS;
        data.week_days.contains(&(start, 7))
    };
    if !whole(1) || !whole(2) {
        return (Vec::new(), None);
    }
    let mut rows = data.movers.clone();
    rows.sort_by(|a, b| {
        let moved = |row: &MoverData| (row.after_usd - row.before_usd).abs();
        moved(b).cmp(&moved(a)).then_with(|| a.what.cmp(&b.what))
    });
    let sum = |pick: fn(&MoverData) -> Decimal| -> Decimal { rows.iter().map(pick).sum() };
    let (before, after) = (sum(|row| row.before_usd), sum(|row| row.after_usd));
    let waste = sum(|row| row.after_waste_usd) - sum(|row| row.before_waste_usd);
    let change = after - before;
    let mut bridge = format!(
        "The last seven days cost {} against {} in the seven before ({}), at the same prices; of the change, {} is avoidable and {} is not.",
        usd(after),
        usd(before),
        signed(change),
        signed(waste),
        signed(change - waste)
    );
    if let Some(most) = rows.first().filter(|row| row.after_usd != row.before_usd) {
        // Writing to a string cannot fail.
        let _ = write!(
            bridge,
            " Most of it moved at {}: {}.",
            most.what,
            signed(most.after_usd - most.before_usd)
        );
    }
    let rest = rows.split_off(rows.len().min(MOVERS_SHOWN));
    let mut views: Vec<MoverView> = rows.iter().map(mover).collect();
    if !rest.is_empty() {
        let sum = |pick: fn(&MoverData) -> Decimal| -> Decimal { rest.iter().map(pick).sum() };
        let ms = |pick: fn(&MoverData) -> i64| -> i64 { rest.iter().map(pick).sum() };
        views.push(mover(&MoverData {
            what: format!("{} others", rest.len()),
            before_ms: ms(|row| row.before_ms),
            after_ms: ms(|row| row.after_ms),
            before_usd: sum(|row| row.before_usd),
            after_usd: sum(|row| row.after_usd),
            before_waste_usd: sum(|row| row.before_waste_usd),
            after_waste_usd: sum(|row| row.after_waste_usd),
        }));
    }
    (views, Some(bridge))
}

fn mover(row: &MoverData) -> MoverView {
    let hours = row.after_ms - row.before_ms;
    MoverView {
        what: row.what.clone(),
        before: usd(row.before_usd),
        after: usd(row.after_usd),
        change: signed(row.after_usd - row.before_usd),
        hours: if hours < 0 {
            format!("−{}", gpu_hours(-hours))
        } else {
            format!("+{}", gpu_hours(hours))
        },
        waste: signed(row.after_waste_usd - row.before_waste_usd),
    }
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
        today_cost: money(row.today_usd),
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
mod tests {
    use super::*;

    const END: i64 = 1_793_664_000_000;

    fn week(back: i64, class: &str, cost: i64) -> WeekData {
        WeekData {
            week_start_ms: END - back * WEEK_MS,
            class: class.to_owned(),
            ms: 3_600_000 * cost,
            cost_usd: Some(Decimal::from(cost)),
        }
    }

    fn mover_of(what: &str, before: i64, after: i64) -> MoverData {
        MoverData {
            what: what.to_owned(),
            before_ms: before * 3_600_000,
            after_ms: after * 3_600_000,
            before_usd: before.into(),
            after_usd: after.into(),
            before_waste_usd: Decimal::ZERO,
            after_waste_usd: Decimal::ONE,
        }
    }

    #[test]
    fn weeks_without_rows_stay_in_their_place() {
        let data = SectionsData {
            weeks: vec![
                week(3, "serving", 50),
                week(1, "dark", 25),
                week(1, "serving", 75),
            ],
            week_days: vec![(END - 3 * WEEK_MS, 7), (END - WEEK_MS, 7)],
            ..SectionsData::default()
        };
        let weeks = Sections::new(&data, END).weeks;
        assert_eq!(weeks.len(), 3);
        assert_eq!(
            (weeks[1].days, weeks[1].whole, weeks[1].cost_height),
            (0, false, 0)
        );
        assert_eq!(
            (weeks[2].cost_height, weeks[2].avoidable_height),
            (HEIGHT, HEIGHT / 4)
        );
        assert_eq!(weeks[2].avoidable_share, "25.0 %");
    }

    #[test]
    fn movers_sum_to_the_change_and_need_two_whole_weeks() {
        let mut data = SectionsData {
            movers: (0..15)
                .map(|n| mover_of(&format!("w{n:02}"), 100, 100 + n))
                .collect(),
            week_days: vec![(END - 2 * WEEK_MS, 7), (END - WEEK_MS, 7)],
            ..SectionsData::default()
        };
        let sections = Sections::new(&data, END);
        assert_eq!(sections.movers.len(), MOVERS_SHOWN + 1);
        assert_eq!(sections.movers[0].what, "w14");
        assert_eq!(sections.movers[MOVERS_SHOWN].what, "5 others");
        let bridge = sections.bridge.unwrap();
        assert!(
            bridge.contains("+$105") && bridge.contains("w14: +$14"),
            "{bridge}"
        );
        data.week_days[0].1 = 6;
        assert!(Sections::new(&data, END).movers.is_empty());
    }

    #[test]
    fn a_long_tail_is_one_row() {
        let row = |n: usize| SliceData {
            dimension: "team".to_owned(),
            slice: format!("t{n}"),
            ms: 3_600_000,
            unknown_ms: 0,
            unpriced_ms: 0,
            cost_usd: Some(Decimal::ONE),
            waste_usd: None,
        };
        let data = SectionsData {
            slices: (0..40).map(row).collect(),
            ..SectionsData::default()
        };
        let tables = Sections::new(&data, END).slices;
        assert_eq!(tables[0].rows.len(), SLICES_SHOWN);
        assert_eq!(tables[0].rows[SLICES_SHOWN - 1].slice, "16 others");
        assert_eq!(tables[0].rows[SLICES_SHOWN - 1].gpu_hours, "16.0");
    }
}
