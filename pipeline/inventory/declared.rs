//! Owns what one workload's objects declare, in full: system, sizes, every part with its GPUs and
//! parallelism, every model name with its source, and the fields that a change goes to. The table
//! has a row's width of this; the command line shows all of it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::workload::WorkloadId;

use super::command::CommandLine;
use super::identity::{self, MODEL_LABELS};
use super::input::Inputs;
use super::json;
use super::remedies;
use super::resources;
use super::systems::{self, Candidate, Facts, Template, View};

/// What the objects of a workload declare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    pub system: String,
    pub replicas: Option<i64>,
    pub min_replicas: Option<i64>,
    pub max_replicas: Option<i64>,
    /// Autoscalers that aim at it, as `kind.group/namespace/name`.
    pub scalers: Vec<String>,
    pub replicas_field: String,
    pub bounds_field: Option<String>,
    pub tier_field: String,
    /// `source: name`, in order of trust.
    pub models: Vec<String>,
    pub parts: Vec<Part>,
}

/// One kind of pods of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub role: Option<String>,
    pub replicas: Option<i64>,
    pub pods_per_replica: i64,
    pub gpus_per_pod: i64,
    pub gpu_resources: Vec<String>,
    pub node_selector: BTreeMap<String, String>,
    pub tensor_parallel: Option<i64>,
    pub pipeline_parallel: Option<i64>,
    pub data_parallel: Option<i64>,
    pub expert_parallel: Option<bool>,
    /// Whether parallelism and GPUs of a replica agree.
    pub check: String,
}

/// What the objects of a workload declare at the end of the inputs' window; none where no
/// evidence shows the workload.
#[must_use]
pub fn declared(inputs: &Inputs, workload: &WorkloadId) -> Option<Declared> {
    remedies::viewed(inputs, workload, |view| {
        let system = systems::of(view);
        let facts = (system.facts)(view);
        Declared {
            system: system.name.to_owned(),
            replicas: facts.replicas,
            min_replicas: facts.min_replicas,
            max_replicas: facts.max_replicas,
            scalers: view.scalers.iter().map(|(key, _)| key.path()).collect(),
            models: models(view, &facts),
            parts: parts(&facts),
            replicas_field: facts.replicas_field,
            bounds_field: facts.bounds_field,
            tier_field: facts.tier_field,
        }
    })
}

fn lines(template: &Template<'_>) -> Vec<CommandLine> {
    let spec = template.pod_spec;
    let single = [
        json::get(spec, &["mainContainer"]),
        json::get(spec, &["model"]),
    ];
    json::items(spec, &["containers"])
        .iter()
        .chain(single)
        .filter(|one| one.is_object())
        .take(32)
        .map(CommandLine::of)
        .collect()
}

fn models(view: &View<'_>, facts: &Facts<'_>) -> Vec<String> {
    let mut all: Vec<Candidate> = facts.models.clone();
    let commands: Vec<CommandLine> = facts.templates.iter().flat_map(lines).collect();
    all.extend(identity::from_commands(&commands));
    for (source, label) in MODEL_LABELS {
        all.extend(view.label(label).map(|raw| Candidate {
            source,
            raw: raw.to_owned(),
        }));
    }
    let mut out: Vec<String> = Vec::new();
    for candidate in all {
        let line = format!("{}: {}", candidate.source, candidate.raw);
        if !out.contains(&line) {
            out.push(line);
        }
    }
    out
}

fn parts(facts: &Facts<'_>) -> Vec<Part> {
    let gpus = |template: &Template<'_>| {
        template
            .gpus
            .unwrap_or_else(|| resources::requests(template.pod_spec).gpus())
    };
    let of_replica =
        |template: &Template<'_>| gpus(template).saturating_mul(template.pods_per_replica);
    let joint = facts
        .templates
        .iter()
        .map(of_replica)
        .fold(0_i64, i64::saturating_add);
    let commands: Vec<Vec<CommandLine>> = facts.templates.iter().map(lines).collect();
    facts
        .templates
        .iter()
        .enumerate()
        .map(|(index, template)| {
            // Leader and workers make one engine, whose flags stand with one of them.
            let commands: Vec<&CommandLine> = if facts.joint {
                commands.iter().flatten().collect()
            } else {
                commands[index].iter().collect()
            };
            let count = |names: &[&str]| commands.iter().find_map(|line| line.count(names));
            let tensor = facts
                .tensor_parallel
                .or_else(|| count(&["--tensor-parallel-size", "-tp", "--tp", "--tp-size"]));
            let pipeline = facts
                .pipeline_parallel
                .or_else(|| count(&["--pipeline-parallel-size", "-pp", "--pp", "--pp-size"]));
            let data = facts
                .data_parallel
                .or_else(|| count(&["--data-parallel-size", "-dp", "--dp", "--dp-size"]));
            let local = count(&["--data-parallel-size-local", "-dpl"]);
            let expert = facts.expert_parallel.or_else(|| {
                commands
                    .iter()
                    .flat_map(|line| line.words.iter().chain(&line.env_words))
                    .any(|word| word.replace('_', "-") == "--enable-expert-parallel")
                    .then_some(true)
            });
            let total = if facts.joint {
                joint
            } else {
                of_replica(template)
            };
            Part {
                role: template.role.clone(),
                replicas: template.replicas,
                pods_per_replica: template.pods_per_replica,
                gpus_per_pod: gpus(template),
                gpu_resources: named_resources(template.pod_spec),
                node_selector: selector(template),
                tensor_parallel: tensor,
                pipeline_parallel: pipeline,
                data_parallel: data,
                expert_parallel: expert,
                check: check(
                    total,
                    template.pods_per_replica,
                    tensor,
                    pipeline,
                    data,
                    local,
                ),
            }
        })
        .collect()
}

/// The accelerators that are asked for by name, of containers or of what is its own container.
fn named_resources(pod_spec: &Value) -> Vec<String> {
    let of_containers = resources::requests(pod_spec).units;
    if !of_containers.is_empty() {
        return of_containers.into_keys().collect();
    }
    let own = json!({"containers": [{"resources": json::get(pod_spec, &["resources"])}]});
    resources::requests(&own).units.into_keys().collect()
}

fn selector(template: &Template<'_>) -> BTreeMap<String, String> {
    json::get(template.pod_spec, &["nodeSelector"])
        .as_object()
        .map(|map| {
            map.iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        })
        .unwrap_or_default()
}

/// Compares parallelism with the GPUs of one replica. What is not stated is never taken for one,
/// unless there is one GPU only.
fn check(
    gpus: i64,
    pods: i64,
    tensor: Option<i64>,
    pipeline: Option<i64>,
    data: Option<i64>,
    local: Option<i64>,
) -> String {
    if gpus == 0 {
        return "unresolved: no GPU is declared here".to_owned();
    }
    if tensor.or(pipeline).or(data).is_none() {
        return if gpus == 1 {
            "one GPU".to_owned()
        } else {
            format!("unresolved: {gpus} GPUs a replica, and no parallelism is stated")
        };
    }
    let engine = tensor.unwrap_or(1).saturating_mul(pipeline.unwrap_or(1));
    let whole = engine.saturating_mul(data.unwrap_or(1));
    let spread = engine
        .saturating_mul(local.unwrap_or(1))
        .saturating_mul(pods);
    if [engine, whole, spread].contains(&gpus) {
        "agrees".to_owned()
    } else {
        format!("disagrees: {gpus} GPUs a replica, and parallelism uses {whole}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallelism_is_compared_and_never_guessed() {
        let none = None;
        assert_eq!(check(16, 2, Some(8), Some(2), none, none), "agrees");
        assert_eq!(check(8, 1, Some(1), none, Some(8), none), "agrees");
        assert_eq!(check(16, 2, Some(1), none, Some(16), Some(8)), "agrees");
        assert_eq!(check(1, 1, none, none, none, none), "one GPU");
        assert!(check(8, 1, none, none, none, none).starts_with("unresolved"));
        assert!(check(8, 1, Some(4), none, none, none).starts_with("disagrees"));
        assert!(check(0, 1, Some(4), none, none, none).starts_with("unresolved"));
    }
}
