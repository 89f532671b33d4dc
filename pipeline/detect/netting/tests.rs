use proptest::prelude::*;

use super::*;

const H100: &str = "aws|us-east-1|p5.4xlarge|H100-SXM-80|";
const L40S: &str = "aws|us-east-1|g6e.xlarge|L40S-48|";

fn usd(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn prices() -> PriceList {
    let mut list = PriceList::default();
    list.insert(
        H100.to_owned(),
        [Some(usd("6.88")), None, Some(usd("9"))],
        "catalogue",
        0,
    );
    list.insert(
        L40S.to_owned(),
        [None, None, Some(usd("1.861"))],
        "other-region",
        20,
    );
    list.insert("|||X|".to_owned(), [None, None, None], "unknown", 0);
    list
}

fn resource(key: &str) -> Resource {
    Resource {
        cluster: "a".to_owned(),
        workload_name: "llm".to_owned(),
        price_key: key.to_owned(),
        class: "serving".to_owned(),
        ..Resource::default()
    }
}

fn claim(key: &str, hour: i64, freed: i64, added: i64) -> Claim {
    Claim {
        resource: resource(key).into(),
        hour_ms: hour * HOUR_MS,
        ms_freed: freed,
        ms_added: added,
        product_added: (added > 0).then(|| "L40S-48".to_owned()),
        price_key_added: (added > 0).then(|| L40S.to_owned()),
    }
}

/// Design §7: 86 H100-hours a day where demand needs 50 and 48 L40S-hours would do.
#[test]
fn the_worked_example_nets_to_what_is_left() {
    let mut claimable = Claimable::default();
    // 1 replica for 8 hours, 3 for 6, 6 for 10: 86 hours a day; needed: 1, 1 and 3.6.
    let held: Vec<i64> = (0..24)
        .map(|h| {
            if h < 8 {
                1
            } else if h < 14 {
                3
            } else {
                6
            }
        })
        .collect();
    assert_eq!(held.iter().sum::<i64>(), 86);
    for (hour, replicas) in held.iter().enumerate() {
        claimable.add(resource(H100), hour as i64 * HOUR_MS, replicas * HOUR_MS);
    }
    let surplus: Vec<Claim> = held
        .iter()
        .enumerate()
        .map(|(hour, replicas)| match replicas {
            1 => claim(H100, hour as i64, 0, 0),
            3 => claim(H100, hour as i64, 2 * HOUR_MS, 0),
            _ => claim(H100, hour as i64, HOUR_MS * 24 / 10, 0),
        })
        .collect();
    claimable.take(&surplus).unwrap();
    let tier: Vec<Claim> = claimable
        .rows()
        .map(|(_, hour_ms, ms)| claim(H100, hour_ms / HOUR_MS, ms, 2 * HOUR_MS))
        .collect();
    claimable.take(&tier).unwrap();
    assert_eq!(claimable.rows().count(), 0);

    let (surplus, tier) = (
        worth(&surplus, &prices()).unwrap(),
        worth(&tier, &prices()).unwrap(),
    );
    assert_eq!(surplus.ms_freed, 36 * HOUR_MS);
    assert_eq!((tier.ms_freed, tier.ms_added), (50 * HOUR_MS, 48 * HOUR_MS));
    let net = surplus.net_usd().unwrap() + tier.net_usd().unwrap();
    assert_eq!(net, usd("86") * usd("6.88") - usd("48") * usd("1.861"));
    assert_eq!(tier.price_band_percent, 20);
    assert_eq!(tier.basis, "effective (catalogue), list (other-region)");
}

#[test]
fn a_claim_beyond_the_ledger_is_a_fault_and_takes_nothing() {
    let mut claimable = Claimable::default();
    claimable.add(resource(H100), 0, 1000);
    let before = claimable.clone();
    let error = claimable
        .take(&[claim(H100, 0, 600, 0), claim(H100, 0, 401, 0)])
        .unwrap_err();
    assert!(error.to_string().contains("1001 ms"), "{error}");
    assert!(claimable.take(&[claim(H100, 1, 1, 0)]).is_err());
    assert!(claimable.take(&[claim(H100, 0, -1, 0)]).is_err());
    assert_eq!(claimable, before);
    claimable.take(&[claim(H100, 0, 1000, 0)]).unwrap();
    assert!(claimable.take(&[claim(H100, 0, 1, 0)]).is_err());
}

#[test]
fn an_unknown_price_leaves_hours_and_no_dollars() {
    let unknown = worth(&[claim("|||X|", 0, HOUR_MS, 0)], &prices()).unwrap();
    assert_eq!((unknown.ms_freed, unknown.net_usd()), (HOUR_MS, None));
    assert_eq!(unknown.basis, "unknown");
    let absent = worth(&[claim("nowhere", 0, HOUR_MS, 0)], &prices()).unwrap();
    assert_eq!(absent.net_usd(), None);
    let nothing = worth(&[], &prices()).unwrap();
    assert_eq!(nothing.net_usd(), Some(Decimal::ZERO));
}

#[test]
fn months_and_ranges_are_exact() {
    assert_eq!(monthly(usd("336"), 336 * HOUR_MS), Some(usd("730")));
    assert_eq!(monthly(usd("1"), 0), None);
    // Freed is measured: without a price band nothing above it can be saved.
    assert_eq!(
        range(usd("100"), usd("20"), 0, 60),
        Some((usd("68"), usd("92")))
    );
    assert_eq!(
        range(usd("100"), usd("20"), 20, 30),
        Some((usd("50"), usd("110")))
    );
    assert_eq!(
        range(usd("100"), usd("20"), 0, 250),
        Some((usd("30"), usd("100")))
    );
}

proptest! {
    /// Whatever detectors claim of what is left, no second is claimed twice and no dollar is
    /// saved that was not spent: per resource and hour, and for the fleet.
    #[test]
    fn net_never_exceeds_spend(
        ledger in prop::collection::vec((0_usize..2, 0_i64..4, 0_i64..=HOUR_MS), 1..12),
        rounds in prop::collection::vec(
            prop::collection::vec((0_usize..12, 0_i64..=1_300_000, 0_i64..=HOUR_MS), 0..6), 1..5),
    ) {
        let keys = [H100, L40S];
        let list = prices();
        let mut claimable = Claimable::default();
        let mut spent: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for (key, hour, ms) in &ledger {
            claimable.add(resource(keys[*key]), hour * HOUR_MS, *ms);
            *spent.entry((keys[*key].to_owned(), *hour)).or_default() += ms;
        }
        let mut freed: BTreeMap<(String, i64), i64> = BTreeMap::new();
        let mut nets: BTreeMap<(String, i64), Decimal> = BTreeMap::new();
        let mut fleet_net = Decimal::ZERO;
        for round in rounds {
            // Shares of what was left, in millionths; above a million the claim must be refused.
            let claims: Vec<Claim> = round
                .iter()
                .map(|(row, share, added)| {
                    let (key, hour, _) = ledger[row % ledger.len()];
                    let left = claimable.left(&resource(keys[key]), hour * HOUR_MS);
                    claim(keys[key], hour, left * share / 1_000_000, *added)
                })
                .collect();
            let value = worth(&claims, &list).unwrap();
            let net = value.net_usd().unwrap();
            if net <= Decimal::ZERO || claimable.take(&claims).is_err() {
                continue;
            }
            fleet_net += net;
            for claim in &claims {
                let key = (claim.resource.price_key.clone(), claim.hour_ms / HOUR_MS);
                *freed.entry(key.clone()).or_default() += claim.ms_freed;
                let net = worth([claim], &list).unwrap().net_usd().unwrap();
                *nets.entry(key).or_default() += net;
            }
        }
        let dollars = |key: &str, ms: i64| {
            Decimal::from(ms) * list.usd(key).unwrap() / Decimal::from(HOUR_MS)
        };
        let rounding = usd("0.000000000001");
        for (key, ms) in &freed {
            prop_assert!(*ms <= spent[key]);
        }
        for (key, net) in &nets {
            prop_assert!(*net <= dollars(&key.0, spent[key]) + rounding);
        }
        let spend: Decimal = spent.iter().map(|(key, ms)| dollars(&key.0, *ms)).sum();
        prop_assert!(fleet_net <= spend + rounding);
        for (resource, _, left) in claimable.rows() {
            prop_assert!(left > 0, "{resource:?}");
        }
    }

    /// However many detectors there are, and wherever a new one stands in the order: what they save
    /// together is at most what the classes that may be claimed cost.
    #[test]
    fn another_detector_never_raises_net_above_the_ledgers_waste(
        ledger in prop::collection::vec((0_usize..2, 0_i64..6, 0_i64..=HOUR_MS, 0_usize..4), 1..20),
        detectors in prop::collection::vec((0_usize..3, 0_i64..=1_000_000, 0_i64..=1_200_000), 0..5),
        more in (0_usize..3, 0_i64..=1_000_000, 0_i64..=1_200_000),
        place in 0_usize..6,
    ) {
        // The last class is work that nobody may claim.
        let classes = ["dark", "lull", "starved", "serving"];
        let of = |key: usize, class: usize| Resource {
            class: classes[class].to_owned(),
            ..resource([H100, L40S][key])
        };
        let list = prices();
        let mut whole = Claimable::default();
        let mut waste = Decimal::ZERO;
        for (key, hour, ms, class) in &ledger {
            whole.add(of(*key, *class), hour * HOUR_MS, *ms);
            if *class < 3 {
                let usd = list.usd([H100, L40S][*key]).unwrap();
                waste += Decimal::from(*ms) * usd / Decimal::from(HOUR_MS);
            }
        }
        let run = |detectors: &[(usize, i64, i64)]| {
            let mut left = whole.clone();
            let mut net = Decimal::ZERO;
            for (class, share, added) in detectors {
                let claims: Vec<Claim> = left
                    .rows()
                    .filter(|(resource, ..)| resource.class == classes[*class])
                    .map(|(resource, hour_ms, ms)| {
                        let freed = ms * share / 1_000_000;
                        let needed = freed * added / 1_000_000;
                        Claim {
                            resource: resource.clone(),
                            ..claim(H100, hour_ms / HOUR_MS, freed, needed)
                        }
                    })
                    .collect();
                let value = worth(&claims, &list).unwrap().net_usd().unwrap();
                if value > Decimal::ZERO {
                    left.take(&claims).unwrap();
                    net += value;
                }
            }
            (net, left)
        };
        let rounding = usd("0.000000000001");
        let (net, _) = run(&detectors);
        prop_assert!(net <= waste + rounding);
        let mut with_more = detectors.clone();
        with_more.insert(place.min(detectors.len()), more);
        let (net, left) = run(&with_more);
        prop_assert!(net <= waste + rounding, "{net} of {waste}");
        // Work stays whole.
        let work = |claimable: &Claimable| -> i64 {
            claimable.rows().filter(|(r, ..)| r.class == "serving").map(|(.., ms)| ms).sum()
        };
        prop_assert_eq!(work(&left), work(&whole));
    }
}
