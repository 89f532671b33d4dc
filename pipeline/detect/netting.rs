//! Owns the arithmetic of claims: what is left to claim, what a claim is worth, who gets nothing.
//!
//! Pure: plain structs in, plain structs out, milliseconds as integers and money as decimals. It
//! knows no SQL and no detector. Called by `runner`.

pub mod bootstrap;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rust_decimal::Decimal;

use super::economics::prices::PriceRow;
use crate::model::time::{HOUR_MS, MONTH_HOURS};

/// Whose seconds of which product, at which price and of which observed class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Resource {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub instance_type: String,
    pub gpu_product: String,
    pub price_key: String,
    pub class: String,
}

/// GPU-milliseconds that a finding takes from one resource in one hour, and what it needs instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Shared: a month of one workload's hours is hundreds of claims on few resources.
    pub resource: Arc<Resource>,
    pub hour_ms: i64,
    pub ms_freed: i64,
    pub ms_added: i64,
    pub product_added: Option<String>,
    pub price_key_added: Option<String>,
}

/// A claim that the ledger does not cover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    #[error(
        "it claims {claimed} ms of class `{}` of `{}/{}/{}/{}` (product `{}`, price key `{}`) in the hour {hour_ms}, and {left} ms are left to claim",
        resource.class, resource.cluster, resource.namespace, resource.workload_kind,
        resource.workload_name, resource.gpu_product, resource.price_key
    )]
    TooMuch {
        resource: Arc<Resource>,
        hour_ms: i64,
        claimed: i64,
        left: i64,
    },
    #[error("its claim on class `{}` of `{}` in the hour {hour_ms} is negative: {ms} ms", resource.class, resource.workload_name)]
    Negative {
        resource: Arc<Resource>,
        hour_ms: i64,
        ms: i64,
    },
    #[error("its claims are worth more than a decimal holds")]
    Overflow,
}

/// The milliseconds that nobody has claimed yet, by resource and hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimable {
    resources: BTreeMap<Arc<Resource>, BTreeMap<i64, i64>>,
}

impl Claimable {
    /// Adds ledger milliseconds.
    pub fn add(&mut self, resource: impl Into<Arc<Resource>>, hour_ms: i64, ms: i64) {
        *self
            .resources
            .entry(resource.into())
            .or_default()
            .entry(hour_ms)
            .or_default() += ms;
    }

    #[must_use]
    pub fn left(&self, resource: &Resource, hour_ms: i64) -> i64 {
        self.resources
            .get(resource)
            .and_then(|hours| hours.get(&hour_ms))
            .copied()
            .unwrap_or(0)
    }

    /// Resources and hours with something left, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&Arc<Resource>, i64, i64)> {
        self.resources.iter().flat_map(|(resource, hours)| {
            hours
                .iter()
                .filter(|(_, ms)| **ms > 0)
                .map(move |(hour_ms, ms)| (resource, *hour_ms, *ms))
        })
    }

    /// Whether all claims together fit into what is left.
    pub fn check<'a>(&self, claims: impl IntoIterator<Item = &'a Claim>) -> Result<(), ClaimFault> {
        // Most claims follow one of the same resource: each is looked up once.
        let mut numbers: BTreeMap<&Resource, usize> = BTreeMap::new();
        let mut last: Option<(&Arc<Resource>, usize)> = None;
        let mut sums: HashMap<(usize, i64), (i64, &Claim)> = HashMap::new();
        for claim in claims {
            for ms in [claim.ms_freed, claim.ms_added] {
                if ms < 0 {
                    return Err(ClaimFault::Negative {
                        resource: Arc::clone(&claim.resource),
                        hour_ms: claim.hour_ms,
                        ms,
                    });
                }
            }
            let number = match last {
                Some((known, number)) if Arc::ptr_eq(known, &claim.resource) => number,
                _ => {
                    let next = numbers.len();
                    *numbers.entry(&claim.resource).or_insert(next)
                }
            };
            last = Some((&claim.resource, number));
            let (sum, _) = sums.entry((number, claim.hour_ms)).or_insert((0, claim));
            *sum = sum
                .checked_add(claim.ms_freed)
                .ok_or(ClaimFault::Overflow)?;
        }
        let hours: HashMap<usize, Option<&BTreeMap<i64, i64>>> = numbers
            .iter()
            .map(|(resource, number)| (*number, self.resources.get(*resource)))
            .collect();
        let fault = sums
            .into_iter()
            .filter_map(|((number, hour_ms), (claimed, claim))| {
                let known = hours.get(&number).copied().flatten();
                let left = known.and_then(|hours| hours.get(&hour_ms)).copied();
                let left = left.unwrap_or(0);
                (claimed > left).then_some((&claim.resource, hour_ms, claimed, left))
            })
            .min();
        match fault {
            None => Ok(()),
            Some((resource, hour_ms, claimed, left)) => Err(ClaimFault::TooMuch {
                resource: Arc::clone(resource),
                hour_ms,
                claimed,
                left,
            }),
        }
    }

    /// Takes the claims out of what is left; nothing is taken when they do not fit.
    pub fn take<'a>(
        &mut self,
        claims: impl IntoIterator<Item = &'a Claim> + Clone,
    ) -> Result<(), ClaimFault> {
        self.check(claims.clone())?;
        for claim in claims {
            if let Some(left) = self
                .resources
                .get_mut(&claim.resource)
                .and_then(|hours| hours.get_mut(&claim.hour_ms))
            {
                *left -= claim.ms_freed;
            }
        }
        Ok(())
    }
}

/// What one GPU-hour under a price key costs, and how far that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Effective, else contracted, else list.
    pub usd_per_gpu_hour: Option<Decimal>,
    /// `effective`, `contracted`, `list` or `unknown`, with the rung.
    pub basis: Basis,
    pub band_percent: i64,
    /// GPUs that are bought and given back together.
    pub gpus_per_node: Option<i64>,
    /// The commitment under which it is paid, where one is.
    pub committed: Option<Committed>,
}

/// A commitment in force, and its end if anybody wrote it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub until_ms: Option<i64>,
}

/// Which of a row's prices counts, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Basis {
    pub kind: &'static str,
    pub rung: String,
}

/// Prices by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceList(BTreeMap<String, Price>);

impl PriceList {
    /// The prices of a run.
    #[must_use]
    pub fn new(rows: &[PriceRow]) -> Self {
        let mut list = Self::default();
        for row in rows {
            list.insert(
                row.price_key(),
                [
                    row.effective_usd_per_gpu_hour,
                    row.contracted_usd_per_gpu_hour,
                    row.list_usd_per_gpu_hour,
                ],
                row.rung.as_str(),
                row.band_percent,
            );
            list.set_node(
                &row.price_key(),
                row.gpus_per_node,
                row.commitment.as_ref().map(|one| Committed {
                    until_ms: one.end_ms,
                }),
            );
        }
        list
    }

    /// Adds what of a key is sold together, and until when it is paid anyway.
    pub fn set_node(
        &mut self,
        key: &str,
        gpus_per_node: Option<i64>,
        committed: Option<Committed>,
    ) {
        if let Some(price) = self.0.get_mut(key) {
            price.gpus_per_node = gpus_per_node;
            price.committed = committed;
        }
    }

    /// Adds a row of the table `prices`: effective, contracted and list price.
    pub fn insert(
        &mut self,
        key: String,
        prices: [Option<Decimal>; 3],
        rung: &str,
        band_percent: i64,
    ) {
        let mut known = prices.into_iter().zip(["effective", "contracted", "list"]);
        let (usd, kind) = known
            .find_map(|(usd, kind)| usd.map(|usd| (Some(usd), kind)))
            .unwrap_or((None, "unknown"));
        self.0.insert(
            key,
            Price {
                usd_per_gpu_hour: usd,
                basis: Basis {
                    kind,
                    rung: rung.to_owned(),
                },
                band_percent,
                gpus_per_node: None,
                committed: None,
            },
        );
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Price> {
        self.0.get(key)
    }

    #[must_use]
    pub fn usd(&self, key: &str) -> Option<Decimal> {
        self.get(key)?.usd_per_gpu_hour
    }

    /// What GPU time under a key costs, and on which price that rests.
    #[must_use]
    pub fn shown(&self, ms: i64, key: &str) -> Option<(Decimal, String)> {
        let price = self.get(key)?;
        let usd = Decimal::from(ms)
            .checked_mul(price.usd_per_gpu_hour?)?
            .checked_div(Decimal::from(HOUR_MS))?;
        Some((usd, format!("{} ({})", price.basis.kind, price.basis.rung)))
    }
}

/// What the claims of a finding come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Worth {
    pub ms_freed: i64,
    pub ms_added: i64,
    /// `None` where a price is unknown.
    pub freed_usd: Option<Decimal>,
    pub added_usd: Option<Decimal>,
    /// The widest band of the prices used.
    pub price_band_percent: i64,
    /// The prices used, as `kind (rung)`, joined.
    pub basis: String,
}

impl Worth {
    /// Freed less added.
    #[must_use]
    pub fn net_usd(&self) -> Option<Decimal> {
        self.freed_usd?.checked_sub(self.added_usd?)
    }
}

/// Prices claims, exactly but for one division.
pub fn worth<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    prices: &PriceList,
) -> Result<Worth, ClaimFault> {
    let mut freed: BTreeMap<&str, i64> = BTreeMap::new();
    let mut added: BTreeMap<&str, i64> = BTreeMap::new();
    for claim in claims {
        if claim.ms_freed > 0 {
            tally(&mut freed, &claim.resource.price_key, claim.ms_freed)?;
        }
        if claim.ms_added > 0 {
            tally(
                &mut added,
                claim.price_key_added.as_deref().unwrap_or(""),
                claim.ms_added,
            )?;
        }
    }
    let used: Vec<Option<&Price>> = freed
        .keys()
        .chain(added.keys())
        .map(|key| prices.get(key))
        .collect();
    let mut bases: Vec<String> = used
        .iter()
        .map(|price| {
            price
                .filter(|price| price.usd_per_gpu_hour.is_some())
                .map_or_else(
                    || "unknown".to_owned(),
                    |price| format!("{} ({})", price.basis.kind, price.basis.rung),
                )
        })
        .collect();
    bases.sort();
    bases.dedup();
    Ok(Worth {
        ms_freed: total(&freed)?,
        ms_added: total(&added)?,
        freed_usd: cost(&freed, prices)?,
        added_usd: cost(&added, prices)?,
        price_band_percent: used
            .iter()
            .filter_map(|price| price.map(|price| price.band_percent))
            .max()
            .unwrap_or(0),
        basis: if bases.is_empty() {
            "none".to_owned()
        } else {
            bases.join(", ")
        },
    })
}

fn tally<'a>(sums: &mut BTreeMap<&'a str, i64>, key: &'a str, ms: i64) -> Result<(), ClaimFault> {
    let sum = sums.entry(key).or_default();
    *sum = sum.checked_add(ms).ok_or(ClaimFault::Overflow)?;
    Ok(())
}

fn total(sums: &BTreeMap<&str, i64>) -> Result<i64, ClaimFault> {
    sums.values()
        .try_fold(0_i64, |sum, ms| sum.checked_add(*ms))
        .ok_or(ClaimFault::Overflow)
}

/// Milliseconds times prices, summed before the one division; `None` where a price is unknown.
fn cost(sums: &BTreeMap<&str, i64>, prices: &PriceList) -> Result<Option<Decimal>, ClaimFault> {
    let mut sum = Decimal::ZERO;
    for (key, ms) in sums {
        let Some(price) = prices.usd(key) else {
            return Ok(None);
        };
        sum = Decimal::from(*ms)
            .checked_mul(price)
            .and_then(|usd| sum.checked_add(usd))
            .ok_or(ClaimFault::Overflow)?;
    }
    sum.checked_div(Decimal::from(HOUR_MS))
        .map(Some)
        .ok_or(ClaimFault::Overflow)
}

/// Monthly dollars: what the window cost, over the hours that the subject existed in it.
#[must_use]
pub fn monthly(window_usd: Decimal, existed_ms: i64) -> Option<Decimal> {
    if existed_ms <= 0 {
        return None;
    }
    window_usd
        .checked_mul(Decimal::from(MONTH_HOURS * HOUR_MS))?
        .checked_div(Decimal::from(existed_ms))
}

/// The range of a net amount. What is freed was measured, so only its price is uncertain; what a
/// remedy adds is an estimate, uncertain by the placement's band too. Bands are in percent.
#[must_use]
pub fn range(
    freed_usd: Decimal,
    added_usd: Decimal,
    price_band_percent: i64,
    placement_band_percent: i64,
) -> Option<(Decimal, Decimal)> {
    let percent = |usd: Decimal, percent: i64| {
        usd.checked_mul(Decimal::from(percent))?
            .checked_div(Decimal::from(100))
    };
    let price = price_band_percent.clamp(0, 100);
    let added = price.saturating_add(placement_band_percent.max(0));
    let low = percent(freed_usd, 100 - price)?
        .checked_sub(percent(added_usd, added.saturating_add(100))?)?;
    let high = percent(freed_usd, 100 + price)?
        .checked_sub(percent(added_usd, 100_i64.saturating_sub(added).max(0))?)?;
    Some((low, high))
}

#[cfg(test)]
mod tests;
