//! Owns which GPUs a family has: how many a replica, of which product, at which price key. `workloads`
//! and `history` call it.

use std::collections::BTreeMap;

use super::families::Family;
use super::json;
use super::remedies::PRODUCT_LABELS;
use super::resources;
use super::systems::{Facts, View};
use super::workloads::Context;

/// Labels by which nodes of one machine are chosen.
const INSTANCE_LABELS: &[&str] = &[
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
];

impl Context<'_, '_> {
    /// The product under most of the family's pods at an instant, else under its latest one, else
    /// what its pod templates select.
    pub(super) fn product(
        &self,
        family: &Family,
        view: &View<'_>,
        facts: &Facts<'_>,
        ms: i64,
    ) -> Option<String> {
        if let Some(product) = self.majority(family, self.products, ms) {
            return Some(product);
        }
        let specs = facts.templates.iter().map(|template| template.pod_spec);
        specs
            .chain([json::get(view.pod, &["spec"])])
            .find_map(|spec| {
                let selector = json::get(spec, &["nodeSelector"]);
                let named = PRODUCT_LABELS
                    .iter()
                    .find_map(|label| self.catalogue.product(json::text(selector, &[label])?));
                named.or_else(|| {
                    let kind = INSTANCE_LABELS
                        .iter()
                        .find_map(|label| json::text(selector, &[label]))?;
                    let provider = self.inputs.provider.as_deref()?;
                    let instance = self.catalogue.instance(provider, kind)?;
                    Some(instance.gpu_product)
                })
            })
    }

    /// The price key under most of the family's pods at an instant, else under its latest one.
    pub(super) fn price_key(&self, family: &Family, ms: i64) -> Option<String> {
        self.majority(family, self.price_keys, ms)
    }

    fn majority(&self, family: &Family, of: &[Option<String>], ms: i64) -> Option<String> {
        let mut votes: BTreeMap<&String, i64> = BTreeMap::new();
        let mut latest: Option<(bool, i64, &String)> = None;
        for index in &family.pods {
            let pod = &self.pods[*index];
            let Some(value) = &of[*index] else {
                continue;
            };
            if self.gpu_milli[*index] == 0 && pod.known_from != "dcgm" {
                continue;
            }
            if pod.created_ms <= ms && ms < pod.end_ms {
                *votes.entry(value).or_default() += 1;
            }
            // Before any pod, the first one to come tells more than nothing.
            let past = pod.created_ms <= ms;
            let rank = (past, if past { pod.end_ms } else { -pod.created_ms }, value);
            latest = Some(latest.map_or(rank, |best| best.max(rank)));
        }
        votes
            .iter()
            .max_by_key(|(value, votes)| (**votes, std::cmp::Reverse(**value)))
            .map(|(value, _)| (*value).clone())
            .or_else(|| latest.map(|(_, _, value)| value.clone()))
    }

    /// Thousandths of GPUs of the largest replica that was seen; zero where none was.
    pub(super) fn seen_gpu_milli(&self, family: &Family) -> i64 {
        let mut by_replica: BTreeMap<&str, i64> = BTreeMap::new();
        let mut last = None;
        for index in &family.pods {
            // A name that is used again is another pod, not a bigger replica.
            let pod = &self.pods[*index];
            let name = Some((&pod.namespace, &pod.name));
            if last != name {
                let sum = by_replica
                    .entry(self.replicas[*index].as_str())
                    .or_default();
                *sum = sum.saturating_add(self.gpu_milli[*index]);
            }
            last = name;
        }
        by_replica.values().copied().max().unwrap_or(0)
    }
}

/// Thousandths of GPUs that one replica asks for by the resource's own templates.
pub(super) fn declared_gpu_milli(facts: &Facts<'_>) -> i64 {
    if let Some(milli) = facts.gpu_milli {
        return milli;
    }
    let declared = facts.templates.iter().map(|template| {
        template
            .gpus
            .unwrap_or_else(|| resources::requests(template.pod_spec).gpus())
            .saturating_mul(1000)
            .saturating_mul(template.pods_per_replica)
    });
    if facts.joint {
        declared.fold(0, i64::saturating_add)
    } else {
        declared.max().unwrap_or(0)
    }
}
