//! Owns Ray services and clusters. A service's edit of group bounds never reaches the live
//! cluster, so the field names the group itself.

use super::{Candidate, Facts, System, Template, View, json, shapes};

pub(super) static SYSTEM: System = System {
    name: "ray",
    serves: true,
    recognise: |view| {
        matches!(
            view.top.kind.as_str(),
            "rayservice.ray.io" | "raycluster.ray.io"
        )
    },
    facts,
    remedies: shapes::remedies,
};

/// The value after `key:` on a line of embedded YAML. A line reader is enough for the two keys
/// that name the model, and it cannot be made to expand anything.
fn yaml_values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .take(4096)
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ");
            let value = line.strip_prefix(key)?.strip_prefix(':')?;
            let value = value.split(" #").next().unwrap_or(value).trim();
            let value = value.trim_matches(['"', '\'']);
            (!value.is_empty()).then_some(value)
        })
        .collect()
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let service = view.top.kind == "rayservice.ray.io";
    let spec = if service {
        json::get(body, &["spec", "rayClusterConfig"])
    } else {
        json::get(body, &["spec"])
    };
    let serve = json::text(body, &["spec", "serveConfigV2"]).unwrap_or("");
    let mut models = Vec::new();
    for (source, key) in [
        ("rayservice.model_source", "model_source"),
        ("rayservice.model_id", "model_id"),
    ] {
        models.extend(yaml_values(serve, key).into_iter().map(|raw| Candidate {
            source,
            raw: raw.to_owned(),
        }));
    }
    let number = |key: &str| yaml_values(serve, key).first().and_then(|v| v.parse().ok());
    let templates: Vec<Template<'a>> = json::items(spec, &["workerGroupSpecs"])
        .iter()
        .map(|group| Template {
            role: None,
            pod_spec: json::get(group, &["template", "spec"]),
            pods_per_replica: json::int(group, &["numOfHosts"])
                .unwrap_or(1)
                .clamp(1, 1024),
            replicas: json::int(group, &["replicas"]),
            gpus: None,
        })
        .collect();
    let group = json::get(spec, &["workerGroupSpecs", "0"]);
    let prefix = if service {
        "spec.rayClusterConfig"
    } else {
        "spec"
    };
    Facts {
        replicas: json::int(group, &["replicas"]),
        min_replicas: json::int(group, &["minReplicas"]),
        max_replicas: json::int(group, &["maxReplicas"]),
        templates,
        models,
        tensor_parallel: number("tensor_parallel_size"),
        pipeline_parallel: number("pipeline_parallel_size"),
        replicas_field: format!("{prefix}.workerGroupSpecs[0].minReplicas"),
        tier_field: format!("{prefix}.workerGroupSpecs[0].template.spec.nodeSelector"),
        ..Facts::default()
    }
}
