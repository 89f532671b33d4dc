use proptest::prelude::*;

use super::*;
use crate::detect::netting::Committed;

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
        resource: resource(name, DEAR).into(),
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
        resource: Arc::new(Resource {
            class: "starved".to_owned(),
            ..resource("one", CHEAP)
        }),
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
        resource: resource("one", CHEAP).into(),
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
