//! Owns the verdict on one workload of a change: fit and SLO from the estimator, scaling from replays of both
//! specs, dollars from both, and what becomes of its findings. What any of them does not know is said.

use rust_decimal::Decimal;

use super::effects::{self, Told};
use super::facts;
use super::fleet::Fleet;
use super::money::{Paid, difference};
use super::stand::{Asked, Stand, stand, usages};
use super::world::{Declared, World};
use crate::cli::error::CliError;
use crate::cli::simulate::timeline::CapacityFrom;
use crate::detect::economics::placements;
use crate::gate::effect::of_removal;
use crate::gate::outcome::{Fit, Judged, Row, Side, Verdict};
use crate::model::time::MONTH_HOURS;
use crate::simulate::{Outcome, Serving, replay_observed};

/// A 95th percentile is missed when more than a twentieth is late.
const LATE_BASIS_POINTS_MAX: i64 = 500;

pub(super) async fn judge(
    fleet: &Fleet<'_>,
    world: &World,
    (before, after): (&Declared, &Declared),
    asked: &Asked,
) -> Result<Row, CliError> {
    let id = &asked.id;
    let (was, will) = (before.workloads.get(id), after.workloads.get(id));
    let live = fleet.facts(id);
    let cluster = &fleet.cluster.name;
    let facts_before = match (live, was) {
        (Some(live), _) => Some(live.clone()),
        (None, was) => was.map(|row| facts::declared(cluster, row)),
    };
    let facts_after = will.map(|row| facts::after(cluster, live, was, row));
    let moved = match (&facts_before, &facts_after) {
        (Some(before), Some(after)) => facts::moves(before, after),
        _ => true,
    };
    let mut notes = Vec::new();
    let part = match fleet.subject(id) {
        Some(subject) => Some((subject, fleet.part(subject).await?)),
        None => None,
    };
    let sides = (before, after);
    let mut one = match facts_before {
        Some(facts) => Some(stand(
            fleet,
            world,
            asked,
            sides,
            part.as_ref(),
            (None, facts),
        )?),
        None => None,
    };
    let mut other = match facts_after {
        Some(facts) => {
            let base = one.as_ref().filter(|_| moved);
            let before = one.as_ref().map(|one| &one.facts);
            let stand = if moved {
                stand(
                    fleet,
                    world,
                    asked,
                    sides,
                    part.as_ref(),
                    (Some((before, base)), facts),
                )?
            } else {
                let mut same = stand(
                    fleet,
                    world,
                    asked,
                    sides,
                    part.as_ref(),
                    (Some((before, None)), facts),
                )?;
                same.price = one.as_ref().and_then(|one| one.price.clone());
                same.price_key = one.as_ref().and_then(|one| one.price_key.clone());
                same
            };
            Some(stand)
        }
        None => None,
    };
    usages(fleet, part.as_ref(), &mut one, &mut other);
    let slo = slo(other.as_ref(), one.as_ref(), moved);
    let slo_before = match &one {
        Some(one) => self::slo(Some(one), None, false).verdict,
        None => Verdict::Unknown,
    };
    let fit = fit(other.as_ref());
    let (money, dollars_from) = money(one.as_ref(), other.as_ref(), asked, moved);
    let findings = match (&one, &other) {
        (_, None) => of_removal(fleet.findings(id)),
        (one, Some(other)) => effects::effects(
            fleet,
            id,
            &Told {
                before: one.as_ref(),
                after: other,
                moved,
                slo: &slo,
                slo_before,
                lint: (before.lint.get(id), after.lint.get(id)),
            },
        )?,
    };
    say_more(
        fleet,
        world,
        asked,
        (one.as_ref(), other.as_ref()),
        &mut notes,
    );
    if asked.change == "added" && live.is_some() {
        notes.push(
            "it is live already, though the side before the change does not have it".to_owned(),
        );
    }
    if other.is_none() && asked.change != "removed" {
        notes.push("after the change it asks for no GPU".to_owned());
    }
    if moved
        && let Some(after) = &other
        && after.played.is_ok()
        && one.is_some()
    {
        notes.push(
            "what its scaler sees after the change is computed from predicted latencies".to_owned(),
        );
    }
    let price = other
        .as_ref()
        .or(one.as_ref())
        .and_then(|side| side.price.clone());
    let fields = match (&one, &other) {
        (Some(one), Some(other)) => fields(one, other),
        _ => Vec::new(),
    };
    if fields.is_empty() && one.is_some() && !moved {
        let same =
            |a: &Stand, b: &Stand| a.facts.replicas == b.facts.replicas && a.bounds == b.bounds;
        if let (Some(one), Some(other)) = (&one, &other)
            && same(one, other)
        {
            notes.push("nothing that a gate judges changes".to_owned());
        }
    }
    Ok(Row {
        cluster: cluster.clone(),
        namespace: id.0.clone(),
        workload_kind: id.1.clone(),
        workload_name: id.2.clone(),
        change: asked.change,
        objects: asked.objects.clone(),
        file: asked.file.clone(),
        line: asked.line,
        has_history: fleet.demand(id).is_some_and(|demand| demand.requests > 0),
        fit_before: self::fit(one.as_ref()).verdict,
        before: one.as_ref().map(side),
        after: other.as_ref().map(side),
        fields,
        fit,
        slo,
        slo_before,
        difference: money,
        dollars_from,
        price_rung: price.as_ref().map(|price| price.rung.clone()),
        price_band_percent: price.map(|price| price.band_percent),
        findings,
        notes,
    })
}

fn fit(side: Option<&Stand>) -> Judged<Fit> {
    let Some(side) = side else {
        return Judged::new(Fit::Unknown, "it is not there");
    };
    let verdict = match side.placed.fits {
        Some(true) => Fit::Fits,
        Some(false) => Fit::DoesNotFit,
        None => Fit::Unknown,
    };
    Judged::new(verdict, side.placed.fit_why.clone())
}

pub(super) fn late_basis_points(outcome: &Outcome) -> Option<i64> {
    (outcome.is_served && outcome.requests > 0.0).then(|| {
        let share = (outcome.late_requests + outcome.unserved_requests) / outcome.requests;
        (share.min(1.0) * 10_000.0).round() as i64
    })
}

/// What the estimator says of the placement and the replay of the scaling, together.
fn slo(side: Option<&Stand>, before: Option<&Stand>, moved: bool) -> Judged<Verdict> {
    let Some(side) = side else {
        return Judged::new(Verdict::Unknown, "it is not there");
    };
    if side.placed.fits == Some(false) {
        return Judged::new(Verdict::Infeasible, "what does not fit serves nothing");
    }
    let placement = side.placed.placement.as_ref();
    let placed = placement.map(|row| match row.verdict {
        placements::Verdict::Feasible => Verdict::Feasible,
        placements::Verdict::Borderline => Verdict::Borderline,
        placements::Verdict::Infeasible => Verdict::Infeasible,
        placements::Verdict::Unknown => Verdict::Unknown,
    });
    let placed_why = placement.map_or(&side.placed.unplaced, |row| &row.why);
    let percent = |points: i64| format!("{}.{:02} %", points / 100, points % 100);
    let scaled: Option<(Verdict, String)> = side.played.as_ref().ok().and_then(|played| {
        let points = late_basis_points(&played.outcome)?;
        let old = before
            .and_then(|one| late_basis_points(&one.played.as_ref().ok()?.outcome))
            .map(|old| format!(", {} before", percent(old)))
            .unwrap_or_default();
        let told = format!(
            "in the replay of the window's demand {} of the requests come too late or not at all{old}",
            percent(points)
        );
        Some(if points <= LATE_BASIS_POINTS_MAX {
            (Verdict::Feasible, told)
        } else if played.capacity_from == CapacityFrom::SeenOnly {
            let why = format!("{told}, an upper bound: what one replica can do was only seen");
            (Verdict::Unknown, why)
        } else {
            (Verdict::Infeasible, told)
        })
    });
    match (placed, scaled) {
        (Some(Verdict::Unknown) | None, Some((scaled, told))) if !moved => {
            Judged::new(scaled, format!("{told}; no estimate: {placed_why}"))
        }
        (Some(placed), Some((scaled, told))) => {
            Judged::new(placed.and(scaled), format!("{placed_why}; {told}"))
        }
        (None, Some((_, told))) => Judged::new(Verdict::Unknown, format!("{placed_why}; {told}")),
        (Some(placed @ Verdict::Infeasible), None) => Judged::new(placed, placed_why.clone()),
        (Some(placed), None) => {
            let why = match &side.played {
                Err(why) => why.clone(),
                Ok(_) => "no capacity is known, so lateness is not".to_owned(),
            };
            let enough = placement
                .and_then(|row| row.replicas_at_peak)
                .zip(most(side));
            match enough {
                Some((needed, most)) if most < needed => Judged::new(
                    Verdict::Infeasible,
                    format!(
                        "the peak needs {needed} replicas and there may be {most}; {placed_why}"
                    ),
                ),
                Some(_) if side.scaler.is_none() => Judged::new(placed, placed_why.clone()),
                _ => Judged::new(
                    placed.and(Verdict::Unknown),
                    format!("{placed_why}; its scaling is not replayed: {why}"),
                ),
            }
        }
        (None, None) => Judged::new(Verdict::Unknown, placed_why.clone()),
    }
}

/// The most replicas that there may be.
fn most(side: &Stand) -> Option<i64> {
    side.bounds
        .1
        .or(side.facts.replicas.filter(|_| side.scaler.is_none()))
}

fn paid(side: &Stand) -> Option<Paid<'_>> {
    Some(Paid {
        usage: side.usage.as_ref()?,
        gpu_milli: side.facts.gpu_milli_per_replica,
        price: side.price.as_ref()?,
    })
}

fn money(
    one: Option<&Stand>,
    other: Option<&Stand>,
    asked: &Asked,
    moved: bool,
) -> (Option<crate::gate::outcome::Difference>, String) {
    let why = |side: &Stand, word: &str| -> Option<String> {
        if side.price.is_none() {
            let product = side
                .facts
                .gpu_product
                .as_deref()
                .unwrap_or("a GPU that nothing names");
            return Some(format!("no price is known for {product} {word} the change"));
        }
        if side.usage.is_none() {
            let bounds = match (side.bounds, &side.price) {
                ((min, Some(max)), Some(price)) => {
                    let usd = |count: i64| {
                        let hours = Decimal::from(count.saturating_mul(MONTH_HOURS))
                            * Decimal::from(side.facts.gpu_milli_per_replica);
                        crate::gate::outcome::dollars(hours / Decimal::from(1000) * price.usd)
                    };
                    format!(
                        ": between {} at its minimum and {} at its maximum",
                        usd(min.unwrap_or(1)),
                        usd(max)
                    )
                }
                _ => String::new(),
            };
            let cause = side.played.as_ref().err().cloned().unwrap_or_default();
            return Some(format!(
                "how many replicas run {word} the change is not known ({cause}){bounds}"
            ));
        }
        None
    };
    let missing = one
        .and_then(|side| why(side, "before"))
        .or_else(|| other.and_then(|side| why(side, "after")));
    if let Some(missing) = missing {
        return (None, missing);
    }
    let (before, after) = (one.and_then(paid), other.and_then(paid));
    let band = other
        .filter(|_| moved)
        .and_then(|side| side.placed.placement.as_ref())
        .map_or(0, |row| row.band_percent);
    let seed = format!("{}/{}/{}", asked.id.0, asked.id.1, asked.id.2);
    let found = difference(before.as_ref(), after.as_ref(), band, &seed);
    let from = |side: Option<&Stand>| match side {
        None => "nothing",
        Some(side) if side.played.is_ok() => "a replay",
        Some(side) if side.scaler.is_none() && side.facts.replicas.is_some() => "a fixed count",
        Some(_) => "what was observed",
    };
    (
        found,
        format!("{} before, {} after", from(one), from(other)),
    )
}

fn side(stand: &Stand) -> Side {
    let placement = stand.placed.placement.as_ref();
    let played = stand.played.as_ref().ok();
    let facts = &stand.facts;
    Side {
        replicas: facts.replicas,
        min_replicas: stand.bounds.0,
        max_replicas: stand.bounds.1,
        scaler: stand.scaler.clone(),
        scaling: played.map(|played| played.spec.title()),
        model: facts.model.clone().or_else(|| facts.model_raw.clone()),
        quantisation: facts.quantisation.clone(),
        gpu_product: facts.gpu_product.clone(),
        gpu_milli_per_replica: facts.gpu_milli_per_replica,
        tensor_parallel: facts.tensor_parallel,
        pipeline_parallel: facts.pipeline_parallel,
        max_model_len: facts.max_model_len,
        max_num_seqs: facts.max_num_seqs,
        replicas_at_peak: placement.and_then(|row| row.replicas_at_peak),
        ttft_p95_ms: placement.and_then(|row| row.ttft_ms),
        itl_p95_ms: placement.and_then(|row| row.itl_ms),
        gpu_hours_month: stand
            .usage
            .as_ref()
            .and_then(|usage| usage.gpu_hours_month(facts.gpu_milli_per_replica))
            .map(|hours| hours.round_dp(2)),
        usd_month: paid(stand).and_then(|paid| paid.usd_month()),
        late_basis_points: played.and_then(|played| late_basis_points(&played.outcome)),
        slo_minutes_missed: played
            .filter(|played| played.outcome.is_served)
            .map(|played| played.outcome.missed_ms / 60_000),
    }
}

fn fields(one: &Stand, other: &Stand) -> Vec<String> {
    let mut out = facts::differences(&one.facts, &other.facts);
    if one.scaler != other.scaler {
        let word = |side: &Stand| side.scaler.clone().unwrap_or_else(|| "none".to_owned());
        out.push(format!("scaler: {} → {}", word(one), word(other)));
    } else if one.policy != other.policy && one.bounds == other.bounds && other.scaler.is_some() {
        out.push("the scaler's targets or behaviour".to_owned());
    }
    out
}

/// What the figures rest on, and what nobody asked but should know.
fn say_more(
    fleet: &Fleet<'_>,
    world: &World,
    asked: &Asked,
    (one, other): (Option<&Stand>, Option<&Stand>),
    notes: &mut Vec<String>,
) {
    if other.is_some()
        && fleet
            .demand(&asked.id)
            .is_none_or(|demand| demand.requests == 0)
    {
        notes.push("no demand of it was recorded: it is judged by fit and price alone".to_owned());
    }
    if let Some(one) = one
        && let Ok(played) = &one.played
    {
        let seen = replay_observed(
            &played.timeline,
            &Serving {
                startup_ms: 0,
                late_after_ms: 1,
                patience_ms: 1,
                at_once: None,
            },
        );
        if seen.ready_ms > 0.0 {
            let error = (played.outcome.ready_ms / seen.ready_ms - 1.0) * 100.0;
            if error.abs() >= 5.0 {
                notes.push(format!(
                    "the replay of the present spec is {error:+.1} % off what was observed: take its figures for as much"
                ));
            }
        }
    }
    let wanted = asked
        .body
        .as_ref()
        .map(facts::selectors)
        .unwrap_or_default();
    if !wanted.is_empty() && other.is_some() && world.nodes_with(&wanted) == 0 {
        let told: Vec<String> = wanted
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        notes.push(format!(
            "no node of the cluster carries {}: its pods stay pending unless a pool makes one",
            told.join(", ")
        ));
    }
}
