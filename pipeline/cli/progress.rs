//! Owns how a long ingest shows itself: a bar on a terminal, one log line a window otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::say;
use crate::ingest::{Listener, Outcome, Progress};
use crate::model::time::HOUR_MS;

/// Without a terminal, a line at most this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

struct Lines {
    windows: usize,
    done: usize,
    samples: u64,
    began: Instant,
    said: Instant,
}

/// Shows the ingest of one source.
pub(super) fn listener(source: &str) -> Listener {
    if std::io::stderr().is_terminal() && !super::logs::are_json() {
        bar(source)
    } else {
        lines(source)
    }
}

fn bar(source: &str) -> Listener {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{prefix} {bar:24} {pos}/{len} windows, {msg}, {elapsed} gone, {eta} to go",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_prefix(source.to_owned());
    let samples = Mutex::new((0_u64, Instant::now()));
    Listener::new(move |progress| match progress {
        Progress::Begins { windows } => {
            bar.set_length(windows as u64);
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Progress::Reads { .. } => {}
        Progress::Took { samples: more } => {
            if let Ok(mut known) = samples.lock() {
                known.0 += more;
                bar.set_message(rate(known.0, known.1.elapsed()));
            }
        }
        Progress::Narrows {
            window,
            width_ms,
            why,
        } => bar.println(narrows(&window.key(), width_ms, why)),
        Progress::Widens { window, width_ms } => bar.println(widens(&window.key(), width_ms)),
        Progress::Repeats { window, why } => bar.println(repeats(&window.key(), why)),
        Progress::Done { .. } => {
            bar.inc(1);
            if Some(bar.position()) == bar.length() {
                bar.finish_and_clear();
            }
        }
    })
}

fn lines(source: &str) -> Listener {
    let source = source.to_owned();
    let now = Instant::now();
    let state = Mutex::new(Lines {
        windows: 0,
        done: 0,
        samples: 0,
        began: now,
        said: now,
    });
    Listener::new(move |progress| {
        let Ok(mut state) = state.lock() else { return };
        match progress {
            Progress::Begins { windows } => state.windows = windows,
            Progress::Reads { .. } => {}
            Progress::Took { samples } => state.samples += samples,
            Progress::Narrows {
                window,
                width_ms,
                why,
            } => say(&format!(
                "{source}: {}",
                narrows(&window.key(), width_ms, why)
            )),
            Progress::Widens { window, width_ms } => {
                say(&format!("{source}: {}", widens(&window.key(), width_ms)));
            }
            Progress::Repeats { window, why } => {
                say(&format!("{source}: {}", repeats(&window.key(), why)));
            }
            Progress::Done { report } => {
                state.done += 1;
                tracing::info!(
                    source = source.as_str(),
                    window_start_ms = report.start_ms,
                    window_end_ms = report.end_ms,
                    outcome = ?report.outcome,
                    series = report.series,
                    samples = report.samples,
                    "window"
                );
                if report.outcome != Outcome::Settled && state.said.elapsed() >= LINE_EVERY {
                    state.said = Instant::now();
                    say(&format!(
                        "{source}: {} of {} windows, {}",
                        state.done,
                        state.windows,
                        rate(state.samples, state.began.elapsed())
                    ));
                }
            }
        }
    })
}

fn narrows(window: &str, width_ms: i64, why: &str) -> String {
    format!(
        "window {window} is too large ({why}): reading it and those after it by {} h",
        width_ms / HOUR_MS
    )
}

fn widens(window: &str, width_ms: i64) -> String {
    format!(
        "behind window {window} reading by {} h again",
        width_ms / HOUR_MS
    )
}

fn repeats(window: &str, why: &str) -> String {
    format!("window {window} is read once more: {why}")
}

fn rate(samples: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    format!(
        "{} samples, {} a second",
        short(samples as f64),
        short(samples as f64 / seconds)
    )
}

/// `12.3 M` and the like.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_enough_for_a_line() {
        assert_eq!(short(999.0), "999");
        assert_eq!(short(12_345.0), "12 k");
        assert_eq!(short(12_345_678.0), "12.3 M");
        assert_eq!(
            rate(2_000_000, Duration::from_secs(2)),
            "2.0 M samples, 1.0 M a second"
        );
    }
}
