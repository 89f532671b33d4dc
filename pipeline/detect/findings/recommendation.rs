//! Owns what a finding recommends: the action and values that a detector wishes for, and the answer of
//! the inventory to that wish: the changes as data, or why there is none.
//!
//! Answers are inputs: `cli` asks for them after detection, they are kept as evidence, and a replay
//! takes them from there. The JSON here is what `recommendations.json` and a signed manifest hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Finding, row, short_hash, usd_text};
use crate::detect::DetectError;
use crate::model::canonical::{sha256_hex, to_canonical};
use crate::model::time::format_ms;
use rust_decimal::Decimal;

/// One row of the table `recommendations`. Its dollars are the finding's.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    /// Of the finding and the action: the same from week to week, whatever the change looks like.
    pub recommendation_id: String,
    pub action: String,
    /// What the detector knew of the value that stands there, and the one that it wishes for.
    pub wished_from: Option<String>,
    pub wished: Option<String>,
    /// GPUs of one replica that the wish needs, where it is about another GPU.
    pub wished_gpu_milli: Option<i64>,
    pub wished_replicas: Option<i64>,
    /// Recommendations whose execution the net saving assumes.
    pub assumes: Vec<String>,
    /// The monthly saving when none of those is carried out.
    pub alone_monthly_usd: Option<Decimal>,
    pub risk: String,
    pub disruption: String,
    pub answer: Answer,
}

/// What the inventory answers to a wish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// In the order in which they are made; empty where no change can be written.
    pub changes: Vec<PlannedChange>,
    /// Why there is no change.
    pub not_possible: Option<String>,
    /// What the workload may be after the change, by name.
    pub limits: BTreeMap<String, i64>,
    /// After this the change rests on what is too old.
    pub expires_ms: Option<i64>,
}

impl Default for Answer {
    fn default() -> Self {
        Self::refusal("nobody asked the inventory where this change would go")
    }
}

impl Answer {
    /// No change, and why.
    #[must_use]
    pub fn refusal(because: impl Into<String>) -> Self {
        Self {
            changes: Vec::new(),
            not_possible: Some(because.into()),
            limits: BTreeMap::new(),
            expires_ms: None,
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedChange {
    pub target: PlannedTarget,
    /// For people: the pointers that change, and the values there before and after.
    pub field: String,
    pub current: String,
    pub proposed: String,
    /// RFC 6902, tests of the observed values first; the inverse restores the object.
    pub patch: Value,
    pub inverse: Value,
    pub preconditions: Vec<Observed>,
    pub resource_version: Option<String>,
    /// When the values were last seen, RFC 3339.
    pub observed_at: Option<String>,
    pub warnings: Vec<String>,
    pub verify: Vec<String>,
    pub managed_by: Option<String>,
}

/// The object that a change goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTarget {
    /// `kind.group` in lower case.
    pub kind: String,
    pub api_version: String,
    pub namespace: String,
    pub name: String,
}

/// A value as it was observed; null is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    pub path: String,
    pub observed: Value,
}

impl PlannedTarget {
    /// `kind.group/namespace/name`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/{}", self.kind, self.name)
        } else {
            format!("{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Recommendation {
    pub(super) fn new(
        finding_id: &str,
        wish: &row::Remedy,
        assumes: Vec<String>,
        alone_monthly_usd: Option<Decimal>,
    ) -> Self {
        Self {
            recommendation_id: short_hash(&format!("{finding_id}\n{}", wish.action)),
            action: wish.action.clone(),
            wished_from: wish.current.clone(),
            wished: wish.proposed.clone(),
            wished_gpu_milli: wish.gpu_milli,
            wished_replicas: wish.replicas,
            assumes,
            alone_monthly_usd,
            risk: wish.risk.clone(),
            disruption: wish.disruption.clone(),
            answer: Answer::default(),
        }
    }

    fn assumes_value(&self) -> Value {
        json!({
            "recommendations": self.assumes,
            "net_monthly_usd_without_them": usd_text(self.alone_monthly_usd),
        })
    }

    /// What the saving assumes, as canonical JSON.
    pub fn assumes_json(&self) -> Result<String, DetectError> {
        Ok(to_canonical(&self.assumes_value())?)
    }

    /// The changes as canonical JSON.
    pub fn changes_json(&self) -> Result<String, DetectError> {
        Ok(to_canonical(&plain(&self.answer.changes)?)?)
    }

    /// The limits as canonical JSON.
    pub fn limits_json(&self) -> Result<String, DetectError> {
        Ok(to_canonical(&json!(self.answer.limits))?)
    }

    /// The objects that change, in order and each once, for people.
    #[must_use]
    pub fn objects(&self) -> String {
        let mut seen: Vec<String> = Vec::new();
        for change in &self.answer.changes {
            let path = change.target.path();
            if !seen.contains(&path) {
                seen.push(path);
            }
        }
        seen.join(", then ")
    }

    /// One text over all changes, for people.
    #[must_use]
    pub fn joined(&self, of: impl Fn(&PlannedChange) -> &str) -> String {
        let texts: Vec<&str> = self.answer.changes.iter().map(of).collect();
        texts.join("; then ")
    }
}

impl Finding {
    /// The recommendation's JSON: what people approve. `None` where there is none.
    pub fn recommendation_value(&self) -> Result<Option<Value>, DetectError> {
        let Some(one) = &self.recommendation else {
            return Ok(None);
        };
        let mut value = json!({
            "recommendation_id": one.recommendation_id,
            "finding_id": self.finding_id,
            "finding_handle": self.handle,
            "detector": self.detector,
            "action": one.action,
            "cluster": self.cluster,
            "namespace": self.namespace,
            "workload_kind": self.workload_kind,
            "workload_name": self.workload_name,
            "team": self.team,
            "changes": plain(&one.answer.changes)?,
            "not_possible": one.answer.not_possible,
            "assumes": one.assumes_value(),
            "net_monthly_usd": usd_text(self.net_monthly_usd),
            "net_p10_usd": usd_text(self.net_p10_usd),
            "net_p90_usd": usd_text(self.net_p90_usd),
            "realisable_monthly_usd": usd_text(self.realisable_monthly_usd),
            "price_basis": self.price_basis,
            "limits": one.answer.limits,
            "expires": one.answer.expires_ms.map(format_ms),
            "risk": one.risk,
            "disruption": one.disruption,
        });
        if self.band_percent != 100 {
            value["band_percent"] = self.band_percent.into();
        }
        // What the estimator expects afterwards: it is held against what happens.
        let expected = |name: &str| {
            let found = self.evidence.iter().find(|(known, _)| known == name);
            found.and_then(|(_, text)| text.parse::<i64>().ok())
        };
        let (ttft, itl) = (expected("candidate_ttft_ms"), expected("candidate_itl_ms"));
        if ttft.is_some() || itl.is_some() {
            value["predicted_latency"] = json!({"ttft_ms": ttft, "itl_ms": itl});
        }
        Ok(Some(value))
    }

    /// The recommendation's bytes, which a signed manifest binds.
    pub fn recommendation_canonical(&self) -> Result<Option<String>, DetectError> {
        let value = self.recommendation_value()?;
        Ok(value.map(|value| to_canonical(&value)).transpose()?)
    }

    /// SHA-256 of [`Self::recommendation_canonical`].
    pub fn recommendation_sha256(&self) -> Result<Option<String>, DetectError> {
        let text = self.recommendation_canonical()?;
        Ok(text.map(|text| sha256_hex(text.as_bytes())))
    }
}

/// Answers by finding, as they are kept as evidence.
pub(in crate::detect) fn answers_json(findings: &[Finding]) -> Result<String, DetectError> {
    let answers: BTreeMap<&str, &Answer> = findings
        .iter()
        .filter_map(|one| {
            let recommendation = one.recommendation.as_ref()?;
            Some((one.finding_id.as_str(), &recommendation.answer))
        })
        .collect();
    Ok(to_canonical(&plain(&answers)?)?)
}

/// A value as JSON.
fn plain(value: &impl Serialize) -> Result<Value, DetectError> {
    serde_json::to_value(value).map_err(|error| DetectError::Evidence {
        sha256: "recommendations".to_owned(),
        why: error.to_string(),
    })
}
