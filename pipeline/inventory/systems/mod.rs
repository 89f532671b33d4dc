//! Owns the registry of serving systems: one adapter a file, all of one shape, the most specific
//! first. An adapter recognises a chain, and reads replicas, pod templates, model and the fields
//! to which a change must go. It knows no time and no metric.

mod batch;
mod deployment;
mod dynamo;
mod kaito;
mod kserve;
mod llm_d;
mod llmisvc;
mod lws;
mod nim;
mod ray;

use serde_json::Value;

use super::json;
use super::objects::Key;

/// What an adapter may look at.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The topmost controller, or the bare pod.
    pub top: &'a Key,
    pub top_body: &'a Value,
    /// Known objects below the top that belong to it, in order of kind and name.
    pub members: Vec<(&'a Key, &'a Value)>,
    /// The newest known pod, else null.
    pub pod: &'a Value,
}

impl<'a> View<'a> {
    /// A label of the pod, of a member's pod template, or of the top.
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        json::text(self.pod, &["metadata", "labels", name])
            .or_else(|| {
                self.members.iter().find_map(|(_, body)| {
                    json::text(body, &["spec", "template", "metadata", "labels", name])
                })
            })
            .or_else(|| {
                json::text(
                    self.top_body,
                    &["spec", "template", "metadata", "labels", name],
                )
            })
            .or_else(|| json::text(self.top_body, &["metadata", "labels", name]))
    }
}

/// A pod template and how many pods of it one replica has.
#[derive(Debug, Clone)]
pub(super) struct Template<'a> {
    pub role: Option<String>,
    pub pod_spec: &'a Value,
    pub pods_per_replica: i64,
    pub replicas: Option<i64>,
    /// GPUs of one pod where the resource says them outside of the pod's specification.
    pub gpus: Option<i64>,
}

/// Where a model name was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub source: &'static str,
    pub raw: String,
}

/// What an adapter reads.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub replicas: Option<i64>,
    /// Bounds that the object itself declares, without an autoscaler of its own.
    pub min_replicas: Option<i64>,
    pub max_replicas: Option<i64>,
    pub templates: Vec<Template<'a>>,
    /// The templates together make one replica, instead of one kind of replica each.
    pub joint: bool,
    pub models: Vec<Candidate>,
    pub tensor_parallel: Option<i64>,
    pub pipeline_parallel: Option<i64>,
    pub replicas_field: String,
    pub tier_field: String,
}

/// One serving system.
pub(super) struct System {
    pub name: &'static str,
    /// Whether its workloads serve by being what they are.
    pub serves: bool,
    pub recognise: fn(&View<'_>) -> bool,
    pub facts: for<'a> fn(&View<'a>) -> Facts<'a>,
}

/// The most specific first; the last recognises everything.
static SYSTEMS: &[&System] = &[
    &llmisvc::SYSTEM,
    &kserve::SYSTEM,
    &dynamo::SYSTEM,
    &nim::SYSTEM,
    &kaito::SYSTEM,
    &ray::SYSTEM,
    &lws::SYSTEM,
    &batch::SYSTEM,
    &llm_d::SYSTEM,
    &deployment::SYSTEM,
];

/// The system that speaks for a workload.
pub(super) fn of(view: &View<'_>) -> &'static System {
    SYSTEMS
        .iter()
        .find(|system| (system.recognise)(view))
        .copied()
        .unwrap_or(&deployment::SYSTEM)
}

/// A model named by a field.
fn named(source: &'static str, value: &Value, path: &[&str]) -> Option<Candidate> {
    json::text(value, path).map(|raw| Candidate {
        source,
        raw: raw.to_owned(),
    })
}

/// The pod template of a body that has one at `spec.template.spec`.
fn pod_template(body: &Value) -> Option<Template<'_>> {
    let pod_spec = json::get(body, &["spec", "template", "spec"]);
    pod_spec.is_object().then(|| Template {
        role: json::text(
            body,
            &["spec", "template", "metadata", "labels", "llm-d.ai/role"],
        )
        .map(str::to_owned),
        pod_spec,
        pods_per_replica: 1,
        replicas: json::int(body, &["spec", "replicas"]),
        gpus: None,
    })
}

/// Templates of the known objects that a controller made.
fn member_templates<'a>(view: &View<'a>) -> Vec<Template<'a>> {
    view.members
        .iter()
        .filter(|(key, _)| {
            matches!(
                key.kind.as_str(),
                "deployment.apps" | "statefulset.apps" | "daemonset.apps"
            )
        })
        .filter_map(|(_, body)| pod_template(body))
        .collect()
}
