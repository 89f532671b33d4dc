//! Owns what the report shows of decisions: plain data, filled by the caller, who reads the log.

use serde::Serialize;

/// Decisions, their outcomes, and the anchor of the audit log.
#[derive(Debug, Clone, Serialize)]
pub struct GovernanceView {
    /// The newest checkpoint of the audit log, as signed.
    pub checkpoint: String,
    /// `approved`, `rejected`, … and how many recommendations stand so.
    pub funnel: Vec<(String, usize)>,
    /// What one person alone approved.
    pub break_glass: Vec<String>,
    pub outcomes: Vec<OutcomeView>,
    /// What predictions were worth, by detector.
    pub scores: Vec<ScoreView>,
    /// Over all outcomes with a number; regressions subtract.
    pub predicted_total: String,
    pub realised_total: String,
}

/// A prediction beside what happened.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeView {
    pub recommendation: String,
    /// `cluster/namespace/kind/name`.
    pub subject: String,
    pub state: String,
    pub predicted: String,
    pub realised: String,
    /// Who, when, and latencies.
    pub seen: String,
}

/// The record of one detector's predictions.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreView {
    pub detector: String,
    pub outcomes: usize,
    pub inside: usize,
    pub predicted: String,
    pub realised: String,
    /// How wide its next bands are.
    pub band: String,
}
