//! Owns the manifest's statement: in-toto Statement v1 with idleproof's own predicate.
//!
//! Format: `_type` `https://in-toto.io/Statement/v1`; the predicate binds the report, the findings
//! and the recommendations (by the digests of their written bytes) to the publication, the queries,
//! the parameters and the prices that made them. All bytes are canonical JSON, so equal content
//! gives an equal manifest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ApproveError;
use crate::model::canonical::{sha256_hex, to_canonical};
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

/// One recommendation as it is bound: what it would change, where, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommendationEntry {
    /// Its canonical JSON as `recommendations.json` holds it.
    pub content: Value,
    pub evidence_sha256: String,
    /// Where people speak of it; outside its digest, so that a ticket may be opened later.
    pub ticket: Option<String>,
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
    /// The newest checkpoint of the audit log: an anchor, which travels with every copy of this.
    pub checkpoint: Option<String>,
}

/// The statement's canonical bytes.
pub fn statement_bytes(input: &ManifestInput) -> Result<Vec<u8>, ApproveError> {
    let mut subjects = input.subjects.clone();
    subjects.sort_by(|a, b| a.name.cmp(&b.name));
    let mut recommendations = input.recommendations.clone();
    let id = |entry: &RecommendationEntry| entry.content["recommendation_id"].to_string();
    recommendations.sort_by_key(id);
    let recommendations = recommendations
        .iter()
        .map(recommendation)
        .collect::<Result<Vec<Value>, ApproveError>>()?;
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
            "log_checkpoint": input.checkpoint,
            "recommendations": recommendations,
        },
    });
    Ok(to_canonical(&statement)?.into_bytes())
}

/// Its content, with the digest of that content and of the evidence.
fn recommendation(entry: &RecommendationEntry) -> Result<Value, ApproveError> {
    let mut value = entry.content.clone();
    let sha256 = sha256_hex(to_canonical(&value)?.as_bytes());
    value["sha256"] = sha256.into();
    value["evidence_sha256"] = entry.evidence_sha256.clone().into();
    if let Some(ticket) = &entry.ticket {
        value["ticket"] = ticket.clone().into();
    }
    Ok(value)
}
