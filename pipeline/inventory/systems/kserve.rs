//! Owns KServe `InferenceService`, in its raw-deployment, KEDA and Knative forms, with what a
//! `ServingRuntime` adds to it. `LLMInferenceService` is a system of its own.

use serde_json::{Value, json as value};

use super::super::resources;
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, Draft, FractionWish, Remedy, Wish};
use super::shapes::{self, Path, Places, below, path};
use super::{Candidate, Facts, System, Template, View, json, member_templates, named, plain};

pub(super) static SYSTEM: System = System {
    name: "kserve",
    about: &ABOUT,
    serves: true,
    recognise: |view| view.top.kind == "inferenceservice.serving.kserve.io",
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "KServe InferenceService",
    kinds: &[
        "InferenceService (serving.kserve.io/v1beta1)",
        "ServingRuntime, ClusterServingRuntime (serving.kserve.io/v1alpha1)",
    ],
    chain: "pod → ReplicaSet → Deployment → InferenceService; with Knative through Revision, \
            Configuration and Service",
    model: "`predictor.model.storageUri`, older frameworks' `storageUri`, flags",
    remedies: "Knative and KEDA classes go to zero by `predictor.minReplicas`; the HPA class clamps \
               to one, so it stops by annotation. GPUs that a shared runtime asks for are not \
               changed for one service.",
};

const GKE: &str = "serving.kserve.io/gke-accelerator";
const STOP: &str = "serving.kserve.io/stop";

/// Predictors of the time before `model`, each with its own storage.
const FRAMEWORKS: &[&str] = &[
    "huggingface",
    "triton",
    "pytorch",
    "tensorflow",
    "onnx",
    "sklearn",
    "xgboost",
    "lightgbm",
    "paddle",
    "pmml",
];

/// Who makes the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Knative,
    Keda,
    Hpa,
    /// `minReplicas` is the size.
    Fixed,
    External,
    Unknown,
}

fn class(view: &View<'_>) -> Class {
    let annotation = |name: &str| json::text(view.top_body, &["metadata", "annotations", name]);
    let mode = annotation("serving.kserve.io/deploymentMode")
        .or_else(|| json::text(view.top_body, &["status", "deploymentMode"]));
    let knative = match mode {
        Some(mode) => Some(matches!(mode, "Serverless" | "Knative")),
        None => view
            .members
            .iter()
            .find_map(|(key, _)| match key.kind.as_str() {
                "service.serving.knative.dev" | "revision.serving.knative.dev" => Some(true),
                "deployment.apps" => Some(false),
                _ => None,
            }),
    };
    match (knative, annotation("serving.kserve.io/autoscalerClass")) {
        (Some(true), _) => Class::Knative,
        (_, Some("keda")) => Class::Keda,
        (_, Some("none")) => Class::Fixed,
        (_, Some("external")) => Class::External,
        (_, Some("hpa")) | (Some(false), None) => Class::Hpa,
        _ => Class::Unknown,
    }
}

/// The runtime that a service names or was given, and its title.
fn runtime<'a>(view: &View<'a>) -> Option<(String, &'a Value)> {
    let named = json::text(view.top_body, &["spec", "predictor", "model", "runtime"]);
    let own = named.or_else(|| json::text(view.top_body, &["status", "servingRuntimeName"]));
    let shared =
        named.or_else(|| json::text(view.top_body, &["status", "clusterServingRuntimeName"]));
    let find = |kind: &str, namespace: &str, name: Option<&str>| {
        let name = name?;
        let body = view.world.object(kind, namespace, name)?;
        Some((format!("{kind}/{name}"), body))
    };
    find("servingruntime.serving.kserve.io", &view.top.namespace, own)
        .or_else(|| find("clusterservingruntime.serving.kserve.io", "", shared))
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let predictor = json::get(view.top_body, &["spec", "predictor"]);
    let mut models: Vec<Candidate> = named(
        "inferenceservice.model.storageUri",
        predictor,
        &["model", "storageUri"],
    )
    .into_iter()
    .collect();
    for framework in FRAMEWORKS {
        models.extend(named(
            "inferenceservice.framework.storageUri",
            predictor,
            &[framework, "storageUri"],
        ));
    }
    models.extend(named(
        "inferenceservice.storageUri",
        predictor,
        &["storageUri"],
    ));
    let runtime = runtime(view).map_or(&Value::Null, |(_, body)| json::get(body, &["spec"]));
    let worker = [predictor, runtime]
        .into_iter()
        .map(|part| json::get(part, &["workerSpec"]))
        .find(|part| part.is_object());
    let size = |field: &str| {
        [predictor, runtime]
            .into_iter()
            .find_map(|part| json::int(part, &["workerSpec", field]))
    };
    let pipeline = size("pipelineParallelSize");
    // The live Deployment has what runtimes and defaults add; the CR alone has less.
    let mut templates: Vec<Template<'a>> = member_templates(view)
        .into_iter()
        .filter(|template| resources::requests(template.pod_spec).gpus() > 0)
        .collect();
    if templates.is_empty() {
        templates = member_templates(view);
    }
    let mut joint = false;
    if templates.is_empty() && predictor.is_object() {
        let own = resources::requests(predictor).gpus();
        let gpus = if own > 0 {
            own
        } else {
            resources::requests(runtime).gpus()
        };
        templates.push(Template {
            role: None,
            pod_spec: predictor,
            pods_per_replica: 1,
            replicas: None,
            gpus: Some(gpus),
        });
        // A head, and a worker pod for every further stage of the pipeline.
        if let Some(worker) = worker
            && let Some(stages) = pipeline.filter(|stages| *stages > 1)
        {
            joint = true;
            templates.push(Template {
                role: None,
                pod_spec: worker,
                pods_per_replica: (stages - 1).clamp(1, 1024),
                replicas: None,
                gpus: None,
            });
        }
    }
    Facts {
        replicas: templates.iter().find_map(|template| template.replicas),
        min_replicas: json::int(predictor, &["minReplicas"]),
        max_replicas: json::int(predictor, &["maxReplicas"]),
        templates,
        joint,
        models,
        tensor_parallel: size("tensorParallelSize"),
        pipeline_parallel: pipeline,
        replicas_field: "spec.predictor.minReplicas".to_owned(),
        bounds_field: Some("spec.predictor.{minReplicas,maxReplicas}".to_owned()),
        tier_field: "spec.predictor.nodeSelector".to_owned(),
        // The predictor is a pod specification with its pods' labels and annotations beside it.
        spots: vec![Spot {
            metadata: Some(path(&["spec", "predictor"])),
            spec: path(&["spec", "predictor"]),
        }],
        ..Facts::default()
    }
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let class = class(view);
    let mut out = match (class, shapes::governed(view, wish)) {
        (Class::External | Class::Unknown, Some(scaled)) => scaled,
        _ => sizes(view, class, wish),
    };
    let mut places = Places {
        pod_specs: vec![path(&["spec", "predictor"])],
        ..Places::default()
    };
    if json::get(view.top_body, &["spec", "predictor", "workerSpec"]).is_object() {
        places
            .pod_specs
            .push(path(&["spec", "predictor", "workerSpec"]));
    }
    if wish.tier.is_some() {
        out.push(tier(view, &places, wish));
    }
    if let Some(cpu) = &wish.cpu {
        out.push(cpu_remedy(view, cpu));
    }
    if let Some(fraction) = &wish.fraction {
        out.push(fraction_remedy(view, fraction));
    }
    out
}

fn sizes(view: &View<'_>, class: Class, wish: &Wish) -> Vec<Remedy> {
    let predictor = path(&["spec", "predictor"]);
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        out.push(if matches!(class, Class::Knative | Class::Keda) {
            draft.set(&below(&predictor, &["minReplicas"]), value!(0));
            let remedy = draft.remedy(
                Action::Zero,
                &["with no requests, no predictor pod is left; with one, a pod comes"],
            );
            if class == Class::Keda {
                remedy.waking().warned(
                    "KEDA wakes it only where a trigger's metric exists with no pod: a metric of \
                     the engine itself does not",
                )
            } else {
                remedy
                    .waking()
                    .warned("the first request after a quiet time waits for the whole start")
            }
        } else {
            draft.set(&["metadata", "annotations", STOP], value!("true"));
            draft.remedy(Action::Zero, &[shapes::PODS_GONE]).warned(
                "the annotation takes away workloads and scalers: nothing wakes the service \
                 until it is taken off again",
            )
        });
    }
    if let Some(bounds) = wish.bounds {
        let mut draft = Draft::new(view.top, view.top_body);
        if class == Class::Fixed {
            out.push(shapes::fixed_size(
                view.top,
                view.top_body,
                &below(&predictor, &["minReplicas"]),
                bounds,
            ));
            return out;
        }
        let floor = i64::from(!matches!(class, Class::Knative | Class::Keda));
        let fields = ("minReplicas", "maxReplicas");
        let warnings = shapes::min_max(&mut draft, &predictor, fields, bounds, floor);
        let remedy = draft.remedy(
            Action::Bounds,
            &["the scaler of the predictor has the bounds"],
        );
        let remedy = if class == Class::External {
            remedy.warned("autoscalerClass is external: these bounds are not read by KServe")
        } else {
            remedy
        };
        out.push(warnings.into_iter().fold(remedy, Remedy::warned));
    }
    out
}

fn tier(view: &View<'_>, places: &Places, wish: &Wish) -> Remedy {
    let Some(tier) = &wish.tier else {
        return Remedy::not_possible(Action::Tier, "no tier was asked for");
    };
    let mut tier = tier.clone();
    let mut draft = Draft::new(view.top, view.top_body);
    let place = ["metadata", "annotations", GKE];
    // The annotation becomes a node selector at admission and would contradict a new one.
    if json::text(view.top_body, &place).is_some() {
        match tier
            .node_selector
            .remove("cloud.google.com/gke-accelerator")
        {
            Some(accelerator) => draft.set(&place, value!(accelerator)),
            None => draft.remove(&place),
        };
    }
    if !tier.node_selector.is_empty() || tier.instance_type.is_some() {
        for pod_spec in &places.pod_specs {
            shapes::select(&mut draft, &below(pod_spec, &["nodeSelector"]), &tier);
        }
    }
    draft.remedy(Action::Tier, &[shapes::ON_NEW_NODES])
}

fn cpu_remedy(view: &View<'_>, wish: &super::remedy::CpuWish) -> Remedy {
    let model = json::get(view.top_body, &["spec", "predictor", "model"]);
    let is_model = wish
        .container
        .as_deref()
        .is_none_or(|name| name == "kserve-container");
    if is_model && model.is_object() {
        let place = path(&["spec", "predictor", "model", "resources"]);
        return shapes::cpu_at(view.top, view.top_body, &place, wish);
    }
    let places: Vec<Path> = ["predictor", "transformer", "explainer"]
        .iter()
        .map(|part| path(&["spec", part]))
        .chain([path(&["spec", "predictor", "workerSpec"])])
        .collect();
    shapes::first_that_fits(places.iter(), |place| {
        shapes::cpu_of(view.top, view.top_body, place, wish)
    })
}

fn fraction_remedy(view: &View<'_>, wish: &FractionWish) -> Remedy {
    let predictor = json::get(view.top_body, &["spec", "predictor"]);
    let shared = runtime(view).filter(|(_, body)| {
        resources::requests(predictor).gpus() == 0
            && resources::requests(json::get(body, &["spec"])).gpus() > 0
    });
    if let Some((title, _)) = shared {
        return Remedy::not_possible(
            Action::Fraction,
            format!(
                "the GPU is asked for by {title}, which every service on it shares: give this \
                 service a runtime of its own first"
            ),
        );
    }
    let mut draft = Draft::new(view.top, view.top_body);
    let done = if json::get(predictor, &["model"]).is_object() {
        let place = path(&["spec", "predictor", "model", "resources"]);
        shapes::resource_at(&mut draft, &place, wish).map(|()| {
            for (name, label) in &wish.node_selector {
                draft.set(&["spec", "predictor", "nodeSelector", name], value!(label));
            }
        })
    } else {
        shapes::resource_name(&mut draft, &path(&["spec", "predictor"]), wish)
    };
    match done {
        Ok(()) => draft.remedy(Action::Fraction, &[shapes::ROLLED_OUT]),
        Err(because) => Remedy::not_possible(Action::Fraction, because),
    }
}
