//! Owns the evidence of a run: copies of all that its findings rest on, and the manifest that
//! names each copy by digest.
//!
//! Rows are copied by table, cluster and UTC day in a fixed order, so that a day that did not
//! change is the same bytes as last week. It stores nothing: the caller puts the blobs. Called by
//! `cli` after `detect`; `explain` reads them back.

mod blobs;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde::{Deserialize, Serialize};

use super::DetectError;
use super::accepted::Acceptance;
use super::economics::rows::prices_batch;
use super::findings::answers_json;
use super::query::{self, Params, QuerySet};
use super::runner::{DetectInputs, Detection};
use crate::catalogue;
use crate::model::TimeWindow;
use crate::model::canonical::{sha256_hex, to_canonical};

pub(super) use blobs::decode;
use blobs::{encode, parts};

/// The layout of manifests and blobs.
const FORMAT: u32 = 2;
/// Made by the runner while it goes, and made again by a replay.
const MADE_ON_THE_WAY: [&str; 2] = ["claimable", "found"];

/// What a run's findings rest on, by digest. Its own digest is the findings' `evidence_digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceManifest {
    pub format: u32,
    pub run_id: String,
    pub window_start_ms: i64,
    pub window_end_ms: i64,
    pub code_version: String,
    pub catalogue_sha256: String,
    /// In the order in which they ran.
    pub detectors: Vec<DetectorEvidence>,
    pub params: BTreeMap<String, BTreeMap<String, ParamValue>>,
    pub first_seen: BTreeMap<String, i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Acceptance>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bands: BTreeMap<String, i64>,
    /// The inventory's answers to recommendations, by finding.
    pub answers_sha256: String,
    pub tables: Vec<TableEvidence>,
}

/// The SQL of one detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorEvidence {
    pub id: String,
    pub version: String,
    pub path: String,
    pub sql_sha256: String,
    pub claims_sha256: Option<String>,
}

/// Rows of one table: of a cluster and a day where the table has such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEvidence {
    pub table: String,
    pub cluster: Option<String>,
    pub day: Option<String>,
    pub rows: usize,
    pub sha256: String,
}

/// A parameter's value; floats travel as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamValue {
    Int(i64),
    Float(String),
    Text(String),
}

/// A manifest and the bytes that it names, its own among them.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub manifest: EvidenceManifest,
    /// SHA-256 of the manifest's canonical bytes.
    pub digest: String,
    /// Bytes by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

impl EvidenceManifest {
    /// The manifest's bytes.
    pub fn canonical(&self) -> Result<String, DetectError> {
        let value = serde_json::to_value(self).map_err(|error| DetectError::Evidence {
            sha256: "manifest".to_owned(),
            why: error.to_string(),
        })?;
        Ok(to_canonical(&value)?)
    }

    pub fn digest(&self) -> Result<String, DetectError> {
        Ok(sha256_hex(self.canonical()?.as_bytes()))
    }

    /// Reads a stored manifest, checked against a finding's `evidence_digest`.
    pub fn from_bytes(bytes: &[u8], digest: &str) -> Result<Self, DetectError> {
        checked(bytes, digest)?;
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| DetectError::Evidence {
                sha256: digest.to_owned(),
                why: format!("it is no evidence manifest: {error}"),
            })?;
        if manifest.format != FORMAT {
            return Err(DetectError::Evidence {
                sha256: digest.to_owned(),
                why: format!(
                    "its format is {} and this version reads {FORMAT}",
                    manifest.format
                ),
            });
        }
        Ok(manifest)
    }

    pub(super) fn window(&self) -> TimeWindow {
        TimeWindow::new(self.window_start_ms, self.window_end_ms)
    }

    pub(super) fn params(&self) -> Result<BTreeMap<String, Params>, DetectError> {
        let read = |value: &ParamValue| {
            Ok::<_, DetectError>(match value {
                ParamValue::Int(number) => ScalarValue::Int64(Some(*number)),
                ParamValue::Text(text) => ScalarValue::Utf8(Some(text.clone())),
                ParamValue::Float(text) => {
                    ScalarValue::Float64(Some(text.parse().map_err(|_| DetectError::Evidence {
                        sha256: "manifest".to_owned(),
                        why: format!("`{text}` is no number"),
                    })?))
                }
            })
        };
        self.params
            .iter()
            .map(|(id, values)| {
                let values = values
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), read(value)?)))
                    .collect::<Result<_, DetectError>>()?;
                Ok((id.clone(), Params(values)))
            })
            .collect()
    }
}

/// Bytes are what their digest says, or the evidence is broken.
pub(super) fn checked(bytes: &[u8], digest: &str) -> Result<(), DetectError> {
    let found = sha256_hex(bytes);
    if found == digest {
        Ok(())
    } else {
        Err(DetectError::Tampered {
            sha256: digest.to_owned(),
            found,
        })
    }
}

/// Copies what the detectors read: call it after [`super::detect`], on the same session, when
/// recommendations have their answers.
pub async fn collect(
    session: &SessionContext,
    queries: &QuerySet,
    inputs: &DetectInputs,
    detection: &Detection,
) -> Result<Evidence, DetectError> {
    let mut blobs = BTreeMap::new();
    let mut keep = |bytes: Vec<u8>| {
        let sha256 = sha256_hex(&bytes);
        blobs.insert(sha256.clone(), bytes);
        sha256
    };
    let mut names = BTreeSet::from(["ledger".to_owned()]);
    let mut detectors = Vec::new();
    for detector in queries.detectors() {
        for query in std::iter::once(&detector.findings).chain(&detector.claims) {
            names.extend(query::tables(session, query)?);
        }
        detectors.push(DetectorEvidence {
            id: detector.id.clone(),
            version: detector.version.clone(),
            path: detector.findings.path.clone(),
            sql_sha256: keep(detector.text.clone().into_bytes()),
            claims_sha256: detector
                .claims
                .as_ref()
                .map(|claims| keep(claims.text.clone().into_bytes())),
        });
    }
    let mut tables = Vec::new();
    let mut add = |table: &str, cluster, day, rows: &RecordBatch| -> Result<(), DetectError> {
        tables.push(TableEvidence {
            table: table.to_owned(),
            cluster,
            day,
            rows: rows.num_rows(),
            sha256: keep(encode(table, rows)?),
        });
        Ok(())
    };
    for name in names
        .iter()
        .filter(|name| !MADE_ON_THE_WAY.contains(&name.as_str()))
    {
        for part in parts(session, name, inputs.window).await? {
            add(name, part.cluster, part.day, &part.rows)?;
        }
    }
    let mut prices = inputs.prices.clone();
    prices.sort_by_key(super::economics::prices::PriceRow::price_key);
    let prices = prices_batch(&prices).map_err(DetectError::arrow("copy `prices`"))?;
    add("prices", None, None, &prices)?;
    let answers_sha256 = keep(answers_json(&detection.findings)?.into_bytes());
    let manifest = EvidenceManifest {
        format: FORMAT,
        run_id: inputs.run_id.clone(),
        window_start_ms: inputs.window.start_ms,
        window_end_ms: inputs.window.end_ms,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        catalogue_sha256: catalogue::digest(),
        detectors,
        params: inputs
            .params
            .iter()
            .map(|(id, params)| (id.clone(), params_of(params)))
            .collect(),
        first_seen: detection
            .findings
            .iter()
            .map(|finding| (finding.finding_id.clone(), finding.first_seen_ms))
            .collect(),
        accepted: inputs.accepted.clone(),
        bands: inputs.bands.clone(),
        answers_sha256,
        tables,
    };
    let bytes = manifest.canonical()?.into_bytes();
    let digest = sha256_hex(&bytes);
    blobs.insert(digest.clone(), bytes);
    Ok(Evidence {
        manifest,
        digest,
        blobs,
    })
}

fn params_of(params: &Params) -> BTreeMap<String, ParamValue> {
    params
        .0
        .iter()
        .map(|(name, value)| {
            let value = match value {
                ScalarValue::Int64(Some(number)) => ParamValue::Int(*number),
                ScalarValue::Float64(Some(number)) => ParamValue::Float(number.to_string()),
                // Other types are refused when a query is bound.
                other => ParamValue::Text(other.to_string()),
            };
            (name.clone(), value)
        })
        .collect()
}
