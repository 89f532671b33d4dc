//! Owns the lint of scaling signals: what is wrong with what a scaler listens to, each finding
//! with its rule, object, sentence and reference. Pure: `fold` hands it policies and what is
//! known of the targets. How a query is read is `promql`'s business.

mod promql;
mod signals;
mod subjects;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::scalers::{Policy, Trigger};
use promql::Selector;
use signals::Survival;

pub(super) use subjects::Subjects;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    RenamedMetric,
    UnfilteredQuery,
    LabelMismatch,
    TwoScalers,
    GpuUtilisation,
    WakeSignalVanishes,
    BlindScaler,
    MeanOfPods,
}

impl Rule {
    /// Stable, and never used for something else.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::RenamedMetric => "renamed-metric",
            Self::UnfilteredQuery => "unfiltered-query",
            Self::LabelMismatch => "label-mismatch",
            Self::TwoScalers => "two-scalers",
            Self::GpuUtilisation => "gpu-utilisation-target",
            Self::WakeSignalVanishes => "wake-signal-vanishes",
            Self::BlindScaler => "blind-scaler",
            Self::MeanOfPods => "mean-of-pods",
        }
    }

    pub(super) fn reference(self) -> &'static str {
        match self {
            Self::RenamedMetric => {
                "vLLM's deprecation policy: deprecated in X.Y, hidden in X.Y+1, removed in X.Y+2"
            }
            Self::UnfilteredQuery => {
                "vLLM production-stack, tutorial on KEDA: one Deployment follows every model's queue"
            }
            Self::LabelMismatch => "KEDA, Prometheus scaler: an empty answer is read as zero",
            Self::TwoScalers => {
                "Kubernetes, HorizontalPodAutoscaler: two of them on one target undo each other"
            }
            Self::GpuUtilisation => {
                "llm-d, workload autoscaling: GPU utilisation is high with one request already"
            }
            Self::WakeSignalVanishes => {
                "llm-d/llm-d#2492, kedacore/keda#3065: the series is absent while there is no pod"
            }
            Self::BlindScaler => {
                "KEDA, keda_scaler_empty_upstream_responses_total; HorizontalPodAutoscaler, \
                 condition ScalingActive"
            }
            Self::MeanOfPods => {
                "llm-d, workload autoscaling: a mean over pods divided by pods cannot exceed one"
            }
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub rule: Rule,
    /// The scaler, as remedies name objects.
    pub object: String,
    pub sentence: String,
}

/// What is known of the target of a scaler. Empty means unknown, and unknown is no mismatch.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub object: String,
    pub namespace: String,
    /// The names of all objects on the way from the pods to the scaler's target.
    pub names: BTreeSet<String>,
    pub pods: BTreeSet<String>,
    /// Every name by which the model is known to be served.
    pub models: BTreeSet<String>,
    pub rivals: Vec<String>,
    /// By how much KEDA's count of empty answers grew.
    pub empty_answers: Option<f64>,
}

/// All findings about one policy, in order.
pub(super) fn lint(subject: &Subject, policy: &Policy) -> Vec<Finding> {
    let mut out = BTreeSet::new();
    let mut add = |rule: Rule, sentence: String| {
        out.insert(Finding {
            rule,
            object: subject.object.clone(),
            sentence,
        });
    };
    for trigger in &policy.triggers {
        let selectors = selectors(trigger);
        for selector in &selectors {
            if let Some(sentence) = signals::renamed(&selector.metric) {
                add(Rule::RenamedMetric, sentence);
            }
            if signals::is_gpu_utilisation(&selector.metric) {
                add(
                    Rule::GpuUtilisation,
                    format!(
                        "it scales on {}, which is near its top with a single request running",
                        selector.metric
                    ),
                );
            }
            if let Some(sentence) = unfiltered(trigger, selector) {
                add(Rule::UnfilteredQuery, sentence);
            }
            for sentence in mismatches(subject, selector) {
                add(Rule::LabelMismatch, sentence);
            }
        }
        if let Some(sentence) = mean_of_pods(trigger) {
            add(Rule::MeanOfPods, sentence);
        }
    }
    for rival in &subject.rivals {
        add(
            Rule::TwoScalers,
            format!("{rival} scales the same target: each undoes what the other does"),
        );
    }
    if let Some(sentence) = asleep(policy) {
        add(Rule::WakeSignalVanishes, sentence);
    }
    for condition in &policy.failing {
        add(
            Rule::BlindScaler,
            format!("its status says {condition}: it does not scale by its signals now"),
        );
    }
    if let Some(count) = subject.empty_answers.filter(|count| *count >= 1.0) {
        add(
            Rule::BlindScaler,
            format!("its queries came back empty {count:.0} times in the window"),
        );
    }
    out.into_iter().collect()
}

/// Findings as they are stored.
pub(super) fn to_json(findings: &[Finding]) -> String {
    let list = findings.iter().map(|one| {
        json!({
            "id": one.rule.id(),
            "object": one.object,
            "sentence": one.sentence,
            "reference": one.rule.reference(),
        })
    });
    Value::Array(list.collect()).to_string()
}

/// The series that a trigger reads, from its query, else from its metric and selector.
fn selectors(trigger: &Trigger) -> Vec<Selector> {
    if let Some(query) = &trigger.query {
        return promql::selectors(query);
    }
    let Some(metric) = trigger.metric.clone().filter(|_| !trigger.is_resource()) else {
        return Vec::new();
    };
    let matchers = trigger
        .selector
        .iter()
        .map(|(name, value)| (name.clone(), "=".to_owned(), value.clone()))
        .collect();
    vec![Selector { metric, matchers }]
}

/// Whether a signal that all models share is read without saying which.
fn unfiltered(trigger: &Trigger, selector: &Selector) -> Option<String> {
    if !signals::is_shared(&selector.metric) || selector.narrows() {
        return None;
    }
    if let Some(object) = &trigger.object {
        // A metric of one Service or Pod is narrow enough; of a namespace it is everybody's.
        return object.starts_with("Namespace/").then(|| {
            format!(
                "{} of {object} counts every model in the namespace, not only this target's",
                selector.metric
            )
        });
    }
    (trigger.query.is_some() || trigger.kind == "External").then(|| {
        format!(
            "{} is read without a namespace, model or pod: it follows every model's load",
            selector.metric
        )
    })
}

/// Labels of a query that no pod of the target can have.
fn mismatches(subject: &Subject, selector: &Selector) -> Vec<String> {
    let mut out = Vec::new();
    for (name, op, value) in &selector.matchers {
        let known: Vec<&str> = match name.as_str() {
            "namespace" | "exported_namespace" | "kubernetes_namespace" => {
                vec![subject.namespace.as_str()]
            }
            "pod" | "exported_pod" | "kubernetes_pod_name" => {
                subject.pods.iter().map(String::as_str).collect()
            }
            "model_name" | "served_model_name" => {
                subject.models.iter().map(String::as_str).collect()
            }
            "variant_name" => subject.names.iter().map(String::as_str).collect(),
            "model" if signals::is_vllm(&selector.metric) => {
                out.push(format!(
                    "{} carries no label model, only model_name: the query finds nothing",
                    selector.metric
                ));
                continue;
            }
            _ => continue,
        };
        if known.is_empty() || known == [""] {
            continue;
        }
        let fits = known
            .iter()
            .map(|have| promql::matches(op, value, have))
            .collect::<Option<Vec<bool>>>();
        // A pattern beyond what is understood is no finding.
        if let Some(fits) = fits
            && !fits.contains(&true)
        {
            out.push(format!(
                "{}{{{name}{op}\"{value}\"}} fits nothing of the target, whose {name} is {}",
                selector.metric,
                known
                    .iter()
                    .take(3)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" or ")
            ));
        }
    }
    out
}

fn mean_of_pods(trigger: &Trigger) -> Option<String> {
    let query = trigger.query.as_deref()?.trim_start();
    let divided = trigger
        .target_type
        .as_deref()
        .is_none_or(|kind| kind == "AverageValue");
    (trigger.kind == "prometheus" && divided && query.starts_with("avg")).then(|| {
        "its query is a mean over pods, which KEDA divides by the number of pods again: \
         use sum, or the metric type Value"
            .to_owned()
    })
}

/// Why a target that goes to zero would never wake.
fn asleep(policy: &Policy) -> Option<String> {
    if policy.sleeps() {
        never_wakes(policy)
    } else {
        None
    }
}

/// Why a target would not wake from zero, whether or not its scaler may take it there. None also
/// where a signal is not known.
pub(super) fn never_wakes(policy: &Policy) -> Option<String> {
    if policy.triggers.is_empty() {
        return None;
    }
    let mut vanishing: BTreeMap<String, String> = BTreeMap::new();
    for trigger in &policy.triggers {
        match survival(trigger) {
            // One signal that survives is enough, and of an unknown one nothing is said.
            Survival::Wakes | Survival::Unknown => return None,
            Survival::Vanishes(why) => {
                // With an error instead of a zero the fallback's replicas come up.
                let fails_loudly = trigger.ignores_nulls == Some(false);
                if fails_loudly && policy.fallback_replicas.is_some_and(|count| count > 0) {
                    return None;
                }
                let name = trigger
                    .metric
                    .clone()
                    .or_else(|| trigger.query.clone())
                    .unwrap_or_else(|| trigger.kind.clone());
                vanishing.insert(name, why.to_owned());
            }
        }
    }
    let (name, why) = vanishing.into_iter().next()?;
    let nulls = policy
        .triggers
        .iter()
        .any(|trigger| trigger.ignores_nulls == Some(true));
    let read_as = if nulls {
        "; KEDA reads the empty answer as zero (ignoreNullValues)"
    } else {
        ""
    };
    Some(format!(
        "at zero {name} {why}{read_as}: the target would stay asleep"
    ))
}

fn survival(trigger: &Trigger) -> Survival {
    if trigger.is_resource() {
        return Survival::Vanishes("is measured on the pods themselves");
    }
    let selectors = selectors(trigger);
    if trigger.query.is_some() || trigger.metric.is_some() && !selectors.is_empty() {
        let mut all = selectors
            .iter()
            .map(|selector| signals::survival(&trigger.kind, &selector.metric));
        let Some(first) = all.next() else {
            return Survival::Unknown;
        };
        return all.fold(first, |so_far, next| match (so_far, next) {
            (Survival::Wakes, _) | (_, Survival::Wakes) => Survival::Wakes,
            (Survival::Unknown, _) | (_, Survival::Unknown) => Survival::Unknown,
            (vanishes, _) => vanishes,
        });
    }
    signals::survival_of_kind(&trigger.kind, trigger.server.as_deref())
}

#[cfg(test)]
mod tests;
