//! Owns the way from a finding to money that stays: how many findings came how far, what they promised,
//! and where the others left it. `view` begins it from the findings; the caller, who reads the log, adds
//! what people decided.
//!
//! One finding is one place in it, however many nights it was found and proposed again. Its dollars are
//! those of the proposal that was decided on, else today's; only the last stage is measured.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use super::data::FindingData;
use super::format::usd;

/// Width of the widest bar in SVG units.
const WIDTH: i64 = 380;
/// From one bar to the next, with the line of text above it.
const STEP: i64 = 38;

/// How far something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Identified,
    Proposed,
    Approved,
    Exported,
    Applied,
    Realised,
}

const STAGES: &[(Stage, &str, &str)] = &[
    (
        Stage::Identified,
        "identified",
        "what this report finds, and all that people decided on before",
    ),
    (
        Stage::Proposed,
        "proposed",
        "a change is written that can be made and taken back",
    ),
    (
        Stage::Approved,
        "approved",
        "by all whom the policy asks for",
    ),
    (
        Stage::Exported,
        "exported",
        "handed to whoever applies changes",
    ),
    (
        Stage::Applied,
        "applied",
        "snapshots show it, whole or in part",
    ),
    (
        Stage::Realised,
        "realised",
        "measured against a baseline; regressions subtract",
    ),
];

/// A finding that somebody decided on.
#[derive(Debug, Clone)]
pub struct DecidedData {
    pub finding_id: String,
    pub reached: Stage,
    /// Where it stands now, in a word: `approved`, `rejected`, `reverted`, ….
    pub state: String,
    /// Of the proposal that was decided on.
    pub predicted_monthly_usd: Option<Decimal>,
    pub realised_monthly_usd: Option<Decimal>,
}

/// The funnel, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct FunnelView {
    pub stages: Vec<StageView>,
    /// Where findings left the way, by the word for it.
    pub left: Vec<LeftView>,
    /// Whether the audit log was read.
    pub decisions_known: bool,
    /// Height of the chart.
    pub height: i64,
}

/// One stage with its bar.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    pub stage: &'static str,
    pub meaning: &'static str,
    pub count: String,
    pub monthly: String,
    pub measured: bool,
    pub text_y: i64,
    pub y: i64,
    pub width: i64,
}

/// Findings that went no further.
#[derive(Debug, Clone, Serialize)]
pub struct LeftView {
    pub state: String,
    pub count: String,
    pub monthly: String,
}

/// Dollars of some findings, and how many of them have none.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    usd: Decimal,
    without: usize,
}

impl Sum {
    fn add(&mut self, amount: Option<Decimal>) {
        self.count += 1;
        match amount {
            Some(amount) => self.usd += amount,
            None => self.without += 1,
        }
    }

    fn text(&self) -> String {
        match (self.count, self.without) {
            (_, 0) => usd(self.usd),
            (count, without) if count == without => "price unknown".to_owned(),
            (_, without) => format!("{}, and {without} without a price", usd(self.usd)),
        }
    }
}

impl FunnelView {
    /// `alarms` are the report's open findings; `decided` is `None` where the log was not read.
    #[must_use]
    pub(super) fn new(alarms: &[&FindingData], decided: Option<&[DecidedData]>) -> Self {
        let mut all: BTreeMap<&str, DecidedData> = BTreeMap::new();
        for finding in alarms {
            let advice = finding.recommendation.as_ref();
            let is_proposed = advice.is_some_and(|advice| !advice.changes.is_empty());
            let one = DecidedData {
                finding_id: finding.id.clone(),
                reached: if is_proposed {
                    Stage::Proposed
                } else {
                    Stage::Identified
                },
                state: String::new(),
                predicted_monthly_usd: finding.net_monthly_usd,
                realised_monthly_usd: None,
            };
            all.insert(&finding.id, one);
        }
        for one in decided.unwrap_or_default() {
            all.insert(&one.finding_id, one.clone());
        }
        let mut sums: BTreeMap<Stage, Sum> = BTreeMap::new();
        let mut left: BTreeMap<&str, Sum> = BTreeMap::new();
        for one in all.values() {
            for (stage, _, _) in STAGES.iter().filter(|(stage, _, _)| *stage <= one.reached) {
                sums.entry(*stage).or_default().add(match stage {
                    Stage::Realised => one.realised_monthly_usd,
                    _ => one.predicted_monthly_usd,
                });
            }
            // Whoever still moves on has not left.
            let on_its_way = ["", "proposed", "approved", "exported", "unseen", "applied"];
            let is_there = one.state == "realised";
            if !is_there && !on_its_way.contains(&one.state.as_str()) {
                left.entry(&one.state)
                    .or_default()
                    .add(one.predicted_monthly_usd);
            }
        }
        let widest = sums.values().map(|sum| sum.usd).max().unwrap_or_default();
        let width = |amount: Decimal| -> i64 {
            if amount <= Decimal::ZERO {
                return 0;
            }
            (amount * Decimal::from(WIDTH) / widest)
                .round()
                .to_i64()
                .unwrap_or(0)
                .max(1)
        };
        let stages = STAGES
            .iter()
            .zip(0_i64..)
            .map(|((stage, name, meaning), place)| {
                let is_known = decided.is_some() || *stage <= Stage::Proposed;
                let sum = sums.get(stage).copied().unwrap_or_default();
                let unread = || "log not read".to_owned();
                StageView {
                    stage: name,
                    meaning,
                    count: if is_known {
                        sum.count.to_string()
                    } else {
                        unread()
                    },
                    monthly: if is_known { sum.text() } else { unread() },
                    measured: *stage == Stage::Realised,
                    text_y: place * STEP + 12,
                    y: place * STEP + 17,
                    width: width(sum.usd),
                }
            })
            .collect();
        Self {
            stages,
            left: left
                .into_iter()
                .map(|(state, sum)| LeftView {
                    state: state.replace('_', " "),
                    count: sum.count.to_string(),
                    monthly: sum.text(),
                })
                .collect(),
            decisions_known: decided.is_some(),
            height: STEP * i64::try_from(STAGES.len()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::data;
    use super::*;

    fn decided(id: &str, reached: Stage, state: &str, usd: i64) -> DecidedData {
        DecidedData {
            finding_id: id.into(),
            reached,
            state: state.into(),
            predicted_monthly_usd: Some(Decimal::from(usd)),
            realised_monthly_usd: None,
        }
    }

    fn rows(view: &FunnelView) -> Vec<(&str, &str, &str)> {
        let all = view.stages.iter();
        all.map(|row| (row.stage, row.count.as_str(), row.monthly.as_str()))
            .collect()
    }

    #[test]
    fn a_finding_is_one_however_often_it_was_decided_on_and_found_again() {
        let data = data("chat");
        let mut open = data.findings[0].clone();
        open.id = "a".into();
        let mut wordless = open.clone();
        wordless.id = "b".into();
        wordless.recommendation = None;
        wordless.net_monthly_usd = None;
        let mut realised = decided("c", Stage::Realised, "realised", 300);
        realised.realised_monthly_usd = Some(Decimal::from(250));
        let mut regressed = decided("d", Stage::Realised, "regressed", 200);
        regressed.realised_monthly_usd = Some(Decimal::from(-50));
        let told = [
            decided("a", Stage::Approved, "approved", 900),
            realised,
            regressed,
            decided("e", Stage::Proposed, "rejected", 100),
            decided("f", Stage::Exported, "not_applied", 40),
            decided("g", Stage::Applied, "applied", 60),
        ];
        let view = FunnelView::new(&[&open, &wordless], Some(&told));
        assert_eq!(
            rows(&view),
            [
                ("identified", "7", "$1,600, and 1 without a price"),
                ("proposed", "6", "$1,600"),
                ("approved", "5", "$1,500"),
                ("exported", "4", "$600"),
                ("applied", "3", "$560"),
                ("realised", "2", "$200"),
            ]
        );
        let left: Vec<_> = view
            .left
            .iter()
            .map(|row| (row.state.as_str(), row.count.as_str(), row.monthly.as_str()))
            .collect();
        assert_eq!(
            left,
            [
                ("not applied", "1", "$40.00"),
                ("regressed", "1", "$200"),
                ("rejected", "1", "$100"),
            ]
        );
        // Bars are as wide as their dollars.
        let widths: Vec<i64> = view.stages.iter().map(|row| row.width).collect();
        assert_eq!(widths[0], WIDTH);
        assert_eq!(widths[5], 48);
    }

    #[test]
    fn a_log_that_was_not_read_says_nothing_and_an_empty_one_nought() {
        let data = data("chat");
        let open = &data.findings[0];
        let unread = FunnelView::new(&[open], None);
        assert_eq!(
            rows(&unread)[1..3],
            [
                ("proposed", "1", "$1,000"),
                ("approved", "log not read", "log not read"),
            ]
        );
        let read = FunnelView::new(&[open], Some(&[]));
        assert_eq!(rows(&read)[2], ("approved", "0", "$0.00"));
        let none = FunnelView::new(&[], Some(&[]));
        assert!(none.stages.iter().all(|row| row.width == 0));
    }
}
