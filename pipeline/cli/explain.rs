//! Owns `explain`: a finding run again from its evidence, which must give the same bytes, and told to
//! people; how it reads is `text`'s business.

mod text;

use std::io::Write as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use rust_decimal::Decimal;
use serde_json::Value;

use super::args::{ExplainArgs, ExplainOutput};
use super::data;
use super::error::CliError;
use crate::config::Config;
use crate::detect::{Detector, EvidenceManifest, replay};
use crate::exit::Exit;
use crate::lake::columns::{int, text as words, text_at, usd, usd_at};
use crate::lake::{Lake, LakeError, LakeView, Publication, read_only_sql};
use crate::model::time::MONTH_HOURS;

pub(super) async fn explain(args: &ExplainArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = lake
        .read_session(&LakeView::published(&publication))
        .await?;
    let (id, handle, digest) = &find(&session, &publication, &args.finding).await?;
    let manifest = EvidenceManifest::from_bytes(&lake.get_evidence(digest).await?, digest)?;
    let replayed = replay(
        &manifest,
        async |sha256: String| lake.get_evidence(&sha256).await,
        id,
    )
    .await?;
    let stored = stored(&lake, &publication, id).await?;
    let shown = match args.output {
        ExplainOutput::Json => replayed.clone(),
        ExplainOutput::Text => told(&lake, &session, &manifest, &replayed).await?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{shown}").map_err(CliError::Stdout)?;
    drop(out);
    if stored != replayed {
        return Err(CliError::Verification(format!(
            "the replay of `{handle}` differs from what was published:\n{stored}"
        )));
    }
    super::say(&format!(
        "replayed `{handle}` from evidence {digest}: equal to what was published, byte for byte ({} rows of {} tables, {} detectors)",
        manifest.tables.iter().map(|t| t.rows).sum::<usize>(),
        manifest.tables.len(),
        manifest.detectors.len()
    ));
    Ok(Exit::Done)
}

/// The one finding of a publication that is called so: its id, handle and evidence.
pub(super) async fn find(
    session: &SessionContext,
    publication: &Publication,
    wanted: &str,
) -> Result<(String, String, String), CliError> {
    let params = vec![
        ("handle", ScalarValue::from(wanted)),
        (
            "prefix",
            ScalarValue::from(format!("{}%", escape_like(wanted))),
        ),
    ];
    let sql = include_str!("../../queries/report/find_finding.sql");
    let batches = read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("find the finding", cause))?;
    let mut found = Vec::new();
    for batch in &batches {
        let (id, handle) = (words(batch, "finding_id")?, words(batch, "handle")?);
        let evidence = words(batch, "evidence_digest")?;
        for row in 0..batch.num_rows() {
            found.push((
                id.value(row).to_owned(),
                handle.value(row).to_owned(),
                evidence.value(row).to_owned(),
            ));
        }
    }
    if found.len() != 1 {
        return Err(CliError::Usage(if found.is_empty() {
            format!(
                "publication {} has no finding `{}`: `idleproof sql 'select handle from v_findings'` lists them",
                publication.number, wanted
            )
        } else {
            let handles: Vec<&str> = found.iter().map(|(_, handle, _)| handle.as_str()).collect();
            format!("`{}` fits several findings: {}", wanted, handles.join(", "))
        }));
    }
    Ok(found.remove(0))
}

/// The finding for people, from the replayed bytes and the rows of the publication.
async fn told(
    lake: &Lake,
    session: &SessionContext,
    manifest: &EvidenceManifest,
    replayed: &str,
) -> Result<String, CliError> {
    let finding: Value = serde_json::from_str(replayed)
        .map_err(|error| CliError::Unexpected(format!("the finding is no JSON: {error}")))?;
    let of = |name: &str| ScalarValue::from(finding[name].as_str().unwrap_or_default());
    let number = |name: &str| ScalarValue::Int64(finding[name].as_i64());
    let all = [
        ("finding_id", of("finding_id")),
        ("cluster", of("cluster")),
        ("namespace", of("namespace")),
        ("kind", of("workload_kind")),
        ("workload", of("workload_name")),
        ("product", of("gpu_product")),
        ("window_start_ms", number("window_start_ms")),
        ("window_end_ms", number("window_end_ms")),
    ];
    let ask = async |sql: &str| -> Result<Vec<RecordBatch>, CliError> {
        let used: Vec<(&str, ScalarValue)> = all
            .iter()
            .filter(|(name, _)| sql.contains(&format!("${name}")))
            .cloned()
            .collect();
        Ok(read_only_sql(session, sql, used)
            .await?
            .collect()
            .await
            .map_err(|cause| LakeError::sql("read what explains the finding", cause))?)
    };
    let mut days = Vec::new();
    for batch in ask(include_str!("../../queries/report/explain_days.sql")).await? {
        let (day, class) = (words(&batch, "day")?, words(&batch, "class")?);
        let ms = int(&batch, "ms")?;
        days.extend((0..batch.num_rows()).map(|row| {
            (
                day.value(row).to_owned(),
                class.value(row).to_owned(),
                ms.value(row),
            )
        }));
    }
    let mut terms = Vec::new();
    for batch in ask(include_str!("../../queries/report/explain_claims.sql")).await? {
        let (side, class) = (words(&batch, "side")?, words(&batch, "class")?);
        let (product, rung) = (words(&batch, "gpu_product")?, words(&batch, "rung")?);
        let (source, ms) = (words(&batch, "provenance")?, int(&batch, "ms")?);
        let price = usd(&batch, "usd_per_gpu_hour")?;
        terms.extend((0..batch.num_rows()).map(|row| {
            text::Term {
                side: side.value(row).to_owned(),
                class: class.value(row).to_owned(),
                product: text_at(&product, row).unwrap_or_else(|| "an unknown GPU".to_owned()),
                ms: ms.value(row),
                usd_per_gpu_hour: usd_at(&price, row),
                price: [text_at(&rung, row), text_at(&source, row)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        }));
    }
    let mut others = Vec::new();
    for batch in ask(include_str!("../../queries/report/explain_others.sql")).await? {
        let (what, name) = (words(&batch, "what")?, words(&batch, "name")?);
        let (verdict, why) = (words(&batch, "verdict")?, words(&batch, "why")?);
        others.extend((0..batch.num_rows()).map(|row| text::Other {
            what: what.value(row).to_owned(),
            name: name.value(row).to_owned(),
            verdict: verdict.value(row).to_owned(),
            why: why.value(row).to_owned(),
        }));
    }
    let detector = detector(
        lake,
        manifest,
        finding["detector"].as_str().unwrap_or_default(),
    )
    .await?;
    let (net, month) = (
        amount(&finding, "net_window_usd"),
        amount(&finding, "net_monthly_usd"),
    );
    let explained = text::Explained {
        finding: &finding,
        days: &days,
        terms: &terms,
        others: &others,
        false_positives: detector
            .as_ref()
            .map_or(&[], |d| d.head.false_positives.as_slice()),
        rationale: detector.as_ref().and_then(|d| d.head.rationale.as_deref()),
        existed_hours: net
            .zip(month)
            .filter(|(_, month)| !month.is_zero())
            .and_then(|(net, month)| (net * Decimal::from(MONTH_HOURS)).checked_div(month)),
    };
    Ok(text::lines(&explained).join("\n"))
}

fn amount(finding: &Value, name: &str) -> Option<Decimal> {
    finding[name].as_str()?.parse().ok()
}

/// The detector as the run had it.
async fn detector(
    lake: &Lake,
    manifest: &EvidenceManifest,
    id: &str,
) -> Result<Option<Detector>, CliError> {
    let Some(stored) = manifest.detectors.iter().find(|detector| detector.id == id) else {
        return Ok(None);
    };
    let sql = lake.get_evidence(&stored.sql_sha256).await?;
    let claims = match &stored.claims_sha256 {
        Some(sha256) => Some(lake.get_evidence(sha256).await?),
        None => None,
    };
    let claims = claims.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let sql = String::from_utf8_lossy(&sql);
    Detector::parse(&stored.path, &sql, claims.as_deref())
        .map(Some)
        .map_err(|error| CliError::Verification(error.to_string()))
}

/// The finding's bytes as they were kept when it was published.
pub(super) async fn stored(
    lake: &Lake,
    publication: &Publication,
    finding_id: &str,
) -> Result<String, CliError> {
    let missing = || {
        CliError::Verification(format!(
            "publication {} keeps no bytes of finding {finding_id}",
            publication.number
        ))
    };
    let digest = publication.digests.get("findings").ok_or_else(missing)?;
    let lines = lake.get_evidence(digest).await?;
    let quoted = format!("\"finding_id\":\"{finding_id}\"");
    String::from_utf8_lossy(&lines)
        .lines()
        .find(|line| line.contains(&quoted))
        .map(str::to_owned)
        .ok_or_else(missing)
}

/// `%` and `_` of what a person typed mean themselves.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}
