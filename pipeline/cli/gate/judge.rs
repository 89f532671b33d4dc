//! Owns the verdict on one workload of a change: fit and SLO from the estimator, scaling from replays of both
//! specs, dollars from both, and what becomes of its findings. What any of them does not know is said.

use rust_decimal::Decimal;
use serde_json::Value;

use super::effects::{self, Told};
use super::facts;
use super::fleet::{Fleet, Price};
use super::money::{Paid, Usage, difference};
use super::world::{Declared, Id, World};
use crate::cli::error::CliError;
use crate::cli::simulate::read::{Part, Subject};
use crate::cli::simulate::spec::present_with;
use crate::cli::simulate::timeline::{self, CapacityFrom};
use crate::cli::simulate::{SLO_TTFT_MS, checked, startup};
use crate::detect::economics::placements::{self, Changed, WorkloadFacts};
use crate::gate::document::ObjectKey;
use crate::gate::effect::of_removal;
use crate::gate::outcome::{Fit, Judged, Row, Side, Verdict};
use crate::simulate::{Outcome, Serving, Spec, Timeline, replay, replay_observed};

/// A 95th percentile is missed when more than a twentieth is late.
const LATE_BASIS_POINTS_MAX: i64 = 500;
/// Who waits for longer has gone: Knative's own limit of a request.
const PATIENCE_MS: i64 = 300_000;

/// What is changed about a workload.
pub(super) struct Asked {
    pub id: Id,
    pub change: &'static str,
    pub objects: Vec<String>,
    pub file: String,
    pub line: usize,
    /// The workload's own object after the change, where that is changed.
    pub body: Option<Value>,
}

/// One side, played over the window's demand.
pub(super) struct Played {
    pub outcome: Outcome,
    pub spec: Spec,
    pub timeline: Timeline,
    pub capacity_from: CapacityFrom,
    /// By which the timeline's loads differ from the estimate's.
    pub scale: f64,
}

/// What a side is, before it is told.
pub(super) struct Stand {
    pub facts: WorkloadFacts,
    pub placed: Changed,
    pub played: Result<Played, String>,
    pub usage: Option<Usage>,
    pub price: Option<Price>,
    pub price_key: Option<String>,
    pub scaler: Option<String>,
    pub bounds: (Option<i64>, Option<i64>),
}

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
    usages(fleet, &part, &mut one, &mut other);
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

/// `(before, base)` is given for the side after a change: what it was, and the side whose replica it replaces
/// by another one.
type After<'a> = Option<(Option<&'a WorkloadFacts>, Option<&'a Stand>)>;

fn stand(
    fleet: &Fleet<'_>,
    world: &World,
    asked: &Asked,
    (before, after): (&Declared, &Declared),
    part: Option<&(&Subject, Part)>,
    (change, mut facts): (After<'_>, WorkloadFacts),
) -> Result<Stand, CliError> {
    let id = &asked.id;
    let declared = if change.is_some() { after } else { before };
    let moved = change.is_some_and(|(before, base)| base.is_some() || before.is_none());
    let (mut price, mut price_key) = (None, facts.price_key.clone());
    if moved || fleet.used_price(id).is_none() {
        let selected = asked
            .body
            .as_ref()
            .map(facts::selectors)
            .unwrap_or_default();
        if let Some(product) = facts.gpu_product.clone() {
            let live = fleet.facts(id);
            let same = live.is_some_and(|live| live.gpu_product.as_ref() == Some(&product));
            let machine = facts::instance_type(&selected).filter(|_| change.is_some());
            if same && machine.is_none() {
                price = fleet.used_price(id);
            }
            if price.is_none()
                && let Some((found, key)) =
                    fleet.price_of(live, &product, machine, facts.gpu_milli_per_replica)?
            {
                (price, price_key) = (Some(found), Some(key));
            }
        }
    } else {
        price = fleet.used_price(id);
    }
    facts.price_key.clone_from(&price_key);
    let known_before = change.map_or(Some(&facts), |(before, _)| before).cloned();
    let placed = fleet.placed(id, known_before.as_ref(), &facts);
    let scaler = declared.scalers.get(id).and_then(|all| all.first());
    let bounds = scaler.map_or((None, None), |row| (row.min_replicas, row.max_replicas));
    let name = scaler.map(|row| {
        let kind = row.scaler_kind.split('.').next().unwrap_or_default();
        format!("{kind}/{}", row.scaler_name)
    });
    let played = match part {
        None => Err("the lake has not seen it, so no demand is replayed".to_owned()),
        Some((subject, part)) => {
            let base = change.and_then(|(_, base)| base);
            let spec = spec(
                world,
                (before, after),
                change.is_some(),
                (*subject, &facts),
                moved,
                id,
            );
            spec.and_then(|spec| {
                play(
                    fleet,
                    (*subject, part),
                    (&facts, &placed),
                    spec,
                    (base, moved),
                    id,
                )
            })
        }
    };
    let own = declared.workloads.get(id);
    Ok(Stand {
        scaler: name.or_else(|| {
            let kept = part.and_then(|(subject, _)| subject.scaler.as_ref());
            let nobody = !before.scalers.contains_key(id) && !after.scalers.contains_key(id);
            kept.filter(|_| nobody).map(|(kind, name)| {
                format!("{}/{name}", kind.split('.').next().unwrap_or_default())
            })
        }),
        bounds: if scaler.is_some() {
            bounds
        } else {
            (
                own.and_then(|row| row.min_replicas),
                own.and_then(|row| row.max_replicas),
            )
        },
        facts,
        placed,
        played,
        usage: None,
        price,
        price_key,
    })
}

/// What scales a side.
fn spec(
    world: &World,
    (before, after): (&Declared, &Declared),
    is_after: bool,
    (subject, facts): (&Subject, &WorkloadFacts),
    moved: bool,
    id: &Id,
) -> Result<Spec, String> {
    let declared = if is_after { after } else { before };
    let mut subject = subject.clone();
    subject.replicas = declared
        .workloads
        .get(id)
        .and_then(|row| row.replicas)
        .or(facts.replicas);
    subject.gpu_milli = facts.gpu_milli_per_replica;
    let first = |side: &Declared| side.scalers.get(id).and_then(|all| all.first()).cloned();
    let body_of = |side: &Declared, kind: &str, name: &str| -> Option<Value> {
        let key = ObjectKey {
            kind: kind.to_owned(),
            namespace: id.0.clone(),
            name: name.to_owned(),
        };
        side.bodies.get(&key).cloned().or_else(|| world.body(&key))
    };
    let (mut body, mut has_recorded) = (None, !moved);
    match first(declared) {
        Some(row) => {
            subject.policy = serde_json::from_str(&row.policy_json).unwrap_or_default();
            body = body_of(declared, &row.scaler_kind, &row.scaler_name);
            if is_after {
                // What the present scaler recorded answers its own triggers only.
                let old = first(before)
                    .filter(|old| {
                        (&old.scaler_kind, &old.scaler_name) == (&row.scaler_kind, &row.scaler_name)
                    })
                    .and_then(|old| body_of(before, &old.scaler_kind, &old.scaler_name));
                has_recorded &= triggers(old.as_ref()) == triggers(body.as_ref());
            }
            subject.scaler = Some((row.scaler_kind, row.scaler_name));
        }
        None if first(before).is_none() && first(after).is_none() => {}
        None => subject.scaler = None,
    }
    let text = body.map(|body| body.to_string());
    present_with(&subject, text.as_deref(), has_recorded).map_err(|error| error.to_string())
}

/// What the triggers of a ScaledObject listen to.
fn triggers(body: Option<&Value>) -> Vec<[String; 4]> {
    let list = body.and_then(|body| body["spec"]["triggers"].as_array());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.map_or_else(Vec::new, |list| {
        list.iter()
            .map(|one| {
                let meta = &one["metadata"];
                [
                    &one["type"],
                    &meta["query"],
                    &meta["serverAddress"],
                    &meta["metricName"],
                ]
                .map(word)
            })
            .collect()
    })
}

fn play(
    fleet: &Fleet<'_>,
    (subject, part): (&Subject, &Part),
    (facts, placed): (&WorkloadFacts, &Changed),
    spec: Spec,
    (base, moved): (Option<&Stand>, bool),
    id: &Id,
) -> Result<Played, String> {
    let mut subject = subject.clone();
    subject.gpu_milli = facts.gpu_milli_per_replica;
    let placement = placed.placement.as_ref();
    let capacity = placement.and_then(|row| {
        let rate = |milli: Option<i64>| {
            milli
                .filter(|milli| *milli > 0)
                .map(|milli| milli as f64 / 1000.0)
        };
        rate(row.prefill_milli_tokens_per_second).zip(rate(row.decode_milli_tokens_per_second))
    });
    let mut made = if moved {
        subject.capacity = capacity;
        timeline::estimated(&subject, part, fleet.window)
    } else {
        timeline::make(&subject, part, fleet.window)
    };
    if made.timeline.known() == 0 {
        return Err("the window holds no demand of it".to_owned());
    }
    if moved {
        if capacity.is_none() {
            made.timeline.forget_load();
        }
        let ratio = base.and_then(|base| slower(base, placed, fleet.demand(id)?.osl_tokens));
        other_sight(&mut made.timeline, ratio);
        subject.at_once = placement.and_then(|row| row.max_concurrency);
    }
    let late_after_ms = placement
        .and_then(|row| row.slo_ttft_p95_ms)
        .or(subject.slo_ttft_ms);
    let serving = Serving {
        startup_ms: startup(&made.startups_ms, &fleet.startups_ms).0,
        late_after_ms: late_after_ms.unwrap_or(SLO_TTFT_MS),
        patience_ms: PATIENCE_MS,
        at_once: subject.at_once.and_then(|limit| u32::try_from(limit).ok()),
    };
    let spec = checked(spec, &made.timeline).map_err(|error| error.to_string())?;
    Ok(Played {
        outcome: replay(&made.timeline, &spec, &serving),
        spec,
        timeline: made.timeline,
        capacity_from: made.capacity_from,
        scale: made.scale,
    })
}

/// How much longer a request stays on the other replica, by what is predicted at the peak.
fn slower(base: &Stand, placed: &Changed, output_tokens: i64) -> Option<f64> {
    let stay = |placed: &Changed| -> Option<f64> {
        let row = placed.placement.as_ref()?;
        Some((row.ttft_ms? + row.itl_ms?.saturating_mul(output_tokens.max(1))) as f64)
    };
    let (was, will) = (stay(&base.placed)?, stay(placed)?);
    (was > 0.0).then(|| will / was)
}

/// What a scaler sees where replicas are other ones: as many requests run as stay longer, and what the old
/// ones made wait, filled or recorded says nothing.
fn other_sight(timeline: &mut Timeline, ratio: Option<f64>) {
    for bucket in &mut timeline.buckets {
        bucket.recorded = None;
        if let Some(demand) = &mut bucket.demand {
            demand.running = demand
                .running
                .zip(ratio)
                .map(|(running, ratio)| running * ratio);
            demand.waiting = demand.waiting.map(|_| 0.0);
            demand.cache_usage = None;
        }
    }
}

/// Replica-hours of both sides: of replays, else of a count that nothing moves.
fn usages(
    fleet: &Fleet<'_>,
    part: &Option<(&Subject, Part)>,
    one: &mut Option<Stand>,
    other: &mut Option<Stand>,
) {
    if let Some(one) = one {
        one.usage = match (&one.played, part) {
            (Ok(played), _) => Some(Usage::of(&played.outcome)),
            // What was there is known, where its spec cannot be replayed.
            (Err(_), Some((subject, part))) => {
                let made = timeline::make(subject, part, fleet.window);
                let serving = Serving {
                    startup_ms: 0,
                    late_after_ms: 1,
                    patience_ms: 1,
                    at_once: None,
                };
                let seen = Usage::of(&replay_observed(&made.timeline, &serving));
                (seen.known_ms() > 0).then_some(seen)
            }
            (Err(_), None) => None,
        }
        .or_else(|| constant(one, None, fleet));
    }
    if let Some(other) = other {
        let like = one.as_ref().and_then(|one| one.usage.clone());
        other.usage = match &other.played {
            Ok(played) => Some(Usage::of(&played.outcome)),
            Err(_) => constant(other, like.as_ref(), fleet),
        };
    }
}

fn constant(stand: &Stand, like: Option<&Usage>, fleet: &Fleet<'_>) -> Option<Usage> {
    let count = match stand.bounds {
        (Some(min), Some(max)) if min == max => Some(min),
        _ if stand.scaler.is_none() => stand.facts.replicas,
        _ => None,
    };
    Some(Usage::constant(count?, like, fleet.window))
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

fn paid<'s>(side: &'s Stand) -> Option<Paid<'s>> {
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
                        let hours = Decimal::from(count * 730)
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
    } else if let (Ok(before), Ok(after)) = (&one.played, &other.played)
        && before.spec != after.spec
        && before.spec.title() == after.spec.title()
        && one.bounds == other.bounds
        && other.scaler.is_some()
    {
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
