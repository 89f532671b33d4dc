use super::*;
use crate::simulate::signal::Readings;
use proptest::prelude::*;

fn spec(min: u32, max: u32, target: Target) -> HpaSpec {
    HpaSpec {
        min,
        max,
        metrics: vec![Metric {
            reading: Reading::sum(Signal::Running),
            target,
        }],
        up: Rules::up(),
        down: Rules::down(),
    }
}

fn sight(ready: u32, starting: u32, running: f64) -> Sight {
    Sight {
        ready,
        starting,
        readings: Readings {
            running: Some(running),
            ..Readings::default()
        },
    }
}

fn sync(hpa: &mut Hpa, now_ms: i64, sight: &Sight) -> u32 {
    let values: Vec<Option<f64>> = hpa.values(sight).collect();
    hpa.sync(now_ms, sight, &values)
}

#[test]
fn the_documentations_ratios_double_and_halve() {
    // Twice the wanted mean doubles, half of it halves once the window of five minutes has passed.
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(100.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(4, 0, 800.0)), 8);
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(100.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(4, 0, 200.0)), 2);
}

#[test]
fn a_ratio_within_the_tolerance_changes_nothing() {
    for (running, wanted) in [(440.0, 4), (441.0, 5), (360.0, 4), (359.0, 4), (290.0, 3)] {
        let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(100.0)));
        assert_eq!(
            sync(&mut hpa, 0, &sight(4, 0, running)),
            wanted,
            "{running}"
        );
    }
}

#[test]
fn downs_wait_for_the_window_and_ups_do_not() {
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(10.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(2, 0, 60.0)), 6);
    let mut now = 0;
    let mut current = 6;
    while current == 6 {
        now += SYNC_MS;
        current = sync(&mut hpa, now, &sight(6, 0, 10.0));
        assert!(now <= 600_000);
    }
    assert_eq!((now, current), (300_000, 1));
}

#[test]
fn the_documentations_policies_take_eight_then_four() {
    let policy = |kind, value| ScalingPolicy {
        kind,
        value,
        period_ms: 60_000,
    };
    let mut spec = spec(1, 100, Target::ExternalAverage(1.0));
    spec.down.window_ms = 0;
    spec.down.policies = vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 10)];
    let mut hpa = Hpa::new(spec.clone());
    let mut current = 80;
    let mut path = Vec::new();
    for minute in 0..10 {
        current = sync(&mut hpa, minute * 60_000, &sight(current, 0, 10.0));
        path.push(current);
    }
    assert_eq!(path[..3], [72, 64, 57]);
    assert_eq!(path[7..], [32, 28, 24]);
    spec.down.select = Select::Min;
    let mut slow = Hpa::new(spec.clone());
    assert_eq!(sync(&mut slow, 0, &sight(80, 0, 10.0)), 76);
    spec.down.select = Select::Disabled;
    let mut never = Hpa::new(spec);
    assert_eq!(sync(&mut never, 0, &sight(80, 0, 10.0)), 80);
}

#[test]
fn default_policies_add_four_or_double() {
    let mut hpa = Hpa::new(spec(1, 100, Target::ExternalAverage(1.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(1, 0, 50.0)), 5);
    assert_eq!(sync(&mut hpa, SYNC_MS, &sight(5, 0, 50.0)), 10);
    assert_eq!(sync(&mut hpa, 2 * SYNC_MS, &sight(10, 0, 50.0)), 20);
}

#[test]
fn the_largest_metric_wins_and_a_silent_one_holds_what_there_is() {
    let mut spec = spec(1, 20, Target::ExternalAverage(10.0));
    spec.metrics.push(Metric {
        reading: Reading::sum(Signal::Waiting),
        target: Target::ExternalAverage(5.0),
    });
    spec.down.window_ms = 0;
    let look = |running, waiting| Sight {
        readings: Readings {
            running,
            waiting,
            ..Readings::default()
        },
        ..sight(4, 0, 0.0)
    };
    for (running, waiting, wanted) in [
        (Some(60.0), Some(35.0), 7),
        (Some(10.0), None, 4),
        (Some(60.0), None, 6),
        (None, None, 4),
        (Some(10.0), Some(0.0), 1),
    ] {
        let mut hpa = Hpa::new(spec.clone());
        let sight = look(running, waiting);
        assert_eq!(sync(&mut hpa, 0, &sight), wanted, "{running:?} {waiting:?}");
    }
}

#[test]
fn what_starts_holds_back_both_ways() {
    // Two ready at twice their share, two starting: over four it is one.
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(10.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(2, 2, 40.0)), 4);
    // Too little for two; the two that start are taken to be at their target.
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(10.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(2, 2, 6.0)), 3);
    // With nobody ready nothing is told.
    let mut hpa = Hpa::new(spec(1, 20, Target::PodsAverage(10.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(0, 2, 40.0)), 2);
}

#[test]
fn bounds_hold_at_once_and_zero_switches_it_off() {
    let of = |min, max, ready| {
        let mut hpa = Hpa::new(spec(min, max, Target::PodsAverage(10.0)));
        sync(&mut hpa, 0, &sight(ready, 0, 10.0))
    };
    assert_eq!(of(3, 5, 1), 3);
    assert_eq!(of(1, 5, 9), 5);
    assert_eq!(of(1, 5, 0), 0);
}

#[test]
fn a_metrics_value_scales_the_ready_ones() {
    let mut hpa = Hpa::new(spec(1, 20, Target::Value(10.0)));
    assert_eq!(sync(&mut hpa, 0, &sight(3, 1, 20.0)), 6);
    let percent = Target::Utilisation {
        percent: 50.0,
        request: 2000.0,
    };
    let mut hpa = Hpa::new(spec(1, 20, percent));
    assert_eq!(sync(&mut hpa, 0, &sight(2, 0, 4000.0)), 4);
}

proptest! {
    #[test]
    fn it_never_leaves_its_bounds(
        min in 1_u32..5, more in 0_u32..20, loads in prop::collection::vec(0.0_f64..500.0, 1..120),
    ) {
        let max = min + more;
        let mut hpa = Hpa::new(spec(min, max, Target::PodsAverage(10.0)));
        let mut current = min;
        for (at, load) in loads.into_iter().enumerate() {
            current = sync(&mut hpa, at as i64 * SYNC_MS, &sight(current, 0, load));
            prop_assert!((min..=max).contains(&current));
        }
    }

    #[test]
    fn more_load_never_asks_for_less(ready in 1_u32..30, a in 0.0_f64..900.0, b in 0.0_f64..900.0) {
        for target in [Target::PodsAverage(9.0), Target::ExternalAverage(9.0), Target::Value(90.0)] {
            let of = |load: f64| {
                let mut hpa = Hpa::new(spec(1, 200, target));
                sync(&mut hpa, 0, &sight(ready, 0, load))
            };
            prop_assert!(of(a.min(b)) <= of(a.max(b)));
        }
    }

    #[test]
    fn the_extreme_of_a_window_is_that_of_all_its_values(
        values in prop::collection::vec(0_u32..50, 1..80), window in 1_i64..20,
    ) {
        for is_max in [true, false] {
            let mut extreme = Extreme::default();
            for (at, value) in values.iter().enumerate() {
                let found = extreme.push(at as i64, *value, window, is_max);
                let from = (at as i64 - window + 1).max(0) as usize;
                let seen = &values[from..=at];
                let told = if is_max { seen.iter().max() } else { seen.iter().min() };
                prop_assert_eq!(Some(&found), told);
            }
        }
    }
}
