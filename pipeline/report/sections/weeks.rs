//! Owns the weeks: what each cost and how much of it was waste, as a table and as bars, and what
//! moved between the last two.
//!
//! Days come with the week that they are in; a week of which the lake holds less than seven closed days
//! is shown so, and never compared.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use serde::Serialize;

use super::super::format::{gpu_hours, percent, usd};
use super::super::view::is_waste;
use super::SectionsData;
use crate::model::time::{DAY_MS, date_of};

/// Movers beyond these are one row: the table is read, the sum still holds.
pub(super) const MOVERS_SHOWN: usize = 10;
/// Height of the weeks' chart in SVG units.
pub(super) const HEIGHT: i64 = 120;
const WEEKS: i64 = 13;
const WEEK_MS: i64 = 7 * DAY_MS;

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

/// One week, with its bar.
#[derive(Debug, Clone, Serialize)]
pub struct WeekView {
    pub start: String,
    pub days: i64,
    pub whole: bool,
    pub gpu_hours: String,
    pub cost: String,
    pub waste: String,
    pub waste_share: String,
    pub unknown: String,
    pub x: i64,
    pub width: i64,
    pub cost_y: i64,
    pub cost_height: i64,
    pub waste_y: i64,
    pub waste_height: i64,
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

/// With its sign, as a change is read.
pub(super) fn signed(amount: Decimal) -> String {
    let text = usd(amount);
    if text.starts_with('−') {
        text
    } else {
        format!("+{text}")
    }
}

pub(super) fn weeks(data: &SectionsData, window_end_ms: i64) -> Vec<WeekView> {
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
            let (cost_height, waste_height) = (height(cost), height(waste));
            let date = date_of(*start);
            WeekView {
                label: date.get(5..).unwrap_or_default().to_owned(),
                start: date,
                days,
                whole: days == 7,
                gpu_hours: gpu_hours(ms(false)),
                cost: usd(cost),
                waste: usd(waste),
                waste_share: percent(waste, cost),
                unknown: percent(Decimal::from(ms(true)), Decimal::from(ms(false))),
                x: 40 + index * step,
                width: (step - 8).clamp(1, 90),
                cost_y: HEIGHT - cost_height,
                cost_height,
                waste_y: HEIGHT - waste_height,
                waste_height,
            }
        })
        .collect()
}

/// Only where both weeks are whole: a hole would be told as a change.
pub(super) fn movers(data: &SectionsData, window_end_ms: i64) -> (Vec<MoverView>, Option<String>) {
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
        "The last seven days cost {} against {} in the seven before ({}), at the same prices; of the change, {} is waste and {} is not.",
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
    // What did not move is no mover: it stands among the others.
    let moved = (rows.iter())
        .take_while(|row| (row.after_usd - row.before_usd).abs() >= Decimal::ONE)
        .count();
    let rest = rows.split_off(moved.min(MOVERS_SHOWN));
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
