//! Owns the manifest's statement: in-toto Statement v1 with idleproof's own predicate.
//!
//! Format: `_type` `https://in-toto.io/Statement/v1`; the predicate binds the report, the findings
//! and the recommendations (by the digests of their written bytes) to the publication, the queries,
//! the parameters and the prices that made them. All bytes are canonical JSON, so equal content
//! gives an equal manifest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ApproveError;
use crate::model::canonical::to_canonical;
use crate::model::time::{TimeWindow, format_ms};

/// The predicate's type; its fields are documented in `docs/manifest.md`.
pub const PREDICATE_TYPE: &str = "https://idleproof.dev/manifest/v1";
pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A file that the manifest vouches for, by the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub sha256: String,
}

/// One recommendation as it is bound: its JSON as `recommendations.json` has it, with the digest of
/// those bytes and of the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecommendationEntry {
    pub id: String,
    pub sha256: String,
    pub evidence_sha256: String,
    pub value: Value,
}

/// Everything that the predicate says.
#[derive(Debug, Clone)]
pub struct ManifestInput {
    pub run_id: String,
    pub publication: u64,
    pub created_ms: i64,
    pub window: TimeWindow,
    /// Lake table → version that the publication pins.
    pub tables: BTreeMap<String, i64>,
    /// What the run rests on → SHA-256: queries, parameters, prices, catalogue, evidence.
    pub digests: BTreeMap<String, String>,
    pub tool_version: String,
    pub subjects: Vec<Subject>,
    pub recommendations: Vec<RecommendationEntry>,
}

/// The statement's canonical bytes.
pub fn statement_bytes(input: &ManifestInput) -> Result<Vec<u8>, ApproveError> {
    let mut subjects = input.subjects.clone();
    subjects.sort_by(|a, b| a.name.cmp(&b.name));
    let mut recommendations = input.recommendations.clone();
    recommendations.sort_by(|a, b| a.id.cmp(&b.id));
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": subjects
            .iter()
            .map(|s| json!({"name": s.name, "digest": {"sha256": s.sha256}}))
            .collect::<Vec<Value>>(),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "run_id": input.run_id,
            "publication": input.publication,
            "created": format_ms(input.created_ms),
            "window": {"start": format_ms(input.window.start_ms), "end": format_ms(input.window.end_ms)},
            "tool": {"name": "idleproof", "version": input.tool_version},
            "lake": input
                .tables
                .iter()
                .map(|(table, version)| json!({"table": table, "version": version}))
                .collect::<Vec<Value>>(),
            "digests": input.digests,
            "recommendations": recommendations.iter().map(recommendation).collect::<Vec<Value>>(),
        },
    });
    Ok(to_canonical(&statement)?.into_bytes())
}

fn recommendation(entry: &RecommendationEntry) -> Value {
    let mut value = entry.value.clone();
    if let Some(map) = value.as_object_mut() {
        map.insert("sha256".to_owned(), entry.sha256.clone().into());
        map.insert(
            "evidence_sha256".to_owned(),
            entry.evidence_sha256.clone().into(),
        );
    }
    value
}
