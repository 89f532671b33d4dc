//! Owns the way from a publication to the report's further sections: slices, unit costs, weeks, movers,
//! tier fit, memory; the rest is `report_uses`'. `report_data` asks it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use rust_decimal::Decimal;

use super::error::CliError;
use super::report_uses;
use super::windowed::{TREND_WEEKS, WEEK_MS, window_rows};
use crate::lake::columns::{int, int_at, text, text_at, usd, usd_at};
use crate::model::TimeWindow;
use crate::report::{
    MemoryData, MoverData, SectionsData, SliceData, TierFitData, UnitCostData, WeekData,
};

/// The sides from which the ledger is looked at, in the report's order; columns of `slices.sql`.
const DIMENSIONS: &[&str] = &["cluster", "team", "namespace", "model", "tier"];

pub(super) async fn read(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<SectionsData, CliError> {
    let (weeks, week_days) = weeks(session, window).await?;
    let (mut memory, activity) = memory(session, window).await?;
    let (uses, weights) = report_uses::uses(session, window, &activity).await?;
    for row in &mut memory {
        row.weights_mib = weights.get(&row.workload).copied();
    }
    let (events, events_all) = report_uses::events(session, window).await?;
    Ok(SectionsData {
        slices: slices(session, window).await?,
        unit_costs: unit_costs(session, window).await?,
        weeks,
        week_days,
        movers: movers(session, window).await?,
        tier_fit: tier_fit(session, window).await?,
        memory,
        uses,
        events,
        events_all,
        bill: report_uses::bill(session, window).await?,
        contradictions: report_uses::contradictions(session, window).await?,
    })
}

async fn slices(session: &SessionContext, window: TimeWindow) -> Result<Vec<SliceData>, CliError> {
    let sql = include_str!("../../queries/report/slices.sql");
    let mut sums: BTreeMap<(usize, String), SliceData> = BTreeMap::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (ms, unknown) = (int(&batch, "ms")?, int(&batch, "unknown_ms")?);
        let unpriced = int(&batch, "unpriced_ms")?;
        let (cost, waste) = (usd(&batch, "cost_usd")?, usd(&batch, "waste_usd")?);
        for (place, dimension) in DIMENSIONS.iter().enumerate() {
            let slice = text(&batch, dimension)?;
            for row in 0..batch.num_rows() {
                let name = slice.value(row).to_owned();
                let sum = sums
                    .entry((place, name.clone()))
                    .or_insert_with(|| SliceData {
                        dimension: (*dimension).to_owned(),
                        slice: name,
                        ms: 0,
                        unknown_ms: 0,
                        unpriced_ms: 0,
                        cost_usd: None,
                        waste_usd: None,
                    });
                sum.ms += ms.value(row);
                sum.unknown_ms += unknown.value(row);
                sum.unpriced_ms += unpriced.value(row);
                add(&mut sum.cost_usd, usd_at(&cost, row));
                add(&mut sum.waste_usd, usd_at(&waste, row));
            }
        }
    }
    let mut rows: Vec<((usize, String), SliceData)> = sums.into_iter().collect();
    // The dearest first; what has no price last.
    rows.sort_by(|((a, _), one), ((b, _), other)| {
        a.cmp(b)
            .then_with(|| other.cost_usd.cmp(&one.cost_usd))
            .then_with(|| one.slice.cmp(&other.slice))
    });
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn add(sum: &mut Option<Decimal>, amount: Option<Decimal>) {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or(Decimal::ZERO) + amount);
    }
}

async fn unit_costs(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<UnitCostData>, CliError> {
    let sql = include_str!("../../queries/report/unit_costs.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, model) = (text(&batch, "cluster")?, text(&batch, "model")?);
        let (tokens, held) = (int(&batch, "tokens")?, usd(&batch, "held_usd")?);
        let allocation = usd(&batch, "allocation_usd_per_million_tokens")?;
        let usage = usd(&batch, "usage_usd_per_million_tokens")?;
        rows.extend((0..batch.num_rows()).map(|row| UnitCostData {
            cluster: cluster.value(row).to_owned(),
            model: model.value(row).to_owned(),
            tokens: int_at(&tokens, row),
            held_usd: usd_at(&held, row),
            allocation_usd: usd_at(&allocation, row),
            usage_usd: usd_at(&usage, row),
        }));
    }
    Ok(rows)
}

/// Days by class, each with the week that it is in, counted back from the window's end; and the days that
/// the lake holds of each week.
async fn weeks(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<(Vec<WeekData>, Vec<(i64, i64)>), CliError> {
    let sql = include_str!("../../queries/report/trend.sql");
    let mut rows = Vec::new();
    let mut held: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (day, class) = (int(&batch, "day_ms")?, text(&batch, "class")?);
        let (ms, cost) = (int(&batch, "ms")?, usd(&batch, "cost_usd")?);
        for row in 0..batch.num_rows() {
            let day_ms = day.value(row);
            let back = (window.end_ms - day_ms - 1).div_euclid(WEEK_MS) + 1;
            if back > TREND_WEEKS {
                continue;
            }
            let week_start_ms = window.end_ms - back * WEEK_MS;
            held.entry(week_start_ms).or_default().insert(day_ms);
            rows.push(WeekData {
                week_start_ms,
                class: class.value(row).to_owned(),
                ms: ms.value(row),
                cost_usd: usd_at(&cost, row),
            });
        }
    }
    let days = held.iter().map(|(week, days)| (*week, days.len() as i64));
    Ok((rows, days.collect()))
}

async fn movers(session: &SessionContext, window: TimeWindow) -> Result<Vec<MoverData>, CliError> {
    let sql = include_str!("../../queries/report/movers.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, name) = (text(&batch, "cluster")?, text(&batch, "workload_name")?);
        let workloads = handles(&batch)?;
        let free = text(&batch, "free_product")?;
        let (before_ms, after_ms) = (int(&batch, "before_ms")?, int(&batch, "after_ms")?);
        let (before, after) = (usd(&batch, "before_usd")?, usd(&batch, "after_usd")?);
        let (before_waste, after_waste) = (
            usd(&batch, "before_waste_usd")?,
            usd(&batch, "after_waste_usd")?,
        );
        for (row, workload) in workloads.into_iter().enumerate() {
            let what = if name.value(row).is_empty() {
                format!("{}: {} held by nobody", cluster.value(row), free.value(row))
            } else {
                workload
            };
            let usd = |column| usd_at(column, row).unwrap_or(Decimal::ZERO);
            rows.push(MoverData {
                what,
                before_ms: before_ms.value(row),
                after_ms: after_ms.value(row),
                before_usd: usd(&before),
                after_usd: usd(&after),
                before_waste_usd: usd(&before_waste),
                after_waste_usd: usd(&after_waste),
            });
        }
    }
    Ok(rows)
}

async fn tier_fit(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<TierFitData>, CliError> {
    let sql = include_str!("../../queries/report/tier_fit.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let words = |name: &str| text(&batch, name);
        let numbers = |name: &str| int(&batch, name);
        let workloads = handles(&batch)?;
        let (today, verdict) = (words("today")?, words("today_verdict")?);
        let cheapest = words("cheapest")?;
        let confidence = words("confidence")?;
        let replicas = numbers("today_replicas")?;
        let other_replicas = numbers("cheapest_replicas")?;
        let (itl, other_itl) = (numbers("today_itl_ms")?, numbers("cheapest_itl_ms")?);
        let (cost, other_cost) = (usd(&batch, "today_usd")?, usd(&batch, "cheapest_usd")?);
        rows.extend((0..batch.num_rows()).map(|row| TierFitData {
            workload: workloads[row].clone(),
            today: today.value(row).to_owned(),
            verdict: verdict.value(row).to_owned(),
            today_replicas: int_at(&replicas, row),
            today_usd: usd_at(&cost, row),
            today_itl_ms: int_at(&itl, row),
            cheapest: text_at(&cheapest, row),
            cheapest_replicas: int_at(&other_replicas, row),
            cheapest_usd: usd_at(&other_cost, row),
            cheapest_itl_ms: int_at(&other_itl, row),
            confidence: text_at(&confidence, row),
        }));
    }
    Ok(rows)
}

/// Memory by workload, its weights not yet known, and how busy its devices were.
async fn memory(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<(Vec<MemoryData>, report_uses::Activity), CliError> {
    let sql = include_str!("../../queries/report/memory.sql");
    let (mut rows, mut activity) = (Vec::new(), report_uses::Activity::new());
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let workloads = handles(&batch)?;
        let product = text(&batch, "gpu_product")?;
        let gpus = int(&batch, "gpus")?;
        let (total, used) = (int(&batch, "total_mib")?, int(&batch, "used_mib")?);
        let (dram, samples) = (int(&batch, "dram_ppm_sum")?, int(&batch, "dram_samples")?);
        let (busiest, kv) = (int(&batch, "busiest_ppm")?, int(&batch, "kv_ppm")?);
        let active = int(&batch, "activity_ppm_sum")?;
        let active_of = int(&batch, "activity_samples")?;
        activity.extend(workloads.iter().enumerate().map(|(row, workload)| {
            let sums = (int_at(&active, row), int_at(&active_of, row));
            (workload.clone(), sums)
        }));
        rows.extend((0..batch.num_rows()).map(|row| MemoryData {
            workload: workloads[row].clone(),
            gpu_product: text_at(&product, row),
            gpus: gpus.value(row),
            total_mib: int_at(&total, row),
            used_mib: int_at(&used, row),
            dram_ppm_sum: int_at(&dram, row),
            dram_samples: int_at(&samples, row),
            busiest_ppm: int_at(&busiest, row),
            kv_ppm: int_at(&kv, row),
            weights_mib: None,
        }));
    }
    Ok((rows, activity))
}

/// `cluster/namespace/kind/name` of each row.
pub(super) fn handles(batch: &RecordBatch) -> Result<Vec<String>, CliError> {
    let (cluster, namespace) = (text(batch, "cluster")?, text(batch, "namespace")?);
    let (kind, name) = (text(batch, "workload_kind")?, text(batch, "workload_name")?);
    let handle = |row| {
        format!(
            "{}/{}/{}/{}",
            cluster.value(row),
            namespace.value(row),
            kind.value(row),
            name.value(row)
        )
    };
    Ok((0..batch.num_rows()).map(handle).collect())
}
