//! Owns what predictions were worth: by detector, how often what happened lay in the band, and by how
//! much the next bands must be wider or may be narrower.
//!
//! A miss is the distance of the realised saving from the predicted one, in percent of the half of the
//! band on its side, before any earlier correction. A band promises eight of ten: so the next factor is
//! the smallest that would have held that many (the ⌈0.8 (n + 1)⌉-th smallest miss of n; the largest
//! where there are fewer than four). Never below [`BAND_MIN`] nor above [`BAND_MAX`] percent, and below
//! 100 only with [`SCORES_TO_NARROW`] outcomes: few hits prove nothing. Regressions count as what they
//! cost. Called by the command line, which hands the factors to the next run.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::outcome::Outcome;

pub const BAND_MIN: i64 = 50;
pub const BAND_MAX: i64 = 300;
pub const SCORES_TO_NARROW: usize = 10;
/// A band that claims more than this is held to it: nobody predicts dollars to the percent.
const FINEST_PERCENT: i64 = 1;

/// The record of one detector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// Outcomes with a number and a predicted band.
    pub outcomes: usize,
    /// Those that lay in their band.
    pub inside: usize,
    pub predicted_usd: Decimal,
    /// Regressions subtract.
    pub realised_usd: Decimal,
    /// What the next bands are multiplied by, in percent.
    pub band_percent: i64,
}

/// The record of every detector that has one. Of several exports of one recommendation the last that
/// has a number counts.
#[must_use]
pub fn scoreboard(outcomes: &[Outcome]) -> BTreeMap<String, Score> {
    let mut seen = BTreeSet::new();
    let mut misses: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut last: Vec<&Outcome> = outcomes.iter().collect();
    last.sort_by_key(|one| std::cmp::Reverse(one.exported_ms));
    for one in last {
        let (Some(realised), Some(predicted), Some(low), Some(high)) = (
            &one.realised,
            one.predicted_usd,
            one.predicted_low_usd,
            one.predicted_high_usd,
        ) else {
            continue;
        };
        if !seen.insert((one.cluster.as_str(), one.recommendation_id.as_str())) {
            continue;
        }
        let score = scores.entry(one.detector.clone()).or_default();
        score.outcomes += 1;
        score.predicted_usd += predicted;
        score.realised_usd += realised.monthly_usd;
        score.inside += usize::from(low <= realised.monthly_usd && realised.monthly_usd <= high);
        let half = if realised.monthly_usd < predicted {
            predicted - low
        } else {
            high - predicted
        };
        let raw = half * Decimal::ONE_HUNDRED / Decimal::from(one.band_percent.max(1));
        let finest = predicted.abs() * Decimal::new(FINEST_PERCENT, 2);
        let raw = raw.max(finest).max(Decimal::new(1, 2));
        let percent = (realised.monthly_usd - predicted).abs() * Decimal::ONE_HUNDRED / raw;
        misses
            .entry(one.detector.clone())
            .or_default()
            .push(percent.ceil().to_i64().unwrap_or(i64::MAX));
    }
    for (detector, mut misses) in misses {
        misses.sort_unstable();
        let count = misses.len();
        let rank = ((count + 1) * 4).div_ceil(5).min(count);
        let least = if count < SCORES_TO_NARROW {
            100
        } else {
            BAND_MIN
        };
        if let Some(score) = scores.get_mut(&detector) {
            score.band_percent = misses[rank - 1].clamp(least, BAND_MAX);
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::outcome::Latency;
    use super::super::realised::Realised;
    use super::*;

    /// 100 predicted, 80 to 120; what happened is given.
    fn outcome(id: usize, usd: i64, band_percent: i64) -> Outcome {
        let half = 20 * band_percent / 100;
        let item = json!({
            "recommendation_id": id.to_string(), "cluster": "a", "detector": "d",
            "net_monthly_usd": "100", "net_p10_usd": (100 - half).to_string(),
            "net_p90_usd": (100 + half).to_string(), "band_percent": band_percent,
        });
        let realised = Realised {
            monthly_usd: usd.into(),
            low_usd: (usd - 5).into(),
            high_usd: (usd + 5).into(),
            days_before: 14,
            days_after: 14,
            before_ms: (0, 0),
            after_ms: (0, 0),
            baseline: "demand",
            billed_usd: None,
            capped: false,
            shared_with: 0,
        };
        Outcome::of(
            &item,
            id as i64,
            Vec::new(),
            Some(realised),
            [Latency::default(); 2],
        )
    }

    fn factor(usd: &[i64]) -> i64 {
        let all: Vec<Outcome> = usd
            .iter()
            .enumerate()
            .map(|(id, usd)| outcome(id, *usd, 100))
            .collect();
        scoreboard(&all)["d"].band_percent
    }

    #[test]
    fn few_outcomes_only_widen_and_never_beyond_the_bound() {
        assert_eq!(factor(&[100]), 100);
        assert_eq!(factor(&[70]), 150, "thirty off where twenty were allowed");
        assert_eq!(factor(&[70, 100, 100, 100]), 150, "the fourth of four");
        assert_eq!(factor(&[70, 100, 100, 100, 100]), 150, "the fifth of five");
        assert_eq!(factor(&[-400]), BAND_MAX);
        assert_eq!(factor(&[101; 9]), 100, "nine hits prove nothing");
    }

    #[test]
    fn many_hits_narrow_and_eight_of_ten_are_held() {
        assert_eq!(factor(&[101; 10]), BAND_MIN);
        // Fifteen of seventeen would have to be held; three missed by far.
        let mut usd = [115; 14].to_vec();
        usd.extend([0, 0, 0]);
        assert_eq!(factor(&usd), 300);
        usd.pop();
        usd.pop();
        usd.extend([115; 4]);
        assert_eq!(factor(&usd), 75, "one miss in nineteen");
    }

    #[test]
    fn a_corrected_band_is_scored_as_it_was_before_and_an_export_again_is_one() {
        let all = [outcome(1, 70, 100), outcome(2, 70, 150)];
        let score = &scoreboard(&all)["d"];
        assert_eq!((score.band_percent, score.inside), (150, 1));
        assert_eq!(score.realised_usd, Decimal::from(140));
        let mut again = outcome(3, 40, 100);
        again.recommendation_id = "1".into();
        let score = &scoreboard(&[outcome(1, 70, 100), again])["d"];
        assert_eq!((score.outcomes, score.realised_usd), (1, Decimal::from(40)));
        let mut none = outcome(4, 0, 100);
        none.realised = None;
        assert!(scoreboard(&[none]).is_empty(), "no number is no score");
    }
}
