//! Owns what lies over a workload whatever its kind: queues, shared devices, claims and vertical
//! scalers. Each layer has a file; here is what they share, where they find pod templates, and the
//! order in which they speak. `systems` calls it for the answers of every adapter.

use serde_json::Value;

use super::super::resources;
use super::remedy::{Action, Remedy, Wish};
use super::shapes::{self, Path};
use super::{Facts, View, dra, hami, hpa, json, kai, kueue, thoras};

/// Where a pod template of the topmost object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inventory) struct Spot {
    /// The object whose `annotations` and `labels` go to the pods, where the kind has one.
    pub metadata: Option<Path>,
    /// The pod specification, or what stands for one.
    pub spec: Path,
}

impl Spot {
    /// A template of the usual shape, `metadata` beside `spec`.
    pub(super) fn of_template(place: &[String]) -> Self {
        Self {
            metadata: Some(shapes::below(place, &["metadata"])),
            spec: shapes::below(place, &["spec"]),
        }
    }

    /// The `resources` fields of its containers, whatever the kind calls a container.
    pub(super) fn resources(&self, body: &Value) -> Vec<Path> {
        let spec = shapes::at(body, &self.spec);
        let listed = json::items(spec, &["containers"])
            .iter()
            .enumerate()
            .map(|(index, _)| vec!["containers".to_owned(), index.to_string()]);
        // Dynamo's first version, KServe, and kinds that are their own container.
        let single = ["mainContainer", "model"]
            .iter()
            .filter(|field| json::get(spec, &[field]).is_object())
            .map(|field| vec![(*field).to_owned()]);
        let own = json::get(spec, &["resources"])
            .is_object()
            .then(Vec::new)
            .into_iter();
        listed
            .chain(single)
            .chain(own)
            .map(|keys| {
                let mut place = self.spec.clone();
                place.extend(keys);
                place.push("resources".to_owned());
                place
            })
            .collect()
    }

    /// Units of accelerators that one pod of it asks for.
    pub(super) fn units(&self, body: &Value) -> i64 {
        let spec = shapes::at(body, &self.spec);
        match resources::requests(spec).gpus() {
            0 => resources::container_units(spec),
            units => units,
        }
    }

    /// An annotation that its pods get.
    pub(super) fn annotation<'v>(&self, body: &'v Value, name: &str) -> Option<&'v str> {
        let place = self.metadata.as_ref()?;
        json::text(shapes::at(body, place), &["annotations", name])
    }
}

/// The pod templates of the topmost object that may be edited: its adapter's, else the usual one.
pub(super) fn spots(view: &View<'_>, facts: &Facts<'_>) -> Vec<Spot> {
    if facts.spots.is_empty() {
        let usual = template_place(view).map(|place| Spot::of_template(&place));
        return usual.into_iter().collect();
    }
    facts.spots.clone()
}

/// Of these the ones whose pods ask for accelerators; all of them where none says so.
pub(super) fn holding(view: &View<'_>, spots: &[Spot]) -> Vec<Spot> {
    let (holding, rest): (Vec<Spot>, Vec<Spot>) = spots
        .iter()
        .cloned()
        .partition(|spot| spot.units(view.top_body) > 0);
    if holding.is_empty() { rest } else { holding }
}

/// What the layers make of the answers of the workload itself.
pub(super) fn over(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
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
        out = layer(view, facts, out, wish);
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
        if found.get("spec").is_some() {
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
