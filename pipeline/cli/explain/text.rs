//! Owns how a finding explains itself to people: what was seen, a chart, the formula with its
//! numbers, what speaks for and against, and what else was considered. Pure: rows in, lines out.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::report_data;
use crate::model::time::{HOUR_MS, format_ms};
use crate::report::{gpu_hours, usd};

/// Cells of a bar.
const WIDTH: i64 = 40;
/// Candidates and other verdicts shown; the rest are counted.
const SHOWN: usize = 12;

/// The letter of each class in the chart, in the order in which a bar is drawn.
const LETTERS: [(&str, char); 11] = [
    ("serving", 's'),
    ("non_serving", 'n'),
    ("lull", 'l'),
    ("standby", 'z'),
    ("starved", 'h'),
    ("dark", 'd'),
    ("pending", 'p'),
    ("unallocated", 'u'),
    ("unavailable", 'x'),
    ("unknown", '?'),
    ("absent", ' '),
];

/// One term of the formula.
pub(super) struct Term {
    /// `freed` or `added`.
    pub side: String,
    pub class: String,
    pub product: String,
    pub ms: i64,
    pub usd_per_gpu_hour: Option<Decimal>,
    pub price: String,
}

/// Something else that was considered.
pub(super) struct Other {
    pub what: String,
    pub name: String,
    pub verdict: String,
    pub why: String,
}

/// All that an explanation is made of.
pub(super) struct Explained<'a> {
    /// The finding's canonical JSON.
    pub finding: &'a Value,
    /// Milliseconds by day and class; `claimed` beside the classes.
    pub days: &'a [(String, String, i64)],
    pub terms: &'a [Term],
    pub others: &'a [Other],
    pub false_positives: &'a [String],
    pub rationale: Option<&'a str>,
    pub existed_hours: Option<Decimal>,
}

pub(super) fn lines(e: &Explained<'_>) -> Vec<String> {
    let text = |name: &str| e.finding[name].as_str().unwrap_or_default();
    let mut out = vec![text("title").to_owned(), String::new()];
    out.push(format!("  {}", text("handle")));
    let span = |name: &str| format_ms(e.finding[name].as_i64().unwrap_or(0));
    out.push(format!(
        "  {} ({}), {} to {}, detector {} {}",
        text("status"),
        text("state"),
        span("window_start_ms"),
        span("window_end_ms"),
        text("detector"),
        text("detector_version")
    ));
    if let Some(accepted) = e.finding["accepted"].as_str() {
        out.push(format!("  {accepted}"));
    }
    section(&mut out, "Why");
    out.extend(wrapped(text("reason"), 2));
    if let Some(rationale) = e.rationale {
        out.extend(wrapped(rationale, 2));
    }
    chart(&mut out, e.days);
    formula(&mut out, e);
    section(&mut out, "What was seen");
    for (name, value) in evidence(e.finding) {
        out.push(format!("  {name}: {value}"));
    }
    against(&mut out, e);
    others(&mut out, e.others);
    if !text("remedy").is_empty() {
        section(&mut out, "What to do");
        out.extend(wrapped(text("remedy"), 2));
    }
    out.iter().map(|line| harmless(line)).collect()
}

/// Names come from clusters: nothing in them may steer a terminal or turn its text around.
fn harmless(line: &str) -> String {
    line.chars()
        .filter(|c| {
            !c.is_control() && !matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect()
}

fn section(out: &mut Vec<String>, title: &str) {
    out.push(String::new());
    out.push(title.to_owned());
}

/// A bar a day: a letter is its share of the day's longest bar.
fn chart(out: &mut Vec<String>, days: &[(String, String, i64)]) {
    let mut by_day: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for (day, class, ms) in days {
        *by_day.entry(day).or_default().entry(class).or_default() += ms;
    }
    let held = |classes: &BTreeMap<&str, i64>| -> i64 {
        classes
            .iter()
            .filter(|(class, _)| **class != "claimed")
            .map(|(_, ms)| ms)
            .sum()
    };
    let Some(longest) = by_day.values().map(held).max().filter(|ms| *ms > 0) else {
        return;
    };
    section(out, "By day, in GPU-hours");
    let mut used: Vec<(&str, char)> = Vec::new();
    for (day, classes) in &by_day {
        let mut bar = String::new();
        let (mut sum, mut drawn) = (0_i64, 0_i64);
        for (class, letter) in LETTERS {
            let Some(ms) = classes.get(class).copied().filter(|ms| *ms > 0) else {
                continue;
            };
            if !used.contains(&(class, letter)) {
                used.push((class, letter));
            }
            sum += ms;
            // Cumulative, so that a bar's cells sum to its length.
            let upto = sum * WIDTH / longest;
            for _ in drawn..upto {
                bar.push(letter);
            }
            drawn = upto.max(drawn);
        }
        let taken = classes.get("claimed").copied().unwrap_or(0);
        out.push(format!(
            "  {day}  {bar:<40}  held {:>7}  claimed {:>7}",
            gpu_hours(held(classes)),
            gpu_hours(taken)
        ));
    }
    let key: Vec<String> = used
        .iter()
        .map(|(class, letter)| format!("{letter} {class}"))
        .collect();
    out.push(format!("  {}", key.join(", ")));
}

fn formula(out: &mut Vec<String>, e: &Explained<'_>) {
    section(out, "The formula, with its numbers");
    if e.terms.is_empty() {
        out.push(
            "  It claims nothing: its cost is shown as evidence, and adds no dollars.".to_owned(),
        );
        return;
    }
    let hours = |ms: i64| Decimal::from(ms) / Decimal::from(HOUR_MS);
    let mut sum = Some(Decimal::ZERO);
    for term in e.terms {
        let sign = if term.side == "added" { '-' } else { '+' };
        let whole = term.usd_per_gpu_hour.map(|usd| hours(term.ms) * usd);
        sum = sum
            .zip(whole)
            .map(|(sum, usd)| if sign == '-' { sum - usd } else { sum + usd });
        out.push(format!(
            "  {sign} {:>9} GPU-hours {} of {} × {} = {}  ({})",
            gpu_hours(term.ms),
            if term.side == "added" {
                "needed instead"
            } else {
                term.class.as_str()
            },
            term.product,
            term.usd_per_gpu_hour.map_or_else(
                || "unknown price".to_owned(),
                |usd| format!("${}", usd.normalize())
            ),
            whole.map_or_else(|| "unknown".to_owned(), cents),
            term.price
        ));
    }
    let money = |name: &str| {
        e.finding[name]
            .as_str()
            .and_then(|usd| usd.parse::<Decimal>().ok())
    };
    let shown = |usd: Option<Decimal>| usd.map_or_else(|| "unknown".to_owned(), cents);
    out.push(format!("  = net in the window: {}", shown(sum)));
    if money("gross_window_usd") != money("net_window_usd") {
        out.push(format!(
            "  without what earlier findings took it would be {} (gross)",
            shown(money("gross_window_usd"))
        ));
    }
    if let (Some(net), Some(month)) = (money("net_window_usd"), money("net_monthly_usd")) {
        let over = e.existed_hours.map_or_else(String::new, |hours| {
            format!(" ÷ {} h that it existed", hours.round_dp(1))
        });
        out.push(format!(
            "  {} × 730 h{over} = {} a month",
            cents(net),
            cents(month)
        ));
    }
    if let (Some(low), Some(high)) = (money("net_p10_usd"), money("net_p90_usd")) {
        out.push(format!(
            "  p10 {}, p50 {}, p90 {} a month: whole days drawn again 1,000 times, under the intervals of prices and placement, widened at the top by what was not seen",
            usd(low),
            usd(money("net_p50_usd").unwrap_or(low)),
            usd(high)
        ));
    }
}

/// Evidence as people read it.
fn evidence(finding: &Value) -> Vec<(String, String)> {
    finding["evidence"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| {
            let (name, value) = (pair[0].as_str()?, pair[1].as_str()?);
            Some(report_data::readable(name, value))
        })
        .collect()
}

fn against(out: &mut Vec<String>, e: &Explained<'_>) {
    section(out, "What speaks against it");
    let coverage = e.finding["coverage"]
        .as_str()
        .and_then(|seen| seen.parse::<Decimal>().ok());
    out.push(format!(
        "  {} of its time was seen; confidence {}",
        coverage.map_or_else(
            || "an unknown share".to_owned(),
            |seen| format!(
                "{} %",
                (seen * Decimal::ONE_HUNDRED).round_dp(1).normalize()
            )
        ),
        e.finding["confidence"].as_str().unwrap_or("unknown")
    ));
    for why in e.finding["confidence_because"]
        .as_array()
        .into_iter()
        .flatten()
    {
        out.push(format!("  - {}", why.as_str().unwrap_or_default()));
    }
    for case in e.false_positives {
        out.push(format!("  - it would be wrong for: {case}"));
    }
}

fn others(out: &mut Vec<String>, others: &[Other]) {
    for (what, title) in [
        ("placement", "Alternatives that were tried"),
        ("detector", "What the other rules say of it"),
    ] {
        let of: Vec<&Other> = others.iter().filter(|other| other.what == what).collect();
        if of.is_empty() {
            continue;
        }
        section(out, title);
        for other in of.iter().take(SHOWN) {
            out.push(format!(
                "  {:<13} {}: {}",
                other.verdict, other.name, other.why
            ));
        }
        if of.len() > SHOWN {
            out.push(format!("  and {} more", of.len() - SHOWN));
        }
    }
}

fn cents(usd: Decimal) -> String {
    let mut usd = usd.round_dp(2);
    usd.rescale(2);
    if usd.is_sign_negative() && !usd.is_zero() {
        format!("-${}", usd.abs())
    } else {
        format!("${usd}")
    }
}

/// Words in lines of at most 100 characters.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
        .into_iter()
        .map(|line| format!("{:indent$}{line}", ""))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_shows_rows_chart_formula_and_what_speaks_against_it() {
        let finding = json!({
            "title": "w on H100 costs $100/month more than it should: it had no work",
            "handle": "dark-capacity/a/n/deployment.apps/w", "status": "alarm", "state": "open",
            "window_start_ms": 0, "window_end_ms": 1_209_600_000_i64,
            "detector": "dark-capacity", "detector_version": "1.1.0",
            "reason": "Nothing was asked of it.", "coverage": "0.9821428571428571",
            "confidence": "medium", "confidence_because": ["a twentieth of it was not seen"],
            "gross_window_usd": "60.000000", "net_window_usd": "54.000000",
            "net_monthly_usd": "117.321429", "net_p10_usd": "90.000000",
            "net_p50_usd": "117.000000", "net_p90_usd": "140.000000",
            "remedy": "Remove it.", "evidence": [["dark_gpu_ms", "64800000"], ["cause", "dead"]],
        });
        let days = [
            ("2026-11-01".to_owned(), "dark".to_owned(), 12 * HOUR_MS),
            ("2026-11-01".to_owned(), "serving".to_owned(), 12 * HOUR_MS),
            ("2026-11-01".to_owned(), "claimed".to_owned(), 12 * HOUR_MS),
            ("2026-11-02".to_owned(), "dark".to_owned(), 6 * HOUR_MS),
            ("2026-11-02".to_owned(), "claimed".to_owned(), 6 * HOUR_MS),
        ];
        let terms = [Term {
            side: "freed".to_owned(),
            class: "dark".to_owned(),
            product: "H100".to_owned(),
            ms: 18 * HOUR_MS,
            usd_per_gpu_hour: Some("3.000000".parse().unwrap()),
            price: "list, sheet".to_owned(),
        }];
        let others = [Other {
            what: "placement".to_owned(),
            name: "1 × L4".to_owned(),
            verdict: "infeasible".to_owned(),
            why: "weights do not fit".to_owned(),
        }];
        let false_positives = ["a declared nothing".to_owned()];
        let explained = Explained {
            finding: &finding,
            days: &days,
            terms: &terms,
            others: &others,
            false_positives: &false_positives,
            rationale: None,
            existed_hours: Some(Decimal::from(336)),
        };
        insta::assert_snapshot!(lines(&explained).join("\n"));
    }
}
