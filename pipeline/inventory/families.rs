//! Owns families: every topmost controller with the objects and pods under it, also those that
//! have no pod now. What a family is for is `workloads`' business.

use std::collections::{BTreeMap, BTreeSet};

use super::metrics::Metrics;
use super::objects::{Key, ObjectStore, Version};
use super::owners;
use super::pods::PodLife;

/// Kinds that can be a workload without having any pod.
pub(super) const ROOTS: &[&str] = &[
    "deployment.apps",
    "statefulset.apps",
    "job.batch",
    "cronjob.batch",
    "leaderworkerset.leaderworkerset.x-k8s.io",
    "disaggregatedset.disaggregatedset.x-k8s.io",
    "inferenceservice.serving.kserve.io",
    "llminferenceservice.serving.kserve.io",
    "dynamographdeployment.nvidia.com",
    "dynamocomponentdeployment.nvidia.com",
    "nimservice.apps.nvidia.com",
    "nimpipeline.apps.nvidia.com",
    "workspace.kaito.sh",
    "inferenceset.kaito.sh",
    "multiroleinference.kaito.sh",
    "rayservice.ray.io",
    "raycluster.ray.io",
    "daemonset.apps",
    "rollout.argoproj.io",
    "jobset.jobset.x-k8s.io",
    "trainjob.trainer.kubeflow.org",
    "pytorchjob.kubeflow.org",
    "mpijob.kubeflow.org",
    "tfjob.kubeflow.org",
    "xgboostjob.kubeflow.org",
    "jaxjob.kubeflow.org",
    "paddlejob.kubeflow.org",
    "vllmruntime.production-stack.vllm.ai",
    "service.serving.knative.dev",
    "inferenceendpointconfig.inference.sagemaker.aws.amazon.com",
    "jumpstartmodel.inference.sagemaker.aws.amazon.com",
    "inferenceworkload.run.ai",
];

/// One topmost controller with all that is under it.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub members: BTreeSet<Key>,
    pub pods: Vec<usize>,
    pub chain: Vec<Key>,
}

/// Families by topmost controller.
pub(super) fn families(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    pods: &[PodLife<'_>],
) -> BTreeMap<Key, Family> {
    let mut out: BTreeMap<Key, Family> = BTreeMap::new();
    for (index, pod) in pods.iter().enumerate() {
        let family = out.entry(pod.top()).or_default();
        family.members.extend(pod.chain.iter().cloned());
        family.pods.push(index);
        if family.chain.len() < pod.chain.len() {
            family.chain.clone_from(&pod.chain);
        }
    }
    for key in store
        .keys()
        .filter(|key| ROOTS.contains(&key.kind.as_str()))
    {
        let last = store.versions(key).last();
        let ms = last.map_or(0, |version| version.seen_to_ms);
        let body = last.map(Version::owners);
        let mut hops = vec![key.clone()];
        hops.extend(owners::chain(store, metrics, key, body.as_ref(), ms));
        let Some(top) = hops.last().cloned() else {
            continue;
        };
        let family = out.entry(top).or_default();
        family.members.extend(hops.iter().cloned());
        if family.chain.len() < hops.len() && family.pods.is_empty() {
            family.chain = hops;
        }
    }
    out
}
