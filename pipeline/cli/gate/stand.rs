//! Owns what a workload is on one side of a change: its facts, its placement as the estimator judges it, its
//! scaler replayed over the window's demand, and what a GPU-hour of it costs. `judge` compares two of them.

use serde_json::Value;

use super::facts;
use super::fleet::{Fleet, Price};
use super::money::Usage;
use super::world::{Declared, Id, World};
use crate::cli::error::CliError;
use crate::cli::simulate::read::{Part, Subject};
use crate::cli::simulate::spec::present_with;
use crate::cli::simulate::timeline::{self, CapacityFrom};
use crate::cli::simulate::{PATIENCE_SECONDS, SLO_TTFT_MS, checked, startup};
use crate::detect::economics::placements::{Changed, WorkloadFacts};
use crate::gate::document::ObjectKey;
use crate::simulate::{Outcome, Serving, Spec, Timeline, replay, replay_observed};

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
    /// What its scaler listens to and how it moves, as the inventory reads it.
    pub policy: Option<(String, String)>,
}

/// `(before, base)` is given for the side after a change: what it was, and the side whose replica it replaces
/// by another one.
pub(super) type After<'a> = Option<(Option<&'a WorkloadFacts>, Option<&'a Stand>)>;

pub(super) fn stand(
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
        policy: scaler.map(|row| (row.triggers_json.clone(), row.policy_json.clone())),
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
    let first = |side: &Declared| side.scalers.get(id).and_then(|all| all.first()).cloned();
    // What a resource declares without anything that moves it stands at its least.
    let still = first(declared).filter(|row| {
        let policy: Value = serde_json::from_str(&row.policy_json).unwrap_or_default();
        policy["mode"] == "none"
    });
    let own = declared.workloads.get(id);
    subject.replicas = own
        .and_then(|row| row.replicas)
        .or(still.and_then(|row| row.min_replicas))
        .or(facts.replicas);
    subject.gpu_milli = facts.gpu_milli_per_replica;
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
        patience_ms: i64::from(PATIENCE_SECONDS) * 1000,
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
pub(super) fn usages(
    fleet: &Fleet<'_>,
    part: Option<&(&Subject, Part)>,
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
