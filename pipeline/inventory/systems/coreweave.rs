//! Owns CoreWeave's node pools: a number of machines of one immutable type, racks as a whole.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::about::About;
use super::nodes::no_containers;
use super::remedy::{Action, Draft, Remedy, Wish};
use super::{MachineSystem, World, json, shapes};

pub(super) static POOL: MachineSystem = MachineSystem {
    kind: KIND,
    about: &ABOUT,
    remedy: coreweave,
    give_back,
};

pub(super) static ABOUT: About = About {
    title: "CoreWeave node pool",
    kinds: &[
        "NodePool (compute.coreweave.com/v1alpha1)",
        "labels and states of nodes (node.coreweave.cloud)",
    ],
    chain: "none: its nodes name it",
    model: "none",
    remedies: "targetNodes, and minNodes and maxNodes where the pool scales; another type is another \
               pool. MIG layouts are asked of CoreWeave, which manages the GPU operator.",
};

pub(in crate::inventory) const KIND: &str = "nodepool.compute.coreweave.com";
/// Rack-scale machines come whole: their pools do not scale by themselves.
const RACKS: &[&str] = &["gb200", "gb300"];
pub(super) const MANAGED: &str =
    "CoreWeave manages the GPU operator: ask it for a MIG layout, and do not install one";

fn give_back(key: &Key, body: &Value) -> Remedy {
    let target = json::int(body, &["spec", "targetNodes"]);
    Remedy::not_possible(
        Action::Bounds,
        format!(
            "{} has {} nodes as its target: how many fewer will do shows only when its pods are \
             packed, so lower it by that number then",
            key.path(),
            target.map_or_else(
                || "an unknown number of".to_owned(),
                |count| count.to_string()
            )
        ),
    )
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
        Action::Fraction => Remedy::not_possible(Action::Fraction, MANAGED),
    }
}
