//! Owns what a replica's rank runs on: a whole GPU, one MIG instance of it, or a share in time.

use crate::catalogue::{MigProfile, Product};

/// Parts in which a GPU without MIG is shared in time.
pub const TIME_SHARES: [i64; 2] = [2, 4];

/// Something to serve from.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub product: &'static Product,
    part: Part,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Whole,
    Mig(MigProfile),
    /// One of that many models on the card, each judged as if all were busy at once.
    Shared(i64),
}

impl Device {
    #[must_use]
    pub fn whole(product: &'static Product) -> Self {
        Self {
            product,
            part: Part::Whole,
        }
    }

    /// The MIG instances of a product, the smallest first.
    #[must_use]
    pub fn slices(product: &'static Product) -> Vec<Self> {
        let mut profiles = product.mig();
        profiles.sort_by_key(|profile| (profile.compute_slices, profile.memory_slices));
        profiles
            .into_iter()
            .map(|profile| Self {
                product,
                part: Part::Mig(profile),
            })
            .collect()
    }

    /// A share in time, for products without MIG.
    #[must_use]
    pub fn shared(product: &'static Product, models: i64) -> Self {
        Self {
            product,
            part: Part::Shared(models.max(1)),
        }
    }

    /// The MIG instance of that profile.
    #[must_use]
    pub fn slice(product: &'static Product, profile: &str) -> Option<Self> {
        product
            .mig()
            .into_iter()
            .find(|one| one.name == profile)
            .map(|profile| Self {
                product,
                part: Part::Mig(profile),
            })
    }

    #[must_use]
    pub fn is_part(&self) -> bool {
        self.part != Part::Whole
    }

    #[must_use]
    pub fn is_shared_in_time(&self) -> bool {
        matches!(self.part, Part::Shared(_))
    }

    /// `H100-SXM-80`, `H100-SXM-80 3g.40gb`, `L40S-48 1/2`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.part {
            Part::Whole => self.product.key.clone(),
            Part::Mig(profile) => format!("{} {}", self.product.key, profile.name),
            Part::Shared(models) => format!("{} 1/{models}", self.product.key),
        }
    }

    /// Bytes that the driver reports for it.
    #[must_use]
    pub fn memory_bytes(&self) -> f64 {
        let whole = self.product.memory_bytes() as f64;
        match &self.part {
            Part::Whole => whole,
            Part::Mig(profile) => profile.memory_mib as f64 * 1_048_576.0,
            Part::Shared(models) => whole / *models as f64,
        }
    }

    #[must_use]
    pub fn bandwidth_share(&self) -> f64 {
        match &self.part {
            Part::Whole => 1.0,
            Part::Mig(profile) => profile.bandwidth_share(),
            Part::Shared(models) => 1.0 / *models as f64,
        }
    }

    #[must_use]
    pub fn compute_share(&self) -> f64 {
        match &self.part {
            Part::Whole => 1.0,
            Part::Mig(profile) => profile.compute_share(),
            Part::Shared(models) => 1.0 / *models as f64,
        }
    }

    /// The part of the card that it takes, in thousandths, as the ledger counts it.
    #[must_use]
    pub fn card_milli(&self) -> i64 {
        match &self.part {
            Part::Whole => 1000,
            Part::Mig(profile) => profile.card_milli(),
            Part::Shared(models) => 1000 / models,
        }
    }

    /// What it takes of a card in slices of compute and of memory, and what a card has of both.
    #[must_use]
    pub fn slots(&self) -> [i64; 4] {
        match &self.part {
            Part::Whole => [1, 1, 1, 1],
            Part::Mig(profile) => [
                profile.compute_slices,
                profile.memory_slices,
                profile.compute_total,
                profile.memory_total,
            ],
            Part::Shared(models) => [4 / models, 4 / models, 4, 4],
        }
    }
}
