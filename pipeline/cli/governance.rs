//! Owns what the report says of decisions: the funnel, what became of what was exported, the record of
//! each detector's predictions, and the anchor of the audit log.

use std::collections::BTreeMap;

use super::outcomes::{asked, hands, latencies, range, shared};
use super::ungoverned::STATE;
use crate::approve::{Imported, Outcome, State, scoreboard, visible};
use crate::report::{GovernanceView, OutcomeView, ScoreView};

/// `None` before the log's first checkpoint.
pub(super) fn view(
    imported: &Imported,
    outcomes: &[Outcome],
    now_ms: i64,
) -> Option<GovernanceView> {
    let head = imported.head.as_ref()?;
    // Of what was exported again, the last.
    let mut last: BTreeMap<(&str, &str), &Outcome> = BTreeMap::new();
    for one in outcomes {
        last.insert((&one.manifest_sha256, &one.recommendation_id), one);
    }
    let mut funnel: BTreeMap<(State, String), usize> = BTreeMap::new();
    let mut break_glass = Vec::new();
    for (manifest, recommendation, standing) in imported.records.decided(now_ms) {
        let seen = last.get(&(manifest.sha256.as_str(), recommendation.id.as_str()));
        let word = match (standing.state, seen) {
            // Nobody looked since: it left, and that is all.
            (State::Exported, Some(one)) if one.state != "unseen" => one.state.clone(),
            (state, _) => state.word().to_owned(),
        };
        *funnel.entry((standing.state, word)).or_default() += 1;
        if standing.break_glass {
            break_glass.push(visible(&recommendation.subject()));
        }
    }
    let mut funnel: Vec<(String, usize)> = funnel
        .into_iter()
        .map(|((_, word), count)| (word.replace('_', " "), count))
        .collect();
    let ungoverned = outcomes.iter().filter(|one| one.state == STATE).count();
    if ungoverned > 0 {
        funnel.push((STATE.to_owned(), ungoverned));
    }
    let scores = scoreboard(outcomes);
    Some(GovernanceView {
        checkpoint: head.note.clone(),
        funnel,
        break_glass,
        outcomes: last.values().map(|one| row(one)).collect(),
        scores: scores
            .iter()
            .map(|(detector, score)| ScoreView {
                detector: visible(detector),
                outcomes: score.outcomes,
                inside: score.inside,
                predicted: format!("${:.2}", score.predicted_usd),
                realised: format!("${:.2}", score.realised_usd),
                band: format!("{} %", score.band_percent),
            })
            .collect(),
        predicted_total: format!(
            "${:.2}",
            scores
                .values()
                .map(|one| one.predicted_usd)
                .sum::<rust_decimal::Decimal>()
        ),
        realised_total: format!(
            "${:.2}",
            scores
                .values()
                .map(|one| one.realised_usd)
                .sum::<rust_decimal::Decimal>()
        ),
    })
}

fn row(one: &Outcome) -> OutcomeView {
    let realised = one.realised.as_ref().map_or_else(
        || "not yet known".to_owned(),
        |saved| {
            let mut text = range(
                Some(saved.monthly_usd),
                Some(saved.low_usd),
                Some(saved.high_usd),
            );
            if saved.capped {
                text.push_str(", held to the bill");
            }
            if let Some(others) = shared(saved) {
                text.push_str(", ");
                text.push_str(&others);
            }
            if saved.baseline == "flat" {
                text.push_str(", demand not known");
            }
            text
        },
    );
    let mut seen: Vec<String> = [hands(one), latencies(one)].into_iter().flatten().collect();
    if seen.is_empty() {
        seen.push("nothing".to_owned());
    }
    OutcomeView {
        recommendation: visible(&one.recommendation_id),
        subject: visible(&format!(
            "{}/{}/{}/{}",
            one.cluster, one.namespace, one.workload_kind, one.workload_name
        )),
        state: one.state.replace('_', " "),
        predicted: if one.state == STATE {
            visible(&asked(one))
        } else {
            range(
                one.predicted_usd,
                one.predicted_low_usd,
                one.predicted_high_usd,
            )
        },
        realised,
        seen: visible(&seen.join("; ")),
    }
}
