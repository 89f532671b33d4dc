//! Owns the remedies of whatever has a pod template at a known place, and the edits that adapters
//! share: node selectors, CPU, resource names. Who owns the replicas is asked here once.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::resources;
use super::remedy::{Action, BoundsWish, CpuWish, Draft, FractionWish, Remedy, TierWish, Wish};
use super::warnings::TIER_KEYS;
use super::{Facts, View, jobs, json, scaler_of};

/// A path of keys from an object's root.
pub(super) type Path = Vec<String>;

pub(super) const PODS_GONE: &str = "no pod of the workload is left";
pub(super) const ROLLED_OUT: &str =
    "status.observedGeneration has reached metadata.generation, and all replicas are ready";
pub(super) const ON_NEW_NODES: &str =
    "every pod of the workload is ready on a node that has the new labels";

/// A path from its keys.
pub(super) fn path(keys: &[&str]) -> Path {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// A path below another.
pub(super) fn below(base: &[String], keys: &[&str]) -> Path {
    base.iter()
        .cloned()
        .chain(keys.iter().map(|key| (*key).to_owned()))
        .collect()
}

/// The value at an owned path.
pub(super) fn at<'v>(body: &'v Value, place: &[String]) -> &'v Value {
    let keys: Vec<&str> = place.iter().map(String::as_str).collect();
    json::get(body, &keys)
}

/// Where a kind of object keeps what remedies change.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub replicas: Option<Path>,
    pub pod_specs: Vec<Path>,
    /// Why a pod template cannot be edited in place, where it cannot.
    pub frozen: Option<&'static str>,
}

/// The remedies of Deployments, StatefulSets, Jobs and what looks like them.
pub(super) fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let places = match view.top.kind.as_str() {
        "job.batch" => {
            return jobs::job(view, wish, &["spec"], &["spec", "template", "spec"]);
        }
        "cronjob.batch" => {
            let pod_spec = ["spec", "jobTemplate", "spec", "template", "spec"];
            return jobs::job(view, wish, &["spec"], &pod_spec);
        }
        "pod" => {
            return refuse(
                wish,
                "a pod that no controller owns cannot be resized and its specification is \
                 immutable: delete it, or make it again as a Deployment",
            );
        }
        "rayjob.ray.io" => return super::ray::job(view, wish),
        "daemonset.apps" => Places {
            replicas: None,
            pod_specs: vec![path(&["spec", "template", "spec"])],
            frozen: None,
        },
        _ if json::get(view.top_body, &["spec", "template", "spec"]).is_object() => Places {
            replicas: Some(path(&["spec", "replicas"])),
            pod_specs: vec![path(&["spec", "template", "spec"])],
            frozen: None,
        },
        _ => {
            return refuse(
                wish,
                format!(
                    "the fields of {} are not known here, and what it makes would be reverted: \
                     change it as its own documentation says",
                    view.top.path()
                ),
            );
        }
    };
    let known = matches!(
        view.top.kind.as_str(),
        "deployment.apps" | "statefulset.apps" | "replicaset.apps" | "daemonset.apps"
    );
    placed(view, &places, wish)
        .into_iter()
        .map(|remedy| {
            if known || remedy.change().is_none() {
                remedy
            } else {
                remedy.warned(format!(
                    "{} is not a kind known here: the field was found by its shape",
                    view.top.kind
                ))
            }
        })
        .collect()
}

/// The same refusal for every action that is asked for.
pub(super) fn refuse(wish: &Wish, because: impl Into<String>) -> Vec<Remedy> {
    let because = because.into();
    wish.actions()
        .into_iter()
        .map(|action| Remedy::not_possible(action, because.clone()))
        .collect()
}

/// Every asked action at the usual places of the topmost object.
pub(super) fn placed(view: &View<'_>, places: &Places, wish: &Wish) -> Vec<Remedy> {
    let mut out = replicas(view, places.replicas.as_deref(), wish);
    out.extend(templates(view.top, view.top_body, places, wish));
    out.sort_by_key(|remedy| remedy.action);
    out
}

/// `Zero` and `Bounds`: the scaler's where one owns the replicas, else the object's own field.
pub(super) fn replicas(view: &View<'_>, place: Option<&[String]>, wish: &Wish) -> Vec<Remedy> {
    if let Some(remedies) = governed(view, wish) {
        return remedies;
    }
    let Some(place) = place else {
        let only = Wish {
            zero: wish.zero,
            bounds: wish.bounds,
            ..Wish::default()
        };
        return refuse(
            &only,
            format!("{} has no number of replicas", view.top.kind),
        );
    };
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        draft.set(place, value!(0));
        out.push(draft.remedy(Action::Zero, &[PODS_GONE]));
    }
    if let Some(bounds) = wish.bounds {
        out.push(fixed_size(view.top, view.top_body, place, bounds));
    }
    out
}

/// What autoscalers of their own answer, where one aims at any hop of the workload.
pub(super) fn governed(view: &View<'_>, wish: &Wish) -> Option<Vec<Remedy>> {
    let (key, body) = view
        .scalers
        .iter()
        .find(|(_, body)| !view.made(body))
        .copied()?;
    let mut out = Vec::new();
    let only = Wish {
        zero: wish.zero,
        bounds: wish.bounds,
        ..Wish::default()
    };
    match scaler_of(&key.kind) {
        Some(scaler) => out.extend((scaler.remedies)(view, key, body, &only)),
        None => out.extend(refuse(
            &only,
            format!("{} owns the replicas: change it instead", key.path()),
        )),
    }
    if view.scalers.len() > 1 {
        let names: Vec<String> = view.scalers.iter().map(|(key, _)| key.path()).collect();
        out = out
            .into_iter()
            .map(|remedy| {
                remedy.warned(format!(
                    "several autoscalers aim at this workload ({}): settle which one holds first",
                    names.join(", ")
                ))
            })
            .collect();
    }
    Some(out)
}

/// Bounds of something that has one fixed size: the nearest size that both bounds allow.
pub(super) fn fixed_size(key: &Key, body: &Value, place: &[String], bounds: BoundsWish) -> Remedy {
    // Kubernetes' own default where the field is unset.
    let now = at(body, place).as_i64().unwrap_or(1);
    let size = match (bounds.min_replicas, bounds.max_replicas) {
        // A lower minimum alone asks for no more than that.
        (Some(least), None) => least,
        (least, most) => now.min(most.unwrap_or(i64::MAX)).max(least.unwrap_or(0)),
    }
    .max(0);
    let mut draft = Draft::new(key, body);
    draft.set(place, value!(size));
    draft
        .remedy(
            Action::Bounds,
            &["as many replicas are ready as are asked for"],
        )
        .warned("no autoscaler owns the replicas, so bounds become one fixed size")
}

/// Bounds at two sibling fields of an object. The other one follows where they would cross, and
/// no minimum goes below the floor that the system's own rules set.
pub(super) fn min_max(
    draft: &mut Draft<'_>,
    base: &[String],
    fields: (&str, &str),
    bounds: BoundsWish,
    floor: i64,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let (min_at, max_at) = (below(base, &[fields.0]), below(base, &[fields.1]));
    let mut min = bounds.min_replicas;
    let mut max = bounds.max_replicas;
    if let Some(asked) = min
        && asked < floor
    {
        min = Some(floor);
        warnings.push(format!(
            "{} may not be below {floor} here, so {asked} becomes {floor}",
            fields.0
        ));
    }
    let max_now = at(draft.body(), &max_at).as_i64().filter(|max| *max > 0);
    let min_now = at(draft.body(), &min_at).as_i64();
    if let Some(low) = min
        && max.or(max_now).is_some_and(|high| high < low)
    {
        max = Some(low);
        warnings.push(format!("{} follows the new {}", fields.1, fields.0));
    }
    if let Some(high) = max
        && min.is_none()
        && min_now.is_some_and(|low| low > high)
    {
        min = Some(high.max(floor));
        warnings.push(format!("{} follows the new {}", fields.0, fields.1));
    }
    if let Some(min) = min {
        draft.set(&min_at, value!(min));
    }
    if let Some(max) = max {
        draft.set(&max_at, value!(max.max(1)));
    }
    warnings
}

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
        out.push(first_that_fits(places.pod_specs.iter(), |place| {
            cpu_of(key, body, place, cpu)
        }));
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
pub(super) fn container(pod_spec: &Value, name: Option<&str>) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::viewed;
    use super::*;
    use serde_json::json;

    fn patched(body: &Value, remedy: &Remedy) -> Value {
        let mut live = body.clone();
        let change = remedy.change().unwrap();
        json_patch::patch(&mut live, &change.patch).unwrap();
        let done = live.clone();
        json_patch::patch(&mut live, &change.inverse).unwrap();
        assert_eq!(&live, body);
        done
    }

    fn of(body: &Value, wish: &Wish) -> Vec<Remedy> {
        viewed(body, &[], |view| remedies(view, &Facts::default(), wish))
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "x", "namespace": "chat"},
            "spec": {"replicas": 4, "template": {"spec": {
                "nodeSelector": {"nvidia.com/gpu.product": "H100", "disk": "fast"},
                "containers": [
                    {"name": "side", "resources": {}},
                    {"name": "main", "resources": {
                        "limits": {"nvidia.com/gpu": 1, "cpu": "2"},
                        "requests": {"nvidia.com/gpu": 1, "cpu": "1"}}}]}}}})
    }

    #[test]
    fn a_deployment_has_all_five() {
        let body = deployment();
        let found = of(&body, &Wish::survey("L40S"));
        let spec = |index: usize| patched(&body, &found[index])["spec"].clone();
        assert_eq!(spec(0)["replicas"], 0);
        assert_eq!(
            spec(1)["template"]["spec"]["nodeSelector"],
            json!({"nvidia.com/gpu.product": "L40S", "disk": "fast"})
        );
        assert_eq!(spec(2)["replicas"], 2);
        assert_eq!(
            spec(3)["template"]["spec"]["containers"][1]["resources"],
            json!({"limits": {"nvidia.com/gpu": 1, "cpu": "4"}, "requests": {"nvidia.com/gpu": 1, "cpu": "4"}})
        );
        assert_eq!(
            spec(4)["template"]["spec"]["containers"][1]["resources"]["limits"],
            json!({"nvidia.com/mig-1g.10gb": "1", "cpu": "2"})
        );
    }

    #[test]
    fn an_instance_type_replaces_what_pinned_the_old_tier() {
        let wish = Wish {
            tier: Some(TierWish {
                instance_type: Some("g6.xlarge".to_owned()),
                ..TierWish::default()
            }),
            ..Wish::default()
        };
        let body = deployment();
        let found = of(&body, &wish);
        assert_eq!(
            patched(&body, &found[0])["spec"]["template"]["spec"]["nodeSelector"],
            json!({"node.kubernetes.io/instance-type": "g6.xlarge", "disk": "fast"})
        );
    }

    #[test]
    fn two_gpus_together_fit_no_part_of_one() {
        let mut body = deployment();
        body["spec"]["template"]["spec"]["containers"][1]["resources"]["limits"]["nvidia.com/gpu"] =
            json!(2);
        let wish = Wish {
            fraction: Wish::survey("x").fraction,
            ..Wish::default()
        };
        assert!(of(&body, &wish)[0].change().is_none());
    }

    #[test]
    fn a_job_is_suspended_and_its_template_stays() {
        let body = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "x", "namespace": "chat"}, "spec": {"template": {"spec": {}}}});
        let found = of(&body, &Wish::survey("L40S"));
        assert_eq!(patched(&body, &found[0])["spec"]["suspend"], true);
        assert!(found[1..].iter().all(|remedy| remedy.change().is_none()));
    }

    #[test]
    fn an_unknown_kind_is_changed_by_its_shape_or_not_at_all() {
        let mut body = deployment();
        body["apiVersion"] = json!("argoproj.io/v1alpha1");
        body["kind"] = json!("Rollout");
        let found = of(
            &body,
            &Wish {
                zero: true,
                ..Wish::default()
            },
        );
        assert!(found[0].warnings.iter().any(|w| w.contains("by its shape")));
        body["spec"] = json!({"model": "x"});
        assert!(
            of(&body, &Wish::survey("x"))
                .iter()
                .all(|r| r.change().is_none())
        );
    }

    #[test]
    fn an_autoscaler_that_nothing_here_knows_is_named_not_fought() {
        let body = deployment();
        let scaler = json!({"apiVersion": "example.com/v1", "kind": "Sizer",
            "metadata": {"name": "s", "namespace": "chat"}, "spec": {}});
        let found = viewed(&body, &[scaler], |view| {
            remedies(
                view,
                &Facts::default(),
                &Wish {
                    zero: true,
                    ..Wish::default()
                },
            )
        });
        assert!(
            matches!(&found[0].answer, super::super::remedy::Answer::NotPossible { because }
                if because.contains("sizer.example.com/chat/s owns the replicas"))
        );
    }
}
