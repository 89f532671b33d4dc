//! Owns the replay: a spec over a timeline of demand, step by step, and what came of it.
//!
//! Replicas that start serve nothing. A ready replica serves what one was seen, or is estimated, to serve
//! inside the SLO; demand beyond that waits in the order of its arrival, and what has waited too long is
//! not served at all. Time whose demand is unknown is counted and nothing else: replicas stay as they
//! are, and neither hours nor requests of it enter any sum.

use std::collections::VecDeque;

use super::demand::{BUCKET_MS, Bucket, Demand, Timeline};
use super::fleet::{Fleet, Sight};
use super::signal::{Readings, Signal};
use super::spec::{Scaler, Spec};

const HOUR_MS: i64 = 3_600_000;
/// Less work than this is rounding.
const NOTHING: f64 = 1e-9;

/// How replicas of a workload behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// From the decision to the first request.
    pub startup_ms: i64,
    /// Longer waits are late.
    pub late_after_ms: i64,
    /// Who has waited for so long has gone.
    pub patience_ms: i64,
    /// Requests that one replica computes at a time, however late: beyond, they queue.
    pub at_once: Option<u32>,
}

/// One hour of an outcome; milliseconds of replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hour {
    pub hour_ms: i64,
    pub known_ms: i64,
    pub ready_ms: f64,
    pub held_ms: f64,
    pub late_requests: f64,
    pub missed_ms: i64,
}

/// What came of a replay. Sums hold time with known demand only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub known_ms: i64,
    pub unknown_ms: i64,
    pub ready_ms: f64,
    pub held_ms: f64,
    pub peak: f64,
    pub starts: u32,
    pub requests: f64,
    /// Whether a capacity was known; without it nothing below is.
    pub is_served: bool,
    pub late_requests: f64,
    pub unserved_requests: f64,
    /// Time in which who came had to wait for too long.
    pub missed_ms: i64,
    pub hours: Vec<Hour>,
}

/// What waits, in replica-milliseconds, and what arrived lately.
#[derive(Debug, Clone, Default)]
struct Queue {
    work: f64,
    /// Requests that a replica-millisecond of waiting work is.
    requests_per_work: f64,
    arrived: VecDeque<(i64, f64)>,
    arrived_sum: f64,
}

impl Queue {
    fn requests(&self) -> f64 {
        self.work * self.requests_per_work
    }

    /// Serves a step; gives what went away unserved, in requests.
    fn step(&mut self, from_ms: i64, ms: i64, load: f64, ready: f64, serving: &Serving) -> f64 {
        let arriving = load * ms as f64;
        self.work = (self.work + arriving - ready * ms as f64).max(0.0);
        if self.work < NOTHING {
            self.work = 0.0;
            self.arrived.clear();
            self.arrived_sum = 0.0;
            return 0.0;
        }
        self.arrived.push_back((from_ms + ms, arriving));
        self.arrived_sum += arriving;
        while let Some((at, old)) = self.arrived.front().copied()
            && at <= from_ms + ms - serving.patience_ms
        {
            self.arrived.pop_front();
            self.arrived_sum -= old;
        }
        // First come, first served: what waits beyond the last arrivals is older than they are.
        let gone = (self.work - self.arrived_sum.max(0.0)).max(0.0);
        self.work -= gone;
        gone * self.requests_per_work
    }
}

struct Books {
    outcome: Outcome,
    queue: Queue,
}

impl Books {
    fn hour(&mut self, at_ms: i64) -> &mut Hour {
        let hour_ms = at_ms - at_ms.rem_euclid(HOUR_MS);
        let hours = &mut self.outcome.hours;
        if hours.last().is_none_or(|hour| hour.hour_ms != hour_ms) {
            hours.push(Hour {
                hour_ms,
                ..Hour::default()
            });
        }
        let last = hours.len() - 1;
        &mut hours[last]
    }

    fn account(
        &mut self,
        (from_ms, ms): (i64, i64),
        demand: &Demand,
        (ready, held): (f64, f64),
        serving: &Serving,
    ) {
        let span = ms as f64;
        let outcome = &mut self.outcome;
        outcome.known_ms += ms;
        outcome.ready_ms += ready * span;
        outcome.held_ms += held * span;
        outcome.peak = outcome.peak.max(held);
        outcome.requests += demand.requests_per_second * span / 1000.0;
        let (mut late, mut missed) = (0.0, 0);
        if let Some(load) = demand.load {
            outcome.is_served = true;
            if load > 0.0 {
                self.queue.requests_per_work = demand.requests_per_second / (load * 1000.0);
            }
            outcome.unserved_requests += self.queue.step(from_ms, ms, load, ready, serving);
            let waits = self.queue.work > ready * serving.late_after_ms as f64;
            if waits && load > 0.0 {
                late = demand.requests_per_second * span / 1000.0;
                missed = ms;
            }
            outcome.late_requests += late;
            outcome.missed_ms += missed;
        }
        let hour = self.hour(from_ms);
        hour.known_ms += ms;
        hour.ready_ms += ready * span;
        hour.held_ms += held * span;
        hour.late_requests += late;
        hour.missed_ms += missed;
    }

    fn skip(&mut self, from_ms: i64) {
        self.outcome.unknown_ms += BUCKET_MS;
        self.hour(from_ms);
        // Nobody knows what waited at its end.
        self.queue = Queue::default();
    }
}

/// What a scaler could see of a workload with so many replicas ready.
fn readings(
    bucket: &Bucket,
    demand: &Demand,
    ready: u32,
    (queue, at_once): (&Queue, Option<u32>),
) -> Readings {
    let waiting_now = queue.requests();
    let mut seen = Readings {
        recorded: bucket.recorded,
        arrivals_per_second: Some(demand.requests_per_second),
        ..Readings::default()
    };
    if ready == 0 {
        // Engines that are not there report nothing; only a door before them counts.
        let standing = if demand.load.is_some() {
            Some(0.0)
        } else {
            demand.running
        };
        seen.at_the_door = standing.map(|standing| standing + waiting_now);
        return seen;
    }
    let count = f64::from(ready);
    let load = demand.load.unwrap_or(0.0);
    let served = if load > count { count / load } else { 1.0 };
    // Engines take in what is late up to their limit, and queue the rest.
    let room = demand.running.zip(at_once).map_or(0.0, |(running, limit)| {
        (count * f64::from(limit) - running).max(0.0)
    });
    let taken_in = waiting_now.min(room);
    seen.running = demand.running.map(|running| running + taken_in);
    // The queue that stood there thins out as replicas are added.
    let thinned = (bucket.ready / count).min(1.0);
    seen.waiting = demand
        .waiting
        .map(|waiting| waiting * thinned + waiting_now - taken_in);
    seen.requests_per_second = Some(demand.requests_per_second * served);
    seen.prompt_tokens_per_second = Some(demand.prompt_tokens_per_second * served);
    seen.output_tokens_per_second = Some(demand.output_tokens_per_second * served);
    seen.cache_usage = demand.cache_usage;
    seen.cpu_milli = demand.cpu_milli;
    seen.at_the_door = seen
        .running
        .map(|running| running + seen.waiting.unwrap_or(0.0));
    seen
}

/// Whether any bucket of the timeline tells a signal.
#[must_use]
pub fn is_recorded(timeline: &Timeline, signal: Signal) -> bool {
    let tells = |bucket: &Bucket| match (signal, bucket.demand) {
        (Signal::Constant, _) => true,
        (Signal::Recorded, _) => bucket.recorded.is_some(),
        (_, None) => false,
        (Signal::Running, Some(demand)) => demand.running.is_some(),
        (Signal::Waiting, Some(demand)) => demand.waiting.is_some(),
        (Signal::InFlight, Some(demand)) => demand.running.is_some() && demand.waiting.is_some(),
        (Signal::CacheUsage, Some(demand)) => demand.cache_usage.is_some(),
        (Signal::CpuMilli, Some(demand)) => demand.cpu_milli.is_some(),
        (
            Signal::RequestsPerSecond
            | Signal::PromptTokensPerSecond
            | Signal::OutputTokensPerSecond,
            Some(_),
        ) => true,
    };
    timeline.buckets.iter().any(tells)
}

/// What the spec would have done.
#[must_use]
pub fn replay(timeline: &Timeline, spec: &Spec, serving: &Serving) -> Outcome {
    run(timeline, spec, serving, true)
}

/// With leaps over time in which nothing moves, or step by step.
fn run(timeline: &Timeline, spec: &Spec, serving: &Serving, leaps: bool) -> Outcome {
    let (least, most) = spec.bounds();
    let least = match spec {
        // At zero an autoscaler of this kind is off: whoever proposes one means it to run.
        Spec::Hpa(_) => least.max(1),
        _ => least,
    };
    let at_first = timeline.buckets.first().map_or(0.0, |bucket| bucket.held);
    let replicas = (at_first.round().clamp(0.0, 1e6) as u32).clamp(least, most.max(least));
    let mut fleet = Fleet::ready(replicas);
    let mut scaler = Scaler::new(spec, timeline.start_ms, timeline.end_ms(), replicas);
    let (step_ms, memory_ms) = (scaler.step_ms(), scaler.memory_ms());
    let mut books = Books {
        outcome: Outcome::default(),
        queue: Queue::default(),
    };
    let mut last: Option<Sight> = None;
    let (mut quiet_since_ms, mut is_blind) = (timeline.start_ms, false);
    for (index, bucket) in timeline.buckets.iter().enumerate() {
        let start_ms = timeline.start_ms + index as i64 * BUCKET_MS;
        let end_ms = start_ms + BUCKET_MS;
        let Some(demand) = &bucket.demand else {
            books.skip(start_ms);
            fleet.advance(end_ms);
            is_blind = true;
            continue;
        };
        if std::mem::take(&mut is_blind) {
            scaler.resume(start_ms);
            last = None;
        }
        let mut now_ms = start_ms;
        while now_ms < end_ms {
            fleet.advance(now_ms);
            let sight = Sight {
                ready: fleet.ready,
                starting: fleet.starting_count,
                readings: readings(bucket, demand, fleet.ready, (&books.queue, serving.at_once)),
            };
            if last != Some(sight) {
                quiet_since_ms = now_ms;
                last = Some(sight);
            }
            let wanted = scaler.decide(now_ms, &sight);
            let held = fleet.held();
            if wanted != held {
                books.outcome.starts += wanted.saturating_sub(held);
                fleet.scale_to(wanted, now_ms, serving.startup_ms);
                last = None;
            }
            // Where nothing moves until the bucket's last step, that step tells the rest.
            let rests = leaps
                && last.is_some()
                && sight.starting == 0
                && books.queue.work == 0.0
                && now_ms - quiet_since_ms >= memory_ms
                && demand
                    .load
                    .is_none_or(|load| load <= f64::from(fleet.ready))
                && scaler.next_turn_ms().is_none_or(|turn| turn >= end_ms);
            let next_ms = if rests && end_ms - step_ms > now_ms {
                end_ms - step_ms
            } else {
                (now_ms + step_ms).min(end_ms)
            };
            let replicas = (f64::from(fleet.ready), f64::from(fleet.held()));
            books.account((now_ms, next_ms - now_ms), demand, replicas, serving);
            now_ms = next_ms;
        }
    }
    books.outcome
}

/// What the replicas that there were did, by the same serving model.
#[must_use]
pub fn replay_observed(timeline: &Timeline, serving: &Serving) -> Outcome {
    let mut books = Books {
        outcome: Outcome::default(),
        queue: Queue::default(),
    };
    for (index, bucket) in timeline.buckets.iter().enumerate() {
        let start_ms = timeline.start_ms + index as i64 * BUCKET_MS;
        match &bucket.demand {
            None => books.skip(start_ms),
            Some(demand) => {
                let replicas = (bucket.ready, bucket.held);
                books.account((start_ms, BUCKET_MS), demand, replicas, serving);
            }
        }
    }
    books.outcome
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
