//! Owns the order of the fold: pods and nodes from evidence, then slices, holders, and workloads
//! over all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::detail_rows::NodeDetailRow;
use super::devices;
use super::families;
use super::holders;
use super::input::{Catalogue, Inputs};
use super::json;
use super::lint::Subjects;
use super::metrics::Metrics;
use super::network::Network;
use super::node_facts::NodeFacts;
use super::nodes::{self, NodeLife};
use super::objects::{Key, ObjectStore};
use super::owners;
use super::pods::{self, PodLife};
use super::quality;
use super::resources;
use super::rows::{Inventory, NodeRow, PodRow, Row};
use super::scalers;
use super::shares;
use super::slices::{self, NodeSlots};
use super::timeline;
use super::workloads::{Context, Portrait};

/// Derives the inventory of one cluster for the window of the inputs.
#[must_use]
pub fn fold(inputs: &Inputs, catalogue: &dyn Catalogue) -> Inventory {
    let store = ObjectStore::new(&inputs.objects, &inputs.snapshots);
    let metrics = Metrics::new(&inputs.series, inputs.series_interval_ms);
    let nodes = nodes::fold(inputs, &store, &metrics, catalogue);
    let mut pods = pods::fold(&store, &metrics, &inputs.gpu_pod_spans);
    // What is still open lasts to the end of what is derived.
    for pod in &mut pods {
        pod.end_ms = pod
            .end_ms
            .min(inputs.window.end_ms.max(pod.created_ms.saturating_add(1)));
    }
    let interval_ms = inputs
        .gpu_spans
        .iter()
        .map(|span| span.interval_ms)
        .min()
        .unwrap_or(metrics.interval_ms)
        .max(1);
    let mut uses = holders::uses(&nodes, &pods, &inputs.gpu_pod_spans, interval_ms);
    shares::resolve(&store, &nodes, &mut pods, &mut uses);
    let sharers = holders::sharers(&uses, &pods, interval_ms);
    let none = BTreeMap::new();
    let slots: BTreeMap<String, NodeSlots> = nodes
        .iter()
        .map(|node| {
            let shared = sharers.get(&node.name).unwrap_or(&none);
            (node.name.clone(), slices::fold(node, shared))
        })
        .collect();
    let replicas = replicas(&pods, &inputs.pod_models);
    let by_name: BTreeMap<&str, &NodeLife<'_>> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let gpu_milli: Vec<i64> = pods.iter().map(|pod| gpu_milli(pod, &by_name)).collect();
    let (products, price_keys): (Vec<Option<String>>, Vec<Option<String>>) = pods
        .iter()
        .map(|pod| {
            let facts = facts_under(pod, &by_name);
            (
                facts.and_then(|facts| facts.product.clone()),
                facts.map(NodeFacts::price_key),
            )
        })
        .unzip();
    let network = Network::new(&store);
    let scalers = scalers::fold(&store, &metrics, inputs.window);
    let families = families::families(&store, &metrics, &pods);
    let context = Context {
        inputs,
        store: &store,
        metrics: &metrics,
        catalogue,
        pods: &pods,
        scalers: &scalers,
        gpu_milli: &gpu_milli,
        replicas: &replicas,
        products: &products,
        price_keys: &price_keys,
        network: &network,
    };
    let mut out = Inventory::default();
    let mut tops: BTreeMap<Key, Key> = BTreeMap::new();
    let mut portraits: BTreeMap<Key, Portrait> = BTreeMap::new();
    for (top, family) in &families {
        for member in family.members.iter().chain([top]) {
            tops.insert(member.clone(), top.clone());
        }
        if let Some(described) = context.describe(top, family) {
            out.workloads.extend(described.rows);
            out.workload_details.extend(described.details);
            out.data_quality.extend(described.quality);
            out.scaling_events.extend(described.events);
            portraits.insert(top.clone(), described.portrait);
        }
    }
    for (index, pod) in pods.iter().enumerate() {
        let portrait = portraits.get(&pod.top()).cloned().unwrap_or_default();
        pod_rows(
            pod,
            &portrait,
            &replicas[index],
            gpu_milli[index],
            &mut out.pods,
        );
    }
    for node in &nodes {
        if let Some(slots) = slots.get(&node.name) {
            node_rows(node, slots, &mut out.nodes);
            out.node_details.extend(node_details(node));
            out.data_quality.extend(quality::of_node(node));
            out.slices.extend(slots.rows.iter().cloned());
        }
    }
    out.gpu_holders = holders::fold(&slots, &pods, &uses, &replicas);
    let subjects = Subjects::new(inputs, &families, &pods, &out.workloads);
    (out.autoscalers, out.scaling_lint) = scalers::rows(&scalers, &tops, &subjects);
    out.data_quality
        .extend(quality::of_cluster(&store, inputs.window));
    out.clip(inputs.window);
    out.sort();
    out
}

/// What the node under a pod was when the pod came to it.
fn facts_under<'n>(
    pod: &PodLife<'_>,
    nodes: &BTreeMap<&str, &'n NodeLife<'_>>,
) -> Option<&'n NodeFacts> {
    let node = nodes.get(pod.node.as_deref()?)?;
    let at = pod.scheduled_ms?;
    let inside = node
        .segments
        .iter()
        .find(|(window, _)| at < window.end_ms)
        .or(node.segments.last())?;
    Some(&inside.1)
}

/// What else is known of a node, joined where it stays the same.
fn node_details(node: &NodeLife<'_>) -> Vec<NodeDetailRow> {
    let parts = node
        .segments
        .iter()
        .map(|(window, facts)| {
            let row = NodeDetailRow {
                node: node.name.clone(),
                pool: facts.pool.clone(),
                capacity_type: facts.capacity_type.clone(),
                capacity_type_from: facts.capacity_type_from.map(str::to_owned),
                instance_type: facts.instance_type.clone(),
                instance_type_from: facts.instance_type_from.map(str::to_owned),
                reservation_id: facts.reservation_id.clone(),
                reservation_type: facts.reservation_type.clone(),
                lifecycle_state: facts.lifecycle_state.clone(),
                memory_bytes: facts.memory_bytes,
                mig_strategy: facts.mig_strategy.clone(),
                sharing: facts.sharing.to_owned(),
                sharers: facts.sharers,
                counts_json: serde_json::json!(node.stated).to_string(),
                ..NodeDetailRow::default()
            };
            (*window, row)
        })
        .collect();
    timeline::joined(parts)
        .into_iter()
        .map(|(window, row)| row.during(window))
        .collect()
}

/// The serving replica of each pod: the leader of its group, else itself. `engines` are the pods
/// whose own engine speaks.
fn replicas(pods: &[PodLife<'_>], engines: &BTreeMap<(String, String), String>) -> Vec<String> {
    let mut heads: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut speaking: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut led: BTreeSet<(&str, &str)> = BTreeSet::new();
    for pod in pods {
        let Some(cluster) = pod.labels.get("ray.io/cluster") else {
            continue;
        };
        if pod.labels.get("ray.io/node-type") == Some("head") {
            heads.insert((&pod.namespace, cluster), &pod.name);
        }
        if pod.requests.gpus() == 0 {
            continue;
        }
        if engines.contains_key(&(pod.namespace.clone(), pod.name.clone())) {
            speaking.insert((&pod.namespace, cluster));
        } else if pod.ready.iter().any(|(_, ready)| *ready) {
            // A worker that served and whose engine is silent works for another's.
            led.insert((&pod.namespace, cluster));
        }
    }
    let alone = |pod: &PodLife<'_>, cluster: &str| {
        let key = (pod.namespace.as_str(), cluster);
        pod.requests.gpus() > 0 && speaking.contains(&key) && !led.contains(&key)
    };
    pods.iter()
        .map(|pod| {
            if let Some(leader) = pod.chain.iter().find(|hop| hop.kind == "pod") {
                return leader.name.clone();
            }
            if let (Some(set), Some(group)) = (
                pod.labels.get("leaderworkerset.sigs.k8s.io/name"),
                pod.labels.get("leaderworkerset.sigs.k8s.io/group-index"),
            ) {
                return format!("{set}-{group}");
            }
            // Where every worker has an engine of its own the cluster holds that many replicas.
            if let Some(cluster) = pod.labels.get("ray.io/cluster")
                && !alone(pod, cluster)
            {
                let head = heads.get(&(pod.namespace.as_str(), cluster));
                return (*head.unwrap_or(&cluster)).to_owned();
            }
            pod.name.clone()
        })
        .collect()
}

/// Thousandths of physical GPUs that a pod asks for, as its node divides them.
fn gpu_milli(pod: &PodLife<'_>, nodes: &BTreeMap<&str, &NodeLife<'_>>) -> i64 {
    if let Some(fraction) = pod.requests.fraction_milli {
        return fraction.saturating_mul(pod.requests.gpus());
    }
    let facts = pod.node.as_deref().and_then(|name| {
        let node = nodes.get(name)?;
        let at = pod.scheduled_ms.unwrap_or(pod.created_ms);
        let segment = node.segments.iter().find(|(window, _)| at < window.end_ms);
        segment.or(node.segments.last()).map(|(_, facts)| facts)
    });
    let sharers = facts.map_or(1, |facts| facts.sharers.max(1));
    let card = facts.and_then(|facts| devices::card_gb(facts.product.as_deref()));
    let single = facts
        .and_then(|facts| facts.product_label.as_deref())
        .and_then(|label| label.split_once("-MIG-"))
        .and_then(|(_, profile)| devices::mig_share(profile, card));
    let mut sum = 0_i64;
    for (resource, units) in &pod.requests.units {
        let share = resources::mig_profile(resource)
            .and_then(|profile| devices::mig_share(profile, card))
            .or(single);
        let one = match share {
            Some(share) => share * 1000 / devices::MIG_WHOLE,
            None => 1000 / sharers,
        };
        sum = sum.saturating_add(one.saturating_mul(*units));
    }
    sum
}

fn pod_rows(
    pod: &PodLife<'_>,
    portrait: &Portrait,
    replica: &str,
    gpu_milli: i64,
    out: &mut Vec<PodRow>,
) {
    let top = pod.top();
    let standby =
        portrait.standby
            || pod.labels.body.and_then(|marks| {
                json::text(marks, &["metadata", "labels", "idleproof.dev/standby"])
            }) == Some("true");
    let class = if portrait.class.is_empty() {
        "unknown"
    } else {
        portrait.class
    };
    for (window, state, placed) in pod.states() {
        out.push(PodRow {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            valid_from_ms: window.start_ms,
            valid_to_ms: window.end_ms,
            uid: pod.uid.clone(),
            node: pod.node.clone().filter(|_| placed),
            state: state.to_owned(),
            workload_kind: top.kind.clone(),
            workload_name: top.name.clone(),
            replica: replica.to_owned(),
            workload_class: class.to_owned(),
            standby_declared: standby,
            gpu_milli,
            gpu_resource: pod.requests.names(),
            cpu_request_milli: pod.requests.cpu_request_milli,
            cpu_limit_milli: pod.requests.cpu_limit_milli,
            memory_request_mib: pod.requests.memory_request_mib,
            model: portrait.model.clone(),
            team: portrait.team.clone(),
            owner_chain_json: owners::chain_json(&pod.chain),
            known_from: pod.known_from.to_owned(),
        });
    }
}

fn node_rows(node: &NodeLife<'_>, slots: &NodeSlots, out: &mut Vec<NodeRow>) {
    let cuts = slots
        .lost
        .iter()
        .flat_map(|(window, _)| [window.start_ms, window.end_ms])
        .collect();
    for (segment, facts) in &node.segments {
        let parts = timeline::constant(*segment, &cuts, |ms| {
            slots
                .lost
                .iter()
                .find(|(window, _)| window.contains(ms))
                .map_or(0, |(_, lost)| *lost)
        });
        for (window, gpus_lost) in parts {
            let row = NodeRow {
                node: node.name.clone(),
                valid_from_ms: window.start_ms,
                valid_to_ms: window.end_ms,
                uid: facts.uid.clone(),
                provider: facts.provider.clone(),
                region: facts.region.clone(),
                zone: facts.zone.clone(),
                instance_type: facts.instance_type.clone(),
                capacity_type: facts.capacity_type.clone(),
                provider_id: facts.provider_id.clone(),
                gpu_product: facts.product.clone(),
                gpu_product_label: facts.product_label.clone(),
                gpu_count: node.gpu_count,
                gpu_count_basis: node.count_basis.to_owned(),
                sharing: facts.sharing.to_owned(),
                ready: facts.ready,
                repair: facts.repair,
                cordoned: facts.cordoned,
                gpus_lost,
                vcpus: facts.vcpus,
                known_from: node.known_from.clone(),
            };
            match out.last_mut() {
                Some(last)
                    if last.valid_to_ms == row.valid_from_ms
                        && *last == row.during(last.valid()) =>
                {
                    last.valid_to_ms = row.valid_to_ms;
                }
                _ => out.push(row),
            }
        }
    }
}
