//! Owns KServe `LLMInferenceService` in v1alpha1 and v1alpha2, with its prefill pool, worker
//! groups, configurations that it is based on, and GPUs that only annotations ask for.

use serde_json::{Value, json as value};

use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, BoundsWish, Draft, FractionWish, Remedy, Wish};
use super::shapes::{self, Path, Places, below, path};
use super::{Facts, System, Template, View, json, member_templates, named, plain};

pub(super) static SYSTEM: System = System {
    name: "kserve",
    about: &ABOUT,
    serves: true,
    recognise: |view| view.top.kind == "llminferenceservice.serving.kserve.io",
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "KServe LLMInferenceService",
    kinds: &[
        "LLMInferenceService (serving.kserve.io/v1alpha2, v1alpha1)",
        "LLMInferenceServiceConfig through `baseRefs`",
    ],
    chain: "pod → ReplicaSet → Deployment, or StatefulSet → LeaderWorkerSet → LLMInferenceService",
    model: "`model.uri`, `model.name`",
    remedies: "static replicas go to zero; with KEDA `idleReplicaCount`; with an HPA only the stop \
               annotation. Tier in every template of decode, prefill and workers. A part of a GPU \
               by resource name, or by the managed DRA annotations.",
};

const DRA_CLASS: &str = "serving.kserve.io/exp-dra-device-class";
const DRA_CEL: &str = "serving.kserve.io/exp-dra-cel-selector";
const DRA_COUNT: &str = "serving.kserve.io/exp-dra-device-count";
const STOP: &str = "serving.kserve.io/stop";
const WAKE: &str = "KEDA wakes it only where a trigger's metric exists with no pod: a metric of \
                    the engine, or of an endpoint picker without any backend, does not";

/// The configurations that a service is based on, the last of which counts most.
fn bases<'a>(view: &View<'a>) -> Vec<&'a Value> {
    json::items(view.top_body, &["spec", "baseRefs"])
        .iter()
        .rev()
        .filter_map(|reference| json::text(reference, &["name"]))
        .filter_map(|name| {
            let kind = "llminferenceserviceconfig.serving.kserve.io";
            view.world.object(kind, &view.top.namespace, name)
        })
        .map(|body| json::get(body, &["spec"]))
        .collect()
}

/// Devices that the managed DRA annotations ask for.
fn claimed(body: &Value) -> Option<i64> {
    let annotation = |name: &str| json::text(body, &["metadata", "annotations", name]);
    annotation(DRA_CLASS)?;
    let count = annotation(DRA_COUNT).and_then(|count| count.trim().parse().ok());
    Some(count.unwrap_or(1).clamp(1, 4096))
}

/// Pods of one replica, as the parallelism says.
fn pods(part: &Value) -> i64 {
    let of = |field: &str| json::int(part, &["parallelism", field]).filter(|size| *size > 0);
    let size = match (of("data"), of("dataLocal"), of("pipeline")) {
        (None, None, pipeline) => pipeline.unwrap_or(1),
        (data, local, _) => data.unwrap_or(1) / local.unwrap_or(1),
    };
    size.clamp(1, 1024)
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let spec = json::get(view.top_body, &["spec"]);
    let bases = bases(view);
    let first = |field: &[&str]| {
        std::iter::once(spec)
            .chain(bases.iter().copied())
            .map(|part| json::get(part, field))
            .find(|found| !found.is_null())
            .unwrap_or(&Value::Null)
    };
    let models = std::iter::once(spec)
        .chain(bases.iter().copied())
        .flat_map(|part| {
            [
                named("llminferenceservice.model.uri", part, &["model", "uri"]),
                named("llminferenceservice.model.name", part, &["model", "name"]),
            ]
        })
        .flatten()
        .collect();
    let prefill = first(&["prefill"]);
    let devices = claimed(view.top_body);
    let mut templates = Vec::new();
    for (role, part, base) in [
        ("decode", spec, vec!["template"]),
        ("prefill", prefill, vec!["prefill", "template"]),
    ] {
        let own = json::get(part, &["template"]);
        let pod_spec = if own.is_object() { own } else { first(&base) };
        if pod_spec.is_object() && (role == "decode" || prefill.is_object()) {
            let grouped = json::get(part, &["worker"]).is_object();
            templates.push(Template {
                role: prefill.is_object().then(|| role.to_owned()),
                pod_spec,
                pods_per_replica: if grouped { pods(part) } else { 1 },
                replicas: json::int(part, &["replicas"]),
                gpus: devices,
            });
        }
    }
    if templates.is_empty() {
        templates = member_templates(view);
    }
    let scaling = json::get(spec, &["scaling"]);
    let scaled = scaling.is_object();
    let parallel = |field: &str| {
        let place = first(&["parallelism"]);
        json::int(place, &[field])
    };
    // Of two parts that both say a number the sum is the size; a part that does not leaves it open.
    let counts: Vec<Option<i64>> = std::iter::once(spec)
        .chain(prefill.is_object().then_some(prefill))
        .map(|part| json::int(part, &["replicas"]))
        .collect();
    let replicas = counts
        .iter()
        .copied()
        .try_fold(0_i64, |sum, count| Some(sum.saturating_add(count?)));
    Facts {
        replicas,
        // The field's own minimum and default is one.
        min_replicas: scaled.then(|| json::int(scaling, &["minReplicas"]).unwrap_or(1)),
        max_replicas: json::int(scaling, &["maxReplicas"]),
        templates,
        models,
        tensor_parallel: parallel("tensor"),
        pipeline_parallel: parallel("pipeline"),
        data_parallel: parallel("data"),
        expert_parallel: json::get(first(&["parallelism"]), &["expert"]).as_bool(),
        replicas_field: if scaled {
            "spec.scaling.minReplicas".to_owned()
        } else {
            "spec.replicas".to_owned()
        },
        bounds_field: scaled.then(|| "spec.scaling.{minReplicas,maxReplicas}".to_owned()),
        tier_field: "spec.template.nodeSelector".to_owned(),
        spots: spots(view.top_body),
        ..Facts::default()
    }
}

/// Where pod specifications stand: the labels and annotations of a part go to all of its pods.
fn spots(body: &Value) -> Vec<Spot> {
    let mut out = Vec::new();
    for part in parts(body) {
        for field in ["template", "worker"] {
            let spec = below(&part, &[field]);
            if shapes::at(body, &spec).is_object() {
                out.push(Spot {
                    metadata: Some(part.clone()),
                    spec,
                });
            }
        }
    }
    out
}

/// The decode part and, if there is one, the prefill part of the specification.
fn parts(body: &Value) -> Vec<Path> {
    let mut out = vec![path(&["spec"])];
    if json::get(body, &["spec", "prefill"]).is_object() {
        out.push(path(&["spec", "prefill"]));
    }
    out
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let parts = parts(body);
    let mut out = Vec::new();
    if wish.zero {
        out.push(zero(view, &parts));
    }
    if let Some(bounds) = wish.bounds {
        out.push(bounds_of(view, &parts, bounds));
    }
    let mut pod_specs: Vec<Path> = Vec::new();
    for part in &parts {
        pod_specs.push(below(part, &["template"]));
        if shapes::at(body, &below(part, &["worker"])).is_object() {
            pod_specs.push(below(part, &["worker"]));
        }
    }
    // A template that only the base has is overridden for this service alone.
    let places = Places {
        pod_specs,
        ..Places::default()
    };
    let only = Wish {
        tier: wish.tier.clone(),
        ..Wish::default()
    };
    out.extend(shapes::templates(view.top, body, &places, &only));
    if let Some(cpu) = &wish.cpu {
        let scheduler = path(&["spec", "router", "scheduler", "template"]);
        let tokenizer = path(&["spec", "router", "scheduler", "tokenizer", "template"]);
        let all = places.pod_specs.iter().chain([&scheduler, &tokenizer]);
        out.push(shapes::first_that_fits(all, |place| {
            shapes::cpu_of(view.top, body, place, cpu)
        }));
    }
    if let Some(fraction) = &wish.fraction {
        out.push(fraction_of(view, &places, fraction));
    }
    out
}

fn zero(view: &View<'_>, parts: &[Path]) -> Remedy {
    let body = view.top_body;
    let mut draft = Draft::new(view.top, body);
    let mut elastic = false;
    for part in parts {
        let scaling = below(part, &["scaling"]);
        if !shapes::at(body, &scaling).is_object() {
            draft.set(&below(part, &["replicas"]), value!(0));
            continue;
        }
        let keda = [&["keda"][..], &["wva", "keda"]]
            .into_iter()
            .map(|keys| below(&scaling, keys))
            .find(|place| shapes::at(body, place).is_object());
        let Some(keda) = keda else {
            // An HPA never goes to zero here: the whole service is stopped instead.
            let mut draft = Draft::new(view.top, body);
            draft.set(&["metadata", "annotations", STOP], value!("true"));
            return draft.remedy(Action::Zero, &[shapes::PODS_GONE]).warned(
                "the annotation takes away workloads and scalers: nothing wakes the service \
                 until it is taken off again",
            );
        };
        elastic = true;
        // An idle count needs an explicit minimum above it.
        let min = below(&scaling, &["minReplicas"]);
        if shapes::at(body, &min).is_null() {
            draft.set(&min, value!(1));
        }
        draft.set(&below(&keda, &["idleReplicaCount"]), value!(0));
    }
    if elastic {
        let verify = "with no requests, no engine pod is left; with one, a pod comes";
        draft.remedy(Action::Zero, &[verify]).waking().warned(WAKE)
    } else {
        draft.remedy(Action::Zero, &[shapes::PODS_GONE])
    }
}

fn bounds_of(view: &View<'_>, parts: &[Path], bounds: BoundsWish) -> Remedy {
    let body = view.top_body;
    let mut draft = Draft::new(view.top, body);
    let mut warnings = Vec::new();
    for part in parts {
        let scaling = below(part, &["scaling"]);
        if shapes::at(body, &scaling).is_object() {
            let fields = ("minReplicas", "maxReplicas");
            warnings.extend(shapes::min_max(&mut draft, &scaling, fields, bounds, 1));
        } else {
            let place = below(part, &["replicas"]);
            let now = shapes::at(body, &place).as_i64().unwrap_or(1);
            let most = bounds.max_replicas.unwrap_or(i64::MAX);
            let size = now.min(most).max(bounds.min_replicas.unwrap_or(0)).max(0);
            if size != now {
                draft.set(&place, value!(size));
            }
            warnings.push(
                "replicas and scaling exclude each other: without scaling, bounds become one \
                 fixed size"
                    .to_owned(),
            );
        }
    }
    if parts.len() > 1 {
        warnings.push("prefill and decode get the same bounds: check their ratio".to_owned());
    }
    warnings.sort();
    warnings.dedup();
    let remedy = draft.remedy(
        Action::Bounds,
        &["as many replicas are ready as the bounds say"],
    );
    warnings.into_iter().fold(remedy, Remedy::warned)
}

fn fraction_of(view: &View<'_>, places: &Places, wish: &FractionWish) -> Remedy {
    let body = view.top_body;
    if let Some(devices) = claimed(body) {
        if devices > 1 {
            return Remedy::not_possible(
                Action::Fraction,
                format!(
                    "one pod uses {devices} devices together, which no part of one GPU replaces"
                ),
            );
        }
        let profile = wish
            .resource
            .as_deref()
            .and_then(super::super::resources::mig_profile);
        let Some(profile) = profile else {
            return Remedy::not_possible(
                Action::Fraction,
                "devices come by claims here: name a MIG profile",
            );
        };
        let mut draft = Draft::new(view.top, body);
        draft.set(
            &["metadata", "annotations", DRA_CLASS],
            value!("mig.nvidia.com"),
        );
        let cel = format!("device.attributes['gpu.nvidia.com'].profile == '{profile}'");
        draft.set(&["metadata", "annotations", DRA_CEL], value!(cel));
        return draft
            .remedy(Action::Fraction, &[shapes::ROLLED_OUT])
            .warned("selectors that the annotation had before are replaced by the profile's");
    }
    let only = Wish {
        fraction: Some(wish.clone()),
        ..Wish::default()
    };
    shapes::templates(view.top, body, places, &only)
        .into_iter()
        .next()
        .unwrap_or_else(|| Remedy::not_possible(Action::Fraction, "no template is declared"))
}
