//! Owns what a workload's model is called, how large it is and what else the same engine serves:
//! aliases, adapters, several models. A name without a size stays unresolved.

use serde_json::{Value, json};

use crate::catalogue::parse_model_name;

use super::command::CommandLine;
use super::identity::Identity;
use super::input::Catalogue;
use super::json;
use super::systems::View;

/// More names than this of one engine are not kept.
const MAX_NAMES: usize = 64;

/// What is known of a workload's model beyond its winner.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ModelFacts {
    /// `known` to the catalogue, `parsed` from its name, `unresolved`, or `none` named at all.
    pub state: &'static str,
    pub name: Option<String>,
    pub params_b: Option<f64>,
    pub active_params_b: Option<f64>,
    pub params_from: Option<&'static str>,
    pub quantisation_from: Option<&'static str>,
}

/// The model's name in one spelling, its size and where that comes from.
pub(super) fn describe(
    catalogue: &dyn Catalogue,
    identity: &Identity,
    lines: &[CommandLine],
) -> ModelFacts {
    let flagged = lines
        .iter()
        .any(|line| line.flag(&["--quantization", "-q"]).is_some());
    let quantisation_from = identity
        .quantisation
        .as_ref()
        .map(|_| if flagged { "flag" } else { "name" });
    if let Some(model) = &identity.model {
        return ModelFacts {
            state: "known",
            name: Some(model.id.clone()),
            params_b: Some(model.params_b),
            active_params_b: catalogue.active_params_b(&model.id),
            params_from: Some("catalogue"),
            quantisation_from: quantisation_from
                .or_else(|| catalogue.quantised(&model.id).then_some("catalogue")),
        };
    }
    // Of several names the first that states its size: an alias seldom does.
    let parsed = identity.raws.iter().find_map(|raw| {
        let parsed = parse_model_name(raw).filter(|parsed| parsed.certain)?;
        Some((normalised(raw), parsed))
    });
    match parsed {
        Some((name, parsed)) => ModelFacts {
            state: "parsed",
            name: Some(name),
            params_b: Some(parsed.params_b),
            active_params_b: Some(parsed.active_params_b),
            params_from: Some("name"),
            quantisation_from,
        },
        None => ModelFacts {
            state: if identity.raws.is_empty() {
                "none"
            } else {
                "unresolved"
            },
            quantisation_from,
            ..ModelFacts::default()
        },
    }
}

/// A reference without scheme, registry, revision and tag: `organisation/name` or `name`.
pub(super) fn normalised(raw: &str) -> String {
    let bare = raw.split_once("://").map_or(raw, |(_, rest)| rest);
    let bare = bare.split('@').next().unwrap_or(bare);
    let parts: Vec<&str> = bare.split('/').filter(|part| !part.is_empty()).collect();
    // A Hugging Face cache folder carries the name in front of the snapshot's hash.
    let cached = parts.iter().find_map(|part| part.strip_prefix("models--"));
    if let Some(cached) = cached {
        return cached.replacen("--", "/", 1);
    }
    let last = parts.last().copied().unwrap_or(bare);
    // A tag follows the last part only; `host:5000/name` has a port.
    let name = last.split(':').next().unwrap_or(last);
    let path = raw.starts_with('/') || raw.contains("://") && parts.len() > 2;
    match parts.len().checked_sub(2).and_then(|at| parts.get(at)) {
        Some(organisation) if !path && !organisation.contains(['.', ':']) => {
            format!("{organisation}/{name}")
        }
        _ => name.to_owned(),
    }
}

/// Every name under which one engine answers: served names, adapters, further models.
pub(super) fn served(
    view: &View<'_>,
    lines: &[CommandLine],
    identity: &Identity,
    telemetry: &[&str],
) -> String {
    let mut out: Vec<Value> = Vec::new();
    let mut put = |name: &str, kind: &str, base: Option<&str>, source: &str| {
        let seen = out
            .iter()
            .any(|one| one["name"] == name && one["kind"] == kind);
        if !name.is_empty() && name.len() <= 512 && !seen && out.len() < MAX_NAMES {
            out.push(json!({"name": name, "kind": kind, "base": base, "source": source}));
        }
    };
    for line in lines {
        for name in line.values("--served-model-name") {
            put(name, "alias", None, "flag --served-model-name");
        }
        for module in line.values("--lora-modules") {
            if let Ok(parsed) = serde_json::from_str::<Value>(module) {
                let base = json::text(&parsed, &["base_model_name"]);
                if let Some(name) = json::text(&parsed, &["name"]) {
                    put(name, "adapter", base, "flag --lora-modules");
                }
            } else if let Some((name, _)) = module.split_once('=') {
                put(name, "adapter", None, "flag --lora-modules");
            }
        }
        for path in line.values("--lora-paths") {
            let name = path.split('=').next().unwrap_or(path);
            put(name, "adapter", None, "flag --lora-paths");
        }
    }
    for adapter in json::items(view.top_body, &["spec", "model", "lora", "adapters"]) {
        if let Some(name) = json::text(adapter, &["name"]) {
            put(name, "adapter", None, "spec.model.lora.adapters");
        }
    }
    for adapter in json::items(
        view.top_body,
        &["spec", "template", "inference", "adapters"],
    )
    .iter()
    .chain(json::items(view.top_body, &["inference", "adapters"]))
    {
        if let Some(name) = json::text(adapter, &["source", "name"]) {
            put(name, "adapter", None, "inference.adapters");
        }
    }
    for (source, raw) in identity.declared.iter().filter(|(source, _)| {
        // A Ray application may hold several models, each with replicas of its own.
        source.contains("serveConfigV2") || source.contains("llm_configs")
    }) {
        put(raw, "model", None, source);
    }
    for name in telemetry {
        put(name, "answers as", None, "telemetry model_name");
    }
    Value::Array(out).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_has_one_spelling() {
        for (raw, name) in [
            ("hf://Qwen/Qwen3-32B", "Qwen/Qwen3-32B"),
            ("Qwen/Qwen3-32B@main", "Qwen/Qwen3-32B"),
            ("s3://bucket/models/llama-3-8b", "llama-3-8b"),
            ("/opt/ml/model", "model"),
            (
                "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.0",
                "meta/llama-3.1-8b-instruct",
            ),
            (
                "/data/hub/models--Qwen--Qwen3-8B/snapshots/abc",
                "Qwen/Qwen3-8B",
            ),
            ("qwen-7b", "qwen-7b"),
        ] {
            assert_eq!(normalised(raw), name, "{raw}");
        }
    }
}
