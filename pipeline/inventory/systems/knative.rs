//! Owns Knative Services: revisions come from one template, whose annotations say how they scale.
//! What KServe makes of itself in Knative's form is KServe's.

use serde_json::json as value;

use super::super::scalers::declared;
use super::about::About;
use super::remedy::{Action, BoundsWish, Draft, Remedy, Wish};
use super::shapes::{self, Places};
use super::{Facts, System, View, json, pod_template};

pub(super) static SYSTEM: System = System {
    name: "knative",
    about: &ABOUT,
    // Most Knative services are no models: the engine in them says which are.
    serves: false,
    recognise: |view| view.top.kind.ends_with(".serving.knative.dev"),
    facts,
    remedies,
    notes,
};

pub(super) static ABOUT: About = About {
    title: "Knative Service",
    kinds: &["Service (serving.knative.dev/v1)"],
    chain: "pod → ReplicaSet → Deployment → Revision → Configuration → Service",
    model: "flags",
    remedies: "annotations and template of the service, never of a revision; every change makes a new revision.",
};

const ANNOTATIONS: [&str; 4] = ["spec", "template", "metadata", "annotations"];
const NEW_REVISION: &str = "a new revision is made and takes the traffic; old ones go once no \
                            route names them and their own min-scale lets them";

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let body = view.top_body;
    let number = |name: &str| {
        declared::knative_annotation(body, name).and_then(|text| text.trim().parse::<i64>().ok())
    };
    let class = declared::knative_annotation(body, "class").unwrap_or_default();
    Facts {
        // Only revisions know how many replicas there are: a service asks for none.
        replicas: None,
        min_replicas: Some(number("min-scale").unwrap_or(i64::from(class.starts_with("hpa.")))),
        max_replicas: number("max-scale").filter(|most| *most > 0),
        templates: pod_template(body)
            .map(|mut template| {
                template.replicas = None;
                template
            })
            .into_iter()
            .collect(),
        replicas_field: "spec.template.metadata.annotations.autoscaling.knative.dev/min-scale"
            .to_owned(),
        tier_field: "spec.template.spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    if view.top.kind != declared::KNATIVE {
        return shapes::refuse(
            wish,
            "revisions and configurations are made by a Knative Service that no snapshot shows: \
             change the service",
        );
    }
    let mut out = Vec::new();
    if wish.zero {
        out.push(zero(view));
    }
    if let Some(bounds) = wish.bounds {
        out.push(bound(view, bounds));
    }
    let places = Places {
        replicas: None,
        pod_specs: vec![shapes::path(&["spec", "template", "spec"])],
        frozen: None,
    };
    out.extend(shapes::templates(view.top, view.top_body, &places, wish));
    out
}

fn notes(view: &View<'_>, remedy: Remedy) -> Remedy {
    let of_template = matches!(remedy.action, Action::Tier | Action::Cpu | Action::Fraction);
    if view.top.kind != declared::KNATIVE || !of_template {
        return remedy;
    }
    let remedy = remedy.warned(NEW_REVISION);
    if remedy.action == Action::Tier {
        remedy.warned(
            "node selectors are refused unless config-features enables \
             kubernetes.podspec-nodeselector",
        )
    } else {
        remedy
    }
}

/// The spelling of an annotation that the service has, else today's.
fn spelled(view: &View<'_>, name: &str, old: &str) -> String {
    let full = |name: &str| format!("autoscaling.knative.dev/{name}");
    let path = |name: &str| {
        let mut path: Vec<String> = ANNOTATIONS.iter().map(|part| (*part).to_owned()).collect();
        path.push(full(name));
        path
    };
    let has_old = !shapes::at(view.top_body, &path(old)).is_null();
    let has_new = !shapes::at(view.top_body, &path(name)).is_null();
    full(if has_old && !has_new { old } else { name })
}

fn place(annotation: &str) -> Vec<String> {
    shapes::below(&shapes::path(&ANNOTATIONS), &[annotation])
}

fn zero(view: &View<'_>) -> Remedy {
    let class = declared::knative_annotation(view.top_body, "class").unwrap_or_default();
    if class.starts_with("hpa.") {
        return Remedy::not_possible(
            Action::Zero,
            "the HPA class of Knative does not go to zero: use the class kpa, or delete the service",
        );
    }
    let mut draft = Draft::new(view.top, view.top_body);
    draft.remove(&place(&spelled(view, "min-scale", "minScale")));
    draft
        .remedy(Action::Zero, &[shapes::PODS_GONE])
        .waking()
        .warned(NEW_REVISION)
        .warned(
            "the activator keeps requests while the first pod loads its model: mind its timeout",
        )
}

fn bound(view: &View<'_>, bounds: BoundsWish) -> Remedy {
    let mut draft = Draft::new(view.top, view.top_body);
    for (name, old, wanted) in [
        ("min-scale", "minScale", bounds.min_replicas),
        ("max-scale", "maxScale", bounds.max_replicas),
    ] {
        if let Some(count) = wanted {
            draft.set(&place(&spelled(view, name, old)), value!(count.to_string()));
        }
    }
    let verify = "the latest ready revision has the new annotations";
    let remedy = draft.remedy(Action::Bounds, &[verify]).warned(NEW_REVISION);
    let first = json::get(view.top_body, &ANNOTATIONS)
        .get("autoscaling.knative.dev/initial-scale")
        .and_then(|value| value.as_str()?.parse::<i64>().ok());
    match (first, bounds.max_replicas) {
        (Some(first), Some(most)) if first > most => {
            remedy.warned("initial-scale is above the new maximum")
        }
        _ => remedy,
    }
}
