//! Owns the measured kernel tables: matrix-multiply efficiency and all-reduce latency per product.
//!
//! Look-ups answer only for products that were measured; which product may stand in for another is
//! the estimator's decision, with its own error band.

use std::collections::BTreeMap;

use super::{CatalogueError, Rows};

/// What large matrix multiplications reach of a product's peaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryEfficiency {
    /// Fraction of the dense peak at large batch.
    pub compute: f64,
    /// Fraction of the memory bandwidth at small batch, matrices of 100 MB and more.
    pub memory: f64,
}

/// All measured tables.
#[derive(Debug)]
pub struct Kernels {
    efficiency: BTreeMap<(String, String), MemoryEfficiency>,
    /// `(product, GPUs)` → points of `(elements of 16 bits, microseconds)`, ascending.
    allreduce: BTreeMap<(String, u32), Vec<(f64, f64)>>,
}

impl Kernels {
    pub(super) fn parse(efficiency: &str, allreduce: &str) -> Result<Self, CatalogueError> {
        let mut kernels = Self {
            efficiency: BTreeMap::new(),
            allreduce: BTreeMap::new(),
        };
        for row in Rows::read("kernel_efficiency", efficiency)?.iter() {
            let compute = row.required_positive("mfu_med")?;
            let memory = row.required_positive("mbu_weights_ge100MB")?;
            if compute > 1.0 || memory > 1.0 {
                return Err(row.error("an efficiency is above one"));
            }
            kernels.efficiency.insert(
                (
                    row.required("gpu")?.to_owned(),
                    row.required("gemm_dtype")?.to_owned(),
                ),
                MemoryEfficiency { compute, memory },
            );
        }
        for row in Rows::read("allreduce_latency", allreduce)?.iter() {
            let gpus = row
                .parsed::<u32>("num_gpus")?
                .ok_or_else(|| row.error("num_gpus is blank"))?;
            kernels
                .allreduce
                .entry((row.required("key")?.to_owned(), gpus))
                .or_default()
                .push((
                    row.required_positive("message_size")?,
                    row.required_positive("best_allreduce_us")?,
                ));
        }
        for points in kernels.allreduce.values_mut() {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Ok(kernels)
    }

    /// The products that any table names, without repeats.
    pub fn products(&self) -> impl Iterator<Item = &str> {
        let names: std::collections::BTreeSet<&str> = self
            .efficiency
            .keys()
            .map(|(product, _)| product.as_str())
            .chain(self.allreduce.keys().map(|(product, _)| product.as_str()))
            .collect();
        names.into_iter()
    }

    /// Efficiency of a product at a kernel type (`bfloat16`, `fp8`, `nvfp4`, `int4_wo`, …).
    #[must_use]
    pub fn efficiency(&self, product: &str, kernel: &str) -> Option<MemoryEfficiency> {
        self.efficiency
            .get(&(product.to_owned(), kernel.to_owned()))
            .copied()
    }

    /// Microseconds of one all-reduce over `gpus` of a product, interpolated between the measured
    /// sizes on logarithmic axes; above the largest, time grows with the message.
    #[must_use]
    pub fn allreduce_us(&self, product: &str, gpus: u32, message: f64) -> Option<f64> {
        let points = self.allreduce.get(&(product.to_owned(), gpus))?;
        let (first, last) = (points.first()?, points.last()?);
        if message <= first.0 {
            return Some(first.1);
        }
        if message >= last.0 {
            return Some(last.1 * message / last.0);
        }
        points.windows(2).find_map(|pair| {
            let [(x0, y0), (x1, y1)] = pair else {
                return None;
            };
            (*x0 <= message && message <= *x1).then(|| {
                let t = (message / x0).ln() / (x1 / x0).ln();
                y0 * (y1 / y0).powf(t)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::kernels;

    #[test]
    fn measured_products_answer_and_others_do_not() {
        let h100 = kernels().efficiency("H100-SXM-80", "bfloat16").unwrap();
        assert_eq!((h100.compute, h100.memory), (0.75, 0.83));
        assert!(kernels().efficiency("A10G-24", "bfloat16").is_none());
        assert!(kernels().allreduce_us("L4-24", 2, 65_536.0).is_none());
    }

    #[test]
    fn allreduce_is_exact_at_the_points_and_monotone_between() {
        let at = |message| kernels().allreduce_us("L40S-48", 4, message).unwrap();
        assert!((at(65_536.0) - 28.41).abs() < 1e-9);
        assert!((at(1.0) - 16.05).abs() < 1e-9);
        let mut last = 0.0;
        for message in [1e3, 1e4, 1e5, 1e6, 4e6, 5e6, 1e8] {
            assert!(at(message) >= last);
            last = at(message);
        }
        assert!(at(8_388_608.0) > 1.9 * 646.7);
    }
}
