//! Owns the scalars that physics and kernel tables do not give, one set a class of models.
//!
//! Fitted by `calibration::fit_scalars` on tests/fixtures/economics/measured_points.csv with
//! `cargo bench --bench estimator`, which prints the fit beside these rounded values, and the errors
//! with models and GPUs left out.

use crate::detect::economics::engine::Engine;

/// Seconds beside the roofline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalars {
    /// Launches and small kernels of a layer.
    pub layer_seconds: f64,
    /// Scheduling, sampling and the host's part of a step: a C++ runtime needs less than a Python
    /// one.
    pub tensorrt_step_seconds: f64,
    pub vllm_step_seconds: f64,
    pub sglang_step_seconds: f64,
    /// The same for each request of the batch.
    pub request_seconds: f64,
    /// How much longer a prefill stalls the decoding requests than it takes alone.
    pub prefill_stall: f64,
}

impl Scalars {
    /// An engine that was never measured is taken for the slowest that was.
    #[must_use]
    pub fn step_seconds(&self, engine: Engine) -> f64 {
        match engine {
            Engine::TensorRtLlm => self.tensorrt_step_seconds,
            Engine::Vllm => self.vllm_step_seconds,
            Engine::Sglang => self.sglang_step_seconds,
            Engine::Other => self
                .tensorrt_step_seconds
                .max(self.vllm_step_seconds)
                .max(self.sglang_step_seconds),
        }
    }
}

/// Dense models: 486 points of Llama 3.1 8B and 70B. SGLang has none and takes vLLM's step.
pub const DENSE: Scalars = Scalars {
    layer_seconds: 15.5e-6,
    tensorrt_step_seconds: 1.1e-3,
    vllm_step_seconds: 2.0e-3,
    sglang_step_seconds: 2.0e-3,
    request_seconds: 24e-6,
    prefill_stall: 0.96,
};

/// Mixtures of experts: routing and many small matrices in each layer, and what a prefill costs
/// beyond its operations where every expert is touched.
pub const EXPERTS: Scalars = Scalars {
    layer_seconds: 41e-6,
    tensorrt_step_seconds: 0.0,
    vllm_step_seconds: 0.5e-3,
    sglang_step_seconds: 2.6e-3,
    request_seconds: 0.0,
    prefill_stall: 1.38,
};
