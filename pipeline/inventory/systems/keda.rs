//! Owns the remedies of KEDA's ScaledObjects: parked where nothing would wake the target, else
//! given bounds. Never the HPA that KEDA makes, which it writes again.

use serde_json::{Value, json as value};

use super::super::lint;
use super::super::objects::Key;
use super::super::scalers::{self, Policy, SCALED_OBJECT};
use super::about::About;
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
use super::{ScalerSystem, View, hpa, shapes};

pub(super) static SCALER: ScalerSystem = ScalerSystem {
    kind: SCALED_OBJECT,
    about: &ABOUT,
    remedies,
};

pub(super) static ABOUT: About = About {
    title: "KEDA ScaledObject",
    kinds: &["ScaledObject (keda.sh/v1alpha1), all kinds of triggers"],
    chain: "none: it aims at any hop of a workload",
    model: "annotations of llm-d",
    remedies: "bounds of the ScaledObject, never of the HPA that KEDA makes; parked where no trigger would wake the target.",
};

const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

fn remedies(view: &View<'_>, key: &Key, body: &Value, wish: &Wish) -> Vec<Remedy> {
    let policy = scalers::policy_of(SCALED_OBJECT, body, None);
    let mut out = Vec::new();
    if wish.zero {
        out.push(zero(key, body, &policy));
    }
    if let Some(bounds) = wish.bounds {
        out.push(bound(key, body, &policy, bounds));
    }
    hpa::variants(view, body, out)
}

fn zero(key: &Key, body: &Value, policy: &Policy) -> Remedy {
    let asleep = lint::never_wakes(policy);
    let because = policy.no_zero.clone().or(asleep);
    let Some(because) = because else {
        let mut draft = Draft::new(key, body);
        draft.set(&["spec", "minReplicaCount"], value!(0));
        if policy.idle.is_some_and(|idle| idle > 0) {
            // An idle count must lie below the minimum.
            draft.remove(&["spec", "idleReplicaCount"]);
        }
        return draft
            .remedy(Action::Zero, &[shapes::PODS_GONE])
            .waking()
            .warned(
                "it sleeps after cooldownPeriod without a signal, and wakes by its triggers: check \
                 that they are measured without any pod",
            );
    };
    let mut draft = Draft::new(key, body);
    draft.set(&["metadata", "annotations", PAUSED_REPLICAS], value!("0"));
    draft
        .remedy(
            Action::Zero,
            &[
                "the ScaledObject's condition Paused is True",
                shapes::PODS_GONE,
            ],
        )
        .warned(format!("parked instead of put to sleep: {because}"))
        .warned("parking deletes the HPA and stops the loop until the annotation goes")
}

fn bound(key: &Key, body: &Value, policy: &Policy, bounds: BoundsWish) -> Remedy {
    let refuse = |because: String| Remedy::not_possible(Action::Bounds, because);
    let min = bounds.min_replicas.or(policy.min);
    let max = bounds.max_replicas.or(policy.max);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return refuse(format!("a minimum of {min} is above the maximum of {max}"));
    }
    if bounds.min_replicas == Some(0)
        && let Some(because) = &policy.no_zero
    {
        return refuse(because.clone());
    }
    let mut draft = Draft::new(key, body);
    for (field, wanted) in [
        ("minReplicaCount", bounds.min_replicas),
        ("maxReplicaCount", bounds.max_replicas),
    ] {
        if let Some(count) = wanted {
            draft.set(&["spec", field], value!(count));
        }
    }
    if let (Some(idle), Some(min)) = (policy.idle, min)
        && idle >= min
    {
        draft.remove(&["spec", "idleReplicaCount"]);
    }
    let mut remedy = draft.remedy(
        Action::Bounds,
        &["the generated HPA has the new bounds, and the condition Ready is True"],
    );
    if let (Some(fallback), Some(max)) = (policy.fallback_replicas, max)
        && fallback > max
    {
        remedy = remedy.warned(format!(
            "fallback.replicas is {fallback}, above the new maximum"
        ));
    }
    match &policy.paused {
        Some(paused) => remedy.warned(format!("it is {paused}: bounds hold once that goes")),
        None => remedy,
    }
}
