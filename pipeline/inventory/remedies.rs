//! Owns the remedies of workloads as they were last seen: which object a change goes to, the patch,
//! its inverse and its warnings. Pure: it reads the same evidence as the fold and writes nothing.
//! `cli` asks it, for cards and for recommendations.

use std::collections::BTreeMap;

use crate::model::workload::WorkloadId;

use super::families::{self, Family};
use super::input::{Catalogue, Inputs};
use super::json;
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore, Version};
use super::pods::{self, PodLife};
use super::scalers::{self, Scaler};
use super::systems::remedy::{Action, Remedy, Target, TierWish, Wish};
use super::systems::{self, View, World, coreweave, karpenter, nodes};
use super::views;

/// Labels by which nodes of one GPU product are chosen, the driver's own first.
pub(super) const PRODUCT_LABELS: &[&str] = &[
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "gpu.nvidia.com/class",
    "karpenter.k8s.aws/instance-gpu-name",
    "amd.com/gpu.product-name",
];

/// What pools of nodes are known by.
const POOL_LABELS: &[(&str, Option<&str>)] = &[
    ("karpenter.sh/nodepool", Some(karpenter::KIND)),
    ("compute.coreweave.com/node-pool", Some(coreweave::KIND)),
    ("eks.amazonaws.com/nodegroup", None),
    ("cloud.google.com/gke-nodepool", None),
    ("kubernetes.azure.com/agentpool", None),
    ("agentpool", None),
    ("sagemaker.amazonaws.com/instance-group-name", None),
];

/// The evidence folded once, ready for many questions about the end of its window.
pub struct Asked<'a> {
    inputs: &'a Inputs,
    store: &'a ObjectStore,
    pods: &'a [PodLife<'a>],
    families: &'a BTreeMap<Key, Family>,
    scalers: &'a [Scaler],
}

/// Folds the evidence and hands it to the caller's questions.
pub fn asked<R>(inputs: &Inputs, call: impl FnOnce(&Asked<'_>) -> R) -> R {
    let store = ObjectStore::new(&inputs.objects, &inputs.snapshots);
    let metrics = Metrics::new(&inputs.series, inputs.series_interval_ms);
    let pods = pods::fold(&store, &metrics, &inputs.gpu_pod_spans);
    let families = families::families(&store, &metrics, &pods);
    let scalers = scalers::fold(&store, &metrics, inputs.window);
    call(&Asked {
        inputs,
        store: &store,
        pods: &pods,
        families: &families,
        scalers: &scalers,
    })
}

/// The answers to one wish; see [`Asked::remedies`].
#[must_use]
pub fn remedies(inputs: &Inputs, workload: &WorkloadId, wish: &Wish) -> Vec<Remedy> {
    asked(inputs, |asked| asked.remedies(workload, wish))
}

impl<'a> Asked<'a> {
    /// The answers to a wish, one or more an asked action, in order of the actions.
    #[must_use]
    pub fn remedies(&self, workload: &WorkloadId, wish: &Wish) -> Vec<Remedy> {
        if let Some(answers) = self.of_machines(workload, wish) {
            return answers;
        }
        let found = self.viewed(workload, |view| systems::answers(view, wish));
        let mut out = found.unwrap_or_else(|| {
            let because = format!("no evidence in this window shows {}", workload.path());
            wish.actions()
                .into_iter()
                .map(|action| Remedy::not_possible(action, because.clone()))
                .collect()
        });
        // Two remedies of one action keep their order.
        out.sort_by_key(|remedy| remedy.action);
        if wish.elastic {
            out = out.into_iter().map(Remedy::must_wake).collect();
        }
        out
    }

    /// When the version of an object that a change was written for was last seen.
    #[must_use]
    pub fn observed_ms(&self, target: &Target) -> Option<i64> {
        let key = Key::new(&target.kind, &target.namespace, &target.name);
        let version = self.store.nearest(&key, self.ms())?;
        Some(version.seen_to_ms.min(self.ms()))
    }

    /// The node labels that choose whole GPUs of a product, from nodes that stand at the end; else why
    /// there are none.
    pub fn tier(&self, catalogue: &dyn Catalogue, product: &str) -> Result<TierWish, String> {
        let mut found: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for labels in self.node_labels() {
            let shared = json::text(labels, &["nvidia.com/gpu.sharing-strategy"])
                .is_some_and(|strategy| strategy != "none");
            let of_product = |(order, name): (usize, &&str)| {
                let value = json::text(labels, &[name])?;
                let whole = !value.contains("-SHARED") && !value.contains("-MIG-");
                let same = catalogue.product(value).as_deref() == Some(product);
                (whole && same).then_some((order, value))
            };
            if let Some(pair) = PRODUCT_LABELS.iter().enumerate().find_map(of_product)
                && !shared
            {
                *found.entry(pair).or_default() += 1;
            }
        }
        // The label that most nodes have; of two equal ones the first in order.
        let most = found.iter().max_by_key(|((order, value), count)| {
            (
                **count,
                std::cmp::Reverse(*order),
                std::cmp::Reverse(*value),
            )
        });
        let Some(((order, value), _)) = most else {
            return Err(format!(
                "no node with a label of {product} stands in the cluster: make a node pool of it \
                 first, or the pods stay pending"
            ));
        };
        Ok(TierWish {
            node_selector: BTreeMap::from([(
                PRODUCT_LABELS[*order].to_owned(),
                (*value).to_owned(),
            )]),
            instance_type: None,
        })
    }

    /// How free machines of a type are given back: by their pools, one answer a pool.
    #[must_use]
    pub fn return_machines(
        &self,
        catalogue: &dyn Catalogue,
        instance_type: &str,
        product: &str,
    ) -> Vec<Remedy> {
        let mut pools: BTreeMap<Option<(usize, &str)>, usize> = BTreeMap::new();
        for labels in self.node_labels() {
            let is_type = instance_type.is_empty()
                || json::text(labels, &["node.kubernetes.io/instance-type"]) == Some(instance_type);
            let is_product = product.is_empty()
                || PRODUCT_LABELS
                    .iter()
                    .filter_map(|name| json::text(labels, &[name]))
                    .any(|value| catalogue.product(value).as_deref() == Some(product));
            let by_type = !instance_type.is_empty() && is_type;
            if by_type || (instance_type.is_empty() && is_product) {
                let pool = POOL_LABELS
                    .iter()
                    .enumerate()
                    .find_map(|(order, (name, _))| Some((order, json::text(labels, &[name])?)));
                *pools.entry(pool).or_default() += 1;
            }
        }
        if pools.is_empty() {
            return vec![Remedy::not_possible(
                Action::Bounds,
                "no snapshot shows nodes of this type, so nothing is known of their pool",
            )];
        }
        pools
            .into_iter()
            .map(|(pool, count)| self.return_pool(pool, count))
            .collect()
    }

    fn return_pool(&self, pool: Option<(usize, &str)>, count: usize) -> Remedy {
        let Some((order, name)) = pool else {
            return Remedy::not_possible(
                Action::Bounds,
                format!(
                    "{count} of the nodes name no pool: pack their pods with cordon and drain, and \
                     give the machine back where it was made"
                ),
            );
        };
        let (label, kind) = POOL_LABELS[order];
        let known = kind.and_then(|kind| {
            let key = Key::new(kind, "", name);
            let (key, _) = self.store.of_kind(kind).find(|(one, _)| **one == key)?;
            Some((key, self.store.nearest(key, self.ms())?.body()))
        });
        match known.and_then(|(key, body)| nodes::give_back(key, body)) {
            Some(remedy) => remedy,
            None => Remedy::not_possible(
                Action::Bounds,
                format!(
                    "the size of the pool {name} ({label}, {count} nodes) is no object of the \
                     cluster that was seen: pack its pods on fewer nodes and lower it at the provider"
                ),
            ),
        }
    }

    /// The labels of the nodes that stand at the end of the window.
    fn node_labels(&self) -> impl Iterator<Item = &'a serde_json::Value> {
        let ms = self.ms();
        let store = self.store;
        store
            .of_kind(nodes::NODE)
            .filter_map(move |(key, _)| store.nearest(key, ms).filter(|version| version.holds(ms)))
            .map(|version| json::get(version.body(), &["metadata", "labels"]))
    }

    /// The answers for nodes and their pools: no workloads, but what money is paid for.
    fn of_machines(&self, id: &WorkloadId, wish: &Wish) -> Option<Vec<Remedy>> {
        systems::machines_of(&id.kind)?;
        let key = Key::new(&id.kind, &id.namespace, &id.name);
        let world = World {
            store: Some(self.store),
            ms: self.ms(),
        };
        let body = self.store.nearest(&key, self.ms())?.body();
        nodes::remedies(&world, &key, body, wish)
    }

    /// Calls with the view of one workload at the end of the inputs' window.
    pub(super) fn viewed<R>(
        &self,
        workload: &WorkloadId,
        call: impl FnOnce(&View<'_>) -> R,
    ) -> Option<R> {
        let top = Key::new(&workload.kind, &workload.namespace, &workload.name);
        let family = self.families.get(&top)?;
        let pod = family
            .pods
            .iter()
            .map(|index| &self.pods[*index])
            .filter(|pod| pod.version.is_some())
            .max_by_key(|pod| (pod.requests.gpus() > 0, pod.created_ms, &pod.name))
            .and_then(|pod| pod.version)
            .map(Version::body);
        let view = views::view(
            self.store,
            self.store,
            &top,
            family,
            self.scalers,
            pod,
            self.ms(),
        );
        Some(call(&view))
    }

    fn ms(&self) -> i64 {
        self.inputs.window.end_ms.saturating_sub(1)
    }
}

/// Calls with the view of one workload at the end of the inputs' window.
pub(super) fn viewed<R>(
    inputs: &Inputs,
    workload: &WorkloadId,
    call: impl FnOnce(&View<'_>) -> R,
) -> Option<R> {
    asked(inputs, |asked| asked.viewed(workload, call))
}
