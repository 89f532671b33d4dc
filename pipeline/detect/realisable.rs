//! Owns what the bill drops: node-hours that could be given back once the claims of findings, in
//! their order, are carried out and the rest is packed together.
//!
//! A freed GPU saves nothing while its node is still needed, and a GPU that is added costs the whole
//! node that it is sold with. Each pool of equal nodes (cluster and price key) is packed hour by hour;
//! what a finding gets is the difference that it makes after all findings before it. Time that
//! nobody claims counts as held, free slots included, so the bill of today is the start. Nodes under
//! a commitment are paid until it ends. Pure; called by `runner`.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::economics::packing::{Items, nodes_for};
use super::netting::{Claim, Claimable, PriceList};
use crate::model::time::HOUR_MS;

/// Nodes of one kind in one cluster.
type Pool = (String, String);
/// Namespace, kind and name; blank where nobody holds the time.
type Holder = [String; 3];

/// What one pool holds in one hour.
#[derive(Debug, Default)]
struct Hour {
    held: BTreeMap<Holder, i64>,
    /// Time that earlier findings brought here.
    added_ms: i64,
    /// GPU-milliseconds of the nodes that are paid.
    paid_ms: i64,
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
    hours: BTreeMap<Pool, BTreeMap<i64, Hour>>,
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
            hours: BTreeMap::new(),
            sizes: sizes
                .into_iter()
                .map(|([cluster, namespace, kind, name], replicas)| {
                    ((cluster, [namespace, kind, name]), replicas)
                })
                .collect(),
        };
        for (resource, hour_ms, ms) in whole.rows() {
            let pool = (resource.cluster.clone(), resource.price_key.clone());
            let hour = bill
                .hours
                .entry(pool)
                .or_default()
                .entry(hour_ms)
                .or_default();
            *hour.held.entry(holder(resource)).or_default() += ms;
            hour.paid_ms += ms;
        }
        bill
    }

    /// Carries out a finding's claims and says what they take off the bill.
    pub(super) fn take(&mut self, claims: &[Claim], prices: &PriceList) -> Realised {
        let mut freed: BTreeSet<(Pool, i64)> = BTreeSet::new();
        let mut added: BTreeSet<(Pool, i64)> = BTreeSet::new();
        for claim in claims {
            let resource = &claim.resource;
            if claim.ms_freed > 0 {
                let least_ms = self.least_ms(resource);
                let pool = (resource.cluster.clone(), resource.price_key.clone());
                let hour = self
                    .hours
                    .entry(pool.clone())
                    .or_default()
                    .entry(claim.hour_ms)
                    .or_default();
                let held = hour.held.entry(holder(resource)).or_default();
                *held = (*held - claim.ms_freed).max(least_ms.min(*held));
                freed.insert((pool, claim.hour_ms));
            }
            if claim.ms_added > 0 {
                let key = claim.price_key_added.clone().unwrap_or_default();
                let pool = (resource.cluster.clone(), key);
                let hour = self
                    .hours
                    .entry(pool.clone())
                    .or_default()
                    .entry(claim.hour_ms)
                    .or_default();
                hour.added_ms += claim.ms_added;
                added.insert((pool, claim.hour_ms));
            }
        }
        let mut realised = Realised {
            usd: Some(Decimal::ZERO),
            ..Realised::default()
        };
        for place in freed.union(&added) {
            let (pool, hour_ms) = place;
            let change = self.change(pool, *hour_ms, prices, added.contains(place));
            let Some((ms, usd_per_gpu_hour)) = change else {
                realised.usd = None;
                continue;
            };
            let committed = prices.get(&pool.1).and_then(|price| price.committed);
            // What is added under a commitment is paid like anything else.
            if let Some(commitment) = committed
                && ms > 0
            {
                realised.committed = true;
                realised.after_ms = realised.after_ms.max(commitment.until_ms);
                continue;
            }
            realised.usd = realised.usd.and_then(|sum| {
                Decimal::from(ms)
                    .checked_mul(usd_per_gpu_hour)?
                    .checked_div(Decimal::from(HOUR_MS))?
                    .checked_add(sum)
            });
        }
        realised
    }

    /// What stays of a workload's hour whatever a claim frees. A GPU that is fed does its waiting work
    /// sooner, and goes only with a replica: what is starved down to the floor saves time and no GPU.
    fn least_ms(&self, resource: &super::netting::Resource) -> i64 {
        if resource.class != "starved" {
            return 0;
        }
        self.sizes
            .get(&(resource.cluster.clone(), holder(resource)))
            .map_or(0, |replicas| replicas.floor_ms())
    }

    /// GPU-milliseconds of whole nodes that an hour of a pool needs less than before, and the price.
    fn change(
        &mut self,
        pool: &Pool,
        hour_ms: i64,
        prices: &PriceList,
        grows: bool,
    ) -> Option<(i64, Decimal)> {
        let price = prices.get(&pool.1)?;
        let (usd, node_gpus) = (price.usd_per_gpu_hour?, price.gpus_per_node?);
        let hour = self.hours.get_mut(pool)?.get_mut(&hour_ms)?;
        let mut items: BTreeMap<i64, i64> = BTreeMap::new();
        for (holder, ms) in hour.held.iter().filter(|(_, ms)| **ms > 0) {
            let size = self
                .sizes
                .get(&(pool.0.clone(), holder.clone()))
                .map(|replicas| replicas.gpu_milli)
                .filter(|milli| *milli > 0)
                .unwrap_or(1000);
            let full = size.saturating_mul(HOUR_MS) / 1000;
            // A part of an hour still needs its node in it, as long as it is whole GPUs that stay.
            let count = if full > 0 { (ms + full - 1) / full } else { 0 };
            if size < 1000 && *ms < full {
                *items.entry((ms * 1000 / HOUR_MS).max(1)).or_default() += 1;
            } else {
                *items.entry(size).or_default() += count;
            }
        }
        if hour.added_ms > 0 {
            let (whole, rest) = (hour.added_ms / HOUR_MS, hour.added_ms % HOUR_MS);
            *items.entry(1000).or_default() += whole;
            if rest > 0 {
                *items.entry((rest * 1000 / HOUR_MS).max(1)).or_default() += 1;
            }
        }
        let items: Vec<Items> = items
            .into_iter()
            .map(|(gpu_milli, count)| Items { gpu_milli, count })
            .collect();
        let needed = nodes_for(&items, node_gpus)
            .bins
            .saturating_mul(node_gpus)
            .saturating_mul(HOUR_MS);
        // Freeing never makes a bill grow, and the first fit of fewer items can be the worse one.
        let after = if grows {
            needed
        } else {
            needed.min(hour.paid_ms)
        };
        let change = hour.paid_ms - after;
        hour.paid_ms = after;
        Some((change, usd))
    }
}

fn holder(resource: &super::netting::Resource) -> Holder {
    [
        resource.namespace.clone(),
        resource.workload_kind.clone(),
        resource.workload_name.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::netting::{Committed, Resource};

    const DEAR: &str = "aws|us-east-1|p5.48xlarge|H100-SXM-80|";
    const CHEAP: &str = "aws|us-east-1|g6e.xlarge|L40S-48|";

    fn prices(commitment: Option<Committed>) -> PriceList {
        let mut prices = PriceList::default();
        for (key, usd, gpus) in [(DEAR, "6", 8), (CHEAP, "2", 1)] {
            prices.insert(
                key.to_owned(),
                [None, None, Some(usd.parse().unwrap())],
                "list",
                0,
            );
            prices.set_node(key, Some(gpus), commitment.filter(|_| key == DEAR));
        }
        prices
    }

    fn resource(name: &str, key: &str) -> Resource {
        Resource {
            cluster: "c".to_owned(),
            namespace: "n".to_owned(),
            workload_kind: "deployment.apps".to_owned(),
            workload_name: name.to_owned(),
            price_key: key.to_owned(),
            class: "serving".to_owned(),
            ..Resource::default()
        }
    }

    fn frees(name: &str, gpus: i64) -> Claim {
        Claim {
            resource: resource(name, DEAR),
            hour_ms: 0,
            ms_freed: gpus * HOUR_MS,
            ms_added: 0,
            product_added: None,
            price_key_added: None,
        }
    }

    /// Two nodes of eight: `a` holds six GPUs, `b` seven, three are free.
    fn bill() -> Bill {
        let mut whole = Claimable::default();
        for (name, gpus) in [("a", 6), ("b", 7), ("", 3)] {
            whole.add(resource(name, DEAR), 0, gpus * HOUR_MS);
        }
        Bill::new(&whole, BTreeMap::new())
    }

    fn usd(realised: &Realised) -> Decimal {
        realised.usd.unwrap()
    }

    #[test]
    fn a_gpu_saves_nothing_and_the_last_one_of_a_node_saves_the_node() {
        let (mut bill, prices) = (bill(), prices(None));
        assert_eq!(usd(&bill.take(&[frees("", 3)], &prices)), Decimal::ZERO);
        assert_eq!(usd(&bill.take(&[frees("a", 4)], &prices)), Decimal::ZERO);
        // Eight are left: they fit one node, and the other goes for 8 x $6.
        assert_eq!(
            usd(&bill.take(&[frees("b", 1)], &prices)),
            Decimal::from(48)
        );
        assert_eq!(usd(&bill.take(&[frees("b", 5)], &prices)), Decimal::ZERO);
        assert_eq!(
            usd(&bill.take(&[frees("b", 1), frees("a", 2)], &prices)),
            Decimal::from(48)
        );
    }

    #[test]
    fn what_is_added_costs_its_nodes() {
        let (mut bill, prices) = (bill(), prices(None));
        let moved = Claim {
            ms_added: HOUR_MS * 3 / 2,
            price_key_added: Some(CHEAP.to_owned()),
            ..frees("a", 6)
        };
        // Ten of sixteen stay, so no node goes; a GPU and a half are two nodes of one.
        assert_eq!(usd(&bill.take(&[moved], &prices)), Decimal::from(-4));
        // The free ones go too: seven are left on one node.
        assert_eq!(usd(&bill.take(&[frees("", 3)], &prices)), Decimal::from(48));
    }

    #[test]
    fn committed_nodes_are_paid_until_the_commitment_ends() {
        let mut bill = bill();
        let realised = bill.take(
            &[frees("", 3), frees("a", 6)],
            &prices(Some(Committed { until_ms: Some(99) })),
        );
        assert_eq!(usd(&realised), Decimal::ZERO);
        assert!(realised.committed && realised.after_ms == Some(99));
    }

    #[test]
    fn unknown_nodes_have_no_realisable_dollars() {
        let mut bill = bill();
        let realised = bill.take(&[frees("a", 6)], &PriceList::default());
        assert_eq!(realised.usd, None);
    }

    #[test]
    fn replicas_of_four_do_not_split_over_nodes() {
        let mut whole = Claimable::default();
        whole.add(resource("four", DEAR), 0, 12 * HOUR_MS);
        whole.add(resource("one", DEAR), 0, 4 * HOUR_MS);
        let four = ["c", "n", "deployment.apps", "four"].map(str::to_owned);
        let four_gpus = Replicas {
            gpu_milli: 4000,
            floor: 1,
        };
        let mut bill = Bill::new(&whole, BTreeMap::from([(four, four_gpus)]));
        // Three of four and one of one: two nodes are still needed.
        assert_eq!(
            usd(&bill.take(&[frees("one", 3)], &prices(None))),
            Decimal::ZERO
        );
        assert_eq!(
            usd(&bill.take(&[frees("four", 4)], &prices(None))),
            Decimal::ZERO
        );
        assert_eq!(
            usd(&bill.take(&[frees("one", 1)], &prices(None))),
            Decimal::from(48)
        );
    }

    #[test]
    fn a_starved_replica_that_must_stay_takes_nothing_off_the_bill() {
        let starved = |gpus: i64| Claim {
            resource: Resource {
                class: "starved".to_owned(),
                ..resource("one", CHEAP)
            },
            ..frees("one", gpus)
        };
        let one = ["c", "n", "deployment.apps", "one"].map(str::to_owned);
        let of = |floor: i64| {
            let mut whole = Claimable::default();
            whole.add(resource("one", CHEAP), 0, 3 * HOUR_MS);
            let replicas = Replicas {
                gpu_milli: 1000,
                floor,
            };
            Bill::new(&whole, BTreeMap::from([(one.clone(), replicas)]))
        };
        // All three are starved all the hour: two could go, the last stays and works.
        assert_eq!(
            usd(&of(1).take(&[starved(3)], &prices(None))),
            Decimal::from(4)
        );
        assert_eq!(
            usd(&of(3).take(&[starved(3)], &prices(None))),
            Decimal::ZERO
        );
        // What nobody asks for goes whole.
        let unasked = Claim {
            resource: resource("one", CHEAP),
            ..frees("one", 3)
        };
        assert_eq!(
            usd(&of(1).take(&[unasked], &prices(None))),
            Decimal::from(6)
        );
    }

    proptest! {
        #[test]
        fn the_bill_never_drops_by_more_than_it_was(
            held in prop::collection::vec(1_i64..9, 1..6),
            part in prop::collection::vec(0_i64..9, 6),
        ) {
            let prices = prices(None);
            let total: i64 = held.iter().sum();
            let nodes = (total + 7) / 8;
            let mut whole = Claimable::default();
            for (at, gpus) in held.iter().enumerate() {
                whole.add(resource(&format!("w{at}"), DEAR), 0, gpus * HOUR_MS);
            }
            whole.add(resource("", DEAR), 0, (nodes * 8 - total) * HOUR_MS);
            let mut bill = Bill::new(&whole, BTreeMap::new());
            let mut sum = Decimal::ZERO;
            let mut freed = 0;
            for (at, gpus) in held.iter().enumerate() {
                let gpus = (*gpus).min(part[at]);
                if gpus == 0 { continue; }
                freed += gpus;
                let saved = usd(&bill.take(&[frees(&format!("w{at}"), gpus)], &prices));
                prop_assert!(saved >= Decimal::ZERO);
                sum += saved;
            }
            prop_assert!(sum <= Decimal::from(nodes * 48));
            // Realisable never exceeds what is addressable.
            prop_assert!(sum <= Decimal::from(freed * 6));
        }
    }
}
