//! Owns the models whose geometry is known, and which of them a reference stands for.
//!
//! Fine-tunes keep the geometry of their base, but a name that only resembles a base is not taken
//! for it: `resolve` drops organisation, revision, quantisation and the words for instruction
//! tuning, and nothing else.

use std::collections::BTreeMap;

use super::model_name::tokens;
use super::{CatalogueError, Quantisation, Row, Rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Generate,
    Embed,
    Rerank,
}

/// How a layer keeps keys and values, which decides how they split over GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvLayout {
    /// Per KV head; replicated where there are more GPUs than heads.
    Heads { kv_heads: u32 },
    /// One latent per token, replicated on every GPU.
    Latent,
    /// Differs from layer to layer, or the catalogue has no geometry.
    Unknown,
}

/// One model. Sizes are in billions of parameters.
#[derive(Debug, Clone)]
pub struct Model {
    pub id: String,
    pub family: String,
    pub task: Task,
    pub params_b: f64,
    pub active_params_b: f64,
    pub layers: Option<u32>,
    pub hidden: Option<u32>,
    pub intermediate: Option<u32>,
    pub heads: Option<u32>,
    pub kv_layout: KvLayout,
    pub vocab: Option<u32>,
    pub experts: Option<u32>,
    pub experts_per_token: Option<u32>,
    pub max_context: i64,
    /// Tokens that a local layer sees, where some layers are local.
    pub sliding_window: Option<u32>,
    pub native: Quantisation,
    /// Keys and values of one token over all layers at 16 bits; `None` where no formula holds.
    pub kv_bytes_per_token_16bit: Option<i64>,
    pub note: Option<String>,
    pub source: String,
}

impl Model {
    #[must_use]
    pub fn is_mixture_of_experts(&self) -> bool {
        self.experts.is_some()
    }

    /// Bytes of all weights as stored. Quantised checkpoints keep embeddings at 16 bits, and MXFP4
    /// ones everything but the experts.
    #[must_use]
    pub fn weight_bytes(&self, stored: Quantisation) -> f64 {
        let params = self.params_b * 1e9;
        if !stored.is_quantised() {
            return params * stored.bytes_per_weight();
        }
        let at_16_bits = match (
            stored,
            self.layers,
            self.experts,
            self.hidden,
            self.intermediate,
        ) {
            (Quantisation::Mxfp4, Some(layers), Some(experts), Some(hidden), Some(inner)) => {
                params
                    - 3.0
                        * f64::from(layers)
                        * f64::from(experts)
                        * f64::from(hidden)
                        * f64::from(inner)
            }
            _ => self.embedding_params(),
        }
        .clamp(0.0, params);
        (params - at_16_bits) * stored.bytes_per_weight() + at_16_bits * 2.0
    }

    /// Input and output embeddings; tied ones count once.
    fn embedding_params(&self) -> f64 {
        let (Some(vocab), Some(hidden)) = (self.vocab, self.hidden) else {
            return 0.0;
        };
        // The active size leaves the input embedding out, unless the output shares it.
        let tied = !self.is_mixture_of_experts() && self.active_params_b >= self.params_b;
        f64::from(vocab) * f64::from(hidden) * if tied { 1.0 } else { 2.0 }
    }

    /// Bytes of keys and values that one sequence of `tokens` holds, over all layers and before
    /// any replication. Local layers hold no more than their window.
    #[must_use]
    pub fn kv_bytes(&self, tokens: f64, bytes_per_value: f64) -> Option<f64> {
        let per_token = self.kv_bytes_per_token_16bit? as f64 * bytes_per_value / 2.0;
        let global = self.global_layer_share();
        let local_tokens = self
            .sliding_window
            .map_or(tokens, |window| tokens.min(f64::from(window)));
        Some(per_token * (global * tokens + (1.0 - global) * local_tokens))
    }

    /// The share of layers that see the whole context.
    fn global_layer_share(&self) -> f64 {
        let id = self.id.to_ascii_lowercase();
        if self.sliding_window.is_none() {
            1.0
        } else if id.contains("gpt-oss") || id.contains("gemma-2-") {
            0.5
        } else if id.contains("gemma-3-") || id.contains("gemma-4-") {
            1.0 / 6.0
        } else {
            1.0
        }
    }

    fn from_row(row: &Row<'_>) -> Result<Self, CatalogueError> {
        let task = match row.required("task")? {
            "generate" => Task::Generate,
            "embed" => Task::Embed,
            "rerank" => Task::Rerank,
            other => return Err(row.error(format!("unknown task {other:?}"))),
        };
        let native_type = row.required("native_dtype")?;
        let native = match (row.text("native_quant")?, native_type) {
            (Some("compressed-tensors"), dtype) if dtype.starts_with("int4") => Quantisation::Int4,
            (Some(word), _) => Quantisation::parse(word)
                .ok_or_else(|| row.error(format!("unknown native_quant {word:?}")))?,
            (None, "fp16/fp32") => Quantisation::Fp16,
            (None, word) => Quantisation::parse(word)
                .ok_or_else(|| row.error(format!("unknown native_dtype {word:?}")))?,
        };
        let kv_layout = match row.text("kv_heads")? {
            None | Some("hetero") => KvLayout::Unknown,
            Some("MLA") => KvLayout::Latent,
            Some(_) => KvLayout::Heads {
                kv_heads: row
                    .parsed("kv_heads")?
                    .filter(|heads| *heads > 0)
                    .ok_or_else(|| row.error("kv_heads is zero"))?,
            },
        };
        let (params_b, active_params_b) = (
            row.required_positive("params_b")?,
            row.required_positive("active_params_b")?,
        );
        if active_params_b > params_b {
            return Err(row.error("more parameters are active than there are"));
        }
        Ok(Self {
            id: row.required("model")?.to_owned(),
            family: row.text("family")?.unwrap_or_default().to_owned(),
            task,
            params_b,
            active_params_b,
            layers: row.parsed("layers")?,
            hidden: row.parsed("hidden")?,
            intermediate: row.parsed("intermediate")?,
            heads: row.parsed("heads")?,
            kv_layout,
            vocab: row.parsed("vocab")?,
            experts: row.parsed("experts")?,
            experts_per_token: row.parsed("experts_per_tok")?,
            max_context: row
                .parsed("max_context")?
                .filter(|tokens| *tokens > 0)
                .ok_or_else(|| row.error("max_context is not above zero"))?,
            sliding_window: row.parsed("sliding_window")?,
            native,
            kv_bytes_per_token_16bit: row.parsed("kv_bytes_per_token_16bit")?,
            note: row.text("note")?.map(str::to_owned),
            source: row.required("source")?.to_owned(),
        })
    }
}

/// Releases with the same configuration as a catalogue row under a name of their own.
const SAME_GEOMETRY: &[(&str, &str)] = &[
    ("deepseek-v3.1", "deepseek-ai/DeepSeek-V3"),
    ("deepseek-v3.1-terminus", "deepseek-ai/DeepSeek-V3"),
    ("qwen2.5-coder-1.5b", "Qwen/Qwen2.5-1.5B-Instruct"),
    ("qwen2.5-coder-7b", "Qwen/Qwen2.5-7B-Instruct"),
    ("qwen2.5-coder-14b", "Qwen/Qwen2.5-14B-Instruct"),
];

/// All models.
#[derive(Debug)]
pub struct Models {
    rows: Vec<Model>,
    by_key: BTreeMap<String, usize>,
    /// Keys without the release version, where one release alone is in the catalogue.
    by_versionless: BTreeMap<String, Option<usize>>,
}

impl Models {
    pub(super) fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut models = Self {
            rows: Vec::new(),
            by_key: BTreeMap::new(),
            by_versionless: BTreeMap::new(),
        };
        for row in Rows::read("model_catalogue", text)?.iter() {
            let model = Model::from_row(&row)?;
            let at = models.rows.len();
            let (key, versionless) =
                keys(&model.id).ok_or_else(|| row.error("the model has no name"))?;
            if models.by_key.insert(key, at).is_some() {
                return Err(row.error(format!("{} cannot be told from another row", model.id)));
            }
            models
                .by_versionless
                .entry(versionless)
                .and_modify(|at| *at = None)
                .or_insert(Some(at));
            models.rows.push(model);
        }
        for (alias, id) in SAME_GEOMETRY {
            if let (Some((key, _)), Some(at)) = (
                keys(alias),
                models.rows.iter().position(|model| model.id == *id),
            ) {
                models.by_key.entry(key).or_insert(at);
            }
        }
        Ok(models)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.rows.iter()
    }

    /// The model of a catalogue id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Model> {
        self.rows.iter().find(|model| model.id == id)
    }

    /// The model that a reference stands for: a Hugging Face id or URI, a path, an image, a served
    /// name. `None` rather than a model that merely resembles it.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<&Model> {
        let (key, versionless) = keys(reference)?;
        self.by_key
            .get(&key)
            .copied()
            .or_else(|| {
                // `mixtral-8x7b` stands for the one release known; `mistral-7b-v0.1` does not
                // stand for v0.3.
                (key == versionless).then(|| self.by_versionless.get(&key).copied().flatten())?
            })
            .and_then(|at| self.rows.get(at))
    }
}

/// The comparable key of a reference, and the same without its release version.
fn keys(reference: &str) -> Option<(String, String)> {
    let mut tokens = tokens(reference)?;
    if tokens.first().is_some_and(|token| token == "meta")
        && tokens
            .get(1)
            .is_some_and(|token| token.starts_with("llama"))
    {
        tokens.remove(0);
    }
    while tokens.len() > 1 && tokens.last().is_some_and(|token| is_storage_word(token)) {
        tokens.pop();
    }
    let mut tokens: Vec<String> = tokens
        .into_iter()
        .enumerate()
        .filter(|(at, token)| *at == 0 || !is_tuning_word(token))
        .map(|(_, token)| token)
        .collect();
    // Storage words may also stand before the tuning ones: `…-fp8-instruct`.
    while tokens.len() > 1 && tokens.last().is_some_and(|token| is_storage_word(token)) {
        tokens.pop();
    }
    let is_version = |token: &String| {
        token
            .strip_prefix('v')
            .is_some_and(|rest| rest.contains('.') && rest.starts_with('0'))
    };
    let versionless: Vec<String> = tokens.iter().filter(|t| !is_version(t)).cloned().collect();
    Some((spread(&tokens), spread(&versionless)))
}

/// Joins tokens, parting letters from the digits after them, so that `llama3.1` and `llama-3.1`
/// are the same.
fn spread(tokens: &[String]) -> String {
    let mut out = String::new();
    for token in tokens {
        let mut last = '-';
        if !out.is_empty() {
            out.push('-');
        }
        for c in token.chars() {
            if c.is_ascii_digit() && last.is_ascii_alphabetic() {
                out.push('-');
            }
            out.push(c);
            last = c;
        }
    }
    out
}

/// Words at a name's end that say how the weights are stored, not what the model is.
fn is_storage_word(token: &str) -> bool {
    Quantisation::parse(token).is_some()
        || matches!(
            token,
            "dynamic"
                | "static"
                | "block"
                | "kv"
                | "gguf"
                | "quantized"
                | "quantised"
                | "q4"
                | "q5"
                | "q6"
                | "q8"
                | "k"
                | "m"
                | "s"
                | "0"
                | "128g"
                | "g128"
                | "hf"
                | "mlx"
                | "tensorwise"
                | "onnx"
        )
}

/// Words that leave the geometry alone: instruction tuning and four-digit release dates.
fn is_tuning_word(token: &str) -> bool {
    matches!(
        token,
        "instruct" | "it" | "chat" | "base" | "thinking" | "hf"
    ) || (token.len() == 4
        && token.bytes().all(|b| b.is_ascii_digit())
        && (token.starts_with("23")
            || token.starts_with("24")
            || token.starts_with("25")
            || token.starts_with("26")
            || token.starts_with('0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::models;

    fn id(reference: &str) -> Option<&'static str> {
        models().resolve(reference).map(|model| model.id.as_str())
    }

    #[test]
    fn every_row_resolves_to_itself() {
        for model in models().iter() {
            assert_eq!(id(&model.id), Some(model.id.as_str()));
        }
    }

    #[test]
    fn references_of_every_form_resolve() {
        let llama = Some("meta-llama/Meta-Llama-3.1-8B");
        for reference in [
            "meta-llama/Llama-3.1-8B-Instruct",
            "hf://meta-llama/Llama-3.1-8B-Instruct",
            "hf://meta-llama/Llama-3.1-8B-Instruct@0e9e39f",
            "LLAMA-3.1-8B",
            "llama3.1:8b",
            "/mnt/models/Meta-Llama-3.1-8B-Instruct",
            "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.0",
            "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
            "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
            "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16",
            "bartowski/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
            "/cache/models--meta-llama--Llama-3.1-8B-Instruct/snapshots/0e9e39f249a16976918f6564b8830bc894c89659",
            "oci://registry.example:5000/models/llama-3.1-8b:v2",
        ] {
            assert_eq!(id(reference), llama, "{reference}");
        }
        assert_eq!(
            id("Qwen/Qwen3-30B-A3B-Instruct-2507"),
            Some("Qwen/Qwen3-30B-A3B")
        );
        assert_eq!(
            id("mistralai/Mixtral-8x7B-Instruct-v0.1"),
            Some("mistralai/Mixtral-8x7B-v0.1")
        );
        assert_eq!(
            id("mixtral-8x7b-instruct"),
            Some("mistralai/Mixtral-8x7B-v0.1")
        );
        assert_eq!(
            id("deepseek-ai/DeepSeek-R1-0528"),
            Some("deepseek-ai/DeepSeek-R1")
        );
        assert_eq!(
            id("nvidia/DeepSeek-V3.1-NVFP4"),
            Some("deepseek-ai/DeepSeek-V3")
        );
        assert_eq!(id("zhipuai/GLM-5"), Some("zai-org/GLM-5"));
        assert_eq!(
            id("meta-llama/Llama-2-7b-chat-hf"),
            Some("meta-llama/Llama-2-7b-hf")
        );
    }

    #[test]
    fn what_only_resembles_a_model_is_not_it() {
        for reference in [
            "llama-8b",
            "meta-llama/Meta-Llama-3-8B",
            "nvidia/Llama-3.1-Nemotron-70B-Instruct",
            "mistralai/Mistral-7B-Instruct-v0.1",
            "acme/llama-3.1-8b-support",
            "my-model",
            "/mnt/models",
            "",
            "fp8",
            "instruct",
        ] {
            assert_eq!(id(reference), None, "{reference}");
        }
        // A distilled model has the geometry of its student, not of its teacher.
        assert_eq!(
            id("deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
            Some("deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
        );
    }

    #[test]
    fn weights_match_published_checkpoints() {
        let gb = |name: &str, q| models().resolve(name).unwrap().weight_bytes(q) / 1e9;
        let near = |got: f64, published: f64| (got / published - 1.0).abs() < 0.03;
        assert!(near(gb("llama-3.1-8b", Quantisation::Bf16), 16.06));
        assert!(near(gb("llama-3.1-8b", Quantisation::Fp8), 9.08));
        assert!(near(gb("gpt-oss-20b", Quantisation::Mxfp4), 13.76));
        assert!(near(gb("gpt-oss-120b", Quantisation::Mxfp4), 65.2));
    }

    #[test]
    fn sliding_windows_bound_what_local_layers_hold() {
        let gemma = models().resolve("gemma-3-27b-it").unwrap();
        let short = gemma.kv_bytes(1000.0, 2.0).unwrap();
        assert!((short - 507_904_000.0).abs() < 1.0);
        let long = gemma.kv_bytes(100_000.0, 2.0).unwrap();
        assert!(long < 507_904.0 * 100_000.0 / 5.0);
        let dense = models().resolve("llama-3.1-8b").unwrap();
        assert_eq!(dense.kv_bytes(10.0, 1.0), Some(655_360.0));
    }
}
