//! Owns a gate's answer as cells for a terminal, and how both sides of a row are told in words.

use super::outcome::{Report, Row, Side, signed};

/// Head and cells of the table; the caller prints and cleans them.
#[must_use]
pub fn table(report: &Report) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let head = vec![
        "workload",
        "change",
        "before → after",
        "fits",
        "slo",
        "usd_month",
        "p10_p90",
        "findings",
    ];
    let rows = report
        .rows
        .iter()
        .map(|row| {
            let difference = row.difference.as_ref();
            let findings: Vec<String> = row
                .findings
                .iter()
                .filter(|finding| finding.effect != "not judged")
                .map(|finding| format!("{} {}", finding.effect, finding.detector))
                .collect();
            vec![
                row.title(),
                row.change.to_owned(),
                sides(row).join(", "),
                judged(row, row.fit.verdict.word()),
                judged(row, row.slo.verdict.word()),
                difference.map_or_else(|| "unknown".to_owned(), |d| signed(d.usd_month)),
                difference.map_or_else(String::new, |d| {
                    format!("{} to {}", signed(d.p10_usd_month), signed(d.p90_usd_month))
                }),
                findings.join(", "),
            ]
        })
        .collect();
    (head, rows)
}

/// What goes away is not judged.
fn judged(row: &Row, word: &str) -> String {
    if row.change == "removed" { "–" } else { word }.to_owned()
}

fn replicas(count: &str) -> String {
    let many = if count == "1" { "" } else { "s" };
    format!("{count} replica{many}")
}

/// GPUs of a replica, with thousandths where it holds a part.
fn gpus(milli: i64) -> String {
    if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{}.{:03}", milli / 1000, milli % 1000)
            .trim_end_matches('0')
            .to_owned()
    }
}

/// Replicas as an owner says them: a count, or the scaler's bounds.
fn size(side: &Side) -> String {
    match (side.min_replicas, side.max_replicas, side.replicas) {
        (Some(min), Some(max), _) if min == max && side.scaler.is_some() => min.to_string(),
        (Some(min), Some(max), _) if side.scaler.is_some() => format!("{min} to {max}"),
        (_, _, Some(count)) => count.to_string(),
        (Some(min), Some(max), None) => format!("{min} to {max}"),
        _ => "?".to_owned(),
    }
}

/// What one replica runs on.
fn place(side: &Side) -> String {
    format!(
        "{} × {}",
        gpus(side.gpu_milli_per_replica),
        side.gpu_product.as_deref().unwrap_or("GPU not said")
    )
}

/// The lines that say what becomes of a workload's size, GPUs, model and the other fields.
pub(super) fn sides(row: &Row) -> Vec<String> {
    let both = |before: String, after: String| {
        if before == after {
            after
        } else {
            format!("{before} → {after}")
        }
    };
    let mut out = match (&row.before, &row.after) {
        (Some(before), Some(after)) => {
            let mut out = vec![
                if size(before) == size(after) {
                    replicas(&size(after))
                } else {
                    format!("{} → {}", size(before), replicas(&size(after)))
                },
                both(place(before), place(after)),
            ];
            if before.model != after.model {
                let model = |side: &Side| side.model.clone().unwrap_or_else(|| "?".to_owned());
                out.push(both(model(before), model(after)));
            }
            out
        }
        (one, other) => one
            .iter()
            .chain(other)
            .flat_map(|side| {
                let model = side.model.clone();
                [Some(replicas(&size(side))), Some(place(side)), model]
            })
            .flatten()
            .collect(),
    };
    out.extend(row.fields.iter().cloned());
    out
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::{report, row};
    use super::*;

    #[test]
    fn sides_are_told_once_where_they_are_the_same() {
        let mut one = row("a");
        one.fields.clear();
        assert_eq!(sides(&one), ["4 → 2 replicas", "1 × L4-24"]);
        if let Some(after) = &mut one.after {
            after.scaler = Some("hpa/a".to_owned());
            (after.min_replicas, after.max_replicas) = (Some(1), Some(6));
            after.gpu_milli_per_replica = 142;
            after.gpu_product = None;
        }
        assert_eq!(sides(&one)[0], "4 → 1 to 6 replicas");
        assert_eq!(sides(&one)[1], "1 × L4-24 → 0.142 × GPU not said");
        let (head, rows) = table(&report(vec![one]));
        assert_eq!(head.len(), rows[0].len());
        assert_eq!(rows[0][5], "−$1,200");
    }
}
