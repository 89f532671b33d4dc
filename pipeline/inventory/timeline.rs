//! Owns intervals over time: facts that stay the same between cuts, and states that samples
//! bracket while exact timestamps pin them down. It knows no Kubernetes kind.

use std::collections::BTreeSet;

use crate::model::TimeWindow;

use super::input::ValueRun;

/// Evaluates facts on every stretch between cuts and joins equal neighbours.
pub(super) fn constant<T: PartialEq>(
    life: TimeWindow,
    cuts: &BTreeSet<i64>,
    mut facts: impl FnMut(i64) -> T,
) -> Vec<(TimeWindow, T)> {
    let mut out: Vec<(TimeWindow, T)> = Vec::new();
    if life.is_empty() {
        return out;
    }
    let inner = cuts
        .iter()
        .copied()
        .filter(|cut| life.start_ms < *cut && *cut < life.end_ms);
    let starts: Vec<i64> = std::iter::once(life.start_ms).chain(inner).collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(life.end_ms);
        let value = facts(*start);
        match out.last_mut() {
            Some((window, last)) if *last == value => window.end_ms = end,
            _ => out.push((TimeWindow::new(*start, end), value)),
        }
    }
    out
}

/// Joins equal neighbours that touch.
pub(super) fn joined<T: PartialEq>(parts: Vec<(TimeWindow, T)>) -> Vec<(TimeWindow, T)> {
    let mut out: Vec<(TimeWindow, T)> = Vec::with_capacity(parts.len());
    for (window, value) in parts {
        match out.last_mut() {
            Some((last, before)) if last.end_ms == window.start_ms && *before == value => {
                last.end_ms = window.end_ms;
            }
            _ => out.push((window, value)),
        }
    }
    out
}

/// When a boolean condition changed: `(from_ms, value)` in order, no two neighbours equal.
///
/// Samples only bracket a change, so an exact instant between two samples replaces the sampled
/// one. An exact change that the samples around it contradict is a flap that they missed: it
/// holds until the next sample can have seen the condition back.
pub(super) fn condition(
    runs: &[ValueRun],
    exact: &BTreeSet<(i64, bool)>,
    interval_ms: i64,
) -> Vec<(i64, bool)> {
    let mut changes: BTreeSet<(i64, bool)> = exact.clone();
    let mut previous: Option<(i64, bool)> = None;
    for run in runs {
        let value = run.value == 1.0;
        let changed = previous.is_none_or(|(_, before)| before != value);
        if changed {
            let after = previous.map_or(i64::MIN, |(last, _)| last);
            let known = exact
                .range((after.saturating_add(1), false)..=(run.first_ms, true))
                .rfind(|(_, v)| *v == value);
            if known.is_none() {
                changes.insert((run.first_ms, value));
            }
        }
        for (at, flap) in exact.range((run.first_ms, false)..(run.last_ms, false)) {
            let back = at.saturating_add(interval_ms).min(run.last_ms);
            let restored = exact
                .range((at.saturating_add(1), false)..)
                .next()
                .is_some_and(|(next, v)| *v == value && *next <= back);
            if *flap != value && !restored {
                changes.insert((back, value));
            }
        }
        previous = Some((run.last_ms, value));
    }
    let mut out: Vec<(i64, bool)> = Vec::new();
    for (at, value) in changes {
        match out.last() {
            // Two statements about one instant: the set's order puts `true` last, and ready
            // evidence is the stronger of the two.
            Some((last, _)) if *last == at => {
                out.pop();
                if out.last().is_none_or(|(_, before)| *before != value) {
                    out.push((at, value));
                }
            }
            Some((_, before)) if *before == value => {}
            _ => out.push((at, value)),
        }
    }
    out
}

/// The value in force at an instant.
pub(super) fn in_force<T: Copy>(changes: &[(i64, T)], ms: i64) -> Option<T> {
    changes
        .iter()
        .take_while(|(at, _)| *at <= ms)
        .last()
        .map(|(_, value)| *value)
}

/// Joins windows that overlap or lie at most `bridge_ms` apart.
pub(super) fn union(mut windows: Vec<TimeWindow>, bridge_ms: i64) -> Vec<TimeWindow> {
    windows.retain(|window| !window.is_empty());
    windows.sort_unstable();
    let mut out: Vec<TimeWindow> = Vec::new();
    for window in windows {
        match out.last_mut() {
            Some(last) if window.start_ms <= last.end_ms.saturating_add(bridge_ms) => {
                last.end_ms = last.end_ms.max(window.end_ms);
            }
            _ => out.push(window),
        }
    }
    out
}

/// What is left of a window after taking out others, which are sorted and disjoint.
pub(super) fn subtract(window: TimeWindow, taken: &[TimeWindow]) -> Vec<TimeWindow> {
    let mut out = Vec::new();
    let mut start_ms = window.start_ms;
    for part in taken {
        if let Some(inside) = part.intersect(&window) {
            if start_ms < inside.start_ms {
                out.push(TimeWindow::new(start_ms, inside.start_ms));
            }
            start_ms = start_ms.max(inside.end_ms);
        }
    }
    if start_ms < window.end_ms {
        out.push(TimeWindow::new(start_ms, window.end_ms));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first_ms: i64, last_ms: i64, value: f64) -> ValueRun {
        ValueRun {
            first_ms,
            last_ms,
            value,
        }
    }

    #[test]
    fn exact_instants_replace_sampled_changes() {
        let runs = [run(0, 60, 0.0), run(90, 300, 1.0)];
        let exact = BTreeSet::from([(72, true)]);
        assert_eq!(condition(&runs, &exact, 30), vec![(0, false), (72, true)]);
        assert_eq!(
            condition(&runs, &BTreeSet::new(), 30),
            vec![(0, false), (90, true)]
        );
    }

    #[test]
    fn a_flap_between_samples_lasts_one_interval() {
        let runs = [run(0, 300, 1.0)];
        let exact = BTreeSet::from([(100, false)]);
        assert_eq!(
            condition(&runs, &exact, 30),
            vec![(0, true), (100, false), (130, true)]
        );
    }

    #[test]
    fn equal_neighbours_join() {
        let cuts = BTreeSet::from([10, 20, 30]);
        let parts = constant(TimeWindow::new(0, 40), &cuts, |ms| ms >= 20);
        assert_eq!(
            parts,
            vec![
                (TimeWindow::new(0, 20), false),
                (TimeWindow::new(20, 40), true)
            ]
        );
    }

    #[test]
    fn what_is_left_and_what_was_taken_make_the_whole() {
        let taken = union(
            vec![
                TimeWindow::new(5, 10),
                TimeWindow::new(8, 12),
                TimeWindow::new(90, 200),
            ],
            0,
        );
        assert_eq!(
            subtract(TimeWindow::new(0, 100), &taken),
            vec![TimeWindow::new(0, 5), TimeWindow::new(12, 90)]
        );
    }
}
