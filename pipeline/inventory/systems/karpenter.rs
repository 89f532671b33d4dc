//! Owns Karpenter's node pools: machines come when pods wait, and go when none needs them.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::about::About;
use super::nodes::{self, layout, no_containers};
use super::remedy::{Action, BoundsWish, Draft, Remedy, TierWish, Wish};
use super::{MachineSystem, World, json, shapes};

pub(super) static POOL: MachineSystem = MachineSystem {
    kind: KIND,
    about: &ABOUT,
    remedy: karpenter,
    give_back,
};

pub(super) static ABOUT: About = About {
    title: "Karpenter NodePool",
    kinds: &["NodePool (karpenter.sh/v1), through the label karpenter.sh/nodepool of nodes"],
    chain: "none: its nodes name it",
    model: "none",
    remedies: "consolidation is switched on and the limit of GPUs lowered; a static pool has a number \
               of its own. A tier is another requirement, a MIG layout a label of new nodes.",
};

pub(in crate::inventory) const KIND: &str = "nodepool.karpenter.sh";

/// Lets a pool give back machines that are empty or could be emptied; no workload is taken down.
fn give_back(key: &Key, body: &Value) -> Remedy {
    let spec = json::get(body, &["spec"]);
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

fn karpenter(world: &World<'_>, key: &Key, body: &Value, wish: &Wish, action: Action) -> Remedy {
    match action {
        Action::Zero => zero(key, body),
        Action::Tier => {
            let tier = wish.tier.clone().unwrap_or_default();
            tier_of(key, body, &tier)
        }
        Action::Bounds => bounds_of(world, key, body, wish.bounds.unwrap_or_default()),
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
fn zero(key: &Key, body: &Value) -> Remedy {
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

fn tier_of(key: &Key, body: &Value, tier: &TierWish) -> Remedy {
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
        .of_kind(nodes::NODE, "")
        .into_iter()
        .filter(|(_, body)| json::text(body, &["metadata", "labels", label]) == Some(pool))
        .filter_map(|(_, body)| json::int(body, &["status", "capacity", "nvidia.com/gpu"]))
        .collect();
    let first = *counts.first()?;
    counts.iter().all(|count| *count == first).then_some(first)
}

fn bounds_of(world: &World<'_>, key: &Key, body: &Value, bounds: BoundsWish) -> Remedy {
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
