//! Owns predicted latency and capacity of one model on one kind of GPU.
//!
//! Physics with measured kernel tables and six scalars fitted on published serving points: weights
//! and keys-and-values against bandwidth, operations against peak, all-reduces, a cost a layer, a
//! step and a request. It knows no demand history, no price and no SLO policy.

use std::sync::LazyLock;

use crate::catalogue::{self, Model, Product, Quantisation, Vendor, kernels};
use crate::model::canonical::sha256_hex;

use super::fit::{Arithmetic, Served, arithmetic};

/// Bumped when a formula or a constant changes.
const FORMULA: &str = "1";

/// Names the formulas and the catalogue that made an estimate.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let digest = sha256_hex(format!("{FORMULA} {}", catalogue::digest()).as_bytes());
        format!("{FORMULA}+{}", digest.get(..12).unwrap_or_default())
    });
    &VERSION
}

/// Share of the kernel-level weight time that overlaps with nothing else (fitted, at its bound).
const WEIGHT_SHARE: f64 = 0.8;
/// Attention reads run a little better than one pass over the cache (fitted).
const KV_EFFICIENCY: f64 = 1.14;
/// How much longer a prefill stalls the decoding requests than it takes alone (fitted).
const PREFILL_STALL: f64 = 1.28;
/// Launches and small kernels of a layer, of a step, of a request in it (fitted on dense models).
const LAYER_SECONDS: f64 = 14e-6;
const STEP_SECONDS: f64 = 2.7e-3;
const REQUEST_SECONDS: f64 = 26e-6;
/// The same for mixtures of experts: routing and many small matrices (all-model fit).
const EXPERT_LAYER_SECONDS: f64 = 67e-6;
/// Tokenising, scheduling and the first answer on the wire, outside the engine's step.
const FRONTEND_SECONDS: f64 = 0.02;
/// Waiting times of a queue with near-constant service fall off exponentially: the 95th
/// percentile lies at about three means.
const P95_OF_MEAN_WAIT: f64 = 3.0;

/// Products with at least 30 measured points of dense models.
pub const CALIBRATED_PRODUCTS: &[&str] = &["B200-SXM-180", "H100-SXM-80"];

/// How far an estimate may be off, in percent of time.
#[must_use]
pub fn band_percent(product: &Product, model: &Model) -> i64 {
    let dense = !model.is_mixture_of_experts();
    if dense && CALIBRATED_PRODUCTS.contains(&product.key.as_str()) {
        30
    } else {
        60
    }
}

/// Why no estimate can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEstimate {
    #[error("no serving measurements of {vendor} GPUs support an estimate")]
    Vendor { vendor: &'static str },
    #[error("no measured kernels for {quantisation} weights support an estimate")]
    Kernel { quantisation: &'static str },
    #[error("the catalogue has no layer geometry for {model}")]
    Geometry { model: String },
    #[error(
        "{model} does not decode tokens: its capacity is prefill alone, which is not calibrated"
    )]
    NotGenerating { model: String },
    #[error("all-reduces over {gpus} GPUs were not measured")]
    Parallel { gpus: u32 },
}

/// Mean shape of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Prompt tokens, cached ones included: they occupy memory and are read.
    pub prompt_tokens: f64,
    /// Prompt tokens that must be computed.
    pub uncached_prompt_tokens: f64,
    pub output_tokens: f64,
}

/// Limits on latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub ttft_ms: i64,
    pub itl_ms: i64,
}

/// Latency at one operating point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub batch: f64,
    pub requests_per_second: f64,
    pub ttft_seconds: f64,
    pub itl_seconds: f64,
}

/// The largest load of one replica inside the limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    pub at: Latency,
    /// `load = prompt ÷ this + output ÷ decode`: tokens per second with nothing but prefill.
    pub prefill_tokens_per_second: f64,
    /// Tokens per second of the batch with nothing but decode.
    pub decode_tokens_per_second: f64,
}

/// One model on `gpus` of one product, ready to be asked.
#[derive(Debug, Clone)]
pub struct Estimator {
    gpus: u32,
    allreduce_product: &'static str,
    hidden: f64,
    layers: f64,
    layer_seconds: f64,
    /// Bytes read whatever the batch, and of all experts together.
    dense_bytes: f64,
    expert_bytes: f64,
    expert_share: f64,
    active_params: f64,
    bandwidth: f64,
    flops: f64,
    compute_efficiency: f64,
    memory_efficiency: f64,
    served_kv: KvReader,
    /// All times are multiplied by this: one plus the band, or one.
    pessimism: f64,
}

#[derive(Debug, Clone)]
struct KvReader {
    model: Model,
    value_bytes: f64,
    copies: f64,
}

impl Estimator {
    /// `pessimism` multiplies every time: 1.0 is the centre of the band.
    pub fn new(
        served: &Served<'_>,
        product: &Product,
        gpus: u32,
        pessimism: f64,
    ) -> Result<Self, NoEstimate> {
        let model = served.model;
        if model.task != catalogue::Task::Generate {
            return Err(NoEstimate::NotGenerating {
                model: model.id.clone(),
            });
        }
        match product.vendor {
            Vendor::Nvidia => {}
            Vendor::Amd => return Err(NoEstimate::Vendor { vendor: "AMD" }),
            Vendor::Intel => return Err(NoEstimate::Vendor { vendor: "Intel" }),
        }
        let geometry = || NoEstimate::Geometry {
            model: model.id.clone(),
        };
        let layers = f64::from(model.layers.ok_or_else(geometry)?);
        let hidden = f64::from(model.hidden.ok_or_else(geometry)?);
        let copies = super::fit::kv_copies(model, gpus).ok_or_else(geometry)?;
        model.kv_bytes_per_token_16bit.ok_or_else(geometry)?;
        let unmeasured = || NoEstimate::Kernel {
            quantisation: served.quantisation.as_str(),
        };
        let (kernel, peak) = kernel_of(product, served.quantisation).ok_or_else(unmeasured)?;
        let efficiency = stand_ins(product)
            .iter()
            .find_map(|name| kernels().efficiency(name, kernel))
            .ok_or_else(unmeasured)?;
        let allreduce_product = allreduce_stand_in(product, gpus);
        if gpus > 1
            && kernels()
                .allreduce_us(allreduce_product, gpus, 1.0)
                .is_none()
        {
            return Err(NoEstimate::Parallel { gpus });
        }

        let params = model.params_b * 1e9;
        let active_params = model.active_params_b * 1e9;
        let bytes = model.weight_bytes(served.quantisation);
        // Weights of the output head are read each step, those of the input embedding never.
        let embedding = f64::from(model.vocab.unwrap_or(0)) * hidden;
        let (dense_bytes, expert_bytes, expert_share) =
            match (model.experts, model.experts_per_token) {
                (Some(experts), Some(used)) if experts > used => {
                    let share = f64::from(used) / f64::from(experts);
                    let expert_params =
                        ((params - active_params - embedding) / (1.0 - share)).clamp(0.0, params);
                    let expert_bytes = expert_params * served.quantisation.bytes_per_weight();
                    let rest = (bytes - expert_bytes - embedding * 2.0).max(0.0);
                    (rest, expert_bytes, share)
                }
                _ => {
                    let never_read = (params - active_params).max(0.0) * 2.0;
                    ((bytes - never_read).max(0.0), 0.0, 0.0)
                }
            };
        Ok(Self {
            gpus,
            allreduce_product,
            hidden,
            layers,
            layer_seconds: if model.is_mixture_of_experts() {
                EXPERT_LAYER_SECONDS
            } else {
                LAYER_SECONDS
            },
            dense_bytes,
            expert_bytes,
            expert_share,
            active_params,
            bandwidth: f64::from(gpus) * product.memory_bandwidth_gb_per_second * 1e9,
            flops: f64::from(gpus) * peak * 1e12,
            compute_efficiency: efficiency.compute,
            memory_efficiency: efficiency.memory,
            served_kv: KvReader {
                model: model.clone(),
                value_bytes: served.kv_value_bytes,
                copies,
            },
            pessimism,
        })
    }

    fn allreduce_seconds(&self, tokens: f64) -> f64 {
        if self.gpus < 2 {
            return 0.0;
        }
        kernels()
            .allreduce_us(self.allreduce_product, self.gpus, tokens * self.hidden)
            .unwrap_or(0.0)
            * 1e-6
    }

    /// Seconds to compute a prompt of that many tokens alone.
    #[must_use]
    pub fn prefill_seconds(&self, tokens: f64) -> f64 {
        let compute = 2.0 * self.active_params * tokens / (self.flops * self.compute_efficiency);
        self.pessimism * (compute + 2.0 * self.layers * self.allreduce_seconds(tokens))
    }

    /// Seconds of one decode step over `batch` sequences at their mean context, without prefill.
    #[must_use]
    pub fn step_seconds(&self, batch: f64, shape: &Shape) -> f64 {
        let touched = 1.0 - (1.0 - self.expert_share).powf(batch);
        let weights = (self.dense_bytes + self.expert_bytes * touched)
            / self.bandwidth
            / self.memory_efficiency;
        let compute = 2.0 * self.active_params * batch / (self.flops * self.compute_efficiency);
        let context = shape.prompt_tokens + shape.output_tokens / 2.0;
        let kv = &self.served_kv;
        let kv_bytes = kv.model.kv_bytes(context, kv.value_bytes).unwrap_or(0.0) * kv.copies;
        let kv_seconds = batch * kv_bytes / self.bandwidth / KV_EFFICIENCY;
        let seconds = (WEIGHT_SHARE * weights).max(compute)
            + kv_seconds
            + 2.0 * self.layers * self.allreduce_seconds(batch)
            + self.layers * self.layer_seconds
            + STEP_SECONDS
            + batch * REQUEST_SECONDS;
        // On slow memory the fitted share is optimistic: no step is faster than its weights.
        self.pessimism * seconds.max(weights)
    }

    /// Inter-token time at a batch, the stalls of other requests' prefills included.
    #[must_use]
    pub fn itl_seconds(&self, batch: f64, shape: &Shape) -> f64 {
        let prefill = self.prefill_seconds(shape.uncached_prompt_tokens);
        self.step_seconds(batch, shape)
            + PREFILL_STALL * batch / shape.output_tokens.max(1.0) * prefill
    }

    /// The operating point at a batch: by Little's law the batch is the rate times the time that a
    /// request decodes.
    #[must_use]
    pub fn at_batch(&self, batch: f64, shape: &Shape) -> Latency {
        let itl_seconds = self.itl_seconds(batch, shape);
        let requests_per_second = batch / (shape.output_tokens.max(1.0) * itl_seconds);
        let prefill = self.prefill_seconds(shape.uncached_prompt_tokens);
        let busy = (requests_per_second * prefill).min(0.999);
        let wait = P95_OF_MEAN_WAIT * busy / (2.0 * (1.0 - busy)) * prefill;
        Latency {
            batch,
            requests_per_second,
            ttft_seconds: FRONTEND_SECONDS
                + PREFILL_STALL * prefill
                + self.step_seconds(batch, shape)
                + wait,
            itl_seconds,
        }
    }

    /// The operating point at a request rate, the fixed point of Little's law; `None` above what
    /// `max_batch` sequences sustain.
    #[must_use]
    pub fn at_rate(&self, rate: f64, shape: &Shape, max_batch: f64) -> Option<Latency> {
        if self.at_batch(max_batch, shape).requests_per_second < rate {
            return None;
        }
        let (mut low, mut high) = (0.0, max_batch);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.at_batch(middle, shape).requests_per_second < rate {
                low = middle;
            } else {
                high = middle;
            }
        }
        // A request that decodes at all is a batch of one while it does.
        Some(self.at_batch(high.max(1.0_f64.min(max_batch)), shape))
    }

    /// The largest load inside the limits with at most `max_batch` sequences; `None` where not even
    /// a single sequence is.
    #[must_use]
    pub fn capacity(&self, shape: &Shape, limits: Limits, max_batch: i64) -> Option<Capacity> {
        let inside = |batch: i64| {
            let at = self.at_batch(batch as f64, shape);
            at.itl_seconds * 1e3 <= limits.itl_ms as f64
                && at.ttft_seconds * 1e3 <= limits.ttft_ms as f64
        };
        if max_batch < 1 || !inside(1) {
            return None;
        }
        let (mut good, mut bad) = (1, max_batch + 1);
        while bad - good > 1 {
            let middle = i64::midpoint(good, bad);
            if inside(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        let batch = good as f64;
        let prefill = self.prefill_seconds(shape.uncached_prompt_tokens);
        Some(Capacity {
            at: self.at_batch(batch, shape),
            prefill_tokens_per_second: shape.uncached_prompt_tokens / (PREFILL_STALL * prefill),
            decode_tokens_per_second: batch / self.step_seconds(batch, shape),
        })
    }
}

/// The measured kernel and the dense peak (in TFLOPS) that a product uses for stored weights.
fn kernel_of(product: &Product, stored: Quantisation) -> Option<(&'static str, f64)> {
    let sixteen = product.bf16_tflops.or(product.fp16_tflops)?;
    let how = arithmetic(product, stored)?;
    match (stored, how) {
        (Quantisation::Bf16 | Quantisation::Fp16, _) => Some(("bfloat16", sixteen)),
        (Quantisation::Fp8, Arithmetic::Native) => Some(("fp8", product.fp8_tflops?)),
        (Quantisation::Fp8, Arithmetic::WeightOnly) => Some(("int8_wo", sixteen)),
        (Quantisation::Int8, _) => Some(("sq", product.int8_tops?)),
        (Quantisation::Nvfp4 | Quantisation::Mxfp4, Arithmetic::Native) => {
            Some(("nvfp4", product.fp4_tflops?))
        }
        (Quantisation::Int4 | Quantisation::Nvfp4 | Quantisation::Mxfp4, _) => {
            Some(("int4_wo", sixteen))
        }
        // Other kernels than the measured ones, and slower by an unknown factor.
        _ => None,
    }
}

/// Products whose kernel tables speak for a product, itself first: the same memory technology and
/// the nearest architecture. The band is wide where this is not the product itself.
fn stand_ins(product: &Product) -> Vec<&str> {
    let mut names = vec![product.key.as_str()];
    names.extend(match product.key.as_str() {
        key if key.starts_with("H200") => &["H200-SXM-141", "H100-SXM-80", "A100-SXM-80"][..],
        key if key.starts_with("H100") || key.starts_with("GH200") => {
            &["H100-SXM-80", "H200-SXM-141", "A100-SXM-80"][..]
        }
        "GB300-278" => &["B300-SXM-270", "B200-SXM-180", "H200-SXM-141"][..],
        key if key.starts_with('B') || key.starts_with("GB") => {
            &["B200-SXM-180", "H200-SXM-141", "H100-SXM-80"][..]
        }
        key if key.starts_with("A100") || key.starts_with("A30") || key.starts_with("V100") => {
            &["A100-SXM-80"][..]
        }
        // Everything with GDDR memory behind PCIe.
        _ => &["L40S-48", "A100-SXM-80"][..],
    });
    names
}

/// The product whose all-reduce times speak for a product: what carries the messages decides.
fn allreduce_stand_in(product: &Product, gpus: u32) -> &'static str {
    match product.key.as_str() {
        "GB200-186" | "GB300-278" if gpus <= 4 => "GB200-186",
        "GB200-186" | "GB300-278" | "B200-SXM-180" => "B200-SXM-180",
        "B300-SXM-270" => "B300-SXM-270",
        "H200-SXM-141" => "H200-SXM-141",
        "H100-SXM-80" | "GH200-96" => "H100-SXM-80",
        // Bridges join pairs; beyond two the messages cross PCIe.
        "H100-NVL-94" | "H200-NVL-141" if gpus == 2 => "H100-SXM-80",
        "A100-SXM-80" | "A100-SXM-40" | "V100-SXM-16" | "V100-SXM-32" => "A100-SXM-80",
        "RTXPRO6000-96" => "RTXPRO6000-96",
        _ => "L40S-48",
    }
}

#[cfg(test)]
mod tests;
