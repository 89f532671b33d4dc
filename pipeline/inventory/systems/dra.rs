//! Owns devices that pods get by claim (DRA): what a claim's template asks for, as far as it says.

use serde_json::{Value, json as value};

use super::super::devices::{self, MIG_WHOLE};
use super::about::About;
use super::layers::Spot;
use super::remedy::{Action, Draft, Remedy, Wish};
use super::{Facts, System, View, deployment, json, layers, plain, shapes};

pub(super) static SYSTEM: System = System {
    name: "dra",
    about: &ABOUT,
    serves: false,
    recognise: |view| layers::is_plain(view) && !claims(view).is_empty(),
    facts,
    remedies: shapes::remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "Devices by claim (DRA)",
    kinds: &["ResourceClaim, ResourceClaimTemplate (resource.k8s.io) of a pod template"],
    chain: "that of the workload",
    model: "flags",
    remedies: "a claim template is immutable: the pod template is pointed at another one that asks for the new device, if the namespace has one.",
};

const TEMPLATE: &str = "resourceclaimtemplate.resource.k8s.io";
const CLAIM: &str = "resourceclaim.resource.k8s.io";
/// More devices of one request than this are a lie.
const MAX_DEVICES: i64 = 64;

fn claims<'v>(view: &View<'v>) -> &'v [Value] {
    json::items(layers::template(view), &["spec", "resourceClaims"])
}

/// The devices that one claim of a pod asks for.
fn devices_of<'v>(view: &View<'v>, claim: &Value) -> Option<&'v Value> {
    let namespace = &view.top.namespace;
    if let Some(name) = json::text(claim, &["resourceClaimTemplateName"]) {
        let body = view.world.object(TEMPLATE, namespace, name)?;
        return Some(json::get(body, &["spec", "spec", "devices"]));
    }
    let name = json::text(claim, &["resourceClaimName"])?;
    let body = view.world.object(CLAIM, namespace, name)?;
    Some(json::get(body, &["spec", "devices"]))
}

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    Facts {
        gpu_milli: share_milli(view),
        ..(deployment::SYSTEM.facts)(view)
    }
}

/// Thousandths of GPUs of one pod; unknown as soon as one claim or request does not say.
fn share_milli(view: &View<'_>) -> Option<i64> {
    let mut sum = 0_i64;
    for claim in claims(view) {
        let devices = devices_of(view, claim)?;
        let mut parts = 0_i64;
        for request in json::items(devices, &["requests"]) {
            parts = parts.saturating_add(request_parts(request)?);
        }
        // Devices of one parent are never more than one card.
        let one_card = json::items(devices, &["constraints"]).iter().any(|one| {
            json::text(one, &["matchAttribute"]).is_some_and(|name| name.ends_with("/parentUUID"))
        });
        let parts = if one_card {
            parts.min(MIG_WHOLE)
        } else {
            parts
        };
        sum = sum.saturating_add(parts.saturating_mul(1000) / MIG_WHOLE);
    }
    Some(sum)
}

/// What one request is, in the parts of a card.
fn request_parts(request: &Value) -> Option<i64> {
    // `exactly` since v1beta2, the request itself before; of alternatives the first is meant.
    let exact = ["exactly"]
        .iter()
        .map(|field| json::get(request, &[field]))
        .chain(json::items(request, &["firstAvailable"]))
        .find(|value| value.is_object())
        .unwrap_or(request);
    if json::text(exact, &["allocationMode"]) == Some("All") {
        return None;
    }
    let count = json::int(exact, &["count"]).unwrap_or(1);
    if !(1..=MAX_DEVICES).contains(&count) {
        return None;
    }
    let one = match json::text(exact, &["deviceClassName"])? {
        class if class.starts_with("mig.") => devices::mig_share(&profile(exact)?, None)?,
        class if class.starts_with("gpu.") => MIG_WHOLE,
        // Network cards and others are no GPU.
        _ => 0,
    };
    Some(one.saturating_mul(count))
}

/// The MIG profile that a selector asks for by equality.
fn profile(request: &Value) -> Option<String> {
    json::items(request, &["selectors"]).iter().find_map(|one| {
        let text = json::text(one, &["cel", "expression"])?;
        let after = text
            .split_once("profile")?
            .1
            .split_once("==")?
            .1
            .trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        after[1..]
            .split_once(quote)
            .map(|(name, _)| name.to_owned())
    })
}

pub(super) fn over(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
    // What a resource claims in words of its own its adapter changes.
    let spots: Vec<Spot> = layers::spots(view, facts)
        .into_iter()
        .filter(|spot| !claims_at(view, spot).is_empty())
        .collect();
    if spots.is_empty() {
        return base;
    }
    let mut out = base;
    if let Some(tier) = &wish.tier {
        let words: Vec<String> = tier.node_selector.values().cloned().collect();
        let remedy = reclaim(view, &spots, Action::Tier, &words);
        out = layers::swap(out, Action::Tier, vec![remedy]);
    }
    if let Some(fraction) = &wish.fraction {
        let profile = fraction
            .resource
            .as_deref()
            .and_then(|name| name.strip_prefix("nvidia.com/mig-"));
        let words: Vec<String> = profile.map(str::to_owned).into_iter().collect();
        let remedy = reclaim(view, &spots, Action::Fraction, &words);
        out = layers::swap(out, Action::Fraction, vec![remedy]);
    }
    out
}

fn claims_at<'v>(view: &View<'v>, spot: &Spot) -> &'v [Value] {
    json::items(shapes::at(view.top_body, &spot.spec), &["resourceClaims"])
}

/// A claim template never changes: the workload is pointed at another one that asks for the new
/// device, if there is one.
fn reclaim(view: &View<'_>, spots: &[Spot], action: Action, words: &[String]) -> Remedy {
    let mut draft = Draft::new(view.top, view.top_body);
    for spot in spots {
        let found = claims_at(view, spot)
            .iter()
            .enumerate()
            .find_map(|(index, claim)| {
                json::text(claim, &["resourceClaimTemplateName"]).map(|name| (index, name))
            });
        let Some((index, now)) = found else {
            return Remedy::not_possible(
                action,
                "the pods share one claim by name, which is immutable: make another claim and name it \
                 in the template",
            );
        };
        let Some(name) = another(view, now, words) else {
            let wanted = match action {
                Action::Fraction => "of the device class mig.nvidia.com with the new profile",
                _ => "whose selector names the new product",
            };
            return Remedy::not_possible(
                action,
                format!(
                    "the claim template {now} is immutable and the namespace has no other {wanted}: \
                     create one, then set resourceClaimTemplateName of the pod template to it"
                ),
            );
        };
        let index = index.to_string();
        let keys = ["resourceClaims", &index, "resourceClaimTemplateName"];
        draft.set(&shapes::below(&spot.spec, &keys), value!(name));
    }
    draft
        .remedy(action, &[shapes::ROLLED_OUT])
        .warned("containers name requests of the claim: the new template must have the same names")
}

/// Another claim template of the namespace whose selectors have all these words.
fn another<'v>(view: &View<'v>, now: &str, words: &[String]) -> Option<&'v str> {
    view.world
        .of_kind(TEMPLATE, &view.top.namespace)
        .into_iter()
        .find(|(key, body)| {
            key.name != now && !words.is_empty() && {
                let text = json::get(body, &["spec"]).to_string();
                words.iter().all(|word| text.contains(&format!("'{word}'")))
            }
        })
        .map(|(key, _)| key.name.as_str())
}
