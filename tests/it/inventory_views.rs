//! The view of scaling events on given rows: what a change costs from then on, until when, and that a
//! missing price is no zero.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use idleproof::inventory::batches::batch;
use idleproof::inventory::detail_rows::ScalingEventRow;
use idleproof::lake::register_views;

const HOUR: i64 = 3_600_000;

fn event(hour: i64, before: i64, after: i64, key: &str) -> ScalingEventRow {
    ScalingEventRow {
        namespace: "chat".to_owned(),
        workload_kind: "deployment.apps".to_owned(),
        workload_name: format!("on-{key}"),
        seen_ms: hour * HOUR,
        object: "deployment.apps/chat/llama".to_owned(),
        field: "spec.replicas".to_owned(),
        what: "replicas".to_owned(),
        seen_in: "snapshot".to_owned(),
        cost_basis: Some("replicas".to_owned()),
        gpu_milli_before: Some(before * 1000),
        gpu_milli_after: Some(after * 1000),
        price_key_before: Some(key.to_owned()),
        price_key_after: Some(key.to_owned()),
        ..ScalingEventRow::default()
    }
}

#[tokio::test]
async fn a_change_costs_from_then_on_until_the_next_one_and_nothing_is_made_up() {
    let session = SessionContext::new();
    let mut image = event(2, 0, 0, "h100");
    image.what = "image".to_owned();
    image.field = "image".to_owned();
    image.cost_basis = None;
    image.gpu_milli_before = None;
    image.gpu_milli_after = None;
    let rows = [
        event(2, 1, 3, "h100"),
        event(7, 3, 0, "h100"),
        event(2, 1, 2, "unpriced"),
        event(9, 2, 0, "unpriced"),
        image,
    ];
    session
        .register_batch("raw_events", batch(&rows).unwrap())
        .unwrap();
    for table in [
        "CREATE TABLE scaling_events AS SELECT DATE '1970-01-01' AS date, 'prod-a' AS cluster, raw_events.* FROM raw_events",
        "CREATE TABLE prices AS SELECT 'prod-a' AS cluster, 'h100' AS price_key, \
         CAST(2.5 AS DECIMAL(38, 6)) AS list_usd_per_gpu_hour, CAST(NULL AS DECIMAL(38, 6)) AS contracted_usd_per_gpu_hour, \
         CAST(NULL AS DECIMAL(38, 6)) AS effective_usd_per_gpu_hour",
        "CREATE TABLE workloads AS SELECT 'prod-a' AS cluster, CAST(36000000 AS BIGINT) AS valid_to_ms",
    ] {
        session.sql(table).await.unwrap().collect().await.unwrap();
    }
    let view = include_str!("../../queries/views/v_scaling_events.sql");
    register_views(&session, &[("v_scaling_events", view)])
        .await
        .unwrap();
    let asked = "SELECT workload_name, what, seen, until, gpus_added, usd_per_hour, cost_usd \
                 FROM v_scaling_events ORDER BY workload_name, seen, what";
    let found = session.sql(asked).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&found).unwrap().to_string();
    let cells: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| on-"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let costs: Vec<[&str; 5]> = cells
        .iter()
        .map(|row| [row[1], row[2], row[5], row[6], row[7]])
        .collect();
    assert_eq!(
        costs,
        [
            ["on-h100", "image", "", "", ""],
            ["on-h100", "replicas", "2.0", "5.000000", "25.000000"],
            // To the end of the data, at ten o'clock.
            ["on-h100", "replicas", "-3.0", "-7.500000", "-22.500000"],
            ["on-unpriced", "replicas", "1.0", "", ""],
            ["on-unpriced", "replicas", "-2.0", "", ""],
        ],
        "{text}"
    );
}
