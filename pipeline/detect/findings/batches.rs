//! Owns the stored rows of a detection: the tables `findings`, `recommendations`, `claims_netted`.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::error::ArrowError;
use rust_decimal::Decimal;

use super::{Finding, Recommendation, USD_SCALE, stored_usd};
use crate::detect::DetectError;
use crate::detect::runner::NettedClaim;

/// Rows of one cluster, as the tables' files hold them.
#[derive(Debug, Clone)]
pub struct RunRows {
    pub findings: RecordBatch,
    pub recommendations: RecordBatch,
    pub claims_netted: RecordBatch,
}

/// Rows of a detection by cluster: of the given clusters, with or without findings, and of every
/// other that has some.
pub fn run_rows(
    clusters: &[String],
    findings: &[Finding],
    claims: &[NettedClaim],
) -> Result<BTreeMap<String, RunRows>, DetectError> {
    let mut split: BTreeMap<&str, (Vec<&Finding>, Vec<&NettedClaim>)> = clusters
        .iter()
        .map(|cluster| (cluster.as_str(), (Vec::new(), Vec::new())))
        .collect();
    for finding in findings {
        split.entry(&finding.cluster).or_default().0.push(finding);
    }
    for claim in claims {
        split
            .entry(&claim.claim.resource.cluster)
            .or_default()
            .1
            .push(claim);
    }
    let mut rows = BTreeMap::new();
    for (cluster, (findings, claims)) in split {
        let failed = |table: &str| DetectError::arrow(format!("build rows of `{table}`"));
        let proposed: Vec<Proposed<'_>> = findings
            .iter()
            .filter_map(|finding| Some((*finding, finding.recommendation.as_ref()?)))
            .collect();
        let proposed: Vec<&Proposed<'_>> = proposed.iter().collect();
        rows.insert(
            cluster.to_owned(),
            RunRows {
                findings: findings_batch(&findings)?,
                recommendations: recommendations_batch(&proposed)?,
                claims_netted: claims_batch(&claims).map_err(failed("claims_netted"))?,
            },
        );
    }
    Ok(rows)
}

fn words<T>(rows: &[&T], pick: impl Fn(&T) -> Option<&str>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| pick(row)).collect::<StringArray>())
}

fn owned<T>(
    rows: &[&T],
    pick: impl Fn(&T) -> Result<String, DetectError>,
) -> Result<ArrayRef, DetectError> {
    let texts = rows
        .iter()
        .map(|row| pick(row))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(StringArray::from(texts)))
}

fn numbers<T>(rows: &[&T], pick: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(
        rows.iter()
            .map(|row| pick(row))
            .collect::<Vec<i64>>()
            .into_iter()
            .map(Some)
            .collect::<Int64Array>(),
    )
}

fn usd<T>(rows: &[&T], pick: impl Fn(&T) -> Option<Decimal>) -> Result<ArrayRef, ArrowError> {
    let micro = |usd: Decimal| {
        let mut usd = stored_usd(usd);
        usd.rescale(USD_SCALE);
        usd.mantissa()
    };
    let array: Decimal128Array = rows.iter().map(|row| pick(row).map(micro)).collect();
    Ok(Arc::new(
        array.with_precision_and_scale(38, USD_SCALE as i8)?,
    ))
}

fn findings_batch(rows: &[&Finding]) -> Result<RecordBatch, DetectError> {
    let build = || -> Result<_, DetectError> {
        let failed = || DetectError::arrow("build rows of `findings`");
        let dollars = |pick: fn(&Finding) -> Option<Decimal>| usd(rows, pick).map_err(failed());
        let coverage: Float64Array = rows.iter().map(|row| row.coverage).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("finding_id", words(rows, |r| Some(&r.finding_id)), false),
            ("handle", words(rows, |r| Some(&r.handle)), false),
            ("detector", words(rows, |r| Some(&r.detector)), false),
            (
                "detector_version",
                words(rows, |r| Some(&r.detector_version)),
                false,
            ),
            ("title", words(rows, |r| Some(&r.title)), false),
            ("status", words(rows, |r| Some(&r.status)), false),
            ("state", words(rows, |r| Some(r.state)), false),
            ("namespace", words(rows, |r| Some(&r.namespace)), false),
            (
                "workload_kind",
                words(rows, |r| Some(&r.workload_kind)),
                false,
            ),
            (
                "workload_name",
                words(rows, |r| Some(&r.workload_name)),
                false,
            ),
            ("model", words(rows, |r| r.model.as_deref()), true),
            (
                "gpu_product",
                words(rows, |r| r.gpu_product.as_deref()),
                true,
            ),
            ("team", words(rows, |r| r.team.as_deref()), true),
            (
                "window_start_ms",
                numbers(rows, |r| r.window_start_ms),
                false,
            ),
            ("window_end_ms", numbers(rows, |r| r.window_end_ms), false),
            ("first_seen_ms", numbers(rows, |r| r.first_seen_ms), false),
            ("coverage", Arc::new(coverage) as ArrayRef, true),
            ("waste_gpu_ms", numbers(rows, |r| r.waste_gpu_ms), false),
            ("gross_window_usd", dollars(|r| r.gross_window_usd)?, true),
            ("net_window_usd", dollars(|r| r.net_window_usd)?, true),
            ("gross_monthly_usd", dollars(|r| r.gross_monthly_usd)?, true),
            ("net_monthly_usd", dollars(|r| r.net_monthly_usd)?, true),
            ("net_p10_usd", dollars(|r| r.net_p10_usd)?, true),
            ("net_p90_usd", dollars(|r| r.net_p90_usd)?, true),
            (
                "realisable_monthly_usd",
                dollars(|r| r.realisable_monthly_usd)?,
                true,
            ),
            ("price_basis", words(rows, |r| Some(&r.price_basis)), false),
            ("confidence", words(rows, |r| Some(&r.confidence)), false),
            ("remedy", words(rows, |r| Some(&r.remedy)), false),
            (
                "recommendation_id",
                words(rows, |r| {
                    Some(r.recommendation.as_ref()?.recommendation_id.as_str())
                }),
                true,
            ),
            ("reason", words(rows, |r| Some(&r.reason)), false),
            ("evidence_json", owned(rows, Finding::evidence_json)?, false),
            (
                "evidence_digest",
                words(rows, |r| Some(&r.evidence_digest)),
                false,
            ),
        ])
        .map_err(failed())
    };
    build()
}

/// A recommendation beside the finding whose dollars it has.
type Proposed<'a> = (&'a Finding, &'a Recommendation);

fn recommendations_batch(rows: &[&Proposed<'_>]) -> Result<RecordBatch, DetectError> {
    let failed = || DetectError::arrow("build rows of `recommendations`");
    let sha256 = |(finding, _): &Proposed<'_>| {
        Ok::<_, DetectError>(finding.recommendation_sha256()?.unwrap_or_default())
    };
    let dollars = |pick: fn(&Finding) -> Option<Decimal>| {
        usd(rows, |(finding, _)| pick(finding)).map_err(failed())
    };
    let count = |name: &'static str| {
        let counts = rows
            .iter()
            .map(|(_, one)| one.answer.limits.get(name).copied());
        Arc::new(counts.collect::<Int64Array>()) as ArrayRef
    };
    let texts = |pick: fn(&Recommendation) -> String| {
        owned(rows, |(_, one)| Ok::<_, DetectError>(pick(one)))
    };
    let expires = rows.iter().map(|(_, one)| one.answer.expires_ms);
    RecordBatch::try_from_iter_with_nullable([
        (
            "recommendation_id",
            words(rows, |(_, one)| Some(&one.recommendation_id)),
            false,
        ),
        (
            "finding_id",
            words(rows, |(one, _)| Some(&one.finding_id)),
            false,
        ),
        (
            "detector",
            words(rows, |(one, _)| Some(&one.detector)),
            false,
        ),
        ("action", words(rows, |(_, one)| Some(&one.action)), false),
        (
            "namespace",
            words(rows, |(one, _)| Some(&one.namespace)),
            false,
        ),
        (
            "workload_kind",
            words(rows, |(one, _)| Some(&one.workload_kind)),
            false,
        ),
        (
            "workload_name",
            words(rows, |(one, _)| Some(&one.workload_name)),
            false,
        ),
        ("team", words(rows, |(one, _)| one.team.as_deref()), true),
        ("object", texts(Recommendation::objects)?, false),
        (
            "field",
            texts(|one| one.joined(|change| &change.field))?,
            false,
        ),
        (
            "current_value",
            texts(|one| one.joined(|change| &change.current))?,
            false,
        ),
        (
            "proposed_value",
            texts(|one| one.joined(|change| &change.proposed))?,
            false,
        ),
        (
            "wished_value",
            words(rows, |(_, one)| one.wished.as_deref()),
            true,
        ),
        (
            "changes_json",
            owned(rows, |(_, one)| one.changes_json())?,
            false,
        ),
        (
            "not_possible",
            words(rows, |(_, one)| one.answer.not_possible.as_deref()),
            true,
        ),
        ("limit_min_replicas", count("min_replicas"), true),
        ("limit_max_replicas", count("max_replicas"), true),
        (
            "limits_json",
            owned(rows, |(_, one)| one.limits_json())?,
            false,
        ),
        (
            "expires_ms",
            Arc::new(expires.collect::<Int64Array>()) as ArrayRef,
            true,
        ),
        (
            "assumes_json",
            owned(rows, |(_, one)| one.assumes_json())?,
            false,
        ),
        ("net_monthly_usd", dollars(|one| one.net_monthly_usd)?, true),
        ("net_p10_usd", dollars(|one| one.net_p10_usd)?, true),
        ("net_p90_usd", dollars(|one| one.net_p90_usd)?, true),
        (
            "realisable_monthly_usd",
            dollars(|one| one.realisable_monthly_usd)?,
            true,
        ),
        ("risk", words(rows, |(_, one)| Some(&one.risk)), false),
        (
            "disruption",
            words(rows, |(_, one)| Some(&one.disruption)),
            false,
        ),
        ("sha256", owned(rows, sha256)?, false),
    ])
    .map_err(failed())
}

fn claims_batch(rows: &[&NettedClaim]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable([
        ("detector", words(rows, |r| Some(&r.detector)), false),
        ("detector_order", numbers(rows, |r| r.detector_order), false),
        ("finding_id", words(rows, |r| Some(&r.finding_id)), false),
        (
            "namespace",
            words(rows, |r| Some(&r.claim.resource.namespace)),
            false,
        ),
        (
            "workload_kind",
            words(rows, |r| Some(&r.claim.resource.workload_kind)),
            false,
        ),
        (
            "workload_name",
            words(rows, |r| Some(&r.claim.resource.workload_name)),
            false,
        ),
        ("hour_ms", numbers(rows, |r| r.claim.hour_ms), false),
        (
            "gpu_product",
            words(rows, |r| Some(&r.claim.resource.gpu_product)),
            false,
        ),
        (
            "price_key",
            words(rows, |r| Some(&r.claim.resource.price_key)),
            false,
        ),
        (
            "class",
            words(rows, |r| Some(&r.claim.resource.class)),
            false,
        ),
        ("ms_freed", numbers(rows, |r| r.claim.ms_freed), false),
        ("ms_added", numbers(rows, |r| r.claim.ms_added), false),
        (
            "product_added",
            words(rows, |r| r.claim.product_added.as_deref()),
            true,
        ),
        (
            "price_key_added",
            words(rows, |r| r.claim.price_key_added.as_deref()),
            true,
        ),
    ])
}
