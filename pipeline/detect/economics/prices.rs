//! Owns the price of a GPU-hour: the user's sheet, then the catalogue, each rung named.
//!
//! Prices are decimals from cell to row and never pass through a float. What no rung answers is
//! unknown: hours are then shown without dollars. Called once a run for the price keys that the
//! ledger names, and by `placements` for what a candidate would cost.

mod missing;
mod outlier;
mod sheet;

use rust_decimal::Decimal;

use crate::catalogue::{Instance, canonical_provider, instances};

pub use missing::missing_sheet;
pub use outlier::{Outlier, outlier};
pub use sheet::{PriceSheet, SheetError};

/// Bands of the rungs that are not exact, in percent.
const OTHER_REGION_BAND: i64 = 20;
const PROVIDER_GPU_BAND: i64 = 40;
/// Prices are stored with six decimals.
const STORED_DECIMALS: u32 = 6;

/// What decides a node's price; empty strings where unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NodeFacts {
    pub provider: String,
    pub region: String,
    pub instance_type: String,
    pub gpu_product: String,
    pub capacity_type: String,
}

impl NodeFacts {
    /// Reads a price key back.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('|').collect();
        let [provider, region, instance_type, gpu_product, capacity_type] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            provider: (*provider).to_owned(),
            region: (*region).to_owned(),
            instance_type: (*instance_type).to_owned(),
            gpu_product: (*gpu_product).to_owned(),
            capacity_type: (*capacity_type).to_owned(),
        })
    }

    #[must_use]
    pub fn key(&self) -> String {
        price_key(
            &self.provider,
            &self.region,
            &self.instance_type,
            &self.gpu_product,
            &self.capacity_type,
        )
    }

    fn is_spot(&self) -> bool {
        matches!(
            self.capacity_type.to_ascii_lowercase().as_str(),
            "spot" | "preemptible"
        )
    }
}

/// `provider|region|instance_type|gpu_product|capacity_type`, empty where unknown. A bar inside a
/// part would forge another key and becomes a space.
#[must_use]
pub fn price_key(
    provider: &str,
    region: &str,
    instance_type: &str,
    gpu_product: &str,
    capacity_type: &str,
) -> String {
    [provider, region, instance_type, gpu_product, capacity_type]
        .map(|part| part.trim().replace('|', " "))
        .join("|")
}

/// Where a price came from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// What was paid, from a bill of the window.
    Bill,
    Sheet,
    Catalogue,
    OtherRegion,
    ProviderGpu,
    Unknown,
}

impl Rung {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bill => "bill",
            Self::Sheet => "sheet",
            Self::Catalogue => "catalogue",
            Self::OtherRegion => "other-region",
            Self::ProviderGpu => "provider-gpu",
            Self::Unknown => "unknown",
        }
    }

    /// The rung of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        [
            Self::Bill,
            Self::Sheet,
            Self::Catalogue,
            Self::OtherRegion,
            Self::ProviderGpu,
        ]
        .into_iter()
        .find(|rung| rung.as_str() == word)
        .unwrap_or(Self::Unknown)
    }
}

/// One row of the table `prices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub facts: NodeFacts,
    pub gpus_per_node: Option<i64>,
    pub list_usd_per_gpu_hour: Option<Decimal>,
    pub contracted_usd_per_gpu_hour: Option<Decimal>,
    pub effective_usd_per_gpu_hour: Option<Decimal>,
    pub rung: Rung,
    pub band_percent: i64,
    pub provenance: String,
    pub price_date: Option<String>,
    /// What keeps the bill up until a day, whatever is given back before.
    pub commitment: Option<Commitment>,
}

/// A reservation, a savings plan or a lease that a sheet names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    pub id: String,
    /// When it ends; `None` where nobody wrote it down, so that no day can be named.
    pub end_ms: Option<i64>,
}

impl PriceRow {
    /// What a GPU-hour costs: effective, else contracted, else list.
    #[must_use]
    pub fn usd_per_gpu_hour(&self) -> Option<Decimal> {
        self.effective_usd_per_gpu_hour
            .or(self.contracted_usd_per_gpu_hour)
            .or(self.list_usd_per_gpu_hour)
    }

    #[must_use]
    pub fn price_key(&self) -> String {
        self.facts.key()
    }
}

/// All price sources of a run, as of one instant.
#[derive(Debug, Default)]
pub struct PriceBook {
    sheets: Vec<PriceSheet>,
    as_of_ms: i64,
}

impl PriceBook {
    /// `as_of_ms` is the window's end: prices and exchange rates are those of that day.
    #[must_use]
    pub fn new(sheets: Vec<PriceSheet>, as_of_ms: i64) -> Self {
        Self { sheets, as_of_ms }
    }

    /// The price of one GPU of a node. `gpus_per_node` is the physical count seen on the node; the
    /// catalogue's stands in for it.
    pub fn price(
        &self,
        facts: &NodeFacts,
        gpus_per_node: Option<i64>,
    ) -> Result<PriceRow, SheetError> {
        let instance = instances().get(&facts.provider, &facts.instance_type);
        let gpus = gpus_per_node
            .filter(|count| *count > 0)
            // A fraction of a GPU is one device to the cluster, and the node's price is its price.
            .or_else(|| instance.map(|found| found.gpu_count().unwrap_or(1)));
        if let Some(row) = sheet::best(&self.sheets, facts, gpus, self.as_of_ms)? {
            return Ok(row);
        }
        if let Some(row) = instance.and_then(|found| from_instance(facts, found, gpus)) {
            return Ok(row);
        }
        Ok(from_provider(facts, gpus).unwrap_or_else(|| unknown(facts, gpus)))
    }

    /// What one GPU of a product would cost at the same provider, region and capacity type, bought
    /// on the cheapest instance with at least `gpus` of them; `None` where none is sold or priced.
    /// Another provider's price is no alternative: moving there is not a change of tier.
    pub fn candidate(
        &self,
        today: &NodeFacts,
        gpu_product: &str,
        gpus: i64,
    ) -> Result<Option<PriceRow>, SheetError> {
        let provider = canonical_provider(&today.provider);
        let mut best: Option<PriceRow> = None;
        let sold = instances().iter().filter(|instance| {
            instance.provider == provider
                && instance.gpu_product == gpu_product
                && instance.gpu_count().is_some_and(|count| count >= gpus)
        });
        let mut facts: Vec<NodeFacts> = sold
            .map(|instance| NodeFacts {
                instance_type: instance.instance_type.clone(),
                gpu_product: gpu_product.to_owned(),
                ..today.clone()
            })
            .collect();
        // What only the user's sheet knows, such as machines of one's own.
        facts.extend(
            self.sheets
                .iter()
                .flat_map(|sheet| sheet.offers(today, gpu_product)),
        );
        facts.sort();
        facts.dedup();
        for facts in facts {
            let row = match self.price(&facts, None) {
                // A price per node of unknown size is no offer either.
                Err(SheetError::NoGpuCount { .. }) => continue,
                other => other?,
            };
            // A per-GPU average is no offer, and a node too small holds no replica.
            if !matches!(row.rung, Rung::Sheet | Rung::Catalogue | Rung::OtherRegion)
                || row.gpus_per_node.is_some_and(|count| count < gpus)
            {
                continue;
            }
            let rank =
                |row: &PriceRow| (row.usd_per_gpu_hour(), row.gpus_per_node, row.price_key());
            if row.usd_per_gpu_hour().is_some()
                && best.as_ref().is_none_or(|kept| rank(&row) < rank(kept))
            {
                best = Some(row);
            }
        }
        Ok(best)
    }
}

fn from_instance(facts: &NodeFacts, instance: &Instance, gpus: Option<i64>) -> Option<PriceRow> {
    let (node_price, what) = if facts.is_spot() {
        (instance.spot_usd_per_hour?, "spot")
    } else {
        (instance.on_demand_usd_per_hour?, "on-demand list")
    };
    // A product that the instance type does not have means that one of the two is misread.
    if !facts.gpu_product.is_empty() && facts.gpu_product != instance.gpu_product {
        return None;
    }
    let price = per_gpu(node_price, gpus?)?;
    let here = instance.priced_in(&facts.region);
    let (rung, band_percent, note) = if here {
        (Rung::Catalogue, 0, String::new())
    } else {
        (
            Rung::OtherRegion,
            OTHER_REGION_BAND,
            format!(", price of {}", instance.region),
        )
    };
    Some(PriceRow {
        facts: facts.clone(),
        gpus_per_node: gpus,
        list_usd_per_gpu_hour: Some(price),
        contracted_usd_per_gpu_hour: None,
        effective_usd_per_gpu_hour: None,
        rung,
        band_percent,
        provenance: format!(
            "catalogue: {} {} {what}{note}; {}",
            instance.provider, instance.instance_type, instance.source
        ),
        price_date: Some(instance.price_date.clone()),
        commitment: None,
    })
}

/// The provider's lowest on-demand price of such a GPU: the instance is unknown, and a low price
/// claims the least waste.
fn from_provider(facts: &NodeFacts, gpus: Option<i64>) -> Option<PriceRow> {
    if facts.gpu_product.is_empty() || facts.is_spot() {
        return None;
    }
    let offer = instances().cheapest_for(&facts.provider, &facts.region, &facts.gpu_product, 1)?;
    let price = offer.usd_per_gpu_hour.round_dp(STORED_DECIMALS);
    Some(PriceRow {
        facts: facts.clone(),
        gpus_per_node: gpus,
        list_usd_per_gpu_hour: Some(price),
        contracted_usd_per_gpu_hour: None,
        effective_usd_per_gpu_hour: None,
        rung: Rung::ProviderGpu,
        band_percent: PROVIDER_GPU_BAND,
        provenance: format!(
            "catalogue: lowest {} price per {} ({}, {}); {}",
            offer.instance.provider,
            facts.gpu_product,
            offer.instance.instance_type,
            offer.instance.region,
            offer.instance.source
        ),
        price_date: Some(offer.instance.price_date.clone()),
        commitment: None,
    })
}

fn unknown(facts: &NodeFacts, gpus: Option<i64>) -> PriceRow {
    PriceRow {
        facts: facts.clone(),
        gpus_per_node: gpus,
        list_usd_per_gpu_hour: None,
        contracted_usd_per_gpu_hour: None,
        effective_usd_per_gpu_hour: None,
        rung: Rung::Unknown,
        band_percent: 0,
        provenance: "no sheet row and no catalogue row: add one to a price sheet".to_owned(),
        price_date: None,
        commitment: None,
    }
}

fn per_gpu(node_price: Decimal, gpus: i64) -> Option<Decimal> {
    Some(
        node_price
            .checked_div(Decimal::from(gpus))?
            .round_dp(STORED_DECIMALS),
    )
}

#[cfg(test)]
mod tests;
