//! Tests of tables whose window is kept in memory.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_window_changes_no_answer_and_takes_no_more_than_it_may() {
    let lake = lake().await;
    let fleet = take(&lake, FLEET_LEASE).await;
    let key = PartitionKey::new("2026-11-01", "a");
    let staged = lake.stage("ledger", &key, vec![rows("ledger", 40, 1)]);
    let staged = vec![staged.await.unwrap()];
    lake.publish(&fleet, None, &Pins::default(), staged, details("a", "r1"))
        .await
        .unwrap();
    let published = lake.publication(None).await.unwrap().unwrap();
    let view = LakeView::published(&published);
    let plain = lake.read_session(&view).await.unwrap();
    let session = lake.read_session(&view).await.unwrap();
    let hours = "SELECT MIN(hour_ms) AS a, MAX(hour_ms) AS b FROM ledger";
    let batch = &query(&plain, hours).await[0];
    let first = batch.column(0).as_primitive::<Int64Type>().value(0);
    let last = batch.column(1).as_primitive::<Int64Type>().value(0);
    assert!(last - first > 4, "the rows spread over hours");
    // Without the first and the last hour.
    let window = TimeWindow::new(first + 1, last);
    assert_eq!(
        keep(&session, "ledger", "hour_ms", window, 64)
            .await
            .unwrap(),
        0,
        "64 bytes are too few"
    );
    let bytes = keep(&session, "ledger", "hour_ms", window, 1 << 20)
        .await
        .unwrap();
    assert!(bytes > 1000, "{bytes}");
    let reserved = session.runtime_env().memory_pool.reserved();
    assert_eq!(reserved, bytes, "the session's memory knows of it");
    let (from, to) = (window.start_ms, window.end_ms);
    for condition in [
        format!("hour_ms >= {from} AND hour_ms < {to}"),
        format!("{from} <= hour_ms AND {to} > hour_ms AND ms > 1003"),
        format!("hour_ms > {from} AND hour_ms <= {to}"),
        format!("hour_ms >= {} AND hour_ms < {}", from + 1, to - 1),
        // What reaches beyond the window.
        format!("hour_ms >= {} AND hour_ms < {to}", from - 1),
        format!("hour_ms >= {from} AND hour_ms < {}", to + 1),
        format!("hour_ms >= {from}"),
        format!("hour_ms >= {from} AND hour_ms < {to} OR ms = 1000"),
        "1 = 1".to_owned(),
    ] {
        let sql = format!("SELECT * FROM ledger WHERE {condition} ORDER BY hour_ms, node, slot");
        let both = [query(&plain, &sql).await, query(&session, &sql).await];
        assert_eq!(both[0], both[1], "{condition}");
    }
    // It stands for the file: what is kept needs it no more.
    let explained = |sql: String| {
        let session = session.clone();
        async move { format!("{:?}", query(&session, &format!("EXPLAIN {sql}")).await) }
    };
    let within = format!("SELECT ms FROM ledger WHERE hour_ms >= {from} AND hour_ms < {to}");
    assert!(!explained(within).await.contains(".parquet"));
    let beyond = format!("SELECT ms FROM ledger WHERE hour_ms >= {from}");
    assert!(explained(beyond).await.contains(".parquet"));
}
