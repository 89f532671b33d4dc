//! Owns the tables that the runner makes for detectors: `candidates`, `claimable`, and how rows
//! become a table of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use rust_decimal::Decimal;

use crate::detect::DetectError;
use crate::detect::economics::placements::{Placement, Verdict};
use crate::detect::netting::{Claimable, PriceList, Resource};
use crate::detect::query::{self, Params, Query};
use crate::detect::realisable::Replicas;
use crate::lake::columns::{int, text, text_at};
use crate::model::TimeWindow;

use super::window_params;

/// Makes rows a table of the session, in place of any of that name. There is at least one batch.
pub(in crate::detect) fn register(
    session: &SessionContext,
    name: &str,
    batches: Vec<RecordBatch>,
) -> Result<(), DetectError> {
    let failed = || DetectError::session(format!("register `{name}`"));
    let schema = batches
        .first()
        .map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let table = MemTable::try_new(schema, vec![batches]).map_err(failed())?;
    session.deregister_table(name).map_err(failed())?;
    session
        .register_table(name, Arc::new(table))
        .map_err(failed())?;
    Ok(())
}

/// Puts the column `cluster` before a run table's own.
pub(super) fn with_cluster<'a>(
    clusters: impl Iterator<Item = &'a str>,
    rows: &RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    let clusters: StringArray = clusters.map(Some).collect();
    let mut fields = vec![Arc::new(Field::new("cluster", DataType::Utf8, false))];
    fields.extend(rows.schema_ref().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(clusters)];
    columns.extend(rows.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// What a placement costs an hour at its peak.
fn usd_at_peak(row: &Placement, prices: &PriceList) -> Option<Decimal> {
    Decimal::from(row.replicas_at_peak?)
        .checked_mul(Decimal::from(row.gpu_milli_per_replica))?
        .checked_mul(prices.usd(row.price_key.as_deref()?)?)
}

/// Feasible placements on other tiers that cost less at the peak than today's tier would, ranked
/// by that. Where today's tier cannot be sized there is nothing to be cheaper than, and all stay.
pub(super) fn candidates(
    placements: &[Placement],
    rows: &RecordBatch,
    prices: &PriceList,
) -> Result<RecordBatch, ArrowError> {
    let workload = |row: &'_ Placement| -> [String; 4] {
        [
            &row.cluster,
            &row.namespace,
            &row.workload_kind,
            &row.workload_name,
        ]
        .map(Clone::clone)
    };
    let mut today: BTreeMap<[String; 4], Option<Decimal>> = BTreeMap::new();
    for row in placements {
        let sized = matches!(row.verdict, Verdict::Feasible | Verdict::Borderline);
        if row.candidate_kind == "same-tier" && sized {
            today.insert(workload(row), usd_at_peak(row, prices));
        }
    }
    let mut ranked: Vec<([String; 4], Decimal, &str, usize)> = placements
        .iter()
        .enumerate()
        .filter(|(_, row)| {
            row.verdict == Verdict::Feasible
                && matches!(row.candidate_kind, "other-tier" | "other-parallelism")
        })
        .filter_map(|(at, row)| {
            let usd = usd_at_peak(row, prices)?;
            let cheaper = match today.get(&workload(row)) {
                None => true,
                Some(None) => false,
                Some(Some(now)) => usd < *now,
            };
            cheaper.then(|| (workload(row), usd, row.candidate.as_str(), at))
        })
        .collect();
    ranked.sort();
    let mut ranks = Vec::with_capacity(ranked.len());
    for (index, (workload, ..)) in ranked.iter().enumerate() {
        let first = index == 0 || ranked[index - 1].0 != *workload;
        ranks.push(if first { 1 } else { ranks[index - 1] + 1 });
    }
    let kept: UInt64Array = ranked.iter().map(|(.., at)| Some(*at as u64)).collect();
    let rows = take_record_batch(rows, &kept)?;
    let mut fields = rows.schema_ref().fields().to_vec();
    fields.push(Arc::new(Field::new("rank", DataType::Int64, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(ranks)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

const CLAIMABLE: &str = include_str!("../../../queries/netting/claimable.sql");

/// The closed seconds of the window, before anybody claims any.
pub(super) async fn claimable(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Claimable, DetectError> {
    let query = Query::parse("netting/claimable.sql", CLAIMABLE)?;
    let batches = query::run(session, &query, &window_params(&Params::default(), window)).await?;
    let mut claimable = Claimable::default();
    for batch in &batches {
        let words = |name: &str| text(batch, name);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let (instance, product) = (words("instance_type")?, words("gpu_product")?);
        let (price_key, class) = (words("price_key")?, words("class")?);
        let (hours, ms) = (int(batch, "hour_ms")?, int(batch, "ms")?);
        // Rows of one resource stand together, hour by hour.
        let mut last: Option<(usize, Arc<Resource>)> = None;
        let columns = [
            &cluster, &namespace, &kind, &name, &instance, &product, &price_key, &class,
        ];
        for row in 0..batch.num_rows() {
            let resource = match &last {
                Some((before, resource)) if columns.iter().all(|c| equal(c, *before, row)) => {
                    Arc::clone(resource)
                }
                _ => {
                    let word = |column| text_at(column, row).unwrap_or_default();
                    Arc::new(Resource {
                        cluster: word(&cluster),
                        namespace: word(&namespace),
                        workload_kind: word(&kind),
                        workload_name: word(&name),
                        instance_type: word(&instance),
                        gpu_product: word(&product),
                        price_key: word(&price_key),
                        class: word(&class),
                    })
                }
            };
            last = Some((row, Arc::clone(&resource)));
            claimable.add(resource, hours.value(row), ms.value(row));
        }
    }
    Ok(claimable)
}

/// Whether two rows of a column hold the same, NULL and blank apart.
fn equal(column: &StringArray, a: usize, b: usize) -> bool {
    column.is_null(a) == column.is_null(b) && column.value(a) == column.value(b)
}

const REPLICA_SIZES: &str = include_str!("../../../queries/netting/replica_sizes.sql");

/// The replicas of each workload; empty where no detector asks for workloads.
pub(super) async fn replica_sizes(
    session: &SessionContext,
) -> Result<BTreeMap<[String; 4], Replicas>, DetectError> {
    let mut sizes = BTreeMap::new();
    let failed = || DetectError::session("look for `workload_facts`".to_owned());
    if !session.table_exist("workload_facts").map_err(failed())? {
        return Ok(sizes);
    }
    let query = Query::parse("netting/replica_sizes.sql", REPLICA_SIZES)?;
    for batch in &query::run(session, &query, &Params::default()).await? {
        let words = |name: &str| text(batch, name);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let milli = int(batch, "gpu_milli_per_replica")?;
        let floor = int(batch, "floor_replicas")?;
        for row in 0..batch.num_rows() {
            let key = [&cluster, &namespace, &kind, &name]
                .map(|column| text_at(column, row).unwrap_or_default());
            let replicas = Replicas {
                gpu_milli: milli.value(row),
                floor: floor.value(row),
            };
            sizes.insert(key, replicas);
        }
    }
    Ok(sizes)
}

/// What is left to claim, as the claims queries read it.
pub(super) fn claimable_batch(claimable: &Claimable) -> Result<RecordBatch, DetectError> {
    let words = |pick: fn(&Resource) -> &str| -> ArrayRef {
        Arc::new(
            claimable
                .rows()
                .map(|(resource, ..)| Some(pick(resource)))
                .collect::<StringArray>(),
        )
    };
    let hours: Int64Array = claimable
        .rows()
        .map(|(_, hour_ms, _)| Some(hour_ms))
        .collect();
    let left: Int64Array = claimable.rows().map(|(.., ms)| Some(ms)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("cluster", words(|r| &r.cluster), false),
        ("namespace", words(|r| &r.namespace), false),
        ("workload_kind", words(|r| &r.workload_kind), false),
        ("workload_name", words(|r| &r.workload_name), false),
        ("instance_type", words(|r| &r.instance_type), false),
        ("gpu_product", words(|r| &r.gpu_product), false),
        ("price_key", words(|r| &r.price_key), false),
        ("hour_ms", Arc::new(hours) as ArrayRef, false),
        ("class", words(|r| &r.class), false),
        ("ms", Arc::new(left), false),
    ])
    .map_err(DetectError::arrow("build rows of `claimable`"))
}
