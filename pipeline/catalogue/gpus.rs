//! Owns GPU products: what a node label, a DCGM model name or a catalogue key stands for.
//!
//! Knows no price and no instance type.

use std::collections::BTreeMap;

use super::{CatalogueError, Rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    Nvidia,
    Amd,
    Intel,
}

/// One GPU product. Peaks are dense, as no serving kernel uses structured sparsity.
#[derive(Debug, Clone)]
pub struct Product {
    /// Catalogue key, `H100-SXM-80`.
    pub key: String,
    /// The value of `nvidia.com/gpu.product`.
    pub gfd_label: String,
    /// The exporter's `modelName`.
    pub dcgm_model_name: String,
    pub vendor: Vendor,
    pub generation: String,
    /// Major and minor, where the vendor has such a thing.
    pub compute_capability: Option<(u32, u32)>,
    /// What the driver reports, which is less than what the box says.
    pub memory_mib: i64,
    pub memory_bandwidth_gb_per_second: f64,
    pub bf16_tflops: Option<f64>,
    pub fp16_tflops: Option<f64>,
    pub fp8_tflops: Option<f64>,
    pub int8_tops: Option<f64>,
    pub fp4_tflops: Option<f64>,
    pub tdp_watts: Option<f64>,
    /// Linked by NVLink (or the vendor's like of it) rather than by PCIe alone.
    pub linked: bool,
    pub mig_profiles: Vec<String>,
    pub source: String,
    pub confidence: String,
    pub notes: Option<String>,
}

impl Product {
    #[must_use]
    pub fn memory_bytes(&self) -> i64 {
        self.memory_mib * 1_048_576
    }

    /// The short name for sentences: `H100-SXM-80` is "H100 SXM 80".
    #[must_use]
    pub fn title(&self) -> String {
        self.key.replace('-', " ")
    }
}

/// What a label resolved to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelMatch<'a> {
    pub product: &'static Product,
    /// The label ended in `-SHARED`: time-slicing or MPS.
    pub shared: bool,
    /// The MIG profile of the single strategy, `1g.5gb`.
    pub mig_profile: Option<&'a str>,
}

impl PartialEq for Product {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// Labels that control planes put on nodes and that are neither the GFD label nor DCGM's name.
/// Names that stand for two products (GKE's `nvidia-tesla-a100` does not) are left out.
const PLATFORM_LABELS: &[(&str, &str)] = &[
    // GKE, cloud.google.com/gke-accelerator
    ("nvidia-tesla-t4", "T4-16"),
    ("nvidia-tesla-v100", "V100-SXM-16"),
    ("nvidia-tesla-a100", "A100-SXM-40"),
    ("nvidia-a100-80gb", "A100-SXM-80"),
    ("nvidia-h100-80gb", "H100-SXM-80"),
    ("nvidia-h100-mega-80gb", "H100-SXM-80"),
    ("nvidia-h200-141gb", "H200-SXM-141"),
    ("nvidia-rtx-pro-6000", "RTXPRO6000-96"),
    // CoreWeave, gpu.nvidia.com/model
    ("h100-nvlink-80gb", "H100-SXM-80"),
    ("a100-nvlink-80gb", "A100-SXM-80"),
    ("a100-pcie-80gb", "A100-PCIE-80"),
    // Spellings of the same part by newer drivers
    ("nvidia-h100-80gb-hbm3e", "H100-SXM-80"),
    ("nvidia-h200-sxm5-141gb", "H200-SXM-141"),
    ("nvidia-gb200-nvl72", "GB200-186"),
];

/// All products.
#[derive(Debug)]
pub struct Products {
    rows: Vec<Product>,
    by_key: BTreeMap<String, usize>,
    by_label: BTreeMap<String, usize>,
}

impl Products {
    pub(super) fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut products = Self {
            rows: Vec::new(),
            by_key: BTreeMap::new(),
            by_label: BTreeMap::new(),
        };
        for row in Rows::read("gpu_catalogue", text)?.iter() {
            let key = row.required("key")?.to_owned();
            let vendor = match row.required("vendor")? {
                "NVIDIA" => Vendor::Nvidia,
                "AMD" => Vendor::Amd,
                "Intel" => Vendor::Intel,
                other => return Err(row.error(format!("unknown vendor {other:?}"))),
            };
            let compute_capability = match row.text("compute_capability")? {
                Some(text) => Some(
                    text.split_once('.')
                        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
                        .ok_or_else(|| row.error("compute_capability is not major.minor"))?,
                ),
                None => None,
            };
            let memory_mib = row
                .parsed::<i64>("mem_mib_reported")?
                .filter(|mib| *mib > 0)
                .ok_or_else(|| row.error("mem_mib_reported is not above zero"))?;
            let product = Product {
                gfd_label: row.required("gfd_product_label")?.to_owned(),
                dcgm_model_name: row.required("dcgm_modelName")?.to_owned(),
                vendor,
                generation: row.required("generation")?.to_owned(),
                compute_capability,
                memory_mib,
                memory_bandwidth_gb_per_second: row.required_positive("mem_bw_gbs")?,
                bf16_tflops: row.positive("bf16_dense_tflops")?,
                fp16_tflops: row.positive("fp16_dense_tflops")?,
                fp8_tflops: row.positive("fp8_dense_tflops")?,
                int8_tops: row.positive("int8_dense_tops")?,
                fp4_tflops: row.positive("fp4_dense_tflops")?,
                tdp_watts: row.positive("tdp_w")?,
                linked: row.text("nvlink_bidir_gbs")?.is_some(),
                mig_profiles: row
                    .text("mig_profiles")?
                    .map(|list| {
                        list.split(';')
                            .filter_map(|item| item.trim().split(['(', ' ']).next())
                            .filter(|item| item.contains("g."))
                            .map(str::to_owned)
                            .collect()
                    })
                    .unwrap_or_default(),
                source: row.required("source")?.to_owned(),
                confidence: row.required("confidence")?.to_owned(),
                notes: row.text("notes")?.map(str::to_owned),
                key,
            };
            let at = products.rows.len();
            if products.by_key.insert(product.key.clone(), at).is_some() {
                return Err(row.error(format!("{} stands twice", product.key)));
            }
            let aliases = row.text("label_aliases")?.unwrap_or("").split('|');
            for label in [product.gfd_label.as_str(), product.dcgm_model_name.as_str()]
                .into_iter()
                .chain(aliases)
                .chain([product.key.as_str()])
                .filter(|label| !label.trim().is_empty())
            {
                if let Some(other) = products.by_label.insert(normalise(label), at)
                    && other != at
                {
                    return Err(row.error(format!("label {label:?} names two products")));
                }
            }
            products.rows.push(product);
        }
        for (label, key) in PLATFORM_LABELS {
            if let Some(at) = products.by_key.get(*key) {
                products.by_label.entry((*label).to_owned()).or_insert(*at);
            }
        }
        Ok(products)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Product> {
        self.rows.iter()
    }

    /// The product of a catalogue key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Product> {
        self.by_key.get(key).and_then(|at| self.rows.get(*at))
    }

    /// What a GFD label, a DCGM model name, a control plane's label or a catalogue key stands for,
    /// with a `-SHARED` or `-MIG-<profile>` suffix taken off.
    #[must_use]
    pub fn resolve_label<'a>(&'static self, label: &'a str) -> Option<LabelMatch<'a>> {
        let label = label.trim();
        let (rest, shared) = match strip_suffix_ignore_case(label, "-SHARED") {
            Some(rest) => (rest, true),
            None => (label, false),
        };
        let (name, mig_profile) =
            match find_ignore_case(rest, "-MIG-").or_else(|| find_ignore_case(rest, " MIG ")) {
                Some(at) => (&rest[..at], Some(rest[at + 5..].trim())),
                None => (rest, None),
            };
        let normal = normalise(name);
        let product = self
            .by_label
            .get(&normal)
            // Older drivers leave the vendor out: `A100-SXM4-40GB` is `NVIDIA-A100-SXM4-40GB`.
            .or_else(|| self.by_label.get(&format!("nvidia-{normal}")))
            .and_then(|at| self.rows.get(*at))?;
        Some(LabelMatch {
            product,
            shared,
            mig_profile: mig_profile.filter(|profile| !profile.is_empty()),
        })
    }
}

fn normalise(label: &str) -> String {
    label.trim().to_ascii_lowercase().replace([' ', '_'], "-")
}

fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let tail = text.get(at..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

fn find_ignore_case(text: &str, needle: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(&needle.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::catalogue::products;

    fn key(label: &str) -> Option<&'static str> {
        products()
            .resolve_label(label)
            .map(|m| m.product.key.as_str())
    }

    #[test]
    fn labels_of_every_origin_resolve() {
        assert_eq!(key("NVIDIA-H100-80GB-HBM3"), Some("H100-SXM-80"));
        assert_eq!(key("NVIDIA H100 80GB HBM3"), Some("H100-SXM-80"));
        assert_eq!(key("nvidia-l4"), Some("L4-24"));
        assert_eq!(key("Tesla-T4"), Some("T4-16"));
        assert_eq!(key("NVIDIA-Tesla-T4"), Some("T4-16"));
        assert_eq!(key("nvidia-h100-mega-80gb"), Some("H100-SXM-80"));
        assert_eq!(key("H100_NVLINK_80GB"), Some("H100-SXM-80"));
        assert_eq!(key("H100-SXM-80"), Some("H100-SXM-80"));
        assert_eq!(key("AMD_Instinct_MI300X_OAM"), Some("MI300X-192"));
    }

    #[test]
    fn suffixes_are_read_and_taken_off() {
        let shared = products().resolve_label("NVIDIA-A10G-SHARED").unwrap();
        assert_eq!(
            (shared.product.key.as_str(), shared.shared),
            ("A10G-24", true)
        );
        let mig = products()
            .resolve_label("A100-SXM4-40GB-MIG-1g.5gb")
            .unwrap();
        assert_eq!(mig.product.key, "A100-SXM-40");
        assert_eq!(mig.mig_profile, Some("1g.5gb"));
        let both = products()
            .resolve_label("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb-SHARED")
            .unwrap();
        assert!(both.shared);
        assert_eq!(both.mig_profile, Some("3g.40gb"));
    }

    #[test]
    fn look_alikes_are_not_taken_for_each_other() {
        assert_eq!(key("NVIDIA-L40"), Some("L40-48"));
        assert_eq!(key("NVIDIA-L40S"), Some("L40S-48"));
        assert_eq!(key("NVIDIA-H200-NVL"), Some("H200-NVL-141"));
        assert_eq!(key("NVIDIA-A10"), Some("A10-24"));
        assert_eq!(key("NVIDIA-GeForce-RTX-4090"), None);
        assert_eq!(key(""), None);
        assert_eq!(key("-MIG-"), None);
        assert_eq!(key("é-SHARED"), None);
    }

    #[test]
    fn peaks_are_dense_not_sparse() {
        let get = |key: &str| products().get(key).unwrap();
        assert_eq!(get("L40S-48").fp8_tflops, Some(733.0));
        assert_eq!(get("MI300X-192").bf16_tflops, Some(1307.0));
        assert_eq!(get("H100-NVL-94").bf16_tflops, Some(835.0));
        assert_eq!(get("MI325X-256").memory_mib, 262_128);
        assert_eq!(get("H200-SXM-141").memory_mib, 143_771);
        assert_eq!(get("T4-16").bf16_tflops, None);
        assert_eq!(get("A100-SXM-80").fp8_tflops, None);
    }
}
