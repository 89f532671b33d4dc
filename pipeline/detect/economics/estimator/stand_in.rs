//! Owns which measured kernel tables speak for a product and a storage type.

use crate::catalogue::{Product, Quantisation};
use crate::detect::economics::fit::{Arithmetic, arithmetic};

/// The measured kernel and the dense peak (in TFLOPS) that a product uses for stored weights.
pub(super) fn kernel_of(product: &Product, stored: Quantisation) -> Option<(&'static str, f64)> {
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
pub(super) fn stand_ins(product: &Product) -> Vec<&str> {
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
pub(super) fn allreduce_stand_in(product: &Product, gpus: u32) -> &'static str {
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
