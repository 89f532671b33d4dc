//! Owns plain Deployments, StatefulSets and whatever no other adapter recognises.

use super::{Facts, System, View, json, layers, member_templates, pod_template};

pub(super) static SYSTEM: System = System {
    name: "deployment",
    serves: false,
    recognise: |_| true,
    facts,
    remedies: layers::remedies,
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
