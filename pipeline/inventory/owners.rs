//! Owns the walk from a pod to its topmost controller, through any kind that snapshots hold,
//! and through kube-state-metrics where they do not. It does not know what a kind serves.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::workload::kind_of;

use super::json;
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore};

/// No real chain is longer; a cycle or a hostile list ends here.
const MAX_HOPS: usize = 16;

/// Bare kinds of kube-state-metrics and the group that they belong to.
const GROUPS: &[(&str, &str)] = &[
    ("replicaset", "apps"),
    ("deployment", "apps"),
    ("statefulset", "apps"),
    ("daemonset", "apps"),
    ("job", "batch"),
    ("cronjob", "batch"),
    ("leaderworkerset", "leaderworkerset.x-k8s.io"),
    ("rollout", "argoproj.io"),
    ("raycluster", "ray.io"),
    ("rayservice", "ray.io"),
    ("rayjob", "ray.io"),
    ("pytorchjob", "kubeflow.org"),
    ("mpijob", "kubeflow.org"),
    ("tfjob", "kubeflow.org"),
    ("xgboostjob", "kubeflow.org"),
    ("jaxjob", "kubeflow.org"),
    ("paddlejob", "kubeflow.org"),
    ("trainjob", "trainer.kubeflow.org"),
    ("jobset", "jobset.x-k8s.io"),
    ("notebook", "kubeflow.org"),
    ("podclique", "grove.io"),
    ("workspace", "kaito.sh"),
];

/// The controllers above an object, nearest first; empty where nobody controls it.
pub(super) fn chain(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    start: &Key,
    start_body: Option<&Value>,
    ms: i64,
) -> Vec<Key> {
    let mut hops: Vec<Key> = Vec::new();
    let mut seen = BTreeSet::from([start.clone()]);
    let mut here = start.clone();
    // Of what is above nothing else is asked, so nothing of it is kept.
    let mut body = start_body.map(Cow::Borrowed);
    while hops.len() < MAX_HOPS {
        let above = body
            .as_deref()
            .and_then(|known| controller(store, known, &here.namespace))
            .or_else(|| from_metrics(store, metrics, &here, ms))
            .or_else(|| from_name(store, &here, body.is_some()));
        let Some(above) = above else { break };
        if !seen.insert(above.clone()) {
            break;
        }
        body = store
            .nearest(&above, ms)
            .map(|version| Cow::Owned(version.owners()));
        hops.push(above.clone());
        here = above;
    }
    hops
}

/// The owner reference that controls an object.
pub(super) fn controller(store: &ObjectStore, body: &Value, namespace: &str) -> Option<Key> {
    let owner = json::items(body, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| json::get(owner, &["controller"]).as_bool() == Some(true))?;
    let kind = kind_of(
        json::text(owner, &["apiVersion"])?,
        json::text(owner, &["kind"])?,
    );
    if kind == "node" {
        // A static pod's node hosts it; it is no workload.
        return None;
    }
    let name = json::text(owner, &["name"])?;
    let namespaced = Key::new(&kind, namespace, name);
    let global = Key::new(&kind, "", name);
    if store.versions(&namespaced).is_empty() && !store.versions(&global).is_empty() {
        return Some(global);
    }
    Some(namespaced)
}

fn from_metrics(store: &ObjectStore, metrics: &Metrics<'_>, here: &Key, ms: i64) -> Option<Key> {
    let metric = match here.kind.as_str() {
        "pod" => "kube_pod_owner",
        "replicaset.apps" => "kube_replicaset_owner",
        "job.batch" => "kube_job_owner",
        _ => return None,
    };
    let series = metrics
        .of(metric, &here.namespace, &here.name)
        .iter()
        .filter(|series| series.label("owner_is_controller") != Some("false"))
        .min_by_key(|series| {
            series
                .runs
                .iter()
                .map(|run| distance(run.first_ms, run.last_ms, ms))
                .min()
        })?;
    let kind = series
        .label("owner_kind")
        .filter(|kind| *kind != "<none>")?;
    let name = series
        .label("owner_name")
        .filter(|name| *name != "<none>")?;
    if kind == "Node" {
        return None;
    }
    Some(
        store
            .by_bare_kind(kind, &here.namespace, name)
            .cloned()
            .unwrap_or_else(|| Key::new(&with_group(kind), &here.namespace, name)),
    )
}

fn distance(from_ms: i64, to_ms: i64, ms: i64) -> i64 {
    from_ms
        .saturating_sub(ms)
        .max(ms.saturating_sub(to_ms))
        .max(0)
}

/// `kind.group` of a kind whose group kube-state-metrics does not say.
pub(super) fn with_group(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    GROUPS
        .iter()
        .find(|(bare, _)| *bare == kind)
        .map_or_else(|| kind.clone(), |(_, group)| format!("{kind}.{group}"))
}

/// A ReplicaSet of which nothing but its generated name is known climbs to its Deployment.
fn from_name(store: &ObjectStore, here: &Key, body_known: bool) -> Option<Key> {
    if here.kind != "replicaset.apps" || body_known {
        return None;
    }
    let (name, hash) = here.name.rsplit_once('-')?;
    let deployment = Key::new("deployment.apps", &here.namespace, name);
    let generated = (6..=10).contains(&hash.len())
        && hash
            .bytes()
            .all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    (generated || !store.versions(&deployment).is_empty()).then_some(deployment)
}

/// The chain as it is stored beside a pod: canonical JSON, nearest controller first.
pub(super) fn chain_json(hops: &[Key]) -> String {
    Value::Array(
        hops.iter()
            .map(|hop| serde_json::json!({"kind": hop.kind, "name": hop.name}))
            .collect(),
    )
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::input::{MetricSeries, ObjectVersion, ValueRun};

    fn object(
        api_version: &str,
        kind: &str,
        name: &str,
        owner: Option<(&str, &str, &str)>,
    ) -> ObjectVersion {
        let owners = owner.map_or_else(Vec::new, |(api, kind, name)| {
            vec![serde_json::json!({"apiVersion": api, "kind": kind, "name": name, "controller": true})]
        });
        ObjectVersion {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "chat".into(),
            name: name.into(),
            json: serde_json::json!({"metadata": {"ownerReferences": owners}})
                .to_string()
                .into(),
            seen_from_ms: 10,
            seen_to_ms: 10,
            ..ObjectVersion::default()
        }
    }

    fn owner_series(
        metric: &str,
        subject: &str,
        name: &str,
        kind: &str,
        owner: &str,
    ) -> MetricSeries {
        MetricSeries {
            metric: metric.into(),
            labels: [
                ("namespace", "chat"),
                (subject, name),
                ("owner_kind", kind),
                ("owner_name", owner),
            ]
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
            runs: vec![ValueRun {
                first_ms: 0,
                last_ms: 5,
                value: 1.0,
            }],
        }
    }

    fn names(hops: &[Key]) -> Vec<String> {
        hops.iter()
            .map(|hop| format!("{}/{}", hop.kind, hop.name))
            .collect()
    }

    #[test]
    fn a_chain_known_only_from_metrics_takes_the_identity_that_snapshots_give() {
        let store = ObjectStore::new(
            &[object(
                "apps/v1",
                "Deployment",
                "qwen-predictor",
                Some(("serving.kserve.io/v1beta1", "InferenceService", "qwen")),
            )],
            &[],
        );
        let series = [
            owner_series(
                "kube_pod_owner",
                "pod",
                "qwen-predictor-abc-x",
                "ReplicaSet",
                "qwen-predictor-abc",
            ),
            owner_series(
                "kube_replicaset_owner",
                "replicaset",
                "qwen-predictor-abc",
                "Deployment",
                "qwen-predictor",
            ),
        ];
        let metrics = Metrics::new(&series, 30_000);
        let hops = chain(
            &store,
            &metrics,
            &Key::new("pod", "chat", "qwen-predictor-abc-x"),
            None,
            3,
        );
        assert_eq!(
            names(&hops),
            vec![
                "replicaset.apps/qwen-predictor-abc",
                "deployment.apps/qwen-predictor",
                "inferenceservice.serving.kserve.io/qwen"
            ]
        );
    }

    #[test]
    fn a_worker_of_a_group_climbs_through_its_leader() {
        let store = ObjectStore::new(
            &[
                object(
                    "v1",
                    "Pod",
                    "big-0-1",
                    Some(("apps/v1", "StatefulSet", "big-0")),
                ),
                object(
                    "apps/v1",
                    "StatefulSet",
                    "big-0",
                    Some(("v1", "Pod", "big-0")),
                ),
                object(
                    "v1",
                    "Pod",
                    "big-0",
                    Some(("apps/v1", "StatefulSet", "big")),
                ),
                object(
                    "apps/v1",
                    "StatefulSet",
                    "big",
                    Some(("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "big")),
                ),
            ],
            &[],
        );
        let key = Key::new("pod", "chat", "big-0-1");
        let body = store.versions(&key)[0].body();
        let hops = chain(&store, &Metrics::new(&[], 1), &key, Some(body), 10);
        assert_eq!(hops.len(), 4);
        assert_eq!(hops[3].kind, "leaderworkerset.leaderworkerset.x-k8s.io");
    }

    #[test]
    fn a_cycle_ends() {
        let store = ObjectStore::new(
            &[
                object("a/v1", "A", "x", Some(("b/v1", "B", "y"))),
                object("b/v1", "B", "y", Some(("a/v1", "A", "x"))),
            ],
            &[],
        );
        let key = Key::new("a.a", "chat", "x");
        let body = store.versions(&key)[0].body();
        assert_eq!(
            names(&chain(&store, &Metrics::new(&[], 1), &key, Some(body), 0)),
            vec!["b.b/y"]
        );
    }

    #[test]
    fn a_generated_name_climbs_to_the_deployment() {
        let store = ObjectStore::new(&[], &[]);
        let hops = chain(
            &store,
            &Metrics::new(&[], 1),
            &Key::new("replicaset.apps", "chat", "llama-8b-7d9fb6c5d4"),
            None,
            0,
        );
        assert_eq!(names(&hops), vec!["deployment.apps/llama-8b"]);
    }
}
