//! Owns the warnings that hold for a change of any object: who writes it from elsewhere, who owns
//! the field now, and when freed pods free money. Remedies call it with what they touch.

use serde_json::Value;

use super::super::objects::Key;
use super::json;
use super::remedy::{Action, Precondition};

/// Field managers through which people and deployment tools write by hand.
const HANDS: &[&str] = &[
    "kubectl",
    "helm",
    "argocd",
    "kustomize",
    "flux",
    "terraform",
];

/// Marks of tools that write objects from a repository or a chart.
const MANAGERS: &[(&str, &str, &str)] = &[
    ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD"),
    ("labels", "argocd.argoproj.io/instance", "Argo CD"),
    ("labels", "helm.toolkit.fluxcd.io/name", "Flux HelmRelease"),
    (
        "labels",
        "kustomize.toolkit.fluxcd.io/name",
        "Flux Kustomization",
    ),
    ("annotations", "meta.helm.sh/release-name", "Helm release"),
];

/// Labels that pin pods to a GPU product: a new tier replaces all of them.
pub(super) const TIER_KEYS: &[&str] = &[
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.family",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.machine",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "accelerator",
    "karpenter.sh/nodepool",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.k8s.aws/instance-family",
    "karpenter.azure.com/sku-gpu-name",
    "karpenter.azure.com/sku-name",
    "gpu.nvidia.com/class",
    "gpu.nvidia.com/model",
    "node.coreweave.cloud/class",
    "compute.coreweave.com/node-pool",
];

/// Whether a label pins pods to a GPU product.
pub(super) fn is_tier_key(key: &str) -> bool {
    TIER_KEYS.contains(&key)
}

/// All warnings about one change of one object.
pub(super) fn of(key: &Key, body: &Value, action: Action, touched: &[Precondition]) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(manager) = managed_by(body) {
        out.push(format!(
            "{} is written by {manager}: change it there, a live patch lasts until its next sync",
            key.path()
        ));
    }
    let mut owners: Vec<String> = touched
        .iter()
        .filter_map(|place| {
            let owner = field_manager(body, &place.path)?;
            let by_hand = HANDS.iter().any(|hand| owner.starts_with(hand));
            (!by_hand).then(|| {
                format!(
                    "{} is written by the field manager {owner}, which may write it again",
                    place.path
                )
            })
        })
        .collect();
    owners.sort();
    owners.dedup();
    out.extend(owners);
    if action != Action::Cpu {
        out.push(
            "freed pods free no money until their nodes can go: pair this with the node pool"
                .to_owned(),
        );
    }
    out
}

/// The tool that writes an object from a repository or a chart, as its marks say.
pub(super) fn managed_by(body: &Value) -> Option<String> {
    MANAGERS.iter().find_map(|(field, name, title)| {
        let value = json::text(body, &["metadata", field, name])?;
        // A chart inside of Argo CD or Flux is written by the outer one, which comes first.
        let namespace = ["meta.helm.sh/release-namespace"]
            .iter()
            .filter(|_| *title == "Helm release")
            .find_map(|name| json::text(body, &["metadata", "annotations", name]));
        Some(match namespace {
            Some(namespace) => format!("{title} {namespace}/{value}"),
            None => format!("{title} {value}"),
        })
    })
}

/// Who last wrote a field, by `metadata.managedFields`; the nearest parent that anyone owns.
fn field_manager(body: &Value, pointer: &str) -> Option<String> {
    let path: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect();
    json::items(body, &["metadata", "managedFields"])
        .iter()
        .filter(|entry| owns(json::get(entry, &["fieldsV1"]), body, &path))
        .max_by_key(|entry| json::text(entry, &["time"]).unwrap_or(""))
        .and_then(|entry| json::text(entry, &["manager"]))
        .map(str::to_owned)
}

/// Whether a field set holds a path. List items are keyed by their content, not by their index.
fn owns(fields: &Value, body: &Value, path: &[String]) -> bool {
    let Some((token, rest)) = path.split_first() else {
        return fields.is_object();
    };
    let inner = match body {
        Value::Array(items) => {
            let Some(item) = token.parse::<usize>().ok().and_then(|at| items.get(at)) else {
                return false;
            };
            let found = fields.as_object().and_then(|fields| {
                fields.iter().find(|(key, _)| {
                    key.strip_prefix("k:")
                        .and_then(|key| serde_json::from_str::<Value>(key).ok())
                        .and_then(|key| key.as_object().cloned())
                        .is_some_and(|key| {
                            key.iter()
                                .all(|(name, value)| item.get(name) == Some(value))
                        })
                })
            });
            return found.is_some_and(|(_, fields)| owns(fields, item, rest));
        }
        _ => fields.get(format!("f:{token}")),
    };
    inner.is_some_and(|inner| owns(inner, json::get(body, &[token]), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(path: &str) -> Vec<Precondition> {
        vec![Precondition {
            path: path.to_owned(),
            observed: None,
        }]
    }

    #[test]
    fn the_outermost_tool_is_named() {
        let body = json!({"metadata": {"annotations": {
            "meta.helm.sh/release-name": "llm", "meta.helm.sh/release-namespace": "chat",
            "argocd.argoproj.io/tracking-id": "llm:apps/Deployment:chat/x"}}});
        assert_eq!(
            managed_by(&body).as_deref(),
            Some("Argo CD llm:apps/Deployment:chat/x")
        );
        let chart = json!({"metadata": {"annotations": {
            "meta.helm.sh/release-name": "llm", "meta.helm.sh/release-namespace": "chat"}}});
        assert_eq!(managed_by(&chart).as_deref(), Some("Helm release chat/llm"));
        assert_eq!(managed_by(&json!({})), None);
    }

    #[test]
    fn a_controller_that_owns_the_field_is_named_and_a_hand_is_not() {
        let body = json!({
            "metadata": {"managedFields": [
                {"manager": "kubectl-client-side-apply", "time": "2026-01-01T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
                    "f:containers": {"k:{\"name\":\"main\"}": {"f:resources": {}}}}}}}},
                {"manager": "kube-controller-manager", "time": "2026-02-01T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ]},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "side"}, {"name": "main", "resources": {}}]}}},
        });
        let key = Key::new("deployment.apps", "chat", "x");
        let said = of(&key, &body, Action::Cpu, &place("/spec/replicas"));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("kube-controller-manager"), "{said:?}");
        for path in [
            "/spec/template/spec/containers/1/resources",
            "/spec/template/spec/containers/0/resources",
            "/spec/paused",
        ] {
            assert!(of(&key, &body, Action::Cpu, &place(path)).is_empty());
        }
        assert_eq!(
            field_manager(&body, "/spec/template/spec/containers/1/resources").as_deref(),
            Some("kubectl-client-side-apply")
        );
    }

    #[test]
    fn hostile_managed_fields_are_no_warning() {
        let body = json!({"metadata": {"managedFields": [5, {"fieldsV1": "x"}, {"fieldsV1": {"k:{": {}}}]}, "spec": [1]});
        assert_eq!(field_manager(&body, "/spec/0"), None);
    }
}
