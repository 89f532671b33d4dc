//! Owns the way from a publication to the report's plain data: the queries of `queries/report/`.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;
use rust_decimal::Decimal;
use serde_json::Value;

use super::CODE_VERSION;
use super::blindness;
use super::error::CliError;
use super::report_sections;
use super::returnable;
use super::windowed::{gather_days, window_rows};
use crate::config::Config;
use crate::detect::PlannedChange;
use crate::lake::Publication;
use crate::lake::columns::{int, text, text_at, usd, usd_at};
use crate::model::TimeWindow;
use crate::model::zone::Zone;
use crate::report::{
    BlindCost, BlindSpot, ChangeData, ClassTotal, DayClasses, FindingData, PriceRow,
    RecommendationData, ReportData, WorkloadRow, gpu_hours,
};

/// Reads everything that the report shows through a session over the publication.
pub(super) async fn read(
    session: &SessionContext,
    publication: &Publication,
    findings: &[Value],
    window: TimeWindow,
    shown_end_ms: i64,
    zone: Zone,
) -> Result<ReportData, CliError> {
    gather_days(session, window, shown_end_ms).await?;
    let (capacity_ms, gpus) = capacity(session, window).await?;
    Ok(ReportData {
        run_id: publication.runs.values().max().cloned().unwrap_or_default(),
        publication: publication.number,
        code_version: CODE_VERSION.to_owned(),
        created_ms: publication.created_ms,
        window,
        zone,
        price_basis: price_basis(session, window).await?,
        clusters: publication.runs.keys().cloned().collect(),
        gpus: u64::try_from(gpus).unwrap_or(0),
        classes: classes(session, window).await?,
        days: days(session, window, shown_end_ms).await?,
        findings: findings.iter().map(finding).collect::<Result<_, _>>()?,
        workloads: workloads(session, window).await?,
        blind_spots: blind_spots(session, window).await?,
        blindness: blindness::read(session)
            .await?
            .into_iter()
            .map(|row| BlindCost {
                remedy: row.remedy().to_owned(),
                cost: row
                    .cost_usd
                    .map_or_else(|| "price unknown".to_owned(), crate::report::usd),
                cluster: row.cluster,
                line: row.signal,
                gpu_hours: row.gpu_hours,
            })
            .collect(),
        prices: prices(session, window).await?,
        sections: report_sections::read(session, window).await?,
        pools: returnable::read(session, window).await?,
        digests: publication
            .digests
            .iter()
            .filter(|(name, _)| !name.starts_with("derive/"))
            .map(|(name, digest)| (name.clone(), digest.clone()))
            .collect(),
        capacity_ms,
    })
}

/// The zone in which instants are shown; the configuration was checked when it was read.
pub(super) fn zone(config: &Config) -> Zone {
    Zone::parse(&config.file.report.timezone).unwrap_or_default()
}

/// The rungs on which the ledger's costs rest, in words.
async fn price_basis(session: &SessionContext, window: TimeWindow) -> Result<String, CliError> {
    let sql = include_str!("../../queries/report/price_basis.sql");
    let mut words = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let basis = text(&batch, "basis")?;
        words.extend((0..batch.num_rows()).map(|row| basis.value(row).to_owned()));
    }
    Ok(if words.is_empty() {
        "no".to_owned()
    } else {
        words.join(" and ")
    })
}

async fn capacity(session: &SessionContext, window: TimeWindow) -> Result<(i64, i64), CliError> {
    let sql = include_str!("../../queries/report/capacity.sql");
    let batches = window_rows(session, sql, window, window.end_ms).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok((0, 0));
    };
    Ok((
        int(batch, "capacity_ms")?.value(0),
        int(batch, "gpus")?.value(0),
    ))
}

async fn classes(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<ClassTotal>, CliError> {
    let sql = include_str!("../../queries/report/classes.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (class, ms) = (text(&batch, "class")?, int(&batch, "ms")?);
        let (cost, unpriced) = (usd(&batch, "cost_usd")?, int(&batch, "unpriced_ms")?);
        rows.extend((0..batch.num_rows()).map(|row| ClassTotal {
            class: class.value(row).to_owned(),
            ms: ms.value(row),
            cost_usd: usd_at(&cost, row),
            unpriced_ms: unpriced.value(row),
        }));
    }
    Ok(rows)
}

async fn days(
    session: &SessionContext,
    window: TimeWindow,
    shown_end_ms: i64,
) -> Result<Vec<DayClasses>, CliError> {
    let sql = include_str!("../../queries/report/days.sql");
    let mut rows: Vec<DayClasses> = Vec::new();
    for batch in window_rows(session, sql, window, shown_end_ms).await? {
        let (day, class) = (text(&batch, "day")?, text(&batch, "class")?);
        let (ms, closed) = (int(&batch, "ms")?, int(&batch, "closed")?);
        for row in 0..batch.num_rows() {
            if rows.last().is_none_or(|last| last.date != day.value(row)) {
                rows.push(DayClasses {
                    date: day.value(row).to_owned(),
                    closed: true,
                    classes: Vec::new(),
                });
            }
            if let Some(last) = rows.last_mut() {
                last.closed &= closed.value(row) == 1;
                last.classes
                    .push((class.value(row).to_owned(), ms.value(row)));
            }
        }
    }
    Ok(rows)
}

async fn workloads(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<WorkloadRow>, CliError> {
    let sql = include_str!("../../queries/report/workloads.sql");
    let mut rows: Vec<WorkloadRow> = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, namespace) = (text(&batch, "cluster")?, text(&batch, "namespace")?);
        let (kind, name) = (
            text(&batch, "workload_kind")?,
            text(&batch, "workload_name")?,
        );
        let (class, model) = (text(&batch, "class")?, text(&batch, "model")?);
        let (product, team) = (text(&batch, "gpu_product")?, text(&batch, "team")?);
        let (ms, cost) = (int(&batch, "ms")?, usd(&batch, "cost_usd")?);
        for row in 0..batch.num_rows() {
            let same = rows.last().is_some_and(|last| {
                last.cluster == cluster.value(row)
                    && last.namespace == namespace.value(row)
                    && last.kind == kind.value(row)
                    && last.name == name.value(row)
            });
            if !same {
                rows.push(WorkloadRow {
                    cluster: cluster.value(row).to_owned(),
                    namespace: namespace.value(row).to_owned(),
                    kind: kind.value(row).to_owned(),
                    name: name.value(row).to_owned(),
                    model: None,
                    gpu_product: None,
                    team: None,
                    ms_by_class: BTreeMap::new(),
                    cost_usd: None,
                });
            }
            let Some(last) = rows.last_mut() else {
                continue;
            };
            last.model = last.model.take().or(text_at(&model, row));
            last.gpu_product = last.gpu_product.take().or(text_at(&product, row));
            last.team = last.team.take().or(text_at(&team, row));
            *last
                .ms_by_class
                .entry(class.value(row).to_owned())
                .or_default() += ms.value(row);
            // One class without a price leaves the workload without one: a part is no whole.
            let first = last.ms_by_class.len() == 1;
            last.cost_usd = match (last.cost_usd, usd_at(&cost, row)) {
                (None, cost) if first => cost,
                (Some(sum), Some(cost)) => Some(sum + cost),
                _ => None,
            };
        }
    }
    Ok(rows)
}

async fn blind_spots(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<BlindSpot>, CliError> {
    let sql = include_str!("../../queries/report/blind_spots.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, node) = (text(&batch, "cluster")?, text(&batch, "node")?);
        let (namespace, name) = (text(&batch, "namespace")?, text(&batch, "workload_name")?);
        let (first, last) = (text(&batch, "first_day")?, text(&batch, "last_day")?);
        let ms = int(&batch, "ms")?;
        for row in 0..batch.num_rows() {
            let holder = if name.value(row).is_empty() {
                "held by nobody, and yet its telemetry is missing or shows work".to_owned()
            } else {
                format!(
                    "held by {}/{}, whose telemetry was missing or contradictory",
                    namespace.value(row),
                    name.value(row)
                )
            };
            let span = if first.value(row) == last.value(row) {
                format!("on {}", first.value(row))
            } else {
                format!("between {} and {}", first.value(row), last.value(row))
            };
            rows.push(BlindSpot {
                what: format!("{}/{}", cluster.value(row), node.value(row)),
                why: format!("{holder}, {span}"),
                gpu_hours: gpu_hours(ms.value(row)),
            });
        }
    }
    Ok(rows)
}

async fn prices(session: &SessionContext, window: TimeWindow) -> Result<Vec<PriceRow>, CliError> {
    let sql = include_str!("../../queries/report/prices.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (key, rung) = (text(&batch, "price_key")?, text(&batch, "rung")?);
        let (provenance, price) = (
            text(&batch, "provenance")?,
            usd(&batch, "usd_per_gpu_hour")?,
        );
        rows.extend((0..batch.num_rows()).map(|row| PriceRow {
            key: key.value(row).replace('|', " · "),
            usd_per_gpu_hour: usd_at(&price, row),
            rung: rung.value(row).to_owned(),
            provenance: provenance.value(row).to_owned(),
        }));
    }
    Ok(rows)
}

/// One line of the findings that a run keeps.
pub(super) fn kept(line: &str) -> Result<Value, CliError> {
    serde_json::from_str(line).map_err(|error| {
        CliError::Unexpected(format!("a finding was kept that cannot be read: {error}"))
    })
}

/// A finding as it was kept: the canonical bytes that a replay gives again are all that is shown.
pub(super) fn finding(value: &Value) -> Result<FindingData, CliError> {
    let field = |name: &str| value.get(name).filter(|value| !value.is_null());
    let word = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let needed = |name: &str| {
        word(name)
            .ok_or_else(|| CliError::Unexpected(format!("a finding was kept without its `{name}`")))
    };
    let money = |name: &str| -> Result<Option<Decimal>, CliError> {
        let Some(text) = word(name) else {
            return Ok(None);
        };
        Decimal::from_str_exact(&text).map(Some).map_err(|_| {
            CliError::Unexpected(format!(
                "a finding was kept with `{name}` = {text:?}, which is no amount"
            ))
        })
    };
    let words = |name: &str| -> Vec<String> {
        let list = field(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let pairs: Vec<(&str, &str)> = field("evidence")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
        .collect();
    Ok(FindingData {
        id: needed("finding_id")?,
        handle: needed("handle")?,
        detector: format!("{} {}", needed("detector")?, needed("detector_version")?),
        order: field("detector_order").and_then(Value::as_i64).unwrap_or(0),
        title: needed("title")?,
        status: needed("status")?,
        reason: needed("reason")?,
        confidence: needed("confidence")?,
        confidence_because: words("confidence_because"),
        accepted: word("accepted"),
        coverage: money("coverage")?,
        waste_gpu_ms: field("waste_gpu_ms")
            .and_then(Value::as_i64)
            .ok_or_else(|| {
                CliError::Unexpected("a finding was kept without its `waste_gpu_ms`".to_owned())
            })?,
        gross_window_usd: money("gross_window_usd")?,
        net_window_usd: money("net_window_usd")?,
        net_monthly_usd: money("net_monthly_usd")?,
        net_p10_usd: money("net_p10_usd")?,
        net_p90_usd: money("net_p90_usd")?,
        priority_usd: money("priority_usd")?,
        realisable_monthly_usd: money("realisable_monthly_usd")?,
        price_basis: needed("price_basis")?,
        remedy: needed("remedy")?,
        realisable_after: (pairs.iter())
            .find(|(name, _)| *name == "realisable_after")
            .map(|(_, until)| (*until).to_owned()),
        evidence: (pairs.iter())
            .map(|(name, value)| readable(name, value))
            .collect(),
        recommendation: field("recommendation").map(recommendation).transpose()?,
    })
}

fn recommendation(value: &Value) -> Result<RecommendationData, CliError> {
    let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let changes = value.get("changes").cloned().unwrap_or_default();
    let changes: Vec<PlannedChange> = if changes.is_null() {
        Vec::new()
    } else {
        serde_json::from_value(changes).map_err(|error| {
            CliError::Unexpected(format!(
                "a recommendation was kept with changes that cannot be read: {error}"
            ))
        })?
    };
    let limits = value.get("limits").and_then(Value::as_object);
    Ok(RecommendationData {
        id: word("recommendation_id").unwrap_or_default(),
        action: word("action").unwrap_or_default(),
        changes: changes.iter().map(change).collect(),
        not_possible: word("not_possible"),
        limits: (limits.into_iter().flatten())
            .filter_map(|(name, count)| Some((name.replace('_', " "), count.as_i64()?)))
            .collect(),
        expires: word("expires").map(|time| time.chars().take(10).collect()),
        risk: word("risk").unwrap_or_default(),
        disruption: word("disruption").unwrap_or_default(),
    })
}

fn change(one: &PlannedChange) -> ChangeData {
    ChangeData {
        object: one.target.path(),
        field: one.field.clone(),
        current: one.current.clone(),
        proposed: one.proposed.clone(),
        patch: one.patch.to_string(),
        inverse: one.inverse.to_string(),
        managed_by: one.managed_by.clone(),
        observed_at: one.observed_at.clone(),
        warnings: one.warnings.clone(),
        verify: one.verify.clone(),
    }
}

/// Evidence as people read it: GPU time in hours; everything else as it stands.
pub(super) fn readable(name: &str, value: &str) -> (String, String) {
    let Some(what) = name.strip_suffix("_gpu_ms") else {
        return (name.replace('_', " "), value.to_owned());
    };
    // What is unknown is unknown in hours, too.
    let hours = value
        .parse()
        .map_or_else(|_| value.to_owned(), |ms: i64| gpu_hours(ms));
    (format!("{what} GPU-hours").replace('_', " "), hours)
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn gpu_time_is_read_in_hours_known_or_not() {
        let shown = |name, value| readable(name, value);
        assert_eq!(
            shown("dark_gpu_ms", "5400000"),
            ("dark GPU-hours".into(), "1.5".into())
        );
        assert_eq!(
            shown("dark_gpu_ms", "unknown"),
            ("dark GPU-hours".into(), "unknown".into())
        );
        assert_eq!(
            shown("ready_replicas", "2"),
            ("ready replicas".into(), "2".into())
        );
    }
}
