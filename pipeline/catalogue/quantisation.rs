//! Owns how weights are stored: the words engines and model names use for it, and bytes per weight.

/// Storage type of the weights. How fast a GPU multiplies them is the estimator's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantisation {
    Fp32,
    Bf16,
    Fp16,
    Fp8,
    Int8,
    /// AWQ, GPTQ, W4A16: four-bit integers with scales, multiplied in 16 bit.
    Int4,
    /// bitsandbytes NF4.
    Bnb4,
    Nvfp4,
    Mxfp4,
    GgufQ4,
    GgufQ5,
    GgufQ6,
    GgufQ8,
}

impl Quantisation {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Bnb4 => "bnb4",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp4 => "mxfp4",
            Self::GgufQ4 => "gguf-q4",
            Self::GgufQ5 => "gguf-q5",
            Self::GgufQ6 => "gguf-q6",
            Self::GgufQ8 => "gguf-q8",
        }
    }

    /// Bytes per quantised weight, scales included.
    #[must_use]
    pub const fn bytes_per_weight(self) -> f64 {
        match self {
            Self::Fp32 => 4.0,
            Self::Bf16 | Self::Fp16 => 2.0,
            Self::Fp8 | Self::Int8 => 1.0,
            Self::Int4 | Self::Bnb4 => 0.56,
            Self::Nvfp4 => 0.5625,
            Self::Mxfp4 => 0.53125,
            Self::GgufQ4 => 0.6,
            Self::GgufQ5 => 0.71,
            Self::GgufQ6 => 0.82,
            Self::GgufQ8 => 1.06,
        }
    }

    /// Fewer bits than the 16 that checkpoints are trained in: embeddings then stay at 16.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        !matches!(self, Self::Fp32 | Self::Bf16 | Self::Fp16)
    }

    /// One word: an engine's `--quantization` or `--dtype`, a stored word, a token of a name.
    /// `auto`, `gguf` and `compressed-tensors` say nothing about bits and are `None`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace('_', "-");
        Some(match word.as_str() {
            "fp32" | "float32" | "float" => Self::Fp32,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp16" | "float16" | "half" => Self::Fp16,
            "fp8" | "fp8-block" | "fp8-dynamic" | "fbgemm-fp8" | "ptpc-fp8" | "modelopt-fp8"
            | "float8" => Self::Fp8,
            "int8" | "w8a8" | "w8a16" | "8bit" | "smoothquant" | "experts-int8" | "w8a8-int8" => {
                Self::Int8
            }
            "int4" | "4bit" | "awq" | "awq-marlin" | "gptq" | "gptq-marlin" | "w4a16"
            | "int4-wo" | "marlin" | "moe-wna16" => Self::Int4,
            "bnb4" | "bitsandbytes" | "bnb" | "nf4" | "bnb-4bit" => Self::Bnb4,
            "nvfp4" | "fp4" | "modelopt-fp4" => Self::Nvfp4,
            "mxfp4" => Self::Mxfp4,
            "gguf-q4" | "q4-k-m" | "q4-k-s" | "q4-0" | "q4-1" => Self::GgufQ4,
            "gguf-q5" | "q5-k-m" | "q5-k-s" | "q5-0" => Self::GgufQ5,
            "gguf-q6" | "q6-k" => Self::GgufQ6,
            "gguf-q8" | "q8-0" => Self::GgufQ8,
            _ => return None,
        })
    }
}

/// How weights are stored: as declared, else as a name says, else as the checkpoint was published. `None`
/// where a word was declared that tells no size.
#[must_use]
pub fn quantisation_stored(
    declared: Option<&str>,
    name: Option<&str>,
    native: Quantisation,
) -> Option<Quantisation> {
    let in_name = name.and_then(quantisation_in_name);
    match declared.filter(|word| !word.is_empty()) {
        Some(word) => Quantisation::parse(word).or(in_name),
        None => Some(in_name.unwrap_or(native)),
    }
}

/// The quantisation that a model's name states, `None` where it states none.
#[must_use]
pub fn quantisation_in_name(name: &str) -> Option<Quantisation> {
    let tokens = super::model_name::tokens(name)?;
    for (at, token) in tokens.iter().enumerate() {
        // `q4_k_m`, `q8_0` and `bnb-4bit` fall apart into several tokens.
        for length in [3, 2] {
            if let Some(group) = tokens.get(at..at + length) {
                let word = group.join("-");
                if (word.starts_with('q') || word == "bnb-4bit")
                    && let Some(found) = Quantisation::parse(&word)
                {
                    return Some(found);
                }
            }
        }
        if let Some(found) = Quantisation::parse(token) {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_state_their_quantisation() {
        let cases = [
            (
                "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
                Some(Quantisation::Fp8),
            ),
            ("TheBloke/Llama-2-7b-AWQ", Some(Quantisation::Int4)),
            ("Llama-2-7b.Q4_K_M.gguf", Some(Quantisation::GgufQ4)),
            ("x-7b-q8_0", Some(Quantisation::GgufQ8)),
            (
                "unsloth/Meta-Llama-3.1-8B-bnb-4bit",
                Some(Quantisation::Bnb4),
            ),
            ("nvidia/DeepSeek-R1-NVFP4", Some(Quantisation::Nvfp4)),
            (
                "RedHatAI/gemma-2-9b-it-quantized.w4a16",
                Some(Quantisation::Int4),
            ),
            ("meta-llama/Llama-3.1-8B-Instruct", None),
        ];
        for (name, expected) in cases {
            assert_eq!(quantisation_in_name(name), expected, "{name}");
        }
    }

    #[test]
    fn stored_words_read_back() {
        use Quantisation::*;
        for q in [
            Fp32, Bf16, Fp16, Fp8, Int8, Int4, Bnb4, Nvfp4, Mxfp4, GgufQ4, GgufQ5, GgufQ6, GgufQ8,
        ] {
            assert_eq!(Quantisation::parse(q.as_str()), Some(q));
        }
        assert_eq!(Quantisation::parse("auto"), None);
        assert_eq!(Quantisation::parse("compressed-tensors"), None);
    }
}
