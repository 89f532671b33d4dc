//! Owns how an answer of `check` reads on a terminal; no colour, one fact a line.

use super::Answer;

/// Names of those that lack a signal; the rest are counted.
const NAMED: usize = 5;

/// The first few, and how many more there are.
fn named(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    match all.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

pub(super) fn lines(answer: &Answer, advise: bool) -> Vec<String> {
    let mut lines = vec!["Sources".to_owned()];
    for source in &answer.sources {
        let state = if source.ok { "ok  " } else { "FAIL" };
        let span = match (&source.from, &source.to) {
            (Some(from), Some(to)) => format!(", {from} to {to}"),
            _ => String::new(),
        };
        let cluster = match source.cluster.as_str() {
            "" => String::new(),
            cluster => format!(" of {cluster}"),
        };
        let series = match source.series {
            0 => String::new(),
            series => format!(", {series} series"),
        };
        lines.push(format!(
            "  {state} {}{cluster}{span}{series}",
            source.source
        ));
        let intervals: Vec<String> = source
            .interval_seconds
            .iter()
            .map(|(table, seconds)| format!("{table} every {seconds} s"))
            .collect();
        if !intervals.is_empty() {
            lines.push(format!("       {}", intervals.join(", ")));
        }
        lines.extend(source.notes.iter().map(|note| format!("       {note}")));
    }
    if !answer.signals.is_empty() {
        lines.push("Signals".to_owned());
    }
    for signal in &answer.signals {
        let state = match (signal.wanted, signal.missing.len()) {
            (0, _) => "none",
            (_, 0) => "all ",
            (wanted, missing) if missing == wanted => "none",
            _ => "part",
        };
        lines.push(format!(
            "  {state} {}: {}, {} of {}",
            signal.cluster, signal.what, signal.seen, signal.wanted
        ));
        if state == "all " {
            continue;
        }
        lines.push(format!("       without it: {}", signal.without));
        if signal.missing.len() < signal.wanted {
            lines.push(format!("       lacking: {}", named(&signal.missing)));
        }
        if advise {
            lines.push(format!("       adds {} series:", signal.adds_series));
            lines.extend(
                signal
                    .advise
                    .trim()
                    .lines()
                    .map(|line| format!("         {line}")),
            );
        }
    }
    if !answer.detectors.is_empty() {
        lines.push("Detectors".to_owned());
    }
    for detector in &answer.detectors {
        let sees = match (detector.complete.is_empty(), detector.lacking.is_empty()) {
            (_, true) => "sees all".to_owned(),
            (true, false) => format!("blind: lacks {}", detector.lacking.join(", ")),
            (false, false) => format!("sees part: lacks {}", detector.lacking.join(", ")),
        };
        lines.push(format!(
            "  {}: {} {sees}",
            detector.cluster, detector.detector
        ));
        if !detector.blind_to.is_empty() {
            lines.push(format!(
                "       every signal for {} of {} pods with GPUs; not for {}",
                detector.pods - detector.blind_to.len(),
                detector.pods,
                named(&detector.blind_to)
            ));
        }
    }
    if !answer.blindness.is_empty() {
        lines.push("What blindness costs, in the newest publication's window".to_owned());
    }
    for row in &answer.blindness {
        lines.push(format!("  {}", row.sentence()));
    }
    let lacking = answer
        .signals
        .iter()
        .any(|signal| !signal.missing.is_empty() || signal.wanted == 0);
    if lacking && !advise {
        lines.push("--advise prints the lines that bring what is lacking".to_owned());
    }
    lines
}
