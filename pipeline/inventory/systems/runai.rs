//! Owns Run:ai's own workload resources. Their truth is in Run:ai's control plane, which writes
//! them again: a change goes through its API or command line. From 3.0 on the cluster has a
//! WorkloadRunner of each, and an ExternalWorkload of what others made.

use super::about::About;
use super::remedy::{Action, Remedy, Wish};
use super::{Facts, System, Template, View, json, layers, member_templates, named, plain};

pub(super) static SYSTEM: System = System {
    name: "run:ai",
    about: &ABOUT,
    serves: true,
    recognise: |view| is_serving(&view.top.kind),
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "Run:ai",
    kinds: &[
        "InferenceWorkload, DistributedInferenceWorkload (run.ai/v2alpha1, up to 2.26)",
        "WorkloadRunner (run.ai/v1), ExternalWorkload (run.ai/v1alpha1), from 3.0 on",
        "other kinds of run.ai as batch",
    ],
    chain: "pod → … → the workload",
    model: "`model`, flags",
    remedies: "not by patch: the control plane writes its objects again, so the command of its own tool is named.",
};

/// Run:ai's workspaces and trainings: accounted, never judged as services.
pub(super) static BATCH: System = System {
    name: "job",
    about: &ABOUT,
    serves: false,
    recognise: |view| {
        view.top.kind.ends_with(".run.ai")
            && !is_serving(&view.top.kind)
            && !is_runner(&view.top.kind)
    },
    facts,
    remedies,
    notes: plain,
};

/// What Run:ai 3 keeps of any workload: the engine in it says what it is for.
pub(super) static RUNNER: System = System {
    name: "run:ai",
    about: &ABOUT,
    serves: false,
    recognise: |view| is_runner(&view.top.kind),
    facts: runner_facts,
    remedies,
    notes: plain,
};

fn is_runner(kind: &str) -> bool {
    matches!(kind, "workloadrunner.run.ai" | "externalworkload.run.ai")
}

/// Its fields are not published with a schema that could be held to: what pods and their controllers
/// say is what is known.
fn runner_facts<'a>(view: &View<'a>) -> Facts<'a> {
    Facts {
        templates: member_templates(view),
        ..Facts::default()
    }
}

fn is_serving(kind: &str) -> bool {
    matches!(
        kind,
        "inferenceworkload.run.ai" | "distributedinferenceworkload.run.ai"
    )
}

/// A field as Run:ai nests it, `{value: …}`, or plain.
fn field<'v>(spec: &'v serde_json::Value, name: &str) -> &'v serde_json::Value {
    let nested = json::get(spec, &[name, "value"]);
    if nested.is_null() {
        json::get(spec, &[name])
    } else {
        nested
    }
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let spec = json::get(view.top_body, &["spec"]);
    let number = |name: &str| json::int(field(spec, name), &[]);
    let milli = json::quantity_milli(field(spec, "gpu"));
    let mut templates = member_templates(view);
    if templates.is_empty() && milli.is_some() {
        templates.push(Template {
            role: None,
            pod_spec: spec,
            pods_per_replica: 1,
            replicas: None,
            gpus: None,
        });
    }
    Facts {
        min_replicas: number("minScale"),
        max_replicas: number("maxScale"),
        templates,
        // A part of a GPU is a number here.
        gpu_milli: milli,
        models: named("run:ai model", spec, &["model", "value"])
            .into_iter()
            .collect(),
        replicas_field: "spec.minScale.value".to_owned(),
        tier_field: "spec.nodePools.value".to_owned(),
        ..Facts::default()
    }
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let project = layers::project(view);
    let name = &view.top.name;
    let what = if is_serving(&view.top.kind) {
        "inference"
    } else {
        "workload"
    };
    let command = format!("runai {what} update {name} -p {project}");
    wish.actions()
        .into_iter()
        .map(|action| {
            let flags = match action {
                Action::Zero => "--min-replicas=0".to_owned(),
                Action::Tier => "--node-pools=<pool of the new tier>".to_owned(),
                Action::Bounds => {
                    let bound = |flag: &str, count: Option<i64>| {
                        count.map(|count| format!("--{flag}={count}"))
                    };
                    let bounds = wish.bounds.unwrap_or_default();
                    [
                        bound("min-replicas", bounds.min_replicas),
                        bound("max-replicas", bounds.max_replicas),
                    ]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" ")
                }
                Action::Cpu => "--cpu-core-request=… --cpu-core-limit=…".to_owned(),
                Action::Fraction => "--gpu-portion-request=…".to_owned(),
            };
            Remedy::not_possible(
                action,
                format!(
                    "Run:ai keeps this in its control plane and writes the cluster's objects again, \
                     a Knative child too: use its API, or `{command} {flags}`"
                ),
            )
        })
        .collect()
}
