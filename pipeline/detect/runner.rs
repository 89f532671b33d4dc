//! Owns running the detectors: one after another in their declared order, each on what earlier
//! ones left, its claims checked against the ledger and priced before the next one runs.
//!
//! It takes a session in which the derived tables stand, and gives back findings and netted
//! claims; it opens no lake and writes nothing. Called by `cli` and, on stored rows, by `explain`.

mod claims;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;

use super::DetectError;
use super::accepted::Acceptance;
use super::economics::placements::Placement;
use super::economics::prices::PriceRow;
use super::economics::rows::placements_batch;
use super::findings::{Answer, Finding, Valued, finding_id, found_rows};
use super::netting::{Claim, Claimable, PriceList, Resource, bootstrap, worth};
use super::query::{self, Detector, Params, QueryError, QuerySet};
use super::realisable::Bill;
use crate::lake::keep;
use crate::model::TimeWindow;

pub(super) use tables::register;

/// What tables that are read again and again may take of a run's memory: a thousand GPUs for four weeks.
const KEPT_BYTES: usize = 288 << 20;

/// What a run brings to the detectors beside its tables.
#[derive(Debug, Clone)]
pub struct DetectInputs {
    pub window: TimeWindow,
    pub run_id: String,
    /// Settings by detector id.
    pub params: BTreeMap<String, Params>,
    /// Every price key of the ledger and of the placements.
    pub prices: Vec<PriceRow>,
    pub placements: Vec<Placement>,
    /// When each known finding was first seen, by its id; a new one is first seen at the end of
    /// its window, so that running a window again changes nothing.
    pub first_seen: BTreeMap<String, i64>,
    /// What people accepted as waste for now.
    pub accepted: Vec<Acceptance>,
    /// By how much outcomes widen or narrow the bands of a detector, in percent.
    pub bands: BTreeMap<String, i64>,
}

/// A claim that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NettedClaim {
    pub detector: String,
    pub detector_order: i64,
    pub finding_id: String,
    pub claim: Claim,
}

/// What the detectors concluded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detection {
    /// In the order of the detectors, then of their rows.
    pub findings: Vec<Finding>,
    /// Sorted as the table `claims_netted`.
    pub claims: Vec<NettedClaim>,
}

impl Detection {
    /// Gives recommendations the inventory's answers, by finding.
    #[must_use]
    pub fn with_answers(mut self, mut answers: BTreeMap<String, Answer>) -> Self {
        for finding in &mut self.findings {
            let answer = answers.remove(&finding.finding_id);
            if let (Some(recommendation), Some(answer)) = (&mut finding.recommendation, answer) {
                recommendation.answer = answer;
            }
        }
        self
    }

    /// Binds every finding to the run's evidence.
    #[must_use]
    pub fn with_evidence(mut self, digest: &str) -> Self {
        for finding in &mut self.findings {
            digest.clone_into(&mut finding.evidence_digest);
        }
        self
    }
}

/// What the chain of detectors needs beside the session's tables.
pub(super) struct ChainInputs<'a> {
    pub window: TimeWindow,
    pub params: &'a BTreeMap<String, Params>,
    pub prices: PriceList,
    pub first_seen: &'a BTreeMap<String, i64>,
    pub accepted: &'a [Acceptance],
    pub bands: &'a BTreeMap<String, i64>,
}

/// Runs the queries of `queries/window` in their order and registers each result under its name.
pub async fn window_queries(
    session: &SessionContext,
    queries: &QuerySet,
    window: TimeWindow,
) -> Result<BTreeMap<String, Vec<RecordBatch>>, DetectError> {
    // Nearly every query reads these, some twice.
    let mut free_bytes = KEPT_BYTES;
    for table in ["ledger", "workload_hours"] {
        let taken = keep(session, table, "hour_ms", window, free_bytes).await;
        free_bytes -= taken?;
    }
    let given = window_params(&Params::default(), window);
    let mut results = BTreeMap::new();
    for query in queries.window() {
        let batches = query::run(session, query, &given).await?;
        register(session, &query.name, batches.clone())?;
        results.insert(query.name.clone(), batches);
    }
    Ok(results)
}

/// Runs all detectors. The session holds the derived tables and the results of
/// [`window_queries`]; `placements`, `candidates`, `claimable` and `found` are registered here.
pub async fn detect(
    session: &SessionContext,
    queries: &QuerySet,
    inputs: &DetectInputs,
) -> Result<Detection, DetectError> {
    let prices = PriceList::new(&inputs.prices);
    let failed = || DetectError::arrow("build rows of `placements`");
    let rows = placements_batch(&inputs.placements).map_err(failed())?;
    let clusters = inputs.placements.iter().map(|row| row.cluster.as_str());
    let placements = tables::with_cluster(clusters, &rows).map_err(failed())?;
    let candidates =
        tables::candidates(&inputs.placements, &placements, &prices).map_err(failed())?;
    register(session, "placements", vec![placements])?;
    register(session, "candidates", vec![candidates])?;
    let inputs = ChainInputs {
        window: inputs.window,
        params: &inputs.params,
        prices,
        first_seen: &inputs.first_seen,
        accepted: &inputs.accepted,
        bands: &inputs.bands,
    };
    chain(session, queries, &inputs).await
}

/// The detectors on a session in which all that they read stands.
pub(super) async fn chain(
    session: &SessionContext,
    queries: &QuerySet,
    inputs: &ChainInputs<'_>,
) -> Result<Detection, DetectError> {
    check_params(queries, inputs.params)?;
    let whole = tables::claimable(session, inputs.window).await?;
    let all = tables::claimable_batch(&whole)?;
    let mut left = whole.clone();
    let mut bill = Bill::new(&whole, tables::replica_sizes(session).await?);
    let mut detection = Detection::default();
    let mut proposed: Vec<Proposed> = Vec::new();
    for detector in queries.detectors() {
        let ran = run_one(session, detector, inputs, (&whole, &all), &left).await?;
        let faulty = |cause| DetectError::Claims {
            detector: detector.id.clone(),
            cause,
        };
        left.check(ran.iter().flat_map(|one| &one.claims))
            .map_err(faulty)?;
        for Ran { mut valued, claims } in ran {
            let touched = Subject::all(&claims);
            if valued.net != valued.gross {
                valued.assumes = proposed
                    .iter()
                    .filter(|earlier| !earlier.subjects.is_disjoint(&touched))
                    .map(|earlier| earlier.recommendation_id.clone())
                    .collect();
            }
            let withdrawn = valued.is_withdrawn();
            if valued.row.status == "alarm" && !withdrawn && !claims.is_empty() {
                valued.realised = Some(bill.take(&claims, &inputs.prices));
            }
            let finding = Finding::new(valued)?;
            if !withdrawn {
                left.take(&claims).map_err(faulty)?;
                detection
                    .claims
                    .extend(claims.into_iter().map(|claim| NettedClaim {
                        detector: detector.id.clone(),
                        detector_order: detector.order,
                        finding_id: finding.finding_id.clone(),
                        claim,
                    }));
                if let Some(recommendation) = &finding.recommendation {
                    proposed.push(Proposed {
                        recommendation_id: recommendation.recommendation_id.clone(),
                        subjects: touched,
                    });
                }
            }
            detection.findings.push(finding);
        }
    }
    // Claims of one finding stand in the order of their resources and hours: what is left to sort is
    // the order of findings, and few rows move far.
    detection
        .claims
        .sort_by(|a, b| claim_key(a).cmp(&claim_key(b)));
    Ok(detection)
}

fn claim_key(row: &NettedClaim) -> (i64, &str) {
    (row.detector_order, &row.finding_id)
}

/// Whose seconds a recommendation frees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject([String; 4]);

impl Subject {
    /// Those of all claims, which stand in the order of their resources.
    fn all(claims: &[Claim]) -> BTreeSet<Self> {
        let mut resources: Vec<&Arc<Resource>> = claims.iter().map(|one| &one.resource).collect();
        resources.dedup_by(|a, b| Arc::ptr_eq(a, b));
        resources.into_iter().map(|one| Self::of(one)).collect()
    }

    fn of(resource: &Resource) -> Self {
        Self([
            resource.cluster.clone(),
            resource.namespace.clone(),
            resource.workload_kind.clone(),
            resource.workload_name.clone(),
        ])
    }
}

struct Proposed {
    recommendation_id: String,
    subjects: BTreeSet<Subject>,
}

struct Ran<'a> {
    valued: Valued<'a>,
    /// What is claimed of what is left.
    claims: Vec<Claim>,
}

async fn run_one<'a>(
    session: &SessionContext,
    detector: &'a Detector,
    inputs: &'a ChainInputs<'_>,
    (whole, all): (&Claimable, &RecordBatch),
    left: &Claimable,
) -> Result<Vec<Ran<'a>>, DetectError> {
    let none = Params::default();
    let given = window_params(
        inputs.params.get(&detector.id).unwrap_or(&none),
        inputs.window,
    );
    let found = query::run(session, &detector.findings, &given).await?;
    let rows = found_rows(detector, &found)?;
    let subjects: Vec<claims::Claimant<'_>> = rows.iter().map(claims::Claimant::of).collect();
    let (net, gross) = match &detector.claims {
        None => (None, None),
        Some(query) => {
            register(session, "found", found)?;
            register(session, "claimable", vec![all.clone()])?;
            let batches = query::run(session, query, &given).await?;
            let gross = claims::read(detector, &subjects, inputs.window, &batches)?;
            let net = if left == whole {
                gross.clone()
            } else {
                register(session, "claimable", vec![tables::claimable_batch(left)?])?;
                let batches = query::run(session, query, &given).await?;
                claims::read(detector, &subjects, inputs.window, &batches)?
            };
            (Some(net), Some(gross))
        }
    };
    let value = |claims: &Option<Vec<Vec<Claim>>>, row: usize| {
        claims
            .as_ref()
            .map(|claims| worth(&claims[row], &inputs.prices))
            .transpose()
            .map_err(|cause| DetectError::Claims {
                detector: detector.id.clone(),
                cause,
            })
    };
    let worths = (0..rows.len())
        .map(|row| Ok((value(&net, row)?, value(&gross, row)?)))
        .collect::<Result<Vec<_>, DetectError>>()?;
    let claims = net.unwrap_or_else(|| vec![Vec::new(); rows.len()]);
    let mut days = Vec::with_capacity(claims.len());
    for claims in &claims {
        days.push(bootstrap::by_day(claims, &inputs.prices).map_err(|cause| {
            DetectError::Claims {
                detector: detector.id.clone(),
                cause,
            }
        })?);
    }
    Ok(rows
        .into_iter()
        .zip(worths)
        .zip(claims)
        .zip(days)
        .map(|(((row, (net, gross)), claims), days)| {
            let id = finding_id(&detector.id, detector.major_version(), &row.grain);
            let first_seen_ms = inputs.first_seen.get(&id).copied();
            let shown_usd = row
                .shown
                .as_ref()
                .and_then(|(ms, key)| inputs.prices.shown(*ms, key));
            Ran {
                valued: Valued {
                    detector,
                    row,
                    net,
                    gross,
                    days,
                    shown_usd,
                    first_seen_ms,
                    assumes: Vec::new(),
                    acceptances: inputs.accepted,
                    band_percent: inputs.bands.get(&detector.id).copied().unwrap_or(100),
                    realised: None,
                },
                claims,
            }
        })
        .collect())
}

fn window_params(params: &Params, window: TimeWindow) -> Params {
    params
        .clone()
        .with_int("window_start_ms", window.start_ms)
        .with_int("window_end_ms", window.end_ms)
}

/// A setting that no detector has is a mistake, and never ignored.
fn check_params(queries: &QuerySet, params: &BTreeMap<String, Params>) -> Result<(), DetectError> {
    for (id, given) in params {
        let known = queries.detectors();
        let detector = known
            .iter()
            .find(|detector| detector.id == *id)
            .ok_or_else(|| {
                let ids: Vec<&str> = known.iter().map(|detector| detector.id.as_str()).collect();
                DetectError::UnknownDetector {
                    id: id.clone(),
                    known: ids.join(", "),
                }
            })?;
        let params = &detector.findings.params;
        if let Some(name) = given.0.keys().find(|name| !params.contains_key(*name)) {
            let known: Vec<&str> = params.keys().map(String::as_str).collect();
            return Err(DetectError::Query(QueryError::UnknownParam {
                path: detector.findings.path.clone(),
                name: name.clone(),
                known: known.join(", "),
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod evidence_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
