use super::*;
use crate::simulate::hpa::{HpaSpec, Metric, Rules, Target};
use crate::simulate::knative::KpaSpec;
use crate::simulate::signal::Reading;
use proptest::prelude::*;

const SERVING: Serving = Serving {
    startup_ms: 120_000,
    late_after_ms: 2000,
    patience_ms: 60_000,
    at_once: Some(20),
};

/// A bucket in which `load` replicas are kept busy by ten requests a second each.
fn bucket(ready: f64, load: f64) -> Bucket {
    Bucket {
        ready,
        held: ready,
        demand: Some(Demand {
            requests_per_second: load * 10.0,
            running: Some(load * 8.0),
            waiting: Some(0.0),
            load: Some(load),
            ..Demand::default()
        }),
        recorded: None,
    }
}

fn timeline(buckets: Vec<Bucket>) -> Timeline {
    Timeline {
        start_ms: 0,
        buckets,
    }
}

fn hpa(min: u32, max: u32) -> Spec {
    Spec::Hpa(HpaSpec {
        min,
        max,
        metrics: vec![Metric {
            reading: Reading::sum(Signal::Running),
            target: Target::PodsAverage(8.0),
        }],
        up: Rules::up(),
        down: Rules::down(),
    })
}

#[test]
fn a_fixed_count_is_its_hours_and_serves_what_it_can() {
    let demand = timeline(vec![bucket(3.0, 2.0); 288]);
    let enough = replay(&demand, &Spec::Fixed { replicas: 2 }, &SERVING);
    assert_eq!(enough.ready_ms, 2.0 * 86_400_000.0);
    assert_eq!(enough.held_ms, enough.ready_ms);
    assert_eq!((enough.missed_ms, enough.late_requests), (0, 0.0));
    assert_eq!(enough.requests, 20.0 * 86_400.0);
    let short = replay(&demand, &Spec::Fixed { replicas: 1 }, &SERVING);
    // Half of what comes is served; the other half gives up, but for the last minute's.
    assert!(short.missed_ms > 86_000_000, "{short:?}");
    assert!(
        (short.unserved_requests - 864_000.0).abs() < 2000.0,
        "{short:?}"
    );
    let none = replay(&demand, &Spec::Fixed { replicas: 0 }, &SERVING);
    assert_eq!(none.ready_ms, 0.0);
    assert_eq!(none.missed_ms, 86_400_000);
}

#[test]
fn what_starts_is_paid_for_and_serves_later() {
    let mut buckets = vec![bucket(1.0, 1.0); 12];
    buckets.extend(vec![bucket(1.0, 3.0); 24]);
    let outcome = replay(&timeline(buckets), &hpa(1, 3), &SERVING);
    assert_eq!(outcome.peak, 3.0);
    assert_eq!(outcome.starts, 2);
    // Two replicas hold their GPUs for two minutes before they serve, and demand waits for as long.
    assert_eq!(outcome.held_ms - outcome.ready_ms, 2.0 * 120_000.0);
    assert!(outcome.missed_ms >= 110_000, "{outcome:?}");
    assert!(outcome.hours.iter().map(|hour| hour.missed_ms).sum::<i64>() == outcome.missed_ms);
}

#[test]
fn time_that_nobody_knows_is_counted_and_nothing_else() {
    let mut buckets = vec![bucket(2.0, 1.0); 36];
    for hole in &mut buckets[12..24] {
        hole.demand = None;
    }
    let demand = timeline(buckets);
    for outcome in [
        replay(&demand, &hpa(2, 4), &SERVING),
        replay_observed(&demand, &SERVING),
    ] {
        assert_eq!(
            (outcome.known_ms, outcome.unknown_ms),
            (7_200_000, 3_600_000)
        );
        assert_eq!(outcome.ready_ms, 2.0 * 7_200_000.0);
        assert_eq!(outcome.hours.len(), 3);
        assert_eq!(outcome.hours[1].known_ms, 0);
    }
}

#[test]
fn without_a_capacity_nothing_is_said_of_what_was_served() {
    let mut demand = timeline(vec![bucket(1.0, 1.0); 12]);
    demand.forget_load();
    let outcome = replay(&demand, &Spec::Fixed { replicas: 1 }, &SERVING);
    assert!(!outcome.is_served);
    assert_eq!(outcome.ready_ms, 3_600_000.0);
}

#[test]
fn leaps_over_quiet_time_change_nothing() {
    let quiet: Vec<Bucket> = (0..400)
        .map(|at| bucket(2.0, if (40..=200).contains(&at) { 0.5 } else { 2.0 }))
        .collect();
    let knative = Spec::Knative(KpaSpec {
        target: 8.0,
        total: 8.0,
        ..KpaSpec::default()
    });
    for spec in [hpa(1, 4), knative, Spec::Fixed { replicas: 1 }] {
        let leapt = run(&timeline(quiet.clone()), &spec, &SERVING, true);
        let stepped = run(&timeline(quiet.clone()), &spec, &SERVING, false);
        let of = |outcome: &Outcome| {
            let hours = (outcome.ready_ms, outcome.held_ms, outcome.missed_ms);
            (
                hours,
                outcome.starts,
                outcome.known_ms,
                outcome.requests.round(),
            )
        };
        assert_eq!(of(&leapt), of(&stepped), "{}", spec.title());
    }
}

#[test]
fn engines_that_are_gone_tell_nothing_and_a_door_does() {
    let told = |load: Option<f64>, ready| {
        let demand = Demand {
            load,
            ..bucket(1.0, 1.0).demand.unwrap()
        };
        let queue = Queue {
            requests_per_work: 1.0,
            work: 7.0,
            ..Queue::default()
        };
        readings(&bucket(1.0, 1.0), &demand, ready, (&queue, Some(10)))
    };
    let gone = told(Some(1.0), 0);
    assert_eq!((gone.running, gone.waiting), (None, None));
    assert_eq!(gone.at_the_door, Some(7.0));
    let there = told(Some(1.0), 1);
    // Ten at once: two more are taken in, five queue.
    assert_eq!((there.running, there.waiting), (Some(10.0), Some(5.0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn more_replicas_never_serve_less(
        loads in prop::collection::vec(0.0_f64..5.0, 1..60), few in 0_u32..5, more in 1_u32..4,
    ) {
        let demand = timeline(loads.into_iter().map(|load| bucket(2.0, load)).collect());
        let small = replay(&demand, &Spec::Fixed { replicas: few }, &SERVING);
        let large = replay(&demand, &Spec::Fixed { replicas: few + more }, &SERVING);
        prop_assert!(large.missed_ms <= small.missed_ms);
        prop_assert!(large.unserved_requests <= small.unserved_requests + 1e-3);
        prop_assert!(large.ready_ms > small.ready_ms);
        prop_assert!((large.requests - small.requests).abs() < 1e-6);
    }

    #[test]
    fn every_replay_stays_within_bounds_and_never_serves_what_it_does_not_hold(
        loads in prop::collection::vec(0.0_f64..6.0, 1..80), min in 1_u32..3, more in 0_u32..4,
    ) {
        let demand = timeline(loads.into_iter().map(|load| bucket(2.0, load)).collect());
        let outcome = replay(&demand, &hpa(min, min + more), &SERVING);
        let whole = demand.end_ms() as f64;
        prop_assert!(outcome.held_ms >= f64::from(min) * whole - 1.0);
        prop_assert!(outcome.held_ms <= f64::from(min + more).max(2.0) * whole);
        prop_assert!(outcome.ready_ms <= outcome.held_ms);
        prop_assert!(outcome.unserved_requests <= outcome.requests + 1e-6);
        let again = replay(&demand, &hpa(min, min + more), &SERVING);
        prop_assert_eq!(outcome, again);
    }
}
