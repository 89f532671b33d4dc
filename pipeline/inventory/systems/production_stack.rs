//! Owns vLLM's production-stack: the operator's VLLMRuntime and VLLMRouter, and the Helm chart's
//! Deployments, which only labels tell from others.

use serde_json::{Value, json as value};

use super::about::About;
use super::remedy::{Action, CpuWish, Draft, FractionWish, Remedy, TierWish, Wish};
use super::{Facts, System, Template, View, deployment, json, member_templates, named, shapes};

pub(super) static SYSTEM: System = System {
    name: "production-stack",
    about: &ABOUT,
    serves: true,
    recognise: |view| is_operated(view) || is_chart(view),
    facts,
    remedies,
    notes: chart,
};

pub(super) static ABOUT: About = About {
    title: "vLLM production-stack",
    kinds: &[
        "VLLMRuntime, VLLMRouter (production-stack.vllm.ai/v1alpha1)",
        "the Helm chart's Deployments, by the labels helm-release-name and model",
    ],
    chain: "pod → ReplicaSet → Deployment → VLLMRuntime; with the chart it ends at the Deployment",
    model: "`model.modelURL`, flags",
    remedies: "the resource's own autoscalingConfig and deploymentConfig; with the chart the Deployment, with the field of the values named.",
};

const RUNTIME: &str = "vllmruntime.production-stack.vllm.ai";
const SCALING: [&str; 2] = ["spec", "autoscalingConfig"];
const CONFIG: [&str; 2] = ["spec", "deploymentConfig"];

fn is_operated(view: &View<'_>) -> bool {
    view.top.kind.ends_with(".production-stack.vllm.ai")
}

/// The chart marks its engines by release and model, its router by release alone.
fn is_chart(view: &View<'_>) -> bool {
    matches!(
        view.top.kind.as_str(),
        "deployment.apps" | "statefulset.apps"
    ) && view.label("helm-release-name").is_some()
        && view.label("model").is_some()
}

fn is_scaled(body: &Value) -> bool {
    json::truth(body, &["spec", "autoscalingConfig", "enabled"])
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    if !is_operated(view) {
        return (deployment::SYSTEM.facts)(view);
    }
    let body = view.top_body;
    let config = json::get(body, &CONFIG);
    let replicas = json::int(config, &["replicas"]);
    // The live Deployment has the engine's arguments, which the resource only implies.
    let mut templates = member_templates(view);
    if templates.is_empty() && view.top.kind == RUNTIME {
        templates.push(Template {
            role: kv_role(body),
            pod_spec: config,
            pods_per_replica: 1,
            replicas,
            gpus: json::int(config, &["resources", "gpu"]).map(|gpus| gpus.clamp(0, 4096)),
        });
    }
    let scaled = is_scaled(body);
    let scaling = json::get(body, &SCALING);
    Facts {
        replicas,
        // The operator's own default.
        min_replicas: scaled.then(|| json::int(scaling, &["minReplicas"]).unwrap_or(1)),
        max_replicas: scaled
            .then(|| json::int(scaling, &["maxReplicas"]))
            .flatten(),
        templates,
        models: named(
            "vllmruntime.model.modelURL",
            body,
            &["spec", "model", "modelURL"],
        )
        .into_iter()
        .collect(),
        tensor_parallel: json::int(body, &["spec", "vllmConfig", "tensorParallelSize"])
            .filter(|size| *size > 0),
        replicas_field: if scaled {
            "spec.autoscalingConfig.minReplicas".to_owned()
        } else {
            "spec.deploymentConfig.replicas".to_owned()
        },
        tier_field: "spec.deploymentConfig.nodeSelectorTerms".to_owned(),
        ..Facts::default()
    }
}

fn kv_role(body: &Value) -> Option<String> {
    let role = ["lmCacheConfig", "lmcacheConfig"]
        .iter()
        .find_map(|field| json::text(body, &["spec", field, "kvRole"]))?;
    match role {
        "kv_producer" => Some("prefill".to_owned()),
        "kv_consumer" => Some("decode".to_owned()),
        _ => None,
    }
}

fn remedies(view: &View<'_>, facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    if !is_operated(view) {
        return shapes::remedies(view, facts, wish);
    }
    if view.top.kind != RUNTIME {
        return shapes::refuse(
            wish,
            format!("{} routes requests and holds no GPU", view.top.path()),
        );
    }
    let mut out = shapes::governed(view, wish).unwrap_or_else(|| replicas(view, wish));
    if let Some(tier) = &wish.tier {
        out.push(select(view, tier));
    }
    if let Some(cpu) = &wish.cpu {
        out.push(processors(view, cpu));
    }
    if let Some(fraction) = &wish.fraction {
        out.push(fractions(view, fraction));
    }
    out
}

/// The chart's values, which hold what a live patch would only change until the next upgrade.
fn chart(view: &View<'_>, remedy: Remedy) -> Remedy {
    if is_operated(view) {
        return remedy;
    }
    let name = view.label("model").unwrap_or("");
    let field = match remedy.action {
        Action::Zero => "replicaCount, keda.minReplicaCount or keda.idleReplicaCount",
        Action::Tier => "nodeSelectorTerms",
        Action::Bounds => "keda.minReplicaCount and keda.maxReplicaCount, or replicaCount",
        Action::Cpu => "requestCPU and limitCPU",
        Action::Fraction => "requestGPUType and requestGPU",
    };
    remedy.warned(format!(
        "the chart keeps this in servingEngineSpec.modelSpec[name={name}]: {field}"
    ))
}

fn replicas(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let scaled = is_scaled(view.top_body);
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        if scaled {
            draft.set(&["spec", "autoscalingConfig", "minReplicas"], value!(0));
            out.push(draft.remedy(Action::Zero, &[shapes::PODS_GONE]).waking().warned(
                "it sleeps after scaleToZeroDelaySeconds (1800 unless set) without requests, \
                         and wakes on the router's vllm:num_incoming_requests_total",
            ));
        } else {
            draft.set(&["spec", "deploymentConfig", "replicas"], value!(0));
            out.push(draft.remedy(Action::Zero, &[shapes::PODS_GONE]));
        }
    }
    if let Some(bounds) = wish.bounds {
        if scaled {
            let mut draft = Draft::new(view.top, view.top_body);
            for (field, wanted) in [
                ("minReplicas", bounds.min_replicas),
                ("maxReplicas", bounds.max_replicas),
            ] {
                if let Some(count) = wanted {
                    draft.set(&["spec", "autoscalingConfig", field], value!(count));
                }
            }
            let verify = "the operator's ScaledObject has the new bounds";
            out.push(draft.remedy(Action::Bounds, &[verify]));
        } else {
            let place = shapes::path(&["spec", "deploymentConfig", "replicas"]);
            out.push(shapes::fixed_size(view.top, view.top_body, &place, bounds));
        }
    }
    out
}

/// Terms are alternatives: each of them gets the new labels for the old tier's.
fn select(view: &View<'_>, tier: &TierWish) -> Remedy {
    let place = ["spec", "deploymentConfig", "nodeSelectorTerms"];
    let mut wanted: Vec<(String, String)> = tier.node_selector.clone().into_iter().collect();
    if wanted.is_empty()
        && let Some(instance_type) = &tier.instance_type
    {
        wanted.push((
            "node.kubernetes.io/instance-type".to_owned(),
            instance_type.clone(),
        ));
    }
    let terms = json::items(view.top_body, &place);
    let none = [Value::Null];
    let terms = if terms.is_empty() { &none[..] } else { terms };
    let renewed: Vec<Value> = terms
        .iter()
        .map(|term| {
            let kept = json::items(term, &["matchExpressions"])
                .iter()
                .filter(|one| {
                    json::text(one, &["key"]).is_some_and(|key| !super::warnings::is_tier_key(key))
                })
                .cloned();
            let new = wanted
                .iter()
                .map(|(key, label)| value!({"key": key, "operator": "In", "values": [label]}));
            value!({"matchExpressions": kept.chain(new).collect::<Vec<_>>()})
        })
        .collect();
    let mut draft = Draft::new(view.top, view.top_body);
    draft.set(&place, Value::Array(renewed));
    draft
        .remedy(Action::Tier, &[shapes::ROLLED_OUT, shapes::ON_NEW_NODES])
        .warned(
            "the operator compares selected fields only: check that its Deployment has the new terms",
        )
}

fn processors(view: &View<'_>, wish: &CpuWish) -> Remedy {
    let sidecar = json::text(
        view.top_body,
        &["spec", "deploymentConfig", "sidecarConfig", "name"],
    )
    .unwrap_or("sidecar");
    let place: &[&str] = match wish.container.as_deref() {
        Some(name) if name == sidecar => &[
            "spec",
            "deploymentConfig",
            "sidecarConfig",
            "resources",
            "cpu",
        ],
        _ => &["spec", "deploymentConfig", "resources", "cpu"],
    };
    let Some(cpu) = wish.request.as_ref().or(wish.limit.as_ref()) else {
        return Remedy::not_possible(Action::Cpu, "no quantity of CPU is asked for");
    };
    let mut draft = Draft::new(view.top, view.top_body);
    draft.set(place, value!(cpu));
    let remedy = draft.remedy(Action::Cpu, &[shapes::ROLLED_OUT]);
    if wish.request.is_some() && wish.limit.is_some() {
        return remedy.warned("the resource has one quantity of CPU, not a request and a limit");
    }
    remedy
}

fn fractions(view: &View<'_>, wish: &FractionWish) -> Remedy {
    let Some(resource) = &wish.resource else {
        return Remedy::not_possible(
            Action::Fraction,
            "production-stack asks for parts of a GPU by resource name only",
        );
    };
    let gpus = json::int(
        view.top_body,
        &["spec", "deploymentConfig", "resources", "gpu"],
    );
    if gpus.is_some_and(|gpus| gpus > 1) {
        return Remedy::not_possible(
            Action::Fraction,
            "one pod uses several GPUs together, which no part of one GPU replaces",
        );
    }
    let mut draft = Draft::new(view.top, view.top_body);
    draft
        .set(
            &["spec", "deploymentConfig", "resources", "gpuType"],
            value!(resource),
        )
        .set(
            &["spec", "deploymentConfig", "resources", "gpu"],
            value!(wish.units.to_string()),
        );
    draft.remedy(Action::Fraction, &[shapes::ROLLED_OUT])
}
