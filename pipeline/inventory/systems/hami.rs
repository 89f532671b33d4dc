//! Owns HAMi's virtual GPUs: a unit of `nvidia.com/gpu` is a vGPU, whose size other resources say.

use serde_json::{Value, json as value};

use super::about::About;
use super::remedy::{Action, Draft, FractionWish, Remedy, TierWish, Wish};
use super::{Facts, System, View, deployment, json, layers, shapes};

pub(super) static SYSTEM: System = System {
    name: "hami",
    serves: false,
    recognise: |view| layers::is_plain(view) && is_divided(view),
    facts,
    remedies: layers::remedies,
};

pub(super) static ABOUT: About = About {
    title: "HAMi",
    system: "hami",
    kinds: &["pods with nvidia.com/gpumem, gpucores or HAMi's annotations"],
    chain: "that of the workload",
    model: "flags",
    remedies: "tier by the annotation nvidia.com/use-gputype, part by gpumem and gpucores; nvidia.com/gpu counts virtual GPUs.",
};

const CORES: &str = "nvidia.com/gpucores";
const MEMORY: &str = "nvidia.com/gpumem";
const MEMORY_PERCENT: &str = "nvidia.com/gpumem-percentage";
const USE_TYPE: &str = "nvidia.com/use-gputype";

fn is_divided(view: &View<'_>) -> bool {
    let sized = containers(view).iter().any(|one| {
        [CORES, MEMORY, MEMORY_PERCENT]
            .iter()
            .any(|name| asked(one, name).is_some())
    });
    sized
        || [
            "nvidia.com/vgpu-mode",
            USE_TYPE,
            "hami.io/vgpu-devices-allocated",
        ]
        .iter()
        .any(|name| layers::mark(view, name).is_some())
}

fn containers<'v>(view: &View<'v>) -> &'v [Value] {
    json::items(layers::template(view), &["spec", "containers"])
}

fn asked(container: &Value, resource: &str) -> Option<i64> {
    ["limits", "requests"].iter().find_map(|list| {
        let quantity = json::get(container, &["resources", list]).get(resource)?;
        json::quantity_milli(quantity).map(|milli| milli / 1000)
    })
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    Facts {
        gpu_milli: share_milli(view),
        ..(deployment::SYSTEM.facts)(view)
    }
}

/// The parts of GPUs that one pod asks for. Memory alone says no part: the card is not known here.
fn share_milli(view: &View<'_>) -> Option<i64> {
    let mut sum = 0_i64;
    let mut any = false;
    for container in containers(view) {
        let Some(units) = asked(container, "nvidia.com/gpu").filter(|units| *units > 0) else {
            continue;
        };
        let percent = asked(container, CORES)
            .into_iter()
            .chain(asked(container, MEMORY_PERCENT))
            .max()?;
        sum = sum.saturating_add(units.saturating_mul(percent.clamp(0, 100).saturating_mul(10)));
        any = true;
    }
    any.then_some(sum)
}

pub(super) fn over(view: &View<'_>, base: Vec<Remedy>, wish: &Wish) -> Vec<Remedy> {
    if !is_divided(view) {
        return base;
    }
    let Some(place) = layers::template_place(view) else {
        return base;
    };
    let mut out = base;
    if let Some(tier) = &wish.tier {
        out = layers::swap(out, Action::Tier, vec![card(view, &place, tier)]);
    }
    if let Some(fraction) = &wish.fraction {
        out = layers::swap(out, Action::Fraction, vec![part(view, &place, fraction)]);
    }
    out
}

/// HAMi chooses cards by a word of their product name.
fn card(view: &View<'_>, template: &[String], tier: &TierWish) -> Remedy {
    let product = [
        "nvidia.com/gpu.product",
        "cloud.google.com/gke-accelerator",
        "gpu.nvidia.com/class",
    ]
    .iter()
    .find_map(|name| tier.node_selector.get(*name));
    let Some(product) = product else {
        return Remedy::not_possible(
            Action::Tier,
            "HAMi chooses cards by product name (annotation nvidia.com/use-gputype), and the new \
             tier names none",
        );
    };
    let mut draft = Draft::new(view.top, view.top_body);
    draft.set(
        &shapes::below(template, &["metadata", "annotations", USE_TYPE]),
        value!(product),
    );
    draft
        .remedy(Action::Tier, &[shapes::ROLLED_OUT, shapes::ON_NEW_NODES])
        .warned("a node selector of the old tier in the template must go with it")
}

fn part(view: &View<'_>, template: &[String], wish: &FractionWish) -> Remedy {
    let found = containers(view)
        .iter()
        .position(|one| asked(one, "nvidia.com/gpu").is_some());
    let Some(index) = found else {
        return Remedy::not_possible(
            Action::Fraction,
            "no container of the template asks for a vGPU",
        );
    };
    let index = index.to_string();
    let limits = ["spec", "containers", &index, "resources", "limits"];
    let limits = shapes::below(template, &limits);
    let mut draft = Draft::new(view.top, view.top_body);
    if let Some(mib) = wish.memory_mib {
        draft.remove(&shapes::below(&limits, &[MEMORY_PERCENT]));
        draft.set(&shapes::below(&limits, &[MEMORY]), value!(mib.to_string()));
    }
    if let Some(milli) = wish.share_milli {
        let percent = (milli + 9) / 10;
        draft.set(
            &shapes::below(&limits, &[CORES]),
            value!(percent.clamp(1, 100).to_string()),
        );
    }
    draft
        .remedy(Action::Fraction, &[shapes::ROLLED_OUT])
        .warned("nvidia.com/gpu counts vGPUs here: their number stays as it is")
}
