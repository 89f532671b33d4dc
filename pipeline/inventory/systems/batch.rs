//! Owns Jobs, CronJobs and training kinds: accounted, never judged as services.

use super::{Facts, System, View, json, pod_template, shapes};

pub(super) static SYSTEM: System = System {
    name: "job",
    serves: false,
    recognise: |view| is_batch(&view.top.kind),
    facts,
    remedies: shapes::remedies,
};

fn is_batch(kind: &str) -> bool {
    matches!(kind, "job.batch" | "cronjob.batch" | "rayjob.ray.io")
        || kind.ends_with("job.kubeflow.org")
        || kind.ends_with(".trainer.kubeflow.org")
        || kind == "jobset.jobset.x-k8s.io"
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let scheduled = view.top.kind == "cronjob.batch";
    let nested = json::get(view.top_body, &["spec", "jobTemplate"]);
    let templates = if scheduled {
        pod_template(nested)
    } else {
        pod_template(view.top_body)
    };
    let (replicas_field, tier_field) = if scheduled {
        (
            "spec.suspend",
            "spec.jobTemplate.spec.template.spec.nodeSelector",
        )
    } else {
        ("spec.parallelism", "spec.template.spec.nodeSelector")
    };
    Facts {
        replicas: json::int(view.top_body, &["spec", "parallelism"]),
        templates: templates.into_iter().collect(),
        replicas_field: replicas_field.to_owned(),
        tier_field: tier_field.to_owned(),
        ..Facts::default()
    }
}
