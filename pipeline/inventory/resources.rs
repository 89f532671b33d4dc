//! Owns what a pod asks for: accelerator units by resource name, CPU and memory. It does not know what
//! a unit is worth on a shared node.

use std::collections::BTreeMap;

use serde_json::Value;

use super::input::MetricSeries;
use super::json;

/// More units of one resource than any machine has are a lie.
const MAX_UNITS: i64 = 4096;

/// What one pod asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Units by resource name as Kubernetes spells it.
    pub units: BTreeMap<String, i64>,
    pub cpu_request_milli: Option<i64>,
    pub cpu_limit_milli: Option<i64>,
    pub memory_request_mib: Option<i64>,
    /// The part of each device that is asked for.
    pub fraction_milli: Option<i64>,
    /// The same as memory, until the card is known.
    pub fraction_memory_mib: Option<i64>,
    /// Of how many devices a part is asked for by annotation.
    pub fraction_devices: Option<i64>,
    /// What HAMi gives of each virtual GPU.
    pub hami_memory_mib: Option<i64>,
    pub hami_cores: Option<i64>,
}

impl Requests {
    /// Units of any accelerator, whatever a unit is worth.
    pub(super) fn gpus(&self) -> i64 {
        let units = self
            .units
            .values()
            .fold(0_i64, |sum, units| sum.saturating_add(*units));
        if units == 0 && (self.fraction_milli.is_some() || self.fraction_memory_mib.is_some()) {
            self.fraction_devices.unwrap_or(1)
        } else {
            units
        }
    }

    /// The resource names, for the record.
    pub(super) fn names(&self) -> Option<String> {
        let names: Vec<&str> = self.units.keys().map(String::as_str).collect();
        if names.is_empty() {
            return self.fraction_milli.map(|_| "gpu-fraction".to_owned());
        }
        Some(names.join(","))
    }
}

/// Whether a resource is an accelerator or a part of one.
pub(super) fn is_gpu(resource: &str) -> bool {
    matches!(
        resource,
        "nvidia.com/gpu" | "nvidia.com/gpu.shared" | "amd.com/gpu" | "habana.ai/gaudi"
    ) || resource.starts_with("nvidia.com/mig-")
}

/// The MIG profile of `nvidia.com/mig-<profile>`.
pub(super) fn mig_profile(resource: &str) -> Option<&str> {
    resource
        .strip_prefix("nvidia.com/mig-")
        .map(|profile| profile.strip_suffix(".shared").unwrap_or(profile))
}

/// What a pod's specification asks for.
pub(super) fn requests(pod_spec: &Value) -> Requests {
    let mut out = Requests::default();
    let mut memory_bytes: Option<i64> = None;
    let sidecars = json::items(pod_spec, &["initContainers"])
        .iter()
        .filter(|container| json::text(container, &["restartPolicy"]) == Some("Always"));
    let main = json::get(pod_spec, &["mainContainer"]);
    let model = json::get(pod_spec, &["model"]);
    for container in json::items(pod_spec, &["containers"])
        .iter()
        .chain(sidecars)
        .chain([main, model].into_iter().filter(|value| value.is_object()))
    {
        let mut units: BTreeMap<&str, i64> = BTreeMap::new();
        // Extended resources have equal requests and limits; manifests often write one of them.
        for list in ["requests", "limits"] {
            if let Some(map) = json::get(container, &["resources", list]).as_object() {
                for (resource, quantity) in map {
                    if is_gpu(resource)
                        && let Some(milli) = json::quantity_milli(quantity)
                    {
                        units.insert(resource.as_str(), (milli / 1000).clamp(0, MAX_UNITS));
                    }
                }
            }
        }
        for (resource, count) in units.into_iter().filter(|(_, count)| *count > 0) {
            let sum = out.units.entry(resource.to_owned()).or_default();
            *sum = sum.saturating_add(count).min(MAX_UNITS);
        }
        let hami = |name: &str| {
            let limits = json::get(container, &["resources", "limits"]);
            json::quantity_milli(json::get(limits, &[name]))
                .map(|milli| milli / 1000)
                .filter(|value| *value > 0)
        };
        out.hami_memory_mib = out.hami_memory_mib.or_else(|| hami("nvidia.com/gpumem"));
        out.hami_cores = out.hami_cores.or_else(|| hami("nvidia.com/gpucores"));
        add(
            &mut out.cpu_request_milli,
            json::get(container, &["resources", "requests", "cpu"]),
        );
        add(
            &mut out.cpu_limit_milli,
            json::get(container, &["resources", "limits", "cpu"]),
        );
        memory_bytes = json::bytes(json::get(container, &["resources", "requests", "memory"]))
            .map(|bytes| bytes.saturating_add(memory_bytes.unwrap_or(0)))
            .or(memory_bytes);
    }
    out.memory_request_mib = memory_bytes.map(mib);
    out
}

/// Accelerator units of one container-like object, which has `resources`.
pub(super) fn container_units(container: &Value) -> i64 {
    let wrapped =
        serde_json::json!({"containers": [{"resources": json::get(container, &["resources"])}]});
    requests(&wrapped).gpus()
}

/// Whole mebibytes, rounded up: a request takes at least what it says.
fn mib(bytes: i64) -> i64 {
    bytes.div_euclid(1 << 20) + i64::from(bytes % (1 << 20) != 0)
}

fn add(sum: &mut Option<i64>, quantity: &Value) {
    if let Some(milli) = json::quantity_milli(quantity) {
        *sum = Some(sum.unwrap_or(0).saturating_add(milli));
    }
}

/// What KAI and Run:ai pods ask for by annotation: a fraction or memory, of one device or several.
pub(super) fn fraction(pod: &Value, out: &mut Requests) {
    let mark = |name: &str| json::text(pod, &["metadata", "annotations", name]);
    let number = |name: &str| mark(name).and_then(|text| text.trim().parse::<i64>().ok());
    out.fraction_milli = mark("gpu-fraction")
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|fraction| *fraction > 0.0 && *fraction <= 1.0)
        .map(|fraction| ((fraction * 1000.0).round() as i64).max(1));
    out.fraction_memory_mib = number("gpu-memory").filter(|mib| *mib > 0);
    out.fraction_devices =
        number("gpu-fraction-num-devices").filter(|devices| (1..=MAX_UNITS).contains(devices));
}

/// What kube-state-metrics says that a pod asks for.
pub(super) fn from_series(requests: &[&MetricSeries], limits: &[&MetricSeries]) -> Requests {
    let mut out = Requests::default();
    let mut units: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut cpu = [BTreeMap::new(), BTreeMap::new()];
    let mut memory: BTreeMap<String, i64> = BTreeMap::new();
    for (index, list) in [requests, limits].iter().enumerate() {
        for series in *list {
            let container = series.label("container").unwrap_or("").to_owned();
            let Some(value) = series.runs.last().map(|run| run.value) else {
                continue;
            };
            let Some(milli) = json::milli(value * 1000.0) else {
                continue;
            };
            let resource = spelled(series.label("resource").unwrap_or(""));
            if is_gpu(&resource) {
                units.insert((resource, container), (milli / 1000).clamp(0, MAX_UNITS));
            } else if resource == "cpu" {
                cpu[index].insert(container, milli);
            } else if resource == "memory" && index == 0 {
                memory.insert(container, milli / 1000);
            }
        }
    }
    for ((resource, _), count) in units.into_iter().filter(|(_, count)| *count > 0) {
        let sum = out.units.entry(resource).or_default();
        *sum = sum.saturating_add(count).min(MAX_UNITS);
    }
    let total = |map: &BTreeMap<String, i64>| {
        (!map.is_empty()).then(|| map.values().fold(0_i64, |a, b| a.saturating_add(*b)))
    };
    out.cpu_request_milli = total(&cpu[0]);
    out.cpu_limit_milli = total(&cpu[1]);
    out.memory_request_mib = total(&memory).map(mib);
    out
}

/// A resource name as Kubernetes spells it, from kube-state-metrics' spelling.
pub(super) fn spelled(resource: &str) -> String {
    if let Some(profile) = resource.strip_prefix("nvidia_com_mig_") {
        return format!("nvidia.com/mig-{}", profile.replacen('_', ".", 1));
    }
    match resource {
        "nvidia_com_gpu" => "nvidia.com/gpu".to_owned(),
        "nvidia_com_gpu_shared" => "nvidia.com/gpu.shared".to_owned(),
        "amd_com_gpu" => "amd.com/gpu".to_owned(),
        "habana_ai_gaudi" => "habana.ai/gaudi".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_alone_are_a_request_and_units_add_over_containers() {
        let spec = json!({"containers": [
            {"resources": {"limits": {"nvidia.com/gpu": "2", "cpu": "1500m"}}},
            {"resources": {"requests": {"nvidia.com/gpu": 1, "cpu": 2, "memory": "1.5Gi"}, "limits": {"nvidia.com/gpu": 1}}},
            {"resources": {"requests": {"memory": "1M"}}},
            {"resources": "none"}, 7,
        ]});
        let read = requests(&spec);
        assert_eq!(read.gpus(), 3);
        assert_eq!(
            (read.cpu_request_milli, read.cpu_limit_milli),
            (Some(2000), Some(1500))
        );
        assert_eq!(read.memory_request_mib, Some(1537));
    }

    #[test]
    fn names_of_kube_state_metrics_are_kubernetes_names() {
        assert_eq!(spelled("nvidia_com_mig_1g_10gb"), "nvidia.com/mig-1g.10gb");
        assert_eq!(mig_profile("nvidia.com/mig-1g.10gb"), Some("1g.10gb"));
    }
}
