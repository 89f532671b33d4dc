//! Owns what differs between serving engines: their names, the GPUs that they have kernels for.

use crate::catalogue::{Product, Vendor};

/// The engine that decodes, as far as it changes speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Engine {
    TensorRtLlm,
    Vllm,
    Sglang,
    /// Known, and never measured; or not known.
    #[default]
    Other,
}

impl Engine {
    /// The word of a telemetry row or of an inventory row.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let word = word.to_ascii_lowercase().replace(['_', ' '], "-");
        match word.as_str() {
            "trtllm" | "tensorrt-llm" | "trt-llm" | "tensorrtllm" => Self::TensorRtLlm,
            "vllm" => Self::Vllm,
            "sglang" => Self::Sglang,
            _ => Self::Other,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TensorRtLlm => "TensorRT-LLM",
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
            Self::Other => "the engine",
        }
    }

    /// The compute capability that the engine wants and an NVIDIA product lacks. SGLang's attention
    /// kernels and TensorRT-LLM's PyTorch path begin with Turing and Ampere; vLLM still builds for
    /// Volta.
    #[must_use]
    pub fn lacks(self, product: &Product) -> Option<&'static str> {
        let has = product
            .compute_capability
            .filter(|_| product.vendor == Vendor::Nvidia)?;
        let (needs, text) = match self {
            Self::TensorRtLlm => ((8, 0), "8.0"),
            Self::Sglang => ((7, 5), "7.5"),
            Self::Vllm | Self::Other => ((7, 0), "7.0"),
        };
        (has < needs).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::products;

    #[test]
    fn engines_are_known_by_their_words() {
        assert_eq!(Engine::parse("TensorRT-LLM"), Engine::TensorRtLlm);
        assert_eq!(Engine::parse("vllm"), Engine::Vllm);
        assert_eq!(Engine::parse("tgi"), Engine::Other);
    }

    #[test]
    fn old_gpus_lack_kernels_of_new_engines() {
        let lacks = |engine: Engine, key: &str| engine.lacks(products().get(key).unwrap());
        assert_eq!(lacks(Engine::TensorRtLlm, "T4-16"), Some("8.0"));
        assert_eq!(lacks(Engine::Sglang, "V100-SXM-16"), Some("7.5"));
        assert_eq!(lacks(Engine::Vllm, "V100-SXM-16"), None);
        assert_eq!(lacks(Engine::Sglang, "L4-24"), None);
        assert_eq!(lacks(Engine::Sglang, "MI300X-192"), None);
    }
}
