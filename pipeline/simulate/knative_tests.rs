use super::*;
use crate::simulate::signal::Readings;
use proptest::prelude::*;

fn sight(ready: u32, starting: u32, concurrency: f64) -> Sight {
    Sight {
        ready,
        starting,
        readings: Readings {
            at_the_door: Some(concurrency),
            arrivals_per_second: Some(concurrency),
            ..Readings::default()
        },
    }
}

fn spec(target: f64) -> KpaSpec {
    KpaSpec {
        target,
        total: target / 0.7,
        ..KpaSpec::default()
    }
}

/// Replicas after each tick, all of them ready at once.
fn walk(kpa: &mut Kpa, mut current: u32, from: i64, loads: &[f64]) -> (u32, i64) {
    let mut now = from;
    for load in loads {
        current = kpa.decide(now, &sight(current, 0, *load)).unwrap();
        now += TICK_MS;
    }
    (current, now)
}

#[test]
fn the_stable_window_sizes_and_shrinks_by_half_at_most() {
    let mut kpa = Kpa::new(spec(10.0), 0, 1);
    let (current, now) = walk(&mut kpa, 1, 0, &[15.0; 60]);
    assert_eq!(current, 2);
    let (grown, now) = walk(&mut kpa, current, now, &[80.0; 90]);
    assert_eq!(grown, 8);
    // One look later than the window that remembers the load, the limit is half of what is ready.
    let mut seen = Vec::new();
    let mut current = grown;
    for step in 0..120 {
        let next = kpa
            .decide(now + step * TICK_MS, &sight(current, 0, 5.0))
            .unwrap();
        assert!(next >= current / 2, "{current} to {next}");
        current = next;
        seen.push(current);
    }
    assert_eq!(*seen.last().unwrap(), 1);
}

#[test]
fn twice_the_capacity_panics_and_panic_never_shrinks() {
    let mut kpa = Kpa::new(spec(10.0), 0, 1);
    let (calm, now) = walk(&mut kpa, 1, 0, &[5.0; 40]);
    assert_eq!(calm, 1);
    // Six seconds at ten times the load: the stable window alone would ask for two.
    let (panicked, now) = walk(&mut kpa, calm, now, &[100.0; 3]);
    assert_eq!(panicked, 10);
    let (held, now) = walk(&mut kpa, panicked, now, &[5.0; 26]);
    assert_eq!(held, 10);
    let (after, _) = walk(&mut kpa, held, now, &[5.0; 40]);
    assert_eq!(after, 1);
}

#[test]
fn it_sleeps_after_a_stable_window_and_its_grace() {
    let to_zero = |spec: KpaSpec| {
        let mut kpa = Kpa::new(spec, 0, 1);
        let (mut current, mut now) = walk(&mut kpa, 1, 0, &[5.0; 60]);
        let quiet = now;
        while current > 0 && now < quiet + 4_000_000 {
            current = kpa.decide(now, &sight(current, 0, 0.0)).unwrap();
            now += TICK_MS;
        }
        (now - quiet) / 1000
    };
    // The activator was in the path all along: the grace period is over.
    let proxied = to_zero(spec(10.0));
    assert!((60..70).contains(&proxied), "{proxied}");
    let direct = to_zero(KpaSpec {
        burst: 0.0,
        ..spec(10.0)
    });
    assert!((90..100).contains(&direct), "{direct}");
    let retained = to_zero(KpaSpec {
        retention_ms: 600_000,
        ..spec(10.0)
    });
    assert!((660..670).contains(&retained), "{retained}");
    assert!(
        to_zero(KpaSpec {
            min: 1,
            ..spec(10.0)
        }) >= 4000
    );
}

#[test]
fn it_wakes_by_what_stands_at_the_door_and_delays_the_way_down() {
    let mut kpa = Kpa::new(
        KpaSpec {
            activation: 3,
            ..spec(10.0)
        },
        0,
        0,
    );
    assert_eq!(kpa.decide(0, &sight(0, 0, 0.0)), Some(0));
    assert_eq!(kpa.decide(TICK_MS, &sight(0, 0, 4.0)), Some(3));
    let silent = Sight::default();
    assert_eq!(kpa.decide(2 * TICK_MS, &silent), None);
    let mut delayed = Kpa::new(
        KpaSpec {
            delay_ms: 600_000,
            ..spec(10.0)
        },
        0,
        1,
    );
    let (grown, now) = walk(&mut delayed, 1, 0, &[80.0; 60]);
    assert_eq!(grown, 8);
    let (held, now) = walk(&mut delayed, grown, now, &[5.0; 200]);
    assert_eq!(held, 8);
    // Half at a time, and each half waits.
    assert_eq!(walk(&mut delayed, held, now, &[5.0; 200]).0, 4);
}

proptest! {
    #[test]
    fn it_never_leaves_its_bounds(
        min in 0_u32..4, more in 1_u32..20, loads in prop::collection::vec(0.0_f64..900.0, 1..200),
    ) {
        let bounds = KpaSpec { min, max: min + more, ..spec(10.0) };
        let mut kpa = Kpa::new(bounds, 0, min);
        let mut current = min;
        for (at, load) in loads.into_iter().enumerate() {
            current = kpa.decide(at as i64 * TICK_MS, &sight(current, 0, load)).unwrap();
            prop_assert!((min..=min + more).contains(&current));
        }
    }
}
