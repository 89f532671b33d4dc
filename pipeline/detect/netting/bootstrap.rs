//! Owns the range of a finding's dollars: whole days drawn again and again, under the interval of the
//! prices and the band of a placement, widened by what was not seen.
//!
//! Integers all through, and seeded by the finding's id: the same claims give the same range on any
//! machine. A day is the block, because hours of one day depend on each other. Called by `findings`.

use std::collections::BTreeMap;

use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, RoundingStrategy};

use super::{Claim, ClaimFault, PriceList};
use crate::model::time::{DAY_MS, HOUR_MS};

/// Draws: enough that the tenth percentile moves by less than a hundredth of the spread.
const DRAWS: usize = 1_000;
/// Money inside is whole millionths of a dollar.
const MICRO: i64 = 1_000_000;

/// What one UTC day of claims freed and added, in millionths of a dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayWorth {
    pub freed_micro: i64,
    pub added_micro: i64,
}

/// What widens a range beside the days themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub price_band_percent: i64,
    pub placement_band_percent: i64,
    /// Share of the subject's seconds that were seen, in millionths; `None` counts as all.
    pub coverage_ppm: Option<i64>,
}

/// Three points of a distribution, in the dollars of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    pub p10: Decimal,
    pub p50: Decimal,
    pub p90: Decimal,
}

/// Claims by day, priced; `None` where a price is unknown.
pub fn by_day<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    prices: &PriceList,
) -> Result<Option<Vec<DayWorth>>, ClaimFault> {
    let mut sums: BTreeMap<i64, [BTreeMap<&str, i64>; 2]> = BTreeMap::new();
    for claim in claims {
        let day = claim.hour_ms - claim.hour_ms.rem_euclid(DAY_MS);
        let [freed, added] = sums.entry(day).or_default();
        let key_added = claim.price_key_added.as_deref().unwrap_or("");
        for (sums, key, ms) in [
            (freed, claim.resource.price_key.as_str(), claim.ms_freed),
            (added, key_added, claim.ms_added),
        ] {
            if ms > 0 {
                let sum = sums.entry(key).or_default();
                *sum = sum.checked_add(ms).ok_or(ClaimFault::Overflow)?;
            }
        }
    }
    let mut days = Vec::with_capacity(sums.len());
    for [freed, added] in sums.values() {
        let (Some(freed_micro), Some(added_micro)) = (micro(freed, prices)?, micro(added, prices)?)
        else {
            return Ok(None);
        };
        days.push(DayWorth {
            freed_micro,
            added_micro,
        });
    }
    Ok(Some(days))
}

fn micro(sums: &BTreeMap<&str, i64>, prices: &PriceList) -> Result<Option<i64>, ClaimFault> {
    let Some(usd) = super::cost(sums, prices)? else {
        return Ok(None);
    };
    usd.checked_mul(Decimal::from(MICRO))
        .map(|micro| micro.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
        .and_then(|micro| micro.to_i64())
        .map(Some)
        .ok_or(ClaimFault::Overflow)
}

/// The range of the sum over `existed_ms`, whose days without claims count as nothing.
///
/// The net itself always lies within: a range that leaves out what it is about helps nobody.
#[must_use]
pub fn quantiles(
    days: &[DayWorth],
    existed_ms: i64,
    spread: Spread,
    seed: &str,
) -> Option<Quantiles> {
    if days.is_empty() {
        let [p10, p50, p90] = [Decimal::new(0, 6); 3];
        return Some(Quantiles { p10, p50, p90 });
    }
    let length =
        usize::try_from(existed_ms.max(0) / DAY_MS + i64::from(existed_ms % DAY_MS >= HOUR_MS))
            .ok()?
            .max(days.len())
            .max(1);
    let mut random = SplitMix(seed_of(seed));
    let mut lows = Vec::with_capacity(DRAWS);
    let mut middles = Vec::with_capacity(DRAWS);
    let mut highs = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let (mut freed, mut added) = (0_i128, 0_i128);
        for _ in 0..length {
            if let Some(day) = days.get(random.below(length)) {
                freed += i128::from(day.freed_micro);
                added += i128::from(day.added_micro);
            }
        }
        let (low, high) = spread.of(freed, added);
        lows.push(low);
        middles.push(freed - added);
        highs.push(high);
    }
    let freed: i128 = days.iter().map(|day| i128::from(day.freed_micro)).sum();
    let added: i128 = days.iter().map(|day| i128::from(day.added_micro)).sum();
    let net = freed - added;
    Some(Quantiles {
        p10: usd(nth(&mut lows, 10).min(net))?,
        p50: usd(nth(&mut middles, 50))?,
        p90: usd(nth(&mut highs, 90).max(net))?,
    })
}

impl Spread {
    /// Low and high of one draw. What is freed was measured, so its price alone is uncertain; what a
    /// remedy adds is an estimate, uncertain by its band too. What was not seen counts as no waste at
    /// the low end, and as the same share of waste at the high end.
    fn of(self, freed: i128, added: i128) -> (i128, i128) {
        let price = i128::from(self.price_band_percent.clamp(0, 100));
        let band = price + i128::from(self.placement_band_percent.max(0));
        let low = (freed * (100 - price) - added * (100 + band)) / 100;
        let high = (freed * (100 + price) - added * (100 - band).max(0)) / 100;
        match self.coverage_ppm {
            Some(seen) if (1..1_000_000).contains(&seen) && high > 0 => {
                (low, high * 1_000_000 / i128::from(seen))
            }
            _ => (low, high),
        }
    }
}

/// The nearest rank of a percentile.
fn nth(values: &mut [i128], percent: usize) -> i128 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0)
}

fn usd(micro: i128) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(micro, 6).ok()
}

fn seed_of(text: &str) -> u64 {
    // FNV-1a: only spread is asked of it.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Steele, Lea and Flood's generator: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Spread = Spread {
        price_band_percent: 0,
        placement_band_percent: 0,
        coverage_ppm: None,
    };

    fn day(freed: i64) -> DayWorth {
        DayWorth {
            freed_micro: freed * MICRO,
            added_micro: 0,
        }
    }

    #[test]
    fn equal_days_have_no_spread() {
        let range = quantiles(&[day(10); 14], 14 * DAY_MS, NONE, "a").unwrap();
        assert_eq!(
            (range.p10, range.p50, range.p90),
            (140.into(), 140.into(), 140.into())
        );
    }

    #[test]
    fn one_day_of_fourteen_may_come_twice_or_never() {
        let range = quantiles(&[day(14)], 14 * DAY_MS, NONE, "a").unwrap();
        assert_eq!(range.p10, Decimal::ZERO);
        assert_eq!(range.p50, Decimal::from(14));
        assert_eq!(range.p90, Decimal::from(28));
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        let days: Vec<DayWorth> = (0..14).map(|n| day(n * n)).collect();
        let of = |seed| quantiles(&days, 14 * DAY_MS, NONE, seed).unwrap();
        assert_eq!(of("3f2a"), of("3f2a"));
        assert_ne!(of("3f2a"), of("77c1"));
        let net: i64 = (0..14).map(|n| n * n).sum();
        let range = of("3f2a");
        assert!(range.p10 < range.p50 && range.p50 < range.p90);
        assert!(range.p10 <= Decimal::from(net) && Decimal::from(net) <= range.p90);
    }

    #[test]
    fn prices_placements_and_the_unseen_widen_it() {
        let days = [DayWorth {
            freed_micro: 100 * MICRO,
            added_micro: 40 * MICRO,
        }; 7];
        let of = |spread| {
            let range = quantiles(&days, 7 * DAY_MS, spread, "a").unwrap();
            (range.p10, range.p90)
        };
        assert_eq!(of(NONE), (420.into(), 420.into()));
        // 7 x (100 x 0.8 - 40 x 1.5) and 7 x (100 x 1.2 - 40 x 0.5).
        let wide = Spread {
            price_band_percent: 20,
            placement_band_percent: 30,
            coverage_ppm: None,
        };
        assert_eq!(of(wide), (140.into(), 700.into()));
        // A fifth was not seen: it may be waste as much as the rest is.
        let unseen = Spread {
            coverage_ppm: Some(800_000),
            ..NONE
        };
        assert_eq!(of(unseen), (420.into(), 525.into()));
    }
}
