//! Owns the remedies of HorizontalPodAutoscalers, also those that llm-d's variant autoscaler
//! drives: bounds, and zero where the cluster and the metrics allow it.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::scalers::{self, GRAPH_ADAPTER, HPA, Policy, ROLE_SCALER, wva};
use super::about::About;
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
use super::{Facts, ScalerSystem, View, json, layers, shapes};

pub(super) static SCALER: ScalerSystem = ScalerSystem {
    kind: HPA,
    about: &ABOUT,
    remedies,
};

pub(super) static ABOUT: About = About {
    title: "HorizontalPodAutoscaler",
    kinds: &["HorizontalPodAutoscaler (autoscaling/v2, v1)"],
    chain: "none: it aims at any hop of a workload",
    model: "annotations of llm-d",
    remedies: "its bounds; zero only from Kubernetes 1.37 on and with an outside metric, else the target itself is stopped.",
};

/// Where the variant autoscaler is told which models may sleep.
const SLEEPERS: &str = "wva-model-scale-to-zero-config";

fn remedies(view: &View<'_>, key: &Key, body: &Value, wish: &Wish) -> Vec<Remedy> {
    let policy = scalers::policy_of(HPA, body, cluster_minor(view));
    let mut out = Vec::new();
    if wish.zero {
        out.push(zero(view, key, body, &policy));
    }
    if let Some(bounds) = wish.bounds {
        out.push(bound(key, body, &policy, bounds));
    }
    variants(view, body, out)
}

fn cluster_minor(view: &View<'_>) -> Option<i64> {
    view.world
        .of_kind("node", "")
        .into_iter()
        .filter_map(|(_, body)| {
            scalers::minor(json::text(body, &["status", "nodeInfo", "kubeletVersion"])?)
        })
        .max()
}

fn zero(view: &View<'_>, key: &Key, body: &Value, policy: &Policy) -> Remedy {
    let Some(because) = &policy.no_zero else {
        let mut draft = Draft::new(key, body);
        draft.set(&["spec", "minReplicas"], value!(0));
        return draft
            .remedy(Action::Zero, &[shapes::PODS_GONE])
            .waking()
            .warned("it wakes by its metrics only: check that they are measured without any pod");
    };
    stop(view, body).warned(format!(
        "{because}, so the target itself is set to zero, which disables the HPA until somebody \
         sets it back"
    ))
}

/// The scaled object with no replicas, by its own field.
pub(super) fn stop(view: &View<'_>, scaler: &Value) -> Remedy {
    let reference = json::get(scaler, &["spec", "scaleTargetRef"]);
    let (kind, name) = (
        json::text(reference, &["kind"]).unwrap_or("Deployment"),
        json::text(reference, &["name"]).unwrap_or(""),
    );
    let fits = |key: &Key| {
        key.name == name
            && key
                .kind
                .split('.')
                .next()
                .is_some_and(|bare| bare.eq_ignore_ascii_case(kind))
    };
    // Adapters that only pass a count on are nobody's hop.
    let adapters = [GRAPH_ADAPTER, ROLE_SCALER]
        .into_iter()
        .flat_map(|kind| view.world.of_kind(kind, &view.top.namespace));
    let found = std::iter::once((view.top, view.top_body))
        .chain(view.members.iter().copied())
        .chain(adapters)
        .find(|(key, _)| fits(key));
    let Some((key, body)) = found else {
        return Remedy::not_possible(
            Action::Zero,
            format!("no snapshot shows {kind} {name}, which the autoscaler moves"),
        );
    };
    let adapter = [GRAPH_ADAPTER, ROLE_SCALER].contains(&key.kind.as_str());
    if key != view.top && !adapter && view.made(body) {
        return Remedy::not_possible(
            Action::Zero,
            format!(
                "{} is made by {}, which would write its replicas again",
                key.path(),
                view.top.path()
            ),
        );
    }
    let place: &[&str] = if key.kind.ends_with(".production-stack.vllm.ai") {
        &["spec", "deploymentConfig", "replicas"]
    } else {
        &["spec", "replicas"]
    };
    let mut draft = Draft::new(key, body);
    draft.set(place, value!(0));
    let remedy = draft.remedy(Action::Zero, &[shapes::PODS_GONE]);
    if key.kind == GRAPH_ADAPTER {
        return remedy.warned(
            "with all its workers at zero Dynamo's frontend drops the model, and no request can \
             wake it: only with a plan to scale it up from outside",
        );
    }
    remedy
}

fn bound(key: &Key, body: &Value, policy: &Policy, bounds: BoundsWish) -> Remedy {
    let min = bounds.min_replicas.or(policy.min);
    let max = bounds.max_replicas.or(policy.max);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Remedy::not_possible(
            Action::Bounds,
            format!("a minimum of {min} is above the maximum of {max}"),
        );
    }
    if bounds.min_replicas == Some(0)
        && let Some(because) = &policy.no_zero
    {
        return Remedy::not_possible(Action::Bounds, because.clone());
    }
    let mut draft = Draft::new(key, body);
    for (field, wanted) in [
        ("minReplicas", bounds.min_replicas),
        ("maxReplicas", bounds.max_replicas),
    ] {
        if let Some(count) = wanted {
            draft.set(&["spec", field], value!(count));
        }
    }
    let remedy = draft.remedy(
        Action::Bounds,
        &["status.desiredReplicas lies within the new bounds"],
    );
    match &policy.paused {
        Some(paused) => remedy.warned(format!("{paused}: bounds hold once that is over")),
        None => remedy,
    }
}

/// Whether llm-d's variant autoscaler drives a scaler: by its annotation, or by its resource.
fn is_driven(view: &View<'_>, scaler: &Value) -> bool {
    let managed =
        json::text(scaler, &["metadata", "annotations", "llm-d.ai/managed"]) == Some("true");
    let target = json::text(scaler, &["spec", "scaleTargetRef", "name"]);
    managed
        || target.is_some()
            && view
                .world
                .of_kind(wva::VARIANT, &view.top.namespace)
                .into_iter()
                .any(|(_, body)| json::text(body, &["spec", "scaleTargetRef", "name"]) == target)
}

/// A tier is a variant to it, with a cost and a scaler of its own.
pub(super) fn over(
    view: &View<'_>,
    _facts: &Facts<'_>,
    base: Vec<Remedy>,
    _wish: &Wish,
) -> Vec<Remedy> {
    if !view
        .scalers
        .iter()
        .any(|(_, scaler)| is_driven(view, scaler))
    {
        return base;
    }
    layers::warn(
        base,
        Action::Tier,
        "llm-d's variant autoscaler knows tiers as variants: a new variant with a scaler of its own \
         is the way; changed in place, llm-d.ai/variant-cost and the label \
         inference.optimization/acceleratorName must follow",
    )
}

/// What llm-d's variant autoscaler wants beside, where it drives the scaler.
pub(super) fn variants(view: &View<'_>, scaler: &Value, base: Vec<Remedy>) -> Vec<Remedy> {
    if !is_driven(view, scaler) {
        return base;
    }
    base.into_iter()
        .map(|remedy| {
            if remedy.change().is_none() {
                return remedy;
            }
            let remedy = remedy.warned(
                "llm-d's variant autoscaler is deprecated: KEDA with the endpoint picker's metrics \
                 replaces it",
            );
            if remedy.action == Action::Zero {
                remedy.warned(format!(
                    "the model needs its entry in the ConfigMap {SLEEPERS} too, or the variant \
                     autoscaler asks for one replica again"
                ))
            } else {
                remedy
            }
        })
        .collect()
}
