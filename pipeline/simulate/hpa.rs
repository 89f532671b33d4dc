//! Owns the horizontal pod autoscaler, version 2, as its documentation and controller state it: the ratio
//! of each metric with its tolerance, pods without metrics, the largest of several metrics,
//! stabilisation, policies, bounds.
//!
//! Follows <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/> (algorithm
//! details, configurable scaling behaviour) and kubernetes/kubernetes
//! `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go`. A replica that starts counts as a
//! pod without metrics: its engine does not listen yet.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::fleet::Sight;
use super::signal::{Reading, Signal};

/// How often the controller looks, unless its flag says otherwise.
pub const SYNC_MS: i64 = 15_000;
/// A ratio this close to one changes nothing.
pub const TOLERANCE: f64 = 0.1;
const DOWN_WINDOW_MS: i64 = 300_000;
/// The API refuses longer windows and periods.
pub const WINDOW_MAX_MS: i64 = 3_600_000;
pub const PERIOD_MAX_MS: i64 = 1_800_000;

/// What a metric is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The mean over pods: `type: Pods`, or a resource's `AverageValue`.
    PodsAverage(f64),
    /// The mean over pods in percent of what each requests, here in the metric's own unit.
    Utilisation { percent: f64, request: f64 },
    /// The sum divided by the replicas: an external or object metric's `AverageValue`.
    ExternalAverage(f64),
    /// The metric itself: an external or object metric's `Value`.
    Value(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub reading: Reading,
    pub target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    Pods,
    Percent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingPolicy {
    pub kind: PolicyKind,
    pub value: u32,
    pub period_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub window_ms: i64,
    pub select: Select,
    pub policies: Vec<ScalingPolicy>,
    pub tolerance: f64,
}

impl Rules {
    /// What the API fills in where a behaviour says nothing of scaling up.
    #[must_use]
    pub fn up() -> Self {
        let policy = |kind, value| ScalingPolicy {
            kind,
            value,
            period_ms: SYNC_MS,
        };
        Self {
            window_ms: 0,
            select: Select::Max,
            policies: vec![
                policy(PolicyKind::Pods, 4),
                policy(PolicyKind::Percent, 100),
            ],
            tolerance: TOLERANCE,
        }
    }

    /// And of scaling down.
    #[must_use]
    pub fn down() -> Self {
        Self {
            window_ms: DOWN_WINDOW_MS,
            select: Select::Max,
            policies: vec![ScalingPolicy {
                kind: PolicyKind::Percent,
                value: 100,
                period_ms: SYNC_MS,
            }],
            tolerance: TOLERANCE,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct HpaSpec {
    pub min: u32,
    pub max: u32,
    pub metrics: Vec<Metric>,
    pub up: Rules,
    pub down: Rules,
}

/// Ceiling of a number of replicas that floats made: what is a hair above a whole number is it.
fn ceil(value: f64) -> u32 {
    if value.is_nan() {
        return 0;
    }
    (value - 1e-9).ceil().clamp(0.0, 1e9) as u32
}

impl HpaSpec {
    fn is_within(&self, ratio: f64) -> bool {
        1.0 - self.down.tolerance <= ratio && ratio <= 1.0 + self.up.tolerance
    }

    /// What one metric asks for, or `None` where it says nothing.
    fn wanted(&self, metric: &Metric, value: Option<f64>, sight: &Sight) -> Option<u32> {
        let current = sight.current();
        match metric.target {
            Target::PodsAverage(target) => self.by_pods(value, target, target, sight),
            Target::Utilisation { percent, request } => {
                let target = request * percent / 100.0;
                self.by_pods(value, target, request.max(target), sight)
            }
            Target::ExternalAverage(target) => {
                let value = value?;
                let ratio = value / (target * f64::from(current.max(1)));
                Some(if self.is_within(ratio) {
                    current
                } else {
                    ceil(value / target)
                })
            }
            Target::Value(target) => {
                let ratio = value? / target;
                Some(if self.is_within(ratio) {
                    current
                } else {
                    ceil(ratio * f64::from(sight.ready))
                })
            }
        }
    }

    /// By the mean over ready pods; what starts counts against the direction. `silent` is what a pod
    /// without metrics is taken to use where the others use too little.
    fn by_pods(&self, value: Option<f64>, target: f64, silent: f64, sight: &Sight) -> Option<u32> {
        if sight.ready == 0 {
            return None;
        }
        let current = sight.current();
        let (total, ready) = (value?, f64::from(sight.ready));
        let starting = f64::from(sight.starting);
        let ratio = total / (ready * target);
        if sight.starting == 0 {
            return Some(if self.is_within(ratio) {
                current
            } else {
                ceil(ratio * ready)
            });
        }
        let filled = if ratio < 1.0 {
            total + starting * silent
        } else {
            total
        };
        let again = filled / ((ready + starting) * target);
        if self.is_within(again) || (ratio < 1.0) != (again < 1.0) {
            return Some(current);
        }
        let wanted = ceil(again * (ready + starting));
        let is_turned = (again < 1.0 && wanted > current) || (again > 1.0 && wanted < current);
        Some(if is_turned { current } else { wanted })
    }

    /// The largest of what the metrics ask for; nothing shrinks while one of them is silent.
    fn largest(&self, sight: &Sight, values: &[Option<f64>]) -> Option<u32> {
        let mut largest = None;
        let mut silent = false;
        for (metric, value) in self.metrics.iter().zip(values) {
            match self.wanted(metric, *value, sight) {
                Some(wanted) => largest = largest.max(Some(wanted)),
                None => silent = true,
            }
        }
        largest.filter(|wanted| !silent || *wanted >= sight.current())
    }
}

/// A change that was made, for the policies that look back.
#[derive(Debug, Clone, Copy)]
struct Change {
    at_ms: i64,
    by: u32,
}

/// The largest or smallest of the last recommendations, in constant time a look.
#[derive(Debug, Clone, Default)]
struct Extreme(VecDeque<(i64, u32)>);

impl Extreme {
    fn push(&mut self, at_ms: i64, value: u32, window_ms: i64, is_max: bool) -> u32 {
        while self
            .0
            .front()
            .is_some_and(|(at, _)| *at <= at_ms - window_ms)
        {
            self.0.pop_front();
        }
        let is_beaten = |old: u32| if is_max { old <= value } else { old >= value };
        while self.0.back().is_some_and(|(_, old)| is_beaten(*old)) {
            self.0.pop_back();
        }
        self.0.push_back((at_ms, value));
        self.0.front().map_or(value, |(_, value)| *value)
    }
}

/// An autoscaler at work.
#[derive(Debug, Clone)]
pub struct Hpa {
    spec: HpaSpec,
    highest: Extreme,
    lowest: Extreme,
    ups: VecDeque<Change>,
    downs: VecDeque<Change>,
}

impl Hpa {
    #[must_use]
    pub fn new(spec: HpaSpec) -> Self {
        Self {
            spec,
            highest: Extreme::default(),
            lowest: Extreme::default(),
            ups: VecDeque::new(),
            downs: VecDeque::new(),
        }
    }

    /// How long an unchanged sight may still change the answer.
    #[must_use]
    pub fn memory_ms(&self) -> i64 {
        let rules = [&self.spec.up, &self.spec.down];
        let longest = |rules: &&Rules| {
            let periods = rules.policies.iter().map(|policy| policy.period_ms);
            periods.chain([rules.window_ms]).max().unwrap_or(0)
        };
        rules.iter().map(longest).max().unwrap_or(0) + 2 * SYNC_MS
    }

    /// One sync, with a reading for each metric of the spec.
    pub fn sync(&mut self, now_ms: i64, sight: &Sight, values: &[Option<f64>]) -> u32 {
        let (current, spec) = (sight.current(), &self.spec);
        // A target at zero switches its autoscaler off.
        if current == 0 && spec.min != 0 {
            return 0;
        }
        let decided = if current > spec.max {
            spec.max
        } else if current < spec.min {
            spec.min
        } else {
            let Some(asked) = spec.largest(sight, values) else {
                return current;
            };
            self.behave(now_ms, current, asked)
        };
        self.note(now_ms, current, decided);
        decided
    }

    fn behave(&mut self, now_ms: i64, current: u32, asked: u32) -> u32 {
        let (up, down) = (&self.spec.up, &self.spec.down);
        let least = self.lowest.push(now_ms, asked, up.window_ms, false);
        let most = self.highest.push(now_ms, asked, down.window_ms, true);
        let steady = current.max(least).min(most);
        match steady.cmp(&current) {
            Ordering::Greater => {
                let limit = self.limit_up(now_ms, current).max(current);
                steady.min(limit).min(self.spec.max)
            }
            Ordering::Less => {
                let limit = self.limit_down(now_ms, current).min(current);
                steady.max(limit).max(self.spec.min)
            }
            Ordering::Equal => current.clamp(self.spec.min, self.spec.max),
        }
    }

    /// The replicas at the beginning of a policy's period, from which it counts.
    fn before(&self, now_ms: i64, current: u32, policy: &ScalingPolicy) -> u32 {
        let changed = |changes: &VecDeque<Change>| -> u32 {
            let since_ms = now_ms - policy.period_ms;
            let recent = changes.iter().filter(|change| change.at_ms > since_ms);
            recent.map(|change| change.by).sum()
        };
        (current + changed(&self.downs)).saturating_sub(changed(&self.ups))
    }

    fn limit_up(&self, now_ms: i64, current: u32) -> u32 {
        let rules = &self.spec.up;
        let limits = rules.policies.iter().map(|policy| {
            let base = self.before(now_ms, current, policy);
            match policy.kind {
                PolicyKind::Pods => base.saturating_add(policy.value),
                PolicyKind::Percent => {
                    ceil(f64::from(base) * (1.0 + f64::from(policy.value) / 100.0))
                }
            }
        });
        match rules.select {
            Select::Disabled => current,
            Select::Max => limits.max().unwrap_or(current),
            Select::Min => limits.min().unwrap_or(current),
        }
    }

    fn limit_down(&self, now_ms: i64, current: u32) -> u32 {
        let rules = &self.spec.down;
        let limits = rules.policies.iter().map(|policy| {
            let base = self.before(now_ms, current, policy);
            match policy.kind {
                PolicyKind::Pods => base.saturating_sub(policy.value),
                PolicyKind::Percent => {
                    let left = f64::from(base) * (1.0 - f64::from(policy.value.min(100)) / 100.0);
                    (left + 1e-9) as u32
                }
            }
        });
        match rules.select {
            Select::Disabled => current,
            // The policy that changes most is the one that leaves least.
            Select::Max => limits.min().unwrap_or(current),
            Select::Min => limits.max().unwrap_or(current),
        }
    }

    fn note(&mut self, now_ms: i64, before: u32, after: u32) {
        let (list, by) = match after.cmp(&before) {
            Ordering::Greater => (&mut self.ups, after - before),
            Ordering::Less => (&mut self.downs, before - after),
            Ordering::Equal => return,
        };
        list.push_back(Change { at_ms: now_ms, by });
        while list
            .front()
            .is_some_and(|change| change.at_ms <= now_ms - PERIOD_MAX_MS)
        {
            list.pop_front();
        }
    }

    /// The readings of the spec's metrics, in its order.
    pub fn values<'s>(&'s self, sight: &'s Sight) -> impl Iterator<Item = Option<f64>> + 's {
        self.spec.metrics.iter().map(|metric| {
            let summed = Reading {
                // Targets of a mean divide by themselves.
                is_mean: metric.reading.is_mean
                    && !matches!(
                        metric.target,
                        Target::PodsAverage(_) | Target::Utilisation { .. }
                    ),
                ..metric.reading
            };
            sight.readings.read(summed, sight.ready)
        })
    }

    /// Whether any metric is of the kind that the present scaler recorded.
    #[must_use]
    pub fn hears_recorded(spec: &HpaSpec) -> bool {
        spec.metrics
            .iter()
            .any(|metric| metric.reading.signal == Signal::Recorded)
    }
}

#[cfg(test)]
#[path = "hpa_tests.rs"]
mod tests;
