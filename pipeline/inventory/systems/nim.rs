//! Owns NVIDIA NIM services, by themselves and inside of pipelines: replicas and `scale` exclude
//! each other, and the model is named by an image or a cache.

use serde_json::{Value, json as value};

use super::super::resources;
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, CpuWish, Draft, FractionWish, Remedy, Wish};
use super::shapes::{self, Path, below, path};
use super::{Candidate, Facts, System, Template, View, json, member_templates, named, plain};

pub(super) static SYSTEM: System = System {
    name: "nim",
    about: &ABOUT,
    serves: true,
    recognise: |view| view.top.kind.ends_with(".apps.nvidia.com"),
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "NVIDIA NIM",
    kinds: &["NIMService, NIMPipeline, NIMCache (apps.nvidia.com/v1alpha1)"],
    chain: "pod → … → Deployment, LeaderWorkerSet or InferenceService → NIMService → NIMPipeline",
    model: "`image.repository`, the NIMCache's source, `NIM_MODEL_NAME`",
    remedies: "`replicas`, or `scale.hpa`, whose minimum is one; to go to zero autoscaling is \
               switched off first. Sidecars have no field for resources.",
};

/// The specifications of all services: one, or those of a pipeline.
fn services(view: &View<'_>) -> Vec<Path> {
    if view.top.kind != "nimpipeline.apps.nvidia.com" {
        return vec![path(&["spec"])];
    }
    json::items(view.top_body, &["spec", "services"])
        .iter()
        .enumerate()
        .filter(|(_, service)| json::get(service, &["enabled"]).as_bool() != Some(false))
        .map(|(index, _)| below(&path(&["spec", "services"]), &[&index.to_string(), "spec"]))
        .collect()
}

fn models(view: &View<'_>, spec: &Value) -> Vec<Candidate> {
    let mut out: Vec<Candidate> = named("nimservice.image", spec, &["image", "repository"])
        .into_iter()
        .collect();
    for var in json::items(spec, &["env"]) {
        if json::text(var, &["name"]) == Some("NIM_MODEL_NAME") {
            out.extend(named("env NIM_MODEL_NAME", var, &["value"]));
        }
    }
    let cache = json::text(spec, &["storage", "nimCache", "name"]);
    let cache = cache.and_then(|name| {
        let kind = "nimcache.apps.nvidia.com";
        view.world.object(kind, &view.top.namespace, name)
    });
    if let Some(cache) = cache {
        let source = json::get(cache, &["spec", "source"]);
        for place in [
            &["ngc", "modelPuller"][..],
            &["hf", "modelName"],
            &["dataStore", "modelName"],
        ] {
            out.extend(named("nimcache.source", source, place));
        }
    }
    out
}

/// Devices that one pod claims.
fn claimed(spec: &Value) -> i64 {
    json::items(spec, &["draResources"])
        .iter()
        .flat_map(|one| json::items(one, &["claimCreationSpec", "devices"]))
        .map(|device| json::int(device, &["count"]).unwrap_or(1).clamp(0, 4096))
        .sum()
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let places = services(view);
    let specs: Vec<&Value> = places.iter().map(|place| shapes::at(body, place)).collect();
    let spec = specs.first().copied().unwrap_or(&Value::Null);
    let mut templates = member_templates(view);
    if templates.is_empty() {
        for spec in &specs {
            let units = resources::container_units(spec) + claimed(spec);
            if units > 0 {
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
        }
    }
    let scaled = json::truth(spec, &["scale", "enabled"]);
    let hpa = json::get(spec, &["scale", "hpa"]);
    let prefix = places
        .first()
        .map_or("spec".to_owned(), |place| place.join("."));
    Facts {
        replicas: json::int(spec, &["replicas"]),
        min_replicas: scaled.then(|| json::int(hpa, &["minReplicas"]).unwrap_or(1)),
        max_replicas: if scaled {
            json::int(hpa, &["maxReplicas"])
        } else {
            None
        },
        templates,
        models: specs.iter().flat_map(|spec| models(view, spec)).collect(),
        tensor_parallel: json::int(spec, &["multiNode", "parallelism", "tensor"]),
        pipeline_parallel: json::int(spec, &["multiNode", "parallelism", "pipeline"]),
        replicas_field: if scaled {
            format!("{prefix}.scale.hpa.minReplicas")
        } else {
            format!("{prefix}.replicas")
        },
        bounds_field: scaled.then(|| format!("{prefix}.scale.hpa.{{minReplicas,maxReplicas}}")),
        tier_field: format!("{prefix}.nodeSelector"),
        // A service is its own container, with its pods' labels and annotations beside it.
        spots: places
            .iter()
            .map(|place| Spot {
                metadata: Some(place.clone()),
                spec: place.clone(),
            })
            .collect(),
        ..Facts::default()
    }
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let places = services(view);
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, body);
        let mut scaled = false;
        for place in &places {
            if json::truth(shapes::at(body, place), &["scale", "enabled"]) {
                scaled = true;
                draft.set(&below(place, &["scale", "enabled"]), value!(false));
            }
            draft.set(&below(place, &["replicas"]), value!(0));
        }
        let remedy = draft.remedy(Action::Zero, &[shapes::PODS_GONE]);
        out.push(if scaled {
            remedy.warned(
                "its HPA has a minimum of one, so autoscaling is switched off: nothing wakes the \
                 service",
            )
        } else {
            remedy
        });
    }
    if let Some(bounds) = wish.bounds {
        let mut draft = Draft::new(view.top, body);
        let mut warnings = Vec::new();
        for place in &places {
            if json::truth(shapes::at(body, place), &["scale", "enabled"]) {
                let hpa = below(place, &["scale", "hpa"]);
                let fields = ("minReplicas", "maxReplicas");
                warnings.extend(shapes::min_max(&mut draft, &hpa, fields, bounds, 1));
                continue;
            }
            let replicas = below(place, &["replicas"]);
            let now = shapes::at(body, &replicas).as_i64().unwrap_or(1);
            let most = bounds.max_replicas.unwrap_or(i64::MAX);
            let size = now.min(most).max(bounds.min_replicas.unwrap_or(0));
            if size != now {
                draft.set(&replicas, value!(size));
            }
            warnings.push(
                "no autoscaler owns the replicas, so bounds become one fixed size".to_owned(),
            );
        }
        let remedy = draft.remedy(
            Action::Bounds,
            &["as many replicas are ready as the bounds say"],
        );
        out.push(warnings.into_iter().fold(remedy, Remedy::warned));
    }
    if let Some(tier) = &wish.tier {
        let mut draft = Draft::new(view.top, body);
        let mut selects = false;
        for place in &places {
            selects |= claimed(shapes::at(body, place)) > 0;
            shapes::select(&mut draft, &below(place, &["nodeSelector"]), tier);
        }
        let remedy = draft.remedy(Action::Tier, &[shapes::ON_NEW_NODES]).warned(
            "profiles in the NIMCache are made for a GPU product: the cache may need one for the \
             new product",
        );
        out.push(if selects {
            remedy.warned("the claims' own selectors must allow the new product too")
        } else {
            remedy
        });
    }
    if let Some(cpu) = &wish.cpu {
        out.push(cpu_of(view, &places, cpu));
    }
    if let Some(fraction) = &wish.fraction {
        out.push(fraction_of(view, &places, fraction));
    }
    out
}

fn cpu_of(view: &View<'_>, places: &[Path], wish: &CpuWish) -> Remedy {
    let sidecar = wish.container.as_deref().filter(|name| {
        places.iter().any(|place| {
            json::items(shapes::at(view.top_body, place), &["sidecarContainers"])
                .iter()
                .any(|one| json::text(one, &["name"]) == Some(name))
        })
    });
    match (sidecar, places.first()) {
        (Some(name), _) => Remedy::not_possible(
            Action::Cpu,
            format!("{name} is a sidecar, and sidecarContainers has no field for resources"),
        ),
        (None, Some(place)) => {
            let place = below(place, &["resources"]);
            shapes::cpu_at(view.top, view.top_body, &place, wish)
        }
        (None, None) => Remedy::not_possible(Action::Cpu, "the pipeline has no service"),
    }
}

fn fraction_of(view: &View<'_>, places: &[Path], wish: &FractionWish) -> Remedy {
    let mut draft = Draft::new(view.top, view.top_body);
    for place in places {
        let spec = shapes::at(view.top_body, place);
        let done = match claimed(spec) {
            0 => shapes::resource_at(&mut draft, &below(place, &["resources"]), wish),
            1 => claim(&mut draft, spec, place, wish),
            devices => Err(format!(
                "one pod uses {devices} devices together, which no part of one GPU replaces"
            )),
        };
        if let Err(because) = done {
            return Remedy::not_possible(Action::Fraction, because);
        }
        for (name, label) in &wish.node_selector {
            draft.set(&below(place, &["nodeSelector", name]), value!(label));
        }
    }
    draft.remedy(Action::Fraction, &[shapes::ROLLED_OUT])
}

/// Turns the one device that a pod claims into a MIG instance.
fn claim(
    draft: &mut Draft<'_>,
    spec: &Value,
    place: &[String],
    wish: &FractionWish,
) -> Result<(), String> {
    let Some(profile) = wish.resource.as_deref().and_then(resources::mig_profile) else {
        return Err("devices come by claims here: name a MIG profile".to_owned());
    };
    let of = |one: &Value| json::items(one, &["claimCreationSpec", "devices"]).len();
    let index = json::items(spec, &["draResources"])
        .iter()
        .position(|one| of(one) > 0)
        .unwrap_or(0)
        .to_string();
    let keys = ["draResources", &index, "claimCreationSpec", "devices", "0"];
    let device = below(place, &keys);
    let cel = format!("device.attributes['gpu.nvidia.com'].profile == '{profile}'");
    draft.set(
        &below(&device, &["deviceClassName"]),
        value!("mig.nvidia.com"),
    );
    draft.set(&below(&device, &["celExpressions"]), value!([cel]));
    Ok(())
}
