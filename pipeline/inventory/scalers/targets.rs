//! Owns what a scaler's reference points at: the object by its full kind, and what that object
//! stands for where it only passes a count on.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::workload::kind_of;

use super::super::json;
use super::super::objects::{Key, ObjectStore};
use super::super::owners;
use super::{SCALED_OBJECT, keda, last_body};

/// Dynamo's object that HPA, KEDA and planner scale instead of the graph.
pub(in crate::inventory) const GRAPH_ADAPTER: &str =
    "dynamographdeploymentscalingadapter.nvidia.com";
/// The same for one role of a DisaggregatedSet.
pub(in crate::inventory) const ROLE_SCALER: &str =
    "disaggregatedsetrolescaler.disaggregatedset.x-k8s.io";

/// The target that a scaler's body names.
pub(super) fn target(store: &ObjectStore, key: &Key, body: &Value) -> Option<Key> {
    let reference = json::get(body, &["spec", "scaleTargetRef"]);
    let name = json::text(reference, &["name"])?;
    // KEDA says in its status what it found; a reference to another namespace is Thoras' own.
    if key.kind == SCALED_OBJECT
        && let Some((api_version, kind)) = keda::resolved(body)
    {
        return Some(resolve(
            store,
            Some(&api_version),
            &kind,
            &key.namespace,
            name,
        ));
    }
    let kind = json::text(reference, &["kind"]).unwrap_or("Deployment");
    let namespace = json::text(reference, &["namespace"]).unwrap_or(&key.namespace);
    let api_version = json::text(reference, &["apiVersion"]);
    Some(resolve(store, api_version, kind, namespace, name))
}

pub(super) fn resolve(
    store: &ObjectStore,
    api_version: Option<&str>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Key {
    if let Some(api_version) = api_version {
        return Key::new(&kind_of(api_version, kind), namespace, name);
    }
    store
        .by_bare_kind(kind, namespace, name)
        .cloned()
        .unwrap_or_else(|| Key::new(&owners::with_group(kind), namespace, name))
}

/// The target, and the workload behind it where the target is only an adapter.
pub(super) fn reaches(store: &ObjectStore, target: &Key) -> BTreeSet<Key> {
    let mut out = BTreeSet::from([target.clone()]);
    let Some(body) = last_body(store, target) else {
        return out;
    };
    match target.kind.as_str() {
        GRAPH_ADAPTER => {
            if let Some(name) = json::text(body, &["spec", "dgdRef", "name"]) {
                out.insert(Key::new(
                    "dynamographdeployment.nvidia.com",
                    &target.namespace,
                    name,
                ));
            }
        }
        ROLE_SCALER => out.extend(owners::controller(store, body, &target.namespace)),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::input::ObjectVersion;
    use serde_json::json;

    fn version(api_version: &str, kind: &str, name: &str, body: &Value) -> ObjectVersion {
        ObjectVersion {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "chat".into(),
            name: name.into(),
            json: body.to_string().into(),
            seen_from_ms: 1,
            seen_to_ms: 1,
            ..ObjectVersion::default()
        }
    }

    #[test]
    fn adapters_stand_for_what_they_pass_a_count_to() {
        let adapter = json!({"spec": {"dgdRef": {"name": "graph", "componentName": "decode"}}});
        let role = json!({"metadata": {"ownerReferences": [{"controller": true, "name": "set",
            "apiVersion": "disaggregatedset.x-k8s.io/v1", "kind": "DisaggregatedSet"}]}});
        let store = ObjectStore::new(
            &[
                version(
                    "nvidia.com/v1beta1",
                    "DynamoGraphDeploymentScalingAdapter",
                    "a",
                    &adapter,
                ),
                version(
                    "disaggregatedset.x-k8s.io/v1",
                    "DisaggregatedSetRoleScaler",
                    "r",
                    &role,
                ),
            ],
            &[],
        );
        let behind = |kind: &str, name: &str| {
            reaches(&store, &Key::new(kind, "chat", name))
                .into_iter()
                .map(|key| key.path())
                .collect::<Vec<_>>()
        };
        assert!(
            behind(GRAPH_ADAPTER, "a")
                .contains(&"dynamographdeployment.nvidia.com/chat/graph".to_owned())
        );
        assert!(
            behind(ROLE_SCALER, "r")
                .contains(&"disaggregatedset.disaggregatedset.x-k8s.io/chat/set".to_owned())
        );
    }

    #[test]
    fn keda_tells_what_it_resolved() {
        let store = ObjectStore::new(&[], &[]);
        let body = json!({"spec": {"scaleTargetRef": {"name": "x"}}, "status": {"scaleTargetGVKR":
            {"group": "production-stack.vllm.ai", "version": "v1alpha1", "kind": "VLLMRuntime"}}});
        let key = Key::new(SCALED_OBJECT, "chat", "s");
        let found = target(&store, &key, &body).unwrap();
        assert_eq!(found.kind, "vllmruntime.production-stack.vllm.ai");
        let unresolved = json!({"spec": {"scaleTargetRef": {"name": "x"}}});
        let found = target(&store, &key, &unresolved).unwrap();
        assert_eq!(found.kind, "deployment.apps");
    }
}
