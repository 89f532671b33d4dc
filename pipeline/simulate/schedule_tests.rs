use super::*;
use crate::model::time::parse_ms;
use crate::simulate::{Bucket, Demand, Serving, replay};

/// Weeks of demand from a Sunday on, by weekday and hour in UTC.
fn weeks(count: usize, load: impl Fn(usize, usize) -> Option<f64>) -> Timeline {
    let buckets = (0..count * 7 * 288).map(|at| {
        let load = load(at / 288 % 7, at / 12 % 24);
        Bucket {
            ready: 3.0,
            held: 3.0,
            demand: load.map(|load| Demand {
                requests_per_second: load,
                load: Some(load),
                ..Demand::default()
            }),
            recorded: None,
        }
    });
    Timeline {
        start_ms: parse_ms("2026-11-01").unwrap(),
        buckets: buckets.collect(),
    }
}

const MAKING: Making = Making {
    headroom: 1.0,
    startup_ms: 240_000,
    zone: Zone::UTC,
};

/// All of it known.
fn known(load: impl Fn(usize, usize) -> f64) -> impl Fn(usize, usize) -> Option<f64> {
    move |day, hour| Some(load(day, hour))
}

fn office(day: usize, hour: usize) -> f64 {
    let works = (1..6).contains(&day) && (8..18).contains(&hour);
    if works { 2.5 } else { 0.4 }
}

#[test]
fn office_hours_become_one_entry_a_level_that_begins_a_start_early() {
    let schedule = weekly(&weeks(2, known(office)), &MAKING).unwrap();
    let entry = |replicas| Entry {
        start: "56 7 * * 1-5".to_owned(),
        end: "0 18 * * 1-5".to_owned(),
        replicas,
    };
    assert_eq!(
        (schedule.base, schedule.entries),
        (1, vec![entry(2), entry(3)])
    );
}

#[test]
fn it_serves_weeks_that_it_has_not_seen_for_less() {
    let schedule = weekly(&weeks(1, known(office)), &MAKING).unwrap();
    let spec = schedule.beside(None).unwrap();
    assert_eq!(spec.bounds(), (1, 3));
    let serving = Serving {
        startup_ms: 240_000,
        late_after_ms: 2000,
        patience_ms: 60_000,
        at_once: None,
    };
    let unseen = weeks(2, known(office));
    let outcome = replay(&unseen, &spec, &serving);
    assert_eq!(outcome.missed_ms, 0);
    let hours = outcome.held_ms / 3.6e6;
    // Ten hours of two more on ten days, their starts and the way down.
    let least = 336.0 + 200.0;
    assert!(
        (least..least + 10.0 * 2.0 * 0.5).contains(&hours),
        "{hours}"
    );
}

#[test]
fn nights_span_midnight_and_an_unknown_hour_needs_the_most() {
    let night = |_, hour: usize| Some(if (2..23).contains(&hour) { 1.0 } else { 2.0 });
    let schedule = weekly(&weeks(1, night), &MAKING).unwrap();
    assert_eq!(schedule.entries.len(), 1);
    assert_eq!(schedule.entries[0].start, "56 22 * * *");
    assert_eq!(schedule.entries[0].end, "0 2 * * *");
    let blind = |day, hour| {
        if day == 3 && hour == 5 {
            None
        } else {
            Some(if hour == 12 { 2.0 } else { 1.0 })
        }
    };
    let schedule = weekly(&weeks(1, blind), &MAKING).unwrap();
    assert!(
        schedule
            .entries
            .iter()
            .any(|entry| entry.start == "56 4 * * 3"),
        "{schedule:?}"
    );
    assert!(
        schedule.text().contains("1 at any time"),
        "{}",
        schedule.text()
    );
}

#[test]
fn what_has_no_rhythm_or_no_capacity_is_refused() {
    let flat = weekly(&weeks(1, |_, _| Some(1.0)), &MAKING).unwrap();
    assert_eq!((flat.base, flat.entries.len()), (1, 0));
    let noise = |day: usize, hour: usize| Some(((day * 31 + hour * 17) % 7) as f64);
    let error = weekly(&weeks(1, noise), &MAKING).unwrap_err().to_string();
    assert!(error.contains("no rhythm"), "{error}");
    let error = weekly(&weeks(1, |_, _| None), &MAKING)
        .unwrap_err()
        .to_string();
    assert!(error.contains("capacity of a replica"), "{error}");
}
