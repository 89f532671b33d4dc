//! Owns a gate's answer as SARIF 2.1.0, which code hosts show beside the changed lines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::markdown::sentences;
use super::outcome::{Fit, Report, Row, Verdict, signed};

/// What a result can be about: id, level, short text.
const RULES: &[(&str, &str, &str)] = &[
    (
        "does-not-fit",
        "error",
        "The model does not fit on the GPUs of a replica",
    ),
    (
        "slo-infeasible",
        "error",
        "The SLO does not hold after the change",
    ),
    (
        "slo-borderline",
        "warning",
        "The SLO holds only if the estimate is not off",
    ),
    (
        "finding-opened",
        "warning",
        "The change opens a finding or makes one larger",
    ),
    ("finding-closed", "note", "The change closes a finding"),
    ("not-judged", "note", "Fit or SLO could not be judged"),
    ("cost", "note", "What the change costs or saves a month"),
];

/// A path as a URI reference: parts that a path may hold and a URI may not are escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn result(row: &Row, rule: &str, text: String) -> Value {
    let index = RULES.iter().position(|(id, _, _)| *id == rule).unwrap_or(0);
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    json!({
        "ruleId": rule,
        "ruleIndex": index,
        "level": RULES[index].1,
        "message": {"text": clean},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(&row.file)},
                "region": {"startLine": row.line.max(1)},
            },
            "logicalLocations": [{
                "fullyQualifiedName": format!("{}/{}/{}/{}", row.cluster, row.namespace, row.workload_kind, row.workload_name),
                "kind": "resource",
            }],
        }],
        "partialFingerprints": {
            "idleproofGate/v1": format!("{rule}/{}/{}/{}/{}", row.cluster, row.namespace, row.workload_kind, row.workload_name),
        },
    })
}

fn results(row: &Row) -> Vec<Value> {
    let mut out = Vec::new();
    let title = row.title();
    if row.change != "removed" {
        if row.fit.verdict == Fit::DoesNotFit {
            out.push(result(
                row,
                "does-not-fit",
                format!("{title}: {}", row.fit.why),
            ));
        }
        match row.slo.verdict {
            Verdict::Infeasible => {
                out.push(result(
                    row,
                    "slo-infeasible",
                    format!("{title}: {}", row.slo.why),
                ));
            }
            Verdict::Borderline => {
                out.push(result(
                    row,
                    "slo-borderline",
                    format!("{title}: {}", row.slo.why),
                ));
            }
            Verdict::Feasible => {}
            Verdict::Unknown => {
                out.push(result(
                    row,
                    "not-judged",
                    format!("{title}: SLO unknown: {}", row.slo.why),
                ));
            }
        }
        if row.fit.verdict == Fit::Unknown {
            out.push(result(
                row,
                "not-judged",
                format!("{title}: fit unknown: {}", row.fit.why),
            ));
        }
    }
    for finding in &row.findings {
        let rule = match finding.effect {
            "opens" | "grows" => "finding-opened",
            "closes" => "finding-closed",
            _ => continue,
        };
        let usd = finding
            .added_usd_month
            .map(|usd| format!(" ({} a month)", signed(usd)))
            .unwrap_or_default();
        let text = format!(
            "{title}: {} {}{usd}: {}",
            finding.effect, finding.finding, finding.why
        );
        out.push(result(row, rule, text));
    }
    if let Some(difference) = &row.difference {
        let text = format!(
            "{title}: {} a month ({} to {}). {}",
            signed(difference.usd_month),
            signed(difference.p10_usd_month),
            signed(difference.p90_usd_month),
            sentences(row).join("; ")
        );
        out.push(result(row, "cost", text));
    }
    out
}

/// One run of the tool, one result a thing to say.
#[must_use]
pub fn sarif(report: &Report, version: &str) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|(id, level, text)| {
            json!({
                "id": id,
                "shortDescription": {"text": text},
                "defaultConfiguration": {"level": level},
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "idleproof gate", "version": version, "semanticVersion": version, "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": report.rows.iter().flat_map(results).collect::<Vec<_>>(),
            "properties": {"summary": report.summary(), "publication": report.publication},
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::{report, row};
    use super::*;

    #[test]
    fn results_point_at_files_and_lines_by_rules_that_exist() {
        let mut bad = row("a");
        bad.fit.verdict = Fit::DoesNotFit;
        bad.slo.verdict = Verdict::Infeasible;
        bad.findings[0].effect = "opens";
        bad.slo.why = "too\nslow".to_owned();
        let all = sarif(&report(vec![bad, row("b")]), "0.1.0");
        assert_eq!(all["version"], "2.1.0");
        let run = &all["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 4 + 2);
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "chat/a%20b.yaml");
            assert_eq!(place["region"]["startLine"], 7);
            let text = result["message"]["text"].as_str().unwrap();
            assert!(!text.contains('\n') && !text.is_empty());
        }
        assert_eq!(results[0]["level"], "error");
    }
}
