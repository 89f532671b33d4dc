//! Owns how annotations of a Knative revision become a spec: both spellings of each name, defaults of the
//! cluster's configuration where a revision says nothing. `manifest` calls it.

use serde_json::Value;

use super::{bad, text};
use crate::simulate::hpa::WINDOW_MAX_MS;
use crate::simulate::knative::{self, KpaSpec};
use crate::simulate::quantity::{duration_ms, quantity};
use crate::simulate::spec::{Spec, SpecError};

/// The spec of a revision; `limit` is its containers' own limit of requests at a time.
pub(super) fn knative(annotations: &Value, limit: Option<u32>) -> Result<Spec, SpecError> {
    let named = |names: &[&str]| {
        names.iter().find_map(|name| {
            let path = format!("autoscaling.knative.dev/{name}");
            Some((path.clone(), text(annotations, &[&path])?))
        })
    };
    if let Some((_, class)) = named(&["class"])
        && class != "kpa.autoscaling.knative.dev"
    {
        return Err(SpecError::Unsupported {
            what: format!("the class {}", class.chars().take(80).collect::<String>()),
            why: "give the HorizontalPodAutoscaler that Knative makes of it".to_owned(),
        });
    }
    let whole = |names: &[&str]| -> Result<Option<u32>, SpecError> {
        let Some((name, told)) = named(names) else {
            return Ok(None);
        };
        let wrong = |_| bad(&name, &told, "give a whole number");
        told.parse().map(Some).map_err(wrong)
    };
    let real = |names: &[&str]| -> Result<Option<f64>, SpecError> {
        let Some((name, told)) = named(names) else {
            return Ok(None);
        };
        let wrong = || bad(&name, &told, "give a number");
        quantity(&told).map(Some).ok_or_else(wrong)
    };
    let span = |names: &[&str]| -> Result<Option<i64>, SpecError> {
        let Some((name, told)) = named(names) else {
            return Ok(None);
        };
        let ms = duration_ms(&told).filter(|ms| *ms <= WINDOW_MAX_MS);
        let wrong = || bad(&name, &told, "a duration such as 60s, at most an hour");
        ms.map(Some).ok_or_else(wrong)
    };
    let defaults = KpaSpec::default();
    let (metric, soft, share) = match named(&["metric"]).map(|(_, told)| told).as_deref() {
        None | Some("concurrency") => (knative::Metric::Concurrency, 100.0, 0.7),
        Some("rps") => (knative::Metric::RequestsPerSecond, 200.0, 0.7),
        Some(other) => return Err(bad("metric", other, "concurrency or rps")),
    };
    let share = real(&[
        "target-utilization-percentage",
        "targetUtilizationPercentage",
    ])?
    .map_or(share, |percent| percent / 100.0);
    let hard = limit.filter(|limit| *limit > 0).map(f64::from);
    let hard = hard.filter(|_| metric == knative::Metric::Concurrency);
    let soft = real(&["target"])?.or(hard).unwrap_or(soft);
    let total = hard.map_or(soft, |hard| hard.min(soft));
    let stable_ms = span(&["window"])?.unwrap_or(defaults.stable_ms).max(6000);
    let panic_share = real(&["panic-window-percentage", "panicWindowPercentage"])?.unwrap_or(10.0);
    let threshold = real(&["panic-threshold-percentage", "panicThresholdPercentage"])?;
    Ok(Spec::Knative(KpaSpec {
        min: whole(&["min-scale", "minScale"])?.unwrap_or(0),
        max: whole(&["max-scale", "maxScale"])?.unwrap_or(0),
        metric,
        // The controller lets no target fall below a hundredth.
        target: (total * share).max(0.01),
        total,
        activation: whole(&["activation-scale"])?.unwrap_or(1),
        stable_ms,
        panic_ms: ((stable_ms as f64 * panic_share / 100.0) as i64).max(knative::TICK_MS),
        panic_threshold: threshold.map_or(defaults.panic_threshold, |percent| percent / 100.0),
        delay_ms: span(&["scale-down-delay"])?.unwrap_or(0),
        retention_ms: span(&["scale-to-zero-pod-retention-period"])?.unwrap_or(0),
        burst: real(&["target-burst-capacity", "targetBurstCapacity"])?.unwrap_or(defaults.burst),
        ..defaults
    }))
}
