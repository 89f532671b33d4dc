//! Owns LeaderWorkerSets, of which one replica is a leader and its workers, and
//! DisaggregatedSets, which are slices of such sets by role.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::super::resources;
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
use super::shapes::{self, Path, Places, below, path};
use super::{Facts, System, Template, View, json};

pub(super) static SYSTEM: System = System {
    name: "lws",
    about: &ABOUT,
    serves: false,
    recognise: |view| {
        matches!(
            view.top.kind.as_str(),
            "leaderworkerset.leaderworkerset.x-k8s.io" | DISAGGREGATED
        )
    },
    facts,
    remedies,
    notes,
};

pub(super) static ABOUT: About = About {
    title: "LeaderWorkerSet and DisaggregatedSet",
    kinds: &[
        "LeaderWorkerSet (leaderworkerset.x-k8s.io/v1)",
        "DisaggregatedSet, DisaggregatedSetRoleScaler (disaggregatedset.x-k8s.io/v1)",
    ],
    chain: "leader pod → StatefulSet → LeaderWorkerSet; worker pod → StatefulSet → leader pod → …; \
            above it the DisaggregatedSet",
    model: "flags, also inside of a shell's script",
    remedies: "replicas are whole groups; leader and worker move to other nodes together. Roles that \
               scale externally change at their RoleScaler; all others are zero together or not at \
               all.",
};

const DISAGGREGATED: &str = "disaggregatedset.disaggregatedset.x-k8s.io";

/// The templates of one set: the leader's where it differs, and the worker's.
fn templates<'a>(set: &'a Value, role: Option<&str>, replicas: Option<i64>) -> Vec<Template<'a>> {
    let size = json::int(set, &["size"]).unwrap_or(1).clamp(1, 1024);
    let worker = json::get(set, &["workerTemplate", "spec"]);
    let leader = json::get(set, &["leaderTemplate", "spec"]);
    // Without a leader template the worker's is used for all.
    let parts = if leader.is_object() {
        vec![(leader, 1), (worker, size - 1)]
    } else {
        vec![(worker, size)]
    };
    parts
        .into_iter()
        .filter(|(pod_spec, pods)| pod_spec.is_object() && *pods > 0)
        .map(|(pod_spec, pods_per_replica)| Template {
            role: role.map(str::to_owned),
            pod_spec,
            pods_per_replica,
            replicas,
            gpus: None,
        })
        .collect()
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    if view.top.kind == DISAGGREGATED {
        return disaggregated(view);
    }
    let set = json::get(view.top_body, &["spec", "leaderWorkerTemplate"]);
    let replicas = json::int(view.top_body, &["spec", "replicas"]);
    Facts {
        replicas,
        templates: templates(set, None, replicas),
        replicas_field: "spec.replicas".to_owned(),
        joint: true,
        spots: spots(set, &path(&["spec", "leaderWorkerTemplate"])),
        tier_field: "spec.leaderWorkerTemplate.workerTemplate.spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}

fn disaggregated<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let slices = json::int(body, &["spec", "slices"])
        .unwrap_or(1)
        .clamp(1, 1024);
    let mut all = Vec::new();
    let mut places = Vec::new();
    let mut sum: Option<i64> = None;
    for (index, role) in json::items(body, &["spec", "roles"]).iter().enumerate() {
        let own = json::int(role, &["spec", "replicas"]);
        let scaled = role_scaler(view, json::text(role, &["name"]).unwrap_or(""))
            .and_then(|(_, body)| json::int(body, &["spec", "replicas"]));
        let replicas = scaled.or(own).map(|each| each.saturating_mul(slices));
        if let Some(replicas) = replicas {
            sum = Some(sum.unwrap_or(0).saturating_add(replicas));
        }
        let set = json::get(role, &["spec", "leaderWorkerTemplate"]);
        let keys = [&index.to_string(), "spec", "leaderWorkerTemplate"];
        places.extend(spots(set, &below(&path(&["spec", "roles"]), &keys)));
        let mut parts = templates(set, json::text(role, &["name"]), replicas);
        let units = |template: &Template<'_>| resources::requests(template.pod_spec).gpus();
        // A leader like its workers is one more of them.
        if let [leader, workers] = parts.as_slice()
            && units(leader) == units(workers)
        {
            let size = leader.pods_per_replica + workers.pods_per_replica;
            parts.truncate(1);
            parts[0].pods_per_replica = size;
        }
        all.extend(parts);
    }
    Facts {
        replicas: sum,
        templates: all,
        spots: places,
        replicas_field: "spec.roles[0].spec.replicas".to_owned(),
        tier_field: "spec.roles[0].spec.leaderWorkerTemplate.workerTemplate.spec.nodeSelector"
            .to_owned(),
        ..Facts::default()
    }
}

/// The scaler of a role, which its label and its owner name.
fn role_scaler<'a>(view: &View<'a>, role: &str) -> Option<(&'a Key, &'a Value)> {
    let kind = "disaggregatedsetrolescaler.disaggregatedset.x-k8s.io";
    view.world
        .of_kind(kind, &view.top.namespace)
        .into_iter()
        .find(|(_, body)| {
            let label = ["metadata", "labels", "disaggregatedset.x-k8s.io/role"];
            json::text(body, &label) == Some(role) && view.made(body)
        })
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    if view.top.kind == DISAGGREGATED {
        return disaggregated_remedies(view, wish);
    }
    let places = Places {
        replicas: Some(path(&["spec", "replicas"])),
        pod_specs: pod_specs(view.top_body, &path(&["spec", "leaderWorkerTemplate"])),
        ..Places::default()
    };
    shapes::placed(view, &places, wish)
}

fn notes(view: &View<'_>, remedy: Remedy) -> Remedy {
    match remedy.action {
        Action::Tier | Action::Cpu | Action::Fraction
            if remedy.change().is_some() && view.top.kind != DISAGGREGATED =>
        {
            remedy.warned("a change of a template makes every group anew, whole")
        }
        _ => remedy,
    }
}

/// Where the templates of one set stand.
fn spots(set: &Value, place: &[String]) -> Vec<Spot> {
    ["leaderTemplate", "workerTemplate"]
        .iter()
        .filter(|name| json::get(set, &[name, "spec"]).is_object())
        .map(|name| Spot::of_template(&below(place, &[name])))
        .collect()
}

fn pod_specs(body: &Value, set: &[String]) -> Vec<Path> {
    ["leaderTemplate", "workerTemplate"]
        .iter()
        .map(|template| below(set, &[template, "spec"]))
        .filter(|place| shapes::at(body, place).is_object())
        .collect()
}

fn disaggregated_remedies(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let body = view.top_body;
    let mut out = Vec::new();
    let mut places = Places::default();
    let mut zero = Draft::new(view.top, body);
    let mut bounds_draft = Draft::new(view.top, body);
    let mut scaled = Vec::new();
    let mut direct = false;
    for (index, role) in json::items(body, &["spec", "roles"]).iter().enumerate() {
        let at = below(&path(&["spec", "roles"]), &[&index.to_string(), "spec"]);
        let set = below(&at, &["leaderWorkerTemplate"]);
        places.pod_specs.extend(pod_specs(body, &set));
        let name = json::text(role, &["name"]).unwrap_or("");
        if json::text(role, &["scaling", "mode"]) == Some("External") {
            scaled.push(name);
            continue;
        }
        direct = true;
        let replicas = below(&at, &["replicas"]);
        zero.set(&replicas, value!(0));
        if let Some(bounds) = wish.bounds {
            let now = json::int(role, &["spec", "replicas"]).unwrap_or(1);
            let size = clamp(now, bounds);
            if size != now {
                bounds_draft.set(&replicas, value!(size));
            }
        }
    }
    if wish.zero {
        if direct {
            out.push(zero.remedy(Action::Zero, &[shapes::PODS_GONE]).warned(
                "roles that scale by themselves must be zero together, so all of them are",
            ));
        }
        for name in &scaled {
            out.push(at_scaler(view, name, Action::Zero, |key, body| {
                let mut draft = Draft::new(key, body);
                draft.set(&["spec", "replicas"], value!(0));
                draft.remedy(Action::Zero, &[shapes::PODS_GONE])
            }));
        }
    }
    if let Some(bounds) = wish.bounds {
        if direct {
            out.push(
                bounds_draft
                    .remedy(Action::Bounds, &[shapes::ROLLED_OUT])
                    .warned("the size holds for every slice, and bounds become one fixed size"),
            );
        }
        for name in &scaled {
            out.push(at_scaler(view, name, Action::Bounds, |key, body| {
                shapes::fixed_size(key, body, &path(&["spec", "replicas"]), bounds)
            }));
        }
    }
    out.extend(shapes::templates(view.top, body, &places, wish));
    out
}

fn clamp(now: i64, bounds: BoundsWish) -> i64 {
    let most = bounds.max_replicas.unwrap_or(i64::MAX);
    // One role at zero and another above is refused by the kind's own rule.
    now.min(most).max(bounds.min_replicas.unwrap_or(1)).max(1)
}

fn at_scaler(
    view: &View<'_>,
    role: &str,
    action: Action,
    change: impl FnOnce(&Key, &Value) -> Remedy,
) -> Remedy {
    match role_scaler(view, role) {
        Some((key, body)) => change(key, body).warned(format!(
            "role {role} scales externally: whatever writes its scaler may write it again"
        )),
        None => Remedy::not_possible(
            action,
            format!("role {role} scales externally, and no snapshot shows its RoleScaler"),
        ),
    }
}
