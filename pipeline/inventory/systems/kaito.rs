//! Owns KAITO: workspaces, inference sets and sets of several roles. Most of a workspace is
//! immutable, so many answers are how to make a new one.

use serde_json::{Value, json as value};

use crate::catalogue;

use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, BoundsWish, Draft, Remedy, TierWish, Wish};
use super::shapes::{self, Places, below, path};
use super::{Facts, System, Template, View, json, member_templates, named, plain};

pub(super) static SYSTEM: System = System {
    name: "kaito",
    about: &ABOUT,
    serves: true,
    recognise: |view| view.top.kind.ends_with(".kaito.sh"),
    facts,
    remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "KAITO",
    kinds: &[
        "Workspace (kaito.sh/v1beta1, v1alpha1)",
        "InferenceSet (kaito.sh/v1beta1, v1alpha1)",
        "MultiRoleInference (kaito.sh/v1alpha1)",
    ],
    chain: "pod → StatefulSet → Workspace → InferenceSet → MultiRoleInference",
    model: "`inference.preset.name`, `model.name`, flags of an own template",
    remedies: "an InferenceSet has replicas, or annotations where KEDA is provisioned; a Workspace \
               is replaced, since its instance type and partition are immutable.",
};

const SCALER: &str = "scaledobject.kaito.sh/";

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let models = [
        named("kaito.preset", body, &["inference", "preset", "name"]),
        named(
            "kaito.preset",
            body,
            &["spec", "template", "inference", "preset", "name"],
        ),
        named("kaito.model", body, &["spec", "model", "name"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let workspace = view.top.kind == "workspace.kaito.sh";
    let (replicas_field, tier_field) = if workspace {
        ("metadata.deletionTimestamp", "resource.instanceType")
    } else if view.top.kind == "multiroleinference.kaito.sh" {
        ("spec.roles[0].replicas", "spec.roles[0].instanceType")
    } else {
        ("spec.replicas", "spec.template.resource.instanceType")
    };
    let roles = json::items(body, &["spec", "roles"]);
    let mut templates = member_templates(view);
    if templates.is_empty() {
        templates = declared(view, workspace, roles);
    }
    let counts: Vec<i64> = roles
        .iter()
        .filter_map(|role| json::int(role, &["replicas"]))
        .collect();
    Facts {
        replicas: if workspace {
            Some(1)
        } else if counts.is_empty() {
            json::int(body, &["spec", "replicas"])
        } else {
            Some(counts.iter().fold(0_i64, |a, b| a.saturating_add(*b)))
        },
        templates,
        models,
        replicas_field: replicas_field.to_owned(),
        bounds_field: provisioned(body)
            .then(|| format!("metadata.annotations[{SCALER}min-replicas, max-replicas]")),
        tier_field: tier_field.to_owned(),
        spots: spots(body),
        ..Facts::default()
    }
}

/// A pod template of one's own, which stands in the place of a preset.
fn spots(body: &Value) -> Vec<Spot> {
    [
        &["inference", "template"][..],
        &["spec", "template", "inference", "template"],
    ]
    .into_iter()
    .filter(|place| json::get(body, place).get("spec").is_some())
    .map(|place| Spot::of_template(&path(place)))
    .collect()
}

/// GPUs of an instance type, which is all that the resource says about them.
fn instance_gpus(resource: &Value) -> Option<i64> {
    let name = json::text(resource, &["instanceType"])?;
    catalogue::instances().get("azure", name)?.gpu_count()
}

/// What the resource itself says, where no pod has been made of it yet.
fn declared<'a>(view: &View<'a>, workspace: bool, roles: &'a [Value]) -> Vec<Template<'a>> {
    let body = view.top_body;
    let base: &[&str] = if workspace {
        &[]
    } else {
        &["spec", "template"]
    };
    let part = json::get(body, base);
    let resource = json::get(part, &["resource"]);
    if !roles.is_empty() {
        return roles
            .iter()
            .map(|role| Template {
                role: json::text(role, &["type"]).map(str::to_owned),
                pod_spec: role,
                pods_per_replica: 1,
                replicas: json::int(role, &["replicas"]),
                gpus: instance_gpus(role),
            })
            .collect();
    }
    // A partition is a part of a device: how much of one is not said here.
    let partitioned = json::get(resource, &["partition"]).is_object();
    vec![Template {
        role: None,
        pod_spec: json::get(part, &["inference", "template", "spec"]),
        pods_per_replica: json::int(resource, &["count"]).unwrap_or(1).clamp(1, 1024),
        replicas: json::int(body, &["spec", "replicas"]),
        gpus: if partitioned {
            None
        } else {
            instance_gpus(resource)
        },
    }]
}

fn annotation<'v>(body: &'v Value, name: &str) -> Option<&'v str> {
    let name = format!("{SCALER}{name}");
    json::text(body, &["metadata", "annotations", &name])
}

/// Whether a ScaledObject is made from annotations of the set.
fn provisioned(body: &Value) -> bool {
    annotation(body, "auto-provision") == Some("true")
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    match view.top.kind.as_str() {
        "workspace.kaito.sh" => workspace(view, wish),
        "inferenceset.kaito.sh" => set(view, wish),
        "multiroleinference.kaito.sh" => roles(view, wish),
        _ => shapes::refuse(
            wish,
            format!("the fields of {} are not known here", view.top.path()),
        ),
    }
}

fn workspace(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let refuse = |action| {
        let because = match action {
            Action::Zero => {
                "a workspace has exactly one replica: delete it, which also gives back the nodes \
                 that it was given"
            }
            Action::Tier => {
                "instanceType of a workspace is immutable: make a new workspace with the other \
                 type, move the traffic, then delete this one"
            }
            Action::Bounds => "a workspace has exactly one replica: use an InferenceSet",
            Action::Cpu => "a preset exposes no CPU: use inference.template instead of a preset",
            Action::Fraction => {
                "resource.partition is read at creation only, and needs nodes of one's own: make a \
                 new workspace"
            }
        };
        Remedy::not_possible(action, because)
    };
    wish.actions()
        .into_iter()
        .map(|action| match (action, &wish.cpu) {
            (Action::Cpu, Some(cpu)) => {
                let place = path(&["inference", "template", "spec"]);
                if json::get(view.top_body, &["inference", "template"]).is_object() {
                    shapes::cpu_of(view.top, view.top_body, &place, cpu)
                } else {
                    refuse(action)
                }
            }
            _ => refuse(action),
        })
        .collect()
}

fn set(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let replicas = path(&["spec", "replicas"]);
    let scaled = provisioned(body);
    let mut out = Vec::new();
    if wish.zero || wish.bounds.is_some() {
        if scaled {
            out.extend(set_by_annotation(view, wish));
        } else {
            out.extend(shapes::replicas(view, Some(&replicas), wish));
        }
    }
    if let Some(tier) = &wish.tier {
        out.push(set_tier(view, tier).warned(
            "a set only counts its workspaces: those that exist keep their instance type, so \
                 delete them one by one, or go to zero and back",
        ));
    }
    if let Some(cpu) = &wish.cpu {
        let inference = ["spec", "template", "inference", "template"];
        out.push(if json::get(body, &inference).is_object() {
            let place = below(&path(&inference), &["spec"]);
            shapes::cpu_of(view.top, body, &place, cpu)
        } else {
            Remedy::not_possible(
                Action::Cpu,
                "a preset exposes no CPU: use inference.template instead of a preset",
            )
        });
    }
    if wish.fraction.is_some() {
        out.push(Remedy::not_possible(
            Action::Fraction,
            "resource.partition is read when a workspace is made, and needs nodes of one's own: \
             make a new set",
        ));
    }
    out
}

/// The scaler is made of annotations: a change of it or of the replicas would be written over.
fn set_by_annotation(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let place = |name: &str| {
        below(
            &path(&["metadata", "annotations"]),
            &[&format!("{SCALER}{name}")],
        )
    };
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, body);
        draft.set(&place("auto-provision"), value!("false"));
        draft.set(&["spec", "replicas"], value!(0));
        out.push(
            draft
                .remedy(
                    Action::Zero,
                    &["the ScaledObject of the set is gone", shapes::PODS_GONE],
                )
                .warned(
                    "a minimum of zero collapses to one here, and its metric comes from the pods \
                     themselves: autoscaling is switched off, and nothing wakes the set",
                ),
        );
    }
    if let Some(bounds) = wish.bounds {
        let mut draft = Draft::new(view.top, body);
        let mut warnings = Vec::new();
        if let Some(min) = bounds.min_replicas {
            draft.set(&place("min-replicas"), value!(min.max(1).to_string()));
            if min < 1 {
                warnings.push("a minimum below one collapses to one here");
            }
        }
        if let Some(max) = bounds.max_replicas {
            draft.set(&place("max-replicas"), value!(max.max(2).to_string()));
            if max < 2 {
                warnings.push("the maximum must be above one here, so it becomes two");
            }
        }
        let remedy = draft.remedy(
            Action::Bounds,
            &["the ScaledObject of the set has the bounds"],
        );
        out.push(warnings.into_iter().fold(remedy, Remedy::warned));
    }
    out
}

fn set_tier(view: &View<'_>, tier: &TierWish) -> Remedy {
    let body = view.top_body;
    let mut draft = Draft::new(view.top, body);
    let named = json::text(body, &["spec", "template", "resource", "instanceType"]);
    match (&tier.instance_type, named) {
        (Some(instance_type), Some(_)) => {
            draft.set(
                &["spec", "template", "resource", "instanceType"],
                value!(instance_type),
            );
        }
        (_, None) => {
            // Nodes of one's own are chosen by label.
            shapes::select(
                &mut draft,
                &path(&["spec", "labelSelector", "matchLabels"]),
                tier,
            );
        }
        (None, Some(_)) => {
            return Remedy::not_possible(
                Action::Tier,
                "KAITO makes the nodes of this set: name an instance type, not labels",
            );
        }
    }
    draft.remedy(
        Action::Tier,
        &["every workspace of the set has the new instance type"],
    )
}

fn roles(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let roles = json::items(body, &["spec", "roles"]);
    let at =
        |index: usize, field: &str| below(&path(&["spec", "roles"]), &[&index.to_string(), field]);
    let mut out = Vec::new();
    if wish.zero {
        out.push(Remedy::not_possible(
            Action::Zero,
            "a role has at least one replica: delete the MultiRoleInference",
        ));
    }
    if let Some(tier) = &wish.tier {
        out.push(match &tier.instance_type {
            Some(instance_type) => {
                let mut draft = Draft::new(view.top, body);
                for (index, _) in roles.iter().enumerate() {
                    draft.set(&at(index, "instanceType"), value!(instance_type));
                }
                draft
                    .remedy(Action::Tier, &["every workspace has the new instance type"])
                    .warned("workspaces that exist keep their instance type until they are deleted")
            }
            None => Remedy::not_possible(
                Action::Tier,
                "roles name an instance type, not labels: name an instance type",
            ),
        });
    }
    if let Some(BoundsWish {
        min_replicas,
        max_replicas,
    }) = wish.bounds
    {
        let mut draft = Draft::new(view.top, body);
        for (index, role) in roles.iter().enumerate() {
            let now = json::int(role, &["replicas"]).unwrap_or(1);
            let most = max_replicas.unwrap_or(i64::MAX);
            let size = now.min(most).max(min_replicas.unwrap_or(1)).max(1);
            if size != now {
                draft.set(&at(index, "replicas"), value!(size));
            }
        }
        out.push(
            draft
                .remedy(
                    Action::Bounds,
                    &["every role has as many replicas as it asks for"],
                )
                .warned("no autoscaler owns the replicas, so bounds become one fixed size"),
        );
    }
    let places = Places {
        frozen: Some("roles run presets, which expose neither CPU nor parts of a GPU"),
        ..Places::default()
    };
    let only = Wish {
        tier: None,
        ..wish.clone()
    };
    out.extend(shapes::templates(view.top, body, &places, &only));
    out
}
