//! Owns the registry of serving systems: one adapter a file, all of one shape, the most specific
//! first. An adapter recognises a chain, and reads replicas, pod templates, model and the fields
//! to which a change must go. It knows no time and no metric.

mod about;
mod batch;
pub(super) mod coreweave;
mod deployment;
mod dra;
mod draft;
mod dynamo;
mod dynamo_remedies;
mod edits;
mod hami;
mod hpa;
mod hyperpod;
mod jobs;
mod kai;
mod kaito;
pub(super) mod karpenter;
mod keda;
mod knative;
mod kserve;
mod kueue;
mod layers;
mod llm_d;
mod llmisvc;
mod lws;
mod nim;
pub(super) mod nodes;
mod production_stack;
mod ray;
pub mod remedy;
mod rollout;
mod runai;
mod shapes;
mod thoras;
mod warnings;

use serde_json::Value;

use crate::model::workload::kind_of;

use super::json;
use super::objects::{Key, ObjectStore};
use about::About;
pub use about::{system_pages, systems, systems_page};
use layers::Spot;
use remedy::{Action, Remedy, Wish};

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
    /// Autoscalers that aim at any hop of the chain.
    pub scalers: Vec<(&'a Key, &'a Value)>,
    /// Everything else that snapshots hold.
    pub world: World<'a>,
}

/// The objects of the cluster at one instant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct World<'a> {
    pub store: Option<&'a ObjectStore>,
    pub ms: i64,
}

impl<'a> World<'a> {
    /// An object by its key, as it was then.
    pub(super) fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<&'a Value> {
        let version = self
            .store?
            .nearest(&Key::new(kind, namespace, name), self.ms)?;
        Some(version.body())
    }

    /// All objects of a kind in a namespace, as they were then.
    pub(super) fn of_kind(&self, kind: &'a str, namespace: &str) -> Vec<(&'a Key, &'a Value)> {
        let Some(store) = self.store else {
            return Vec::new();
        };
        store
            .of_kind(kind)
            .filter(|(key, _)| key.namespace == namespace)
            .filter_map(|(key, _)| Some((key, store.nearest(key, self.ms)?.body())))
            .collect()
    }
}

impl<'a> View<'a> {
    /// Whether the top or a member of it made an object: a change of it would be reverted.
    pub(super) fn made(&self, body: &Value) -> bool {
        json::items(body, &["metadata", "ownerReferences"])
            .iter()
            .any(|owner| {
                let kind = kind_of(
                    json::text(owner, &["apiVersion"]).unwrap_or(""),
                    json::text(owner, &["kind"]).unwrap_or(""),
                );
                let name = json::text(owner, &["name"]).unwrap_or("");
                std::iter::once(self.top)
                    .chain(self.members.iter().map(|(key, _)| *key))
                    .any(|key| key.kind == kind && key.name == name)
            })
    }

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
    /// Thousandths of GPUs of one replica where it asks for parts or by claim; wins over templates.
    pub gpu_milli: Option<i64>,
    pub models: Vec<Candidate>,
    pub tensor_parallel: Option<i64>,
    pub pipeline_parallel: Option<i64>,
    pub data_parallel: Option<i64>,
    pub expert_parallel: Option<bool>,
    pub replicas_field: String,
    /// Where least and most replicas stand, if not in the field of the replicas itself.
    pub bounds_field: Option<String>,
    pub tier_field: String,
    /// Where its pod templates stand, if not at `spec.template`.
    pub spots: Vec<Spot>,
}

/// One serving system: recognise, read, answer, and what holds beside every answer. Owner hops are
/// walked by kind for all of them alike, before any adapter is asked.
pub(super) struct System {
    pub name: &'static str,
    pub about: &'static About,
    /// Whether its workloads serve by being what they are.
    pub serves: bool,
    pub recognise: fn(&View<'_>) -> bool,
    pub facts: for<'a> fn(&View<'a>) -> Facts<'a>,
    /// What a change must look like so that the system's controller keeps it.
    pub remedies: for<'a> fn(&View<'a>, &Facts<'a>, &Wish) -> Vec<Remedy>,
    /// What the system says of an answer, also of one that a layer over it gave.
    pub notes: fn(&View<'_>, Remedy) -> Remedy,
}

/// Nothing to say beside an answer.
fn plain(_: &View<'_>, remedy: Remedy) -> Remedy {
    remedy
}

/// One kind of autoscaler: it owns no pod, but the number of somebody's replicas.
pub(super) struct ScalerSystem {
    /// `kind.group` in lower case.
    pub kind: &'static str,
    pub about: &'static About,
    /// Answers `Zero` and `Bounds` for the workload that the scaler aims at.
    pub remedies: fn(&View<'_>, &Key, &Value, &Wish) -> Vec<Remedy>,
}

static SCALERS: &[&ScalerSystem] = &[&keda::SCALER, &hpa::SCALER, &thoras::SCALER];

/// The adapter of an autoscaler's kind.
fn scaler_of(kind: &str) -> Option<&'static ScalerSystem> {
    SCALERS.iter().find(|scaler| scaler.kind == kind).copied()
}

/// One kind of machines or of their pools: no workload, but what money is paid for.
pub(super) struct MachineSystem {
    /// `kind.group` in lower case.
    pub kind: &'static str,
    pub about: &'static About,
    pub remedy: fn(&World<'_>, &Key, &Value, &Wish, Action) -> Remedy,
    /// Gives back machines that are empty or could be emptied; no workload is taken down.
    pub give_back: fn(&Key, &Value) -> Remedy,
}

static MACHINES: &[&MachineSystem] = &[&karpenter::POOL, &coreweave::POOL, &nodes::NODES];

/// The adapter of a kind of machines.
pub(super) fn machines_of(kind: &str) -> Option<&'static MachineSystem> {
    MACHINES
        .iter()
        .find(|machines| machines.kind == kind)
        .copied()
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
    &production_stack::SYSTEM,
    &knative::SYSTEM,
    &hyperpod::SYSTEM,
    &runai::SYSTEM,
    &runai::RUNNER,
    &runai::BATCH,
    &batch::SYSTEM,
    &llm_d::SYSTEM,
    &rollout::SYSTEM,
    &dra::SYSTEM,
    &hami::SYSTEM,
    &kai::SYSTEM,
    &kueue::SYSTEM,
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

/// The answers to a wish: the system's own, then what lies over the workload, then the notes.
pub(super) fn answers(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let system = of(view);
    let facts = (system.facts)(view);
    let own = (system.remedies)(view, &facts, wish);
    layers::over(view, &facts, own, wish)
        .into_iter()
        .map(|remedy| (system.notes)(view, remedy))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn key_of(body: &Value) -> Key {
        let text = |path: &[&str]| json::text(body, path).unwrap_or("");
        let kind = kind_of(text(&["apiVersion"]), text(&["kind"]));
        Key::new(
            &kind,
            text(&["metadata", "namespace"]),
            text(&["metadata", "name"]),
        )
    }

    /// Calls with the view of a body that has these autoscalers.
    pub(super) fn viewed<R>(
        body: &Value,
        scalers: &[Value],
        call: impl FnOnce(&View<'_>) -> R,
    ) -> R {
        let top = key_of(body);
        let keys: Vec<Key> = scalers.iter().map(key_of).collect();
        call(&View {
            top: &top,
            top_body: body,
            members: Vec::new(),
            pod: &Value::Null,
            scalers: keys.iter().zip(scalers).collect(),
            world: World::default(),
        })
    }
}
