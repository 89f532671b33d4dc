//! Upkeep as a user meets it: the commands, what they print, how they end, and what other engines
//! read afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use idleproof::lake::schema::table;
use idleproof::lake::{FLEET_LEASE, Lake, PartitionKey, Retention, VacuumOptions, source_lease};
use idleproof::model::time::DAY_MS;
use serde_json::Value;

use crate::lake::{assert_agree, ours, read_with_others};
use crate::lake_work::{DAY, compact, halves, ingest, keeper, look, publish};
use crate::old_lakes::rewrite;

const FAR_MS: i64 = DAY + 5000 * DAY_MS;

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) lake: Lake,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n";
        fs::write(folder.path().join("idleproof.toml"), text).unwrap();
        let lake = Lake::open(&folder.path().join("lake").to_string_lossy())
            .await
            .unwrap();
        Self { folder, lake }
    }

    pub(crate) fn idleproof(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_idleproof"))
            .args(args)
            .arg("--config")
            .arg(self.folder.path().join("idleproof.toml"))
            .output()
            .unwrap()
    }

    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.folder.path().join("lake/tables").join(name)
    }

    async fn first_file(&self, name: &str) -> PathBuf {
        let version = self.lake.head().await.unwrap().tables[name];
        let files = self.lake.files(name, version).await.unwrap();
        self.table(name).join(&files[0].path)
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_engines_read_equal_rows_after_compaction_and_vacuum() {
    let site = Site::new().await;
    let lake = &site.lake;
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    ingest(lake, "t", [5, 6], DAY).await.unwrap();
    ingest(lake, "s", [1, 3], DAY).await.unwrap();
    publish(lake, "c", 1, DAY).await.unwrap();
    let digests = |lake: &Lake| {
        let lake = lake.clone();
        async move { ours(&lake, table("ingest_windows").unwrap()).await }
    };
    let names = [
        "gpu_samples",
        "serving_samples",
        "ingest_windows",
        "ledger",
        "findings",
    ];
    let mut before = BTreeMap::new();
    for name in names {
        before.insert(name, ours(lake, table(name).unwrap()).await);
    }
    let windows = digests(lake).await;
    assert_eq!(compact(lake, DAY).await.unwrap(), 2);
    assert_eq!(compact(lake, DAY).await.unwrap(), 0, "compact already");
    publish(lake, "c", 2, DAY + DAY_MS).await.unwrap();
    assert_eq!(
        digests(lake).await,
        windows,
        "a digest would rebuild the day"
    );
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        dry_run: false,
        publications_before_ms: Some(DAY + 1),
        evidence_before_ms: None,
    };
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert!(report.data_files > 4, "{report:?}");
    for name in ["gpu_samples", "serving_samples", "ingest_windows"] {
        let version = lake.head().await.unwrap().tables[name];
        let files = lake.files(name, version).await.unwrap();
        // One file a source, where there were two.
        assert_eq!(files.len(), 2, "{name}");
        assert!(files.iter().all(|file| file.is_compacted()));
        assert_eq!(
            ours(lake, table(name).unwrap()).await,
            before[name],
            "{name}"
        );
    }
    let Some(theirs) = read_with_others(&site.folder.path().join("lake"), &names) else {
        return;
    };
    for name in ["gpu_samples", "serving_samples", "ingest_windows", "ledger"] {
        assert_agree(&theirs, name, &ours(lake, table(name).unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_takes_old_days_and_earlier_publications_keep_theirs() {
    let site = Site::new().await;
    let lake = &site.lake;
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    publish(lake, "c", 1, DAY).await.unwrap();
    let all = Retention::default();
    let none = keeper(lake, FAR_MS).retain(&all).await.unwrap();
    assert_eq!((none.raw_files, none.derived_partitions), (0, 0));
    // The newest day is never too old, however late it is.
    let one_day = Retention {
        raw_days: Some(1),
        derived_days: Some(1),
    };
    let none = keeper(lake, FAR_MS).retain(&one_day).await.unwrap();
    assert_eq!((none.raw_files, none.derived_partitions), (0, 0));

    // A newer day of another source makes the first one old.
    let lease = lake
        .acquire_lease(&source_lease("u"), "test", DAY, Duration::ZERO)
        .await
        .unwrap();
    let newer = idleproof::model::TimeWindow::day_of(DAY + 3 * DAY_MS);
    let spec = table("ingest_windows").unwrap();
    let window = crate::lake::rows(spec, 1, 1);
    let info = idleproof::lake::CommitInfo::default();
    lake.replace_window(&lease, spec.name, "u", newer, vec![window], info)
        .await
        .unwrap();
    lease.release(DAY).await.unwrap();
    let taken = keeper(lake, FAR_MS).retain(&one_day).await.unwrap();
    assert!(taken.raw_files >= 6, "{taken:?}");
    assert_eq!(taken.derived_partitions, 1);
    let info = lake.info().await.unwrap();
    assert_eq!(info.publications, [1, 2]);
    let rows = |name: &str| info.tables.iter().find(|t| t.table == name).unwrap().rows;
    assert_eq!(
        (rows("gpu_samples"), rows("ledger"), rows("findings")),
        (0, 0, 2)
    );
    let old = lake.publication(Some(1)).await.unwrap().unwrap();
    let seen = crate::lake_work::published(lake, &old).await.unwrap();
    assert_eq!(seen["c"], 1);
    // A day that is gone is not taken for unchanged.
    let new = lake.publication(None).await.unwrap().unwrap();
    assert!(old.digests.contains_key("derive/c/2026-11-01"));
    assert!(!new.digests.contains_key("derive/c/2026-11-01"));
    let again = keeper(lake, FAR_MS).retain(&one_day).await.unwrap();
    assert_eq!((again.raw_files, again.derived_partitions), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_keeps_what_is_pinned_or_young() {
    let site = Site::new().await;
    let lake = &site.lake;
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    publish(lake, "c", 1, DAY).await.unwrap();
    ingest(lake, "s", [1, 3], DAY).await.unwrap();
    publish(lake, "c", 2, DAY + DAY_MS).await.unwrap();
    // What a run that died has staged, and evidence that nobody names.
    let key = PartitionKey::new("2026-11-01", "dead");
    let spec = table("ledger").unwrap();
    lake.stage("ledger", &key, vec![crate::lake::rows(spec, 2, 9)])
        .await
        .unwrap();
    lake.put_evidence(b"of nobody").await.unwrap();
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        ..VacuumOptions::default()
    };
    // All publications are kept, so only the orphan goes.
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert_eq!(
        (report.data_files, report.evidence_files),
        (1, 0),
        "{report:?}"
    );
    for number in [1, 2] {
        let publication = lake.publication(Some(number)).await.unwrap().unwrap();
        let seen = crate::lake_work::published(lake, &publication)
            .await
            .unwrap();
        assert_eq!(seen["c"], number as i64);
    }
    // Replaced a short while ago: a reader may be at it.
    let options = VacuumOptions {
        older_than_ms: FAR_MS,
        publications_before_ms: Some(DAY + 1),
        ..options
    };
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert_eq!((report.data_files, report.publications), (0, vec![1]));
    let gone = lake.publication(Some(1)).await;
    assert!(gone.is_err());
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        evidence_before_ms: Some(FAR_MS),
        ..options
    };
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert!(report.data_files >= 3, "{report:?}");
    assert_eq!(report.evidence_files, 1);
    assert_eq!(look(lake).await.unwrap().windows, halves("s", [1, 3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_cut_only_before_what_publications_need() {
    let site = Site::new().await;
    let lake = &site.lake;
    for version in 0..25 {
        publish(lake, "c", version, DAY + version).await.unwrap();
    }
    let logs = || {
        fs::read_dir(site.table("ledger").join("_delta_log"))
            .unwrap()
            .count()
    };
    let before = logs();
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        ..VacuumOptions::default()
    };
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert_eq!(
        (report.log_files, logs()),
        (0, before),
        "all publications are kept"
    );
    let options = VacuumOptions {
        publications_before_ms: Some(DAY + 23),
        ..options
    };
    let report = keeper(lake, FAR_MS).vacuum(&options).await.unwrap();
    assert!(report.log_files > 20, "{report:?}");
    assert!(logs() < before - 15, "{} of {before}", logs());
    for number in [24, 25] {
        let publication = lake.publication(Some(number)).await.unwrap().unwrap();
        let seen = crate::lake_work::published(lake, &publication)
            .await
            .unwrap();
        assert_eq!(seen["c"], number as i64 - 1);
    }
    publish(lake, "c", 26, DAY + 26).await.unwrap();
    assert_eq!(look(lake).await.unwrap().published["c"], 26);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_say_what_they_do() {
    let site = Site::new().await;
    ingest(&site.lake, "s", [1, 2], DAY).await.unwrap();
    publish(&site.lake, "c", 1, DAY).await.unwrap();
    let info = site.idleproof(&["lake", "info"]);
    assert_eq!(info.status.code(), Some(0), "{}", text(&info.stderr));
    let shown = text(&info.stdout);
    for part in [
        "gpu_samples",
        "2026-11-01",
        "bytes a sample",
        "lease fleet: free",
        "publications: 1",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let info = site.idleproof(&["lake", "info", "-o", "json"]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["samples"], 16);
    assert_eq!(info["publications"][0], 1);
    let csv = site.idleproof(&["lake", "info", "-o", "csv"]);
    assert!(text(&csv.stdout).starts_with("table,kind,version,files,rows,bytes"));

    let done = site.idleproof(&["lake", "compact", "--before", "2026-11-02"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(
        text(&done.stdout).contains("1 days made compact"),
        "{}",
        text(&done.stdout)
    );
    let dry = site.idleproof(&["lake", "vacuum", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry.stderr));
    assert!(
        text(&dry.stdout).contains("would delete 0 data files"),
        "{}",
        text(&dry.stdout)
    );
    let whole = site.idleproof(&["lake", "verify"]);
    assert_eq!(
        whole.status.code(),
        Some(0),
        "{}{}",
        text(&whole.stdout),
        text(&whole.stderr)
    );
    assert!(
        text(&whole.stdout).contains("2 windows"),
        "{}",
        text(&whole.stdout)
    );
    assert_eq!(look(&site.lake).await.unwrap().windows, halves("s", [1, 2]));
}

/// What `lake verify` prints, and that it ends with 4 and names the file.
fn finds(site: &Site, file: &Path, reason: &str) {
    let output = site.idleproof(&["lake", "verify"]);
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(4),
        "{shown}{}",
        text(&output.stderr)
    );
    let name = file.file_name().unwrap().to_string_lossy();
    let line = shown.lines().find(|line| line.contains(&*name));
    let line = line.unwrap_or_else(|| panic!("{name} is not named in\n{shown}"));
    assert!(line.contains(reason), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_names_the_file_that_is_not_as_it_was_written() {
    let site = Site::new().await;
    ingest(&site.lake, "s", [1, 2], DAY).await.unwrap();
    publish(&site.lake, "c", 1, DAY).await.unwrap();
    let file = site.first_file("gpu_samples").await;
    let good = fs::read(&file).unwrap();

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&file, &flipped).unwrap();
    finds(&site, &file, "not what was written");

    fs::remove_file(&file).unwrap();
    finds(&site, &file, "does not exist");

    // Two files behind each other are a file with stray row groups before its own.
    let twice = [good.clone(), good.clone()].concat();
    fs::write(&file, &twice).unwrap();
    finds(&site, &file, "bytes and the log says");
    fs::write(&file, &good).unwrap();

    // Bounds in the log that the rows do not have: other engines would pass the file over.
    let folder = site.table("gpu_samples");
    let logs = fs::read_dir(folder.join("_delta_log")).unwrap();
    let logs = logs.map(|entry| entry.unwrap().path());
    let logs: Vec<(PathBuf, Vec<u8>)> = logs.map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    rewrite(&folder, &mut |action| {
        let stats = action["add"]["stats"].as_str().map(str::to_owned);
        if let Some(stats) = stats {
            let mut stats: Value = serde_json::from_str(&stats).unwrap();
            stats["minValues"]["node"] = "o".into();
            action["add"]["stats"] = stats.to_string().into();
        }
    });
    finds(&site, &file, "statistics");
    for (path, bytes) in logs {
        fs::write(path, bytes).unwrap();
    }

    let stray = file.with_file_name("part-00000.parquet");
    fs::write(&stray, &good).unwrap();
    finds(&site, &stray, "no version names it");
    fs::remove_file(&stray).unwrap();

    // An orphan of a killed writer is what it says it is: a note and no fault.
    let spec = table("ledger").unwrap();
    let key = PartitionKey::new("2026-11-01", "dead");
    let rows = vec![crate::lake::rows(spec, 2, 9)];
    site.lake.stage("ledger", &key, rows).await.unwrap();
    let output = site.idleproof(&["lake", "verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(
        text(&output.stderr).contains("note: "),
        "{}",
        text(&output.stderr)
    );

    // A window that lost rows in a commit that looks right.
    let lease = site
        .lake
        .acquire_lease(&source_lease("s"), "test", FAR_MS, Duration::ZERO)
        .await
        .unwrap();
    let window = idleproof::model::TimeWindow::new(DAY, DAY + DAY_MS / 2);
    let info = idleproof::lake::CommitInfo::default();
    site.lake
        .replace_window(&lease, "gpu_samples", "s", window, vec![], info)
        .await
        .unwrap();
    finds(
        &site,
        Path::new("gpu_samples"),
        "has 0 rows and came with 4",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_waits_and_leaves_with_7() {
    let site = Site::new().await;
    ingest(&site.lake, "s", [1, 2], DAY).await.unwrap();
    let now_ms = chrono::Utc::now().timestamp_millis();
    let held = site
        .lake
        .acquire_lease(FLEET_LEASE, "the first run", now_ms, Duration::ZERO)
        .await
        .unwrap();
    let started = Instant::now();
    let second = site.idleproof(&["run", "--no-ingest", "--lease-wait", "1"]);
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(7), "{said}");
    assert!(
        said.contains("the first run") && said.contains("--lease-wait"),
        "{said}"
    );
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "it did not wait"
    );
    held.release(now_ms).await.unwrap();
}
