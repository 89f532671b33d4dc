//! Owns which fields of an object a change of scale shows in: replicas, bounds, images, GPUs and how
//! they are chosen, the model. It walks any kind, so that an unknown one still has a history.

use std::collections::BTreeMap;

use serde_json::Value;

use super::command::CommandLine;
use super::identity;
use super::json;
use super::managed::Step;
use super::resources;

/// Deeper than any resource is; a hostile one ends here.
const MAX_DEPTH: usize = 24;
/// Fields of one object beyond this number are not watched.
const MAX_FIELDS: usize = 512;
/// A value longer than this is cut.
const MAX_VALUE: usize = 512;

/// What a field is about, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub what: &'static str,
    pub value: String,
}

/// Annotations that are fields in all but name.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("autoscaling.knative.dev/min-scale", "min_replicas"),
    ("autoscaling.knative.dev/max-scale", "max_replicas"),
    ("autoscaling.keda.sh/paused-replicas", "replicas"),
    ("autoscaling.keda.sh/paused", "paused"),
    ("serving.kserve.io/stop", "paused"),
    ("serving.kserve.io/gke-accelerator", "gpu_selection"),
    ("gpu-fraction", "gpus"),
    ("gpu-memory", "gpus"),
    ("nvidia.com/use-gputype", "gpu_selection"),
    ("nvidia.com/nouse-gputype", "gpu_selection"),
    ("serving.kserve.io/exp-dra-device-class", "gpu_selection"),
    ("serving.kserve.io/exp-dra-cel-selector", "gpu_selection"),
    ("serving.kserve.io/exp-dra-device-count", "gpus"),
];

/// The watched fields of an object, by path.
pub(super) fn watched(body: &Value) -> BTreeMap<Vec<Step>, Watched> {
    let mut out = BTreeMap::new();
    if let Some(fields) = body.as_object() {
        for (name, value) in fields {
            if !matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion") {
                let mut path = vec![Step::Field(name.clone())];
                walk(value, &mut path, &mut out);
            }
        }
    }
    let path = [Step::Field("metadata".to_owned())];
    annotations(json::get(body, &["metadata"]), &path, &mut out);
    out
}

fn annotations(metadata: &Value, path: &[Step], out: &mut BTreeMap<Vec<Step>, Watched>) {
    for (name, what) in ANNOTATIONS {
        if let Some(value) = json::text(metadata, &["annotations", name]) {
            let mut at = path.to_vec();
            at.push(Step::Field("annotations".to_owned()));
            at.push(Step::Field((*name).to_owned()));
            put(out, at, what, value.to_owned());
        }
    }
}

fn put(out: &mut BTreeMap<Vec<Step>, Watched>, path: Vec<Step>, what: &'static str, value: String) {
    if out.len() < MAX_FIELDS {
        let value = value.chars().take(MAX_VALUE).collect();
        out.insert(path, Watched { what, value });
    }
}

fn walk(value: &Value, path: &mut Vec<Step>, out: &mut BTreeMap<Vec<Step>, Watched>) {
    if path.len() >= MAX_DEPTH || out.len() >= MAX_FIELDS {
        return;
    }
    match value {
        Value::Object(fields) => {
            if fields.get("image").is_some_and(Value::is_string) {
                model(value, path, out);
            }
            for (name, inner) in fields {
                path.push(Step::Field(name.clone()));
                match name.as_str() {
                    "metadata" => annotations(inner, path, out),
                    "nodeAffinity" if inner.is_object() => {
                        put(out, path.clone(), "gpu_selection", inner.to_string());
                    }
                    // Names and values of containers, none of which is a size.
                    "env" | "args" | "command" | "status" => {}
                    _ => match scalar(inner) {
                        Some(text) => {
                            if let Some(what) = what(path) {
                                put(out, path.clone(), what, text);
                            }
                        }
                        None => walk(inner, path, out),
                    },
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate().take(MAX_FIELDS) {
                path.push(match json::text(inner, &["name"]) {
                    Some(name) => Step::Named(name.to_owned()),
                    None => Step::Index(index),
                });
                walk(inner, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The model that a container's words name.
fn model(container: &Value, path: &[Step], out: &mut BTreeMap<Vec<Step>, Watched>) {
    let line = CommandLine::of(container);
    let named = identity::from_commands(&[line]);
    // The served name is an alias: what is loaded is the other one.
    let loaded = named
        .iter()
        .find(|one| one.source != "flag --served-model-name")
        .or_else(|| named.first());
    if let Some(candidate) = loaded {
        let part = if candidate.source.starts_with("env ") {
            "env"
        } else {
            "args"
        };
        let mut at = path.to_vec();
        at.push(Step::Field(part.to_owned()));
        put(out, at, "model", candidate.raw.clone());
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn what(path: &[Step]) -> Option<&'static str> {
    let name = |back: usize| match path.len().checked_sub(back).and_then(|at| path.get(at)) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    let (own, above) = (name(1), name(2));
    let plain: String = own
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    match plain.as_str() {
        "replicas" | "replicacount" => return Some("replicas"),
        "minreplicas" | "minreplicacount" | "minscale" | "minendpoint" => {
            return Some("min_replicas");
        }
        "maxreplicas" | "maxreplicacount" | "maxscale" => return Some("max_replicas"),
        "idlereplicacount" => return Some("idle_replicas"),
        "suspend" | "paused" => return Some("paused"),
        "image" => return Some("image"),
        "instancetype"
        | "gputype"
        | "requestgputype"
        | "resourceclaimtemplatename"
        | "deviceclassname"
        | "runtimeclassname" => return Some("gpu_selection"),
        "requestgpu" | "gpu" | "gpus" => return Some("gpus"),
        "storageuri" | "modelurl" | "modeluri" | "modelname" | "modelid" => return Some("model"),
        "uri" | "name" if above == "model" || above == "preset" => return Some("model"),
        "repository" | "tag" | "registry" if above == "image" => return Some("image"),
        _ => {}
    }
    if above == "nodeSelector" {
        return Some("gpu_selection");
    }
    (matches!(above, "limits" | "requests")
        && (resources::is_gpu(own) || own.starts_with("nvidia.com/gpu")))
    .then_some("gpus")
}

#[cfg(test)]
mod tests {
    use super::super::managed::field;
    use super::*;
    use serde_json::json;

    #[test]
    fn any_kind_shows_its_sizes_images_gpus_and_model() {
        let body = json!({
            "kind": "Anything",
            "metadata": {"annotations": {"serving.kserve.io/stop": "true", "x": "y"}},
            "status": {"replicas": 9},
            "spec": {"components": [{"name": "decode", "replicas": 2, "podTemplate": {"spec": {
                "nodeSelector": {"nvidia.com/gpu.product": "H100"},
                "containers": [{"name": "main", "image": "vllm:1",
                    "command": ["sh", "-c", "exec vllm serve Qwen/Qwen3-8B -tp 2"],
                    "resources": {"limits": {"nvidia.com/gpu": "2", "cpu": "4"}}}]}}}],
                "scaling": {"minReplicas": 1, "maxReplicas": 4}},
        });
        let seen: Vec<String> = watched(&body)
            .iter()
            .map(|(path, one)| format!("{} {} = {}", one.what, field(path), one.value))
            .collect();
        assert_eq!(
            seen,
            [
                "paused metadata.annotations.serving.kserve.io/stop = true",
                "model spec.components[decode].podTemplate.spec.containers[main].args = Qwen/Qwen3-8B",
                "image spec.components[decode].podTemplate.spec.containers[main].image = vllm:1",
                "gpus spec.components[decode].podTemplate.spec.containers[main].resources.limits.nvidia.com/gpu = 2",
                "gpu_selection spec.components[decode].podTemplate.spec.nodeSelector.nvidia.com/gpu.product = H100",
                "replicas spec.components[decode].replicas = 2",
                "max_replicas spec.scaling.maxReplicas = 4",
                "min_replicas spec.scaling.minReplicas = 1",
            ]
            .map(str::to_owned)
            .into_iter()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut deep = json!({"replicas": 1});
        for _ in 0..100 {
            deep = json!({"spec": deep});
        }
        assert!(watched(&deep).is_empty());
        let many: Vec<Value> = (0..5000).map(|n| json!({"replicas": n})).collect();
        assert_eq!(watched(&json!({"spec": many})).len(), MAX_FIELDS);
    }
}
