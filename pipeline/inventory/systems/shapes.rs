//! Owns the remedies of whatever has a pod template at a known place, and asks once who owns the
//! replicas. What is edited in a pod template is `edits`' business; adapters call both by this name.

use serde_json::{Value, json as value};

use super::super::objects::Key;
pub(super) use super::edits::{
    cpu_at, cpu_of, first_that_fits, resource_at, resource_name, select, templates,
};
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
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

#[cfg(test)]
mod tests {
    use super::super::remedy::TierWish;
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
