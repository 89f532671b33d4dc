//! Owns plain Deployments, StatefulSets and whatever no other adapter recognises.

use super::about::About;
use super::{Facts, System, View, json, member_templates, plain, pod_template, shapes};

pub(super) static SYSTEM: System = System {
    name: "deployment",
    about: &ABOUT,
    serves: false,
    recognise: |_| true,
    facts,
    remedies: shapes::remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "Deployment, StatefulSet, Job and what looks like them",
    kinds: &[
        "Deployment, StatefulSet, DaemonSet (apps/v1)",
        "Job, CronJob (batch/v1)",
        "bare pods",
    ],
    chain: "pod → ReplicaSet → Deployment; pod → StatefulSet; pod → Job → CronJob",
    model: "flags, also positional and inside of a shell's script; environment; labels",
    remedies: "replicas and pod template; a job is suspended, since its template is immutable. A \
               kind that is not known is changed by its shape, with a warning, or not at all.",
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let mut templates: Vec<_> = pod_template(view.top_body).into_iter().collect();
    if templates.is_empty() {
        templates = member_templates(view);
    }
    Facts {
        replicas: json::int(view.top_body, &["spec", "replicas"]),
        templates,
        replicas_field: "spec.replicas".to_owned(),
        tier_field: "spec.template.spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}
