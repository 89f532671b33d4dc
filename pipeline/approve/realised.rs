//! Owns what a change saved: the days in which it stood against a baseline that follows demand.
//!
//! The baseline is the line through the days before (cost against demand), so that less traffic is no
//! saving and more is no loss; its range comes from how far those days lie from the line. Whole weeks
//! only, two to four on either side, so that weekends weigh the same; fewer give no number. Where a
//! bill covers those days, no saving is larger than what the bill fell by. Prices are today's on both
//! sides, so a discount is nobody's saving. Called by the command line.

use std::collections::BTreeMap;

use rust_decimal::prelude::{FromPrimitive as _, ToPrimitive as _};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::outcome::Held;
use crate::model::time::{DAY_MS, format_ms};

/// Full days needed before and after the change, and the most that are looked at.
pub const DAYS_MIN: usize = 14;
pub const DAYS_MAX: usize = 28;
const WEEK_DAYS: usize = 7;
/// Quantile of the normal distribution: eight of ten outcomes lie within.
const Z80: f64 = 1.281_551_565_5;
const HOURS_PER_MONTH: f64 = 730.0;

/// A full day of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    pub day_ms: i64,
    pub cost_usd: Decimal,
    /// Tokens, which cost follows; `None` where nobody counted them.
    pub demand: Option<i64>,
}

/// What was saved, a month, against the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realised {
    pub monthly_usd: Decimal,
    pub low_usd: Decimal,
    pub high_usd: Decimal,
    pub days_before: usize,
    pub days_after: usize,
    /// The first day of either side, and the end of the last.
    pub before_ms: (i64, i64),
    pub after_ms: (i64, i64),
    /// `demand`, or `flat` where demand is not known: then less traffic looks like a saving.
    pub baseline: &'static str,
    /// By how much the cluster's bill fell between the same days, a month; `None` without a bill.
    pub billed_usd: Option<Decimal>,
    /// Whether that was less than what the days say, of this change or of all that share it.
    pub capped: bool,
    /// How many other changes lie in the same measure and share what there was.
    pub shared_with: usize,
}

impl Realised {
    pub(super) fn value(&self) -> Value {
        let span = |(from, to): (i64, i64)| json!({"from": format_ms(from), "to": format_ms(to)});
        json!({
            "monthly_usd": self.monthly_usd.to_string(),
            "low_usd": self.low_usd.to_string(),
            "high_usd": self.high_usd.to_string(),
            "days_before": self.days_before,
            "days_after": self.days_after,
            "before": span(self.before_ms),
            "after": span(self.after_ms),
            "baseline": self.baseline,
            "billed_monthly_usd": self.billed_usd.map(|usd| usd.to_string()),
            "capped": self.capped,
            "shared_with": self.shared_with,
        })
    }
}

/// The days that count on either side: whole weeks, next to the change. Days in which it was made or
/// ended belong to neither.
#[must_use]
fn sides(days: &[Day], held: Held) -> Option<[Vec<Day>; 2]> {
    let day_of = |ms: i64| ms.div_euclid(DAY_MS) * DAY_MS;
    let (before_ms, from_ms) = (day_of(held.before_ms), day_of(held.from_ms));
    let until_ms = held.until_ms.map_or(i64::MAX, day_of);
    let mut before: Vec<Day> = days
        .iter()
        .filter(|day| day.day_ms < before_ms)
        .copied()
        .collect();
    let mut after: Vec<Day> = days
        .iter()
        .filter(|day| from_ms < day.day_ms && day.day_ms < until_ms)
        .copied()
        .collect();
    before.sort_by_key(|day| -day.day_ms);
    after.sort_by_key(|day| day.day_ms);
    for side in [&mut before, &mut after] {
        side.truncate((side.len() / WEEK_DAYS * WEEK_DAYS).min(DAYS_MAX));
        if side.len() < DAYS_MIN {
            return None;
        }
    }
    Some([before, after])
}

/// What the days in which a change stood cost less than the days before say that they would have.
/// `billed` is what the cluster was billed, by day.
#[must_use]
pub fn realised(
    days: &[Day],
    held: Held,
    billed: Option<&BTreeMap<i64, Decimal>>,
) -> Option<Realised> {
    let counted: Vec<Day> = days
        .iter()
        .filter(|day| day.demand.is_some())
        .copied()
        .collect();
    let (baseline, [before, after]) = match sides(&counted, held) {
        Some(sides) => ("demand", sides),
        // Demand that is known in part is not known to be none.
        None if counted.is_empty() => ("flat", sides(days, held)?),
        None => return None,
    };
    let points = |side: &[Day]| -> Option<Vec<(f64, f64)>> {
        side.iter()
            .map(|day| Some((day.demand.unwrap_or(0) as f64, day.cost_usd.to_f64()?)))
            .collect()
    };
    let (saved, error) = saving(&points(&before)?, &points(&after)?);
    let mut told = Realised {
        monthly_usd: month(saved)?,
        low_usd: month(saved - Z80 * error)?,
        high_usd: month(saved + Z80 * error)?,
        days_before: before.len(),
        days_after: after.len(),
        before_ms: span(&before)?,
        after_ms: span(&after)?,
        baseline,
        billed_usd: None,
        capped: false,
        shared_with: 0,
    };
    if let Some(fell) = billed.and_then(|bill| Some(mean(&before, bill)? - mean(&after, bill)?)) {
        let fell = month(fell)?;
        // A bill that rose leaves nothing to claim; it makes no loss of what was saved.
        let most = fell.max(Decimal::ZERO);
        told.capped = told.monthly_usd > most;
        told.billed_usd = Some(fell);
        for usd in [&mut told.monthly_usd, &mut told.low_usd, &mut told.high_usd] {
            *usd = (*usd).min(most);
        }
    }
    Some(told)
}

/// Dollars a day that the second side costs less than the line through the first, and their error.
fn saving(before: &[(f64, f64)], after: &[(f64, f64)]) -> (f64, f64) {
    let n = before.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| before.iter().map(pick).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = before.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let joint: f64 = before.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    // More demand never costs less: a falling line is chance.
    let slope = if spread > 0.0 {
        (joint / spread).max(0.0)
    } else {
        0.0
    };
    // Nobody is paid for serving: far below the demand of before, the line ends at zero.
    let line = |x: f64| (mean_y + slope * (x - mean_x)).max(0.0);
    let variance = before
        .iter()
        .map(|p| (p.1 - line(p.0)).powi(2))
        .sum::<f64>()
        / (n - 2.0);
    let m = after.len() as f64;
    let saved = after.iter().map(|p| line(p.0) - p.1).sum::<f64>() / m;
    let after_x = after.iter().map(|p| p.0).sum::<f64>() / m;
    // Of the mean of m new days against the line: their own scatter, the line's height, its slope.
    let lever = if spread > 0.0 {
        (after_x - mean_x).powi(2) / spread
    } else {
        0.0
    };
    (saved, (variance * (1.0 / m + 1.0 / n + lever)).sqrt())
}

/// What was billed a day; `None` where the bill does not cover every one of the days.
fn mean(days: &[Day], billed: &BTreeMap<i64, Decimal>) -> Option<f64> {
    let mut sum = Decimal::ZERO;
    for day in days {
        sum = sum.checked_add(*billed.get(&day.day_ms)?)?;
    }
    Some(sum.to_f64()? / days.len() as f64)
}

fn month(usd_a_day: f64) -> Option<Decimal> {
    Decimal::from_f64(usd_a_day * HOURS_PER_MONTH / 24.0)
        .map(|usd| usd.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero))
}

fn span(days: &[Day]) -> Option<(i64, i64)> {
    let all = || days.iter().map(|day| day.day_ms);
    Some((all().min()?, all().max()? + DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: i64 = 21;

    fn held(until: Option<i64>) -> Held {
        Held {
            before_ms: CHANGED * DAY_MS + 1,
            from_ms: CHANGED * DAY_MS + 3_600_000,
            until_ms: until.map(|day| day * DAY_MS + 5),
        }
    }

    fn days(count: i64, cost: impl Fn(usize, bool) -> (f64, Option<i64>)) -> Vec<Day> {
        (0..count)
            .map(|n| {
                let (usd, demand) = cost(n as usize, n > CHANGED);
                Day {
                    day_ms: n * DAY_MS,
                    cost_usd: Decimal::from_f64(usd).unwrap(),
                    demand,
                }
            })
            .collect()
    }

    fn wave(n: usize) -> i64 {
        [900, 1000, 1100, 1000, 950, 400, 300][n % 7]
    }

    fn noise(n: usize) -> f64 {
        f64::from([2, -1, 0, 3, -2, 1, -3, 0, 1, -1, 2][n % 11])
    }

    /// Fixed cost falls by 30 a day while demand doubles: 912.50 a month.
    fn busy(count: i64) -> Vec<Day> {
        days(count, |n, after| {
            let demand = if after { wave(n) * 2 } else { wave(n) };
            let fixed = if after { 70.0 } else { 100.0 };
            (fixed + demand as f64 / 10.0 + noise(n), Some(demand))
        })
    }

    #[test]
    fn less_traffic_is_no_saving_and_a_saving_is_seen_through_more_traffic() {
        let quiet = days(43, |n, after| {
            let demand = if after { wave(n) / 2 } else { wave(n) };
            (100.0 + demand as f64 / 10.0 + noise(n), Some(demand))
        });
        let nothing = realised(&quiet, held(None), None).unwrap();
        assert!(
            nothing.low_usd < Decimal::ZERO && nothing.high_usd > Decimal::ZERO,
            "{nothing:?}"
        );
        let saved = realised(&busy(43), held(None), None).unwrap();
        let truth = Decimal::new(91250, 2);
        assert!(saved.low_usd < truth && truth < saved.high_usd, "{saved:?}");
        assert!(
            (saved.monthly_usd - truth).abs() < Decimal::from(100),
            "{saved:?}"
        );
        let dearer = days(43, |n, after| {
            (if after { 130.0 } else { 100.0 } + noise(n), Some(1))
        });
        let lost = realised(&dearer, held(None), None).unwrap();
        assert!(lost.high_usd < Decimal::ZERO, "{lost:?}");
    }

    #[test]
    fn whole_weeks_on_both_sides_and_none_where_it_was_made_or_ended() {
        let (from, until) = (CHANGED + 1, CHANGED + 1 + 14);
        let of = |count: i64, end: Option<i64>| realised(&busy(count), held(end), None);
        assert!(of(until - 1, None).is_none(), "thirteen days after");
        let two = of(until + 6, None).unwrap();
        assert_eq!((two.days_before, two.days_after), (21, 14));
        assert_eq!(two.after_ms, (from * DAY_MS, until * DAY_MS));
        assert_eq!(of(80, None).unwrap().days_after, DAYS_MAX);
        // Taken back after two weeks and a bit: the days in which it stood.
        assert_eq!(of(80, Some(until + 2)).unwrap().days_after, 14);
        assert!(of(80, Some(until - 1)).is_none());
        assert!(
            realised(&busy(43)[9..], held(None), None).is_none(),
            "twelve days before"
        );
    }

    #[test]
    fn demand_that_nobody_counted_is_said_and_known_in_part_it_is_no_number() {
        let unknown = days(43, |n, after| {
            (if after { 70.0 } else { 100.0 } + noise(n), None)
        });
        let told = realised(&unknown, held(None), None).unwrap();
        assert_eq!(told.baseline, "flat");
        let part = days(43, |n, after| (100.0 + noise(n), after.then_some(5)));
        assert!(realised(&part, held(None), None).is_none());
    }

    #[test]
    fn no_saving_is_larger_than_what_the_bill_fell_by() {
        let bill = |before: i64, after: i64| -> BTreeMap<i64, Decimal> {
            (0..43)
                .map(|n| {
                    let usd = if n > CHANGED { after } else { before };
                    (n * DAY_MS, Decimal::from(usd))
                })
                .collect()
        };
        let of =
            |bill: &BTreeMap<i64, Decimal>| realised(&busy(43), held(None), Some(bill)).unwrap();
        let free = realised(&busy(43), held(None), None).unwrap();
        let wide = of(&bill(500, 400));
        assert_eq!((wide.capped, wide.monthly_usd), (false, free.monthly_usd));
        let narrow = of(&bill(500, 490));
        // Ten dollars a day.
        assert_eq!(
            (narrow.capped, narrow.monthly_usd, narrow.billed_usd),
            (true, Decimal::new(30417, 2), Some(Decimal::new(30417, 2)))
        );
        assert!(narrow.low_usd <= narrow.monthly_usd && narrow.monthly_usd <= narrow.high_usd);
        let rose = of(&bill(490, 500));
        assert_eq!((rose.capped, rose.monthly_usd), (true, Decimal::ZERO));
        assert!(rose.high_usd >= Decimal::ZERO, "no regression");
        // A bill that ends before the days do says nothing of them.
        let mut short = bill(500, 490);
        short.remove(&(30 * DAY_MS));
        let told = of(&short);
        assert_eq!((told.capped, told.billed_usd), (false, None));
    }
}
