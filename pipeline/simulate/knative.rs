//! Owns Knative's pod autoscaler: a stable and a panic window over concurrency or requests a second.
//!
//! Follows <https://knative.dev/docs/serving/autoscaling/kpa-specific/>,
//! <https://knative.dev/docs/serving/autoscaling/scale-to-zero/> and knative/serving
//! `pkg/autoscaler/scaling/autoscaler.go`, `pkg/reconciler/autoscaling/kpa/scaler.go`; defaults are those
//! of `config/core/configmaps/autoscaler.yaml`. A replay begins in a revision's life, so its initial scale
//! is over.

use std::collections::VecDeque;

use super::fleet::Sight;

pub const TICK_MS: i64 = 2000;
/// What rounding may have added to a whole number.
const NEARLY: f64 = 1e-9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Concurrency,
    RequestsPerSecond,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KpaSpec {
    pub min: u32,
    /// Zero is no limit.
    pub max: u32,
    pub metric: Metric,
    /// What one replica is to hold, utilisation reckoned in.
    pub target: f64,
    /// What it could hold.
    pub total: f64,
    pub activation: u32,
    pub stable_ms: i64,
    pub panic_ms: i64,
    /// Times the capacity that is ready.
    pub panic_threshold: f64,
    pub up_rate: f64,
    pub down_rate: f64,
    pub delay_ms: i64,
    pub grace_ms: i64,
    pub retention_ms: i64,
    pub burst: f64,
    pub may_be_zero: bool,
}

impl Default for KpaSpec {
    /// What a revision without annotations gets.
    fn default() -> Self {
        Self {
            min: 0,
            max: 0,
            metric: Metric::Concurrency,
            target: 70.0,
            total: 100.0,
            activation: 1,
            stable_ms: 60_000,
            panic_ms: 6000,
            panic_threshold: 2.0,
            up_rate: 1000.0,
            down_rate: 2.0,
            delay_ms: 0,
            grace_ms: 30_000,
            retention_ms: 0,
            burst: 211.0,
            may_be_zero: true,
        }
    }
}

/// The mean of the samples of a window. What was not looked at stayed as it was.
#[derive(Debug, Clone, Default)]
struct Mean {
    samples: VecDeque<(i64, f64)>,
    sum: f64,
}

impl Mean {
    fn push(&mut self, at_ms: i64, value: f64, window_ms: i64) -> f64 {
        if let Some((last_ms, last)) = self.samples.back().copied() {
            let mut missed_ms = (last_ms + TICK_MS).max(at_ms - window_ms);
            while missed_ms < at_ms {
                self.samples.push_back((missed_ms, last));
                self.sum += last;
                missed_ms += TICK_MS;
            }
        }
        while let Some((at, old)) = self.samples.front().copied()
            && at <= at_ms - window_ms
        {
            self.samples.pop_front();
            self.sum -= old;
        }
        if self.samples.is_empty() {
            // What rounding left behind goes with the last sample.
            self.sum = 0.0;
        }
        self.samples.push_back((at_ms, value));
        self.sum += value;
        self.sum / self.samples.len() as f64
    }
}

/// An autoscaler at work.
#[derive(Debug, Clone)]
pub struct Kpa {
    spec: KpaSpec,
    stable: Mean,
    panic: Mean,
    panic_since_ms: Option<i64>,
    most_in_panic: u32,
    recent: VecDeque<(i64, u32)>,
    active_since_ms: Option<i64>,
    inactive_since_ms: Option<i64>,
    proxied_since_ms: Option<i64>,
}

fn ceil(value: f64) -> u32 {
    (value - NEARLY).ceil().clamp(0.0, 1e9) as u32
}

impl Kpa {
    #[must_use]
    pub fn new(spec: KpaSpec, start_ms: i64, replicas: u32) -> Self {
        Self {
            spec,
            stable: Mean::default(),
            panic: Mean::default(),
            // An autoscaler that finds several replicas begins in panic, so as to keep them.
            panic_since_ms: (replicas > 1).then_some(start_ms),
            most_in_panic: replicas,
            recent: VecDeque::new(),
            active_since_ms: Some(start_ms),
            inactive_since_ms: None,
            proxied_since_ms: None,
        }
    }

    #[must_use]
    pub fn memory_ms(&self) -> i64 {
        let spec = &self.spec;
        2 * spec.stable_ms + spec.delay_ms + spec.grace_ms.max(spec.retention_ms) + 4 * TICK_MS
    }

    /// One look; `None` keeps what there is.
    pub fn decide(&mut self, now_ms: i64, sight: &Sight) -> Option<u32> {
        let spec = &self.spec;
        let value = match spec.metric {
            Metric::Concurrency => sight.readings.at_the_door?,
            Metric::RequestsPerSecond => sight.readings.arrivals_per_second?,
        };
        let stable = self.stable.push(now_ms, value, spec.stable_ms);
        let panic = self.panic.push(now_ms, value, spec.panic_ms);
        let ready = f64::from(sight.ready.max(1));
        let most = ceil(spec.up_rate * ready);
        let least = (ready / spec.down_rate + NEARLY).floor() as u32;
        let for_stable = ceil(stable / spec.target);
        let for_panic = ceil(panic / spec.target);
        let activated = |wanted: u32, asked: u32| {
            if spec.activation > 1 && asked > 0 {
                wanted.max(spec.activation)
            } else {
                wanted
            }
        };
        let within = |asked: u32| asked.max(least).min(most);
        let in_stable = activated(within(for_stable), for_stable);
        let in_panic = activated(within(for_panic), for_panic);
        let is_over = f64::from(for_panic) / ready >= spec.panic_threshold;
        if is_over {
            self.panic_since_ms = Some(now_ms);
        } else if self
            .panic_since_ms
            .is_some_and(|since| since + spec.stable_ms < now_ms)
        {
            self.panic_since_ms = None;
            self.most_in_panic = 0;
        }
        let mut wanted = in_stable;
        if self.panic_since_ms.is_some() {
            // In panic nothing shrinks.
            self.most_in_panic = self.most_in_panic.max(wanted.max(in_panic));
            wanted = self.most_in_panic;
        }
        if spec.delay_ms > 0 {
            while self
                .recent
                .front()
                .is_some_and(|(at, _)| *at <= now_ms - spec.delay_ms)
            {
                self.recent.pop_front();
            }
            while self.recent.back().is_some_and(|(_, old)| *old <= wanted) {
                self.recent.pop_back();
            }
            self.recent.push_back((now_ms, wanted));
            wanted = self.recent.front().map_or(wanted, |(_, value)| *value);
        }
        wanted = wanted.max(spec.min);
        if spec.max > 0 {
            wanted = wanted.min(spec.max);
        }
        let burst_room = f64::from(sight.ready) * spec.total - spec.burst - panic;
        let is_proxied =
            spec.burst < 0.0 || spec.burst > 0.0 && burst_room < 0.0 || sight.ready == 0;
        if !is_proxied {
            self.proxied_since_ms = None;
        } else if self.proxied_since_ms.is_none() {
            self.proxied_since_ms = Some(now_ms);
        }
        Some(self.towards_zero(now_ms, wanted, sight.current()))
    }

    /// The way to zero: active for a stable window, then inactive, and proxied for the grace period.
    fn towards_zero(&mut self, now_ms: i64, wanted: u32, current: u32) -> u32 {
        if wanted > 0 {
            if self.inactive_since_ms.take().is_some() || self.active_since_ms.is_none() {
                self.active_since_ms = Some(now_ms);
            }
            return wanted;
        }
        if current == 0 {
            return 0;
        }
        if !self.spec.may_be_zero {
            return 1;
        }
        let Some(inactive) = self.inactive_since_ms else {
            let active = now_ms - self.active_since_ms.unwrap_or(now_ms);
            if active < self.spec.stable_ms {
                return 1;
            }
            self.inactive_since_ms = Some(now_ms);
            self.active_since_ms = None;
            // With nobody asking the activator takes the traffic over.
            self.proxied_since_ms.get_or_insert(now_ms);
            return current;
        };
        let waited = now_ms - inactive;
        if waited < self.spec.retention_ms {
            return current;
        }
        let proxied = now_ms - self.proxied_since_ms.unwrap_or(inactive);
        if proxied.max(waited) >= self.spec.grace_ms {
            0
        } else {
            current
        }
    }
}

#[cfg(test)]
#[path = "knative_tests.rs"]
mod tests;
