//! Owns the owner chain as people read it: every hop and what says so, and the links that no owner
//! reference makes: labels, selectors, releases, reservation pods. They change no identity.

use serde_json::{Value, json};

use super::families::Family;
use super::marks::Marks;
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore};
use super::owners;
use super::pods::PodLife;

/// Labels that name what a workload belongs to: label of the name, of the namespace, kind.
const LABEL_LINKS: &[(&str, Option<&str>, &str)] = &[
    (
        "dgdr.nvidia.com/name",
        Some("dgdr.nvidia.com/namespace"),
        "dynamographdeploymentrequest.nvidia.com",
    ),
    (
        "nvidia.com/dynamo-graph-deployment-name",
        None,
        "dynamographdeployment.nvidia.com",
    ),
    (
        "serving.kserve.io/inferenceservice",
        None,
        "inferenceservice.serving.kserve.io",
    ),
    (
        "serving.knative.dev/service",
        None,
        "service.serving.knative.dev",
    ),
    (
        "leaderworkerset.sigs.k8s.io/name",
        None,
        "leaderworkerset.leaderworkerset.x-k8s.io",
    ),
    (
        "disaggregatedset.x-k8s.io/name",
        None,
        "disaggregatedset.disaggregatedset.x-k8s.io",
    ),
    ("kaito.sh/workspace", None, "workspace.kaito.sh"),
    (
        "inferenceset.kaito.sh/created-by",
        None,
        "inferenceset.kaito.sh",
    ),
    (
        "multiroleinference.kaito.sh/created-by",
        None,
        "multiroleinference.kaito.sh",
    ),
    ("ray.io/cluster", None, "raycluster.ray.io"),
    (
        "kueue.x-k8s.io/queue-name",
        None,
        "localqueue.kueue.x-k8s.io",
    ),
    ("kai.scheduler/queue", None, "queue.scheduling.run.ai"),
];

/// Marks of what rewrites an object: whoever changes it elsewhere is undone.
const MANAGERS: &[(&str, &str)] = &[
    ("meta.helm.sh/release-name", "helm release"),
    ("helm-release-name", "helm release"),
    ("argocd.argoproj.io/tracking-id", "argo cd application"),
    ("kustomize.toolkit.fluxcd.io/name", "flux kustomization"),
    ("helm.toolkit.fluxcd.io/name", "flux helm release"),
];

const RESERVATION_GROUP: &str = "runai-gpu-group";
const RESERVATION_NAMESPACES: &[&str] = &["kai-resource-reservation", "runai-reservation"];

/// Whether a pod only keeps a device for the fractions that share it.
pub(super) fn is_reservation(pod: &PodLife<'_>) -> bool {
    RESERVATION_NAMESPACES.contains(&pod.namespace.as_str())
        && pod.labels.get(RESERVATION_GROUP).is_some()
}

/// The group of pods that share a reserved device.
pub(super) fn reservation_group<'a>(pod: &PodLife<'a>) -> Option<&'a str> {
    pod.labels
        .mark(RESERVATION_GROUP)
        .filter(|_| !is_reservation(pod))
}

/// The chain of a family with every hop's source, then what it is linked to otherwise.
pub(super) fn chain_json(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    pods: &[PodLife<'_>],
    (top, family): (&Key, &Family),
    marks: &Marks<'_>,
    ms: i64,
) -> String {
    let mut out: Vec<Value> = Vec::new();
    // The pod that holds GPUs tells the chain that matters, not the frontend beside it.
    let newest = |gpus: bool| {
        let all = family.pods.iter().map(|index| &pods[*index]);
        all.filter(|pod| !gpus || pod.requests.gpus() > 0)
            .max_by_key(|pod| (pod.created_ms, &pod.name))
    };
    let pod = newest(true).or_else(|| newest(false));
    let chain = pod.map_or(&family.chain, |pod| &pod.chain);
    let mut here = pod.map(PodLife::key);
    if let Some(key) = &here {
        out.push(json!({"kind": key.kind, "name": key.name, "by": "start"}));
    }
    for hop in chain {
        let by = match &here {
            None => "start",
            Some(below) => how(store, metrics, pod, below, hop),
        };
        out.push(json!({"kind": hop.kind, "name": hop.name, "by": by}));
        here = Some(hop.clone());
    }
    for (label, namespace, kind) in LABEL_LINKS {
        let Some(name) = marks.get(label) else {
            continue;
        };
        let namespace = namespace
            .and_then(|label| marks.get(label))
            .unwrap_or(&top.namespace);
        let linked = Key::new(kind, namespace, name);
        if linked != *top && !family.members.contains(&linked) {
            out.push(
                json!({"kind": kind, "name": name, "by": format!("label {label}"),
                "known": store.nearest(&linked, ms).is_some()}),
            );
        }
    }
    for (mark, kind) in MANAGERS {
        if let Some(name) = marks.get(mark) {
            out.push(json!({"kind": kind, "name": name, "by": mark}));
        }
    }
    let group = family
        .pods
        .iter()
        .find_map(|index| reservation_group(&pods[*index]));
    if let Some(group) = group {
        for other in pods.iter().filter(|other| {
            is_reservation(other) && other.labels.get(RESERVATION_GROUP) == Some(group)
        }) {
            out.push(
                json!({"kind": "pod", "name": other.name, "namespace": other.namespace,
                "by": format!("label {RESERVATION_GROUP}")}),
            );
        }
    }
    out.truncate(64);
    Value::Array(out).to_string()
}

/// What says that `above` controls `below`.
fn how(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    pod: Option<&PodLife<'_>>,
    below: &Key,
    above: &Key,
) -> &'static str {
    let states = |body: &Value| {
        owners::controller(store, body, &below.namespace).is_some_and(|owner| owner == *above)
    };
    let in_pod = pod
        .filter(|pod| pod.key() == *below)
        .and_then(|pod| pod.version)
        .is_some_and(|version| states(&version.owners()));
    if in_pod
        || store
            .versions(below)
            .iter()
            .any(|version| states(&version.owners()))
    {
        return "ownerReference";
    }
    let sampled = ["kube_pod_owner", "kube_replicaset_owner", "kube_job_owner"]
        .iter()
        .any(|metric| {
            metrics
                .of(metric, &below.namespace, &below.name)
                .iter()
                .any(|series| series.label("owner_name") == Some(&above.name))
        });
    if sampled {
        "kube-state-metrics"
    } else {
        "name"
    }
}

/// Every autoscaler whose target is any hop of a family, with its bounds.
pub(super) fn scalers_json(scalers: &[&super::scalers::Scaler], ms: i64) -> String {
    let list: Vec<Value> = scalers
        .iter()
        .map(|scaler| {
            let bounds = scaler.at(ms);
            json!({
                "scaler": scaler.key.path(),
                "target": scaler.target.path(),
                "min": bounds.and_then(|bounds| bounds.min),
                "max": bounds.and_then(|bounds| bounds.max),
                "idle": bounds.and_then(|bounds| bounds.idle),
                "triggers": bounds.map_or(0, |bounds| bounds.triggers.len()),
            })
        })
        .collect();
    Value::Array(list).to_string()
}
