use super::weeks::{HEIGHT, MOVERS_SHOWN};
use super::*;
use crate::model::time::DAY_MS;

const WEEK_MS: i64 = 7 * DAY_MS;

const END: i64 = 1_793_664_000_000;
const WINDOW: TimeWindow = TimeWindow {
    start_ms: END - 2 * WEEK_MS,
    end_ms: END,
};

fn week(back: i64, class: &str, cost: i64) -> WeekData {
    WeekData {
        week_start_ms: END - back * WEEK_MS,
        class: class.to_owned(),
        ms: 3_600_000 * cost,
        cost_usd: Some(Decimal::from(cost)),
    }
}

fn mover_of(what: &str, before: i64, after: i64) -> MoverData {
    MoverData {
        what: what.to_owned(),
        before_ms: before * 3_600_000,
        after_ms: after * 3_600_000,
        before_usd: before.into(),
        after_usd: after.into(),
        before_waste_usd: Decimal::ZERO,
        after_waste_usd: Decimal::ONE,
    }
}

#[test]
fn weeks_without_rows_stay_in_their_place() {
    let data = SectionsData {
        weeks: vec![
            week(3, "serving", 50),
            week(1, "dark", 25),
            week(1, "serving", 75),
        ],
        week_days: vec![(END - 3 * WEEK_MS, 7), (END - WEEK_MS, 7)],
        ..SectionsData::default()
    };
    let weeks = Sections::new(&data, WINDOW, Zone::UTC).weeks;
    assert_eq!(weeks.len(), 3);
    assert_eq!(
        (weeks[1].days, weeks[1].whole, weeks[1].cost_height),
        (0, false, 0)
    );
    assert_eq!(
        (weeks[2].cost_height, weeks[2].waste_height),
        (HEIGHT, HEIGHT / 4)
    );
    assert_eq!(weeks[2].waste_share, "25.0 %");
}

#[test]
fn movers_sum_to_the_change_and_need_two_whole_weeks() {
    let mut data = SectionsData {
        movers: (0..15)
            .map(|n| mover_of(&format!("w{n:02}"), 100, 100 + n))
            .collect(),
        week_days: vec![(END - 2 * WEEK_MS, 7), (END - WEEK_MS, 7)],
        ..SectionsData::default()
    };
    let sections = Sections::new(&data, WINDOW, Zone::UTC);
    assert_eq!(sections.movers.len(), MOVERS_SHOWN + 1);
    assert_eq!(sections.movers[0].what, "w14");
    assert_eq!(sections.movers[MOVERS_SHOWN].what, "5 others");
    let bridge = sections.bridge.unwrap();
    assert!(
        bridge.contains("+$105") && bridge.contains("w14: +$14"),
        "{bridge}"
    );
    data.week_days[0].1 = 6;
    assert!(Sections::new(&data, WINDOW, Zone::UTC).movers.is_empty());
}

#[test]
fn a_long_tail_is_one_row() {
    let row = |n: usize| SliceData {
        dimension: "team".to_owned(),
        slice: format!("t{n}"),
        ms: 3_600_000,
        unknown_ms: 0,
        unpriced_ms: 0,
        cost_usd: Some(Decimal::ONE),
        waste_usd: None,
    };
    let data = SectionsData {
        slices: (0..40).map(row).collect(),
        ..SectionsData::default()
    };
    let tables = Sections::new(&data, WINDOW, Zone::UTC).slices;
    assert_eq!(tables[0].rows.len(), SLICES_SHOWN);
    assert_eq!(tables[0].rows[SLICES_SHOWN - 1].slice, "16 others");
    assert_eq!(tables[0].rows[SLICES_SHOWN - 1].gpu_hours, "16.0");
}
