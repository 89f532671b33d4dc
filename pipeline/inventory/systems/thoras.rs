//! Owns the remedies of Thoras' AIScaleTargets: first its hand is taken off, or its own bounds are
//! set; CPU that it sizes by itself is bounded here too, not in the workload.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::scalers::{HPA, thoras};
use super::about::About;
use super::remedy::{Action, BoundsWish, CpuWish, Draft, Remedy, Wish};
use super::{ScalerSystem, View, hpa, json, layers, scaler_of};

pub(super) static SCALER: ScalerSystem = ScalerSystem {
    kind: thoras::AI_SCALE_TARGET,
    remedies,
};

pub(super) static ABOUT: About = About {
    title: "Thoras AIScaleTarget",
    system: "aiscaletarget.thoras.ai",
    kinds: &["AIScaleTarget (thoras.ai/v1)"],
    chain: "none: it aims at any hop of a workload",
    model: "none",
    remedies: "its own bounds, for CPU too where it sizes containers by itself; for zero its mode first, then the target.",
};

fn remedies(view: &View<'_>, key: &Key, body: &Value, wish: &Wish) -> Vec<Remedy> {
    let mut out = Vec::new();
    if wish.zero {
        out.extend(zero(view, key, body));
    }
    if let Some(bounds) = wish.bounds {
        out.push(bound(view, key, body, bounds));
    }
    out.into_iter()
        .map(|remedy| templated(body, remedy))
        .collect()
}

/// A target that a cluster-wide template made is written again from it.
fn templated(body: &Value, remedy: Remedy) -> Remedy {
    let template = json::items(body, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| json::text(owner, &["kind"]) == Some("ClusterAIScaleTemplate"))
        .and_then(|owner| json::text(owner, &["name"]));
    match template {
        Some(name) if remedy.change().is_some() => remedy.warned(format!(
            "it is made from {}/{name}: change the template, or exempt the workload from it",
            thoras::TEMPLATE
        )),
        _ => remedy,
    }
}

/// The HPA beside it, whose work it takes over.
fn beside<'v>(view: &View<'v>, body: &Value) -> Option<(&'v Key, &'v Value)> {
    let wanted = |one: &Value| {
        let reference = ["spec", "scaleTargetRef"];
        let field = |body: &Value, name: &str| {
            json::text(json::get(body, &reference), &[name]).map(str::to_owned)
        };
        field(one, "name") == field(body, "name") && field(one, "kind") == field(body, "kind")
    };
    view.world
        .of_kind(HPA, &view.top.namespace)
        .into_iter()
        .find(|(_, one)| wanted(one))
}

fn zero(view: &View<'_>, key: &Key, body: &Value) -> Vec<Remedy> {
    let mut out = Vec::new();
    if thoras::is_autonomous(body) {
        let mut draft = Draft::new(key, body);
        draft.set(&["spec", "horizontal", "mode"], value!("recommendation"));
        out.push(
            draft
                .remedy(
                    Action::Zero,
                    &["spec.horizontal.mode is recommendation, and Thoras moves no replicas"],
                )
                .warned("first of two changes: Thoras would scale the target up again"),
        );
    }
    let only = Wish {
        zero: true,
        ..Wish::default()
    };
    match (beside(view, body), scaler_of(HPA)) {
        (Some((key, body)), Some(scaler)) => {
            out.extend((scaler.remedies)(view, key, body, &only));
        }
        _ => out.push(hpa::stop(view, body)),
    }
    out
}

fn bound(view: &View<'_>, key: &Key, body: &Value, bounds: BoundsWish) -> Remedy {
    let horizontal = json::get(body, &["spec", "horizontal"]);
    let now = |field: &str| {
        json::int(horizontal, &[field])
            .or_else(|| json::int(beside(view, body)?.1, &["spec", field]))
    };
    let refuse = |because: String| Remedy::not_possible(Action::Bounds, because);
    let min = bounds.min_replicas.or_else(|| now("minReplicas"));
    let max = bounds.max_replicas.or_else(|| now("maxReplicas"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return refuse(format!("a minimum of {min} is above the maximum of {max}"));
    }
    // What Thoras' own validation refuses.
    let outside = json::items(horizontal, &["allowedReplicas"])
        .iter()
        .filter_map(Value::as_i64)
        .find(|count| min.is_some_and(|min| *count < min) || max.is_some_and(|max| *count > max));
    if let Some(count) = outside {
        return refuse(format!(
            "spec.horizontal.allowedReplicas has {count}, which the new bounds exclude: change it \
             with them"
        ));
    }
    if let (Some(step), Some(max)) = (json::int(horizontal, &["multipleOf"]), max)
        && step > max
    {
        return refuse(format!(
            "spec.horizontal.multipleOf is {step}, above the new maximum of {max}"
        ));
    }
    let mut draft = Draft::new(key, body);
    for (field, wanted) in [
        ("minReplicas", bounds.min_replicas),
        ("maxReplicas", bounds.max_replicas),
    ] {
        if let Some(count) = wanted {
            draft.set(&["spec", "horizontal", field], value!(count));
        }
    }
    draft.remedy(
        Action::Bounds,
        &["the target's replicas lie within the new bounds after the next forecast"],
    )
}

/// CPU of a container that Thoras sizes by itself: its bounds are set, not the template's request.
pub(super) fn over(view: &View<'_>, base: Vec<Remedy>, wish: &Wish) -> Vec<Remedy> {
    let Some(cpu) = &wish.cpu else {
        return base;
    };
    let found = view
        .world
        .of_kind(thoras::AI_SCALE_TARGET, &view.top.namespace)
        .into_iter()
        .find(|(_, body)| sizes(view, body));
    match found {
        Some((key, body)) => {
            let remedy = templated(body, size(key, body, cpu));
            layers::swap(base, Action::Cpu, vec![remedy])
        }
        None => base,
    }
}

/// Whether a target sizes pods of this workload by itself: by reference, or by selector.
fn sizes(view: &View<'_>, body: &Value) -> bool {
    let mode = json::text(body, &["spec", "vertical", "mode"]);
    if !matches!(mode, Some("autonomous" | "auto")) {
        return false;
    }
    if let Some(name) = json::text(body, &["spec", "scaleTargetRef", "name"]) {
        let kind = json::text(body, &["spec", "scaleTargetRef", "kind"]).unwrap_or("Deployment");
        return std::iter::once(view.top)
            .chain(view.members.iter().map(|(key, _)| *key))
            .any(|key| {
                key.name == name
                    && key
                        .kind
                        .split('.')
                        .next()
                        .is_some_and(|bare| bare.eq_ignore_ascii_case(kind))
            });
    }
    json::get(body, &["spec", "selector", "matchLabels"])
        .as_object()
        .is_some_and(|wanted| {
            !wanted.is_empty()
                && wanted
                    .iter()
                    .all(|(name, label)| view.label(name) == label.as_str())
        })
}

fn size(key: &Key, body: &Value, wish: &CpuWish) -> Remedy {
    let containers = json::items(body, &["spec", "vertical", "containers"]);
    let index = match wish.container.as_deref() {
        Some(name) => containers
            .iter()
            .position(|one| json::text(one, &["name"]) == Some(name)),
        None => (containers.len() == 1).then_some(0),
    };
    let Some(index) = index else {
        return Remedy::not_possible(
            Action::Cpu,
            format!(
                "{} sizes the containers by itself and lists {}: name one of them",
                key.path(),
                if containers.is_empty() {
                    "none".to_owned()
                } else {
                    let names: Vec<&str> = containers
                        .iter()
                        .filter_map(|one| json::text(one, &["name"]))
                        .collect();
                    names.join(", ")
                }
            ),
        );
    };
    let Some(cpu) = wish.request.as_ref().or(wish.limit.as_ref()) else {
        return Remedy::not_possible(Action::Cpu, "no quantity of CPU is asked for");
    };
    let place = |field: &str| {
        ["spec", "vertical", "containers"]
            .iter()
            .map(|part| (*part).to_owned())
            .chain([index.to_string(), "cpu".to_owned(), field.to_owned()])
            .collect::<Vec<String>>()
    };
    let mut draft = Draft::new(key, body);
    draft.set(&place("lowerbound"), value!(cpu));
    // A ceiling below the new floor would be refused.
    let ceiling = json::quantity_milli(json::get(&containers[index], &["cpu", "upperbound"]));
    if ceiling
        .zip(json::quantity_milli(&value!(cpu)))
        .is_some_and(|(ceiling, floor)| ceiling < floor)
    {
        draft.set(&place("upperbound"), value!(cpu));
    }
    draft
        .remedy(
            Action::Cpu,
            &["the pods' request for CPU is at least the new lower bound"],
        )
        .warned("Thoras writes the container's resources: an edit of the workload would not last")
}
