//! Owns KServe `LLMInferenceService`, with its prefill pool and worker groups.

use super::{Facts, System, Template, View, json, member_templates, named, shapes};

pub(super) static SYSTEM: System = System {
    name: "kserve",
    serves: true,
    recognise: |view| view.top.kind == "llminferenceservice.serving.kserve.io",
    facts,
    remedies: shapes::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let spec = json::get(view.top_body, &["spec"]);
    let models = [
        named("llminferenceservice.model.uri", spec, &["model", "uri"]),
        named("llminferenceservice.model.name", spec, &["model", "name"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let prefill = json::get(spec, &["prefill"]);
    let mut templates = Vec::new();
    for (role, part) in [("decode", spec), ("prefill", prefill)] {
        let pod_spec = json::get(part, &["template"]);
        if pod_spec.is_object() {
            templates.push(Template {
                role: prefill.is_object().then(|| role.to_owned()),
                pod_spec,
                pods_per_replica: 1,
                replicas: json::int(part, &["replicas"]),
                gpus: None,
            });
        }
    }
    if templates.is_empty() {
        templates = member_templates(view);
    }
    let scaling = json::get(spec, &["scaling"]);
    let scaled = scaling.is_object();
    Facts {
        replicas: json::int(spec, &["replicas"]),
        // The field's own minimum and default is one.
        min_replicas: scaled.then(|| json::int(scaling, &["minReplicas"]).unwrap_or(1)),
        max_replicas: json::int(scaling, &["maxReplicas"]),
        templates,
        models,
        tensor_parallel: json::int(spec, &["parallelism", "tensor"]),
        pipeline_parallel: json::int(spec, &["parallelism", "pipeline"]),
        replicas_field: if scaled {
            "spec.scaling.minReplicas".to_owned()
        } else {
            "spec.replicas".to_owned()
        },
        tier_field: "spec.template.nodeSelector".to_owned(),
        ..Facts::default()
    }
}
