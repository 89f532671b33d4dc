//! Owns the life and facts of GPU nodes: birth to last evidence, what they are, whether they are
//! ready, how many physical GPUs they hold. How a GPU is divided is `slices`' business.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::devices::{self, Device};
use super::input::{Catalogue, GpuSpan, Inputs, MetricSeries};
use super::json;
use super::looks::condition_since;
use super::metrics::{self, Labels, Metrics};
use super::node_facts::NodeFacts;
use super::objects::{Key, ObjectStore, Version};
use super::shares::{self, Registered};
use super::timeline;

/// A first Ready within this time after a node's creation ends its start-up.
const STARTUP_MS: i64 = 30 * 60_000;
/// Evidence of a snapshot alone lasts this long at most.
const SNAPSHOT_HOLD_MS: i64 = 30 * 60_000;

/// One GPU node.
#[derive(Debug)]
pub(super) struct NodeLife<'a> {
    pub name: String,
    pub segments: Vec<(TimeWindow, NodeFacts)>,
    pub gpu_count: i64,
    pub count_basis: &'static str,
    pub devices: BTreeMap<i64, Device<'a>>,
    /// What each source says that the node has.
    pub stated: BTreeMap<&'static str, i64>,
    /// Physical GPUs as HAMi lists them, and UUIDs as resource slices do.
    pub registered: Vec<Registered>,
    pub listed: Vec<String>,
    /// DRA drivers have been seen to stop reporting idle devices.
    pub dra: bool,
    pub known_from: String,
}

/// The sources about one node.
pub(super) struct Sources<'s, 'a> {
    pub inputs: &'a Inputs,
    pub catalogue: &'s dyn Catalogue,
    pub metrics: &'s Metrics<'a>,
    pub name: &'s str,
    pub versions: &'a [Version],
    pub spans: Vec<&'a GpuSpan>,
    pub slices: Vec<&'a Value>,
}

/// All nodes that hold GPUs, by name.
pub(super) fn fold<'a>(
    inputs: &'a Inputs,
    store: &'a ObjectStore,
    metrics: &Metrics<'a>,
    catalogue: &dyn Catalogue,
) -> Vec<NodeLife<'a>> {
    let mut spans: BTreeMap<&str, Vec<&GpuSpan>> = BTreeMap::new();
    for span in inputs.gpu_spans.iter().filter(|span| !span.node.is_empty()) {
        spans.entry(&span.node).or_default().push(span);
    }
    let mut slices: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (_, versions) in store.of_kind("resourceslice.resource.k8s.io") {
        for version in versions {
            if let Some(node) = json::text(version.body(), &["spec", "nodeName"]) {
                slices.entry(node).or_default().push(version.body());
            }
        }
    }
    let mut names: BTreeSet<&str> = spans.keys().copied().collect();
    names.extend(store.of_kind("node").map(|(key, _)| key.name.as_str()));
    names.extend(metrics.objects("kube_node_info").map(|(_, name)| name));
    names.extend(
        metrics
            .objects("kube_node_status_capacity")
            .map(|(_, name)| name),
    );
    names
        .into_iter()
        .filter_map(|name| {
            Sources {
                inputs,
                catalogue,
                metrics,
                name,
                versions: store.versions(&Key::new("node", "", name)),
                spans: spans.remove(name).unwrap_or_default(),
                slices: slices.remove(name).unwrap_or_default(),
            }
            .fold()
        })
        .collect()
}

impl<'a> Sources<'_, 'a> {
    fn fold(self) -> Option<NodeLife<'a>> {
        let lives = self.lives();
        let (first, last) = (lives.first()?.start_ms, lives.last()?.end_ms);
        let ready = self.ready();
        let mut cuts: BTreeSet<i64> = ready.iter().map(|(at, _)| *at).collect();
        cuts.extend(lives.iter().map(|life| life.start_ms));
        for version in self.versions {
            cuts.extend([version.from_ms, version.to_ms]);
        }
        for metric in [
            "kube_node_status_capacity",
            "kube_node_spec_unschedulable",
            "kube_node_spec_taint",
            "kube_node_labels",
        ] {
            for series in self.series(metric) {
                cuts.extend(series.runs.iter().map(|run| run.first_ms));
                // A taint's series ends with the taint.
                cuts.extend(series.runs.iter().map(|run| run.last_ms.saturating_add(1)));
            }
        }
        let whole = TimeWindow::new(first, last);
        let all = timeline::constant(whole, &cuts, |ms| self.facts(ms, &ready));
        let devices = devices::devices(&self.spans);
        let registered: Vec<Registered> = self
            .versions
            .iter()
            .map(|version| shares::registered(version.body()))
            .max_by_key(Vec::len)
            .unwrap_or_default();
        let stated = self.stated(&all, &devices, registered.len());
        let (gpu_count, count_basis) = count(&stated);
        if gpu_count == 0 {
            return None;
        }
        let segments = lives
            .iter()
            .flat_map(|life| {
                all.iter().filter_map(|(window, facts)| {
                    window.intersect(life).map(|part| (part, facts.clone()))
                })
            })
            .collect();
        let mut known = Vec::new();
        if !self.versions.is_empty() {
            known.push("snapshot");
        }
        if self.metrics.of("kube_node_info", "", self.name).len()
            + self.series("kube_node_status_capacity").len()
            > 0
        {
            known.push("ksm");
        }
        if !self.spans.is_empty() {
            known.push("dcgm");
        }
        Some(NodeLife {
            name: self.name.to_owned(),
            segments,
            gpu_count,
            count_basis,
            devices: devices::slots(devices, gpu_count),
            stated,
            registered,
            listed: devices::listed(&self.slices),
            dra: !self.slices.is_empty(),
            known_from: known.join("+"),
        })
    }

    pub(super) fn series(&self, metric: &str) -> &[&'a MetricSeries] {
        self.metrics.of(metric, "", self.name)
    }

    /// From each creation to the last evidence before the next one.
    fn lives(&self) -> Vec<TimeWindow> {
        let mut seen: Vec<TimeWindow> = Vec::new();
        for version in self.versions {
            seen.push(TimeWindow::new(
                version.seen_from_ms,
                version
                    .seen_to_ms
                    .saturating_add(SNAPSHOT_HOLD_MS)
                    .min(version.to_ms)
                    .max(version.seen_to_ms.saturating_add(1)),
            ));
        }
        for metric in [
            "kube_node_info",
            "kube_node_created",
            "kube_node_status_capacity",
            "kube_node_status_condition",
        ] {
            for run in self.series(metric).iter().flat_map(|series| &series.runs) {
                let end = run.last_ms.saturating_add(self.metrics.interval_ms);
                seen.push(TimeWindow::new(run.first_ms, end));
            }
        }
        for span in &self.spans {
            let end = span.last_ms.saturating_add(span.interval_ms.max(1));
            seen.push(TimeWindow::new(span.first_ms, end));
        }
        let mut born: BTreeSet<i64> = self
            .versions
            .iter()
            .filter_map(Version::created_ms)
            .collect();
        for run in self
            .series("kube_node_created")
            .iter()
            .flat_map(|series| &series.runs)
        {
            born.extend(json::milli(run.value * 1000.0).filter(|ms| *ms > 0));
        }
        let mut lives: BTreeMap<Option<i64>, TimeWindow> = BTreeMap::new();
        for window in timeline::union(seen, 0) {
            // Evidence that spans a rebirth is evidence of both lives.
            let mut edges: Vec<i64> = born
                .iter()
                .copied()
                .filter(|at| window.start_ms < *at && *at < window.end_ms)
                .collect();
            edges.insert(0, window.start_ms);
            edges.push(window.end_ms);
            for pair in edges.windows(2) {
                let birth = born.range(..=pair[0]).next_back().copied();
                let start_ms = birth.unwrap_or(pair[0]);
                lives
                    .entry(birth)
                    .and_modify(|life| life.end_ms = life.end_ms.max(pair[1]))
                    .or_insert(TimeWindow::new(start_ms, pair[1]));
            }
        }
        lives
            .into_values()
            .filter(|life| !life.is_empty())
            .collect()
    }

    fn ready(&self) -> Vec<(i64, bool)> {
        let mut exact = BTreeSet::new();
        for version in self.versions {
            if let Some((since, status)) = condition_since(version.body(), "Ready") {
                exact.insert((since, status));
                if let Some(born) = version.created_ms()
                    && status
                    && since > born
                    && since.saturating_sub(born) <= STARTUP_MS
                {
                    exact.insert((born, false));
                }
            }
        }
        let series: Vec<&MetricSeries> = self
            .series("kube_node_status_condition")
            .iter()
            .copied()
            .filter(|series| {
                series.label("condition") == Some("Ready") && series.label("status") == Some("true")
            })
            .collect();
        timeline::condition(&metrics::joined(&series), &exact, self.metrics.interval_ms)
    }

    pub(super) fn body(&self, ms: i64) -> Option<&'a Value> {
        self.versions
            .iter()
            .min_by_key(|version| {
                version
                    .from_ms
                    .saturating_sub(ms)
                    .max(ms.saturating_sub(version.to_ms))
                    .max(0)
            })
            .map(|version| version.body())
    }

    /// How many physical GPUs each source says that the node has.
    fn stated(
        &self,
        all: &[(TimeWindow, NodeFacts)],
        devices: &[Device<'_>],
        registered: usize,
    ) -> BTreeMap<&'static str, i64> {
        let mut out: BTreeMap<&'static str, i64> = BTreeMap::new();
        let mut offer = |basis: &'static str, count: Option<i64>| {
            if let Some(count) = count.filter(|count| (1..=1024).contains(count)) {
                let most = out.entry(basis).or_insert(count);
                *most = count.max(*most);
            }
        };
        let instance = all.iter().rev().find_map(|(_, facts)| {
            self.catalogue
                .instance(facts.provider.as_deref()?, facts.instance_type.as_deref()?)
        });
        offer("instance-catalogue", instance.map(|known| known.gpu_count));
        for (window, facts) in all {
            let labels = Labels {
                body: self.body(window.start_ms),
                series: metrics::labels_series(self.series("kube_node_labels"), window.start_ms),
            };
            let number = |name: &str| labels.get(name).and_then(|text| text.parse::<i64>().ok());
            let mig = labels
                .get("nvidia.com/gpu.product")
                .and_then(|label| label.split_once("-MIG-"))
                .and_then(|(_, profile)| devices::mig_share(profile, None));
            offer(
                "gfd",
                number("nvidia.com/gpu.count").map(|count| match mig {
                    Some(share) => {
                        (count.saturating_mul(share) + devices::MIG_WHOLE - 1) / devices::MIG_WHOLE
                    }
                    None => count,
                }),
            );
            offer("karpenter", number("karpenter.k8s.aws/instance-gpu-count"));
            offer("karpenter", number("karpenter.azure.com/sku-gpu-count"));
            offer("gke", number("cloud.google.com/gke-accelerator-count"));
            offer("coreweave", number("gpu.nvidia.com/count"));
            offer("capacity", facts.capacity);
        }
        offer("resource-slice", Some(devices::slice_devices(&self.slices)));
        offer("hami-register", i64::try_from(registered).ok());
        offer("uuids", Some(devices::most_at_once(devices)));
        out
    }
}

/// The number of physical GPUs and what it rests on.
fn count(stated: &BTreeMap<&'static str, i64>) -> (i64, &'static str) {
    let reporting = stated.get("uuids").copied().unwrap_or(0);
    if let Some(known) = stated.get("instance-catalogue").copied() {
        // Devices that report at the same time exist, whatever a table says.
        return if reporting > known {
            (reporting, "uuids")
        } else {
            (known, "instance-catalogue")
        };
    }
    // Of equal counts the source that is nearest to the hardware is named.
    const ORDER: &[&str] = &[
        "gfd",
        "karpenter",
        "gke",
        "coreweave",
        "capacity",
        "resource-slice",
        "hami-register",
        "uuids",
    ];
    let mut best = (0, "none");
    for basis in ORDER {
        if let Some(count) = stated.get(basis).copied().filter(|count| *count > best.0) {
            best = (count, basis);
        }
    }
    best
}

impl NodeLife<'_> {
    /// The slot of a physical GPU: where telemetry shows it, else its place in the lists that name it.
    pub(super) fn slot_of_uuid(&self, uuid: &str) -> Option<i64> {
        if let Some((slot, _)) = self
            .devices
            .iter()
            .find(|(_, device)| device.spans.iter().any(|span| span.uuid == uuid))
        {
            return Some(*slot);
        }
        if !self.devices.is_empty() {
            return None;
        }
        let by_register = self.registered.iter().position(|one| one.uuid == uuid);
        let place = by_register.or_else(|| self.listed.iter().position(|one| one == uuid))?;
        i64::try_from(place)
            .ok()
            .filter(|slot| *slot < self.gpu_count)
    }

    /// Whether telemetry shows the card in a slot as instances.
    pub(super) fn has_instances(&self, slot: i64) -> bool {
        self.devices
            .get(&slot)
            .is_some_and(|device| device.spans.iter().any(|span| span.mig_instance.is_some()))
    }
}
