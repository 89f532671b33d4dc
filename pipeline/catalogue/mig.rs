//! Owns how a GPU is cut into MIG instances: which profiles it has, and what each has of it.
//!
//! Only the arithmetic of one instance: which layouts go together is `economics::packing`, what a
//! held instance counts for in the ledger is `inventory`.

use super::Product;

/// What the driver keeps of an instance's memory for itself: a 3g.40gb of an 80 GB card reports
/// 40,192 of its 40,960 MiB, a 1g.10gb 9,728 of 10,240.
const KEPT_MIB: i64 = 512;

/// One profile of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigProfile {
    /// `3g.40gb`.
    pub name: String,
    pub compute_slices: i64,
    pub memory_slices: i64,
    /// What a whole card has: seven and eight, or four and four.
    pub compute_total: i64,
    pub memory_total: i64,
    pub memory_mib: i64,
}

impl MigProfile {
    /// Instances of this profile alone that one card holds.
    #[must_use]
    pub fn per_card(&self) -> i64 {
        (self.compute_total / self.compute_slices).min(self.memory_total / self.memory_slices)
    }

    /// The part of the card that an instance takes, in thousandths, as the ledger counts it.
    #[must_use]
    pub fn card_milli(&self) -> i64 {
        let part = |slices: i64, total: i64| (slices * 1000 + total / 2) / total;
        part(self.compute_slices, self.compute_total)
            .max(part(self.memory_slices, self.memory_total))
    }

    #[must_use]
    pub fn compute_share(&self) -> f64 {
        self.compute_slices as f64 / self.compute_total as f64
    }

    /// Bandwidth follows the memory slices.
    #[must_use]
    pub fn bandwidth_share(&self) -> f64 {
        self.memory_slices as f64 / self.memory_total as f64
    }
}

impl Product {
    /// The profiles smaller than the card, as cut by `mig-parted`; profiles with media extensions
    /// or a note of their own compute like the plain one and are left out.
    #[must_use]
    pub fn mig(&self) -> Vec<MigProfile> {
        let plain: Vec<(String, i64, i64)> = self
            .mig_profiles
            .iter()
            .filter_map(|text| {
                let name = text.split(['(', ' ']).next().unwrap_or_default().trim();
                let (compute, memory) = name.split_once("g.")?;
                Some((
                    name.to_owned(),
                    compute.parse().ok().filter(|slices| *slices > 0)?,
                    memory
                        .strip_suffix("gb")?
                        .parse()
                        .ok()
                        .filter(|gb| *gb > 0)?,
                ))
            })
            .collect();
        let Some((_, compute_total, whole_gb)) =
            plain.iter().max_by_key(|(_, compute, _)| *compute).cloned()
        else {
            return Vec::new();
        };
        let memory_total = if compute_total == 7 { 8 } else { compute_total };
        let mut seen = Vec::new();
        for (name, compute_slices, gb) in plain {
            let memory_slices = ((memory_total * gb * 2 + whole_gb) / (2 * whole_gb)).max(1);
            if compute_slices == compute_total
                || seen.iter().any(|known: &MigProfile| known.name == name)
            {
                continue;
            }
            seen.push(MigProfile {
                name,
                compute_slices,
                memory_slices,
                compute_total,
                memory_total,
                memory_mib: self.memory_mib * memory_slices / memory_total - KEPT_MIB,
            });
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::products;

    fn profile(product: &str, name: &str) -> super::MigProfile {
        let product = products().get(product).unwrap();
        let found = product.mig().into_iter().find(|one| one.name == name);
        found.unwrap_or_else(|| panic!("{name} of {}", product.key))
    }

    #[test]
    fn profiles_have_their_slices_and_the_memory_that_drivers_report() {
        let half = profile("A100-SXM-80", "3g.40gb");
        assert_eq!((half.compute_slices, half.memory_slices), (3, 4));
        assert_eq!(
            (half.memory_mib, half.per_card(), half.card_milli()),
            (40_448, 2, 500)
        );
        let seventh = profile("H100-SXM-80", "1g.10gb");
        assert_eq!((seventh.memory_slices, seventh.per_card()), (1, 7));
        assert_eq!((seventh.card_milli(), seventh.memory_mib), (143, 9_682));
        assert_eq!(profile("H100-SXM-80", "1g.20gb").per_card(), 4);
        assert_eq!(profile("H200-SXM-141", "2g.35gb").memory_slices, 2);
        assert_eq!(profile("A30-24", "2g.12gb").per_card(), 2);
        assert_eq!(profile("RTXPRO6000-96", "1g.24gb").per_card(), 4);
    }

    #[test]
    fn whole_cards_and_cards_without_mig_are_no_slices() {
        for product in products().iter() {
            for profile in product.mig() {
                assert!(
                    profile.compute_slices < profile.compute_total,
                    "{}",
                    product.key
                );
                assert!(profile.memory_slices <= profile.memory_total && profile.per_card() >= 1);
            }
        }
        for without in ["L4-24", "T4-16", "L40S-48", "A10G-24", "MI300X-192"] {
            assert!(
                products().get(without).unwrap().mig().is_empty(),
                "{without}"
            );
        }
    }
}
