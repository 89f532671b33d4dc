//! Owns SageMaker HyperPod's inference resources: InferenceEndpointConfig and JumpStartModel. The
//! operator is closed: what it makes is inferred from its resource definitions.

use serde_json::json as value;

use super::super::resources;
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, BoundsWish, Draft, FractionWish, Remedy, TierWish, Wish};
use super::{
    Candidate, Facts, System, Template, View, json, member_templates, named, plain, shapes,
};

pub(super) static SYSTEM: System = System {
    name: "hyperpod",
    about: &ABOUT,
    serves: true,
    recognise: |view| is_endpoint(&view.top.kind) || is_jump_start(&view.top.kind),
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "SageMaker HyperPod",
    kinds: &["InferenceEndpointConfig, JumpStartModel (inference.sagemaker.aws.amazon.com/v1)"],
    chain: "pod → ReplicaSet → Deployment → the resource, where the operator sets owners",
    model: "Hugging Face id, JumpStart id, model location, model name",
    remedies: "autoScalingSpec or replicas; nodes by instance type; MIG by resource name or acceleratorPartitionType.",
};

const GROUP: &str = "inference.sagemaker.aws.amazon.com";

fn is_endpoint(kind: &str) -> bool {
    kind.strip_suffix(GROUP) == Some("inferenceendpointconfig.")
}

fn is_jump_start(kind: &str) -> bool {
    kind.strip_suffix(GROUP) == Some("jumpstartmodel.")
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let spec = json::get(body, &["spec"]);
    let worker = json::get(spec, &["worker"]);
    let mut models: Vec<Candidate> = named(
        "hyperpod.huggingFaceModel.modelId",
        spec,
        &["modelSourceConfig", "huggingFaceModel", "modelId"],
    )
    .into_iter()
    .collect();
    models.extend(named("hyperpod.model.modelId", spec, &["model", "modelId"]));
    models.extend(named(
        "hyperpod.modelLocation",
        spec,
        &["modelSourceConfig", "modelLocation"],
    ));
    models.extend(named("hyperpod.modelName", spec, &["modelName"]));
    let replicas = json::int(spec, &["replicas"]);
    let mut templates = member_templates(view);
    if templates.is_empty() {
        templates = declared(spec, replicas);
    }
    let scaling = json::get(spec, &["autoScalingSpec"]);
    let scaled = scaling.is_object();
    // Shards of the model in AWS' own serving containers, one GPU each.
    let shards = json::items(worker, &["environmentVariables"])
        .iter()
        .find(|one| {
            matches!(
                json::text(one, &["name"]),
                Some("OPTION_TENSOR_PARALLEL_DEGREE" | "TENSOR_PARALLEL_DEGREE" | "NUM_SHARD")
            )
        })
        .and_then(|one| json::int(one, &["value"]));
    Facts {
        replicas,
        min_replicas: json::int(scaling, &["minReplicaCount"]),
        max_replicas: json::int(scaling, &["maxReplicaCount"]),
        templates,
        models,
        tensor_parallel: shards,
        replicas_field: if scaled {
            "spec.autoScalingSpec.minReplicaCount".to_owned()
        } else {
            "spec.replicas".to_owned()
        },
        tier_field: if is_jump_start(&view.top.kind) {
            "spec.server.instanceType".to_owned()
        } else {
            "spec.instanceType".to_owned()
        },
        // No field of it gives annotations to its pods.
        spots: json::get(spec, &["worker"])
            .is_object()
            .then(|| Spot {
                metadata: None,
                spec: shapes::path(&["spec", "worker"]),
            })
            .into_iter()
            .collect(),
        ..Facts::default()
    }
}

/// What the resource alone says: one worker, or one of each role.
fn declared(spec: &serde_json::Value, replicas: Option<i64>) -> Vec<Template<'_>> {
    let roles = [("prefill", "prefillSpec"), ("decode", "decodingSpec")];
    let mut out = Vec::new();
    for (role, field) in roles {
        let part = json::get(spec, &["pdSpec", field]);
        let gpus = resources::container_units(part);
        if part.is_object() {
            out.push(Template {
                role: Some(role.to_owned()),
                pod_spec: part,
                pods_per_replica: 1,
                replicas: json::int(part, &["replicas"]),
                gpus: Some(gpus),
            });
        }
    }
    let worker = json::get(spec, &["worker"]);
    if out.is_empty() && worker.is_object() {
        out.push(Template {
            role: None,
            pod_spec: worker,
            pods_per_replica: 1,
            replicas,
            gpus: Some(resources::container_units(worker)),
        });
    }
    out
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let mut out = shapes::governed(view, wish).unwrap_or_else(|| replicas(view, wish));
    if let Some(tier) = &wish.tier {
        out.extend(retier(view, tier));
    }
    if let Some(cpu) = &wish.cpu {
        out.push(if is_jump_start(&view.top.kind) {
            Remedy::not_possible(
                Action::Cpu,
                "a JumpStartModel has no field for CPU: its instance type decides",
            )
        } else {
            let place = shapes::path(&["spec", "worker", "resources"]);
            shapes::cpu_at(view.top, view.top_body, &place, cpu)
        });
    }
    if let Some(fraction) = &wish.fraction {
        out.push(partition(view, fraction));
    }
    out
}

fn replicas(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let scaling = json::get(view.top_body, &["spec", "autoScalingSpec"]);
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        if scaling.is_object() {
            draft.set(&["spec", "autoScalingSpec", "minReplicaCount"], value!(0));
            let wakes = scaling.to_string().contains("activationTargetValue");
            let remedy = draft.remedy(Action::Zero, &[shapes::PODS_GONE]);
            out.push(if wakes {
                remedy.waking()
            } else {
                remedy.warned(
                    "no trigger has an activationTargetValue: give one, or nothing wakes the endpoint",
                )
            });
        } else {
            draft.set(&["spec", "replicas"], value!(0));
            out.push(draft.remedy(Action::Zero, &[shapes::PODS_GONE]).warned(
                "nothing wakes an endpoint without autoScalingSpec; deleting it frees its route too",
            ));
        }
    }
    if let Some(bounds) = wish.bounds {
        out.push(bound(view, scaling.is_object(), bounds));
    }
    out
}

fn bound(view: &View<'_>, scaled: bool, bounds: BoundsWish) -> Remedy {
    if !scaled {
        let place = shapes::path(&["spec", "replicas"]);
        return shapes::fixed_size(view.top, view.top_body, &place, bounds);
    }
    let mut draft = Draft::new(view.top, view.top_body);
    for (field, wanted) in [
        ("minReplicaCount", bounds.min_replicas),
        ("maxReplicaCount", bounds.max_replicas),
    ] {
        if let Some(count) = wanted {
            draft.set(&["spec", "autoScalingSpec", field], value!(count));
        }
    }
    draft
        .remedy(
            Action::Bounds,
            &["the endpoint's ScaledObject has the new bounds"],
        )
        .warned("a ScaledObject made by hand for the same endpoint would go on with its own bounds")
}

fn retier(view: &View<'_>, tier: &TierWish) -> Vec<Remedy> {
    let body = view.top_body;
    let spec = json::get(body, &["spec"]);
    if json::get(spec, &["pdSpec"]).is_object() {
        let mut draft = Draft::new(view.top, body);
        for field in ["prefillSpec", "decodingSpec"] {
            let place = shapes::path(&["spec", "pdSpec", field, "nodeSelector"]);
            shapes::select(&mut draft, &place, tier);
        }
        return vec![draft.remedy(Action::Tier, &[shapes::ON_NEW_NODES])];
    }
    if json::get(spec, &["nodeAffinity"]).is_object() {
        return vec![Remedy::not_possible(
            Action::Tier,
            "spec.nodeAffinity chooses the nodes, which excludes an instance type: write the new \
             nodes' labels there",
        )];
    }
    let Some(instance_type) = &tier.instance_type else {
        return vec![Remedy::not_possible(
            Action::Tier,
            "HyperPod chooses nodes by instance type (ml.…), and none is named for the new tier",
        )];
    };
    if !instance_type.starts_with("ml.") {
        return vec![Remedy::not_possible(
            Action::Tier,
            format!(
                "HyperPod takes SageMaker's instance types (ml.…) only, and {instance_type} is none: \
                 name the type of an instance group of the cluster"
            ),
        )];
    }
    let mut draft = Draft::new(view.top, body);
    if is_jump_start(&view.top.kind) {
        draft.set(&["spec", "server", "instanceType"], value!(instance_type));
    } else if json::get(spec, &["instanceTypes"]).is_array() {
        draft.set(&["spec", "instanceTypes"], value!([instance_type]));
    } else {
        draft.set(&["spec", "instanceType"], value!(instance_type));
    }
    vec![draft.remedy(Action::Tier, &[shapes::ON_NEW_NODES]).warned(
        "the cluster must have an instance group of this type: ml. types are priced by SageMaker",
    )]
}

fn partition(view: &View<'_>, wish: &FractionWish) -> Remedy {
    let Some(resource) = &wish.resource else {
        return Remedy::not_possible(
            Action::Fraction,
            "HyperPod divides GPUs by MIG only, and no MIG resource is named",
        );
    };
    let mut draft = Draft::new(view.top, view.top_body);
    if is_jump_start(&view.top.kind) {
        let profile = resource
            .strip_prefix("nvidia.com/")
            .unwrap_or(resource.as_str());
        draft.set(
            &["spec", "server", "acceleratorPartitionType"],
            value!(profile),
        );
        return draft.remedy(Action::Fraction, &[shapes::ROLLED_OUT]);
    }
    let place = shapes::path(&["spec", "worker", "resources"]);
    match shapes::resource_at(&mut draft, &place, wish) {
        Ok(()) => draft.remedy(Action::Fraction, &[shapes::ROLLED_OUT]),
        Err(because) => Remedy::not_possible(Action::Fraction, because),
    }
}
