//! Owns which windows of samples an ingest reads: the grid of a day, what is settled and need not
//! be read again, and how windows narrow where a fleet is too large for one, and widen again. Pure;
//! called by `samples` and, for `ingest --plan`, by `cli`.

use std::collections::{HashSet, VecDeque};

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

/// Whole windows that must pass before a wider one is tried, at most.
const MOST_PATIENCE: u32 = 16;

/// How much of the memory a guess may fill: fleets are not even over a day.
const GUESS_FILLS: f64 = 0.95;
/// Whole windows that pass in pieces before a guess is tried against.
const GUESS_PATIENCE: u32 = 4;

/// The windows that are still to be read, oldest first. Where one is too large it and those after
/// it are cut; when a whole one has passed in pieces the next is tried wider, and each time that
/// fails twice as many must pass before the next try.
#[derive(Debug)]
pub struct Grid {
    /// Cut to the present width.
    ready: VecDeque<TimeWindow>,
    whole: VecDeque<TimeWindow>,
    /// Those that the lake holds as they are: cut, they would be in it twice.
    held: HashSet<(i64, i64)>,
    widest_ms: i64,
    width_ms: i64,
    passed: u32,
    patience: u32,
    tries_wider: bool,
}

impl Grid {
    #[must_use]
    pub fn new(whole: Vec<TimeWindow>, widest_ms: i64, stored: &[StoredWindow]) -> Self {
        let held = stored.iter().map(|known| key(known.window)).collect();
        Self {
            ready: VecDeque::new(),
            whole: whole.into(),
            held,
            widest_ms,
            width_ms: widest_ms,
            passed: 0,
            patience: 1,
            tries_wider: false,
        }
    }

    /// Begins with windows that hold `most` samples, where the widest are thought to hold
    /// `samples`; the width, if it is a narrower one. What the guess says is not tried against it
    /// for some days.
    pub fn guess(&mut self, samples: u64, most: u64) -> Option<i64> {
        let fits = |width: &i64| {
            let part = *width as f64 / self.widest_ms as f64;
            self.widest_ms % width == 0 && samples as f64 * part <= most as f64 * GUESS_FILLS
        };
        let narrowest = WIDTHS_MS[WIDTHS_MS.len() - 1].min(self.widest_ms);
        let mut widths = WIDTHS_MS.into_iter().filter(|w| *w < self.widest_ms);
        if samples as f64 <= most as f64 * GUESS_FILLS {
            return None;
        }
        self.width_ms = widths.find(fits).unwrap_or(narrowest);
        self.patience = GUESS_PATIENCE;
        (self.width_ms < self.widest_ms).then_some(self.width_ms)
    }

    /// The next window to read.
    pub fn next_window(&mut self) -> Result<Option<TimeWindow>, IngestError> {
        if self.ready.is_empty()
            && let Some(whole) = self.whole.pop_front()
        {
            self.cut(whole, None)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Takes back windows, ascending, that were handed out and not read.
    pub fn take_back(&mut self, windows: impl DoubleEndedIterator<Item = TimeWindow>) {
        for window in windows.rev() {
            self.ready.push_front(window);
        }
    }

    /// Cuts a window that was too large, and what is left of its day; `after` are those behind it
    /// that were handed out too. The new width, or none where it is the narrowest already.
    pub fn narrow(
        &mut self,
        window: TimeWindow,
        after: impl DoubleEndedIterator<Item = TimeWindow>,
    ) -> Result<Option<i64>, IngestError> {
        let Some(width_ms) = narrower(window) else {
            return Ok(None);
        };
        self.take_back(after);
        if self.tries_wider {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
        self.tries_wider = false;
        self.passed = 0;
        self.width_ms = width_ms;
        let rest: Vec<TimeWindow> = self.ready.drain(..).collect();
        self.cut(window, Some(window))?;
        for wide in rest {
            self.cut(wide, None)?;
        }
        Ok(Some(width_ms))
    }

    /// Notes that a window passed; the width, where the next ones are tried wider.
    pub fn passed(&mut self, window: TimeWindow) -> Option<i64> {
        if window.end_ms.rem_euclid(self.widest_ms) != 0 {
            return None;
        }
        self.passed += 1;
        if self.tries_wider && window.end_ms - window.start_ms == self.width_ms {
            self.tries_wider = false;
        }
        if self.width_ms == self.widest_ms || self.passed < self.patience {
            return None;
        }
        self.width_ms = wider(self.width_ms, self.widest_ms);
        self.passed = 0;
        self.tries_wider = true;
        Some(self.width_ms)
    }

    fn cut(&mut self, wide: TimeWindow, too_large: Option<TimeWindow>) -> Result<(), IngestError> {
        let is_held = too_large != Some(wide) && self.held.contains(&key(wide));
        if is_held || wide.end_ms - wide.start_ms <= self.width_ms {
            self.ready.push_back(wide);
        } else {
            self.ready.extend(windows(wide, self.width_ms)?);
        }
        Ok(())
    }
}

const fn key(window: TimeWindow) -> (i64, i64) {
    (window.start_ms, window.end_ms)
}

/// The width of which `width_ms` is the next narrower one, up to `widest_ms`.
fn wider(width_ms: i64, widest_ms: i64) -> i64 {
    let mut width = widest_ms;
    while let Some(next) = narrower(TimeWindow::new(0, width)) {
        if next <= width_ms {
            break;
        }
        width = next;
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = HOUR_MS;

    /// Reads everything from a server that takes windows up to a width; what was tried.
    fn widths_tried(days: i64, fits_ms: impl Fn(TimeWindow) -> i64) -> (Vec<i64>, Vec<TimeWindow>) {
        let whole = windows(TimeWindow::new(0, days * DAY_MS), DAY_MS).unwrap();
        let mut grid = Grid::new(whole, DAY_MS, &[]);
        let (mut tried, mut read) = (Vec::new(), Vec::new());
        while let Some(window) = grid.next_window().unwrap() {
            let width = window.end_ms - window.start_ms;
            tried.push(width / H);
            if width > fits_ms(window) {
                grid.narrow(window, std::iter::empty()).unwrap().unwrap();
            } else {
                read.push(window);
                grid.passed(window);
            }
        }
        (tried, read)
    }

    #[test]
    fn a_guess_begins_where_narrowing_would_end() {
        let whole = windows(TimeWindow::new(0, DAY_MS), DAY_MS).unwrap();
        let begun = |samples, most| {
            let mut grid = Grid::new(whole.clone(), DAY_MS, &[]);
            let guessed = grid.guess(samples, most);
            let first = grid.next_window().unwrap().unwrap();
            assert_eq!(guessed.unwrap_or(DAY_MS), first.end_ms - first.start_ms);
            guessed.map(|width_ms| width_ms / H)
        };
        assert_eq!(begun(0, 100), None);
        assert_eq!(begun(95, 100), None);
        assert_eq!(begun(96, 100), Some(12));
        assert_eq!(begun(1_140, 100), Some(2));
        assert_eq!(begun(1_141, 100), Some(1));
        assert_eq!(begun(1_000_000, 100), Some(1));
        // Windows that are narrow by the configuration stay so.
        let hours = windows(TimeWindow::new(0, DAY_MS), H).unwrap();
        assert_eq!(Grid::new(hours, H, &[]).guess(1_000, 100), None);
    }

    #[test]
    fn windows_narrow_at_a_limit_and_widen_behind_it() {
        // The second day is heavy, the others are not.
        let (tried, read) = widths_tried(4, |window| {
            if window.date() == "1970-01-02" {
                6 * H
            } else {
                DAY_MS
            }
        });
        assert_eq!(tried, [24, 24, 12, 6, 6, 6, 6, 12, 12, 24]);
        for pair in read.windows(2) {
            assert_eq!(pair[0].end_ms, pair[1].start_ms);
        }
        assert_eq!(read.len(), 8);
    }

    #[test]
    fn a_limit_that_stays_is_tried_ever_more_rarely() {
        let (tried, read) = widths_tried(40, |_| 12 * H);
        assert_eq!(read.len(), 80);
        let failures = tried.iter().filter(|width| **width == 24).count();
        assert!(failures <= 7, "{failures}");
    }

    #[test]
    fn windows_in_flight_are_taken_back_in_order() {
        let day = |n: i64| TimeWindow::new(n * DAY_MS, (n + 1) * DAY_MS);
        let mut grid = Grid::new((0..4).map(day).collect(), DAY_MS, &[stored(day(2), 0)]);
        for n in 0..3 {
            assert_eq!(grid.next_window().unwrap(), Some(day(n)));
        }
        let width = grid.narrow(day(0), [day(1), day(2)].into_iter()).unwrap();
        assert_eq!(width, Some(12 * H));
        let mut got = Vec::new();
        while let Some(window) = grid.next_window().unwrap() {
            got.push((window.start_ms / H, window.end_ms / H));
        }
        // The third day is in the lake as a whole, and stays one.
        let want = [
            (0, 12),
            (12, 24),
            (24, 36),
            (36, 48),
            (48, 72),
            (72, 84),
            (84, 96),
        ];
        assert_eq!(got, want);
        assert_eq!(
            grid.narrow(TimeWindow::new(0, H), [].into_iter()).unwrap(),
            None
        );
    }

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
