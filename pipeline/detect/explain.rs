//! Owns replaying a run from its evidence: the stored SQL on the stored rows, through the same
//! runner, to the same bytes.
//!
//! It needs no lake: bytes come from the caller, each checked against its digest. Estimates,
//! prices and the inventory's answers are stored here, and never computed again. Called by `cli` for `explain`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;

use super::DetectError;
use super::evidence::{EvidenceManifest, checked, decode};
use super::findings::Answer;
use super::netting::{Committed, PriceList};
use super::query::{Detector, QuerySet};
use super::runner::{ChainInputs, Detection, chain, register};
use crate::lake::columns::{int, int_at, text, text_at, usd, usd_at};
use crate::lake::{SessionLimits, session_config};

/// Runs the detectors of a manifest on its rows and gives the canonical JSON of one finding: equal
/// to [`super::Finding::canonical`] of the run, or something is not what it was.
pub async fn replay<F, Fut, E>(
    manifest: &EvidenceManifest,
    fetch: F,
    finding_id: &str,
) -> Result<String, DetectError>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<Bytes, E>>,
    E: Display,
{
    let detection = replay_all(manifest, fetch).await?;
    let finding = detection
        .findings
        .iter()
        .find(|finding| finding.finding_id == finding_id);
    finding
        .ok_or_else(|| DetectError::NoFinding {
            run_id: manifest.run_id.clone(),
            finding_id: finding_id.to_owned(),
        })?
        .canonical()
}

/// [`replay`] of the whole run.
pub async fn replay_all<F, Fut, E>(
    manifest: &EvidenceManifest,
    fetch: F,
) -> Result<Detection, DetectError>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<Bytes, E>>,
    E: Display,
{
    let get = async |sha256: &str| {
        let bytes = fetch(sha256.to_owned())
            .await
            .map_err(|error| DetectError::Evidence {
                sha256: sha256.to_owned(),
                why: error.to_string(),
            })?;
        checked(&bytes, sha256)?;
        Ok::<Bytes, DetectError>(bytes)
    };
    let get_text = async |sha256: &str| {
        String::from_utf8(get(sha256).await?.to_vec()).map_err(|error| DetectError::Evidence {
            sha256: sha256.to_owned(),
            why: error.to_string(),
        })
    };
    let mut detectors = Vec::new();
    for stored in &manifest.detectors {
        let sql = get_text(&stored.sql_sha256).await?;
        let claims = match &stored.claims_sha256 {
            Some(sha256) => Some(get_text(sha256).await?),
            None => None,
        };
        detectors.push(Detector::parse(&stored.path, &sql, claims.as_deref())?);
    }
    let queries = QuerySet::of_detectors(detectors)?;

    let mut tables: BTreeMap<&str, Vec<RecordBatch>> = BTreeMap::new();
    for stored in &manifest.tables {
        let bytes = get(&stored.sha256).await?;
        tables
            .entry(&stored.table)
            .or_default()
            .extend(decode(&stored.sha256, &bytes)?);
    }
    let prices = prices(&tables.remove("prices").unwrap_or_default())?;
    let session = SessionContext::new_with_config(session_config(SessionLimits::default()));
    for (name, batches) in tables {
        register(&session, name, batches)?;
    }
    let params = manifest.params()?;
    let inputs = ChainInputs {
        window: manifest.window(),
        params: &params,
        prices,
        first_seen: &manifest.first_seen,
        accepted: &manifest.accepted,
        bands: &manifest.bands,
    };
    let answers = get_text(&manifest.answers_sha256).await?;
    let answers: BTreeMap<String, Answer> =
        serde_json::from_str(&answers).map_err(|error| DetectError::Evidence {
            sha256: manifest.answers_sha256.clone(),
            why: format!("it holds no answers to recommendations: {error}"),
        })?;
    let detection = chain(&session, &queries, &inputs).await?;
    Ok(detection
        .with_answers(answers)
        .with_evidence(&manifest.digest()?))
}

/// Reads rows of the table `prices`.
fn prices(batches: &[RecordBatch]) -> Result<PriceList, DetectError> {
    let mut list = PriceList::default();
    for batch in batches {
        let (keys, rungs) = (text(batch, "price_key")?, text(batch, "rung")?);
        let effective = usd(batch, "effective_usd_per_gpu_hour")?;
        let contracted = usd(batch, "contracted_usd_per_gpu_hour")?;
        let listed = usd(batch, "list_usd_per_gpu_hour")?;
        let bands = int(batch, "band_percent")?;
        let gpus = int(batch, "gpus_per_node")?;
        let (commitments, ends) = (
            text(batch, "commitment_id")?,
            int(batch, "commitment_end_ms")?,
        );
        for row in 0..batch.num_rows() {
            let dollars = [&effective, &contracted, &listed].map(|array| usd_at(array, row));
            list.insert(
                keys.value(row).to_owned(),
                dollars,
                rungs.value(row),
                bands.value(row),
            );
            list.set_node(
                keys.value(row),
                int_at(&gpus, row),
                text_at(&commitments, row).map(|_| Committed {
                    until_ms: int_at(&ends, row),
                }),
            );
        }
    }
    Ok(list)
}
