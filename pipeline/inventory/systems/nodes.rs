//! Owns single nodes with their MIG and sharing labels, and what pools of nodes share with them.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::about::About;
use super::remedy::{Action, Draft, FractionWish, Remedy, Wish};
use super::{MachineSystem, World, coreweave, json, machines_of, shapes};

pub(super) static NODES: MachineSystem = MachineSystem {
    kind: NODE,
    about: &ABOUT,
    remedy: node,
    give_back: |_, _| {
        Remedy::not_possible(
            Action::Bounds,
            "one node is given back by its pool or group: drain it, then lower that",
        )
    },
};

pub(super) static ABOUT: About = About {
    title: "Nodes: MIG, time-slicing and MPS",
    kinds: &[
        "Node (v1), its labels of GPU feature discovery (nvidia.com/gpu.*, nvidia.com/mig-*)",
        "HAMi's register of cards",
        "ResourceSlice (resource.k8s.io)",
    ],
    chain: "none: pods are placed on it",
    model: "none",
    remedies: "cordoned for zero; a MIG layout by the label nvidia.com/mig.config after a drain. \
               Time-slicing and MPS are named configurations of the device plugin, which no patch of \
               a node makes.",
};

pub(in crate::inventory) const NODE: &str = "node";

/// The answers for a node pool or a node; none where the kind is neither.
pub(in crate::inventory) fn remedies(
    world: &World<'_>,
    key: &Key,
    body: &Value,
    wish: &Wish,
) -> Option<Vec<Remedy>> {
    let machines = machines_of(&key.kind)?;
    let actions = wish.actions().into_iter();
    Some(
        actions
            .map(|action| (machines.remedy)(world, key, body, wish, action))
            .collect(),
    )
}

/// What gives back machines of a pool; none where its kind is not known.
pub(in crate::inventory) fn give_back(key: &Key, body: &Value) -> Option<Remedy> {
    machines_of(&key.kind).map(|machines| (machines.give_back)(key, body))
}

pub(super) fn no_containers() -> Remedy {
    Remedy::not_possible(
        Action::Cpu,
        "machines have no containers: CPU is changed in the workload",
    )
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
        Action::Fraction if label("node.coreweave.cloud/type").is_some() => {
            Remedy::not_possible(Action::Fraction, coreweave::MANAGED)
        }
        Action::Fraction => {
            let place = shapes::path(&["metadata", "labels"]);
            let wish = wish.fraction.clone().unwrap_or_default();
            layout(key, body, &place, &wish)
        }
    }
}

/// The MIG layout or sharing of nodes, by the label that the GPU operator follows.
pub(super) fn layout(key: &Key, body: &Value, labels: &[String], wish: &FractionWish) -> Remedy {
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
