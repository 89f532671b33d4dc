//! Owns telling a price that cannot be meant: a sheet's price far off everything that the catalogue
//! knows of that GPU is a typing error, a wrong unit or a wrong currency.

use rust_decimal::Decimal;

use crate::catalogue::instances;

use super::{PriceRow, Rung};

/// Contracts go down to a quarter of the cheapest list price; beyond that the unit is wrong.
const BELOW: i64 = 4;
/// And nobody pays thrice the dearest list price.
const ABOVE: i64 = 3;

/// A sheet's price and the catalogue's band for the same GPU, in dollars a GPU-hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    pub price_key: String,
    pub usd: Decimal,
    pub provenance: String,
    pub cheapest: Decimal,
    pub cheapest_at: String,
    pub dearest: Decimal,
    pub dearest_at: String,
}

impl std::fmt::Display for Outlier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} has {} USD a GPU-hour for {}, while such GPUs are listed from {} ({}) to {} ({}): check its unit, currency and decimal point",
            self.provenance,
            self.usd,
            self.price_key,
            self.cheapest,
            self.cheapest_at,
            self.dearest,
            self.dearest_at
        )
    }
}

/// Whether a sheet's price is far outside what the catalogue knows of its GPU.
#[must_use]
pub fn outlier(row: &PriceRow) -> Option<Outlier> {
    let usd = row.usd_per_gpu_hour().filter(|_| row.rung == Rung::Sheet)?;
    let product = if row.facts.gpu_product.is_empty() {
        let known = instances().get(&row.facts.provider, &row.facts.instance_type)?;
        &known.gpu_product
    } else {
        &row.facts.gpu_product
    };
    let mut known: Vec<(Decimal, String)> = instances()
        .iter()
        .filter(|instance| instance.gpu_product == *product)
        .filter_map(|instance| {
            let name = format!("{} {}", instance.provider, instance.instance_type);
            Some((instance.usd_per_gpu_hour()?, name))
        })
        .collect();
    known.sort();
    let (cheapest, dearest) = (known.first()?.clone(), known.last()?.clone());
    let far = usd * Decimal::from(BELOW) < cheapest.0 || usd > dearest.0 * Decimal::from(ABOVE);
    far.then(|| Outlier {
        price_key: row.price_key(),
        usd,
        provenance: row.provenance.clone(),
        cheapest: cheapest.0,
        cheapest_at: cheapest.1,
        dearest: dearest.0,
        dearest_at: dearest.1,
    })
}
