//! Owns whether a model fits: weights, keys and values, overhead, types and parallelism limits.
//!
//! It says nothing about speed. Called by `estimator` and `placements`.

use crate::catalogue::{KvLayout, Model, Product, Quantisation, Vendor};

use super::device::Device;
use super::engine::Engine;

/// What an engine takes of a GPU's memory unless told otherwise (vLLM's default).
pub const MEMORY_UTILISATION: f64 = 0.9;
/// Tokens that an engine prefills in one step by default; activations scale with it.
const BATCHED_TOKENS: f64 = 8192.0;
/// Workspace and graphs, whatever the model. Together with the batched tokens this gives 1.2 GiB
/// for an 8B model: more (peers take 5.5) calls placements impossible that were measured running.
const WORKSPACE_BYTES: f64 = 0.5 * GIB;
/// Outside the framework's allocator: context and, with several GPUs, communication buffers.
const NON_TORCH_SINGLE_BYTES: f64 = 0.15 * GIB;
const NON_TORCH_PARALLEL_BYTES: f64 = 0.6 * GIB;
/// Sequences that an engine runs at once by default.
pub const MAX_SEQUENCES: i64 = 256;
const GIB: f64 = 1_073_741_824.0;

/// What is to be served: the quantisation is the one served today, never another.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    pub model: &'a Model,
    pub quantisation: Quantisation,
    /// Bytes of one stored key or value number: 2, or 1 for an FP8 cache.
    pub kv_value_bytes: f64,
    /// What the engine was told, else the model's own context.
    pub max_model_len: i64,
    /// Sequences that the engine runs at once: what it was told, else its default.
    pub max_num_seqs: i64,
    pub engine: Engine,
}

/// Memory left for keys and values on a number of GPUs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    pub weight_bytes: f64,
    pub kv_pool_bytes: f64,
    /// Longest total of tokens that fits at once.
    pub max_tokens: i64,
}

impl Fit {
    /// Sequences of that many tokens which fit at once.
    #[must_use]
    pub fn concurrency(&self, served: &Served<'_>, gpus: u32, tokens: f64) -> i64 {
        let Some(one) = stored_kv_bytes(served, gpus, tokens.max(1.0)) else {
            return 0;
        };
        ((self.kv_pool_bytes / one).floor() as i64).clamp(0, served.max_num_seqs.max(1))
    }
}

/// Why a model cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error(
        "{product} has no {quantisation} arithmetic, and another type is a decision of its own"
    )]
    Type {
        product: String,
        quantisation: &'static str,
    },
    #[error("{heads} attention heads do not divide over {gpus} GPUs")]
    Heads { heads: u32, gpus: u32 },
    #[error(
        "a slice of {product} cannot be joined with {gpus} others: MIG instances share no link"
    )]
    Slices { product: String, gpus: u32 },
    #[error("{engine} has no kernels for {product}: it needs compute capability {needs}")]
    Engine {
        engine: &'static str,
        product: String,
        needs: &'static str,
    },
    #[error(
        "the weights take {weights_gib} GiB of the {usable_gib} GiB usable on {gpus} x {product}"
    )]
    Weights {
        product: String,
        gpus: u32,
        weights_gib: i64,
        usable_gib: i64,
    },
    #[error(
        "the key-value cache on {gpus} x {product} holds {max_tokens} tokens, fewer than the context of {max_model_len}"
    )]
    Context {
        product: String,
        gpus: u32,
        max_tokens: i64,
        max_model_len: i64,
    },
    #[error("the catalogue has no key-value geometry for {model}")]
    Geometry { model: String },
}

/// How a product multiplies weights of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// In the stored type.
    Native,
    /// Unpacked to 16 bits first: saves bandwidth, not operations.
    WeightOnly,
}

/// Whether and how a product multiplies that type; `None` where it does not.
#[must_use]
pub fn arithmetic(product: &Product, stored: Quantisation) -> Option<Arithmetic> {
    let capability = product.compute_capability.unwrap_or((0, 0));
    let nvidia = product.vendor == Vendor::Nvidia;
    match stored {
        Quantisation::Bf16 => product.bf16_tflops.map(|_| Arithmetic::Native),
        Quantisation::Fp16 => product.fp16_tflops.map(|_| Arithmetic::Native),
        Quantisation::Fp8 if product.fp8_tflops.is_some() => Some(Arithmetic::Native),
        // Ampere has no FP8 units: kernels unpack the weights.
        Quantisation::Fp8 => (nvidia && capability >= (8, 0)).then_some(Arithmetic::WeightOnly),
        // Blackwell Ultra dropped the INT8 units and runs at a fifteenth of the rate.
        Quantisation::Int8 => product
            .int8_tops
            .zip(product.fp16_tflops)
            .filter(|(int8, fp16)| int8 >= fp16)
            .map(|_| Arithmetic::Native),
        Quantisation::Nvfp4 | Quantisation::Mxfp4 if product.fp4_tflops.is_some() => {
            Some(Arithmetic::Native)
        }
        Quantisation::Nvfp4 | Quantisation::Mxfp4 => {
            (nvidia && capability >= (8, 0)).then_some(Arithmetic::WeightOnly)
        }
        Quantisation::Int4 | Quantisation::Bnb4 => {
            (!nvidia || capability >= (7, 5)).then_some(Arithmetic::WeightOnly)
        }
        Quantisation::GgufQ4
        | Quantisation::GgufQ5
        | Quantisation::GgufQ6
        | Quantisation::GgufQ8 => Some(Arithmetic::WeightOnly),
        Quantisation::Fp32 => None,
    }
}

/// Bytes that `tokens` of one sequence take over all GPUs, replicas of heads included.
fn stored_kv_bytes(served: &Served<'_>, gpus: u32, tokens: f64) -> Option<f64> {
    let once = served.model.kv_bytes(tokens, served.kv_value_bytes)?;
    Some(once * kv_copies(served.model, gpus)?)
}

/// How often each key and value is stored when the model is split over that many GPUs.
#[must_use]
pub fn kv_copies(model: &Model, gpus: u32) -> Option<f64> {
    match model.kv_layout {
        KvLayout::Heads { kv_heads } => Some((f64::from(gpus) / f64::from(kv_heads)).max(1.0)),
        KvLayout::Latent => Some(f64::from(gpus)),
        KvLayout::Unknown => None,
    }
}

/// Bytes of one GPU that activations, workspace and the driver take.
fn overhead_bytes(model: &Model, gpus: u32) -> f64 {
    let hidden = f64::from(model.hidden.unwrap_or(4096));
    let inner = model.intermediate.map_or(4.0 * hidden, f64::from);
    let spread = if model.is_mixture_of_experts() {
        2.0
    } else {
        1.0
    };
    let activations =
        BATCHED_TOKENS * (2.0 * inner / f64::from(gpus) + 4.0 * hidden) * 2.0 * spread;
    let non_torch = if gpus == 1 {
        NON_TORCH_SINGLE_BYTES
    } else {
        NON_TORCH_PARALLEL_BYTES
    };
    WORKSPACE_BYTES + activations + non_torch
}

/// Whether the model starts and holds its context on `gpus` of a device.
pub fn fit(served: &Served<'_>, device: &Device, gpus: u32) -> Result<Fit, Misfit> {
    let (model, product) = (served.model, device.product);
    if arithmetic(product, served.quantisation).is_none() {
        return Err(Misfit::Type {
            product: product.key.clone(),
            quantisation: served.quantisation.as_str(),
        });
    }
    if let Some(needs) = served.engine.lacks(product) {
        return Err(Misfit::Engine {
            engine: served.engine.as_str(),
            product: product.key.clone(),
            needs,
        });
    }
    if gpus > 1 && device.is_part() {
        return Err(Misfit::Slices {
            product: product.key.clone(),
            gpus,
        });
    }
    if let Some(heads) = model.heads
        && (gpus == 0 || heads % gpus != 0)
    {
        return Err(Misfit::Heads { heads, gpus });
    }
    let weight_bytes = model.weight_bytes(served.quantisation);
    let usable = f64::from(gpus)
        * (MEMORY_UTILISATION * device.memory_bytes() - overhead_bytes(model, gpus));
    let kv_pool_bytes = usable - weight_bytes;
    if kv_pool_bytes <= 0.0 {
        return Err(Misfit::Weights {
            product: device.name(),
            gpus,
            weights_gib: (weight_bytes / GIB).ceil() as i64,
            usable_gib: (usable.max(0.0) / GIB).floor() as i64,
        });
    }
    let context = served.max_model_len.max(1);
    let one = stored_kv_bytes(served, gpus, context as f64).ok_or_else(|| Misfit::Geometry {
        model: model.id.clone(),
    })?;
    let max_tokens = (kv_pool_bytes / one * context as f64).floor() as i64;
    // The engine refuses to start where one sequence of full length would not fit.
    if max_tokens < context {
        return Err(Misfit::Context {
            product: device.name(),
            gpus,
            max_tokens,
            max_model_len: served.max_model_len,
        });
    }
    Ok(Fit {
        weight_bytes,
        kv_pool_bytes,
        max_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{models, products};

    fn served(name: &str, quantisation: Quantisation, max_model_len: i64) -> Served<'static> {
        Served {
            model: models().resolve(name).unwrap(),
            quantisation,
            kv_value_bytes: 2.0,
            max_model_len,
            max_num_seqs: MAX_SEQUENCES,
            engine: Engine::Vllm,
        }
    }

    fn on(served: &Served<'_>, product: &str, gpus: u32) -> Result<Fit, Misfit> {
        fit(
            served,
            &Device::whole(products().get(product).unwrap()),
            gpus,
        )
    }

    #[test]
    fn an_8b_runs_on_24_gb_at_a_short_context_only() {
        let short = served("llama-3.1-8b", Quantisation::Bf16, 8192);
        for product in ["L4-24", "A10G-24"] {
            let fit = on(&short, product, 1).unwrap();
            assert!((28_000..45_000).contains(&fit.max_tokens), "{fit:?}");
        }
        let long = served("llama-3.1-8b", Quantisation::Bf16, 131_072);
        assert!(matches!(on(&long, "L4-24", 1), Err(Misfit::Context { .. })));
        assert!(on(&long, "L40S-48", 1).is_ok());
        let fp8 = served("llama-3.1-8b", Quantisation::Fp8, 32_768);
        assert!(on(&fp8, "L4-24", 1).unwrap().max_tokens > 75_000);
    }

    #[test]
    fn a_70b_needs_its_gpus() {
        let bf16 = served("llama-3.3-70b-instruct", Quantisation::Bf16, 8192);
        for (product, gpus) in [
            ("A100-SXM-80", 1),
            ("L40S-48", 1),
            ("L40S-48", 2),
            ("H100-SXM-80", 1),
        ] {
            assert!(
                matches!(on(&bf16, product, gpus), Err(Misfit::Weights { .. })),
                "{product}"
            );
        }
        assert!(on(&bf16, "H100-SXM-80", 4).is_ok());
        assert!(on(&bf16, "L40S-48", 4).is_ok());
        assert!(on(&bf16, "H200-SXM-141", 2).is_ok());
    }

    #[test]
    fn types_that_a_product_lacks_are_refused() {
        let bf16 = served("qwen3-0.6b", Quantisation::Bf16, 4096);
        assert!(matches!(on(&bf16, "T4-16", 1), Err(Misfit::Type { .. })));
        assert!(matches!(
            on(&bf16, "V100-SXM-32", 1),
            Err(Misfit::Type { .. })
        ));
        let how = |product: &str, q| arithmetic(products().get(product).unwrap(), q);
        assert_eq!(
            how("A100-SXM-80", Quantisation::Fp8),
            Some(Arithmetic::WeightOnly)
        );
        assert_eq!(how("L4-24", Quantisation::Fp8), Some(Arithmetic::Native));
        assert_eq!(how("T4-16", Quantisation::Fp8), None);
        assert_eq!(how("B300-SXM-270", Quantisation::Int8), None);
        assert_eq!(
            how("H100-SXM-80", Quantisation::Nvfp4),
            Some(Arithmetic::WeightOnly)
        );
    }

    #[test]
    fn heads_divide_and_replicate() {
        // 28 heads of Qwen2.5-7B do not divide over eight GPUs.
        let qwen = served("qwen2.5-7b-instruct", Quantisation::Bf16, 8192);
        assert!(matches!(
            on(&qwen, "L4-24", 8),
            Err(Misfit::Heads { heads: 28, gpus: 8 })
        ));
        let llama = models().resolve("llama-3.1-8b").unwrap();
        assert_eq!(kv_copies(llama, 8), Some(1.0));
        assert_eq!(kv_copies(llama, 16), Some(2.0));
        let latent = models().resolve("deepseek-r1").unwrap();
        assert_eq!(kv_copies(latent, 8), Some(8.0));
    }

    #[test]
    fn unknown_geometry_is_not_guessed() {
        let hybrid = served(
            "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
            Quantisation::Bf16,
            8192,
        );
        assert!(matches!(
            on(&hybrid, "H100-SXM-80", 1),
            Err(Misfit::Geometry { .. })
        ));
    }

    #[test]
    fn keys_and_values_are_those_of_the_published_geometries() {
        let per_token = |name: &str| models().resolve(name).unwrap().kv_bytes(1.0, 2.0).unwrap();
        // 2 x layers x KV heads x 128 x 2 bytes.
        assert_eq!(per_token("llama-3.1-8b"), 131_072.0);
        assert_eq!(per_token("llama-3.3-70b-instruct"), 327_680.0);
        // One latent of 512 + 64 numbers a layer.
        assert_eq!(per_token("deepseek-v3"), 70_272.0);
        // Half of the layers see 128 tokens: beyond them a token costs half.
        let local = models().resolve("gpt-oss-120b").unwrap();
        let cost = |tokens: f64| local.kv_bytes(tokens, 2.0).unwrap();
        assert_eq!(cost(129.0) - cost(128.0), cost(1.0) / 2.0);
        // The pool of an 8B on 24 GB: about 4.1 GiB.
        let fit = on(
            &served("llama-3.1-8b", Quantisation::Bf16, 8192),
            "L4-24",
            1,
        )
        .unwrap();
        assert!((3.7..4.6).contains(&(fit.kv_pool_bytes / GIB)), "{fit:?}");
    }

    #[test]
    fn sequences_are_capped_by_the_engine_and_by_the_cache() {
        let told = Served {
            max_num_seqs: 16,
            ..served("llama-3.1-8b", Quantisation::Bf16, 8192)
        };
        let fit = on(&told, "H100-SXM-80", 1).unwrap();
        assert_eq!(fit.concurrency(&told, 1, 1000.0), 16);
        let cache = (fit.kv_pool_bytes / (131_072.0 * 100_000.0)).floor() as i64;
        assert!(cache < 16);
        assert_eq!(fit.concurrency(&told, 1, 100_000.0), cache);
    }

    #[test]
    fn slices_hold_what_their_memory_holds_and_join_nothing() {
        let card = products().get("H100-SXM-80").unwrap();
        let slice = |name: &str| Device::slice(card, name).unwrap();
        let model = served("llama-3.1-8b", Quantisation::Bf16, 8192);
        assert!(matches!(
            fit(&model, &slice("1g.10gb"), 1),
            Err(Misfit::Weights { .. })
        ));
        let half = fit(&model, &slice("3g.40gb"), 1).unwrap();
        let whole = fit(&model, &Device::whole(card), 1).unwrap();
        assert!(half.max_tokens * 2 < whole.max_tokens);
        assert!(matches!(
            fit(&model, &slice("3g.40gb"), 2),
            Err(Misfit::Slices { gpus: 2, .. })
        ));
    }

    #[test]
    fn an_engine_without_kernels_for_a_gpu_does_not_run_on_it() {
        let half = Served {
            engine: Engine::TensorRtLlm,
            ..served("qwen3-0.6b", Quantisation::Fp16, 4096)
        };
        assert!(matches!(on(&half, "T4-16", 1), Err(Misfit::Engine { .. })));
        let other = Served {
            engine: Engine::Vllm,
            ..half
        };
        assert!(on(&other, "T4-16", 1).is_ok());
    }
}
