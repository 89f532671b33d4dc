//! Owns llm-d's plain Deployments: no resource of its own kind, only labels and the InferencePool
//! that selects their pods tell them apart.

use serde_json::Value;

use super::about::About;
use super::remedy::{Action, Remedy};
use super::{Facts, System, View, deployment, json, named, shapes};

pub(super) static SYSTEM: System = System {
    name: "llm-d",
    about: &ABOUT,
    serves: true,
    recognise: |view| {
        [
            "llm-d.ai/model",
            "llm-d.ai/role",
            "llm-d.ai/inferenceServing",
            "llm-d.ai/inference-serving",
        ]
        .iter()
        .any(|name| view.label(name).is_some())
            || pool(view).is_some()
    },
    facts,
    remedies: shapes::remedies,
    notes,
};

pub(super) static ABOUT: About = About {
    title: "llm-d",
    kinds: &[
        "Deployment with labels of llm-d.ai",
        "InferencePool (inference.networking.k8s.io/v1, inference.networking.x-k8s.io), by selector",
        "VariantAutoscaling (llmd.ai/v1alpha1), deprecated",
    ],
    chain: "pod → ReplicaSet → Deployment; the pool selects pods by label and owns none",
    model: "positional argument of `vllm serve`, `modelID` of a variant, label `llm-d.ai/model`",
    remedies: "the Deployment's own fields, or its scaler's. The picker's queue metric is absent \
               until a backend has been ready, so an empty pool does not wake by it.",
};

const POOLS: &[&str] = &[
    "inferencepool.inference.networking.k8s.io",
    "inferencepool.inference.networking.x-k8s.io",
];

/// The pool that selects the workload's pods, in the same namespace.
fn pool<'a>(view: &View<'a>) -> Option<&'a str> {
    POOLS
        .iter()
        .flat_map(|kind| view.world.of_kind(kind, &view.top.namespace))
        .find(|(_, body)| {
            // The older version has the labels directly under the selector.
            let wanted = [
                &["spec", "selector", "matchLabels"][..],
                &["spec", "selector"],
            ]
            .into_iter()
            .find_map(|place| json::get(body, place).as_object());
            wanted.is_some_and(|wanted| {
                !wanted.is_empty()
                    && wanted.iter().all(|(name, value)| {
                        value.is_string() && pod_label(view, name) == value.as_str()
                    })
            })
        })
        .map(|(key, _)| key.name.as_str())
}

/// A label of the pods, never one of the object above them.
fn pod_label<'a>(view: &View<'a>, name: &str) -> Option<&'a str> {
    let template = ["spec", "template", "metadata", "labels", name];
    json::text(view.pod, &["metadata", "labels", name])
        .or_else(|| json::text(view.top_body, &template))
}

/// The legacy variant that aims at the workload.
fn variant<'a>(view: &View<'a>) -> Option<&'a Value> {
    view.world
        .of_kind("variantautoscaling.llmd.ai", &view.top.namespace)
        .into_iter()
        .find(|(key, body)| {
            let target = ["spec", "scaleTargetRef", "name"];
            let target = json::text(body, &target).unwrap_or(&key.name);
            target == view.top.name
        })
        .map(|(_, body)| body)
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let mut facts = (deployment::SYSTEM.facts)(view);
    // The label is a short name for routing: a model resource comes first where both exist.
    if let Some(variant) = variant(view) {
        facts.models.extend(named(
            "variantautoscaling.modelID",
            variant,
            &["spec", "modelID"],
        ));
    }
    let annotated =
        std::iter::once(view.top_body).chain(view.scalers.iter().map(|(_, body)| *body));
    facts.models.extend(annotated.filter_map(|body| {
        named(
            "variantautoscaling.modelID",
            body,
            &["metadata", "annotations", "llm-d.ai/model-id"],
        )
    }));
    facts
}

fn notes(view: &View<'_>, remedy: Remedy) -> Remedy {
    let mut remedy = remedy;
    if let (Action::Zero, Some(pool)) = (remedy.action, pool(view)) {
        remedy = remedy.warned(format!(
            "pool {pool} routes to these pods: with none of them left, its picker emits \
             no queue metric that could wake them"
        ));
    }
    if matches!(remedy.action, Action::Zero | Action::Bounds) && variant(view).is_some() {
        remedy = remedy.warned(
            "a VariantAutoscaling aims at this workload: its own entry for scale to zero \
             must agree, and the kind is deprecated",
        );
    }
    remedy
}
