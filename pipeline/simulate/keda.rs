//! Owns KEDA: a loop that activates and deactivates, around a horizontal pod autoscaler that does the rest.
//!
//! Follows <https://keda.sh/docs/latest/concepts/scaling-deployments/>,
//! <https://keda.sh/docs/latest/reference/scaledobject-spec/> and kedacore/keda
//! `pkg/scaling/executor/scale_scaledobjects.go`: polling, activation above a threshold, cooldown since a
//! trigger was last active, idle replicas, the autoscaler's minimum of one.

use super::cron::Between;
use super::fleet::Sight;
use super::hpa::{Hpa, HpaSpec, Metric, Rules, SYNC_MS, Target};
use super::signal::{Reading, Signal};

pub const POLLING_MS: i64 = 30_000;
pub const COOLDOWN_MS: i64 = 300_000;
pub const MAX_REPLICAS: u32 = 100;

/// Where a trigger's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Metric {
        reading: Reading,
        /// An empty answer is zero, as KEDA takes it from Prometheus unless told otherwise.
        nulls_are_zero: bool,
    },
    /// So many replicas between two schedules, and none outside.
    Cron { between: Between, replicas: u32 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub source: Source,
    pub target: Target,
    /// Active above this.
    pub activation: f64,
    /// CPU and memory never wake anything.
    pub activates: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KedaSpec {
    pub min: u32,
    pub max: u32,
    pub idle: Option<u32>,
    pub polling_ms: i64,
    pub cooldown_ms: i64,
    pub triggers: Vec<Trigger>,
    pub up: Rules,
    pub down: Rules,
}

/// A schedule's turns over the replay, and the one that holds.
#[derive(Debug, Clone, Default)]
struct Turns {
    turns: Vec<(i64, bool)>,
    at: usize,
}

impl Turns {
    fn inside(&mut self, now_ms: i64) -> bool {
        while self
            .turns
            .get(self.at + 1)
            .is_some_and(|(from, _)| *from <= now_ms)
        {
            self.at += 1;
        }
        self.turns.get(self.at).is_some_and(|(_, inside)| *inside)
    }

    fn next_ms(&self) -> Option<i64> {
        self.turns.get(self.at + 1).map(|(from, _)| *from)
    }
}

/// A scaled object at work.
#[derive(Debug, Clone)]
pub struct Keda {
    spec: KedaSpec,
    hpa: Hpa,
    turns: Vec<Turns>,
    values: Vec<Option<f64>>,
    last_active_ms: Option<i64>,
    next_poll_ms: i64,
    next_sync_ms: i64,
}

impl Keda {
    /// Starts at a moment of the object's life: it is taken to have been active until then.
    #[must_use]
    pub fn new(spec: KedaSpec, start_ms: i64, end_ms: i64) -> Self {
        let metrics = spec.triggers.iter().map(|trigger| Metric {
            reading: match &trigger.source {
                Source::Metric { reading, .. } => *reading,
                Source::Cron { .. } => Reading::sum(Signal::Constant),
            },
            target: trigger.target,
        });
        let hpa = Hpa::new(HpaSpec {
            // The autoscaler that KEDA makes cannot say zero.
            min: spec.min.max(1),
            max: spec.max,
            metrics: metrics.collect(),
            up: spec.up.clone(),
            down: spec.down.clone(),
        });
        let turns = spec.triggers.iter().map(|trigger| match &trigger.source {
            Source::Cron { between, .. } => Turns {
                turns: between.turns(start_ms, end_ms),
                at: 0,
            },
            Source::Metric { .. } => Turns::default(),
        });
        Self {
            turns: turns.collect(),
            values: vec![None; spec.triggers.len()],
            hpa,
            spec,
            last_active_ms: Some(start_ms),
            next_poll_ms: start_ms,
            next_sync_ms: start_ms,
        }
    }

    #[must_use]
    pub fn step_ms(&self) -> i64 {
        let (mut a, mut b) = (SYNC_MS, self.spec.polling_ms.max(1000));
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a.max(1000)
    }

    #[must_use]
    pub fn memory_ms(&self) -> i64 {
        self.hpa.memory_ms().max(self.spec.cooldown_ms) + 2 * self.spec.polling_ms
    }

    /// When a schedule turns next.
    #[must_use]
    pub fn next_turn_ms(&self) -> Option<i64> {
        self.turns.iter().filter_map(Turns::next_ms).min()
    }

    /// Goes on after a stretch in which nothing was looked at.
    pub fn resume(&mut self, now_ms: i64) {
        self.last_active_ms = Some(now_ms);
        self.next_poll_ms = now_ms;
        self.next_sync_ms = now_ms;
    }

    fn read(&mut self, now_ms: i64, sight: &Sight) {
        for ((trigger, turns), value) in self
            .spec
            .triggers
            .iter()
            .zip(&mut self.turns)
            .zip(&mut self.values)
        {
            *value = match &trigger.source {
                Source::Metric {
                    reading,
                    nulls_are_zero,
                } => {
                    let told = sight.readings.read(*reading, sight.ready);
                    told.or(nulls_are_zero.then_some(0.0))
                }
                Source::Cron { replicas, .. } => Some(if turns.inside(now_ms) {
                    f64::from(*replicas)
                } else {
                    0.0
                }),
            };
        }
    }

    pub fn decide(&mut self, now_ms: i64, sight: &Sight) -> u32 {
        let mut current = sight.current();
        let polls = now_ms >= self.next_poll_ms;
        let syncs = now_ms >= self.next_sync_ms;
        if polls || syncs {
            self.read(now_ms, sight);
        }
        if polls {
            self.next_poll_ms = now_ms + self.spec.polling_ms;
            current = self.poll(now_ms, current);
        }
        if syncs {
            self.next_sync_ms = now_ms + SYNC_MS;
            // What the loop has just started, the autoscaler sees as starting.
            let seen = Sight {
                ready: sight.ready.min(current),
                starting: current - sight.ready.min(current),
                readings: sight.readings,
            };
            let idles = self.spec.idle == Some(current);
            if !idles && current > 0 {
                current = self.hpa.sync(now_ms, &seen, &self.values);
            }
        }
        current
    }

    /// One look of the loop.
    fn poll(&mut self, now_ms: i64, current: u32) -> u32 {
        let waking = self.spec.triggers.iter().zip(&self.values);
        let (mut active, mut broken, mut wakes) = (false, false, false);
        for (trigger, value) in waking.filter(|(trigger, _)| trigger.activates) {
            wakes = true;
            match value {
                Some(value) => active |= *value > trigger.activation,
                None => broken = true,
            }
        }
        let least = self.spec.min;
        // With CPU and memory alone there is nothing to wait for.
        if active || !wakes {
            let asleep = self.spec.idle.is_some() && current < least || current == 0;
            self.last_active_ms = Some(now_ms);
            return if asleep { least.max(1) } else { current };
        }
        if broken {
            return current;
        }
        let rests = self.spec.idle.is_some_and(|idle| current > idle) || current > 0 && least == 0;
        if rests {
            let cooled = self
                .last_active_ms
                .is_none_or(|last| last + self.spec.cooldown_ms < now_ms);
            return if cooled {
                self.spec.idle.unwrap_or(least)
            } else {
                current
            };
        }
        if self.spec.idle.is_none() && current < least {
            return least;
        }
        current
    }
}

#[cfg(test)]
#[path = "keda_tests.rs"]
mod tests;
