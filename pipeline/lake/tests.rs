//! Tests of what writers and readers of one lake do to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::prelude::SessionContext;
use futures::future::join_all;

use super::test_rows::{DAY, rows};
use super::*;
use crate::model::time::{DAY_MS, HOUR_MS};

mod kept;

async fn lake() -> Lake {
    Lake::open("memory://").await.unwrap()
}

fn info(now_ms: i64) -> CommitInfo {
    CommitInfo {
        now_ms,
        code_version: "test".to_owned(),
        details: BTreeMap::from([("selectorDigest".to_owned(), "abc".to_owned())]),
    }
}

fn day() -> TimeWindow {
    TimeWindow::day_of(DAY)
}

async fn take(lake: &Lake, name: &str) -> Lease {
    lake.acquire_lease(name, "test", DAY, Duration::ZERO)
        .await
        .unwrap()
}

async fn count(context: &SessionContext, from: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {from}");
    let batches = query(context, &sql).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn query(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    read_only_sql(context, sql, BTreeMapParams::new())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap()
}

type BTreeMapParams = Vec<datafusion::common::ScalarValue>;

fn details(cluster: &str, run: &str) -> PublicationDetails {
    PublicationDetails {
        runs: BTreeMap::from([(cluster.to_owned(), run.to_owned())]),
        digests: BTreeMap::from([("queries".to_owned(), "d".to_owned())]),
        window: day(),
        code_version: "test".to_owned(),
        now_ms: DAY,
    }
}

/// One run: ledger of the day and findings, for a cluster.
async fn staged(lake: &Lake, cluster: &str, run: &str, seed: i64, count: i64) -> Vec<Staged> {
    let ledger = PartitionKey::new("2026-11-01", cluster);
    let findings = PartitionKey::new(run, cluster);
    vec![
        lake.stage("ledger", &ledger, vec![rows("ledger", count, seed)])
            .await
            .unwrap(),
        lake.stage("findings", &findings, vec![rows("findings", count, seed)])
            .await
            .unwrap(),
    ]
}

async fn published(lake: &Lake) -> SessionContext {
    let publication = lake.publication(None).await.unwrap().unwrap();
    lake.read_session(&LakeView::published(&publication))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rerunning_a_window_changes_nothing() {
    let lake = lake().await;
    let lease = take(&lake, &source_lease("prom")).await;
    let (a, b) = (rows("gpu_samples", 40, 1), rows("gpu_samples", 40, 2));
    let write = async |batches| {
        lake.replace_window(&lease, "gpu_samples", "prom", day(), batches, info(DAY))
            .await
            .unwrap()
    };
    let first = write(vec![a.clone(), b.clone()]).await;
    let again = write(vec![b.clone(), a.clone()]).await;
    assert_eq!(first, again);
    let changed = write(vec![a.clone()]).await;
    assert_eq!(changed, first + 1);
    let back = write(vec![a, b]).await;
    assert_eq!(back, first + 2);
    let session = lake
        .read_session(&LakeView::pinned(lake.head().await.unwrap()))
        .await
        .unwrap();
    assert_eq!(count(&session, "gpu_samples").await, 80);
    assert!(lake.check().await.unwrap().faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_a_window_is_one_version_and_leaves_the_others() {
    let lake = lake().await;
    let lease = take(&lake, &source_lease("prom")).await;
    let hours = |from: i64, to: i64| TimeWindow::new(DAY + from * HOUR_MS, DAY + to * HOUR_MS);
    let write = async |window, seed, count| {
        let batches = vec![rows("snapshots", count, seed)];
        lake.replace_window(&lease, "snapshots", "prom", window, batches, info(DAY))
            .await
    };
    write(hours(0, 6), 1, 10).await.unwrap();
    let before = write(hours(6, 12), 2, 10).await.unwrap();
    let after = write(hours(6, 12), 3, 25).await.unwrap();
    assert_eq!(after, before + 1);
    let at = async |version| {
        let pins = Pins {
            tables: BTreeMap::from([("snapshots".to_owned(), version)]),
        };
        let session = lake.read_session(&LakeView::pinned(pins)).await.unwrap();
        count(&session, "snapshots").await
    };
    assert_eq!((at(before).await, at(after).await), (20, 35));

    let error = write(hours(5, 7), 4, 1).await.unwrap_err();
    assert!(matches!(error, LakeError::WindowOverlap { .. }), "{error}");
    let whole = write(day(), 5, 7).await.unwrap();
    assert_eq!(at(whole).await, 7);
    let emptied = write(day(), 5, 0).await.unwrap();
    assert_eq!(at(emptied).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn misuse_is_refused_by_name() {
    let lake = lake().await;
    let lease = take(&lake, &source_lease("prom")).await;
    let write = async |table: &str, source: &str, window| {
        lake.replace_window(&lease, table, source, window, vec![], info(DAY))
            .await
            .unwrap_err()
            .to_string()
    };
    let two_days = TimeWindow::new(DAY, DAY + 2 * DAY_MS);
    assert!(
        write("nodes", "prom", day())
            .await
            .contains("only raw tables")
    );
    assert!(
        write("snapshots", "other", day())
            .await
            .contains("source-other")
    );
    assert!(
        write("snapshots", "prom", two_days)
            .await
            .contains("UTC day")
    );
    let key = PartitionKey::new("2026-11-01T00:00:00Z", "a");
    let bad_date = lake.stage("ledger", &key, vec![]).await.unwrap_err();
    assert!(bad_date.to_string().contains("not a date"), "{bad_date}");
    assert!(write("nope", "prom", day()).await.contains("nope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_writers_of_different_sources_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
    let writers = (0..10).map(|n| {
        let lake = lake.clone();
        tokio::spawn(async move {
            let source = format!("s{n}");
            let lease = take(&lake, &source_lease(&source)).await;
            // First an append, then a replace: only replaces collide with everyone.
            for (seed, count) in [(n, 5), (n + 100, 7)] {
                let batches = vec![rows("snapshots", count, seed)];
                lake.replace_window(&lease, "snapshots", &source, day(), batches, info(DAY))
                    .await
                    .unwrap();
            }
        })
    });
    for result in join_all(writers).await {
        result.unwrap();
    }
    // Ten at once meet each other; nobody is turned away often.
    let repeated = lake.commits_repeated();
    assert!(
        (1..400).contains(&repeated),
        "{repeated} commits were made again"
    );
    let pins = lake.head().await.unwrap();
    // Creation, then two commits of each writer: none overwritten, none lost.
    assert_eq!(pins.tables["snapshots"], 20);
    let session = lake.read_session(&LakeView::pinned(pins)).await.unwrap();
    assert_eq!(count(&session, "snapshots").await, 70);
    let sources = "(SELECT DISTINCT source FROM snapshots)";
    assert_eq!(count(&session, sources).await, 10);
    let report = lake.check().await.unwrap();
    assert_eq!(
        (report.files, report.rows, report.faults.len()),
        (10, 70, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_lost_its_lease_cannot_commit() {
    let lake = lake().await;
    let name = source_lease("prom");
    let old = take(&lake, &name).await;
    let write = async |lease: &Lease, seed| {
        let batches = vec![rows("snapshots", 3, seed)];
        lake.replace_window(lease, "snapshots", "prom", day(), batches, info(DAY))
            .await
    };
    write(&old, 1).await.unwrap();
    let later = DAY + LEASE_EXPIRY.as_millis() as i64 + 1;
    let new = lake
        .acquire_lease(&name, "other", later, Duration::ZERO)
        .await
        .unwrap();
    let error = write(&old, 2).await.unwrap_err();
    assert!(matches!(error, LakeError::LeaseLost { .. }), "{error}");
    write(&new, 3).await.unwrap();
    let error = write(&old, 2).await.unwrap_err();
    assert!(matches!(error, LakeError::LeaseLost { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_itself_refuses_an_older_lease_number() {
    let lake = lake().await;
    let spec = schema::table("snapshots").unwrap();
    let lease = take(&lake, &source_lease("prom")).await;
    lease.renew(DAY).await.unwrap();
    let batches = vec![rows("snapshots", 3, 1)];
    lake.replace_window(&lease, "snapshots", "prom", day(), batches, info(DAY))
        .await
        .unwrap();
    // A lease of the same name in another lake starts at 1: its store says that it is held.
    let elsewhere = Lake::open("memory://").await.unwrap();
    let stale = take(&elsewhere, &source_lease("prom")).await;
    let error = commit::commit(&lake.store, spec, &stale, &info(DAY), |live| {
        Ok(Change::between(live.values(), std::iter::empty()))
    })
    .await
    .unwrap_err();
    assert!(
        matches!(error, LakeError::LeaseLost { number: 1, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_seen_only_through_its_publication() {
    let lake = lake().await;
    let lease = take(&lake, FLEET_LEASE).await;
    let raw = Pins::default();
    assert_eq!(lake.publication(None).await.unwrap(), None);
    let work = staged(&lake, "a", "r1", 1, 4).await;

    let view = LakeView::for_run(&raw, None).with_staged(work.clone());
    let session = lake.read_session(&view).await.unwrap();
    assert_eq!(count(&session, "ledger").await, 4);
    assert_eq!(count(&session, "findings").await, 4);
    assert_eq!(count(&session, "gpu_samples").await, 0);

    let first = lake
        .publish(&lease, None, &raw, work, details("a", "r1"))
        .await
        .unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(count(&published(&lake).await, "ledger").await, 4);
    assert_eq!(
        lake.publication(Some(1)).await.unwrap(),
        Some(first.clone())
    );
    let error = lake.publication(Some(2)).await.unwrap_err();
    assert!(
        matches!(error, LakeError::NoSuchPublication { newest: 1, .. }),
        "{error}"
    );

    let work = staged(&lake, "b", "r2", 2, 6).await;
    let second = lake
        .publish(&lease, Some(&first), &raw, work, details("b", "r2"))
        .await
        .unwrap();
    assert_eq!(second.runs.len(), 2);
    let session = published(&lake).await;
    assert_eq!(count(&session, "ledger").await, 10);
    assert_eq!(count(&session, "findings WHERE cluster = 'b'").await, 6);

    // A later run of `a` replaces its day and speaks for it from now on.
    let work = staged(&lake, "a", "r3", 3, 5).await;
    lake.publish(&lease, Some(&second), &raw, work, details("a", "r3"))
        .await
        .unwrap();
    let session = published(&lake).await;
    assert_eq!(count(&session, "ledger WHERE cluster = 'a'").await, 5);
    assert_eq!(count(&session, "findings WHERE cluster = 'a'").await, 5);
    assert_eq!(count(&session, "findings WHERE run_id = 'r1'").await, 0);
    let old = lake.publication(Some(1)).await.unwrap().unwrap();
    let session = lake.read_session(&LakeView::published(&old)).await.unwrap();
    assert_eq!(count(&session, "ledger").await, 4);
    assert_eq!(count(&session, "findings WHERE run_id = 'r1'").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_is_invisible_and_the_next_one_buries_it() {
    let lake = lake().await;
    let lease = take(&lake, FLEET_LEASE).await;
    let raw = Pins::default();
    let work = staged(&lake, "a", "r1", 1, 4).await;
    let first = lake
        .publish(&lease, None, &raw, work, details("a", "r1"))
        .await
        .unwrap();

    // It commits its tables, replacing a day of `a` and adding one, and dies.
    let mut dead = staged(&lake, "a", "dead", 2, 9).await;
    let extra = PartitionKey::new("2026-11-02", "a");
    dead.push(
        lake.stage("ledger", &extra, vec![rows("ledger", 3, 8)])
            .await
            .unwrap(),
    );
    publication::commit_tables(
        &lake.store,
        &lease,
        Some(&first),
        &raw,
        &dead,
        &details("a", "dead"),
    )
    .await
    .unwrap();
    assert_eq!(lake.publication(None).await.unwrap(), Some(first.clone()));
    assert_eq!(count(&published(&lake).await, "ledger").await, 4);
    assert_eq!(count(&published(&lake).await, "findings").await, 4);

    // A run of another cluster publishes: the dead rows are not among what it pins.
    let work = staged(&lake, "b", "r2", 3, 6).await;
    lake.publish(&lease, Some(&first), &raw, work, details("b", "r2"))
        .await
        .unwrap();
    let session = published(&lake).await;
    assert_eq!(count(&session, "ledger").await, 10);
    assert_eq!(count(&session, "ledger WHERE cluster = 'a'").await, 4);
    assert_eq!(count(&session, "findings").await, 10);
    assert_eq!(count(&session, "findings WHERE run_id = 'dead'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_the_same_rows_again_commits_no_table() {
    let lake = lake().await;
    let lease = take(&lake, FLEET_LEASE).await;
    let raw = Pins::default();
    let work = staged(&lake, "a", "r1", 1, 4).await;
    let first = lake
        .publish(&lease, None, &raw, work.clone(), details("a", "r1"))
        .await
        .unwrap();
    let second = lake
        .publish(&lease, Some(&first), &raw, work, details("a", "r1"))
        .await
        .unwrap();
    assert_eq!(first.tables, second.tables);
    assert_eq!(second.number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_publications_on_one_base_loses() {
    let lake = lake().await;
    let lease = take(&lake, FLEET_LEASE).await;
    let raw = Pins::default();
    let work = staged(&lake, "a", "r1", 1, 4).await;
    let first = lake
        .publish(&lease, None, &raw, work, details("a", "r1"))
        .await
        .unwrap();
    let winner = publication::put(&lake.store, Some(&first), first.pins(), details("b", "r2"))
        .await
        .unwrap();
    let late = publication::put(&lake.store, Some(&first), first.pins(), details("c", "r3")).await;
    assert!(matches!(
        late,
        Err(LakeError::PublicationTaken { number: 2 })
    ));
    let early = lake
        .publish(&lease, Some(&first), &raw, vec![], details("c", "r3"))
        .await;
    assert!(matches!(
        early,
        Err(LakeError::PublicationTaken { number: 2 })
    ));
    assert_eq!(lake.publication(None).await.unwrap(), Some(winner));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_windows_that_are_not_listed_are_not_shown() {
    let lake = lake().await;
    let lease = take(&lake, &source_lease("prom")).await;
    let half = TimeWindow::new(DAY, DAY + 12 * HOUR_MS);
    let rest = TimeWindow::new(DAY + 12 * HOUR_MS, DAY + DAY_MS);
    for (window, seed) in [(half, 1), (rest, 2)] {
        let batches = vec![rows("snapshots", 10, seed)];
        lake.replace_window(&lease, "snapshots", "prom", window, batches, info(DAY))
            .await
            .unwrap();
    }
    let pins = lake.head().await.unwrap();
    let windows = CompleteWindows::from([("prom".to_owned(), half)]);
    let view = LakeView::pinned(pins.clone()).with_windows(windows);
    let session = lake.read_session(&view).await.unwrap();
    assert_eq!(count(&session, "snapshots").await, 10);
    let edge = "snapshots WHERE ts >= TIMESTAMP '2026-11-01T00:16:49Z'";
    assert_eq!(count(&session, edge).await, 1);
    assert!(lake.complete_windows(&pins).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_on_partitions_read_only_their_files() {
    let lake = lake().await;
    let lease = take(&lake, FLEET_LEASE).await;
    let mut work = Vec::new();
    for (date, cluster, seed) in [
        ("2026-11-01", "a", 1),
        ("2026-11-01", "b", 2),
        ("2026-11-02", "a", 3),
    ] {
        let key = PartitionKey::new(date, cluster);
        let batch = rows("ledger", 3, seed);
        work.push(lake.stage("ledger", &key, vec![batch]).await.unwrap());
    }
    lake.publish(&lease, None, &Pins::default(), work, details("a", "r1"))
        .await
        .unwrap();
    let session = published(&lake).await;
    let sql = "SELECT * FROM ledger WHERE date = DATE '2026-11-02' AND cluster = 'a'";
    let plan = session.sql(sql).await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let text = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(false)
        .to_string();
    assert_eq!(text.matches(".parquet").count(), 1, "{text}");
    let all = query(&session, sql).await;
    let table = schema::table("ledger").unwrap().table_schema();
    assert_eq!(all[0].schema().fields(), table.fields());
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    let files_read = async |filter: &str| {
        let frame = session
            .sql(&format!("SELECT ms FROM ledger WHERE {filter}"))
            .await;
        let plan = frame.unwrap().create_physical_plan().await.unwrap();
        datafusion::physical_plan::displayable(plan.as_ref())
            .indent(false)
            .to_string()
            .matches(".parquet")
            .count()
    };
    assert_eq!(files_read("hour_ms >= 3000").await, 1);
    assert_eq!(files_read("hour_ms < 2000 OR cluster = 'b'").await, 2);
    assert_eq!(files_read("node = 'node-9'").await, 0);
    assert_eq!(files_read("ms = 2001").await, 3);
    let mixed = "ledger WHERE cluster = 'a' AND (ms >= 3001 OR date = DATE '2026-11-01')";
    assert_eq!(count(&session, mixed).await, 5);
    // Columns out of their order, partition and stored ones mixed.
    let sql = "SELECT ms, cluster, node, date FROM ledger WHERE ms = 2001";
    let batch = &query(&session, sql).await[0];
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "b");
    assert_eq!(batch.column(2).as_string::<i32>().value(0), "node-2001");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_only_read() {
    let lake = lake().await;
    let session = lake.read_session(&LakeView::default()).await.unwrap();
    for sql in [
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO ledger SELECT * FROM ledger",
        "DROP TABLE ledger",
        "SET datafusion.execution.batch_size = 1",
        "COPY (SELECT 1) TO 'x.parquet'",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/'",
    ] {
        let result = read_only_sql(&session, sql, BTreeMapParams::new()).await;
        assert!(result.is_err(), "{sql}");
    }
    let views = [
        ("v_one", "SELECT count(*) AS n FROM ledger"),
        ("v_two", "SELECT n + 1 AS n FROM v_one"),
    ];
    register_views(&session, &views).await.unwrap();
    let batches = query(&session, "SELECT n FROM v_two").await;
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    let bad = register_views(&session, &[("v", "DROP TABLE ledger")]).await;
    assert!(bad.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_can_be_written_and_read_back() {
    let lake = lake().await;
    let source = take(&lake, &source_lease("prom")).await;
    let fleet = take(&lake, FLEET_LEASE).await;
    let mut work = Vec::new();
    for spec in schema::TABLES {
        let batches = vec![rows(spec.name, 5, 1)];
        let key = match spec.kind {
            TableKind::Raw => {
                lake.replace_window(&source, spec.name, "prom", day(), batches, info(DAY))
                    .await
                    .unwrap();
                continue;
            }
            TableKind::Derived => PartitionKey::new("2026-11-01", "a"),
            TableKind::Run => PartitionKey::new("r1", "a"),
        };
        work.push(lake.stage(spec.name, &key, batches).await.unwrap());
    }
    let raw = lake.head().await.unwrap();
    lake.publish(&fleet, None, &raw, work, details("a", "r1"))
        .await
        .unwrap();
    let session = published(&lake).await;
    for spec in schema::TABLES {
        let batches = query(&session, &format!("SELECT * FROM {}", spec.name)).await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
        let expected = rows(spec.name, 5, 1);
        for field in spec.file_schema().fields() {
            let found = batches[0].column_by_name(field.name()).unwrap();
            let wanted = expected.column_by_name(field.name()).unwrap();
            assert_eq!(found, wanted, "{}.{}", spec.name, field.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_keep_the_files() {
    let lake = lake().await;
    let lease = take(&lake, &source_lease("prom")).await;
    for n in 0..25 {
        let window = TimeWindow::day_of(DAY + n * DAY_MS);
        let batches = vec![rows("snapshots", 2, n)];
        lake.replace_window(&lease, "snapshots", "prom", window, batches, info(DAY))
            .await
            .unwrap();
    }
    let log = lake
        .store
        .get("tables/snapshots/_delta_log/_last_checkpoint")
        .await;
    assert!(log.unwrap().is_some());
    let pins = lake.head().await.unwrap();
    let files = lake
        .files("snapshots", pins.tables["snapshots"])
        .await
        .unwrap();
    assert_eq!(files.len(), 25);
    assert!(
        files
            .iter()
            .all(|file| file.rows == 2 && file.window().is_some())
    );
    let batches = vec![rows("snapshots", 2, 3)];
    let window = TimeWindow::day_of(DAY + 3 * DAY_MS);
    let version = lake
        .replace_window(&lease, "snapshots", "prom", window, batches, info(DAY))
        .await
        .unwrap();
    assert_eq!(version, pins.tables["snapshots"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_is_missing_or_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
    let lease = take(&lake, &source_lease("prom")).await;
    for n in 0..3 {
        let window = TimeWindow::day_of(DAY + n * DAY_MS);
        let batches = vec![rows("snapshots", 2, n)];
        lake.replace_window(&lease, "snapshots", "prom", window, batches, info(DAY))
            .await
            .unwrap();
    }
    let files = lake.files("snapshots", 3).await.unwrap();
    let path = |n: usize| folder.path().join("tables/snapshots").join(&files[n].path);
    std::fs::remove_file(path(0)).unwrap();
    let mut bytes = std::fs::read(path(1)).unwrap();
    let end = bytes.len();
    bytes[end - 12..].fill(0);
    std::fs::write(path(1), &bytes).unwrap();
    let report = lake.check().await.unwrap();
    assert_eq!((report.files, report.faults.len()), (3, 2));
    assert!(report.faults[0].reason.contains("does not exist"));
    assert!(report.faults[1].reason.contains("not what was written"));
}

#[tokio::test]
async fn evidence_is_kept_once_and_checked() {
    let lake = lake().await;
    let digest = lake.put_evidence(b"SELECT 1").await.unwrap();
    assert_eq!(lake.put_evidence(b"SELECT 1").await.unwrap(), digest);
    assert_eq!(lake.get_evidence(&digest).await.unwrap(), "SELECT 1");
    let missing = lake.get_evidence(&"0".repeat(64)).await.unwrap_err();
    assert!(
        matches!(missing, LakeError::NoSuchEvidence { .. }),
        "{missing}"
    );
    let wrong = "1".repeat(64);
    let key = paths::evidence(&wrong).unwrap();
    lake.store.put_new(&key, Bytes::from("x")).await.unwrap();
    let damaged = lake.get_evidence(&wrong).await.unwrap_err();
    assert!(matches!(damaged, LakeError::Corrupt { .. }), "{damaged}");
}

#[tokio::test]
async fn reading_makes_no_lake() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("new");
    let url = url.to_str().unwrap();
    assert!(Lake::open_existing(url).await.is_err());
    Lake::open(url).await.unwrap();
    Lake::open_existing(url).await.unwrap();
}
