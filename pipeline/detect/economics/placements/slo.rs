//! Owns which latency limits hold for a workload: config, then annotation, then the named default.

use super::WorkloadFacts;
use crate::detect::economics::estimator::Limits;

/// The profile `interactive`, for workloads that declare nothing.
pub const DEFAULT_LIMITS: Limits = Limits {
    ttft_ms: 2000,
    itl_ms: 100,
};

/// One `[[slo]]` entry; blank keys match everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SloRule {
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub model: Option<String>,
    pub ttft_p95_ms: Option<i64>,
    pub itl_p95_ms: Option<i64>,
}

/// The limits in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slo {
    pub limits: Limits,
    /// At least one of the two was declared nowhere.
    pub assumed: bool,
}

impl SloRule {
    /// How many keys match; `None` where one does not.
    fn specificity(&self, workload: &WorkloadFacts) -> Option<usize> {
        let is = |wanted: &Option<String>, facts: &[Option<&str>]| match wanted {
            None => Some(0),
            Some(wanted) => facts
                .iter()
                .flatten()
                .any(|fact| fact.eq_ignore_ascii_case(wanted))
                .then_some(1),
        };
        Some(
            is(&self.namespace, &[Some(&workload.namespace)])?
                + is(&self.workload, &[Some(&workload.workload_name)])?
                + is(
                    &self.model,
                    &[workload.model.as_deref(), workload.model_raw.as_deref()],
                )?,
        )
    }
}

/// The limits of a workload, each of the two from the first place that declares it. Of several
/// matching rules the most specific counts, of equally specific ones the first.
#[must_use]
pub fn resolve_slo(workload: &WorkloadFacts, rules: &[SloRule]) -> Slo {
    let mut matching: Vec<(usize, &SloRule)> = rules
        .iter()
        .filter_map(|rule| Some((rule.specificity(workload)?, rule)))
        .collect();
    // Stable: the order of the file decides between equals.
    matching.sort_by_key(|(named, _)| std::cmp::Reverse(*named));
    let first = |pick: fn(&SloRule) -> Option<i64>, annotated: Option<i64>| {
        matching
            .iter()
            .filter_map(|(_, rule)| pick(rule))
            .chain(annotated)
            .find(|ms| *ms > 0)
    };
    let ttft = first(|rule| rule.ttft_p95_ms, workload.slo_ttft_p95_ms);
    let itl = first(|rule| rule.itl_p95_ms, workload.slo_itl_p95_ms);
    Slo {
        limits: Limits {
            ttft_ms: ttft.unwrap_or(DEFAULT_LIMITS.ttft_ms),
            itl_ms: itl.unwrap_or(DEFAULT_LIMITS.itl_ms),
        },
        assumed: ttft.is_none() || itl.is_none(),
    }
}
