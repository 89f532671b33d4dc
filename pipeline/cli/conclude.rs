//! Owns the last step before publication: prices, placements, detectors and their evidence, staged
//! beside the ledger. It decides nothing itself: it brings the rooms together.

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::error::CliError;
use super::given::{Bill, billed_nodes, bills, measurements};
use super::stages::Workspace;
use super::windowed::window_rows;
use super::{CODE_VERSION, outcome_rows, outcomes, remedies, say};
use crate::approve::{Outcome, scoreboard};
use crate::catalogue;
use crate::config::{Config, SloSection};
use crate::detect::economics::bill::{self, BillLine};
use crate::detect::economics::measured::Measurement;
use crate::detect::economics::placements::{KnownSpeed, Placement, SizingParams, SloRule, place};
use crate::detect::economics::prices::{NodeFacts, PriceBook, PriceRow, PriceSheet, outlier};
use crate::detect::economics::rows::{
    bill_lines_batch, demands, own_hours, placements_batch, prices_batch, workloads,
};
use crate::detect::{
    Acceptance, DetectInputs, Detection, Evidence, Params, QuerySet, collect, detect, run_rows,
    window_queries,
};
use crate::lake::columns::{int, int_at, text};
use crate::lake::{LakeError, PartitionKey, read_only_sql};
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::model::time::format_ms;

/// The configuration's part in what a run concludes, checked before anything is read.
pub(super) struct Settings {
    pub(super) params: BTreeMap<String, Params>,
    pub(super) sheets: Vec<PriceSheet>,
    slos: Vec<SloSection>,
    pub(super) measured: Vec<Measurement>,
    bills: Vec<Bill>,
    accepted: Vec<Acceptance>,
    /// SHA-256 of each of the above, for the publication.
    digests: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(config: &Config, queries: &QuerySet) -> Result<Self, CliError> {
        let mut digests = BTreeMap::new();
        let mut sheets = Vec::new();
        for name in &config.file.prices.sheets {
            let path = config.resolve(name);
            let sheet = std::fs::read_to_string(&path)
                .map_err(|error| CliError::file("read the price sheet", &path, error))?;
            digests.insert(format!("prices/{name}"), sha256_hex(sheet.as_bytes()));
            sheets
                .push(PriceSheet::parse(name, &sheet).map_err(|e| CliError::Usage(e.to_string()))?);
        }
        let measured = measurements(config, &mut digests)?;
        let bills = bills(config, &mut digests)?;
        let mut params = BTreeMap::new();
        for (id, given) in &config.file.params {
            let Some(detector) = queries.detectors().iter().find(|d| d.id == *id) else {
                return Err(CliError::Usage(format!(
                    "[params.{id}]: there is no detector of this name; `idleproof detectors list` names them"
                )));
            };
            let mut values = Params::default();
            for (name, value) in given {
                let value = match value {
                    toml::Value::Integer(n) => ScalarValue::Int64(Some(*n)),
                    toml::Value::Float(n) => ScalarValue::Float64(Some(*n)),
                    toml::Value::String(s) => ScalarValue::Utf8(Some(s.clone())),
                    other => {
                        return Err(CliError::Usage(format!(
                            "[params.{id}] {name} = {other}: parameters are numbers or text"
                        )));
                    }
                };
                if !detector.head.params.contains_key(name) {
                    let known: Vec<&str> =
                        detector.head.params.keys().map(String::as_str).collect();
                    return Err(CliError::Usage(format!(
                        "[params.{id}] {name}: the detector takes {}",
                        known.join(", ")
                    )));
                }
                values.0.insert(name.clone(), value);
            }
            params.insert(id.clone(), values);
        }
        digests.insert(
            "params".to_owned(),
            sha256_hex(format!("{params:?}").as_bytes()),
        );
        digests.insert(
            "slo".to_owned(),
            sha256_hex(format!("{:?}", config.file.slos).as_bytes()),
        );
        let accepted: Vec<Acceptance> = config
            .file
            .accepts
            .iter()
            .filter_map(|section| {
                let named = section.matching.clone();
                Some(Acceptance {
                    detector: named.detector,
                    cluster: named.cluster,
                    namespace: named.namespace,
                    workload: named.workload,
                    finding: named.finding,
                    reason: section.reason.clone(),
                    by: section.by.clone(),
                    until_ms: section.until_ms()?,
                })
            })
            .collect();
        for entry in &accepted {
            if let Some(id) = &entry.detector
                && !queries.detectors().iter().any(|d| d.id == *id)
            {
                return Err(CliError::Usage(format!(
                    "[[accept]]: there is no detector `{id}`; `idleproof detectors list` names them"
                )));
            }
        }
        digests.insert(
            "accepted".to_owned(),
            sha256_hex(format!("{accepted:?}").as_bytes()),
        );
        digests.insert("catalogue".to_owned(), catalogue::digest());
        for query in queries.derive().iter().chain(queries.window()) {
            digests.insert(format!("queries/{}", query.path), query.sha256());
        }
        for detector in queries.detectors() {
            for query in std::iter::once(&detector.findings).chain(&detector.claims) {
                digests.insert(format!("queries/{}", query.path), query.sha256());
            }
        }
        Ok(Self {
            params,
            sheets,
            slos: config.file.slos.clone(),
            measured,
            bills,
            accepted,
            digests,
        })
    }

    /// The rules that are for a cluster; the first that fits holds.
    pub(super) fn slo_rules(&self, cluster: &str) -> Vec<SloRule> {
        self.slos
            .iter()
            .filter(|slo| {
                slo.matching
                    .cluster
                    .as_deref()
                    .is_none_or(|only| only == cluster)
            })
            .map(|slo| SloRule {
                namespace: slo.matching.namespace.clone(),
                workload: slo.matching.workload.clone(),
                model: slo.matching.model.clone(),
                ttft_p95_ms: slo.ttft_p95_ms,
                itl_p95_ms: slo.itl_p95_ms,
            })
            .collect()
    }
}

/// What a run found, staged and ready to be published.
pub(super) struct Concluded {
    pub run_id: String,
    pub clusters: Vec<String>,
    pub detection: Detection,
    pub evidence: Evidence,
    pub outcomes: Vec<Outcome>,
}

/// Prices, places, detects, keeps the evidence, stages the rows.
pub(super) async fn conclude(
    work: &mut Workspace<'_>,
    queries: &QuerySet,
    settings: &Settings,
    window: TimeWindow,
    ends: &BTreeMap<String, i64>,
    output: &Path,
) -> Result<Concluded, CliError> {
    work.digests.extend(settings.digests.clone());
    let clusters: Vec<String> = ends
        .keys()
        .filter(|name| work.config.file.clusters.iter().any(|c| c.name == **name))
        .cloned()
        .collect();
    // What became of earlier predictions says how wide the next bands are.
    let told = outcomes::before_run(
        work.config,
        work.lake,
        work.base.as_ref(),
        &settings.bills,
        output,
    )
    .await?;
    let session = work.session().await?;
    let results = window_queries(&session, queries, window).await?;
    let result = |name: &str| -> Result<&Vec<RecordBatch>, CliError> {
        results.get(name).ok_or_else(|| {
            CliError::Unexpected(format!(
                "queries/window/{name}.sql is not among the queries"
            ))
        })
    };
    let demand = demands(result("demand")?)?;
    let facts = workloads(result("workload_facts")?)?;
    let hours = own_hours(result("own_speed")?)?;
    let known = KnownSpeed {
        own_hours: &hours,
        measured: &settings.measured,
    };

    let book = PriceBook::new(settings.sheets.clone(), window.end_ms);
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let mut prices: BTreeMap<String, BTreeMap<String, PriceRow>> = BTreeMap::new();
    for (cluster, key, gpus) in price_keys(&session, window).await? {
        let Some(node) = NodeFacts::from_key(&key) else {
            continue;
        };
        let row = book.price(&node, gpus).map_err(|e| usage(&e))?;
        if let Some(odd) = outlier(&row) {
            say(&format!("warning: {odd}"));
        }
        prices.entry(cluster).or_default().insert(key, row);
    }
    let mut bill_lines: BTreeMap<String, Vec<(String, BillLine)>> = BTreeMap::new();
    for bill in &settings.bills {
        let nodes = billed_nodes(&session, window, &bill.cluster).await?;
        let known = prices.entry(bill.cluster.clone()).or_default();
        let lines = bill::apply(&bill.charges, &nodes, window, known, &bill.name);
        bill_lines
            .entry(bill.cluster.clone())
            .or_default()
            .extend(lines.into_iter().map(|line| (bill.name.clone(), line)));
    }
    let mut placements: Vec<Placement> = Vec::new();
    for cluster in &clusters {
        let own: Vec<_> = facts
            .iter()
            .filter(|w| w.cluster == *cluster)
            .cloned()
            .collect();
        let rules = settings.slo_rules(cluster);
        let placed = place(&own, &demand, &rules, &book, SizingParams::default(), known)
            .map_err(|e| usage(&e))?;
        let known = prices.entry(cluster.clone()).or_default();
        for row in placed.prices {
            known.entry(row.price_key()).or_insert(row);
        }
        placements.extend(placed.rows);
    }
    let unknown: Vec<&str> = prices
        .values()
        .flatten()
        .filter(|(_, row)| row.usd_per_gpu_hour().is_none())
        .map(|(key, _)| key.as_str())
        .collect();
    if !unknown.is_empty() {
        say(&format!(
            "warning: no price is known for {}: GPU-hours are shown, dollars are not; add them to a sheet in [prices] sheets",
            unknown.join(", ")
        ));
    }

    let run_id = format!(
        "{}-{}",
        format_ms(work.now_ms).replace([':', '.'], ""),
        std::process::id()
    );
    let mut all_prices: BTreeMap<String, PriceRow> = BTreeMap::new();
    for rows in prices.values() {
        all_prices.extend(rows.clone());
    }
    let inputs = DetectInputs {
        window,
        run_id: run_id.clone(),
        params: settings.params.clone(),
        prices: all_prices.into_values().collect(),
        placements,
        first_seen: first_seen(work).await?,
        accepted: settings.accepted.clone(),
        bands: scoreboard(&told)
            .into_iter()
            .map(|(detector, score)| (detector, score.band_percent))
            .collect(),
    };
    for entry in crate::detect::accepted::expired(&inputs.accepted, window.end_ms) {
        say(&format!(
            "warning: an acceptance by {} has expired ({}): what it covered is open again",
            entry.by, entry.reason
        ));
    }
    outcome_rows::register(&session, &told)?;
    let detection = detect(&session, queries, &inputs).await?;
    let answers = remedies::answers(
        work.config,
        &session,
        window,
        result("workload_facts")?,
        &detection.findings,
    )
    .await?;
    let detection = detection.with_answers(answers);
    let evidence = collect(&session, queries, &inputs, &detection).await?;
    for (sha256, bytes) in &evidence.blobs {
        let kept = work.lake.put_evidence(bytes).await?;
        if kept != *sha256 {
            return Err(CliError::Unexpected(format!(
                "evidence {sha256} was kept as {kept}"
            )));
        }
    }
    let manifest = evidence.manifest.canonical()?;
    work.lake.put_evidence(manifest.as_bytes()).await?;
    work.digests
        .insert("evidence".to_owned(), evidence.digest.clone());
    let detection = detection.with_evidence(&evidence.digest);

    // The very bytes that a replay must give again, one finding a line.
    let mut lines = String::new();
    for finding in &detection.findings {
        lines.push_str(&finding.canonical()?);
        lines.push('\n');
    }
    let kept = work.lake.put_evidence(lines.as_bytes()).await?;
    work.digests.insert("findings".to_owned(), kept);

    let failed = |table: &'static str| {
        move |error: datafusion::arrow::error::ArrowError| {
            CliError::Unexpected(format!("cannot build rows of `{table}`: {error}"))
        }
    };
    let rows = run_rows(&clusters, &detection.findings, &detection.claims)?;
    for cluster in &clusters {
        let partition = PartitionKey::new(run_id.clone(), cluster.clone());
        let own: Vec<Placement> = inputs
            .placements
            .iter()
            .filter(|p| p.cluster == *cluster)
            .cloned()
            .collect();
        let priced: Vec<PriceRow> = prices
            .get(cluster)
            .map(|rows| rows.values().cloned().collect())
            .unwrap_or_default();
        let placed = placements_batch(&own).map_err(failed("placements"))?;
        let priced = prices_batch(&priced).map_err(failed("prices"))?;
        let billed = bill_lines.remove(cluster).unwrap_or_default();
        let billed = bill_lines_batch(&billed).map_err(failed("bill_lines"))?;
        let of_cluster: Vec<&Outcome> = told.iter().filter(|o| o.cluster == *cluster).collect();
        let outcomes = outcome_rows::batch(&of_cluster)?;
        work.stage("outcomes", &partition, vec![outcomes]).await?;
        work.stage("bill_lines", &partition, vec![billed]).await?;
        work.stage("placements", &partition, vec![placed]).await?;
        work.stage("prices", &partition, vec![priced]).await?;
        if let Some(rows) = rows.get(cluster) {
            work.stage("findings", &partition, vec![rows.findings.clone()])
                .await?;
            work.stage(
                "recommendations",
                &partition,
                vec![rows.recommendations.clone()],
            )
            .await?;
            work.stage(
                "claims_netted",
                &partition,
                vec![rows.claims_netted.clone()],
            )
            .await?;
        }
    }
    tracing::info!(
        code = CODE_VERSION,
        findings = detection.findings.len(),
        "concluded"
    );
    Ok(Concluded {
        run_id,
        clusters,
        detection,
        evidence,
        outcomes: told,
    })
}

async fn price_keys(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<(String, String, Option<i64>)>, CliError> {
    let sql = include_str!("../../queries/report/price_keys.sql");
    let mut keys = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, key) = (text(&batch, "cluster")?, text(&batch, "price_key")?);
        let gpus = int(&batch, "gpus_per_node")?;
        for row in 0..batch.num_rows() {
            keys.push((
                cluster.value(row).to_owned(),
                key.value(row).to_owned(),
                int_at(&gpus, row),
            ));
        }
    }
    Ok(keys)
}

/// When each finding was first seen, as the publication before this run has it.
async fn first_seen(work: &Workspace<'_>) -> Result<BTreeMap<String, i64>, CliError> {
    let session = work.session().await?;
    let sql = include_str!("../../queries/report/first_seen.sql");
    let none: Vec<ScalarValue> = Vec::new();
    let batches = read_only_sql(&session, sql, none)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read earlier findings", cause))?;
    let mut seen = BTreeMap::new();
    for batch in &batches {
        let (id, first) = (text(batch, "finding_id")?, int(batch, "first_seen_ms")?);
        for row in 0..batch.num_rows() {
            seen.insert(id.value(row).to_owned(), first.value(row));
        }
    }
    Ok(seen)
}
