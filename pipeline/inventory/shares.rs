//! Owns devices that pods take by other means than whole units: fractions and the pods that reserve
//! them, HAMi's virtual GPUs, claims of dynamic resource allocation. It says which pod uses which
//! slot and what part of it; `slices` divides, `holders` deals.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::TimeWindow;

use super::devices::{self, MIG_WHOLE};
use super::holders::Use;
use super::json;
use super::links;
use super::nodes::NodeLife;
use super::objects::{Key, ObjectStore, Version};
use super::pods::PodLife;

const HAMI_ALLOCATED: &str = "hami.io/vgpu-devices-allocated";
const HAMI_REGISTER: &str = "hami.io/node-nvidia-register";
const RESERVED_INDEX: &str = "run.ai/reserve_for_gpu_index";
/// A card's memory in MiB for each GB of its product key.
pub(super) const MIB_PER_GB: i64 = 1024;
/// More devices of one pod or node than this are a lie.
const MAX_DEVICES: usize = 256;

/// A physical GPU as HAMi registers it on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    pub uuid: String,
    pub memory_mib: i64,
}

/// HAMi's list of a node's physical GPUs: `id,count,memory,cores,type,numa,healthy:…`, or JSON.
pub(super) fn registered(node: &Value) -> Vec<Registered> {
    let Some(text) = json::text(node, &["metadata", "annotations", HAMI_REGISTER]) else {
        return Vec::new();
    };
    if let Ok(Value::Array(items)) = serde_json::from_str::<Value>(text) {
        return items
            .iter()
            .take(MAX_DEVICES)
            .filter_map(|item| {
                Some(Registered {
                    uuid: json::text(item, &["id"])?.to_owned(),
                    memory_mib: json::int(item, &["devmem"]).unwrap_or(0),
                })
            })
            .collect();
    }
    text.split(':')
        .filter_map(|one| {
            let fields: Vec<&str> = one.split(',').collect();
            (fields.len() >= 4).then(|| Registered {
                uuid: fields[0].trim().to_owned(),
                memory_mib: fields[2].trim().parse().unwrap_or(0),
            })
        })
        .filter(|one| !one.uuid.is_empty())
        .take(MAX_DEVICES)
        .collect()
}

/// What HAMi gave a pod: a device, MiB and percent of its cores each.
fn allocated(pod: &Value) -> Vec<(String, i64, i64)> {
    let text = json::text(pod, &["metadata", "annotations", HAMI_ALLOCATED]).unwrap_or("");
    text.split([';', ':'])
        .filter_map(|one| {
            let fields: Vec<&str> = one.split(',').map(str::trim).collect();
            (fields.len() >= 4 && !fields[0].is_empty()).then(|| {
                let number = |at: usize| fields[at].parse::<i64>().unwrap_or(0).max(0);
                (fields[0].to_owned(), number(2), number(3))
            })
        })
        .take(MAX_DEVICES)
        .collect()
}

/// The part of a card that memory and cores are, in thousandths: the larger of the two.
fn part_milli(memory_mib: i64, cores_percent: i64, card_mib: Option<i64>) -> Option<i64> {
    let memory = card_mib
        .filter(|card| *card > 0 && memory_mib > 0)
        .map(|card| memory_mib.saturating_mul(1000) / card);
    let cores = (cores_percent > 0).then(|| cores_percent.saturating_mul(10));
    memory
        .into_iter()
        .chain(cores)
        .max()
        .map(|part| part.clamp(1, 1000))
}

/// One allocated device of a claim.
#[derive(Debug, Clone)]
struct Claimed {
    uuid: Option<String>,
    profile: Option<String>,
}

/// Devices of ResourceSlices by driver, pool and name.
fn slice_devices(store: &ObjectStore) -> BTreeMap<(String, String, String), Claimed> {
    let mut out = BTreeMap::new();
    for (_, versions) in store.of_kind("resourceslice.resource.k8s.io") {
        for version in versions {
            let spec = json::get(version.body(), &["spec"]);
            let driver = json::text(spec, &["driver"]).unwrap_or("");
            let pool = json::text(spec, &["pool", "name"]).unwrap_or("");
            for device in json::items(spec, &["devices"]).iter().take(MAX_DEVICES) {
                let Some(name) = json::text(device, &["name"]) else {
                    continue;
                };
                let attribute = |name: &str| {
                    [&["basic", "attributes"][..], &["attributes"]]
                        .iter()
                        .find_map(|root| {
                            let attributes = json::get(device, root);
                            json::text(attributes, &[name, "string"])
                        })
                        .map(str::to_owned)
                };
                out.insert(
                    (driver.to_owned(), pool.to_owned(), name.to_owned()),
                    Claimed {
                        uuid: attribute("parentUUID").or_else(|| attribute("uuid")),
                        profile: attribute("profile"),
                    },
                );
            }
        }
    }
    out
}

/// The devices that a pod's claims were given.
fn claimed(
    store: &ObjectStore,
    devices: &BTreeMap<(String, String, String), Claimed>,
    pod: &PodLife<'_>,
) -> Vec<Claimed> {
    let claiming = pod.version.filter(|one| one.mentions("ClaimName"));
    let Some(body) = claiming.map(Version::peek) else {
        return Vec::new();
    };
    let body = body.as_ref();
    let made = json::items(body, &["status", "resourceClaimStatuses"])
        .iter()
        .filter_map(|one| json::text(one, &["resourceClaimName"]));
    let named = json::items(body, &["spec", "resourceClaims"])
        .iter()
        .filter_map(|one| json::text(one, &["resourceClaimName"]));
    let extended = json::text(
        body,
        &["status", "extendedResourceClaimStatus", "resourceClaimName"],
    );
    let mut out = Vec::new();
    for name in made.chain(named).chain(extended).take(MAX_DEVICES) {
        let key = Key::new("resourceclaim.resource.k8s.io", &pod.namespace, name);
        let Some(version) = store.nearest(&key, pod.created_ms) else {
            continue;
        };
        for result in json::items(
            version.body(),
            &["status", "allocation", "devices", "results"],
        ) {
            let field = |name: &str| json::text(result, &[name]).unwrap_or("").to_owned();
            let driver = field("driver");
            // Network cards are claimed too.
            if !driver.contains("gpu") {
                continue;
            }
            let at = (driver, field("pool"), field("device"));
            out.push(devices.get(&at).cloned().unwrap_or(Claimed {
                uuid: None,
                profile: None,
            }));
        }
    }
    out.truncate(MAX_DEVICES);
    out
}

/// Reads what pods take, writes it into their requests, and adds the devices that are known exactly.
/// Fractions that nothing maps are packed on the lowest slots with room, as a scheduler would.
pub(super) fn resolve(
    store: &ObjectStore,
    nodes: &[NodeLife<'_>],
    pods: &mut [PodLife<'_>],
    uses: &mut Vec<Use>,
) {
    let by_name: BTreeMap<&str, &NodeLife<'_>> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let devices = slice_devices(store);
    for (index, pod) in pods.iter_mut().enumerate() {
        let Some(node) = pod.node.as_deref().and_then(|name| by_name.get(name)) else {
            continue;
        };
        let card = card_mib(node);
        hami(node, card, index, pod, uses);
        let found = if devices.is_empty() && pod.version.is_none() {
            Vec::new()
        } else {
            claimed(store, &devices, pod)
        };
        claims(node, index, pod, found, uses);
        let requests = &mut pod.requests;
        if requests.fraction_milli.is_none()
            && let Some(memory) = requests.fraction_memory_mib
        {
            requests.fraction_milli = part_milli(memory, 0, card);
        }
    }
    for one in uses.iter_mut() {
        one.milli = one.milli.or(pods[one.pod].requests.fraction_milli);
    }
    reservations(&by_name, pods, uses);
    pack(&by_name, pods, uses);
    uses.sort();
}

fn card_mib(node: &NodeLife<'_>) -> Option<i64> {
    let product = node
        .segments
        .iter()
        .rev()
        .find_map(|(_, facts)| facts.product.as_deref());
    node.registered
        .iter()
        .map(|one| one.memory_mib)
        .find(|memory| *memory > 0)
        .or_else(|| Some(devices::card_gb(product)?.saturating_mul(MIB_PER_GB)))
}

fn hami(
    node: &NodeLife<'_>,
    card: Option<i64>,
    index: usize,
    pod: &mut PodLife<'_>,
    uses: &mut Vec<Use>,
) {
    let given = pod.labels.body.map_or_else(Vec::new, allocated);
    let requests = &mut pod.requests;
    let asked = requests.hami_memory_mib.is_some() || requests.hami_cores.is_some();
    if !asked && given.is_empty() {
        return;
    }
    requests.fraction_milli = part_milli(
        requests.hami_memory_mib.unwrap_or(0),
        requests.hami_cores.unwrap_or(0),
        card,
    )
    .or(requests.fraction_milli);
    let Some(placed) = pod.placed() else { return };
    for (uuid, memory, cores) in given {
        if let Some(slot) = node.slot_of_uuid(&uuid) {
            uses.push(Use {
                node: node.name.clone(),
                slot,
                mig_instance: None,
                pod: index,
                window: placed,
                milli: part_milli(memory, cores, card).or(pod.requests.fraction_milli),
                how: "hami",
            });
        }
    }
}

fn claims(
    node: &NodeLife<'_>,
    index: usize,
    pod: &mut PodLife<'_>,
    found: Vec<Claimed>,
    uses: &mut Vec<Use>,
) {
    let placed = pod.placed();
    for one in found {
        let resource = one.profile.as_ref().map_or_else(
            || "nvidia.com/gpu".to_owned(),
            |profile| format!("nvidia.com/mig-{profile}"),
        );
        *pod.requests.units.entry(resource).or_default() += 1;
        let slot = one.uuid.as_deref().and_then(|uuid| node.slot_of_uuid(uuid));
        let (Some(slot), Some(placed)) = (slot, placed) else {
            continue;
        };
        // Where telemetry shows the instances of the card, the pod is dealt one of its profile.
        if node.has_instances(slot) {
            continue;
        }
        let card = devices::card_gb(
            node.segments
                .last()
                .and_then(|(_, facts)| facts.product.as_deref()),
        );
        let share = one
            .profile
            .as_deref()
            .and_then(|profile| devices::mig_share(profile, card));
        let milli = share.map(|share| share * 1000 / MIG_WHOLE);
        let before = uses.iter_mut().find(|before| {
            before.how == "dra"
                && before.pod == index
                && before.node == node.name
                && before.slot == slot
        });
        // Several parts of one card are one larger part.
        match (before, milli) {
            (Some(before), Some(milli)) => {
                before.milli = Some((before.milli.unwrap_or(0) + milli).min(1000));
            }
            (Some(_), None) => {}
            (None, milli) => uses.push(Use {
                node: node.name.clone(),
                slot,
                mig_instance: None,
                pod: index,
                window: placed,
                milli,
                how: "dra",
            }),
        }
    }
}

/// Puts the pods of a group in the place of the pod that reserves their device.
fn reservations(
    nodes: &BTreeMap<&str, &NodeLife<'_>>,
    pods: &mut [PodLife<'_>],
    uses: &mut Vec<Use>,
) {
    let keepers: Vec<usize> = (0..pods.len())
        .filter(|index| links::is_reservation(&pods[*index]))
        .collect();
    for keeper in keepers {
        pods[keeper].requests.units.clear();
        let Some(group) = pods[keeper]
            .labels
            .get("runai-gpu-group")
            .map(str::to_owned)
        else {
            continue;
        };
        let Some(placed) = pods[keeper].placed() else {
            continue;
        };
        let Some(node) = pods[keeper].node.clone() else {
            continue;
        };
        let mut slots: Vec<(i64, &'static str)> = uses
            .iter()
            .filter(|one| one.pod == keeper)
            .map(|one| (one.slot, "reservation"))
            .collect();
        uses.retain(|one| one.pod != keeper);
        if slots.is_empty()
            && let Some(life) = nodes.get(node.as_str())
        {
            let stated = pods[keeper]
                .labels
                .mark(RESERVED_INDEX)
                .and_then(|text| text.parse::<i64>().ok())
                .filter(|slot| (0..life.gpu_count).contains(slot))
                .map(|slot| (slot, "reservation"));
            let free = || {
                (0..life.gpu_count)
                    .find(|slot| !busy(uses, &node, *slot, placed))
                    .map(|slot| (slot, "inferred"))
            };
            slots.extend(stated.or_else(free));
        }
        for (index, pod) in pods.iter().enumerate() {
            let inside = pod.placed().and_then(|window| window.intersect(&placed));
            let (Some(window), true) = (inside, links::reservation_group(pod) == Some(&group))
            else {
                continue;
            };
            if pod.node.as_deref() != Some(node.as_str()) {
                continue;
            }
            for (slot, how) in &slots {
                uses.retain(|one| !(one.pod == index && one.node == node && one.slot == *slot));
                uses.push(Use {
                    node: node.clone(),
                    slot: *slot,
                    mig_instance: None,
                    pod: index,
                    window,
                    milli: pod.requests.fraction_milli,
                    how,
                });
            }
        }
    }
}

fn busy(uses: &[Use], node: &str, slot: i64, window: TimeWindow) -> bool {
    uses.iter()
        .any(|one| one.node == node && one.slot == slot && one.window.intersect(&window).is_some())
}

/// Gives fractions that nothing maps a slot with room.
fn pack(nodes: &BTreeMap<&str, &NodeLife<'_>>, pods: &[PodLife<'_>], uses: &mut Vec<Use>) {
    let mut order: Vec<usize> = (0..pods.len())
        .filter(|index| pods[*index].requests.fraction_milli.is_some())
        .collect();
    order.sort_by_key(|index| (pods[*index].scheduled_ms, *index));
    for index in order {
        let pod = &pods[index];
        let (Some(part), Some(placed), Some(node)) = (
            pod.requests.fraction_milli,
            pod.placed(),
            pod.node.as_deref().and_then(|name| nodes.get(name)),
        ) else {
            continue;
        };
        let mut missing = pod.requests.gpus();
        missing -= i64::try_from(uses.iter().filter(|one| one.pod == index).count()).unwrap_or(0);
        for slot in 0..node.gpu_count {
            if missing <= 0 {
                break;
            }
            let others = uses.iter().filter(|one| {
                one.node == node.name && one.slot == slot && one.window.intersect(&placed).is_some()
            });
            let taken: i64 = others.map(|one| one.milli.unwrap_or(1000)).sum();
            let mine = uses
                .iter()
                .any(|one| one.pod == index && one.slot == slot && one.node == node.name);
            if !mine && taken + part <= 1000 {
                uses.push(Use {
                    node: node.name.clone(),
                    slot,
                    mig_instance: None,
                    pod: index,
                    window: placed,
                    milli: Some(part),
                    how: "inferred",
                });
                missing -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hami_states_devices_in_both_spellings() {
        let old = json!({"metadata": {"annotations": {HAMI_REGISTER:
            "GPU-a,10,46068,100,NVIDIA-A40,0,true:GPU-b,10,46068,100,NVIDIA-A40,0,true:"}}});
        let new = json!({"metadata": {"annotations": {HAMI_REGISTER:
            "[{\"id\":\"GPU-a\",\"count\":10,\"devmem\":46068},{\"id\":\"GPU-b\",\"devmem\":46068}]"}}});
        assert_eq!(registered(&old).len(), 2);
        assert_eq!(registered(&old), registered(&new));
        let pod = json!({"metadata": {"annotations": {HAMI_ALLOCATED: "GPU-a,NVIDIA,8000,30:;GPU-b,x:"}}});
        assert_eq!(allocated(&pod), vec![("GPU-a".to_owned(), 8000, 30)]);
    }

    #[test]
    fn a_part_is_the_larger_of_memory_and_cores() {
        assert_eq!(part_milli(20_000, 0, Some(80_000)), Some(250));
        assert_eq!(part_milli(20_000, 60, Some(80_000)), Some(600));
        assert_eq!(part_milli(20_000, 0, None), None);
        assert_eq!(part_milli(900_000, 0, Some(80_000)), Some(1000));
    }
}
