//! Owns the edits of pod templates that adapters share: node selectors, CPU, resource names. Where
//! the templates stand is told by the caller.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::resources;
use super::json;
use super::remedy::{Action, CpuWish, Draft, FractionWish, Remedy, TierWish, Wish};
use super::shapes::{ON_NEW_NODES, Path, Places, ROLLED_OUT, at, below, refuse};
use super::warnings::TIER_KEYS;

/// `Tier`, `Cpu` and `Fraction` at the places of an object's pod specifications.
pub(super) fn templates(key: &Key, body: &Value, places: &Places, wish: &Wish) -> Vec<Remedy> {
    let only = Wish {
        zero: false,
        bounds: None,
        ..wish.clone()
    };
    if let Some(because) = places.frozen {
        return refuse(&only, because);
    }
    let holding: Vec<&Path> = places
        .pod_specs
        .iter()
        .filter(|place| resources::requests(at(body, place)).gpus() > 0)
        .collect();
    // Without any declared GPU, all of them are meant: the device may come by a claim.
    let meant: Vec<&Path> = if holding.is_empty() {
        places.pod_specs.iter().collect()
    } else {
        holding
    };
    let mut out = Vec::new();
    if let Some(tier) = &wish.tier {
        let mut draft = Draft::new(key, body);
        let mut warnings = Vec::new();
        for place in &meant {
            select(&mut draft, &below(place, &["nodeSelector"]), tier);
            warnings.extend(affinity_warning(at(body, place)));
        }
        warnings.sort();
        warnings.dedup();
        let remedy = draft.remedy(Action::Tier, &[ROLLED_OUT, ON_NEW_NODES]);
        out.push(warnings.into_iter().fold(remedy, Remedy::warned));
    }
    if let Some(cpu) = &wish.cpu {
        let remedy = first_that_fits(places.pod_specs.iter(), |place| {
            cpu_of(key, body, place, cpu)
        });
        let alone = cpu.container.is_some() || meant.len() < 2 || remedy.change().is_none();
        out.push(if alone {
            remedy
        } else {
            remedy.warned(
                "the other pod templates of the workload keep their CPU: name a container of theirs to \
                 change them too",
            )
        });
    }
    if let Some(fraction) = &wish.fraction {
        let mut draft = Draft::new(key, body);
        let done = meant
            .iter()
            .try_for_each(|place| resource_name(&mut draft, place, fraction));
        out.push(match done {
            Ok(()) => draft.remedy(Action::Fraction, &[ROLLED_OUT]),
            Err(because) => Remedy::not_possible(Action::Fraction, because),
        });
    }
    out
}

/// The first place that has the container; else the first refusal.
pub(super) fn first_that_fits<'p>(
    places: impl Iterator<Item = &'p Path>,
    remedy: impl Fn(&[String]) -> Remedy,
) -> Remedy {
    let mut refused = None;
    for place in places {
        let one = remedy(place);
        if one.change().is_some() {
            return one;
        }
        refused.get_or_insert(one);
    }
    refused.unwrap_or_else(|| {
        Remedy::not_possible(Action::Cpu, "the workload declares no pod template")
    })
}

/// Writes a node selector for a tier, and takes away what pins the old one.
pub(super) fn select(draft: &mut Draft<'_>, place: &[String], tier: &TierWish) {
    let mut wanted = tier.node_selector.clone();
    if wanted.is_empty()
        && let Some(instance_type) = &tier.instance_type
    {
        wanted.insert(
            "node.kubernetes.io/instance-type".to_owned(),
            instance_type.clone(),
        );
    }
    for key in TIER_KEYS.iter().filter(|key| !wanted.contains_key(**key)) {
        draft.remove(&below(place, &[key]));
    }
    for (name, label) in &wanted {
        draft.set(&below(place, &[name]), value!(label));
    }
}

fn affinity_warning(pod_spec: &Value) -> Option<String> {
    let affinity = json::get(pod_spec, &["affinity", "nodeAffinity"]).to_string();
    let named = TIER_KEYS
        .iter()
        .find(|key| affinity.contains(&format!("\"{key}\"")))?;
    Some(format!(
        "node affinity names {named} too: where it excludes the new nodes the pods stay pending"
    ))
}

/// The index of the container that a wish means: by name, else the one with the GPU, else the first.
fn container(pod_spec: &Value, name: Option<&str>) -> Option<usize> {
    let containers = json::items(pod_spec, &["containers"]);
    match name {
        Some(name) => containers
            .iter()
            .position(|one| json::text(one, &["name"]) == Some(name)),
        None => containers
            .iter()
            .position(|one| resources::container_units(one) > 0)
            .or((!containers.is_empty()).then_some(0)),
    }
}

/// New CPU quantities of one container of a pod specification.
pub(super) fn cpu_of(key: &Key, body: &Value, place: &[String], wish: &CpuWish) -> Remedy {
    let pod_spec = at(body, place);
    let sidecar = wish.container.as_deref().and_then(|name| {
        json::items(pod_spec, &["initContainers"])
            .iter()
            .position(|one| json::text(one, &["name"]) == Some(name))
    });
    if let Some(index) = sidecar {
        let index = index.to_string();
        let resources = below(place, &["initContainers", &index, "resources"]);
        return cpu_at(key, body, &resources, wish);
    }
    let Some(index) = container(pod_spec, wish.container.as_deref()) else {
        return Remedy::not_possible(
            Action::Cpu,
            format!(
                "{} declares no container {}",
                key.path(),
                wish.container.as_deref().unwrap_or("at all")
            ),
        );
    };
    let index = index.to_string();
    cpu_at(
        key,
        body,
        &below(place, &["containers", &index, "resources"]),
        wish,
    )
}

/// New CPU quantities at a `resources` field.
pub(super) fn cpu_at(key: &Key, body: &Value, place: &[String], wish: &CpuWish) -> Remedy {
    let mut draft = Draft::new(key, body);
    let mut warning = None;
    let limit_now = at(body, &below(place, &["limits", "cpu"])).clone();
    let mut limit = wish.limit.clone();
    let unlimited = wish.unlimited && limit.is_none();
    if let Some(request) = &wish.request {
        let asked = json::quantity_milli(&value!(request));
        let limited = json::quantity_milli(&limit_now);
        if limit.is_none()
            && limited
                .zip(asked)
                .is_some_and(|(limited, asked)| limited < asked)
        {
            limit = (!unlimited).then(|| request.clone());
            warning = Some("the limit is raised with the request, which it may not be below");
        }
        draft.set(&below(place, &["requests", "cpu"]), value!(request));
    }
    if let Some(limit) = limit {
        draft.set(&below(place, &["limits", "cpu"]), value!(limit));
    } else if unlimited {
        if limit_now.is_null() {
            return Remedy::not_possible(
                Action::Cpu,
                format!("{} declares no CPU limit for this container", key.path()),
            );
        }
        let requested = !at(body, &below(place, &["requests", "cpu"])).is_null();
        // Without a request of its own a container is given its limit as one.
        if wish.request.is_none() && !requested {
            draft.set(&below(place, &["requests", "cpu"]), limit_now.clone());
        }
        draft.remove(&below(place, &["limits", "cpu"]));
        warning = Some(
            "a LimitRange of the namespace may give the container a limit again, and a ResourceQuota \
             on limits.cpu refuses one without",
        );
    }
    let remedy = draft.remedy(Action::Cpu, &[ROLLED_OUT]);
    warning.into_iter().fold(remedy, Remedy::warned)
}

/// Asks for a part of a GPU by resource name instead of the whole one.
pub(super) fn resource_name(
    draft: &mut Draft<'_>,
    place: &[String],
    wish: &FractionWish,
) -> Result<(), String> {
    let pod_spec = at(draft.body(), place).clone();
    let Some(index) = container(&pod_spec, None) else {
        return Err("the pod template declares no container".to_owned());
    };
    let index = index.to_string();
    resource_at(
        draft,
        &below(place, &["containers", &index, "resources"]),
        wish,
    )?;
    for (name, label) in &wish.node_selector {
        draft.set(&below(place, &["nodeSelector", name]), value!(label));
    }
    Ok(())
}

/// Renames the GPU resource at a `resources` field.
pub(super) fn resource_at(
    draft: &mut Draft<'_>,
    place: &[String],
    wish: &FractionWish,
) -> Result<(), String> {
    let Some(resource) = &wish.resource else {
        return Err("this system asks for parts of a GPU by resource name only".to_owned());
    };
    let now = at(draft.body(), place).clone();
    let wrapped = value!({"containers": [{"resources": now}]});
    let requests = resources::requests(&wrapped);
    if requests.units.is_empty() {
        return Err(
            "no GPU resource is named in the container: it comes by claim, annotation or runtime"
                .to_owned(),
        );
    }
    if requests.gpus() > 1 && !requests.units.keys().any(|name| name.contains("mig-")) {
        return Err(format!(
            "one pod uses {} GPUs together, which no part of one GPU replaces",
            requests.gpus()
        ));
    }
    for list in ["requests", "limits"] {
        for name in requests.units.keys().filter(|name| *name != resource) {
            if json::get(&now, &[list]).get(name).is_some() {
                draft.remove(&below(place, &[list, name]));
            }
        }
    }
    // Extended resources are given by the limit; a request must equal it.
    draft.set(
        &below(place, &["limits", resource]),
        value!(wish.units.to_string()),
    );
    if json::get(&now, &["requests"]).is_object() {
        draft.set(
            &below(place, &["requests", resource]),
            value!(wish.units.to_string()),
        );
    }
    Ok(())
}
