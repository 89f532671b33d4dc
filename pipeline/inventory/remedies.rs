//! Owns the remedies of one workload as it was last seen: which object a change goes to, the
//! patch, its inverse and its warnings. Pure: it reads the same evidence as the fold and writes
//! nothing. The command line calls it.

use crate::model::workload::WorkloadId;

use super::families;
use super::input::Inputs;
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore};
use super::pods;
use super::scalers;
use super::systems::remedy::{Remedy, Wish};
use super::systems::{self, View, World, nodes};
use super::views;

/// The answers to a wish, one or more an asked action, in order of the actions.
#[must_use]
pub fn remedies(inputs: &Inputs, workload: &WorkloadId, wish: &Wish) -> Vec<Remedy> {
    if let Some(answers) = of_machines(inputs, workload, wish) {
        return answers;
    }
    let found = viewed(inputs, workload, |view| {
        let system = systems::of(view);
        let facts = (system.facts)(view);
        (system.remedies)(view, &facts, wish)
    });
    let mut out = found.unwrap_or_else(|| {
        let because = format!("no evidence in this window shows {}", workload.path());
        wish.actions()
            .into_iter()
            .map(|action| Remedy::not_possible(action, because.clone()))
            .collect()
    });
    // Two remedies of one action keep their order.
    out.sort_by_key(|remedy| remedy.action);
    out
}

/// The answers for nodes and their pools: no workloads, but what money is paid for.
fn of_machines(inputs: &Inputs, id: &WorkloadId, wish: &Wish) -> Option<Vec<Remedy>> {
    if !nodes::KINDS.contains(&id.kind.as_str()) {
        return None;
    }
    let store = ObjectStore::new(&inputs.objects, &inputs.snapshots);
    let ms = inputs.window.end_ms.saturating_sub(1);
    let key = Key::new(&id.kind, &id.namespace, &id.name);
    let world = World {
        store: Some(&store),
        ms,
    };
    let body = &store.nearest(&key, ms)?.body;
    nodes::remedies(&world, &key, body, wish)
}

/// Calls with the view of one workload at the end of the inputs' window.
pub(super) fn viewed<R>(
    inputs: &Inputs,
    workload: &WorkloadId,
    call: impl FnOnce(&View<'_>) -> R,
) -> Option<R> {
    let store = ObjectStore::new(&inputs.objects, &inputs.snapshots);
    let metrics = Metrics::new(&inputs.series, inputs.series_interval_ms);
    let pods = pods::fold(&store, &metrics, &inputs.gpu_pod_spans);
    let families = families::families(&store, &metrics, &pods);
    let scalers = scalers::fold(&store, &metrics, inputs.window);
    let top = Key::new(&workload.kind, &workload.namespace, &workload.name);
    let family = families.get(&top)?;
    let pod = family
        .pods
        .iter()
        .map(|index| &pods[*index])
        .filter(|pod| pod.body.is_some())
        .max_by_key(|pod| (pod.requests.gpus() > 0, pod.created_ms, &pod.name))
        .and_then(|pod| pod.body);
    let ms = inputs.window.end_ms.saturating_sub(1);
    Some(call(&views::view(&store, &top, family, &scalers, pod, ms)))
}
