//! The chain as it is embedded, on tables in memory.

mod in_parts;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::{DayRequest, Derived, derive_day, derive_days};
use crate::detect::query::QuerySet;
use crate::lake::schema::TABLES;
use crate::model::TimeWindow;

/// 2026-11-03T00:00:00Z.
const DAY: i64 = 1_793_664_000_000;
const HOUR: i64 = 3_600_000;

/// Every table of the lake: empty, or with the rows of a query.
async fn session(rows: &[(&str, &str)]) -> SessionContext {
    let context = SessionContext::new();
    for spec in TABLES {
        let schema = spec.table_schema();
        let mut batches = Vec::new();
        if let Some((_, sql)) = rows.iter().find(|(table, _)| *table == spec.name) {
            for batch in context.sql(sql).await.unwrap().collect().await.unwrap() {
                let columns = schema.fields().iter().map(|field| {
                    batch.column_by_name(field.name()).map_or_else(
                        || {
                            datafusion::arrow::array::new_null_array(
                                field.data_type(),
                                batch.num_rows(),
                            )
                        },
                        |column| {
                            datafusion::arrow::compute::cast(column, field.data_type()).unwrap()
                        },
                    )
                });
                // Given rows leave out what does not matter, keys among it.
                let loose = schema
                    .fields()
                    .iter()
                    .map(|f| f.as_ref().clone().with_nullable(true));
                let loose = Arc::new(datafusion::arrow::datatypes::Schema::new(
                    loose.collect::<Vec<_>>(),
                ));
                batches.push(RecordBatch::try_new(loose, columns.collect()).unwrap());
            }
        }
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let table = MemTable::try_new(schema, vec![batches]).unwrap();
        context.register_table(spec.name, Arc::new(table)).unwrap();
    }
    context
}

fn slices(to_ms: i64) -> String {
    format!(
        "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'n1' AS node, slot, 'whole' AS slice, \
         {DAY} AS valid_from_ms, {to_ms} AS valid_to_ms, 'whole' AS slice_kind, 1 AS share_num, \
         1 AS share_den, 'k' AS price_key, false AS unavailable FROM (VALUES (0), (1)) AS s(slot)"
    )
}

fn window(digest: &str) -> String {
    format!(
        "SELECT 'c' AS cluster, 'prom' AS source, 'tsdb' AS source_kind, \
         to_timestamp_millis({DAY}) AS window_start, to_timestamp_millis({}) AS window_end, \
         1 AS samples, '{digest}' AS content_digest",
        DAY + HOUR
    )
}

fn request(data_end_ms: i64) -> DayRequest<'static> {
    DayRequest {
        cluster: "c",
        day: TimeWindow::new(DAY, DAY + 24 * HOUR),
        data_end_ms,
        catalogue_digest: "x",
    }
}

fn sum_ms(derived: &Derived) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for batch in &derived.tables["ledger"] {
        let class = batch.column_by_name("class").unwrap().as_string::<i32>();
        let ms = batch
            .column_by_name("ms")
            .unwrap()
            .as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            assert!(!ms.is_null(row));
            *sums.entry(class.value(row).to_owned()).or_insert(0) += ms.value(row);
        }
    }
    sums
}

async fn derive(rows: &[(&str, &str)], end: i64, previous: Option<&str>) -> Option<Derived> {
    let queries = QuerySet::embedded().unwrap();
    derive_day(&session(rows).await, &queries, &request(end), previous)
        .await
        .unwrap()
}

#[tokio::test]
async fn two_slots_of_a_day_are_forty_eight_hours() {
    let slices = slices(DAY + 24 * HOUR);
    let derived = derive(&[("slices", &slices)], DAY + 30 * HOUR, None)
        .await
        .unwrap();
    assert_eq!(
        sum_ms(&derived),
        BTreeMap::from([("unallocated".to_owned(), 48 * HOUR)])
    );
    let names: Vec<&str> = derived.tables.keys().copied().collect();
    assert_eq!(
        names,
        [
            "cpu_hours",
            "gpu_5m",
            "gpu_hours",
            "ledger",
            "restart_hours",
            "scaler_hours",
            "workload_5m",
            "workload_hours",
            "workload_latency_hours"
        ]
    );
}

#[tokio::test]
async fn an_open_day_ends_with_its_sources() {
    let slices = slices(DAY + 24 * HOUR);
    let derived = derive(&[("slices", &slices)], DAY + 90 * 60_000, None)
        .await
        .unwrap();
    assert_eq!(
        sum_ms(&derived),
        BTreeMap::from([("unallocated".to_owned(), 3 * HOUR)])
    );
    assert!(!request(DAY + 90 * 60_000).is_final());
}

#[tokio::test]
async fn a_day_is_rebuilt_only_when_its_content_changes() {
    let (all, less, a, b) = (
        slices(DAY + 24 * HOUR),
        slices(DAY + HOUR),
        window("a"),
        window("b"),
    );
    let end = DAY + 30 * HOUR;
    let given = [("slices", all.as_str()), ("ingest_windows", a.as_str())];
    let digest = derive(&given, end, None).await.unwrap().digest;
    assert!(derive(&given, end, Some(&digest)).await.is_none());
    assert!(
        derive(&given, end + 24 * HOUR, Some(&digest))
            .await
            .is_none(),
        "a closed day does not care how far later sources reach"
    );
    for changed in [
        [("slices", less.as_str()), ("ingest_windows", a.as_str())],
        [("slices", all.as_str()), ("ingest_windows", b.as_str())],
    ] {
        assert!(derive(&changed, end, Some(&digest)).await.is_some());
    }
    assert!(derive(&given, end - HOUR, Some(&digest)).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_derived_together_are_the_days_derived_alone() {
    let slices = slices(DAY + 24 * HOUR);
    let session = session(&[("slices", &slices)]).await;
    let queries = Arc::new(QuerySet::embedded().unwrap());
    let common = request(DAY + 30 * HOUR);
    let first = derive_day(&session, &queries, &common, None)
        .await
        .unwrap()
        .unwrap();
    let next = TimeWindow::new(DAY + 24 * HOUR, DAY + 48 * HOUR);
    let days = vec![
        (common.day, None),
        (next, None),
        (common.day, Some(first.digest.clone())),
    ];
    let together = derive_days(&session, &queries, &common, days)
        .await
        .unwrap();
    assert_eq!(together[0].as_ref().unwrap().tables, first.tables);
    assert!(sum_ms(together[1].as_ref().unwrap()).is_empty());
    assert!(together[2].is_none());
}
