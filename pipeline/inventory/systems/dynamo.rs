//! Owns NVIDIA Dynamo graphs: the `services` map of v1alpha1 and the `components` list of
//! v1beta1.

use serde_json::Value;

use super::about::About;
use super::layers::Spot;
use super::shapes::below;
use super::{Candidate, Facts, System, Template, View, dynamo_remedies, json, member_templates};

pub(super) static SYSTEM: System = System {
    name: "dynamo",
    about: &ABOUT,
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
    remedies: dynamo_remedies::remedies,
    notes: dynamo_remedies::notes,
};

pub(super) static ABOUT: About = About {
    title: "NVIDIA Dynamo",
    kinds: &[
        "DynamoGraphDeployment (nvidia.com/v1beta1 components, v1alpha1 services)",
        "DynamoComponentDeployment",
        "DynamoGraphDeploymentRequest, by label",
        "DynamoGraphDeploymentScalingAdapter",
        "planner configuration",
    ],
    chain: "pod → PodClique → PodCliqueScalingGroup → PodCliqueSet → DynamoGraphDeployment, or \
            … → Deployment or LeaderWorkerSet → DynamoComponentDeployment → DynamoGraphDeployment",
    model: "`modelRef.name`, the request's `model`, flags",
    remedies: "replicas on the scaling adapter where a component has one, else on the component; \
               a planner's own minimum and GPU budget. No signal wakes a graph without workers.",
};

/// One component, whichever version of the resource spells it.
pub(super) struct Component<'a> {
    pub name: String,
    /// Where it stands in the graph, as keys.
    pub at: Vec<String>,
    pub listed: bool,
    path: String,
    tier_path: String,
    pub body: &'a Value,
    pub pod_spec: &'a Value,
}

impl Component<'_> {
    /// Where its pod template stands: v1alpha1 keeps its two halves in fields of other names.
    pub(super) fn spot(&self) -> Spot {
        if self.listed {
            return Spot::of_template(&below(&self.at, &["podTemplate"]));
        }
        Spot {
            metadata: Some(below(&self.at, &["extraPodMetadata"])),
            spec: below(&self.at, &["extraPodSpec"]),
        }
    }
}

pub(super) fn components(body: &Value) -> Vec<Component<'_>> {
    let mut out = Vec::new();
    if let Some(services) = json::get(body, &["spec", "services"]).as_object() {
        let mut names: Vec<&String> = services.keys().collect();
        names.sort();
        for name in names {
            let path = format!("spec.services.{name}");
            out.push(Component {
                name: name.clone(),
                at: vec!["spec".to_owned(), "services".to_owned(), name.clone()],
                listed: false,
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
            at: vec![
                "spec".to_owned(),
                "components".to_owned(),
                index.to_string(),
            ],
            listed: true,
            tier_path: format!("{path}.podTemplate.spec.nodeSelector"),
            path,
            pod_spec: json::get(body, &["podTemplate", "spec"]),
            body,
        });
    }
    // A component deployment is one component by itself, in either version's spelling.
    let spec = json::get(body, &["spec"]);
    let listed = spec.get("podTemplate").is_some();
    if out.is_empty() && (listed || spec.get("extraPodSpec").is_some()) {
        let name = json::text(spec, &["name"]).or_else(|| json::text(spec, &["serviceName"]));
        let (tail, pod_spec): (&str, &[&str]) = if listed {
            ("podTemplate.spec.nodeSelector", &["podTemplate", "spec"])
        } else {
            ("extraPodSpec.nodeSelector", &["extraPodSpec"])
        };
        out.push(Component {
            name: name.unwrap_or("").to_owned(),
            at: vec!["spec".to_owned()],
            listed,
            path: "spec".to_owned(),
            tier_path: format!("spec.{tail}"),
            body: spec,
            pod_spec: json::get(spec, pod_spec),
        });
    }
    out
}

pub(super) fn role(component: &Component<'_>) -> Option<String> {
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
pub(super) fn gpus(component: &Component<'_>) -> i64 {
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
    // The request that generated the graph is tied to it by label only.
    if let Some(name) = view.label("dgdr.nvidia.com/name") {
        let namespace = view.label("dgdr.nvidia.com/namespace");
        let kind = "dynamographdeploymentrequest.nvidia.com";
        let namespace = namespace.unwrap_or(&view.top.namespace);
        if let Some(request) = view.world.object(kind, namespace, name) {
            models.extend(super::named(
                "dynamo.request.model",
                request,
                &["spec", "model"],
            ));
        }
    }
    let counts: Vec<i64> = working
        .iter()
        .filter_map(|part| json::int(part.body, &["replicas"]))
        .collect();
    let mut templates: Vec<Template<'a>> = Vec::new();
    // Also of workers whose devices come by claim, which ask for no number of GPUs.
    let spots = dynamo_remedies::working(&all)
        .into_iter()
        .map(Component::spot)
        .collect();
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
        spots,
        ..Facts::default()
    }
}
