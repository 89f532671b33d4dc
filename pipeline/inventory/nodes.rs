//! Owns the life and facts of GPU nodes: birth to last evidence, what they are, whether they are
//! ready, how many physical GPUs they hold. How a GPU is divided is `slices`' business.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::devices::{self, Device};
use super::input::{Catalogue, GpuSpan, Inputs, MetricSeries};
use super::json;
use super::metrics::{self, Labels, Metrics};
use super::objects::{Key, ObjectStore, Version};
use super::pods::condition_since;
use super::resources;
use super::timeline;

/// A first Ready within this time after a node's creation ends its start-up.
const STARTUP_MS: i64 = 30 * 60_000;
/// Evidence of a snapshot alone lasts this long at most.
const SNAPSHOT_HOLD_MS: i64 = 30 * 60_000;
/// More sharers of one GPU than this are a lie.
const MAX_SHARERS: i64 = 128;

/// What is constant over a stretch of a node's life.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeFacts {
    pub uid: Option<String>,
    pub provider: Option<String>,
    pub region: Option<String>,
    pub zone: Option<String>,
    pub instance_type: Option<String>,
    pub capacity_type: Option<String>,
    pub provider_id: Option<String>,
    pub product: Option<String>,
    pub product_label: Option<String>,
    pub sharing: &'static str,
    /// Into how many parts time-slicing or MPS divides a GPU.
    pub sharers: i64,
    pub ready: bool,
    pub repair: bool,
    pub cordoned: bool,
    pub vcpus: Option<f64>,
    /// Physical GPUs that the node's capacity accounts for, if it says.
    pub capacity: Option<i64>,
}

impl NodeFacts {
    pub(super) fn price_key(&self) -> String {
        [
            &self.provider,
            &self.region,
            &self.instance_type,
            &self.product,
            &self.capacity_type,
        ]
        .map(|part| part.as_deref().unwrap_or(""))
        .join("|")
    }
}

/// One GPU node.
#[derive(Debug)]
pub(super) struct NodeLife<'a> {
    pub name: String,
    pub segments: Vec<(TimeWindow, NodeFacts)>,
    pub gpu_count: i64,
    pub count_basis: &'static str,
    pub devices: BTreeMap<i64, Device<'a>>,
    /// DRA drivers have been seen to stop reporting idle devices.
    pub dra: bool,
    pub known_from: String,
}

/// The sources about one node.
struct Sources<'s, 'a> {
    inputs: &'a Inputs,
    catalogue: &'s dyn Catalogue,
    metrics: &'s Metrics<'a>,
    name: &'s str,
    versions: &'a [Version],
    spans: Vec<&'a GpuSpan>,
    slices: Vec<&'a Value>,
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
            if let Some(node) = json::text(&version.body, &["spec", "nodeName"]) {
                slices.entry(node).or_default().push(&version.body);
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
        let (gpu_count, count_basis) = self.count(&all, &devices);
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
            dra: !self.slices.is_empty(),
            known_from: known.join("+"),
        })
    }

    fn series(&self, metric: &str) -> &[&'a MetricSeries] {
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
            if let Some((since, status)) = condition_since(&version.body, "Ready") {
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

    fn body(&self, ms: i64) -> Option<&'a Value> {
        self.versions
            .iter()
            .min_by_key(|version| {
                version
                    .from_ms
                    .saturating_sub(ms)
                    .max(ms.saturating_sub(version.to_ms))
                    .max(0)
            })
            .map(|version| &version.body)
    }

    fn facts(&self, ms: i64, ready: &[(i64, bool)]) -> NodeFacts {
        let body = self.body(ms);
        let labels = Labels {
            body,
            series: metrics::labels_series(self.series("kube_node_labels"), ms),
        };
        let null = Value::Null;
        let known = body.unwrap_or(&null);
        let provider_id = json::text(known, &["spec", "providerID"])
            .or_else(|| {
                self.series("kube_node_info")
                    .iter()
                    .find_map(|series| series.label("provider_id"))
            })
            .map(str::to_owned);
        let provider = self
            .inputs
            .provider
            .clone()
            .or_else(|| provider_id.as_deref().and_then(provider_of));
        let instance_type = first(
            &labels,
            &[
                "node.kubernetes.io/instance-type",
                "beta.kubernetes.io/instance-type",
            ],
        );
        let product_label = first(
            &labels,
            &[
                "nvidia.com/gpu.product",
                "cloud.google.com/gke-accelerator",
                "gpu.nvidia.com/class",
                "karpenter.k8s.aws/instance-gpu-name",
                "amd.com/gpu.product-name",
            ],
        );
        let seen_name = self
            .spans
            .iter()
            .filter(|span| span.model_name.is_some())
            .min_by_key(|span| {
                let before = span.first_ms.saturating_sub(ms);
                (
                    before.max(ms.saturating_sub(span.last_ms)).max(0),
                    span.first_ms,
                )
            })
            .and_then(|span| span.model_name.clone());
        let product = product_label
            .as_deref()
            .and_then(|label| self.catalogue.product(label))
            .or_else(|| {
                seen_name
                    .as_deref()
                    .and_then(|name| self.catalogue.product(name))
            })
            .or_else(|| {
                self.catalogue
                    .instance(provider.as_deref()?, instance_type.as_deref()?)
                    .map(|instance| instance.gpu_product)
            });
        let (sharing, sharers) = self.sharing(&labels, ms);
        let capacity = self.capacity(known, &labels, sharers, ms);
        NodeFacts {
            uid: json::text(known, &["metadata", "uid"]).map(str::to_owned),
            region: first(
                &labels,
                &[
                    "topology.kubernetes.io/region",
                    "failure-domain.beta.kubernetes.io/region",
                ],
            )
            .or_else(|| self.inputs.region.clone()),
            zone: first(
                &labels,
                &[
                    "topology.kubernetes.io/zone",
                    "failure-domain.beta.kubernetes.io/zone",
                ],
            ),
            capacity_type: capacity_type(&labels),
            product_label: product_label.or(seen_name),
            ready: timeline::in_force(ready, ms).unwrap_or(true),
            repair: self.repair(known, &labels, ms),
            cordoned: json::truth(known, &["spec", "unschedulable"])
                || (body.is_none()
                    && self.value("kube_node_spec_unschedulable", ms, |_| true) == Some(1.0)),
            vcpus: json::quantity_milli(json::get(known, &["status", "capacity", "cpu"]))
                .map(|milli| milli as f64 / 1000.0)
                .or_else(|| {
                    self.value("kube_node_status_capacity", ms, |series| {
                        series.label("resource") == Some("cpu")
                    })
                }),
            provider,
            provider_id,
            instance_type,
            product,
            sharing,
            sharers,
            capacity,
        }
    }

    fn value(&self, metric: &str, ms: i64, keep: impl Fn(&MetricSeries) -> bool) -> Option<f64> {
        self.metrics.value(metric, "", self.name, ms, keep)
    }

    fn sharing(&self, labels: &Labels<'_>, ms: i64) -> (&'static str, i64) {
        let mig =
            self.spans.iter().any(|span| {
                span.mig_instance.is_some() && span.first_ms <= ms.max(self.earliest())
            }) || labels
                .get("nvidia.com/gpu.product")
                .is_some_and(|label| label.contains("-MIG-"));
        if mig {
            return ("mig", 1);
        }
        let number = |name: &str| labels.get(name).and_then(|text| text.parse::<i64>().ok());
        let sharers = number("nvidia.com/gpu.replicas")
            .or_else(|| number("cloud.google.com/gke-max-shared-clients-per-gpu"))
            .unwrap_or(1)
            .clamp(1, MAX_SHARERS);
        let strategy = labels
            .get("nvidia.com/gpu.sharing-strategy")
            .or_else(|| labels.get("cloud.google.com/gke-gpu-sharing-strategy"));
        match strategy {
            _ if sharers == 1 => ("none", 1),
            Some("mps") => ("mps", sharers),
            Some("none") => ("none", 1),
            _ => ("time-slicing", sharers),
        }
    }

    fn earliest(&self) -> i64 {
        self.spans
            .iter()
            .map(|span| span.first_ms)
            .min()
            .unwrap_or(i64::MIN)
    }

    /// Physical GPUs that the capacity stands for; unknown where shares cannot be told apart.
    fn capacity(&self, body: &Value, labels: &Labels<'_>, sharers: i64, ms: i64) -> Option<i64> {
        if let Some(register) = json::text(
            body,
            &["metadata", "annotations", "hami.io/node-nvidia-register"],
        ) {
            return i64::try_from(register.matches("GPU-").count()).ok();
        }
        let mut units: BTreeMap<String, i64> = BTreeMap::new();
        if let Some(map) = json::get(body, &["status", "capacity"]).as_object() {
            for (resource, quantity) in map.iter().filter(|(name, _)| resources::is_gpu(name)) {
                if let Some(milli) = json::quantity_milli(quantity) {
                    units.insert(resource.clone(), milli / 1000);
                }
            }
        }
        // Samples are newer than the snapshot whose content is only the best guess.
        for series in self.series("kube_node_status_capacity") {
            let resource = resources::spelled(series.label("resource").unwrap_or(""));
            if resources::is_gpu(&resource)
                && let Some(value) = series.at(ms, self.metrics.hold_ms())
                && let Some(milli) = json::milli(value * 1000.0)
            {
                units.insert(resource, milli / 1000);
            }
        }
        if units.is_empty() {
            return None;
        }
        let mut whole = 0_i64;
        let mut parts = 0_i64;
        let mig = labels
            .get("nvidia.com/gpu.product")
            .and_then(|label| label.split_once("-MIG-"))
            .map(|(_, profile)| profile);
        for (resource, count) in units {
            match (resources::mig_profile(&resource), mig) {
                (Some(profile), _) | (None, Some(profile)) => {
                    let share = devices::mig_share(profile, None).unwrap_or(devices::MIG_WHOLE);
                    parts = parts.saturating_add(count.saturating_mul(share));
                }
                (None, None) => whole = whole.saturating_add(count),
            }
        }
        let cards = (parts.saturating_add(devices::MIG_WHOLE - 1)) / devices::MIG_WHOLE;
        Some((whole / sharers.max(1)).saturating_add(cards))
    }

    fn repair(&self, body: &Value, labels: &Labels<'_>, ms: i64) -> bool {
        let marked = |key: &str| {
            let key = key.to_ascii_lowercase();
            ["repair", "unhealthy", "maintenance", "out-of-service"]
                .iter()
                .any(|word| key.contains(word))
        };
        json::items(body, &["spec", "taints"])
            .iter()
            .any(|taint| json::text(taint, &["key"]).is_some_and(marked))
            || self.series("kube_node_spec_taint").iter().any(|series| {
                series.label("key").is_some_and(marked)
                    && series
                        .runs
                        .iter()
                        .any(|run| run.first_ms <= ms && ms <= run.last_ms && run.value == 1.0)
            })
            || labels
                .get("node.coreweave.cloud/state")
                .is_some_and(|state| state != "production")
    }

    /// The number of physical GPUs and what it rests on.
    fn count(
        &self,
        all: &[(TimeWindow, NodeFacts)],
        devices: &[Device<'_>],
    ) -> (i64, &'static str) {
        let reporting = devices::most_at_once(devices);
        let instance = all.iter().rev().find_map(|(_, facts)| {
            self.catalogue
                .instance(facts.provider.as_deref()?, facts.instance_type.as_deref()?)
        });
        if let Some(known) = instance.filter(|known| known.gpu_count > 0) {
            // Devices that report at the same time exist, whatever a table says.
            return if reporting > known.gpu_count {
                (reporting, "uuids")
            } else {
                (known.gpu_count, "instance-catalogue")
            };
        }
        let mut best = (0, "none");
        let mut offer = |count: Option<i64>, basis: &'static str| {
            if let Some(count) = count.filter(|count| *count > best.0 && *count <= 1024) {
                best = (count, basis);
            }
        };
        for (window, _) in all {
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
                number("nvidia.com/gpu.count").map(|count| match mig {
                    Some(share) => {
                        (count.saturating_mul(share) + devices::MIG_WHOLE - 1) / devices::MIG_WHOLE
                    }
                    None => count,
                }),
                "gfd",
            );
            offer(number("karpenter.k8s.aws/instance-gpu-count"), "karpenter");
            offer(number("cloud.google.com/gke-accelerator-count"), "gke");
        }
        offer(
            all.iter().filter_map(|(_, facts)| facts.capacity).max(),
            "capacity",
        );
        offer(Some(devices::slice_devices(&self.slices)), "resource-slice");
        offer(Some(reporting), "uuids");
        best
    }
}

fn first(labels: &Labels<'_>, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| labels.get(name))
        .map(str::to_owned)
}

/// The provider that a `spec.providerID` names.
fn provider_of(provider_id: &str) -> Option<String> {
    let (scheme, _) = provider_id.split_once(':')?;
    let provider = match scheme {
        "gce" => "gcp",
        "aws" | "azure" | "oci" | "coreweave" | "lambda" | "nebius" => scheme,
        _ if provider_id.starts_with("ocid1.") => "oci",
        _ => return None,
    };
    Some(provider.to_owned())
}

/// How the node is paid for; absent labels say nothing.
fn capacity_type(labels: &Labels<'_>) -> Option<String> {
    if let Some(kind) = labels
        .get("karpenter.sh/capacity-type")
        .or_else(|| labels.get("eks.amazonaws.com/capacityType"))
    {
        return Some(kind.to_ascii_lowercase().replace('_', "-"));
    }
    let spot = [
        ("cloud.google.com/gke-spot", "true"),
        ("cloud.google.com/gke-preemptible", "true"),
        ("cloud.google.com/gke-provisioning", "spot"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    ]
    .iter()
    .any(|(name, value)| labels.get(name) == Some(value));
    if spot {
        return Some("spot".to_owned());
    }
    match labels.get("cloud.google.com/gke-provisioning") {
        Some("standard") => Some("on-demand".to_owned()),
        _ => labels
            .get("node.coreweave.cloud/reserved")
            .map(|_| "reserved".to_owned()),
    }
}
