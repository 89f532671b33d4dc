//! Owns KServe `InferenceService`, in its raw-deployment, KEDA and Knative forms.

use super::{Facts, System, Template, View, json, member_templates, named, shapes};

pub(super) static SYSTEM: System = System {
    name: "kserve",
    serves: true,
    recognise: |view| view.top.kind == "inferenceservice.serving.kserve.io",
    facts,
    remedies: shapes::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let predictor = json::get(view.top_body, &["spec", "predictor"]);
    let mut models: Vec<_> = named(
        "inferenceservice.model.storageUri",
        predictor,
        &["model", "storageUri"],
    )
    .into_iter()
    .collect();
    models.extend(named(
        "inferenceservice.storageUri",
        predictor,
        &["storageUri"],
    ));
    // The live Deployment has what runtimes and defaults add; the CR alone has less.
    let mut templates = member_templates(view);
    if templates.is_empty() && predictor.is_object() {
        templates.push(Template {
            role: None,
            pod_spec: predictor,
            pods_per_replica: 1,
            replicas: None,
            gpus: None,
        });
    }
    let worker = json::get(predictor, &["workerSpec"]);
    Facts {
        replicas: templates.iter().find_map(|template| template.replicas),
        min_replicas: json::int(predictor, &["minReplicas"]),
        max_replicas: json::int(predictor, &["maxReplicas"]),
        templates,
        models,
        tensor_parallel: json::int(worker, &["tensorParallelSize"]),
        pipeline_parallel: json::int(worker, &["pipelineParallelSize"]),
        replicas_field: "spec.predictor.minReplicas".to_owned(),
        tier_field: "spec.predictor.nodeSelector".to_owned(),
        ..Facts::default()
    }
}
