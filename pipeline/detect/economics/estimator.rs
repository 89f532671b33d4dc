//! Owns predicted latency and capacity of one model on one kind of GPU.
//!
//! Physics with measured kernel tables and a few scalars fitted on published serving points: weights
//! and keys-and-values against bandwidth, operations against peak, all-reduces, a cost a layer, a
//! step and a request. It knows no demand history, no price and no SLO policy.

mod scalars;
mod stand_in;

use std::sync::LazyLock;

use crate::catalogue::{self, Model, Quantisation, Vendor, kernels};
use crate::model::canonical::sha256_hex;

use super::device::Device;
use super::engine::Engine;
use super::fit::Served;
use super::speed::Line;

pub use scalars::{DENSE, EXPERTS, Scalars};
use stand_in::{allreduce_stand_in, kernel_of, stand_ins};

/// Bumped when a formula or a constant changes.
const FORMULA: &str = "3";

/// Names the formulas and the catalogue that made an estimate.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let digest = sha256_hex(format!("{FORMULA} {}", catalogue::digest()).as_bytes());
        format!("{FORMULA}+{}", digest.get(..12).unwrap_or_default())
    });
    &VERSION
}

/// Attention reads run a little better than one pass over the cache (fitted once on a wider set of
/// points than the calibration file has, and held).
const KV_EFFICIENCY: f64 = 1.14;
/// Tokenising, scheduling and the first answer on the wire, outside the engine's step: the least
/// time to a first token that the measured points have at low concurrency.
const FRONTEND_SECONDS: f64 = 0.1;
/// Waiting times of a queue with near-constant service fall off exponentially: the 95th
/// percentile lies at about three means.
const P95_OF_MEAN_WAIT: f64 = 3.0;

/// Products with at least 30 measured points of dense models.
pub const CALIBRATED_PRODUCTS: &[&str] = &["B200-SXM-180", "H100-SXM-80"];

/// The band of estimates that were calibrated, and of all others, in percent.
pub const CALIBRATED_BAND: i64 = 30;
pub const WIDE_BAND: i64 = 60;

/// How far an estimate may be off, in percent of time.
#[must_use]
pub fn band_percent(device: &Device, model: &Model) -> i64 {
    let dense = !model.is_mixture_of_experts();
    if dense && !device.is_part() && CALIBRATED_PRODUCTS.contains(&device.product.key.as_str()) {
        CALIBRATED_BAND
    } else {
        WIDE_BAND
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

/// One model on `gpus` of one device, ready to be asked.
#[derive(Debug, Clone)]
pub struct Estimator {
    gpus: u32,
    allreduce_product: &'static str,
    hidden: f64,
    layers: f64,
    scalars: Scalars,
    engine: Engine,
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
    /// Steps and prefills are multiplied by these: the band, and what the workload's own hours say.
    step_factor: f64,
    prefill_factor: f64,
    /// What was seen of this very placement, which outranks the model in its range.
    line: Option<Line>,
}

#[derive(Debug, Clone)]
struct KvReader {
    model: Model,
    value_bytes: f64,
    copies: f64,
}

impl Estimator {
    /// At the centre of the band, with the scalars of the model's class.
    pub fn new(served: &Served<'_>, device: &Device, gpus: u32) -> Result<Self, NoEstimate> {
        let scalars = if served.model.is_mixture_of_experts() {
            EXPERTS
        } else {
            DENSE
        };
        Self::with_scalars(served, device, gpus, scalars)
    }

    /// The same with other scalars, as calibration tries them.
    pub fn with_scalars(
        served: &Served<'_>,
        device: &Device,
        gpus: u32,
        scalars: Scalars,
    ) -> Result<Self, NoEstimate> {
        let (model, product) = (served.model, device.product);
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
        let reads = Reads::of(model, served.quantisation, hidden);
        Ok(Self {
            gpus,
            allreduce_product,
            hidden,
            layers,
            scalars,
            engine: served.engine,
            dense_bytes: reads.dense_bytes,
            expert_bytes: reads.expert_bytes,
            expert_share: reads.expert_share,
            active_params: model.active_params_b * 1e9,
            bandwidth: f64::from(gpus)
                * product.memory_bandwidth_gb_per_second
                * device.bandwidth_share()
                * 1e9,
            flops: f64::from(gpus) * peak * device.compute_share() * 1e12,
            compute_efficiency: efficiency.compute,
            memory_efficiency: efficiency.memory,
            served_kv: KvReader {
                model: model.clone(),
                value_bytes: served.kv_value_bytes,
                copies,
            },
            step_factor: 1.0,
            prefill_factor: 1.0,
            line: None,
        })
    }

    /// The same with every step and every prefill that many times as long.
    #[must_use]
    pub fn scaled(mut self, step: f64, prefill: f64) -> Self {
        self.step_factor *= step;
        self.prefill_factor *= prefill;
        self
    }

    /// The same with inter-token times as they were seen. Beyond the batches seen the model tells how
    /// much slower it gets.
    #[must_use]
    pub fn along(mut self, line: Line) -> Self {
        self.line = Some(line);
        self
    }

    /// The pessimistic end of a band.
    #[must_use]
    pub fn pessimistic(&self, band_percent: i64) -> Self {
        let slower = 1.0 + band_percent as f64 / 100.0;
        self.clone().scaled(slower, slower)
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
        self.prefill_factor * (compute + 2.0 * self.layers * self.allreduce_seconds(tokens))
    }

    fn modelled_step(&self, batch: f64, shape: &Shape) -> f64 {
        let touched = 1.0 - (1.0 - self.expert_share).powf(batch);
        let reads = (self.dense_bytes + self.expert_bytes * touched) / self.bandwidth;
        let weights = reads / self.memory_efficiency;
        let compute = 2.0 * self.active_params * batch / (self.flops * self.compute_efficiency);
        let context = shape.prompt_tokens + shape.output_tokens / 2.0;
        let kv = &self.served_kv;
        let kv_bytes = kv.model.kv_bytes(context, kv.value_bytes).unwrap_or(0.0) * kv.copies;
        let kv_seconds = batch * kv_bytes / self.bandwidth / KV_EFFICIENCY;
        let seconds = weights.max(compute)
            + kv_seconds
            + 2.0 * self.layers * self.allreduce_seconds(batch)
            + self.layers * self.scalars.layer_seconds
            + self.scalars.step_seconds(self.engine)
            + batch * self.scalars.request_seconds;
        // No factor, however it was come by, reads weights faster than the memory gives them.
        (self.step_factor * seconds).max(reads)
    }

    /// Inter-token time at a batch, the stalls of other requests' prefills included.
    #[must_use]
    pub fn itl_seconds(&self, batch: f64, shape: &Shape) -> f64 {
        let modelled = |batch: f64| self.modelled_step(batch, shape) + self.stall(batch, shape);
        match self.line {
            None => modelled(batch),
            Some(line) if batch <= line.to => self.step_factor * line.at(batch),
            Some(line) => self.step_factor * line.at(line.to) * modelled(batch) / modelled(line.to),
        }
    }

    /// Seconds of one decode step over `batch` sequences at their mean context, without prefill.
    #[must_use]
    pub fn step_seconds(&self, batch: f64, shape: &Shape) -> f64 {
        let (step, stall) = (self.modelled_step(batch, shape), self.stall(batch, shape));
        if self.line.is_none() {
            return step;
        }
        // What was seen holds both; they are told apart as the model tells them.
        self.itl_seconds(batch, shape) * step / (step + stall)
    }

    fn stall(&self, batch: f64, shape: &Shape) -> f64 {
        self.scalars.prefill_stall * batch / shape.output_tokens.max(1.0)
            * self.prefill_seconds(shape.uncached_prompt_tokens)
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
                + self.scalars.prefill_stall * prefill
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
        let step = self.step_seconds(batch, shape);
        let stalled = (self.itl_seconds(batch, shape) - step).max(f64::MIN_POSITIVE);
        Some(Capacity {
            at: self.at_batch(batch, shape),
            prefill_tokens_per_second: batch * shape.uncached_prompt_tokens
                / (shape.output_tokens.max(1.0) * stalled),
            decode_tokens_per_second: batch / step,
        })
    }
}

/// What a step reads of the weights.
struct Reads {
    dense_bytes: f64,
    expert_bytes: f64,
    /// Of all experts, those that one token uses.
    expert_share: f64,
}

impl Reads {
    /// Weights of the output head are read each step, those of the input embedding never.
    fn of(model: &Model, stored: Quantisation, hidden: f64) -> Self {
        let params = model.params_b * 1e9;
        let active_params = model.active_params_b * 1e9;
        let bytes = model.weight_bytes(stored);
        let embedding = f64::from(model.vocab.unwrap_or(0)) * hidden;
        match (model.experts, model.experts_per_token) {
            (Some(experts), Some(used)) if experts > used => {
                let share = f64::from(used) / f64::from(experts);
                let expert_params =
                    ((params - active_params - embedding) / (1.0 - share)).clamp(0.0, params);
                let expert_bytes = expert_params * stored.bytes_per_weight();
                Self {
                    dense_bytes: (bytes - expert_bytes - embedding * 2.0).max(0.0),
                    expert_bytes,
                    expert_share: share,
                }
            }
            _ => Self {
                dense_bytes: (bytes - (params - active_params).max(0.0) * 2.0).max(0.0),
                expert_bytes: 0.0,
                expert_share: 0.0,
            },
        }
    }
}

#[cfg(test)]
mod tests;
