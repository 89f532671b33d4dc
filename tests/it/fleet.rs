//! Helpers for tests of the inventory: upstream manifests and synthesised live objects as the
//! fold's input, rows as text, and what must hold of every remedy.

use idleproof::inventory::input::{Catalogue, Inputs, KnownInstance, KnownModel, ObjectVersion};
use idleproof::inventory::remedy::{Answer, Remedy, Wish};
use idleproof::inventory::rows::{AutoscalerRow, Inventory, WorkloadRow};
use idleproof::inventory::{fold, remedies};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, parse_ms};
use idleproof::model::workload::{WorkloadId, kind_of};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Kinds that stand outside of namespaces.
const CLUSTER_SCOPED: &[&str] = &[
    "ClusterAIScaleTemplate",
    "ClusterQueue",
    "CustomResourceDefinition",
    "EC2NodeClass",
    "Namespace",
    "Node",
    "NodePool",
    "ResourceFlavor",
];

pub(crate) struct Shelf;

impl Catalogue for Shelf {
    fn model(&self, name: &str) -> Option<KnownModel> {
        let (id, params_b) = match name.to_ascii_lowercase().as_str() {
            "meta-llama/llama-3.1-8b-instruct" => ("meta-llama/Llama-3.1-8B-Instruct", 8.0),
            "qwen/qwen3-32b" | "qwen3-32b" => ("Qwen/Qwen3-32B", 32.8),
            _ => return None,
        };
        Some(KnownModel {
            id: id.to_owned(),
            params_b,
        })
    }

    fn product(&self, label: &str) -> Option<String> {
        label.contains("H100").then(|| "H100-SXM-80".to_owned())
    }

    fn instance(&self, _: &str, _: &str) -> Option<KnownInstance> {
        None
    }
}

pub(crate) fn day() -> i64 {
    parse_ms("2026-11-02").unwrap()
}

/// The objects of an upstream manifest; those without a namespace are put into one.
pub(crate) fn manifest(name: &str, namespace: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/k8s/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .filter_map(|document| {
            let mut body = Value::deserialize(document).ok()?;
            body.pointer("/metadata/name")?;
            let scoped = CLUSTER_SCOPED.contains(&body["kind"].as_str()?);
            if !scoped && body.pointer("/metadata/namespace").is_none() {
                body["metadata"]["namespace"] = json!(namespace);
            }
            Some(body)
        })
        .collect()
}

/// An object seen once in the day.
pub(crate) fn seen(body: &Value) -> ObjectVersion {
    let field = |path: &str| {
        body.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let at = day() + 3_600_000;
    ObjectVersion {
        api_version: field("/apiVersion"),
        kind: field("/kind"),
        namespace: field("/metadata/namespace"),
        name: field("/metadata/name"),
        uid: None,
        json: body.to_string().into(),
        seen_from_ms: at,
        seen_to_ms: at,
    }
}

pub(crate) fn inputs(bodies: &[Value]) -> Inputs {
    let mut inputs = Inputs::empty("prod-a", TimeWindow::new(day(), day() + DAY_MS));
    inputs.objects = bodies.iter().map(seen).collect();
    inputs
}

pub(crate) fn inventory(bodies: &[Value]) -> Inventory {
    fold(&inputs(bodies), &Shelf)
}

pub(crate) fn workload<'i>(found: &'i Inventory, name: &str) -> &'i WorkloadRow {
    found
        .workloads
        .iter()
        .find(|row| row.workload_name == name)
        .unwrap_or_else(|| panic!("no workload {name}: {:#?}", found.workloads))
}

pub(crate) fn autoscaler<'i>(found: &'i Inventory, name: &str) -> &'i AutoscalerRow {
    found
        .autoscalers
        .iter()
        .find(|row| row.scaler_name == name)
        .unwrap_or_else(|| panic!("no autoscaler {name}: {:#?}", found.autoscalers))
}

fn known<T: std::fmt::Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "?".to_owned(), ToString::to_string)
}

/// The workloads of an inventory, one block each.
pub(crate) fn workloads_text(found: &Inventory) -> String {
    let mut out = String::new();
    for row in &found.workloads {
        out.push_str(&format!(
            "{}/{}/{}\n  class {} system {} scaler {}\n  model {} from {} ({})\n  \
             replicas {} in {}..{}, {} mGPU each, tp {} pp {}, role {}\n  team {} remedy {} {} | {}\n",
            row.workload_kind,
            row.namespace,
            row.workload_name,
            row.workload_class,
            known(row.serving_system.as_ref()),
            known(row.autoscaler.as_ref()),
            known(row.model.as_ref()),
            known(row.model_raw.as_ref()),
            known(row.model_source.as_ref()),
            known(row.replicas.as_ref()),
            known(row.min_replicas.as_ref()),
            known(row.max_replicas.as_ref()),
            row.gpu_milli_per_replica,
            known(row.tensor_parallel.as_ref()),
            known(row.pipeline_parallel.as_ref()),
            known(row.role.as_ref()),
            known(row.team.as_ref()),
            row.remedy_object,
            row.remedy_replicas_field,
            row.remedy_tier_field,
        ));
    }
    out
}

/// The autoscalers of an inventory, one block each.
pub(crate) fn autoscalers_text(found: &Inventory) -> String {
    let mut out = String::new();
    for row in &found.autoscalers {
        out.push_str(&format!(
            "{}/{}/{} -> {}/{} of {}/{}\n  {}..{} idle {}\n  policy {}\n",
            row.scaler_kind,
            row.namespace,
            row.scaler_name,
            row.target_kind,
            row.target_name,
            known(row.workload_kind.as_ref()),
            known(row.workload_name.as_ref()),
            known(row.min_replicas.as_ref()),
            known(row.max_replicas.as_ref()),
            known(row.idle_replicas.as_ref()),
            row.policy_json,
        ));
        let list = |text: &str| -> Vec<Value> { serde_json::from_str(text).unwrap() };
        for trigger in list(&row.triggers_json) {
            out.push_str(&format!("  trigger {trigger}\n"));
        }
        for finding in list(&row.findings_json) {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            out.push_str(&format!("  ! {}: {}\n", text("id"), text("sentence")));
        }
    }
    out
}

/// The answers to every action for one object, each change applied to it and undone again.
pub(crate) fn answers(bodies: &[Value], of: &Value) -> String {
    let text = |path: &str| of.pointer(path).and_then(Value::as_str).unwrap_or("");
    let id = WorkloadId {
        cluster: "prod-a".to_owned(),
        namespace: text("/metadata/namespace").to_owned(),
        kind: kind_of(text("/apiVersion"), text("/kind")),
        name: text("/metadata/name").to_owned(),
    };
    asked(bodies, &id, &Wish::survey("NVIDIA-L40S"))
        .iter()
        .map(shown)
        .collect()
}

/// The answers to a wish, every change checked.
pub(crate) fn asked(bodies: &[Value], id: &WorkloadId, wish: &Wish) -> Vec<Remedy> {
    let found = remedies(&inputs(bodies), id, wish);
    for remedy in &found {
        there_and_back(bodies, remedy);
    }
    found
}

/// The object that a change goes to with the change made; undoing it must give it back.
pub(crate) fn there_and_back(bodies: &[Value], remedy: &Remedy) -> Option<Value> {
    let change = remedy.change()?;
    let target = &change.target;
    let body = bodies
        .iter()
        .find(|body| {
            let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or("");
            kind_of(text("/apiVersion"), text("/kind")) == target.kind
                && text("/metadata/namespace") == target.namespace
                && text("/metadata/name") == target.name
        })
        .unwrap_or_else(|| panic!("no object {target:?}"));
    let mut live = body.clone();
    json_patch::patch(&mut live, &change.patch).unwrap();
    assert_ne!(&live, body, "{remedy:?} changes nothing");
    let patched = live.clone();
    json_patch::patch(&mut live, &change.inverse).unwrap();
    assert_eq!(&live, body, "{remedy:?} is not undone");
    Some(patched)
}

fn shown(remedy: &Remedy) -> String {
    let action = format!("{:?}", remedy.action).to_lowercase();
    let mut out = match &remedy.answer {
        Answer::NotPossible { because } => format!("{action}: not possible: {because}\n"),
        Answer::Change(change) => {
            let mut out = format!("{action}: {}/{}\n", change.target.kind, change.target.name);
            let patch = serde_json::to_value(&change.patch).unwrap();
            for step in patch.as_array().unwrap() {
                if step["op"] != "test" {
                    let value = step.get("value").map_or(String::new(), |v| format!(" {v}"));
                    out.push_str(&format!(
                        "  {} {}{value}\n",
                        step["op"].as_str().unwrap(),
                        step["path"].as_str().unwrap()
                    ));
                }
            }
            out
        }
    };
    for warning in remedy
        .warnings
        .iter()
        .filter(|warning| !warning.starts_with("freed pods free no money"))
    {
        out.push_str(&format!("  ! {warning}\n"));
    }
    out
}

/// A pod under an owner, as a controller makes it.
pub(crate) fn pod(name: &str, owner: &Value, labels: &Value, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": owner["metadata"]["namespace"], "labels": labels,
            "uid": format!("uid-{name}"), "creationTimestamp": "2026-11-02T00:10:00Z",
            "ownerReferences": [reference(owner)]},
        "spec": spec,
        "status": {"phase": "Running", "startTime": "2026-11-02T00:10:05Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-02T00:12:00Z"}]}})
}

pub(crate) fn reference(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true})
}

/// A child of an owner, with what a server adds.
pub(crate) fn child(mut body: Value, owner: &Value) -> Value {
    body["metadata"]["namespace"] = owner["metadata"]["namespace"].clone();
    body["metadata"]["ownerReferences"] = json!([reference(owner)]);
    body["metadata"]["uid"] = json!(format!("uid-{}", body["metadata"]["name"]));
    body
}

/// A Deployment of one vLLM server a replica.
pub(crate) fn engine(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "main", "image": "vllm/vllm-openai",
                "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct"],
                "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "8"}}}]}}}})
}

/// A node of a version of Kubernetes.
pub(crate) fn node(name: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
            "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
        "status": {"nodeInfo": {"kubeletVersion": version}, "capacity": {"nvidia.com/gpu": "8"}}})
}
