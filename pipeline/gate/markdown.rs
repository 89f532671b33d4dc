//! Owns a gate's answer as Markdown, for a comment under a pull request: one line, one table, notes. Names
//! come from strangers: whatever Markdown or HTML would read in them is taken apart.

use std::fmt::Write as _;

use super::outcome::{Report, Row, Side, dollars, signed};
use super::table::sides;

/// What a comment has room for; the rest is counted.
const ROWS_MAX: usize = 100;

/// Text that means nothing to Markdown, HTML, or those whom a name would call.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Addresses become links by themselves.
    let text = text
        .replace("://", ":\u{2060}//")
        .replace("www.", "www\u{2060}.");
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '\\' | '~' | '@' | '$' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() || is_unseen(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn or hide what stands beside them.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn cost(side: Option<&Side>) -> String {
    side.and_then(|side| side.usd_month)
        .map_or_else(|| "unknown".to_owned(), |usd| plain(&dollars(usd)))
}

fn money(row: &Row) -> String {
    let Some(difference) = &row.difference else {
        return "unknown".to_owned();
    };
    let both = match row.change {
        "added" => cost(row.after.as_ref()),
        "removed" => format!("{} → {}", cost(row.before.as_ref()), plain("$0")),
        _ => format!(
            "{} → {}",
            cost(row.before.as_ref()),
            cost(row.after.as_ref())
        ),
    };
    format!(
        "{both}<br>**{}** ({} to {})",
        plain(&signed(difference.usd_month)),
        plain(&signed(difference.p10_usd_month)),
        plain(&signed(difference.p90_usd_month))
    )
}

/// What goes away need not fit.
fn fit(row: &Row) -> &'static str {
    if row.change == "removed" {
        "–"
    } else {
        row.fit.verdict.word()
    }
}

fn slo(row: &Row) -> String {
    if row.change == "removed" {
        return "–".to_owned();
    }
    let mut text = format!("**{}**", row.slo.verdict.word());
    if let Some(after) = &row.after
        && let (Some(ttft), Some(itl)) = (after.ttft_p95_ms, after.itl_p95_ms)
    {
        let _ = write!(text, "<br>{ttft} ms first, {itl} ms between tokens");
    }
    text
}

fn findings(row: &Row) -> String {
    let told: Vec<String> = row
        .findings
        .iter()
        .filter(|finding| !matches!(finding.effect, "stays" | "not judged"))
        .map(|finding| {
            let usd = finding
                .added_usd_month
                .or(finding
                    .finding_usd_month
                    .filter(|_| finding.effect == "closes"))
                .map(|usd| format!(" ({})", plain(&dollars(usd))))
                .unwrap_or_default();
            format!("{} {}{usd}", finding.effect, plain(&finding.detector))
        })
        .collect();
    if told.is_empty() {
        "none".to_owned()
    } else {
        told.join("<br>")
    }
}

/// The whole answer.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = format!("**idleproof gate**: {}\n", plain(&report.summary()));
    if !report.rows.is_empty() {
        out.push_str("\n| workload | before → after | fits | SLO | dollars a month | findings |\n|---|---|---|---|---|---|\n");
        for row in report.rows.iter().take(ROWS_MAX) {
            let _ = writeln!(
                out,
                "| {}<br>{} | {} | {} | {} | {} | {} |",
                plain(&row.title()),
                row.change,
                sides(row)
                    .iter()
                    .map(|line| plain(line))
                    .collect::<Vec<_>>()
                    .join("<br>"),
                fit(row),
                slo(row),
                money(row),
                findings(row)
            );
        }
        if report.rows.len() > ROWS_MAX {
            let _ = writeln!(
                out,
                "\n{} more workloads are in the JSON.",
                report.rows.len() - ROWS_MAX
            );
        }
        out.push('\n');
        for row in report.rows.iter().take(ROWS_MAX) {
            for line in sentences(row) {
                let _ = writeln!(out, "- {}: {}", plain(&row.title()), plain(&line));
            }
        }
    }
    for note in &report.notes {
        let _ = writeln!(out, "- {}", plain(note));
    }
    if !report.others.is_empty() && !report.rows.is_empty() {
        let _ = writeln!(
            out,
            "- Without a part in what serves: {}.",
            plain(&report.others.join(", "))
        );
    }
    let _ = writeln!(
        out,
        "\nJudged on cluster {}, {} to {}, publication {}. Dollars are those of 730 hours, with the range from p10 to p90.",
        plain(&report.cluster),
        report.from,
        report.to,
        report.publication
    );
    out
}

/// The sentences behind a row.
#[must_use]
pub fn sentences(row: &Row) -> Vec<String> {
    let mut out = Vec::new();
    if row.change != "removed" {
        out.push(format!("{}: {}", row.fit.verdict.word(), row.fit.why));
        out.push(format!("SLO {}: {}", row.slo.verdict.word(), row.slo.why));
    }
    let price = match (&row.price_rung, row.price_band_percent) {
        (Some(rung), Some(0)) => format!(", price: {rung}"),
        (Some(rung), Some(band)) => format!(", price: {rung} (±{band} %)"),
        _ => String::new(),
    };
    out.push(format!("dollars: {}{price}", row.dollars_from));
    for finding in &row.findings {
        out.push(format!(
            "{} {}: {}",
            finding.effect, finding.finding, finding.why
        ));
    }
    out.extend(row.notes.iter().cloned());
    out
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::{report, row};
    use super::*;

    #[test]
    fn one_line_one_table_and_the_sentences_behind() {
        let text = markdown(&report(vec![row("a")]));
        assert!(
            text.starts_with("**idleproof gate**: 1 workload changes; "),
            "{text}"
        );
        let cells = text
            .lines()
            .find(|line| line.starts_with("| chat/a"))
            .unwrap();
        assert_eq!(cells.matches(" | ").count(), 5, "{cells}");
        for word in [
            "4 → 2 replicas",
            "**feasible**<br>310 ms",
            "&#36;2,400 → &#36;1,200",
            "closes surplus-replicas",
        ] {
            assert!(cells.contains(word), "{word}: {cells}");
        }
        assert!(text.contains("- chat/a: SLO feasible: it holds"), "{text}");
        assert!(markdown(&report(Vec::new())).contains("No change to what serves"));
    }

    #[test]
    fn hostile_names_mean_nothing() {
        let mut bad = row("a|b<script>@team `x` [l](http://e) \u{202e}\n# h");
        bad.notes.push("| cell\n- list <img src=x>".to_owned());
        let text = markdown(&report(vec![bad]));
        for word in [
            "<script", "@team", "](", "http://", "<img", "\u{202e}", "\n# h", "`",
        ] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let rows = text.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(rows, 2, "{text}");
    }
}
