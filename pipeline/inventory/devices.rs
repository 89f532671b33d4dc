//! Owns physical GPUs as their own telemetry shows them: which device sits in which slot, when it
//! was missed beside its siblings, and what part of a GPU a MIG profile is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::input::GpuSpan;
use super::json;
use super::timeline;

/// A whole GPU in MIG shares: sevenths of compute and eighths of memory both fit.
pub(super) const MIG_WHOLE: i64 = 56;

/// One physical GPU of a node.
#[derive(Debug, Clone)]
pub(super) struct Device<'a> {
    /// The exporter's index, if it gives one.
    pub gpu: Option<&'a str>,
    pub spans: Vec<&'a GpuSpan>,
}

impl Device<'_> {
    pub(super) fn covered(&self) -> Vec<TimeWindow> {
        timeline::union(
            self.spans
                .iter()
                .map(|span| {
                    let hold = span.interval_ms.max(1);
                    TimeWindow::new(span.first_ms, span.last_ms.saturating_add(hold))
                })
                .collect(),
            0,
        )
    }

    /// The UUID in the slot at an instant, else the one nearest in time.
    pub(super) fn uuid_at(&self, ms: i64) -> Option<&str> {
        self.spans
            .iter()
            .filter(|span| !span.uuid.is_empty())
            .min_by_key(|span| {
                let before = span.first_ms.saturating_sub(ms).max(0);
                let after = ms.saturating_sub(span.last_ms).max(0);
                // What was there last stays until another one comes.
                (before > 0, before.max(after), &span.uuid)
            })
            .map(|span| span.uuid.as_str())
    }
}

/// The devices of a node: by the exporter's index, which outlives a replaced card, else by UUID.
pub(super) fn devices<'a>(spans: &[&'a GpuSpan]) -> Vec<Device<'a>> {
    let mut by_key: BTreeMap<(&str, &str), Device<'a>> = BTreeMap::new();
    for span in spans.iter().copied() {
        let key = if span.gpu.is_empty() {
            ("", span.uuid.as_str())
        } else {
            (span.gpu.as_str(), "")
        };
        by_key
            .entry(key)
            .or_insert_with(|| Device {
                gpu: (!span.gpu.is_empty()).then_some(span.gpu.as_str()),
                spans: Vec::new(),
            })
            .spans
            .push(span);
    }
    let mut out: Vec<Device<'a>> = by_key.into_values().collect();
    for device in &mut out {
        device.spans.sort();
    }
    out
}

/// The most devices that reported at the same time.
pub(super) fn most_at_once(devices: &[Device<'_>]) -> i64 {
    let mut edges: Vec<(i64, i64)> = Vec::new();
    for window in devices.iter().flat_map(Device::covered) {
        edges.push((window.start_ms, 1));
        edges.push((window.end_ms, -1));
    }
    edges.sort_unstable();
    let mut now = 0;
    edges.iter().fold(0, |most, (_, step)| {
        now += step;
        most.max(now)
    })
}

/// Gives each device its slot: the exporter's index where it fits, else the lowest free one.
pub(super) fn slots(devices: Vec<Device<'_>>, count: i64) -> BTreeMap<i64, Device<'_>> {
    let mut out: BTreeMap<i64, Device<'_>> = BTreeMap::new();
    let mut rest = Vec::new();
    for device in devices {
        let index = device.gpu.and_then(|gpu| gpu.parse::<i64>().ok());
        match index.filter(|index| (0..count).contains(index) && !out.contains_key(index)) {
            Some(index) => {
                out.insert(index, device);
            }
            None => rest.push(device),
        }
    }
    // A slot may see several devices one after the other, where cards carry no index.
    rest.sort_by_key(|device| device.spans.first().map(|span| (span.first_ms, &span.uuid)));
    for device in rest {
        if let Some(slot) = (0..count).find(|slot| !out.contains_key(slot)) {
            out.insert(slot, device);
        } else if let Some(other) = out.values_mut().find(|other| {
            let taken = other.covered();
            device
                .covered()
                .iter()
                .all(|window| timeline::subtract(*window, &taken) == vec![*window])
        }) {
            other.spans.extend(device.spans);
            other.spans.sort();
        }
    }
    out
}

/// When a device was missed: silent for more than 2.5 of its intervals while a sibling behind the
/// same exporter went on. Nothing is missed before it was first seen.
pub(super) fn lost(slot: i64, devices: &BTreeMap<i64, Device<'_>>) -> Vec<TimeWindow> {
    let Some(device) = devices.get(&slot) else {
        return Vec::new();
    };
    let targets: BTreeSet<&str> = device
        .spans
        .iter()
        .map(|span| span.target.as_str())
        .collect();
    let siblings = timeline::union(
        devices
            .iter()
            .filter(|(other, _)| **other != slot)
            .flat_map(|(_, other)| &other.spans)
            .filter(|span| targets.contains(span.target.as_str()))
            .map(|span| TimeWindow::new(span.first_ms, span.last_ms.saturating_add(1)))
            .collect(),
        0,
    );
    let interval = device
        .spans
        .iter()
        .map(|span| span.interval_ms.max(1))
        .max()
        .unwrap_or(1);
    let own = device.covered();
    let Some(first) = own.first() else {
        return Vec::new();
    };
    let silent = timeline::subtract(TimeWindow::new(first.start_ms, i64::MAX), &own);
    let mut out = Vec::new();
    for gap in silent {
        for shown in &siblings {
            if let Some(part) = gap.intersect(shown)
                && part.end_ms - part.start_ms > interval.saturating_mul(3) / 2
            {
                out.push(part);
            }
        }
    }
    timeline::union(out, interval)
}

/// The share of a card that a MIG profile is, in 56ths: the larger of its compute and memory.
pub(super) fn mig_share(profile: &str, card_gb: Option<i64>) -> Option<i64> {
    let (compute, memory) = profile.split_once("g.")?;
    let compute: i64 = compute.rsplit(['.', 'c', '-']).next()?.parse().ok()?;
    let digits = memory
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(memory.len());
    let memory_gb: i64 = memory[..digits].parse().ok()?;
    if !(1..=7).contains(&compute) || !(1..=1024).contains(&memory_gb) {
        return None;
    }
    let eighths = match card_gb.filter(|card| *card > 0) {
        Some(card) => ((memory_gb * 16 + card) / (2 * card)).clamp(1, 8),
        None => match compute {
            1 => 1,
            2 => 2,
            3 | 4 => 4,
            _ => 8,
        },
    };
    Some((compute * 8).max(eighths * 7).min(MIG_WHOLE))
}

/// The memory of a card in GB, which the product key ends in.
pub(super) fn card_gb(product: Option<&str>) -> Option<i64> {
    product?.rsplit('-').next()?.parse().ok()
}

/// Distinct physical GPUs in ResourceSlices.
pub(super) fn slice_devices(slices: &[&Value]) -> i64 {
    i64::try_from(listed(slices).len()).unwrap_or(0)
}

/// The UUIDs of the physical GPUs in ResourceSlices, in order.
pub(super) fn listed(slices: &[&Value]) -> Vec<String> {
    let mut uuids = BTreeSet::new();
    for slice in slices {
        for device in json::items(slice, &["spec", "devices"]) {
            for root in [&["basic", "attributes"][..], &["attributes"]] {
                let attributes = json::get(device, root);
                let uuid = ["parentUUID", "uuid"]
                    .iter()
                    .find_map(|name| json::text(attributes, &[name, "string"]));
                uuids.extend(uuid.map(str::to_owned));
            }
        }
    }
    uuids.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(gpu: &str, uuid: &str, first_ms: i64, last_ms: i64) -> GpuSpan {
        GpuSpan {
            node: "n".into(),
            gpu: gpu.into(),
            uuid: uuid.into(),
            target: "dcgm/n".into(),
            first_ms,
            last_ms,
            interval_ms: 30,
            ..GpuSpan::default()
        }
    }

    #[test]
    fn a_device_is_missed_only_beside_its_siblings() {
        let all = [
            span("0", "a", 0, 1000),
            span("1", "b", 0, 400),
            span("1", "b", 700, 1000),
        ];
        let refs: Vec<&GpuSpan> = all.iter().collect();
        let slots = slots(devices(&refs), 2);
        assert_eq!(lost(1, &slots), vec![TimeWindow::new(430, 700)]);
        assert!(lost(0, &slots).is_empty());
        // An exporter that is down takes all with it: nobody is missed.
        let down = [
            span("0", "a", 0, 400),
            span("0", "a", 700, 1000),
            span("1", "b", 0, 400),
            span("1", "b", 700, 1000),
        ];
        let refs: Vec<&GpuSpan> = down.iter().collect();
        let slots = super::slots(devices(&refs), 2);
        assert!(lost(0, &slots).is_empty() && lost(1, &slots).is_empty());
    }

    #[test]
    fn a_replaced_card_keeps_its_slot() {
        let all = [span("0", "old", 0, 400), span("0", "new", 700, 1000)];
        let refs: Vec<&GpuSpan> = all.iter().collect();
        let found = devices(&refs);
        assert_eq!(most_at_once(&found), 1);
        let slots = slots(found, 1);
        assert_eq!(slots[&0].uuid_at(500), Some("old"));
        assert_eq!(slots[&0].uuid_at(800), Some("new"));
    }

    #[test]
    fn shares_are_the_larger_of_compute_and_memory() {
        assert_eq!(mig_share("1g.10gb", Some(80)), Some(8));
        assert_eq!(mig_share("1g.10gb", Some(40)), Some(14));
        assert_eq!(mig_share("3g.40gb", Some(80)), Some(28));
        assert_eq!(mig_share("7g.80gb", None), Some(56));
        assert_eq!(mig_share("1g.6gb", Some(24)), Some(14));
        assert_eq!(mig_share("x", None), None);
        assert_eq!(mig_share("9g.5gb", None), None);
    }
}
