use super::*;
use crate::model::zone::Zone;
use crate::simulate::cron::Cron;
use crate::simulate::signal::Readings;

fn spec(min: u32, triggers: Vec<Trigger>) -> KedaSpec {
    KedaSpec {
        min,
        max: 10,
        idle: None,
        polling_ms: 30_000,
        cooldown_ms: 300_000,
        triggers,
        up: Rules::up(),
        down: Rules::down(),
    }
}

fn queue(activation: f64, nulls_are_zero: bool) -> Trigger {
    Trigger {
        source: Source::Metric {
            reading: Reading::sum(Signal::Recorded),
            nulls_are_zero,
        },
        target: Target::ExternalAverage(5.0),
        activation,
        activates: true,
    }
}

/// Replicas after each step of fifteen seconds; all of them are ready at once.
fn walk(keda: &mut Keda, mut current: u32, values: impl Iterator<Item = Option<f64>>) -> Vec<u32> {
    let mut path = Vec::new();
    for (at, value) in values.enumerate() {
        let sight = Sight {
            ready: current,
            starting: 0,
            readings: Readings {
                recorded: value,
                ..Readings::default()
            },
        };
        current = keda.decide(at as i64 * 15_000, &sight);
        path.push(current);
    }
    path
}

fn steps(value: f64, count: usize) -> impl Iterator<Item = Option<f64>> {
    std::iter::repeat_n(Some(value), count)
}

#[test]
fn it_wakes_grows_cools_down_and_sleeps() {
    let mut keda = Keda::new(spec(0, vec![queue(0.0, false)]), 0, 1);
    let path = walk(&mut keda, 0, steps(20.0, 8).chain(steps(0.0, 60)));
    assert_eq!(path[0], 4);
    assert_eq!(path[7], 4);
    // Active for the last time at 90 s, gone at the first poll more than 300 s later.
    let slept = path.iter().skip(8).position(|count| *count == 0).unwrap() + 8;
    assert_eq!(slept * 15, 420);
    assert!(path[8..slept].iter().all(|count| *count > 0));
    assert!(path[slept..].iter().all(|count| *count == 0));
}

#[test]
fn activation_is_above_its_threshold() {
    let of = |value| {
        let mut keda = Keda::new(spec(0, vec![queue(5.0, false)]), 0, 1);
        walk(&mut keda, 0, steps(value, 1))[0]
    };
    assert_eq!(of(5.0), 0);
    // Awake, and within the tolerance of what one replica is for.
    assert_eq!(of(5.1), 1);
    assert_eq!(of(9.0), 2);
}

#[test]
fn an_answer_that_is_missing_moves_nothing_unless_it_is_taken_for_zero() {
    let none = || std::iter::repeat_n(None, 100);
    let mut strict = Keda::new(spec(0, vec![queue(0.0, false)]), 0, 1);
    assert!(walk(&mut strict, 3, none()).iter().all(|count| *count == 3));
    let mut lax = Keda::new(spec(0, vec![queue(0.0, true)]), 0, 1);
    assert_eq!(walk(&mut lax, 3, none()).last(), Some(&0));
}

#[test]
fn idle_replicas_are_below_the_minimum_and_wake_to_it() {
    let mut idle = spec(3, vec![queue(0.0, false)]);
    idle.idle = Some(0);
    let mut keda = Keda::new(idle, 0, 1);
    let path = walk(&mut keda, 3, steps(0.0, 40).chain(steps(1.0, 4)));
    assert_eq!(path[39], 0);
    assert_eq!(path[43], 3);
}

#[test]
fn a_minimum_holds_without_any_activity() {
    let mut keda = Keda::new(spec(2, vec![queue(0.0, false)]), 0, 1);
    assert_eq!(walk(&mut keda, 0, steps(0.0, 50)).last(), Some(&2));
}

#[test]
fn a_schedule_wakes_by_the_clock_and_the_larger_trigger_wins() {
    let cron = Trigger {
        source: Source::Cron {
            between: Between {
                start: Cron::parse("10 0 * * *").unwrap(),
                end: Cron::parse("20 0 * * *").unwrap(),
                zone: Zone::UTC,
            },
            replicas: 3,
        },
        target: Target::ExternalAverage(1.0),
        activation: 0.0,
        activates: true,
    };
    let mut keda = Keda::new(spec(0, vec![cron, queue(0.0, false)]), 0, 7_200_000);
    assert_eq!(keda.next_turn_ms(), Some(600_000));
    let path = walk(
        &mut keda,
        0,
        steps(0.0, 60).chain(steps(40.0, 10)).chain(steps(0.0, 80)),
    );
    assert_eq!(path[39], 0);
    assert_eq!(path[42], 3);
    assert_eq!(path[65], 8);
    assert_eq!(path.last(), Some(&0));
}

#[test]
fn its_step_divides_both_rhythms() {
    let step = |polling_ms| {
        let mut odd = spec(0, vec![queue(0.0, false)]);
        odd.polling_ms = polling_ms;
        Keda::new(odd, 0, 1).step_ms()
    };
    assert_eq!(step(30_000), 15_000);
    assert_eq!(step(10_000), 5_000);
    assert_eq!(step(7_000), 1_000);
}
