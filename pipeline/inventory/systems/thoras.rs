//! Owns the remedies of Thoras' AIScaleTargets: first its hand is taken off, or its own bounds are
//! set; CPU that it sizes by itself is bounded here too, not in the workload.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::scalers::{HPA, thoras};
use super::about::About;
use super::remedy::{Action, BoundsWish, CpuWish, Draft, Remedy, Wish};
use super::{Facts, ScalerSystem, View, hpa, json, layers, scaler_of};

pub(super) static SCALER: ScalerSystem = ScalerSystem {
    kind: thoras::AI_SCALE_TARGET,
    about: &ABOUT,
    remedies,
};

pub(super) static ABOUT: About = About {
    title: "Thoras AIScaleTarget",
    kinds: &[
        "AIScaleTarget (thoras.ai/v1)",
        "ClusterAIScaleTemplate, by its selector and namespaces",
    ],
    chain: "none: it aims at any hop of a workload",
    model: "none",
    remedies: "its own bounds, for CPU too where it sizes containers by itself; for zero its mode first, then the target. \
               What a template of the cluster makes or overrides is said beside the change.",
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
        .map(|remedy| templated(view, body, remedy))
        .collect()
}

/// A target that a cluster-wide template made, or may override, is written again from it.
fn templated(view: &View<'_>, body: &Value, remedy: Remedy) -> Remedy {
    if remedy.change().is_none() {
        return remedy;
    }
    let made = json::items(body, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| json::text(owner, &["kind"]) == Some("ClusterAIScaleTemplate"))
        .and_then(|owner| json::text(owner, &["name"]));
    if let Some(name) = made {
        return remedy.warned(format!(
            "it is made from {}/{name}: change the template, or exempt the workload from it",
            thoras::TEMPLATE
        ));
    }
    let policy = ["spec", "policy", "conflictResolution"];
    match selecting(view).find(|(_, template)| json::text(template, &policy) == Some("override")) {
        Some((key, _)) => remedy.warned(format!(
            "{} selects this workload and overrides targets that exist: change the template, or \
             exempt the workload from it",
            key.path()
        )),
        None => remedy,
    }
}

/// Templates of the cluster that select this workload. They match workloads, not pods.
fn selecting<'v>(view: &View<'v>) -> impl Iterator<Item = (&'v Key, &'v Value)> {
    let kinds = ["deployment.apps", "statefulset.apps", "rollout.argoproj.io"];
    let fits = kinds.contains(&view.top.kind.as_str());
    let (namespace, top_body) = (view.top.namespace.clone(), view.top_body);
    view.world
        .of_kind(thoras::TEMPLATE, "")
        .into_iter()
        .filter(move |(_, template)| {
            let names = |field: &str| {
                let list = json::items(template, &["spec", "policy", field]);
                let here = list.iter().any(|one| one.as_str() == Some(&namespace));
                (!list.is_empty()).then_some(here)
            };
            let admitted = names("includedNamespaces") != Some(false)
                && names("excludedNamespaces") != Some(true);
            let selector = json::get(template, &["spec", "selector"]);
            fits && admitted && selects(selector, json::get(top_body, &["metadata", "labels"]))
        })
}

/// Whether a label selector matches; one that says nothing selects nothing here, and an operator
/// that is not known selects nothing either.
fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |name: &str| labels.get(name).and_then(Value::as_str);
    let wanted = json::get(selector, &["matchLabels"]).as_object();
    let terms = json::items(selector, &["matchExpressions"]);
    if wanted.is_none_or(|wanted| wanted.is_empty()) && terms.is_empty() {
        return false;
    }
    wanted.is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(name, value)| value.is_string() && label(name) == value.as_str())
    }) && terms.iter().all(|term| {
        let Some(key) = json::text(term, &["key"]) else {
            return false;
        };
        let listed = || {
            json::items(term, &["values"])
                .iter()
                .any(|value| value.as_str() == label(key))
        };
        match json::text(term, &["operator"]) {
            Some("In") => label(key).is_some() && listed(),
            Some("NotIn") => label(key).is_none() || !listed(),
            Some("Exists") => label(key).is_some(),
            Some("DoesNotExist") => label(key).is_none(),
            _ => false,
        }
    })
}

/// What a template will make of a workload that has no target yet.
fn foreseen(view: &View<'_>, base: Vec<Remedy>) -> Vec<Remedy> {
    let targets = view
        .world
        .of_kind(thoras::AI_SCALE_TARGET, &view.top.namespace);
    let aims = targets.iter().any(|(_, body)| {
        json::text(body, &["spec", "scaleTargetRef", "name"]) == Some(view.top.name.as_str())
    });
    if aims {
        return base;
    }
    let mut out = base;
    for (key, body) in selecting(view) {
        let acts = |direction: &str| {
            let mode = json::text(body, &["spec", "template", direction, "mode"]);
            matches!(mode, Some("autonomous" | "auto"))
        };
        let warning = |what: &str| {
            format!(
                "{} selects this workload: Thoras makes a target of it, which then moves its {what}",
                key.path()
            )
        };
        if acts("horizontal") {
            out = layers::warn(out, Action::Zero, &warning("replicas"));
            out = layers::warn(out, Action::Bounds, &warning("replicas"));
        }
        if acts("vertical") {
            out = layers::warn(out, Action::Cpu, &warning("CPU"));
        }
    }
    out
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
pub(super) fn over(
    view: &View<'_>,
    _facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
    let base = foreseen(view, base);
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
            let remedy = templated(view, body, size(key, body, cpu));
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
