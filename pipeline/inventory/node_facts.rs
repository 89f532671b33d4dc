//! Owns what a node is at an instant: its type, price facts, product, how its GPUs are shared,
//! what its capacity stands for and whether it is under repair. When it lived is `nodes`' business.

use std::collections::BTreeMap;

use serde_json::Value;

use super::devices;
use super::input::MetricSeries;
use super::json;
use super::metrics::{self, Labels};
use super::nodes::Sources;
use super::resources;
use super::timeline;

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
    pub memory_bytes: Option<i64>,
    pub instance_type_from: Option<&'static str>,
    pub capacity_type_from: Option<&'static str>,
    /// The pool that made the node, and the reservation or commitment that it runs on.
    pub pool: Option<String>,
    pub reservation_id: Option<String>,
    pub reservation_type: Option<String>,
    /// A provider's own state of the node, other than Kubernetes' readiness.
    pub lifecycle_state: Option<String>,
    pub mig_strategy: Option<String>,
    /// Its GPUs are virtual: parts of cards of a host that the cluster does not see.
    pub virtual_gpus: bool,
    /// The catalogue's product for what each source calls it.
    pub products_stated: BTreeMap<&'static str, String>,
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

impl Sources<'_, '_> {
    pub(super) fn facts(&self, ms: i64, ready: &[(i64, bool)]) -> NodeFacts {
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
        let (instance_type, instance_type_from) = first_of(&labels, INSTANCE_TYPES);
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
        let mut products_stated: BTreeMap<&'static str, String> = BTreeMap::new();
        let by_label = product_label
            .as_deref()
            .and_then(|label| self.catalogue.product(label));
        products_stated.extend(by_label.map(|product| ("label", product)));
        let by_device = seen_name
            .as_deref()
            .and_then(|name| self.catalogue.product(name));
        products_stated.extend(by_device.map(|product| ("telemetry", product)));
        let by_type = self.catalogue.instance(
            provider.as_deref().unwrap_or(""),
            instance_type.as_deref().unwrap_or(""),
        );
        products_stated
            .extend(by_type.map(|instance| ("instance-catalogue", instance.gpu_product)));
        let (capacity_type, capacity_type_from) = capacity_type(&labels);
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
            capacity_type,
            capacity_type_from,
            instance_type_from,
            pool: first(&labels, POOLS),
            reservation_id: first(&labels, RESERVATIONS),
            reservation_type: first(
                &labels,
                &[
                    "karpenter.k8s.aws/capacity-reservation-type",
                    "cloud.google.com/reservation-affinity",
                ],
            ),
            lifecycle_state: first(&labels, &["node.coreweave.cloud/state"]),
            mig_strategy: first(&labels, &["nvidia.com/mig.strategy"]),
            virtual_gpus: labels.get("nvidia.com/vgpu.present") == Some("true"),
            memory_bytes: json::bytes(json::get(known, &["status", "capacity", "memory"])),
            products_stated,
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
}

/// Labels that name the instance type, the most exact first.
const INSTANCE_TYPES: &[&str] = &[
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "karpenter.azure.com/sku-name",
    "node.coreweave.cloud/type",
];

/// Labels that name the pool that a node comes from.
const POOLS: &[&str] = &[
    "karpenter.sh/nodepool",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "compute.coreweave.com/node-pool",
    "sagemaker.amazonaws.com/instance-group-name",
];

/// Labels that name what a node's price is committed by.
const RESERVATIONS: &[&str] = &[
    "karpenter.k8s.aws/capacity-reservation-id",
    "cloud.google.com/reservation-name",
    "node.coreweave.cloud/reserved",
];

fn first_of(labels: &Labels<'_>, names: &[&'static str]) -> (Option<String>, Option<&'static str>) {
    let found = names
        .iter()
        .find_map(|name| Some((labels.get(name)?.to_owned(), *name)));
    found.map_or((None, None), |(value, name)| (Some(value), Some(name)))
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

/// How the node is paid for and which label says so; absent labels say nothing.
fn capacity_type(labels: &Labels<'_>) -> (Option<String>, Option<&'static str>) {
    let direct = first_of(
        labels,
        &[
            "karpenter.sh/capacity-type",
            "eks.amazonaws.com/capacityType",
        ],
    );
    if let (Some(kind), from) = direct {
        let kind = kind.to_ascii_lowercase().replace('_', "-");
        // A block of capacity is bought ahead, for a time.
        let kind = if kind == "capacity-block" {
            "reserved".to_owned()
        } else {
            kind
        };
        return (Some(kind), from);
    }
    const STATED: &[(&str, &str, &str)] = &[
        ("cloud.google.com/gke-spot", "true", "spot"),
        ("cloud.google.com/gke-preemptible", "true", "spot"),
        ("cloud.google.com/gke-provisioning", "spot", "spot"),
        ("cloud.google.com/gke-provisioning", "preemptible", "spot"),
        ("cloud.google.com/gke-provisioning", "standard", "on-demand"),
        ("kubernetes.azure.com/scalesetpriority", "spot", "spot"),
        (
            "kubernetes.azure.com/scalesetpriority",
            "regular",
            "on-demand",
        ),
    ];
    for (name, value, kind) in STATED {
        if labels.get(name) == Some(value) {
            return (Some((*kind).to_owned()), Some(name));
        }
    }
    let reserved = first_of(
        labels,
        &[
            "node.coreweave.cloud/reserved",
            "karpenter.k8s.aws/capacity-reservation-id",
            "cloud.google.com/reservation-name",
        ],
    );
    match reserved {
        (Some(value), from) if !matches!(value.as_str(), "false" | "no") => {
            (Some("reserved".to_owned()), from)
        }
        _ => (None, None),
    }
}
