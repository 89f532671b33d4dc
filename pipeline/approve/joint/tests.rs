//! Claims that share a bill, a product of it, or a workload.

use serde_json::json;

use super::super::outcome::Latency;
use super::super::realised::Realised;
use super::*;

const CHANGED: i64 = 20;

fn usd(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An outcome of a workload with what was measured, and by how much the bill fell over the same days.
fn claim(name: &str, monthly: &str, billed: Option<&str>) -> Outcome {
    let item = json!({
        "recommendation_id": name, "cluster": "a", "namespace": "n", "detector": "d",
        "workload": format!("deployment.apps/{name}"), "net_monthly_usd": "1",
    });
    let middle = usd(monthly);
    let realised = Realised {
        monthly_usd: middle,
        low_usd: middle - Decimal::TEN,
        high_usd: middle + Decimal::TEN,
        days_before: 14,
        days_after: 14,
        before_ms: ((CHANGED - 14) * DAY_MS, CHANGED * DAY_MS),
        after_ms: ((CHANGED + 1) * DAY_MS, (CHANGED + 15) * DAY_MS),
        baseline: "demand",
        billed_usd: billed.map(usd),
        capped: false,
        shared_with: 0,
    };
    Outcome::of(
        &item,
        0,
        Vec::new(),
        Some(realised),
        [Latency::default(); 2],
    )
}

fn ground(day: i64, products: Option<&[&str]>) -> Ground {
    let pair = |sku: &&str| ("aws".to_owned(), (*sku).to_owned());
    Ground {
        held: Some(Held {
            before_ms: day * DAY_MS,
            from_ms: day * DAY_MS + 5,
            until_ms: None,
        }),
        products: products.map(|all| all.iter().map(pair).collect()),
    }
}

fn told(outcomes: &[Outcome]) -> Vec<String> {
    let saved = outcomes.iter().map(|one| one.realised.as_ref().unwrap());
    saved
        .map(|saved| format!("{:.2}", saved.monthly_usd))
        .collect()
}

#[test]
fn together_they_claim_what_the_bill_fell_by_and_no_cent_more() {
    let mut all = [
        claim("one", "100.00", Some("100.00")),
        claim("two", "50.01", Some("100.00")),
        // Lost money makes no room.
        claim("three", "-70.00", Some("100.00")),
    ];
    let same = || ground(CHANGED, Some(&["g6"]));
    share(&mut all, &[same(), same(), same()]);
    assert_eq!(told(&all), ["66.66", "33.33", "-70.00"]);
    let first = all[0].realised.clone().unwrap();
    assert_eq!((first.capped, first.shared_with), (true, 1));
    assert_eq!(
        (first.low_usd, first.high_usd),
        (usd("59.99"), usd("73.32"))
    );
    let lost = all[2].realised.as_ref().unwrap();
    assert_eq!((lost.capped, lost.low_usd), (false, usd("-80.00")));
    // Again, nothing moves.
    let before = all.clone();
    share(&mut all, &[same(), same(), same()]);
    assert_eq!(all, before);
}

#[test]
fn other_products_and_other_clusters_are_other_bills() {
    let billed = || {
        [
            claim("one", "100.00", Some("100.00")),
            claim("two", "90.00", Some("90.00")),
        ]
    };
    let mut apart = billed();
    let products = [
        ground(CHANGED, Some(&["g6"])),
        ground(CHANGED, Some(&["p5"])),
    ];
    share(&mut apart, &products);
    assert_eq!(told(&apart), ["100.00", "90.00"]);
    let mut elsewhere = billed();
    elsewhere[1].cluster = "b".to_owned();
    share(
        &mut elsewhere,
        &[ground(CHANGED, None), ground(CHANGED, None)],
    );
    assert_eq!(told(&elsewhere), ["100.00", "90.00"]);
    // One whose machines the bill does not name is held to all of the cluster's.
    let mut unnamed = billed();
    share(
        &mut unnamed,
        &[ground(CHANGED, None), ground(CHANGED, Some(&["p5"]))],
    );
    assert_eq!(told(&unnamed), ["47.36", "42.63"]);
}

#[test]
fn a_change_that_stood_on_both_sides_is_no_part_of_a_measure() {
    let billed = || {
        [
            claim("one", "60.00", Some("60.00")),
            claim("old", "60.00", Some("60.00")),
        ]
    };
    let shared = |day: i64| {
        let mut all = billed();
        share(&mut all, &[ground(CHANGED, None), ground(day, None)]);
        told(&all)
    };
    assert_eq!(shared(CHANGED)[0], "30.00");
    // Since before all of these days: the fall is the other's alone. Its own number was measured over
    // days of its own, which this test gives to both.
    assert_eq!(
        shared(CHANGED - 15)[0],
        "30.00",
        "the old one's own measure holds it"
    );
    let mut all = billed();
    let old = all[1].realised.as_mut().unwrap();
    old.before_ms = (0, 14 * DAY_MS);
    old.after_ms = (0, 0);
    old.billed_usd = None;
    share(
        &mut all,
        &[ground(CHANGED, None), ground(CHANGED - 15, None)],
    );
    assert_eq!(told(&all), ["60.00", "60.00"]);
    // In half of the days after: half of it lies in the measure.
    let mut all = billed();
    all[1].realised.as_mut().unwrap().after_ms = (0, 0);
    share(
        &mut all,
        &[ground(CHANGED, None), ground(CHANGED + 7, None)],
    );
    assert_eq!(told(&all)[0], "40.00");
}

#[test]
fn two_changes_of_one_workload_share_its_dollars_also_without_a_bill() {
    let mut all = [claim("one", "80.00", None), claim("two", "80.00", None)];
    all[1].workload_name = "one".to_owned();
    let same = || ground(CHANGED, None);
    share(&mut all, &[same(), same()]);
    assert_eq!(told(&all), ["40.00", "40.00"]);
    let first = all[0].realised.as_ref().unwrap();
    assert_eq!((first.capped, first.shared_with), (false, 1));
}

#[test]
fn an_export_that_was_repeated_counts_once() {
    let mut all = [
        claim("one", "80.00", Some("90.00")),
        claim("one", "80.00", Some("90.00")),
        claim("two", "10.00", Some("90.00")),
    ];
    all[1].exported_ms = 5;
    let same = || ground(CHANGED, None);
    share(&mut all, &[same(), same(), same()]);
    assert_eq!(told(&all), ["80.00", "80.00", "10.00"]);
}
