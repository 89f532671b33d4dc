//! Owns which windows of samples an ingest reads: the grid of a day, what is settled and need not
//! be read again, and how windows narrow where a fleet is too large for one. Pure; called by
//! `driver` and, for `ingest --plan`, by `cli`.

use super::error::IngestError;
use super::sink::StoredWindow;
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS};

/// Widths that a window can have, widest first: each divides the one before it, or the day.
pub const WIDTHS_MS: [i64; 6] = [
    DAY_MS,
    12 * HOUR_MS,
    6 * HOUR_MS,
    4 * HOUR_MS,
    2 * HOUR_MS,
    HOUR_MS,
];

/// How long after a window's end a source may still change what it holds of it: samples out of
/// order, a back end that flushes late, a remote writer that was cut off for the night.
pub const DEFAULT_LOOK_BACK_MS: i64 = DAY_MS;

/// The aligned windows of `width_ms` that cover `span`, oldest first.
///
/// Windows are whole: a span that ends inside one reads all of it, so that windows of two spans
/// never overlap without being the same.
pub fn windows(span: TimeWindow, width_ms: i64) -> Result<Vec<TimeWindow>, IngestError> {
    if width_ms <= 0 || DAY_MS % width_ms != 0 {
        return Err(IngestError::Config {
            what: format!("a window of {width_ms} ms does not divide a UTC day"),
            todo: "choose one that does, such as 2h, 6h or 24h",
        });
    }
    let mut start_ms = span.start_ms.div_euclid(width_ms) * width_ms;
    let mut windows = Vec::new();
    while start_ms < span.end_ms {
        windows.push(TimeWindow::new(start_ms, start_ms + width_ms));
        start_ms += width_ms;
    }
    Ok(windows)
}

/// [`windows`], where a day that the lake holds in narrower windows keeps them: a wide window and
/// the narrow ones in it would hold the same samples twice.
pub fn windows_beside(
    span: TimeWindow,
    width_ms: i64,
    stored: &[StoredWindow],
) -> Result<Vec<TimeWindow>, IngestError> {
    let mut out = Vec::new();
    for window in windows(span, width_ms)? {
        let narrowest = stored
            .iter()
            .filter(|known| window.intersect(&known.window) == Some(known.window))
            .map(|known| known.window.end_ms - known.window.start_ms)
            .filter(|width| *width > 0 && *width < width_ms && DAY_MS % width == 0)
            .min();
        match narrowest {
            Some(width) => out.extend(windows(window, width)?),
            None => out.push(window),
        }
    }
    Ok(out)
}

/// Whether the lake holds the window from a read after which nothing more was to be expected, by
/// the same selectors.
#[must_use]
pub fn is_settled(
    stored: &[StoredWindow],
    window: TimeWindow,
    selector_digest: &str,
    look_back_ms: i64,
) -> bool {
    stored.iter().any(|known| {
        known.window == window
            && known.selector_digest == selector_digest
            && known
                .source_end_ms
                .is_some_and(|end_ms| end_ms >= window.end_ms.saturating_add(look_back_ms))
    })
}

/// The widest width below that of `window`; `None` where it is the narrowest already.
#[must_use]
pub fn narrower(window: TimeWindow) -> Option<i64> {
    let width = window.end_ms - window.start_ms;
    WIDTHS_MS
        .into_iter()
        .find(|candidate| *candidate < width && width % candidate == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(window: TimeWindow, source_end_ms: i64) -> StoredWindow {
        StoredWindow {
            window,
            content_digest: "c".to_owned(),
            selector_digest: "s".to_owned(),
            samples: 1,
            source_end_ms: Some(source_end_ms),
        }
    }

    #[test]
    fn a_day_held_in_narrow_windows_keeps_them() {
        let span = TimeWindow::new(0, 2 * DAY_MS);
        let narrow = TimeWindow::new(2 * HOUR_MS, 4 * HOUR_MS);
        let grid = windows_beside(span, DAY_MS, &[stored(narrow, 0)]).unwrap();
        assert_eq!(grid.len(), 13);
        assert!(grid.contains(&narrow));
        assert_eq!(grid[12], TimeWindow::new(DAY_MS, 2 * DAY_MS));
        assert_eq!(windows_beside(span, DAY_MS, &[]).unwrap().len(), 2);
    }

    #[test]
    fn a_window_settles_only_when_the_source_had_gone_on_for_the_look_back() {
        let day = TimeWindow::new(0, DAY_MS);
        let held = |end_ms| [stored(day, end_ms)];
        assert!(!is_settled(&held(DAY_MS / 2), day, "s", HOUR_MS));
        assert!(!is_settled(&held(DAY_MS), day, "s", HOUR_MS));
        assert!(is_settled(&held(DAY_MS + HOUR_MS), day, "s", HOUR_MS));
        assert!(!is_settled(&held(DAY_MS + HOUR_MS), day, "other", HOUR_MS));
        let mut unknown = held(DAY_MS + HOUR_MS);
        unknown[0].source_end_ms = None;
        assert!(!is_settled(&unknown, day, "s", 0));
        assert!(!is_settled(&[], day, "s", 0));
    }

    #[test]
    fn windows_narrow_down_to_an_hour() {
        let mut window = TimeWindow::new(0, DAY_MS);
        let mut widths = Vec::new();
        while let Some(width) = narrower(window) {
            widths.push(width / HOUR_MS);
            window = TimeWindow::new(0, width);
        }
        assert_eq!(widths, [12, 6, 2, 1]);
    }

    proptest::proptest! {
        /// Whatever the lake holds, the grid covers the span once.
        #[test]
        fn the_grid_has_no_gap_and_no_overlap(
            start in 0_i64..5, days in 1_i64..4, widths in proptest::collection::vec((0_usize..6, 0_i64..96), 0..6)
        ) {
            let span = TimeWindow::new(start * DAY_MS, (start + days) * DAY_MS);
            let held: Vec<StoredWindow> = widths.iter().map(|(width, at)| {
                let width = WIDTHS_MS[*width];
                let from = at * HOUR_MS / width * width;
                stored(TimeWindow::new(from, from + width), 0)
            }).collect();
            let grid = windows_beside(span, DAY_MS, &held).unwrap();
            proptest::prop_assert_eq!(grid.first().map(|w| w.start_ms), Some(span.start_ms));
            proptest::prop_assert_eq!(grid.last().map(|w| w.end_ms), Some(span.end_ms));
            for pair in grid.windows(2) {
                proptest::prop_assert_eq!(pair[0].end_ms, pair[1].start_ms);
            }
        }
    }
}
