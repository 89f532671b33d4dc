//! Owns KAI's and Run:ai's GPU fractions on any pod: annotations ask for a part of a device, and a
//! reservation pod in another namespace holds it for the scheduler.

use serde_json::{Value, json as value};

use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, Draft, FractionWish, Remedy, Wish};
use super::{Facts, System, View, deployment, json, layers, plain, shapes};

pub(super) static SYSTEM: System = System {
    name: "kai",
    about: &ABOUT,
    serves: false,
    recognise: |view| layers::is_plain(view) && is_scheduled(view),
    facts,
    remedies: shapes::remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "KAI scheduler and Run:ai fractions",
    kinds: &["pods with gpu-fraction, gpu-memory, a queue of KAI or its scheduler"],
    chain: "that of the workload",
    model: "flags",
    remedies: "a fraction is an annotation of the pod template, and the whole GPU is no longer asked for.",
};

const FRACTION: &str = "gpu-fraction";
const MEMORY: &str = "gpu-memory";
const DEVICES: &str = "gpu-fraction-num-devices";

fn is_scheduled(view: &View<'_>) -> bool {
    let spec = json::get(layers::template(view), &["spec"]);
    matches!(
        json::text(spec, &["schedulerName"]),
        Some("kai-scheduler" | "runai-scheduler")
    ) || [FRACTION, MEMORY, "kai.scheduler/queue", "runai/queue"]
        .iter()
        .any(|name| layers::mark(view, name).is_some())
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    Facts {
        gpu_milli: share_milli(view),
        ..(deployment::SYSTEM.facts)(view)
    }
}

/// The part of a GPU that one pod asks for; memory of a card that is unknown is unknown.
fn share_milli(view: &View<'_>) -> Option<i64> {
    let fraction: f64 = layers::mark(view, FRACTION)?.trim().parse().ok()?;
    let devices: i64 = layers::mark(view, DEVICES)
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1);
    (fraction > 0.0 && fraction <= 1.0 && (1..=4096).contains(&devices))
        .then(|| (fraction * 1000.0).round() as i64 * devices)
}

pub(super) fn over(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
    let Some(fraction) = &wish.fraction else {
        return base;
    };
    // A MIG instance is asked for by name here as anywhere.
    if fraction.share_milli.is_none() && fraction.memory_mib.is_none() {
        return base;
    }
    let spots = layers::spots(view, facts);
    let scheduled = is_scheduled(view) || spots.iter().any(|spot| schedules(view.top_body, spot));
    if spots.is_empty() || !scheduled {
        return base;
    }
    let spots = layers::holding(view, &spots);
    layers::swap(
        base,
        Action::Fraction,
        vec![annotate(view, &spots, fraction)],
    )
}

/// Whether a pod template goes to KAI's scheduler.
fn schedules(body: &Value, spot: &Spot) -> bool {
    let scheduler = json::text(shapes::at(body, &spot.spec), &["schedulerName"]);
    let labelled = |name: &str| {
        let metadata = spot.metadata.as_ref()?;
        json::text(shapes::at(body, metadata), &["labels", name])
    };
    matches!(scheduler, Some("kai-scheduler" | "runai-scheduler"))
        || [FRACTION, MEMORY]
            .iter()
            .any(|name| spot.annotation(body, name).is_some())
        || ["kai.scheduler/queue", "runai/queue"]
            .iter()
            .any(|name| labelled(name).is_some())
}

fn annotate(view: &View<'_>, spots: &[Spot], wish: &FractionWish) -> Remedy {
    let refuse = |because: String| Remedy::not_possible(Action::Fraction, because);
    let mut draft = Draft::new(view.top, view.top_body);
    for spot in spots {
        let Some(metadata) = &spot.metadata else {
            return refuse(format!(
                "a KAI fraction is an annotation of the pods, and {} has no field for annotations of \
                 its pods",
                view.top.kind
            ));
        };
        let units = spot.units(view.top_body);
        if units > 1 {
            return refuse(format!(
                "one pod uses {units} GPUs together, which no part of one GPU replaces"
            ));
        }
        let note = |name: &str| shapes::below(metadata, &["annotations", name]);
        if let Some(milli) = wish.share_milli.filter(|milli| (1..1000).contains(milli)) {
            draft.remove(&note(MEMORY));
            let share = format!("{}", milli as f64 / 1000.0);
            draft.set(&note(FRACTION), value!(share));
        } else if let Some(mib) = wish.memory_mib {
            draft.remove(&note(FRACTION));
            draft.set(&note(MEMORY), value!(mib.to_string()));
        } else {
            return refuse(
                "a KAI fraction lies between 0 and 1, and no memory is named either".to_owned(),
            );
        }
        // The scheduler refuses a pod that asks for a whole GPU beside a part of one.
        for place in spot.resources(view.top_body) {
            for list in ["limits", "requests"] {
                draft.remove(&shapes::below(&place, &[list, "nvidia.com/gpu"]));
            }
        }
    }
    draft
        .remedy(Action::Fraction, &[shapes::ROLLED_OUT])
        .warned("KAI does not enforce memory: the program must keep to its part by itself")
        .warned("another workload must take the rest of the device before any GPU is freed")
}
