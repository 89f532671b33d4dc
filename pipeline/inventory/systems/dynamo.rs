//! Owns NVIDIA Dynamo graphs: the `services` map of v1alpha1 and the `components` list of
//! v1beta1.

use serde_json::Value;

use super::{Candidate, Facts, System, Template, View, json, member_templates, shapes};

pub(super) static SYSTEM: System = System {
    name: "dynamo",
    serves: true,
    recognise: |view| {
        matches!(
            view.top.kind.as_str(),
            "dynamographdeployment.nvidia.com"
                | "dynamocomponentdeployment.nvidia.com"
                | "podcliqueset.grove.io"
        )
    },
    facts,
    remedies: shapes::remedies,
};

/// One component, whichever version of the resource spells it.
struct Component<'a> {
    name: String,
    path: String,
    tier_path: String,
    body: &'a Value,
    pod_spec: &'a Value,
}

fn components(body: &Value) -> Vec<Component<'_>> {
    let mut out = Vec::new();
    if let Some(services) = json::get(body, &["spec", "services"]).as_object() {
        let mut names: Vec<&String> = services.keys().collect();
        names.sort();
        for name in names {
            let path = format!("spec.services.{name}");
            out.push(Component {
                name: name.clone(),
                tier_path: format!("{path}.extraPodSpec.nodeSelector"),
                path,
                pod_spec: json::get(&services[name], &["extraPodSpec"]),
                body: &services[name],
            });
        }
    }
    for (index, body) in json::items(body, &["spec", "components"])
        .iter()
        .enumerate()
    {
        let path = format!("spec.components[{index}]");
        out.push(Component {
            name: json::text(body, &["name"]).unwrap_or("").to_owned(),
            tier_path: format!("{path}.podTemplate.spec.nodeSelector"),
            path,
            pod_spec: json::get(body, &["podTemplate", "spec"]),
            body,
        });
    }
    out
}

fn role(component: &Component<'_>) -> Option<String> {
    let declared = json::text(component.body, &["type"])
        .or_else(|| json::text(component.body, &["subComponentType"]))
        .or_else(|| json::text(component.body, &["componentType"]));
    let name = component.name.to_ascii_lowercase();
    match declared {
        Some("worker") | None if name.contains("prefill") => Some("prefill".to_owned()),
        Some("worker") | None if name.contains("decode") => Some("decode".to_owned()),
        other => other.map(str::to_owned),
    }
}

/// GPUs that a component asks for, in either version's place.
fn gpus(component: &Component<'_>) -> i64 {
    let direct = ["limits", "requests"]
        .iter()
        .find_map(|list| json::int(component.body, &["resources", list, "gpu"]));
    direct.unwrap_or_else(|| super::super::resources::requests(component.pod_spec).gpus())
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let all = components(view.top_body);
    let working: Vec<&Component<'_>> = all.iter().filter(|part| gpus(part) > 0).collect();
    // The change goes to the component that holds most; ties go to the first.
    let main = working.iter().min_by_key(|part| {
        let replicas = json::int(part.body, &["replicas"]).unwrap_or(1);
        (-(gpus(part).saturating_mul(replicas)), part.path.clone())
    });
    let mut models = Vec::new();
    for part in &all {
        for path in [
            ["modelRef", "name"].as_slice(),
            &["dynamoModel"],
            &["modelName"],
        ] {
            if let Some(raw) = json::text(part.body, path) {
                models.push(Candidate {
                    source: "dynamo.modelRef",
                    raw: raw.to_owned(),
                });
            }
        }
    }
    let counts: Vec<i64> = working
        .iter()
        .filter_map(|part| json::int(part.body, &["replicas"]))
        .collect();
    let mut templates: Vec<Template<'a>> = Vec::new();
    for part in components(view.top_body) {
        if gpus(&part) == 0 {
            continue;
        }
        templates.push(Template {
            role: role(&part),
            pod_spec: part.pod_spec,
            pods_per_replica: json::int(part.body, &["multinode", "nodeCount"])
                .unwrap_or(1)
                .clamp(1, 1024),
            replicas: json::int(part.body, &["replicas"]),
            gpus: Some(gpus(&part)),
        });
    }
    if templates.is_empty() {
        templates = member_templates(view);
    }
    let (replicas_field, tier_field) = main.map_or_else(
        || ("spec.components".to_owned(), "spec.components".to_owned()),
        |part| (format!("{}.replicas", part.path), part.tier_path.clone()),
    );
    Facts {
        replicas: (!counts.is_empty())
            .then(|| counts.iter().fold(0_i64, |a, b| a.saturating_add(*b))),
        templates,
        models,
        replicas_field,
        tier_field,
        ..Facts::default()
    }
}
