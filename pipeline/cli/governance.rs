//! Owns what the report says of decisions: the funnel, what became of what was exported, the record of
//! each detector's predictions, and the anchor of the audit log.

use std::collections::BTreeMap;

use super::outcomes::{asked, hands, latencies, range, shared};
use super::ungoverned::STATE;
use crate::approve::{Imported, Outcome, Records, Standing, State, scoreboard, visible};
use crate::model::zone::Zone;
use crate::report::{DecidedData, GovernanceView, OutcomeView, ScoreView, Stage};

/// `None` before the log's first checkpoint.
pub(super) fn view(
    imported: &Imported,
    outcomes: &[Outcome],
    now_ms: i64,
    zone: Zone,
) -> Option<GovernanceView> {
    let head = imported.head.as_ref()?;
    let last = last(outcomes);
    let mut funnel: BTreeMap<(State, String), usize> = BTreeMap::new();
    let mut break_glass = Vec::new();
    for (manifest, recommendation, standing) in imported.records.decided(now_ms) {
        let seen = last.get(&(manifest.sha256.as_str(), recommendation.id.as_str()));
        let word = word(&standing, seen.copied());
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
        outcomes: last.values().map(|one| row(one, zone)).collect(),
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

/// Of what was exported again, the last.
fn last(outcomes: &[Outcome]) -> BTreeMap<(&str, &str), &Outcome> {
    let keyed = |one| {
        let one: &Outcome = one;
        (
            (one.manifest_sha256.as_str(), one.recommendation_id.as_str()),
            one,
        )
    };
    outcomes.iter().map(keyed).collect()
}

/// Where a recommendation stands, in a word.
fn word(standing: &Standing, seen: Option<&Outcome>) -> String {
    match (standing.state, seen) {
        // Nobody looked since: it left, and that is all.
        (State::Exported, Some(one)) if one.state != "unseen" => one.state.clone(),
        (state, _) => state.word().to_owned(),
    }
}

/// How far each finding came that somebody decided on: of several decisions the one that took it
/// furthest, and of equals the last.
pub(super) fn decided(records: &Records, outcomes: &[Outcome], now_ms: i64) -> Vec<DecidedData> {
    let last = last(outcomes);
    let mut found: BTreeMap<String, DecidedData> = BTreeMap::new();
    for (manifest, recommendation, standing) in records.decided(now_ms) {
        let key = (manifest.sha256.as_str(), recommendation.id.as_str());
        let seen = last.get(&key).copied();
        let state = word(&standing, seen);
        let saved = seen.and_then(|one| one.realised.as_ref());
        let (reached, realised) = match (standing.state, state.as_str(), saved) {
            (State::Exported, "realised" | "regressed" | "partly_applied", Some(saved)) => {
                (Stage::Realised, Some(saved.monthly_usd))
            }
            (State::Exported, "applied" | "partly_applied", _) => (Stage::Applied, None),
            (State::Exported, _, _) => (Stage::Exported, None),
            (State::Approved, _, _) => (Stage::Approved, None),
            _ => (Stage::Proposed, None),
        };
        let before = found.get(&recommendation.finding_id);
        if before.is_some_and(|before| before.reached > reached) {
            continue;
        }
        let one = DecidedData {
            finding_id: recommendation.finding_id.clone(),
            reached,
            state,
            predicted_monthly_usd: recommendation.net_monthly_usd,
            realised_monthly_usd: realised,
        };
        found.insert(one.finding_id.clone(), one);
    }
    found.into_values().collect()
}

fn row(one: &Outcome, zone: Zone) -> OutcomeView {
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
    let mut seen: Vec<String> = [hands(one, zone), latencies(one)]
        .into_iter()
        .flatten()
        .collect();
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
