//! Owns NVIDIA NIM services: replicas and `scale` exclude each other.

use super::super::resources;
use super::{Candidate, Facts, System, Template, View, json, member_templates, shapes};

pub(super) static SYSTEM: System = System {
    name: "nim",
    serves: true,
    recognise: |view| view.top.kind.ends_with(".apps.nvidia.com"),
    facts,
    remedies: shapes::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let spec = json::get(view.top_body, &["spec"]);
    let models = json::text(spec, &["image", "repository"])
        .map(|raw| Candidate {
            source: "nimservice.image",
            raw: raw.to_owned(),
        })
        .into_iter()
        .collect();
    let units = resources::container_units(spec);
    let mut templates = member_templates(view);
    if templates.is_empty() && units > 0 {
        templates.push(Template {
            role: None,
            pod_spec: spec,
            pods_per_replica: json::int(spec, &["multiNode", "parallelism", "pipeline"])
                .unwrap_or(1)
                .clamp(1, 1024),
            replicas: json::int(spec, &["replicas"]),
            gpus: Some(units),
        });
    }
    let scaled = json::truth(spec, &["scale", "enabled"]);
    let hpa = json::get(spec, &["scale", "hpa"]);
    Facts {
        replicas: json::int(spec, &["replicas"]),
        min_replicas: scaled.then(|| json::int(hpa, &["minReplicas"]).unwrap_or(1)),
        max_replicas: if scaled {
            json::int(hpa, &["maxReplicas"])
        } else {
            None
        },
        templates,
        models,
        tensor_parallel: json::int(spec, &["multiNode", "parallelism", "tensor"]),
        pipeline_parallel: json::int(spec, &["multiNode", "parallelism", "pipeline"]),
        replicas_field: if scaled {
            "spec.scale.hpa.minReplicas".to_owned()
        } else {
            "spec.replicas".to_owned()
        },
        tier_field: "spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}
