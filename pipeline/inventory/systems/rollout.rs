//! Owns Argo Rollouts: a Deployment in shape, or a reference to one.

use super::about::About;
use super::remedy::{Remedy, Wish};
use super::shapes::{self, Places};
use super::{Facts, System, View, json, pod_template};

pub(super) static SYSTEM: System = System {
    name: "rollout",
    about: &ABOUT,
    serves: false,
    recognise: |view| view.top.kind == "rollout.argoproj.io",
    facts,
    remedies,
    notes,
};

pub(super) static ABOUT: About = About {
    title: "Argo Rollout",
    kinds: &["Rollout (argoproj.io/v1alpha1)"],
    chain: "pod → ReplicaSet → Rollout",
    model: "flags",
    remedies: "replicas in the rollout, the template where workloadRef says it is.",
};

/// The Deployment whose template the rollout uses instead of one of its own.
fn referenced(view: &View<'_>) -> Option<super::super::objects::Key> {
    let reference = json::get(view.top_body, &["spec", "workloadRef"]);
    let kind = json::text(reference, &["kind"])?;
    let api_version = json::text(reference, &["apiVersion"]).unwrap_or("apps/v1");
    let name = json::text(reference, &["name"])?;
    Some(super::super::objects::Key::new(
        &crate::model::workload::kind_of(api_version, kind),
        &view.top.namespace,
        name,
    ))
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let elsewhere = referenced(view)
        .and_then(|key| view.world.object(&key.kind, &key.namespace, &key.name))
        .and_then(pod_template);
    let replicas = json::int(view.top_body, &["spec", "replicas"]);
    Facts {
        replicas,
        templates: pod_template(view.top_body)
            .or(elsewhere)
            .map(|mut template| {
                template.replicas = replicas;
                template
            })
            .into_iter()
            .collect(),
        replicas_field: "spec.replicas".to_owned(),
        tier_field: "spec.template.spec.nodeSelector".to_owned(),
        ..Facts::default()
    }
}

fn remedies(view: &View<'_>, _facts: &Facts<'_>, wish: &Wish) -> Vec<Remedy> {
    let replicas = shapes::path(&["spec", "replicas"]);
    let Some(key) = referenced(view) else {
        let places = Places {
            replicas: Some(replicas),
            pod_specs: vec![shapes::path(&["spec", "template", "spec"])],
            frozen: None,
        };
        return shapes::placed(view, &places, wish);
    };
    // The template is another object's: replicas here, the rest there.
    let mut out = shapes::replicas(view, Some(&replicas), wish);
    let places = Places {
        replicas: None,
        pod_specs: vec![shapes::path(&["spec", "template", "spec"])],
        frozen: None,
    };
    let null = serde_json::Value::Null;
    let body = view
        .world
        .object(&key.kind, &key.namespace, &key.name)
        .unwrap_or(&null);
    out.extend(shapes::templates(&key, body, &places, wish));
    out
}

fn notes(view: &View<'_>, remedy: Remedy) -> Remedy {
    if remedy.change().is_none() || referenced(view).is_some() {
        return remedy;
    }
    remedy.warned(
        "a change of the template starts the rollout's steps: canaries hold GPUs beside the stable \
         pods, and a pause waits for a person",
    )
}
