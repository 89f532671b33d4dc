//! Owns a scaling spec of any kind, what it needs to have been recorded, and how one is set to work.

use super::fleet::Sight;
use super::hpa::{Hpa, HpaSpec, SYNC_MS, Target};
use super::keda::{Keda, KedaSpec, Source};
use super::knative::{Kpa, KpaSpec, Metric, TICK_MS};
use super::signal::{Reading, Signal};

/// What decides how many replicas there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    Fixed { replicas: u32 },
    Hpa(HpaSpec),
    Keda(KedaSpec),
    Knative(KpaSpec),
}

/// Why a spec cannot be simulated. Each says what is missing.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SpecError {
    #[error(
        "nothing is known of how a `{kind}` scales: give a HorizontalPodAutoscaler, a ScaledObject, a Deployment or another kind with `spec.replicas`, or a Knative Service or PodAutoscaler"
    )]
    UnknownKind { kind: String },
    #[error(
        "the metric `{metric}` was never recorded for this workload, so nothing tells what the scaler would have seen: listen to requests running or waiting, requests or tokens a second, cache usage or cpu"
    )]
    NeverRecorded { metric: String },
    #[error("{field} is missing: {why}")]
    Missing { field: String, why: String },
    #[error("`{value}` is no value for {field}: {why}")]
    Bad {
        field: String,
        value: String,
        why: String,
    },
    #[error("{what} is not simulated: {why}")]
    Unsupported { what: String, why: String },
}

fn name_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Running => "requests running",
        Signal::Waiting => "requests waiting",
        Signal::InFlight => "requests running and waiting",
        Signal::RequestsPerSecond => "requests a second",
        Signal::PromptTokensPerSecond => "prompt tokens a second",
        Signal::OutputTokensPerSecond => "output tokens a second",
        Signal::CacheUsage => "key-value cache usage",
        Signal::CpuMilli => "cpu",
        Signal::Recorded => "the scaler's own metric",
        Signal::Constant => "a schedule",
    }
}

impl Spec {
    /// What it is called where people read it.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Fixed { replicas } => format!("fixed {replicas}"),
            Self::Hpa(spec) => format!("HPA {}..{}", spec.min, spec.max),
            Self::Keda(spec) => match spec.idle {
                Some(idle) => format!("KEDA {idle}|{}..{}", spec.min, spec.max),
                None => format!("KEDA {}..{}", spec.min, spec.max),
            },
            Self::Knative(spec) if spec.max == 0 => format!("Knative {}..", spec.min),
            Self::Knative(spec) => format!("Knative {}..{}", spec.min, spec.max),
        }
    }

    /// Signals that must have been recorded.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        match self {
            Self::Fixed { .. } => Vec::new(),
            Self::Hpa(spec) => spec.metrics.iter().map(|metric| metric.reading).collect(),
            Self::Keda(spec) => spec
                .triggers
                .iter()
                .filter_map(|trigger| match &trigger.source {
                    Source::Metric { reading, .. } => Some(*reading),
                    Source::Cron { .. } => None,
                })
                .collect(),
            Self::Knative(spec) => vec![Reading::sum(match spec.metric {
                Metric::Concurrency => Signal::InFlight,
                Metric::RequestsPerSecond => Signal::RequestsPerSecond,
            })],
        }
    }

    /// Refuses a spec that listens to what no bucket of the timeline tells.
    pub fn needs(&self, is_recorded: impl Fn(Signal) -> bool) -> Result<(), SpecError> {
        match self
            .readings()
            .into_iter()
            .find(|reading| !is_recorded(reading.signal))
        {
            Some(reading) => Err(SpecError::NeverRecorded {
                metric: name_of(reading.signal).to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Least and most replicas.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Fixed { replicas } => (*replicas, *replicas),
            Self::Hpa(spec) => (spec.min, spec.max),
            Self::Keda(spec) => (spec.idle.unwrap_or(spec.min).min(spec.min), spec.max),
            Self::Knative(spec) => (spec.min, if spec.max == 0 { u32::MAX } else { spec.max }),
        }
    }

    /// Checks what the algorithms rely on, whoever made the spec.
    pub fn check(&self) -> Result<(), SpecError> {
        let (min, max) = self.bounds();
        let bad = |field: &str, value: String, why: &str| SpecError::Bad {
            field: field.to_owned(),
            value,
            why: why.to_owned(),
        };
        if min > max || max == 0 && !matches!(self, Self::Fixed { .. }) {
            return Err(bad(
                "the most replicas",
                max.to_string(),
                "it must be at least one and at least the minimum",
            ));
        }
        if max > REPLICAS_MAX && max != u32::MAX {
            return Err(bad("the most replicas", max.to_string(), "at most 100000"));
        }
        let targets: Vec<f64> = match self {
            Self::Fixed { .. } => Vec::new(),
            Self::Hpa(spec) => spec.metrics.iter().map(|one| amount(one.target)).collect(),
            Self::Keda(spec) => spec.triggers.iter().map(|one| amount(one.target)).collect(),
            Self::Knative(spec) => vec![spec.target, spec.up_rate - 1.0, spec.down_rate - 1.0],
        };
        match targets
            .iter()
            .find(|target| !(**target > 0.0 && target.is_finite()))
        {
            Some(target) => Err(bad(
                "a target or rate",
                target.to_string(),
                "it must be above zero, and a rate above one",
            )),
            None => Ok(()),
        }
    }
}

/// More replicas than any cluster has nodes for.
const REPLICAS_MAX: u32 = 100_000;

fn amount(target: Target) -> f64 {
    match target {
        Target::PodsAverage(value) | Target::ExternalAverage(value) | Target::Value(value) => value,
        Target::Utilisation { percent, request } => percent * request,
    }
}

/// A spec at work.
#[derive(Debug, Clone)]
pub(super) enum Scaler {
    Fixed { replicas: u32 },
    Hpa { hpa: Hpa, values: Vec<Option<f64>> },
    Keda(Keda),
    Knative(Kpa),
}

impl Scaler {
    pub(super) fn new(spec: &Spec, start_ms: i64, end_ms: i64, replicas: u32) -> Self {
        match spec {
            Spec::Fixed { replicas } => Self::Fixed {
                replicas: *replicas,
            },
            Spec::Hpa(spec) => Self::Hpa {
                values: Vec::with_capacity(spec.metrics.len()),
                hpa: Hpa::new(spec.clone()),
            },
            Spec::Keda(spec) => Self::Keda(Keda::new(spec.clone(), start_ms, end_ms)),
            Spec::Knative(spec) => Self::Knative(Kpa::new(spec.clone(), start_ms, replicas)),
        }
    }

    pub(super) fn step_ms(&self) -> i64 {
        match self {
            Self::Fixed { .. } | Self::Hpa { .. } => SYNC_MS,
            Self::Keda(keda) => keda.step_ms(),
            Self::Knative(_) => TICK_MS,
        }
    }

    /// How long an unchanged sight may still change the answer.
    pub(super) fn memory_ms(&self) -> i64 {
        match self {
            Self::Fixed { .. } => 0,
            Self::Hpa { hpa, .. } => hpa.memory_ms(),
            Self::Keda(keda) => keda.memory_ms(),
            Self::Knative(kpa) => kpa.memory_ms(),
        }
    }

    pub(super) fn next_turn_ms(&self) -> Option<i64> {
        match self {
            Self::Keda(keda) => keda.next_turn_ms(),
            _ => None,
        }
    }

    pub(super) fn resume(&mut self, now_ms: i64) {
        if let Self::Keda(keda) = self {
            keda.resume(now_ms);
        }
    }

    pub(super) fn decide(&mut self, now_ms: i64, sight: &Sight) -> u32 {
        match self {
            Self::Fixed { replicas } => *replicas,
            Self::Hpa { hpa, values } => {
                values.clear();
                values.extend(hpa.values(sight));
                hpa.sync(now_ms, sight, values)
            }
            Self::Keda(keda) => keda.decide(now_ms, sight),
            Self::Knative(kpa) => kpa.decide(now_ms, sight).unwrap_or(sight.current()),
        }
    }
}
