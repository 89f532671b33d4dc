//! Owns what replicas come to in a month: GPU-hours of replays by day, dollars, and the range of their
//! difference by the way in which findings have one.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::fleet::Price;
use crate::detect::netting::bootstrap::{DayWorth, Spread, quantiles};
use crate::gate::outcome::Difference;
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS, MONTH_HOURS};
use crate::simulate::Outcome;

/// Replica-milliseconds by UTC day, of the time whose demand is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// `(known, held)`.
    days: BTreeMap<i64, (i64, i64)>,
}

impl Usage {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let mut days: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for hour in outcome.hours.iter().filter(|hour| hour.known_ms > 0) {
            let day = days.entry(hour.hour_ms.div_euclid(DAY_MS)).or_default();
            day.0 += hour.known_ms;
            day.1 += hour.held_ms.round() as i64;
        }
        Self { days }
    }

    /// A count that nothing moves, over the time of another usage, else over a window.
    pub(super) fn constant(replicas: i64, like: Option<&Self>, window: TimeWindow) -> Self {
        let known: BTreeMap<i64, i64> = match like.filter(|like| like.known_ms() > 0) {
            Some(like) => like
                .days
                .iter()
                .map(|(day, (known, _))| (*day, *known))
                .collect(),
            None => window
                .days()
                .map(|day| (day.start_ms.div_euclid(DAY_MS), DAY_MS))
                .collect(),
        };
        Self {
            days: known
                .into_iter()
                .map(|(day, known)| (day, (known, known.saturating_mul(replicas))))
                .collect(),
        }
    }

    pub(super) fn known_ms(&self) -> i64 {
        self.days.values().map(|(known, _)| known).sum()
    }

    fn held_ms(&self) -> i64 {
        self.days.values().map(|(_, held)| held).sum()
    }

    /// GPU-hours of the known time.
    pub(super) fn gpu_hours(&self, gpu_milli: i64) -> Decimal {
        gpu_hours(self.held_ms(), gpu_milli)
    }

    /// What one unit of the known time is in a month.
    pub(super) fn month_factor(&self) -> Option<Decimal> {
        let hours = Decimal::from(self.known_ms()) / Decimal::from(HOUR_MS);
        Decimal::from(MONTH_HOURS).checked_div(hours)
    }

    pub(super) fn gpu_hours_month(&self, gpu_milli: i64) -> Option<Decimal> {
        self.gpu_hours(gpu_milli).checked_mul(self.month_factor()?)
    }
}

pub(super) fn gpu_hours(replica_ms: i64, gpu_milli: i64) -> Decimal {
    Decimal::from(replica_ms) * Decimal::from(gpu_milli) / Decimal::from(1000 * HOUR_MS)
}

/// One side of a difference.
pub(super) struct Paid<'a> {
    pub usage: &'a Usage,
    pub gpu_milli: i64,
    pub price: &'a Price,
}

impl Paid<'_> {
    pub(super) fn usd_month(&self) -> Option<Decimal> {
        let hours = self.usage.gpu_hours_month(self.gpu_milli)?;
        Some(hours.checked_mul(self.price.usd)?.round_dp(2))
    }

    fn micro(&self, day: i64) -> i64 {
        let held = self.usage.days.get(&day).map_or(0, |(_, held)| *held);
        let usd = gpu_hours(held, self.gpu_milli).checked_mul(self.price.usd);
        usd.and_then(|usd| usd.checked_mul(Decimal::from(1_000_000)))
            .and_then(|micro| {
                i64::try_from(micro.round().mantissa() / 10_i128.pow(micro.round().scale())).ok()
            })
            .unwrap_or(0)
    }
}

/// Dollars a month after less before, with whole days drawn again and the bands of prices and placement.
pub(super) fn difference(
    before: Option<&Paid<'_>>,
    after: Option<&Paid<'_>>,
    placement_band_percent: i64,
    seed: &str,
) -> Option<Difference> {
    let usage = before.or(after)?.usage;
    let month = |side: Option<&Paid<'_>>| side.map_or(Some(Decimal::ZERO), Paid::usd_month);
    let usd_month = month(after)? - month(before)?;
    let days: Vec<DayWorth> = usage
        .days
        .keys()
        .map(|day| DayWorth {
            freed_micro: before.map_or(0, |side| side.micro(*day)),
            added_micro: after.map_or(0, |side| side.micro(*day)),
        })
        .collect();
    let band = [before, after]
        .into_iter()
        .flatten()
        .map(|side| side.price.band_percent)
        .max();
    let spread = Spread {
        price_band_percent: band.unwrap_or(0),
        placement_band_percent,
        coverage_ppm: None,
    };
    // As many draws as there are days: a part of a day is a day of the sample.
    let length_ms = i64::try_from(days.len()).ok()?.checked_mul(DAY_MS)?;
    let drawn = quantiles(&days, length_ms, spread, seed)?;
    let factor = usage.month_factor()?;
    let month = |usd: Decimal| -> Option<Decimal> { Some(usd.checked_mul(factor)?.round_dp(2)) };
    Some(Difference {
        usd_month,
        p10_usd_month: month(-drawn.p90)?.min(usd_month),
        p90_usd_month: month(-drawn.p10)?.max(usd_month),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(usd: i64, band_percent: i64) -> Price {
        Price {
            usd: Decimal::from(usd),
            rung: "sheet".to_owned(),
            band_percent,
        }
    }

    #[test]
    fn a_month_is_the_known_time_stretched() {
        let window = TimeWindow::new(0, 14 * DAY_MS);
        let (four, two) = (
            Usage::constant(4, None, window),
            Usage::constant(2, None, window),
        );
        assert_eq!(four.gpu_hours(1000), Decimal::from(4 * 24 * 14));
        assert_eq!(four.gpu_hours_month(500), Some(Decimal::from(1460)));
        let (cheap, dear) = (price(1, 0), price(3, 20));
        let before = Paid {
            usage: &four,
            gpu_milli: 1000,
            price: &cheap,
        };
        let after = Paid {
            usage: &two,
            gpu_milli: 1000,
            price: &dear,
        };
        let found = difference(Some(&before), Some(&after), 0, "s").unwrap();
        // 2 × 3 − 4 × 1 dollars an hour, and a fifth of either side's price.
        assert_eq!(found.usd_month, Decimal::from(1460));
        assert!(
            found.p10_usd_month < Decimal::from(1460) && found.p90_usd_month > Decimal::from(1460)
        );
        let gone = difference(Some(&before), None, 0, "s").unwrap();
        assert_eq!(gone.usd_month, Decimal::from(-2920));
        assert_eq!(gone.p10_usd_month, gone.p90_usd_month);
        assert_eq!(
            Usage::constant(3, Some(&two), window).known_ms(),
            14 * DAY_MS
        );
        assert_eq!(Usage::default().gpu_hours_month(1000), None);
    }
}
