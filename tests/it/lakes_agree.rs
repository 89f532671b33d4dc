//! One day of the sample, served by Debian's real `prometheus` and read from its blocks: both ways
//! into the lake must end in the same rows, to the bit.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use datafusion::prelude::SessionContext;
use idleproof::lake::schema::{TABLES, TableKind};
use idleproof::lake::{Lake, LakeView, read_only_sql};

use crate::prometheus::{installed, start_prometheus};
use crate::tsdb::copy;

async fn count(session: &SessionContext, sql: &str) -> usize {
    let none: Vec<datafusion::scalar::ScalarValue> = Vec::new();
    let frame = read_only_sql(session, sql, none).await.unwrap();
    frame
        .collect()
        .await
        .unwrap()
        .iter()
        .map(datafusion::arrow::array::RecordBatch::num_rows)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_read_and_blocks_fill_the_lake_with_the_same_rows() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let blocks = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/prometheus/prod-b");
    copy(&blocks, &folder.path().join("data"));
    let server = start_prometheus(folder.path()).await;
    let config = folder.path().join("idleproof.toml");
    let port = server.port;
    fs::write(
        &config,
        format!(
            "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"prod-b\"\n\
             [[source]]\nname = \"remote\"\nkind = \"prometheus\"\ncluster = \"prod-b\"\nurl = \"http://127.0.0.1:{port}\"\n\
             [[source]]\nname = \"blocks\"\nkind = \"tsdb\"\ncluster = \"prod-b\"\nurl = \"{}\"\n",
            blocks.display()
        ),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args([
            "ingest",
            "--from",
            "2026-11-21",
            "--to",
            "2026-11-23",
            "--config",
        ])
        .arg(&config)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");

    let lake = Lake::open_existing(&folder.path().join("lake").to_string_lossy())
        .await
        .unwrap();
    let session = lake
        .read_session(&LakeView::pinned(lake.head().await.unwrap()))
        .await
        .unwrap();
    let mut rows = 0;
    for spec in TABLES.iter().filter(|spec| spec.kind == TableKind::Raw) {
        let name = spec.name;
        // How a window was read is what the two differ in; objects come from neither.
        let told_apart = ["source_kind", "count_check", "source_end"];
        let columns: Vec<&str> = spec
            .columns
            .iter()
            .map(|column| column.name)
            .filter(|column| !told_apart.contains(column))
            .collect();
        let columns = columns.join(", ");
        let of =
            |source: &str| format!("SELECT date, {columns} FROM {name} WHERE source = '{source}'");
        let (blocks, remote) = (
            count(&session, &of("blocks")).await,
            count(&session, &of("remote")).await,
        );
        assert_eq!(blocks, remote, "rows of {name}");
        let order = format!("date, {}", spec.sort.join(", "));
        let none: Vec<datafusion::scalar::ScalarValue> = Vec::new();
        let mut text = Vec::new();
        for source in ["blocks", "remote"] {
            let sql = format!("{} ORDER BY {order}", of(source));
            let frame = read_only_sql(&session, &sql, none.clone()).await.unwrap();
            let batches = frame.collect().await.unwrap();
            let schema = batches
                .first()
                .map(datafusion::arrow::array::RecordBatch::schema);
            text.push(schema.map(|schema| {
                datafusion::arrow::compute::concat_batches(&schema, &batches).unwrap()
            }));
        }
        assert!(text[0] == text[1], "{name}: the rows differ");
        rows += blocks;
    }
    assert!(rows > 100_000, "only {rows} rows were compared");
}
