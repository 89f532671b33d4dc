//! Owns model identity: every name that a workload goes by, which of them wins, and what flags
//! and names say about precision and parallelism. Raw strings are never joined on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::command::CommandLine;
use super::input::{Catalogue, KnownModel};
use super::systems::Candidate;

/// The winner and all that was heard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Identity {
    pub model: Option<KnownModel>,
    pub raw: Option<String>,
    pub source: Option<&'static str>,
    pub candidates_json: String,
    pub quantisation: Option<String>,
    /// Every name heard, the winner first.
    pub raws: Vec<String>,
    /// What each source says, in order of rank.
    pub declared: Vec<(&'static str, String)>,
    /// How many different models of the catalogue the names stand for.
    pub distinct: usize,
}

/// Flags that name a model, the served name first.
const MODEL_FLAGS: &[(&str, &str)] = &[
    ("flag --served-model-name", "--served-model-name"),
    ("flag --model", "--model"),
    ("flag --model-path", "--model-path"),
    ("flag --model_name", "--model-name"),
    ("flag --model_id", "--model-id"),
    ("flag --hf-repo", "--hf-repo"),
    ("flag --hf-model-id", "--hf-model-id"),
];

const MODEL_ENV: &[(&str, &str)] = &[
    ("env NIM_MODEL_NAME", "NIM_MODEL_NAME"),
    ("env DYN_MODEL_NAME", "DYN_MODEL_NAME"),
    ("env MODEL_ID", "MODEL_ID"),
    ("env HF_MODEL_ID", "HF_MODEL_ID"),
    ("env MODEL_NAME", "MODEL_NAME"),
    ("env MODEL", "MODEL"),
    ("env OPTION_MODEL_ID", "OPTION_MODEL_ID"),
    ("env VLLM_MODEL", "VLLM_MODEL"),
    ("env SERVED_MODEL_NAME", "SERVED_MODEL_NAME"),
];

/// Labels that name a model.
pub(super) const MODEL_LABELS: &[(&str, &str)] = &[
    ("label llm-d.ai/model", "llm-d.ai/model"),
    (
        "label nvidia.com/dynamo-base-model",
        "nvidia.com/dynamo-base-model",
    ),
    ("label model", "model"),
];

/// What command lines say, flags before environment.
pub(super) fn from_commands(lines: &[CommandLine]) -> Vec<Candidate> {
    let mut out = Vec::new();
    for line in lines {
        for (source, flag) in MODEL_FLAGS {
            out.extend(line.flag(&[flag]).map(|raw| Candidate { source, raw }));
        }
        out.extend(line.positional_model().map(|raw| Candidate {
            source: "positional argument",
            raw,
        }));
    }
    for line in lines {
        for (source, name) in MODEL_ENV {
            if let Some(raw) = line.env.get(*name).filter(|raw| !raw.is_empty()) {
                out.push(Candidate {
                    source,
                    raw: raw.clone(),
                });
            }
        }
        // The repository of a NIM image is the model that it serves.
        if let Some((_, raw)) = line.image.split_once("nvcr.io/nim/") {
            out.push(Candidate {
                source: "image",
                raw: raw.to_owned(),
            });
        }
    }
    out
}

/// Looks a name up as it is, then without scheme, tag and registry.
fn resolve(catalogue: &dyn Catalogue, raw: &str) -> Option<KnownModel> {
    if raw.len() > 512 {
        return None;
    }
    let bare = raw.split_once("://").map_or(raw, |(_, rest)| rest);
    let untagged = bare.rsplit_once(':').map_or(bare, |(name, _)| name);
    let last = untagged
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(untagged);
    [raw, bare, untagged, last]
        .iter()
        .find_map(|name| catalogue.model(name))
}

/// The first candidate that the catalogue knows; where two disagree, telemetry decides.
pub(super) fn decide(
    catalogue: &dyn Catalogue,
    mut candidates: Vec<Candidate>,
    telemetry: &[&str],
    lines: &[CommandLine],
) -> Identity {
    candidates.extend(telemetry.iter().map(|raw| Candidate {
        source: "telemetry model_name",
        raw: (*raw).to_owned(),
    }));
    let mut kept: Vec<(Candidate, Option<KnownModel>)> = Vec::new();
    for candidate in candidates {
        if candidate.raw.len() <= 512 && !kept.iter().any(|(known, _)| *known == candidate) {
            let model = resolve(catalogue, &candidate.raw);
            kept.push((candidate, model));
        }
    }
    kept.truncate(32);
    let list: Vec<Value> = kept
        .iter()
        .map(|(candidate, model)| {
            json!({
                "source": candidate.source,
                "raw": candidate.raw,
                "model": model.as_ref().map(|model| &model.id),
            })
        })
        .collect();
    let known = || kept.iter().filter(|(_, model)| model.is_some());
    let arbiter = known()
        .find(|(candidate, _)| candidate.source == "telemetry model_name")
        .and_then(|(_, said)| {
            let said = said.as_ref()?;
            known().find(|(_, model)| model.as_ref().is_some_and(|model| model.id == said.id))
        });
    let winner = arbiter.or_else(|| known().next()).or_else(|| kept.first());
    let mut raws: Vec<String> = winner.iter().map(|(one, _)| one.raw.clone()).collect();
    raws.extend(kept.iter().map(|(one, _)| one.raw.clone()));
    let ids: BTreeSet<&str> = kept
        .iter()
        .filter_map(|(_, model)| model.as_ref().map(|model| model.id.as_str()))
        .collect();
    let flagged = lines
        .iter()
        .find_map(|line| line.flag(&["--quantization", "-q"]))
        .map(|word| word.to_ascii_lowercase());
    Identity {
        quantisation: flagged.or_else(|| {
            kept.iter()
                .find_map(|(candidate, _)| quantisation_in(&candidate.raw))
        }),
        model: winner.and_then(|(_, model)| model.clone()),
        raw: winner.map(|(candidate, _)| candidate.raw.clone()),
        source: winner.map(|(candidate, _)| candidate.source),
        candidates_json: Value::Array(list).to_string(),
        declared: kept
            .iter()
            .map(|(one, _)| (one.source, one.raw.clone()))
            .collect(),
        distinct: ids.len(),
        raws,
    }
}

/// The quantisation that a model's name carries.
fn quantisation_in(name: &str) -> Option<String> {
    const WORDS: &[&str] = &[
        "nvfp4", "mxfp4", "fp8", "awq", "gptq", "w4a16", "w8a8", "w8a16", "int4", "int8", "bnb",
    ];
    let name = name.to_ascii_lowercase();
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|token| WORDS.iter().find(|word| token == **word))
        .map(|word| (*word).to_owned())
}
