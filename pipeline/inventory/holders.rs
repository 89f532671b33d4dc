//! Owns who holds which slice when. GPU telemetry names devices, the pod's life bounds them, and
//! pods that no source maps take the lowest free slots. One slice has one holder at a time.

use std::collections::BTreeMap;

use crate::model::TimeWindow;

use super::input::GpuPodSpan;
use super::nodes::NodeLife;
use super::pods::PodLife;
use super::resources;
use super::rows::HolderRow;
use super::slices::{NodeSlots, Sharer, Slice};
use super::timeline;

/// That a pod used a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub node: String,
    pub slot: i64,
    pub mig_instance: Option<String>,
    pub pod: usize,
    /// From the first to the last sample inside the pod's life.
    pub window: TimeWindow,
    /// The part of the device that the pod asked for, if it asked for one.
    pub milli: Option<i64>,
    /// What says so.
    pub how: &'static str,
}

/// Which pods GPU telemetry saw on which slots, inside the pods' lives.
pub(super) fn uses(
    nodes: &[NodeLife<'_>],
    pods: &[PodLife<'_>],
    spans: &[GpuPodSpan],
    interval_ms: i64,
) -> Vec<Use> {
    let by_node: BTreeMap<&str, &NodeLife<'_>> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let mut by_pod: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (index, pod) in pods.iter().enumerate() {
        by_pod
            .entry((&pod.namespace, &pod.name))
            .or_default()
            .push(index);
    }
    let mut found: BTreeMap<(String, i64, Option<String>, usize), TimeWindow> = BTreeMap::new();
    for span in spans {
        // An exporter that labels a device with its own pod says nothing about a holder.
        if span.pod.contains("dcgm-exporter") {
            continue;
        }
        for index in by_pod
            .get(&(span.namespace.as_str(), span.pod.as_str()))
            .map_or(&[][..], Vec::as_slice)
        {
            let Some(placed) = pods[*index].placed() else {
                continue;
            };
            let seen = TimeWindow::new(span.first_ms, span.last_ms.saturating_add(interval_ms));
            // A completed pod is still labelled for a while, but it holds nothing.
            let Some(part) = seen.intersect(&placed) else {
                continue;
            };
            let name = if span.node.is_empty() {
                pods[*index].node.as_deref().unwrap_or("")
            } else {
                &span.node
            };
            let Some(slot) = by_node.get(name).and_then(|node| slot_of(node, span)) else {
                continue;
            };
            found
                .entry((name.to_owned(), slot, span.mig_instance.clone(), *index))
                .and_modify(|window| {
                    window.start_ms = window.start_ms.min(part.start_ms);
                    window.end_ms = window.end_ms.max(part.end_ms);
                })
                .or_insert(part);
        }
    }
    found
        .into_iter()
        .map(|((node, slot, mig_instance, pod), window)| Use {
            node,
            slot,
            mig_instance,
            pod,
            window,
            milli: None,
            how: "dcgm",
        })
        .collect()
}

fn slot_of(node: &NodeLife<'_>, span: &GpuPodSpan) -> Option<i64> {
    let by_index = || {
        node.devices
            .iter()
            .find(|(_, device)| !span.gpu.is_empty() && device.gpu == Some(span.gpu.as_str()))
    };
    let by_uuid = || {
        node.devices.iter().find(|(_, device)| {
            !span.uuid.is_empty() && device.spans.iter().any(|one| one.uuid == span.uuid)
        })
    };
    by_uuid().or_else(by_index).map(|(slot, _)| *slot)
}

/// The times at which pods used devices that MIG does not divide, by node and slot.
///
/// Only samples count here: the interval that a last sample still holds would make two pods that
/// follow each other look like sharers.
pub(super) fn sharers(
    uses: &[Use],
    pods: &[PodLife<'_>],
    interval_ms: i64,
) -> BTreeMap<String, BTreeMap<i64, Vec<Sharer>>> {
    let mut out: BTreeMap<String, BTreeMap<i64, Vec<Sharer>>> = BTreeMap::new();
    for one in uses.iter().filter(|one| one.mig_instance.is_none()) {
        out.entry(one.node.clone())
            .or_default()
            .entry(one.slot)
            .or_default()
            .push(Sharer {
                window: match (one.how, one.milli) {
                    ("dcgm", None) => TimeWindow::new(
                        one.window.start_ms,
                        one.window
                            .end_ms
                            .saturating_sub(interval_ms)
                            .max(one.window.start_ms.saturating_add(1)),
                    ),
                    // A declared part is the pod's from its scheduling to its end.
                    _ => pods[one.pod].placed().unwrap_or(one.window),
                },
                pod: one.pod,
                name: format!("{}/{}", pods[one.pod].namespace, pods[one.pod].name),
                milli: one.milli,
            });
    }
    out
}

/// Who holds a slice, in order of time.
#[derive(Debug, Clone, Copy)]
struct Held {
    window: TimeWindow,
    pod: usize,
    how: &'static str,
}

/// The holders on one node.
struct Board<'s> {
    slots: &'s NodeSlots,
    held: BTreeMap<(i64, String), Vec<Held>>,
}

impl Board<'_> {
    fn taken(&self, slot: i64, slice: &str) -> Vec<TimeWindow> {
        let held = self.held.get(&(slot, slice.to_owned()));
        timeline::union(
            held.map_or_else(Vec::new, |all| all.iter().map(|one| one.window).collect()),
            0,
        )
    }

    fn free_at(&self, slot: i64, slice: &str, window: TimeWindow) -> bool {
        timeline::subtract(window, &self.taken(slot, slice)) == vec![window]
    }

    fn holds(&self, slot: i64, slice: &str, pod: usize) -> bool {
        self.held
            .get(&(slot, slice.to_owned()))
            .is_some_and(|all| all.iter().any(|one| one.pod == pod))
    }

    /// Gives a pod what is free of one slice per stretch of the slot.
    fn hold(
        &mut self,
        slot: i64,
        window: TimeWindow,
        pod: usize,
        how: &'static str,
        fits: &dyn Fn(&Slice) -> bool,
    ) {
        let slots = self.slots;
        for stretch in slots.stretches.get(&slot).map_or(&[][..], Vec::as_slice) {
            let Some(part) = stretch.window.intersect(&window) else {
                continue;
            };
            let fitting: Vec<&Slice> = stretch
                .slices
                .iter()
                .filter(|slice| slice.kind != "rest" && fits(slice))
                .collect();
            let chosen = fitting
                .iter()
                .find(|slice| self.holds(slot, &slice.name, pod))
                .or_else(|| {
                    fitting
                        .iter()
                        .find(|slice| self.free_at(slot, &slice.name, part))
                })
                .or_else(|| fitting.first());
            if let Some(slice) = chosen {
                let free = timeline::subtract(part, &self.taken(slot, &slice.name));
                let all = self.held.entry((slot, slice.name.clone())).or_default();
                all.extend(free.into_iter().map(|window| Held { window, pod, how }));
            }
        }
    }

    /// How many slices of the node a pod holds.
    fn count(&self, pod: usize) -> i64 {
        let held = self.held.values();
        held.filter(|all| all.iter().any(|one| one.pod == pod))
            .fold(0, |sum, _| sum + 1)
    }
}

/// Every holder interval of every node.
pub(super) fn fold(
    nodes: &BTreeMap<String, NodeSlots>,
    pods: &[PodLife<'_>],
    uses: &[Use],
    replicas: &[String],
) -> Vec<HolderRow> {
    let mut out = Vec::new();
    for (name, slots) in nodes {
        let mut board = Board {
            slots,
            held: BTreeMap::new(),
        };
        let mut seen: Vec<&Use> = uses.iter().filter(|one| one.node == *name).collect();
        seen.sort_by_key(|one| (one.window.start_ms, one.pod, one.slot));
        for one in &seen {
            let instance = one.mig_instance.clone();
            board.hold(one.slot, one.window, one.pod, one.how, &|slice| {
                slice.mig_instance == instance && slice.owner.is_none_or(|owner| owner == one.pod)
            });
        }
        // A device is a pod's from its scheduling to its end, also where nothing was labelled.
        seen.sort_by_key(|one| (pods[one.pod].scheduled_ms, one.pod, one.slot));
        for one in &seen {
            if let Some(placed) = pods[one.pod].placed() {
                let instance = one.mig_instance.clone();
                board.hold(one.slot, placed, one.pod, one.how, &|slice| {
                    slice.mig_instance == instance
                        && slice.owner.is_none_or(|owner| owner == one.pod)
                });
            }
        }
        let mut asking: Vec<usize> = (0..pods.len())
            .filter(|index| {
                pods[*index].node.as_deref() == Some(name.as_str())
                    && pods[*index].requests.gpus() > 0
                    && pods[*index].placed().is_some()
            })
            .collect();
        asking.sort_by_key(|index| (pods[*index].scheduled_ms, *index));
        for index in asking {
            infer(&mut board, &pods[index], index);
        }
        for ((slot, slice), mut all) in board.held {
            all.sort_by_key(|one| one.window);
            let mut joined: Vec<Held> = Vec::new();
            for one in all {
                match joined.last_mut() {
                    Some(last)
                        if last.pod == one.pod
                            && last.how == one.how
                            && last.window.end_ms == one.window.start_ms =>
                    {
                        last.window.end_ms = one.window.end_ms;
                    }
                    _ => joined.push(one),
                }
            }
            for one in joined {
                let pod = &pods[one.pod];
                let top = pod.top();
                out.push(HolderRow {
                    node: name.clone(),
                    slot,
                    slice: slice.clone(),
                    valid_from_ms: one.window.start_ms,
                    valid_to_ms: one.window.end_ms,
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    workload_kind: top.kind,
                    workload_name: top.name,
                    replica: replicas[one.pod].clone(),
                    how: one.how.to_owned(),
                });
            }
        }
    }
    out
}

/// Gives a pod that no source maps the lowest free slices that it can have asked for.
fn infer(board: &mut Board<'_>, pod: &PodLife<'_>, index: usize) {
    let Some(placed) = pod.placed() else { return };
    let missing = pod.requests.gpus().saturating_sub(board.count(index));
    let mut wanted: Vec<Option<String>> = Vec::new();
    for (resource, units) in &pod.requests.units {
        let profile = resources::mig_profile(resource).map(str::to_owned);
        for _ in 0..*units {
            wanted.push(profile.clone());
        }
    }
    if wanted.is_empty() {
        wanted.push(None);
    }
    for profile in wanted
        .into_iter()
        .take(usize::try_from(missing).unwrap_or(0))
    {
        let fits = |slice: &Slice| match &profile {
            Some(profile) => slice.mig_profile.as_ref() == Some(profile),
            None => slice.kind != "rest" && slice.owner.is_none_or(|owner| owner == index),
        };
        let mut best: Option<(bool, i64, String)> = None;
        for (slot, stretches) in &board.slots.stretches {
            for stretch in stretches {
                let Some(part) = stretch.window.intersect(&placed) else {
                    continue;
                };
                for slice in stretch.slices.iter().filter(|slice| fits(slice)) {
                    if board.holds(*slot, &slice.name, index) {
                        continue;
                    }
                    let busy = !board.free_at(*slot, &slice.name, placed);
                    if busy && !board.free_at(*slot, &slice.name, part) {
                        continue;
                    }
                    let offer = (busy, *slot, slice.name.clone());
                    if best.as_ref().is_none_or(|best| offer < *best) {
                        best = Some(offer);
                    }
                }
            }
        }
        if let Some((_, slot, name)) = best {
            board.hold(slot, placed, index, "inferred", &|slice| slice.name == name);
        }
    }
}
