//! Owns Jobs, CronJobs, JobSets and training kinds: accounted, never judged as services.

use serde_json::{Value, json as value};

use super::about::About;
use super::remedy::{Action, Draft, Remedy, Wish};
use super::{
    Facts, System, Template, View, json, layers, member_templates, plain, pod_template, shapes,
};

pub(super) static SYSTEM: System = System {
    name: "job",
    about: &ABOUT,
    serves: false,
    recognise: |view| is_batch(&view.top.kind),
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "Jobs, sets of jobs and training",
    kinds: &[
        "Job, CronJob (batch/v1)",
        "JobSet (jobset.x-k8s.io)",
        "training kinds of Kubeflow",
    ],
    chain: "pod → Job → CronJob or JobSet; pod → training job",
    model: "flags",
    remedies: "suspended; pod templates of a run never change.",
};

const JOB_SET: &str = "jobset.jobset.x-k8s.io";
/// More pods of one role than this are a lie.
const MAX_PODS: i64 = 100_000;

pub(super) fn is_batch(kind: &str) -> bool {
    matches!(
        kind,
        "job.batch" | "cronjob.batch" | "rayjob.ray.io" | JOB_SET
    ) || is_training(kind)
}

fn is_training(kind: &str) -> bool {
    kind.ends_with("job.kubeflow.org") || kind.ends_with(".trainer.kubeflow.org")
}

fn count(value: &Value, path: &[&str]) -> Option<i64> {
    json::int(value, path).map(|count| count.clamp(0, MAX_PODS))
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let scheduled = view.top.kind == "cronjob.batch";
    let (templates, joint) = match view.top.kind.as_str() {
        JOB_SET => (job_set(body), true),
        kind if is_training(kind) => (roles(body), true),
        "cronjob.batch" => (
            pod_template(json::get(body, &["spec", "jobTemplate"]))
                .into_iter()
                .collect(),
            false,
        ),
        _ => (pod_template(body).into_iter().collect(), false),
    };
    let templates = if templates.is_empty() {
        member_templates(view)
    } else {
        templates
    };
    let (replicas_field, tier_field) = if scheduled {
        (
            "spec.suspend",
            "spec.jobTemplate.spec.template.spec.nodeSelector",
        )
    } else if joint {
        ("spec.suspend", "spec.template.spec.nodeSelector")
    } else {
        ("spec.parallelism", "spec.template.spec.nodeSelector")
    };
    Facts {
        // A set or a training is one run, whatever number of pods it has.
        replicas: if joint && !templates.is_empty() {
            Some(1)
        } else {
            json::int(body, &["spec", "parallelism"])
        },
        templates,
        joint,
        replicas_field: replicas_field.to_owned(),
        tier_field: tier_field.to_owned(),
        ..Facts::default()
    }
}

/// The jobs of a set: so many of each, so many pods in each.
fn job_set(body: &Value) -> Vec<Template<'_>> {
    json::items(body, &["spec", "replicatedJobs"])
        .iter()
        .filter_map(|job| {
            let spec = json::get(job, &["template", "spec"]);
            let pod_spec = json::get(spec, &["template", "spec"]);
            let pods = count(job, &["replicas"])
                .unwrap_or(1)
                .saturating_mul(count(spec, &["parallelism"]).unwrap_or(1));
            pod_spec.is_object().then(|| Template {
                role: json::text(job, &["name"]).map(str::to_owned),
                pod_spec,
                pods_per_replica: pods,
                replicas: Some(1),
                gpus: None,
            })
        })
        .collect()
}

/// The roles of a Kubeflow training, whose field is named after its framework.
fn roles(body: &Value) -> Vec<Template<'_>> {
    let Some(spec) = json::get(body, &["spec"]).as_object() else {
        return Vec::new();
    };
    let Some((_, roles)) = spec.iter().find(|(name, _)| name.ends_with("ReplicaSpecs")) else {
        return Vec::new();
    };
    let Some(roles) = roles.as_object() else {
        return Vec::new();
    };
    let mut names: Vec<&String> = roles.keys().collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| {
            let role = &roles[name];
            let pod_spec = json::get(role, &["template", "spec"]);
            pod_spec.is_object().then(|| Template {
                role: Some(name.to_ascii_lowercase()),
                pod_spec,
                pods_per_replica: count(role, &["replicas"]).unwrap_or(1),
                replicas: Some(1),
                gpus: None,
            })
        })
        .collect()
}

fn remedies(view: &View<'_>, facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let suspend: &[&str] = match view.top.kind.as_str() {
        JOB_SET => &["spec", "suspend"],
        kind if kind.ends_with("job.kubeflow.org") => &["spec", "runPolicy", "suspend"],
        kind if is_training(kind) => &["spec", "suspend"],
        _ => return shapes::remedies(view, facts, wish),
    };
    let mut base = shapes::refuse(
        wish,
        format!(
            "the pods of {} are of one run, whose templates never change: delete it and make it \
             again with the change",
            view.top.path()
        ),
    );
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        draft.set(suspend, value!(true));
        let remedy = draft
            .remedy(Action::Zero, &[shapes::PODS_GONE])
            .warned("work in progress is lost where the program keeps no checkpoint");
        base = layers::swap(base, Action::Zero, vec![remedy]);
    }
    base
}
