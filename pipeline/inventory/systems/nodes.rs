//! Owns the node side: what frees or changes the machines under workloads. Karpenter's and
//! CoreWeave's node pools, and single nodes with their MIG and sharing labels.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::remedy::{Action, BoundsWish, Draft, FractionWish, Remedy, TierWish, Wish};
use super::{World, json, shapes};

/// The kinds that are answered here.
pub(in crate::inventory) const KINDS: &[&str] = &[KARPENTER, COREWEAVE, NODE];

pub(in crate::inventory) const KARPENTER: &str = "nodepool.karpenter.sh";
pub(in crate::inventory) const COREWEAVE: &str = "nodepool.compute.coreweave.com";
pub(in crate::inventory) const NODE: &str = "node";

/// Rack-scale machines come whole: their pools do not scale by themselves.
const RACKS: &[&str] = &["gb200", "gb300"];

/// The answers for a node pool or a node; none where the kind is neither.
pub(in crate::inventory) fn remedies(
    world: &World<'_>,
    key: &Key,
    body: &Value,
    wish: &Wish,
) -> Option<Vec<Remedy>> {
    let answer: fn(&World<'_>, &Key, &Value, &Wish, Action) -> Remedy = match key.kind.as_str() {
        KARPENTER => karpenter,
        COREWEAVE => coreweave,
        NODE => node,
        _ => return None,
    };
    let actions = wish.actions().into_iter();
    Some(
        actions
            .map(|action| answer(world, key, body, wish, action))
            .collect(),
    )
}

/// Lets a pool give back machines that are empty or could be emptied; no workload is taken down.
pub(in crate::inventory) fn give_back(key: &Key, body: &Value) -> Remedy {
    let spec = json::get(body, &["spec"]);
    if key.kind != KARPENTER {
        return Remedy::not_possible(
            Action::Bounds,
            format!(
                "{} has {} nodes as its target: how many fewer will do shows only when its pods are \
                 packed, so lower it by that number then",
                key.path(),
                json::int(spec, &["targetNodes"]).map_or_else(
                    || "an unknown number of".to_owned(),
                    |count| count.to_string()
                )
            ),
        );
    }
    if let Some(count) = json::int(spec, &["replicas"]) {
        return Remedy::not_possible(
            Action::Bounds,
            format!(
                "{} is a static pool of {count} nodes: how many fewer will do shows only when its \
                 pods are packed, so lower spec.replicas by that number then",
                key.path()
            ),
        );
    }
    let mut draft = Draft::new(key, body);
    draft.set(
        &["spec", "disruption", "consolidationPolicy"],
        value!("WhenEmptyOrUnderutilized"),
    );
    let after = json::text(spec, &["disruption", "consolidateAfter"]);
    if matches!(after, None | Some("Never")) {
        draft.set(&["spec", "disruption", "consolidateAfter"], value!("5m"));
    }
    let remedy = draft
        .remedy(
            Action::Bounds,
            &["nodes of the pool that no pod needs are gone after consolidateAfter"],
        )
        .warned("pods with karpenter.sh/do-not-disrupt keep their node");
    let closed = json::items(spec, &["disruption", "budgets"])
        .iter()
        .any(|budget| matches!(json::text(budget, &["nodes"]), Some("0" | "0%")));
    if closed {
        remedy.warned("a disruption budget of the pool allows no node to go")
    } else {
        remedy
    }
}

fn no_containers() -> Remedy {
    Remedy::not_possible(
        Action::Cpu,
        "machines have no containers: CPU is changed in the workload",
    )
}

fn karpenter(world: &World<'_>, key: &Key, body: &Value, wish: &Wish, action: Action) -> Remedy {
    match action {
        Action::Zero => karpenter_zero(key, body),
        Action::Tier => {
            let tier = wish.tier.clone().unwrap_or_default();
            karpenter_tier(key, body, &tier)
        }
        Action::Bounds => karpenter_bounds(world, key, body, wish.bounds.unwrap_or_default()),
        Action::Cpu => no_containers(),
        Action::Fraction => {
            let place = shapes::path(&["spec", "template", "metadata", "labels"]);
            let wish = wish.fraction.clone().unwrap_or_default();
            layout(key, body, &place, &wish).warned(
                "only new nodes of the pool get the label: those that stand are labelled by hand, \
                 or drift away",
            )
        }
    }
}

/// A static pool is lowered; any other frees empty nodes by itself and makes no new ones.
fn karpenter_zero(key: &Key, body: &Value) -> Remedy {
    let spec = json::get(body, &["spec"]);
    let mut draft = Draft::new(key, body);
    let gone = "no NodeClaim of the pool is left";
    if json::int(spec, &["replicas"]).is_some() {
        draft.set(&["spec", "replicas"], value!(0));
        return draft.remedy(Action::Zero, &[gone]);
    }
    draft.set(
        &["spec", "disruption", "consolidationPolicy"],
        value!("WhenEmptyOrUnderutilized"),
    );
    let after = json::text(spec, &["disruption", "consolidateAfter"]);
    if matches!(after, None | Some("Never")) {
        draft.set(&["spec", "disruption", "consolidateAfter"], value!("5m"));
    }
    draft.set(&["spec", "limits", "nvidia.com/gpu"], value!("0"));
    let closed = json::items(spec, &["disruption", "budgets"])
        .iter()
        .any(|budget| matches!(json::text(budget, &["nodes"]), Some("0" | "0%")));
    let remedy = draft
        .remedy(Action::Zero, &[gone])
        .warned("the limit keeps new GPU nodes away; nodes that still have pods stay")
        .warned("pods with karpenter.sh/do-not-disrupt keep their node");
    if closed {
        remedy.warned("a disruption budget of the pool allows no node to go")
    } else {
        remedy
    }
}

fn karpenter_tier(key: &Key, body: &Value, tier: &TierWish) -> Remedy {
    // Karpenter plans with what it knows before a node exists: the driver's labels come later.
    let known = |name: &str| {
        [
            "karpenter.",
            "node.kubernetes.io/",
            "topology.kubernetes.io/",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    let mut wanted: Vec<(String, String)> = tier
        .node_selector
        .iter()
        .filter(|(name, _)| known(name))
        .map(|(name, label)| (name.clone(), label.clone()))
        .collect();
    if wanted.is_empty()
        && let Some(instance_type) = &tier.instance_type
    {
        wanted.push((
            "node.kubernetes.io/instance-type".to_owned(),
            instance_type.clone(),
        ));
    }
    if wanted.is_empty() {
        return Remedy::not_possible(
            Action::Tier,
            "Karpenter chooses machines before the GPU driver labels them: name an instance type or \
             a label of karpenter.k8s.aws or karpenter.azure.com",
        );
    }
    let place = ["spec", "template", "spec", "requirements"];
    let narrow = [
        "node.kubernetes.io/instance-type",
        "karpenter.k8s.aws/instance-category",
        "karpenter.k8s.aws/instance-family",
        "karpenter.k8s.aws/instance-generation",
        "karpenter.k8s.aws/instance-gpu-name",
        "karpenter.k8s.aws/instance-size",
        "karpenter.azure.com/sku-name",
        "karpenter.azure.com/sku-family",
        "karpenter.azure.com/sku-gpu-name",
    ];
    let kept = json::items(body, &place)
        .iter()
        .filter(|one| {
            json::text(one, &["key"]).is_some_and(|name| {
                !narrow.contains(&name) && !wanted.iter().any(|(wanted, _)| wanted == name)
            })
        })
        .cloned();
    let new = wanted
        .iter()
        .map(|(name, label)| value!({"key": name, "operator": "In", "values": [label]}));
    let list: Vec<Value> = kept.chain(new).collect();
    let mut draft = Draft::new(key, body);
    draft.set(&place, Value::Array(list));
    draft
        .remedy(
            Action::Tier,
            &["every NodeClaim of the pool is of the new type, and none has drifted"],
        )
        .warned(
            "nodes of the old type drift and are replaced with all their pods: a new pool beside \
             this one moves one workload at a time",
        )
}

/// GPUs of one node of a pool, where its nodes are known and alike.
fn gpus_per_node(world: &World<'_>, label: &str, pool: &str) -> Option<i64> {
    let counts: Vec<i64> = world
        .of_kind(NODE, "")
        .into_iter()
        .filter(|(_, body)| json::text(body, &["metadata", "labels", label]) == Some(pool))
        .filter_map(|(_, body)| json::int(body, &["status", "capacity", "nvidia.com/gpu"]))
        .collect();
    let first = *counts.first()?;
    counts.iter().all(|count| *count == first).then_some(first)
}

fn karpenter_bounds(world: &World<'_>, key: &Key, body: &Value, bounds: BoundsWish) -> Remedy {
    if json::int(body, &["spec", "replicas"]).is_some() {
        let place = shapes::path(&["spec", "replicas"]);
        return shapes::fixed_size(key, body, &place, bounds);
    }
    let Some(most) = bounds.max_replicas else {
        return Remedy::not_possible(
            Action::Bounds,
            "a Karpenter pool has no minimum: nodes come when pods wait for them",
        );
    };
    let Some(gpus) = gpus_per_node(world, "karpenter.sh/nodepool", &key.name) else {
        return Remedy::not_possible(
            Action::Bounds,
            "limits count GPUs, and the nodes of this pool are unknown or not alike: set \
             spec.limits[nvidia.com/gpu] by hand",
        );
    };
    let mut draft = Draft::new(key, body);
    draft.set(
        &["spec", "limits", "nvidia.com/gpu"],
        value!(most.saturating_mul(gpus).to_string()),
    );
    let remedy = draft.remedy(
        Action::Bounds,
        &["status.resources[nvidia.com/gpu] is not above the limit"],
    );
    let remedy = remedy.warned("a limit keeps new nodes away: nodes above it stay until they go");
    if bounds.min_replicas.is_some_and(|least| least > 0) {
        remedy.warned("the pool has no minimum: only pods keep its nodes")
    } else {
        remedy
    }
}

fn coreweave(_: &World<'_>, key: &Key, body: &Value, wish: &Wish, action: Action) -> Remedy {
    let spec = json::get(body, &["spec"]);
    let scales = json::truth(spec, &["autoscaling"]);
    let verify = "status.currentNodes has come down to it";
    match action {
        Action::Zero => {
            let mut draft = Draft::new(key, body);
            if scales || json::int(spec, &["minNodes"]).is_some() {
                draft.set(&["spec", "minNodes"], value!(0));
            }
            draft.set(&["spec", "targetNodes"], value!(0));
            draft
                .remedy(Action::Zero, &[verify])
                .warned("nodes under a commitment cost the same while it runs")
        }
        Action::Tier => Remedy::not_possible(
            Action::Tier,
            "instanceType of a CoreWeave node pool is immutable: make a new pool, move the \
             workloads, then lower this one",
        ),
        Action::Bounds => {
            let bounds = wish.bounds.unwrap_or_default();
            let instance_type = json::text(spec, &["instanceType"]).unwrap_or("");
            let rack = RACKS
                .iter()
                .any(|rack| instance_type.to_ascii_lowercase().contains(rack));
            if rack || !scales {
                let place = shapes::path(&["spec", "targetNodes"]);
                let remedy = shapes::fixed_size(key, body, &place, bounds);
                return if rack {
                    remedy.warned(format!(
                        "{instance_type} is sold by the rack: its pool does not scale by itself"
                    ))
                } else {
                    remedy
                };
            }
            let mut draft = Draft::new(key, body);
            for (field, wanted) in [
                ("minNodes", bounds.min_replicas),
                ("maxNodes", bounds.max_replicas),
            ] {
                if let Some(count) = wanted {
                    draft.set(&["spec", field], value!(count));
                }
            }
            draft.remedy(
                Action::Bounds,
                &["status.currentNodes lies within the bounds"],
            )
        }
        Action::Cpu => no_containers(),
        Action::Fraction => Remedy::not_possible(
            Action::Fraction,
            "CoreWeave manages the GPU operator: ask it for a MIG layout, and do not install one",
        ),
    }
}

fn node(_: &World<'_>, key: &Key, body: &Value, wish: &Wish, action: Action) -> Remedy {
    let label = |name: &str| json::text(body, &["metadata", "labels", name]);
    let pool = ["karpenter.sh/nodepool", "compute.coreweave.com/node-pool"]
        .into_iter()
        .find_map(label);
    match action {
        Action::Zero => {
            let mut draft = Draft::new(key, body);
            draft.set(&["spec", "unschedulable"], value!(true));
            let remedy = draft
                .remedy(Action::Zero, &["no pod with a GPU is left on the node"])
                .warned(
                    "a cordoned node is still paid for: drain it, and let its pool or group give the \
                     machine back",
                );
            match pool {
                Some(pool) => remedy.warned(format!(
                    "its pool {pool} makes another one where pods wait: lower the pool first"
                )),
                None => remedy,
            }
        }
        Action::Tier => Remedy::not_possible(
            Action::Tier,
            "a machine keeps its GPUs: another pool or node group has the other ones",
        ),
        Action::Bounds => Remedy::not_possible(
            Action::Bounds,
            "one node has no bounds: its pool or node group has",
        ),
        Action::Cpu => no_containers(),
        Action::Fraction if label("node.coreweave.cloud/type").is_some() => Remedy::not_possible(
            Action::Fraction,
            "CoreWeave manages the GPU operator: ask it for a MIG layout, and do not install one",
        ),
        Action::Fraction => {
            let place = shapes::path(&["metadata", "labels"]);
            let wish = wish.fraction.clone().unwrap_or_default();
            layout(key, body, &place, &wish)
        }
    }
}

/// The MIG layout or sharing of nodes, by the label that the GPU operator follows.
fn layout(key: &Key, body: &Value, labels: &[String], wish: &FractionWish) -> Remedy {
    let profile = wish
        .resource
        .as_deref()
        .and_then(|name| name.strip_prefix("nvidia.com/mig-"));
    let Some(profile) = profile else {
        return Remedy::not_possible(
            Action::Fraction,
            "time-slicing and MPS are named configurations of the device plugin: add one to its \
             ConfigMap, then set the label nvidia.com/device-plugin.config to its name",
        );
    };
    if json::text(body, &["metadata", "labels", "nvidia.com/mig.capable"]) == Some("false") {
        return Remedy::not_possible(
            Action::Fraction,
            "the node's GPUs have no MIG: share them by time-slicing or MPS, or use other nodes",
        );
    }
    let mut draft = Draft::new(key, body);
    draft.set(
        &shapes::below(labels, &["nvidia.com/mig.config"]),
        value!(format!("all-{profile}")),
    );
    draft
        .remedy(
            Action::Fraction,
            &["the label nvidia.com/mig.config.state is success"],
        )
        .warned("drain the node first: the MIG manager stops every GPU client on it")
        .warned("the layout must be one that the MIG manager's configuration has by this name")
}
