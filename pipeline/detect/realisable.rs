//! Owns what the bill drops: node-hours that could be given back once the claims of findings, in
//! their order, are carried out and the rest is packed together.
//!
//! A freed GPU saves nothing while its node is still needed, and a GPU that is added costs the whole
//! node that it is sold with. Each pool of equal nodes (cluster and price key) is packed hour by hour;
//! what a finding gets is the difference that it makes after all findings before it. Time that
//! nobody claims counts as held, free slots included, so the bill of today is the start. Nodes under
//! a commitment are paid until it ends. Pure; called by `runner`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rust_decimal::Decimal;

use super::economics::packing::{Items, nodes_for};
use super::netting::{Claim, Claimable, Price, PriceList, Resource};
use crate::model::time::HOUR_MS;

/// Nodes of one kind in one cluster.
type Pool = (String, String);
/// Namespace, kind and name; blank where nobody holds the time.
type Holder = [String; 3];

/// One pool's hours and who holds time in them, by number.
#[derive(Debug, Default)]
struct PoolBill {
    numbers: BTreeMap<Holder, usize>,
    holders: Vec<Replicas>,
    hours: BTreeMap<i64, Hour>,
}

/// What one pool holds in one hour.
#[derive(Debug, Default)]
struct Hour {
    /// By the holder's number.
    held: BTreeMap<usize, i64>,
    /// The same as pieces: size in thousandths of a GPU → how many. Kept beside, as an hour is packed
    /// once for every finding that touches it.
    pieces: BTreeMap<i64, i64>,
    /// Time that earlier findings brought here.
    added_ms: i64,
    /// GPU-milliseconds of the nodes that are paid.
    paid_ms: i64,
}

impl Hour {
    fn held(&self, holder: usize) -> i64 {
        self.held.get(&holder).copied().unwrap_or(0)
    }

    /// Lets a holder of replicas of one size hold so much.
    fn hold(&mut self, holder: usize, ms: i64, gpu_milli: i64) {
        let before = self.held.insert(holder, ms).unwrap_or(0);
        for (ms, sign) in [(before, -1), (ms, 1)] {
            let Some((size, count)) = piece(ms, gpu_milli) else {
                continue;
            };
            let pieces = self.pieces.entry(size).or_default();
            *pieces += sign * count;
            if *pieces == 0 {
                self.pieces.remove(&size);
            }
        }
    }

    fn items(&self) -> Vec<Items> {
        let mut pieces = self.pieces.clone();
        if self.added_ms > 0 {
            let (whole, rest) = (self.added_ms / HOUR_MS, self.added_ms % HOUR_MS);
            *pieces.entry(1000).or_default() += whole;
            if rest > 0 {
                *pieces.entry((rest * 1000 / HOUR_MS).max(1)).or_default() += 1;
            }
        }
        pieces
            .into_iter()
            .map(|(gpu_milli, count)| Items { gpu_milli, count })
            .collect()
    }
}

/// What time of a holder takes of nodes: size and number of its replicas. A part of an hour still needs
/// its node in it, as long as it is whole GPUs that stay.
fn piece(ms: i64, gpu_milli: i64) -> Option<(i64, i64)> {
    let full = gpu_milli.saturating_mul(HOUR_MS) / 1000;
    if ms <= 0 {
        None
    } else if gpu_milli < 1000 && ms < full {
        Some(((ms * 1000 / HOUR_MS).max(1), 1))
    } else {
        Some((gpu_milli, if full > 0 { (ms + full - 1) / full } else { 0 }))
    }
}

/// What one workload is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replicas {
    /// GPUs of one replica, in thousandths.
    pub gpu_milli: i64,
    /// How many stay whatever is saved.
    pub floor: i64,
}

impl Replicas {
    /// GPU-milliseconds of an hour that the floor holds.
    fn floor_ms(self) -> i64 {
        self.floor
            .max(0)
            .saturating_mul(self.gpu_milli.max(0))
            .saturating_mul(HOUR_MS / 1000)
    }
}

/// The bill of the window as findings change it.
#[derive(Debug, Default)]
pub(super) struct Bill {
    numbers: BTreeMap<Pool, usize>,
    pools: Vec<PoolBill>,
    /// By cluster and holder.
    sizes: BTreeMap<(String, Holder), Replicas>,
}

/// What a finding takes off the bill over the window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Realised {
    /// `None` where the price or the size of a node is not known.
    pub usd: Option<Decimal>,
    /// When the last commitment on what is freed ends; only then the rest of the saving begins.
    pub after_ms: Option<i64>,
    /// Something freed is under a commitment.
    pub committed: bool,
}

impl Bill {
    /// The bill before any finding, and what each workload is made of.
    pub(super) fn new(whole: &Claimable, sizes: BTreeMap<[String; 4], Replicas>) -> Self {
        let mut bill = Self {
            sizes: sizes
                .into_iter()
                .map(|([cluster, namespace, kind, name], replicas)| {
                    ((cluster, [namespace, kind, name]), replicas)
                })
                .collect(),
            ..Self::default()
        };
        let mut last: Option<(&Arc<Resource>, Place)> = None;
        for (resource, hour_ms, ms) in whole.rows() {
            let place = match last {
                Some((known, place)) if Arc::ptr_eq(known, resource) => place,
                _ => bill.place(resource),
            };
            last = Some((resource, place));
            let pool = &mut bill.pools[place.pool];
            let gpu_milli = pool.holders[place.holder].gpu_milli;
            let hour = pool.hours.entry(hour_ms).or_default();
            hour.hold(place.holder, hour.held(place.holder) + ms, gpu_milli);
            hour.paid_ms += ms;
        }
        bill
    }

    fn pool(&mut self, pool: Pool) -> usize {
        let next = self.pools.len();
        let number = *self.numbers.entry(pool).or_insert(next);
        if number == next {
            self.pools.push(PoolBill::default());
        }
        number
    }

    fn place(&mut self, resource: &Resource) -> Place {
        let pool = self.pool((resource.cluster.clone(), resource.price_key.clone()));
        let mut key = (
            resource.cluster.clone(),
            [
                resource.namespace.clone(),
                resource.workload_kind.clone(),
                resource.workload_name.clone(),
            ],
        );
        let known = self.sizes.get(&key).copied();
        let here = &mut self.pools[pool];
        let next = here.holders.len();
        let holder = *here
            .numbers
            .entry(std::mem::take(&mut key.1))
            .or_insert(next);
        if holder == next {
            let size = known.map(|replicas| replicas.gpu_milli);
            here.holders.push(Replicas {
                gpu_milli: size.filter(|milli| *milli > 0).unwrap_or(1000),
                floor: 0,
            });
        }
        // A GPU that is fed does its waiting work sooner, and goes only with a replica: what is starved
        // down to the floor saves time and no GPU.
        let least_ms = match known {
            Some(replicas) if resource.class == "starved" => replicas.floor_ms(),
            _ => 0,
        };
        Place {
            pool,
            holder,
            least_ms,
        }
    }

    /// Carries out a finding's claims and says what they take off the bill.
    pub(super) fn take(&mut self, claims: &[Claim], prices: &PriceList) -> Realised {
        let mut touched: BTreeMap<(usize, i64), bool> = BTreeMap::new();
        let mut last: Option<(&Arc<Resource>, Place)> = None;
        for claim in claims {
            let resource = &claim.resource;
            if claim.ms_freed > 0 {
                let place = match last {
                    Some((known, place)) if Arc::ptr_eq(known, resource) => place,
                    _ => self.place(resource),
                };
                last = Some((resource, place));
                let pool = &mut self.pools[place.pool];
                let gpu_milli = pool.holders[place.holder].gpu_milli;
                let hour = pool.hours.entry(claim.hour_ms).or_default();
                let held = hour.held(place.holder);
                let left = (held - claim.ms_freed).max(place.least_ms.min(held));
                hour.hold(place.holder, left, gpu_milli);
                touched.entry((place.pool, claim.hour_ms)).or_insert(false);
            }
            if claim.ms_added > 0 {
                let key = claim.price_key_added.clone().unwrap_or_default();
                let pool = self.pool((resource.cluster.clone(), key));
                let hour = self.pools[pool].hours.entry(claim.hour_ms).or_default();
                hour.added_ms += claim.ms_added;
                touched.insert((pool, claim.hour_ms), true);
            }
        }
        let names: HashMap<usize, &Pool> = self
            .numbers
            .iter()
            .map(|(name, number)| (*number, name))
            .collect();
        let mut places: Vec<(&Pool, i64, usize, bool)> = touched
            .into_iter()
            .filter_map(|((pool, hour_ms), grows)| Some((*names.get(&pool)?, hour_ms, pool, grows)))
            .collect();
        places.sort_unstable();
        let mut realised = Realised {
            usd: Some(Decimal::ZERO),
            ..Realised::default()
        };
        for ((_, key), hour_ms, pool, grows) in places {
            let Some(price) = prices.get(key) else {
                realised.usd = None;
                continue;
            };
            let hour = self.pools[pool].hours.get_mut(&hour_ms);
            let change = hour.and_then(|hour| hour.change(price, grows));
            let Some((ms, usd_per_gpu_hour)) = change else {
                realised.usd = None;
                continue;
            };
            // What is added under a commitment is paid like anything else.
            if let Some(commitment) = price.committed
                && ms > 0
            {
                realised.committed = true;
                realised.after_ms = realised.after_ms.max(commitment.until_ms);
                continue;
            }
            if ms != 0 {
                realised.usd = realised.usd.and_then(|sum| {
                    Decimal::from(ms)
                        .checked_mul(usd_per_gpu_hour)?
                        .checked_div(Decimal::from(HOUR_MS))?
                        .checked_add(sum)
                });
            }
        }
        realised
    }
}

/// Where a resource's time stands in the bill.
#[derive(Debug, Clone, Copy)]
struct Place {
    pool: usize,
    holder: usize,
    /// What stays of an hour whatever a claim frees.
    least_ms: i64,
}

impl Hour {
    /// GPU-milliseconds of whole nodes that the hour needs less than before, and their price.
    fn change(&mut self, price: &Price, grows: bool) -> Option<(i64, Decimal)> {
        let (usd, node_gpus) = (price.usd_per_gpu_hour?, price.gpus_per_node?);
        let needed = nodes_for(&self.items(), node_gpus)
            .bins
            .saturating_mul(node_gpus)
            .saturating_mul(HOUR_MS);
        // Freeing never makes a bill grow, and the first fit of fewer items can be the worse one.
        let after = if grows {
            needed
        } else {
            needed.min(self.paid_ms)
        };
        let change = self.paid_ms - after;
        self.paid_ms = after;
        Some((change, usd))
    }
}

#[cfg(test)]
mod tests;
