//! Owns what several outcomes may claim together: never more than what a bill fell by, and never the
//! dollars of one workload twice.
//!
//! Each outcome was measured by itself, over days of its own. One change is in another's measure as far
//! as it stood in more of the days after than of the days before; weighed so, the claims that lie in a
//! measure must fit into it, and where they do not, all of them shrink in proportion. Order, ties and
//! reruns change nothing. What was lost makes no room for others. Called by the command line.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::{Decimal, RoundingStrategy};

use super::outcome::{Held, Outcome};
use crate::model::time::DAY_MS;

const CENTS: u32 = 2;

/// What an outcome's number rests on, beside the number.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    pub held: Option<Held>,
    /// Which provider's products of the bill its machines were; `None` is all of the cluster's.
    pub products: Option<BTreeSet<(String, String)>>,
}

impl Ground {
    /// Whether a bill's products are the other's too.
    fn meets(&self, other: &Self) -> bool {
        match (&self.products, &other.products) {
            (Some(mine), Some(theirs)) => !mine.is_disjoint(theirs),
            _ => true,
        }
    }

    /// The share of a span's days in which the change stood whole.
    fn stood(&self, (from_ms, to_ms): (i64, i64)) -> Decimal {
        let day_of = |ms: i64| ms.div_euclid(DAY_MS) * DAY_MS;
        let Some(held) = self.held else {
            return Decimal::ZERO;
        };
        let begun = day_of(held.from_ms) + DAY_MS;
        let ended = held.until_ms.map_or(i64::MAX, day_of);
        let both = (ended.min(to_ms) - begun.max(from_ms)).max(0);
        Decimal::from(both) / Decimal::from((to_ms - from_ms).max(1))
    }
}

/// What holds claims together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Bill,
    Workload,
}

/// Shrinks what outcomes claim together to what there was: first what a workload saved, then what its
/// bill fell by. Both slices are of the same outcomes.
pub fn share(outcomes: &mut [Outcome], grounds: &[Ground]) {
    let counted = counted(outcomes);
    for bound in [Bound::Workload, Bound::Bill] {
        shrink(outcomes, grounds, &counted, bound);
    }
}

fn shrink(outcomes: &mut [Outcome], grounds: &[Ground], counted: &[bool], bound: Bound) {
    let claims: Vec<Decimal> = outcomes
        .iter()
        .map(|one| {
            let usd = one.realised.as_ref().map(|saved| saved.monthly_usd);
            usd.unwrap_or_default().max(Decimal::ZERO)
        })
        .collect();
    // For each outcome the tightest measure that it lies in: part, whole, and with how many others.
    let mut tightest = vec![(Decimal::ONE, Decimal::ONE, 0); outcomes.len()];
    for at in 0..outcomes.len() {
        let Some((most, mut inside)) = bounded(outcomes, grounds, counted, at, bound) else {
            continue;
        };
        inside.retain(|(one, _)| claims[*one] > Decimal::ZERO);
        let whole: Decimal = inside
            .iter()
            .map(|(one, weight)| claims[*one] * *weight)
            .sum();
        if whole <= most {
            continue;
        }
        for (one, _) in &inside {
            let known = &mut tightest[*one];
            // most / whole < part / whole, without a quotient.
            if most * known.1 < known.0 * whole {
                *known = (most, whole, inside.len().saturating_sub(1));
            }
        }
    }
    for (one, (part, whole, others)) in outcomes.iter_mut().zip(tightest) {
        let Some(saved) = one.realised.as_mut().filter(|_| part < whole) else {
            continue;
        };
        if saved.monthly_usd <= Decimal::ZERO {
            continue;
        }
        for usd in [
            &mut saved.monthly_usd,
            &mut saved.low_usd,
            &mut saved.high_usd,
        ] {
            if *usd > Decimal::ZERO {
                *usd =
                    (*usd * part / whole).round_dp_with_strategy(CENTS, RoundingStrategy::ToZero);
            }
        }
        saved.capped |= bound == Bound::Bill;
        saved.shared_with = others;
    }
}

/// Which outcomes count: of several exports of one recommendation the last that has a number.
fn counted(outcomes: &[Outcome]) -> Vec<bool> {
    let mut last: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, one) in outcomes.iter().enumerate() {
        if one.realised.is_none() {
            continue;
        }
        let known = last
            .entry((&one.cluster, &one.recommendation_id))
            .or_insert(at);
        if outcomes[*known].exported_ms <= one.exported_ms {
            *known = at;
        }
    }
    let last: BTreeSet<usize> = last.into_values().collect();
    (0..outcomes.len()).map(|at| last.contains(&at)).collect()
}

/// The most that may lie in one outcome's measure, and what lies in it with its weight: the outcome
/// itself, and every other that counts. `None` where nothing holds it.
fn bounded(
    outcomes: &[Outcome],
    grounds: &[Ground],
    counted: &[bool],
    at: usize,
    bound: Bound,
) -> Option<(Decimal, Vec<(usize, Decimal)>)> {
    let (mine, ground) = (&outcomes[at], &grounds[at]);
    let saved = mine.realised.as_ref()?;
    let most = match bound {
        Bound::Bill => saved.billed_usd?,
        Bound::Workload => saved.monthly_usd,
    };
    let mut inside = vec![(at, Decimal::ONE)];
    for (other, one) in outcomes.iter().enumerate() {
        let is_again =
            one.cluster == mine.cluster && one.recommendation_id == mine.recommendation_id;
        if other == at || is_again || !counted[other] || one.cluster != mine.cluster {
            continue;
        }
        let meets = match bound {
            Bound::Bill => ground.meets(&grounds[other]),
            Bound::Workload => {
                (&one.namespace, &one.workload_kind, &one.workload_name)
                    == (&mine.namespace, &mine.workload_kind, &mine.workload_name)
            }
        };
        let weight = grounds[other].stood(saved.after_ms) - grounds[other].stood(saved.before_ms);
        if meets && weight > Decimal::ZERO {
            inside.push((other, weight));
        }
    }
    Some((most.max(Decimal::ZERO), inside))
}

#[cfg(test)]
mod tests;
