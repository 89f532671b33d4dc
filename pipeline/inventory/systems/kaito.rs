//! Owns KAITO workspaces and inference sets. A workspace's instance type is immutable, so the
//! tier field names what a new workspace must say.

use super::{Facts, System, View, json, member_templates, named, shapes};

pub(super) static SYSTEM: System = System {
    name: "kaito",
    serves: true,
    recognise: |view| view.top.kind.ends_with(".kaito.sh"),
    facts,
    remedies: shapes::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let models = [
        named("kaito.preset", body, &["inference", "preset", "name"]),
        named(
            "kaito.preset",
            body,
            &["spec", "template", "inference", "preset", "name"],
        ),
        named("kaito.model", body, &["spec", "model", "name"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (replicas_field, tier_field) = if view.top.kind == "workspace.kaito.sh" {
        ("metadata.deletionTimestamp", "resource.instanceType")
    } else {
        ("spec.replicas", "spec.template.resource.instanceType")
    };
    Facts {
        replicas: if view.top.kind == "workspace.kaito.sh" {
            Some(1)
        } else {
            json::int(body, &["spec", "replicas"])
        },
        templates: member_templates(view),
        models,
        replicas_field: replicas_field.to_owned(),
        tier_field: tier_field.to_owned(),
        ..Facts::default()
    }
}
