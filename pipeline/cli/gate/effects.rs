//! Owns the quantities by which findings are closed and opened: surplus of both sides by the detector's own
//! rule, hours held, the cheapest placement that would do, and the lint of both sides.

use rust_decimal::Decimal;
use std::collections::BTreeMap;

use super::fleet::{Fleet, SURPLUS};
use super::money::gpu_hours;
use super::stand::Stand;
use super::world::Id;
use crate::cli::error::CliError;
use crate::detect::economics::placements::{Placement, Verdict as Placed};
use crate::gate::effect::{
    Amounts, FindingEffect, Known, Lint, Tier, not_judged, of_amounts, of_held, of_lint, of_tier,
};
use crate::gate::outcome::{Judged, Verdict};
use crate::model::time::{HOUR_MS, MONTH_HOURS};
use crate::simulate::Spec;
use crate::simulate::demand::BUCKET_MS;

const TIER: &str = "tier-misplacement";
const LINT: &str = "scaling-signal-lint";
/// Findings about time in which nobody asks.
const HELD: &[&str] = &["dark-capacity", "scale-to-zero-chance"];

/// What the sides of a workload come to.
pub(super) struct Told<'a> {
    pub before: Option<&'a Stand>,
    pub after: &'a Stand,
    pub moved: bool,
    pub slo: &'a Judged<Verdict>,
    pub slo_before: Verdict,
    pub lint: (Option<&'a Vec<Lint>>, Option<&'a Vec<Lint>>),
}

pub(super) fn effects(
    fleet: &Fleet<'_>,
    id: &Id,
    told: &Told<'_>,
) -> Result<Vec<FindingEffect>, CliError> {
    let known = fleet.findings(id);
    let find = |detector: &str| known.iter().find(|one| one.detector == detector);
    let handle = |detector: &str| {
        format!(
            "{detector}/{}/{}/{}/{}",
            fleet.cluster.name, id.0, id.1, id.2
        )
    };
    let mut out = Vec::new();
    let surplus_handle = handle(SURPLUS);
    let surplus = surplus(fleet, told);
    if let Some(amounts) = surplus {
        out.extend(of_amounts(
            (SURPLUS, &surplus_handle),
            find(SURPLUS),
            amounts,
        ));
    }
    let tier_handle = handle(TIER);
    let tier = tier(fleet, id, told)?;
    if let Some(tier) = &tier {
        out.extend(of_tier((TIER, &tier_handle), find(TIER), tier));
    }
    let none = Vec::new();
    let (before, after) = (told.lint.0.unwrap_or(&none), told.lint.1.unwrap_or(&none));
    let lint = of_lint(before, after);
    for one in known {
        let detector = one.detector.as_str();
        if HELD.contains(&detector) {
            out.push(held(one, told));
        } else if detector == LINT {
            // The detector's finding is the whole of what is wrong with the signals of a workload.
            let word = if after.is_empty() && !before.is_empty() {
                "closes"
            } else {
                "stays"
            };
            out.push(FindingEffect {
                effect: word,
                why: format!(
                    "{} rules of the lint hold after the change, {} before",
                    after.len(),
                    before.len()
                ),
                ..not_judged(one, "")
            });
        } else if detector == "under-tiered" && told.moved && told.slo_before != Verdict::Feasible {
            let word = if told.slo.verdict == Verdict::Feasible {
                "closes"
            } else {
                "stays"
            };
            out.push(FindingEffect {
                effect: word,
                why: told.slo.why.clone(),
                ..not_judged(one, "")
            });
        } else if (detector == SURPLUS && surplus.is_some()) || (detector == TIER && tier.is_some())
        {
            // Said above.
        } else {
            let why = match detector {
                SURPLUS => {
                    "what is beyond need on both sides takes an estimate and a replay of each"
                }
                TIER => "what its placement costs at the peak is not known on both sides",
                _ => "a gate does not judge what it is about",
            };
            out.push(not_judged(one, why));
        }
    }
    out.extend(
        lint.into_iter()
            .filter(|one| one.effect == "opens" || find(LINT).is_none()),
    );
    out.sort_by(|a, b| {
        (&a.detector, &a.finding, a.effect).cmp(&(&b.detector, &b.finding, b.effect))
    });
    Ok(out)
}

fn held(known: &Known, told: &Told<'_>) -> FindingEffect {
    let hours = |stand: &Stand| {
        let usage = stand.usage.as_ref()?;
        Some(usage.gpu_hours(stand.facts.gpu_milli_per_replica))
    };
    let (Some(before), Some(after)) = (told.before.and_then(hours), hours(told.after)) else {
        return not_judged(known, "how many replicas run on both sides is not known");
    };
    let factor = told
        .after
        .usage
        .as_ref()
        .and_then(super::money::Usage::month_factor);
    let usd = told.after.price.as_ref().map(|price| price.usd);
    of_held(known, (before, after), usd, factor.unwrap_or_default())
}

/// GPU-hours a month beyond need on both sides: hour by hour against the busiest five minutes with the
/// placement's headroom, never below the floor; the peak at all hours where nothing scales.
fn surplus(fleet: &Fleet<'_>, told: &Told<'_>) -> Option<Amounts> {
    let after = side_surplus(told.after)?;
    let before = match told.before {
        Some(before) => side_surplus(before)?,
        None => Decimal::ZERO,
    };
    let window = fleet.window;
    let hours = Decimal::from((window.end_ms - window.start_ms) / HOUR_MS);
    Some(Amounts {
        before,
        after,
        threshold: (Decimal::from(fleet.min_surplus_gpu_hours) * Decimal::from(MONTH_HOURS))
            .checked_div(hours)?,
        usd_per_gpu_hour: told.after.price.as_ref().map(|price| price.usd),
    })
}

fn side_surplus(stand: &Stand) -> Option<Decimal> {
    let placement = stand.placed.placement.as_ref()?;
    if !matches!(placement.verdict, Placed::Feasible | Placed::Borderline) {
        return None;
    }
    let played = stand.played.as_ref().ok()?;
    let headroom = placement.headroom_ppm.filter(|ppm| *ppm > 0)? as f64 / 1e6;
    let floor = placement.floor_replicas.unwrap_or(1).max(1);
    let peak = placement.replicas_at_peak.unwrap_or(floor).max(floor);
    let is_fixed = matches!(played.spec, Spec::Fixed { .. });
    let mut needs: BTreeMap<i64, i64> = BTreeMap::new();
    for (index, bucket) in played.timeline.buckets.iter().enumerate() {
        let Some(demand) = &bucket.demand else {
            continue;
        };
        let at = played.timeline.start_ms + index as i64 * BUCKET_MS;
        let load = demand.load? / played.scale;
        let needed = (load / headroom).ceil().clamp(0.0, 1e9) as i64;
        let hour = needs.entry(at - at.rem_euclid(HOUR_MS)).or_insert(floor);
        *hour = (*hour).max(needed);
    }
    let (mut beyond_ms, mut known_ms) = (0_i64, 0_i64);
    for hour in &played.outcome.hours {
        let needed = if is_fixed {
            peak
        } else {
            needs.get(&hour.hour_ms).copied().unwrap_or(floor)
        };
        known_ms += hour.known_ms;
        let more = hour.held_ms - needed as f64 * hour.known_ms as f64;
        beyond_ms += more.max(0.0).round() as i64;
    }
    let known_hours = Decimal::from(known_ms) / Decimal::from(HOUR_MS);
    let month = Decimal::from(MONTH_HOURS).checked_div(known_hours)?;
    gpu_hours(beyond_ms, stand.facts.gpu_milli_per_replica).checked_mul(month)
}

/// What the placement costs at the peak, beside the cheapest of all that would do.
fn tier(fleet: &Fleet<'_>, id: &Id, told: &Told<'_>) -> Result<Option<Tier>, CliError> {
    // What does not hold the SLO is no choice of tier.
    let after = at_peak(told.after).filter(|_| told.slo.verdict != Verdict::Infeasible);
    let Some(after) = after else {
        return Ok(None);
    };
    // What its own hours show was seen on the GPUs of today, so candidates are judged from there.
    let mut workload = told.after.facts.clone();
    if let Some(before) = told.before {
        workload.gpu_product.clone_from(&before.facts.gpu_product);
        workload.gpu_milli_per_replica = before.facts.gpu_milli_per_replica;
        workload.tensor_parallel = before.facts.tensor_parallel;
        workload.price_key.clone_from(&before.price_key);
    }
    let (rows, prices) = fleet.candidates(id, &workload)?;
    let here = told.before.unwrap_or(told.after);
    let price = |row: &Placement| -> Option<Decimal> {
        if row.price_key == here.price_key {
            return here.price.as_ref().map(|price| price.usd);
        }
        let key = row.price_key.as_deref()?;
        fleet.known_price(key).or_else(|| {
            let found = prices.iter().find(|price| price.price_key() == key)?;
            found.usd_per_gpu_hour()
        })
    };
    let best = rows
        .iter()
        .filter(|row| {
            row.verdict == Placed::Feasible
                && !matches!(row.candidate_kind, "mig-slice" | "co-location")
        })
        .filter_map(|row| {
            let replicas = row.replicas_at_peak?;
            Some((
                cost(replicas, row.gpu_milli_per_replica, price(row)?)?,
                &row.candidate,
            ))
        })
        .min();
    let Some((cheapest, candidate)) = best else {
        return Ok(None);
    };
    let usd_month_after = told.after.usage.as_ref().zip(told.after.price.as_ref());
    Ok(Some(Tier {
        before: told.before.and_then(at_peak),
        after,
        cheapest,
        candidate: candidate.clone(),
        usd_month_after: usd_month_after.and_then(|(usage, price)| {
            let hours = usage.gpu_hours_month(told.after.facts.gpu_milli_per_replica)?;
            hours.checked_mul(price.usd)
        }),
    }))
}

fn at_peak(stand: &Stand) -> Option<Decimal> {
    let placement = stand.placed.placement.as_ref()?;
    cost(
        placement.replicas_at_peak?,
        placement.gpu_milli_per_replica,
        stand.price.as_ref()?.usd,
    )
}

fn cost(replicas: i64, gpu_milli: i64, usd_per_gpu_hour: Decimal) -> Option<Decimal> {
    let gpus = Decimal::from(replicas.checked_mul(gpu_milli)?) / Decimal::from(1000);
    gpus.checked_mul(usd_per_gpu_hour)?
        .checked_mul(Decimal::from(MONTH_HOURS))
}
