//! Owns what lies over a workload whatever its kind: queues, shared devices, claims and vertical
//! scalers. Each layer has a file; here is what they share, and the order in which they speak.

use serde_json::Value;

use super::remedy::{Action, Remedy, Wish};
use super::shapes::{self, Path};
use super::{Facts, View, dra, hami, hpa, json, kai, kueue, thoras};

/// The usual remedies of a pod template, as the layers over it let them be.
pub(super) fn remedies(view: &View<'_>, facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    over(view, shapes::remedies(view, facts, wish), wish)
}

/// What the layers make of the answers of the workload itself.
pub(super) fn over(view: &View<'_>, base: Vec<Remedy>, wish: &Wish) -> Vec<Remedy> {
    let mut out = base;
    let layers = [
        dra::over,
        hami::over,
        kai::over,
        kueue::over,
        thoras::over,
        hpa::over,
    ];
    for layer in layers {
        out = layer(view, out, wish);
    }
    out
}

/// Puts other answers in the place of an action's.
pub(super) fn swap(base: Vec<Remedy>, action: Action, with: Vec<Remedy>) -> Vec<Remedy> {
    let mut out: Vec<Remedy> = base
        .into_iter()
        .filter(|remedy| remedy.action != action)
        .collect();
    out.extend(with);
    out.sort_by_key(|remedy| remedy.action);
    out
}

/// Adds a warning to each change of an action.
pub(super) fn warn(base: Vec<Remedy>, action: Action, warning: &str) -> Vec<Remedy> {
    base.into_iter()
        .map(|remedy| {
            if remedy.action == action && remedy.change().is_some() {
                remedy.warned(warning)
            } else {
                remedy
            }
        })
        .collect()
}

/// Where the topmost object keeps its pod template, if that may be edited.
pub(super) fn template_place(view: &View<'_>) -> Option<Path> {
    if matches!(view.top.kind.as_str(), "job.batch" | "pod") {
        return None;
    }
    [
        &["spec", "template"][..],
        &["spec", "jobTemplate", "spec", "template"],
    ]
    .into_iter()
    .find(|place| json::get(view.top_body, place).get("spec").is_some())
    .map(shapes::path)
}

/// The pod template, else the pod itself.
pub(super) fn template<'v>(view: &View<'v>) -> &'v Value {
    for place in [
        &["spec", "template"][..],
        &["spec", "jobTemplate", "spec", "template"],
    ] {
        let found = json::get(view.top_body, place);
        if found.is_object() {
            return found;
        }
    }
    if view.top.kind == "pod" && view.top_body.is_object() {
        view.top_body
    } else {
        view.pod
    }
}

/// An annotation or label of the pod template, of the pod, or of the topmost object.
pub(super) fn mark<'v>(view: &View<'v>, name: &str) -> Option<&'v str> {
    [template(view), view.pod, view.top_body]
        .into_iter()
        .find_map(|body| {
            ["annotations", "labels"]
                .iter()
                .find_map(|field| json::text(body, &["metadata", field, name]))
        })
}

/// Whether the topmost object is of a kind that has nothing of its own to say.
pub(super) fn is_plain(view: &View<'_>) -> bool {
    matches!(
        view.top.kind.as_str(),
        "deployment.apps" | "statefulset.apps" | "replicaset.apps" | "daemonset.apps" | "pod"
    )
}

/// The Run:ai project: the namespace says it.
pub(super) fn project<'v>(view: &View<'v>) -> &'v str {
    let namespace = &view.top.namespace;
    mark(view, "project")
        .or_else(|| mark(view, "runai/project"))
        .unwrap_or_else(|| namespace.strip_prefix("runai-").unwrap_or(namespace))
}
