//! Owns HAMi's virtual GPUs: a unit of `nvidia.com/gpu` is a vGPU, whose size other resources say.

use serde_json::{Value, json as value};

use crate::catalogue;

use super::super::{devices, shares};
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, Draft, FractionWish, Remedy, TierWish, Wish};
use super::{Facts, System, View, deployment, json, layers, plain, shapes};

pub(super) static SYSTEM: System = System {
    name: "hami",
    about: &ABOUT,
    serves: false,
    recognise: |view| layers::is_plain(view) && is_divided(view),
    facts,
    remedies: shapes::remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "HAMi",
    kinds: &["pods with nvidia.com/gpumem, gpucores or HAMi's annotations"],
    chain: "that of the workload",
    model: "flags",
    remedies: "tier by the annotation nvidia.com/use-gputype, part by gpumem and gpucores; nvidia.com/gpu counts virtual GPUs.",
};

const CORES: &str = "nvidia.com/gpucores";
const MEMORY: &str = "nvidia.com/gpumem";
const MEMORY_PERCENT: &str = "nvidia.com/gpumem-percentage";
const USE_TYPE: &str = "nvidia.com/use-gputype";
const MARKS: [&str; 3] = [
    "nvidia.com/vgpu-mode",
    USE_TYPE,
    "hami.io/vgpu-devices-allocated",
];

fn is_divided(view: &View<'_>) -> bool {
    let sized = containers(view).iter().any(|one| {
        [CORES, MEMORY, MEMORY_PERCENT]
            .iter()
            .any(|name| asked(one, name).is_some())
    });
    sized || MARKS.iter().any(|name| layers::mark(view, name).is_some())
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

/// The parts of GPUs that one pod asks for. Memory says a part where the card is known.
fn share_milli(view: &View<'_>) -> Option<i64> {
    let mut sum = 0_i64;
    let mut any = false;
    for container in containers(view) {
        let Some(units) = asked(container, "nvidia.com/gpu").filter(|units| *units > 0) else {
            continue;
        };
        let of_memory = || {
            let mib = asked(container, MEMORY).filter(|mib| *mib > 0)?;
            let milli = mib.saturating_mul(1000) / card_mib(view)?;
            Some(milli.clamp(1, 1000))
        };
        // The scarcer of both is what nobody else can have.
        let milli = asked(container, CORES)
            .into_iter()
            .chain(asked(container, MEMORY_PERCENT))
            .map(|percent| percent.clamp(0, 100).saturating_mul(10))
            .chain(of_memory())
            .max()?;
        sum = sum.saturating_add(units.saturating_mul(milli));
        any = true;
    }
    any.then_some(sum)
}

/// Memory of the card that the pods go to: of the product that they select, else of all the cards
/// that HAMi registered, where these are alike.
fn card_mib(view: &View<'_>) -> Option<i64> {
    let selector = json::get(layers::template(view), &["spec", "nodeSelector"]);
    if let Some(label) = json::text(selector, &["nvidia.com/gpu.product"]) {
        let found = catalogue::products().resolve_label(label);
        let product = found.map(|found| found.product.key.clone())?;
        return devices::card_gb(Some(&product)).map(|gb| gb.saturating_mul(shares::MIB_PER_GB));
    }
    let mut sizes: Vec<i64> = view
        .world
        .of_kind("node", "")
        .into_iter()
        .flat_map(|(_, body)| shares::registered(body))
        .map(|one| one.memory_mib)
        .filter(|mib| *mib > 0)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    match sizes.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

pub(super) fn over(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
    let spots = layers::spots(view, facts);
    let divided = is_divided(view) || spots.iter().any(|spot| divides(view.top_body, spot));
    if spots.is_empty() || !divided {
        return base;
    }
    let spots = layers::holding(view, &spots);
    let mut out = base;
    if let Some(tier) = &wish.tier {
        out = layers::swap(out, Action::Tier, vec![card(view, &spots, tier)]);
    }
    if let Some(fraction) = &wish.fraction {
        out = layers::swap(out, Action::Fraction, vec![part(view, &spots, fraction)]);
    }
    out
}

/// Whether a pod template asks for parts as HAMi sizes them.
fn divides(body: &Value, spot: &Spot) -> bool {
    let sized = spot.resources(body).iter().any(|place| {
        let resources = value!({"resources": shapes::at(body, place)});
        [CORES, MEMORY, MEMORY_PERCENT]
            .iter()
            .any(|name| asked(&resources, name).is_some())
    });
    sized
        || MARKS
            .iter()
            .any(|name| spot.annotation(body, name).is_some())
}

/// HAMi chooses cards by a word of their product name.
fn card(view: &View<'_>, spots: &[Spot], tier: &TierWish) -> Remedy {
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
    for spot in spots {
        let Some(metadata) = &spot.metadata else {
            return Remedy::not_possible(
                Action::Tier,
                format!(
                    "HAMi chooses cards by the annotation nvidia.com/use-gputype of the pods, and {} \
                     has no field for annotations of its pods",
                    view.top.kind
                ),
            );
        };
        let place = shapes::below(metadata, &["annotations", USE_TYPE]);
        draft.set(&place, value!(product));
    }
    draft
        .remedy(Action::Tier, &[shapes::ROLLED_OUT, shapes::ON_NEW_NODES])
        .warned("a node selector of the old tier in the template must go with it")
}

fn part(view: &View<'_>, spots: &[Spot], wish: &FractionWish) -> Remedy {
    let mut draft = Draft::new(view.top, view.top_body);
    let mut any = false;
    for spot in spots {
        let holding = spot.resources(view.top_body).into_iter().find(|place| {
            let resources = value!({"resources": shapes::at(view.top_body, place)});
            asked(&resources, "nvidia.com/gpu").is_some()
        });
        let Some(place) = holding else {
            continue;
        };
        any = true;
        let limits = shapes::below(&place, &["limits"]);
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
    }
    if !any {
        return Remedy::not_possible(
            Action::Fraction,
            "no container of the template asks for a vGPU",
        );
    }
    draft
        .remedy(Action::Fraction, &[shapes::ROLLED_OUT])
        .warned("nvidia.com/gpu counts vGPUs here: their number stays as it is")
}
