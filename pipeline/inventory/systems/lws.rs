//! Owns LeaderWorkerSets: one replica is a leader and its workers.

use super::{Facts, System, Template, View, json, shapes};

pub(super) static SYSTEM: System = System {
    name: "lws",
    serves: false,
    recognise: |view| {
        matches!(
            view.top.kind.as_str(),
            "leaderworkerset.leaderworkerset.x-k8s.io"
                | "disaggregatedset.disaggregatedset.x-k8s.io"
        )
    },
    facts,
    remedies: shapes::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let set = json::get(view.top_body, &["spec", "leaderWorkerTemplate"]);
    let size = json::int(set, &["size"]).unwrap_or(1).clamp(1, 1024);
    let worker = json::get(set, &["workerTemplate", "spec"]);
    let leader = json::get(set, &["leaderTemplate", "spec"]);
    let replicas = json::int(view.top_body, &["spec", "replicas"]);
    // Without a leader template the worker's is used for all.
    let parts = if leader.is_object() {
        vec![(leader, 1), (worker, size - 1)]
    } else {
        vec![(worker, size)]
    };
    Facts {
        replicas,
        templates: parts
            .into_iter()
            .filter(|(pod_spec, pods)| pod_spec.is_object() && *pods > 0)
            .map(|(pod_spec, pods_per_replica)| Template {
                role: None,
                pod_spec,
                pods_per_replica,
                replicas,
                gpus: None,
            })
            .collect(),
        replicas_field: "spec.replicas".to_owned(),
        joint: true,
        tier_field: "spec.leaderWorkerTemplate.workerTemplate.spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}
