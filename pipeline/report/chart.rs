//! Owns the geometry of the daily chart: stacked bars in integers, so that equal data draws equally.

use serde::Serialize;

use super::data::DayClasses;
use super::format::gpu_hours;
use super::view::{CLASSES, is_waste};

/// Height of the drawing area in SVG units.
const HEIGHT: i64 = 160;

/// One day's bar.
#[derive(Debug, Clone, Serialize)]
pub struct DayBar {
    pub date: String,
    /// Shown under the axis on Mondays and at the ends only.
    pub label: Option<String>,
    pub closed: bool,
    pub x: i64,
    pub width: i64,
    pub segments: Vec<Segment>,
    pub gpu_hours: String,
}

/// One class within a bar.
#[derive(Debug, Clone, Serialize)]
pub struct Segment {
    /// One of four groups that colour and pattern tell apart.
    pub group: &'static str,
    pub y: i64,
    pub height: i64,
    pub gpu_hours: String,
}

const GROUPS: &[&str] = &["used", "quiet", "avoidable", "unknown"];

fn group_of(class: &str) -> &'static str {
    if is_waste(class) {
        return "avoidable";
    }
    match class {
        "unknown" | "unavailable" => "unknown",
        "lull" | "standby" | "pending" => "quiet",
        _ => "used",
    }
}

/// Bars for the days given, scaled to the fullest of them.
pub(super) fn day_bars(days: &[DayClasses]) -> Vec<DayBar> {
    let total = |day: &DayClasses| day.classes.iter().map(|(_, ms)| ms).sum::<i64>();
    let Some(fullest) = days.iter().map(total).max().filter(|ms| *ms > 0) else {
        return Vec::new();
    };
    let count = i64::try_from(days.len()).unwrap_or(i64::MAX);
    let step = 720 / count.max(1);
    debug_assert!(
        CLASSES
            .iter()
            .all(|(class, _)| GROUPS.contains(&group_of(class)))
    );
    days.iter()
        .enumerate()
        .map(|(index, day)| {
            let mut y = HEIGHT;
            let segments = GROUPS
                .iter()
                .filter_map(|group| {
                    let ms: i64 = day
                        .classes
                        .iter()
                        .filter(|(class, _)| group_of(class) == *group)
                        .map(|(_, ms)| ms)
                        .sum();
                    let height =
                        i64::try_from(i128::from(ms) * i128::from(HEIGHT) / i128::from(fullest))
                            .unwrap_or(0);
                    if ms == 0 {
                        return None;
                    }
                    y -= height;
                    Some(Segment {
                        group,
                        y,
                        height,
                        gpu_hours: gpu_hours(ms),
                    })
                })
                .collect();
            let at_end = index == 0 || index + 1 == days.len();
            DayBar {
                date: day.date.clone(),
                label: (at_end || index % 7 == 0)
                    .then(|| day.date.get(5..).unwrap_or("").to_owned()),
                closed: day.closed,
                x: 40 + i64::try_from(index).unwrap_or(0) * step,
                width: (step - 3).max(1),
                segments,
                gpu_hours: gpu_hours(total(day)),
            }
        })
        .collect()
}
