//! Owns how physical GPUs are divided over time, and when they could not be used. The shares of
//! a slot's slices sum to exactly one at every instant of the node's life.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::TimeWindow;

use super::devices::{self, Device, MIG_WHOLE};
use super::node_facts::NodeFacts;
use super::nodes::NodeLife;
use super::rows::SliceRow;
use super::timeline;

/// One slice of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub name: String,
    pub kind: &'static str,
    pub mig_instance: Option<String>,
    pub mig_profile: Option<String>,
    pub num: i64,
    pub den: i64,
    /// The pod whose declared part this is; nobody else takes it.
    pub owner: Option<usize>,
}

/// That a pod used a device of which nobody declared a division.
#[derive(Debug, Clone)]
pub(super) struct Sharer {
    pub window: TimeWindow,
    pub pod: usize,
    pub name: String,
    /// The part that it asked for, if it asked for one.
    pub milli: Option<i64>,
}

/// What is constant over a stretch of a slot's life.
#[derive(Debug, Clone, PartialEq)]
struct SlotFacts {
    slices: Vec<Slice>,
    uuid: Option<String>,
    why: Option<&'static str>,
    product: Option<String>,
    instance_type: Option<String>,
    price_key: String,
}

/// A stretch of a slot's life.
#[derive(Debug)]
pub(super) struct Stretch {
    pub window: TimeWindow,
    pub slices: Vec<Slice>,
}

/// The slots of one node.
#[derive(Debug, Default)]
pub(super) struct NodeSlots {
    pub rows: Vec<SliceRow>,
    pub stretches: BTreeMap<i64, Vec<Stretch>>,
    /// How many GPUs were lost, as changes over time.
    pub lost: Vec<(TimeWindow, i64)>,
}

/// Divides the GPUs of a node. `sharers` are the pods that used a device that nobody declared as
/// shared, by slot.
pub(super) fn fold(node: &NodeLife<'_>, sharers: &BTreeMap<i64, Vec<Sharer>>) -> NodeSlots {
    let mut missed: BTreeMap<i64, Vec<TimeWindow>> = BTreeMap::new();
    if !node.dra {
        for slot in 0..node.gpu_count {
            missed.insert(slot, devices::lost(slot, &node.devices));
        }
    }
    let mut missed_cuts: BTreeSet<i64> = BTreeSet::new();
    for window in missed.values().flatten() {
        missed_cuts.extend([window.start_ms, window.end_ms]);
    }
    let mut out = NodeSlots::default();
    for (segment, facts) in &node.segments {
        let lost = timeline::constant(*segment, &missed_cuts, |ms| {
            lost_at(node, &missed, facts, ms)
        });
        for (window, slots) in &lost {
            push_lost(
                &mut out.lost,
                *window,
                i64::try_from(slots.len()).unwrap_or(0),
            );
        }
    }
    for slot in 0..node.gpu_count {
        let device = node.devices.get(&slot);
        let shared = sharers.get(&slot).map_or(&[][..], Vec::as_slice);
        let mut cuts = missed_cuts.clone();
        if let Some(device) = device {
            for span in &device.spans {
                cuts.extend([
                    span.first_ms,
                    span.last_ms.saturating_add(span.interval_ms.max(1)),
                ]);
            }
        }
        for one in shared {
            cuts.extend([one.window.start_ms, one.window.end_ms]);
        }
        let layouts = device.map_or_else(Vec::new, mig_layouts);
        for (segment, facts) in &node.segments {
            let parts = timeline::constant(*segment, &cuts, |ms| SlotFacts {
                slices: divide(&layouts, shared, facts, ms),
                uuid: device
                    .and_then(|device| device.uuid_at(ms))
                    .map(str::to_owned),
                why: why(&lost_at(node, &missed, facts, ms), facts, slot),
                product: facts.product.clone(),
                instance_type: facts.instance_type.clone(),
                price_key: facts.price_key(),
            });
            for (window, part) in parts {
                emit(&mut out, node, slot, device, window, part);
            }
        }
    }
    out
}

fn push_lost(lost: &mut Vec<(TimeWindow, i64)>, window: TimeWindow, count: i64) {
    match lost.last_mut() {
        Some((last, before)) if *before == count && last.end_ms == window.start_ms => {
            last.end_ms = window.end_ms;
        }
        _ => lost.push((window, count)),
    }
}

fn emit(
    out: &mut NodeSlots,
    node: &NodeLife<'_>,
    slot: i64,
    device: Option<&Device<'_>>,
    window: TimeWindow,
    part: SlotFacts,
) {
    for slice in &part.slices {
        let row = SliceRow {
            node: node.name.clone(),
            slot,
            slice: slice.name.clone(),
            valid_from_ms: window.start_ms,
            valid_to_ms: window.end_ms,
            gpu_uuid: part.uuid.clone(),
            gpu: device.and_then(|device| device.gpu).map(str::to_owned),
            mig_instance: slice.mig_instance.clone(),
            slice_kind: slice.kind.to_owned(),
            share_num: slice.num,
            share_den: slice.den,
            gpu_product: part.product.clone(),
            instance_type: part.instance_type.clone(),
            price_key: part.price_key.clone(),
            unavailable: part.why.is_some(),
            unavailable_why: part.why.map(str::to_owned),
        };
        // A sibling's change is no change of this slice.
        let same = out.rows.iter_mut().rev().take(64).find(|before| {
            before.valid_to_ms == window.start_ms
                && before.slot == slot
                && before.slice == slice.name
        });
        match same {
            Some(before)
                if SliceRow {
                    valid_from_ms: before.valid_from_ms,
                    ..row.clone()
                } == SliceRow {
                    valid_to_ms: window.end_ms,
                    ..before.clone()
                } =>
            {
                before.valid_to_ms = window.end_ms;
            }
            _ => out.rows.push(row),
        }
    }
    out.stretches.entry(slot).or_default().push(Stretch {
        window,
        slices: part.slices,
    });
}

/// Which slots are lost at an instant, and why.
fn lost_at(
    node: &NodeLife<'_>,
    missed: &BTreeMap<i64, Vec<TimeWindow>>,
    facts: &NodeFacts,
    ms: i64,
) -> BTreeMap<i64, &'static str> {
    let mut out: BTreeMap<i64, &'static str> = missed
        .iter()
        .filter(|(_, windows)| windows.iter().any(|window| window.contains(ms)))
        .map(|(slot, _)| (*slot, "gpu lost: no longer reported beside its siblings"))
        .collect();
    if node.dra || facts.sharing == "mig" {
        return out;
    }
    let Some(capacity) = facts.capacity else {
        return out;
    };
    let missing = usize::try_from(node.gpu_count.saturating_sub(capacity)).unwrap_or(0);
    // Which one is missing from the capacity is not said: silent slots first, then the highest.
    let mut order: Vec<i64> = (0..node.gpu_count).rev().collect();
    order.sort_by_key(|slot| node.devices.contains_key(slot));
    for slot in order {
        if out.len() >= missing {
            break;
        }
        out.entry(slot)
            .or_insert("gpu lost: the node's capacity is below its count");
    }
    out
}

fn why(lost: &BTreeMap<i64, &'static str>, facts: &NodeFacts, slot: i64) -> Option<&'static str> {
    if !facts.ready {
        return Some("node not ready");
    }
    if facts.repair {
        return Some("node under repair");
    }
    lost.get(&slot).copied()
}

/// How a device was seen to be divided, as changes over time; an empty list is an undivided one.
type Layouts = Vec<(i64, BTreeMap<String, String>)>;

fn mig_layouts(device: &Device<'_>) -> Layouts {
    if device.spans.iter().all(|span| span.mig_instance.is_none()) {
        return Vec::new();
    }
    let mut cuts = BTreeSet::new();
    for span in &device.spans {
        cuts.extend([
            span.first_ms,
            span.last_ms.saturating_add(span.interval_ms.max(1)),
        ]);
    }
    let mut out: Layouts = Vec::new();
    for cut in cuts {
        let mut instances = BTreeMap::new();
        let mut seen = false;
        for span in &device.spans {
            let end = span.last_ms.saturating_add(span.interval_ms.max(1));
            if span.first_ms <= cut && cut < end {
                seen = true;
                if let Some(instance) = &span.mig_instance {
                    let profile = span.mig_profile.clone().unwrap_or_default();
                    instances.insert(instance.clone(), profile);
                }
            }
        }
        // Unseen, the division stays as it was last seen.
        if seen && out.last().is_none_or(|(_, before)| *before != instances) {
            out.push((cut, instances));
        }
    }
    out
}

fn divide(layouts: &Layouts, shared: &[Sharer], facts: &NodeFacts, ms: i64) -> Vec<Slice> {
    let layout = layouts
        .iter()
        .take_while(|(from, _)| *from <= ms)
        .last()
        .or_else(|| layouts.first())
        .map(|(_, instances)| instances);
    if let Some(instances) = layout.filter(|instances| !instances.is_empty()) {
        return mig(instances, facts);
    }
    if facts.sharers > 1 {
        return equal("ts", "time-slice", facts.sharers);
    }
    let mut users: Vec<&Sharer> = shared
        .iter()
        .filter(|one| one.window.contains(ms))
        .collect();
    users.sort_by_key(|one| one.pod);
    users.dedup_by_key(|one| one.pod);
    if let Some(parts) = declared(&users) {
        return parts;
    }
    if users.len() > 1 {
        return equal("fr", "fraction", i64::try_from(users.len()).unwrap_or(1));
    }
    vec![Slice {
        name: "whole".to_owned(),
        kind: "whole",
        mig_instance: None,
        mig_profile: None,
        num: 1,
        den: 1,
        owner: None,
    }]
}

/// Slices of the parts that pods declare; what they leave is nobody's. `None` where any of them
/// declares none, since nothing says then how the device is divided.
fn declared(users: &[&Sharer]) -> Option<Vec<Slice>> {
    if users.is_empty() || users.iter().all(|one| one.milli == Some(1000)) && users.len() == 1 {
        return None;
    }
    let mut slices = Vec::with_capacity(users.len() + 1);
    let mut sum = 0_i64;
    for one in users {
        let num = one.milli?.max(1);
        sum = sum.saturating_add(num);
        slices.push(Slice {
            name: format!("part-{}", one.name),
            kind: "fraction",
            mig_instance: None,
            mig_profile: None,
            num,
            den: 0,
            owner: Some(one.pod),
        });
    }
    // Nothing enforces fractions: more than one device is scaled down to it.
    let den = sum.max(1000);
    for slice in &mut slices {
        slice.den = den;
    }
    if den > sum {
        slices.push(rest(den - sum, den));
    }
    Some(slices)
}

fn rest(num: i64, den: i64) -> Slice {
    Slice {
        name: "rest".to_owned(),
        kind: "rest",
        mig_instance: None,
        mig_profile: None,
        num,
        den,
        owner: None,
    }
}

fn equal(prefix: &str, kind: &'static str, parts: i64) -> Vec<Slice> {
    (0..parts)
        .map(|index| Slice {
            name: format!("{prefix}-{index}"),
            kind,
            mig_instance: None,
            mig_profile: None,
            num: 1,
            den: parts,
            owner: None,
        })
        .collect()
}

fn mig(instances: &BTreeMap<String, String>, facts: &NodeFacts) -> Vec<Slice> {
    let card = devices::card_gb(facts.product.as_deref());
    let mut slices: Vec<Slice> = instances
        .iter()
        .map(|(instance, profile)| Slice {
            name: format!("mig-{instance}"),
            kind: "mig",
            mig_instance: Some(instance.clone()),
            mig_profile: (!profile.is_empty()).then(|| profile.clone()),
            // A profile that cannot be read is the smallest one.
            num: devices::mig_share(profile, card).unwrap_or(8),
            den: 0,
            owner: None,
        })
        .collect();
    let sum: i64 = slices.iter().map(|slice| slice.num).sum();
    let den = sum.max(MIG_WHOLE);
    for slice in &mut slices {
        slice.den = den;
    }
    if den > sum {
        slices.push(rest(den - sum, den));
    }
    slices
}
