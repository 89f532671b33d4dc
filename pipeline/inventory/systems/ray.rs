//! Owns Ray services, clusters and jobs. A service's edit of group bounds never reaches the live
//! cluster, so such a change goes to both; its models stand in YAML inside of a string.

use serde_json::json as value;

use super::super::resources;
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
use super::shapes::{self, Places, below, path};
use super::{Candidate, Facts, System, Template, View, json};

pub(super) static SYSTEM: System = System {
    name: "ray",
    about: &ABOUT,
    serves: true,
    recognise: |view| {
        matches!(
            view.top.kind.as_str(),
            "rayservice.ray.io" | "raycluster.ray.io"
        )
    },
    facts,
    remedies,
    notes,
};

pub(super) static ABOUT: About = About {
    title: "RayService, RayCluster and RayJob",
    kinds: &["RayService, RayCluster, RayJob (ray.io/v1)"],
    chain: "pod → RayCluster → RayService or RayJob",
    model: "`model_id` and `model_source` in `serveConfigV2`",
    remedies: "suspend; group bounds at the service and at its live cluster, since the first does \
               not reach the second. A new worker template builds a second cluster beside the old.",
};

/// The value after `key:` on a line of embedded YAML. A line reader is enough for the two keys
/// that name the model, and it cannot be made to expand anything.
fn yaml_values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .take(4096)
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ");
            let value = line.strip_prefix(key)?.strip_prefix(':')?;
            let value = value.split(" #").next().unwrap_or(value).trim();
            let value = value.trim_matches(['"', '\'']);
            (!value.is_empty()).then_some(value)
        })
        .collect()
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let service = view.top.kind == "rayservice.ray.io";
    let spec = if service {
        json::get(body, &["spec", "rayClusterConfig"])
    } else {
        json::get(body, &["spec"])
    };
    let serve = json::text(body, &["spec", "serveConfigV2"]).unwrap_or("");
    let mut models = Vec::new();
    for (source, key) in [
        ("rayservice.model_source", "model_source"),
        ("rayservice.model_id", "model_id"),
    ] {
        models.extend(yaml_values(serve, key).into_iter().map(|raw| Candidate {
            source,
            raw: raw.to_owned(),
        }));
    }
    let number = |key: &str| yaml_values(serve, key).first().and_then(|v| v.parse().ok());
    let templates: Vec<Template<'a>> = json::items(spec, &["workerGroupSpecs"])
        .iter()
        .map(|group| Template {
            role: None,
            pod_spec: json::get(group, &["template", "spec"]),
            pods_per_replica: json::int(group, &["numOfHosts"])
                .unwrap_or(1)
                .clamp(1, 1024),
            replicas: json::int(group, &["replicas"]),
            gpus: None,
        })
        .collect();
    let groups = json::items(spec, &["workerGroupSpecs"]);
    let group = json::get(spec, &["workerGroupSpecs", "0"]);
    let prefix = if service {
        "spec.rayClusterConfig"
    } else {
        "spec"
    };
    Facts {
        replicas: json::int(group, &["replicas"]),
        min_replicas: json::int(group, &["minReplicas"]),
        max_replicas: json::int(group, &["maxReplicas"]),
        templates,
        models,
        tensor_parallel: number("tensor_parallel_size"),
        pipeline_parallel: number("pipeline_parallel_size"),
        data_parallel: number("data_parallel_size"),
        bounds_field: Some(format!(
            "{prefix}.workerGroupSpecs[0].{{minReplicas,maxReplicas}}"
        )),
        replicas_field: format!("{prefix}.workerGroupSpecs[0].minReplicas"),
        spots: (0..groups.len())
            .map(|index| {
                let base: Vec<&str> = prefix.split('.').collect();
                let keys = ["workerGroupSpecs", &index.to_string(), "template"];
                Spot::of_template(&below(&path(&base), &keys))
            })
            .collect(),
        tier_field: format!("{prefix}.workerGroupSpecs[0].template.spec.nodeSelector"),
        ..Facts::default()
    }
}

/// Suspends a job, which ends by itself otherwise.
pub(super) fn job(view: &View<'_>, wish: &Wish) -> Vec<Remedy> {
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        draft.set(&["spec", "suspend"], value!(true));
        out.push(
            draft
                .remedy(Action::Zero, &[shapes::PODS_GONE])
                .warned("work in progress is lost where the program keeps no checkpoint"),
        );
    }
    let rest = Wish {
        zero: false,
        ..wish.clone()
    };
    out.extend(shapes::refuse(
        &rest,
        "the cluster of a RayJob is made once: suspend the job, or make it again with the change",
    ));
    out
}

fn remedies(view: &View<'_>, facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let service = view.top.kind == "rayservice.ray.io";
    let base = if service {
        path(&["spec", "rayClusterConfig"])
    } else {
        path(&["spec"])
    };
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        draft.set(&["spec", "suspend"], value!(true));
        out.push(
            draft
                .remedy(Action::Zero, &[shapes::PODS_GONE])
                .warned("nothing wakes it until suspend is taken off again"),
        );
    }
    if let Some(bounds) = wish.bounds {
        out.push(own_bounds(view, facts, &base, service, bounds));
        if service {
            out.push(live_bounds(view, bounds));
        }
    }
    let groups = shapes::at(view.top_body, &below(&base, &["workerGroupSpecs"]));
    let group_count = groups.as_array().map_or(0, Vec::len);
    let mut places = Places {
        pod_specs: (0..group_count)
            .map(|index| {
                let index = index.to_string();
                below(&base, &["workerGroupSpecs", &index, "template", "spec"])
            })
            .collect(),
        ..Places::default()
    };
    let workers = shapes::templates(
        view.top,
        view.top_body,
        &places,
        &Wish {
            cpu: None,
            ..wish.clone()
        },
    );
    out.extend(workers);
    if let Some(cpu) = &wish.cpu {
        places
            .pod_specs
            .push(below(&base, &["headGroupSpec", "template", "spec"]));
        out.push(shapes::first_that_fits(places.pod_specs.iter(), |place| {
            shapes::cpu_of(view.top, view.top_body, place, cpu)
        }));
    }
    out
}

fn notes(view: &View<'_>, remedy: Remedy) -> Remedy {
    let templates = matches!(remedy.action, Action::Tier | Action::Cpu | Action::Fraction);
    if !templates || remedy.change().is_none() {
        return remedy;
    }
    let remedy = if view.top.kind == "rayservice.ray.io" {
        remedy.warned(
            "the service builds a second cluster and moves over: twice the GPUs until the old one \
             goes",
        )
    } else {
        remedy.warned("pods that run keep the old template until they are replaced")
    };
    if remedy.action == Action::Tier {
        remedy
    } else {
        remedy.warned("rayStartParams that state num-cpus or num-gpus must follow")
    }
}

/// Writes the bounds of every GPU group at one object.
fn group_bounds(draft: &mut Draft<'_>, base: &[String], bounds: BoundsWish) -> Vec<String> {
    let list = below(base, &["workerGroupSpecs"]);
    let groups = shapes::at(draft.body(), &list).clone();
    let autoscaled = json::truth(shapes::at(draft.body(), base), &["enableInTreeAutoscaling"]);
    let mut warnings = Vec::new();
    for (index, group) in json::items(&groups, &[]).iter().enumerate() {
        if resources::requests(json::get(group, &["template", "spec"])).gpus() == 0 {
            continue;
        }
        let place = below(&list, &[&index.to_string()]);
        let fields = ("minReplicas", "maxReplicas");
        warnings.extend(shapes::min_max(draft, &place, fields, bounds, 0));
        // Without Ray's autoscaler the count is what holds.
        let now = json::int(group, &["replicas"]).unwrap_or(0);
        let most = bounds.max_replicas.unwrap_or(i64::MAX);
        let size = now.min(most).max(bounds.min_replicas.unwrap_or(0));
        if !autoscaled && size != now {
            draft.set(&below(&place, &["replicas"]), value!(size));
        }
    }
    warnings
}

fn own_bounds(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: &[String],
    service: bool,
    bounds: BoundsWish,
) -> Remedy {
    let body = view.top_body;
    let mut draft = Draft::new(view.top, body);
    let mut warnings = group_bounds(&mut draft, base, bounds);
    let text = json::text(body, &["spec", "serveConfigV2"]).filter(|_| service);
    if let Some(text) = text {
        let whole = facts
            .tensor_parallel
            .zip(facts.pipeline_parallel.or(Some(1)))
            .map(|(tensor, pipeline)| tensor.saturating_mul(pipeline));
        let worker = facts
            .templates
            .iter()
            .map(|template| resources::requests(template.pod_spec).gpus())
            .find(|gpus| *gpus > 0);
        if whole.is_some() && whole == worker {
            let mut edited = text.to_owned();
            let wanted = [
                ("min_replicas", bounds.min_replicas),
                ("max_replicas", bounds.max_replicas),
            ];
            for (key, size) in wanted {
                match size.map(|size| with_number(&edited, key, size)) {
                    Some(Some(done)) => edited = done,
                    Some(None) => warnings.push(format!(
                        "serveConfigV2 states {key} not exactly once: change it by hand"
                    )),
                    None => {}
                }
            }
            draft.set(&["spec", "serveConfigV2"], value!(edited));
        } else {
            warnings.push(
                "serve's own min_replicas and max_replicas count model replicas, and how many of \
                 them a worker holds is not known: change serveConfigV2 beside this"
                    .to_owned(),
            );
        }
    }
    let remedy = draft.remedy(
        Action::Bounds,
        &["the worker groups have as many pods as the bounds say"],
    );
    warnings.into_iter().fold(remedy, Remedy::warned)
}

/// The cluster that a service runs now, which its own edit does not reach.
fn live_bounds(view: &View<'_>, bounds: BoundsWish) -> Remedy {
    let active = ["status", "activeServiceStatus", "rayClusterName"];
    let active = json::text(view.top_body, &active);
    let live = view
        .members
        .iter()
        .filter(|(key, _)| key.kind == "raycluster.ray.io")
        .find(|(key, _)| active.is_none_or(|name| name == key.name));
    let Some((key, body)) = live else {
        return Remedy::not_possible(
            Action::Bounds,
            "no snapshot shows the live RayCluster, whose own worker groups must change as well",
        );
    };
    let mut draft = Draft::new(key, body);
    let warnings = group_bounds(&mut draft, &path(&["spec"]), bounds);
    let remedy = draft
        .remedy(
            Action::Bounds,
            &["the live worker groups have as many pods as the bounds say"],
        )
        .warned("the live cluster of the service: its edit goes beside the service's, not instead");
    warnings.into_iter().fold(remedy, Remedy::warned)
}

/// The text with another number after a key that stands in it exactly once.
fn with_number(text: &str, key: &str, number: i64) -> Option<String> {
    let is_it = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|rest| rest.trim().parse::<i64>().is_ok())
    };
    if text.lines().filter(|line| is_it(line)).count() != 1 {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive('\n') {
        match line.split_once(':').filter(|_| is_it(line)) {
            Some((head, _)) => {
                out.push_str(head);
                out.push_str(": ");
                out.push_str(&number.to_string());
                if line.ends_with('\n') {
                    out.push('\n');
                }
            }
            None => out.push_str(line),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_embedded_yaml_is_replaced_only_where_it_is_the_only_one() {
        let text = "a:\n- min_replicas: 1\n  max_replicas: 4\nb: x";
        assert_eq!(
            with_number(text, "max_replicas", 2).as_deref(),
            Some("a:\n- min_replicas: 1\n  max_replicas: 2\nb: x")
        );
        assert_eq!(with_number(text, "target", 2), None);
        assert_eq!(with_number("m: 1\nm: 2\n", "m", 3), None);
    }
}
