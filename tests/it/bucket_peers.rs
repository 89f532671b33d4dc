//! TSDB blocks in buckets, met with what others made: blocks written by Debian's real `promtool`, a
//! bucket compacted and downsampled by a real Thanos, S3 as moto speaks it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use idleproof::ingest::prometheus::{Labels, Matcher, SampleSource, SourceError};
use idleproof::ingest::tsdb::{BlockSource, Choice};
use idleproof::ingest::{BlockLocation, Source, SourceKind, SourceLocation, SourceSpec};
use idleproof::lake::bucket::{Bucket, StoreOptions};
use idleproof::model::TimeWindow;

use super::bucket_blocks::{blocks, by_name, files, read, upload};
use super::prometheus::{installed, start_prometheus};
use super::tsdb::{ALL, Content, copy};

const START_S: i64 = 1_793_491_200; // 2026-11-01T00:00:00Z, where blocks of two days begin too
const HOUR_S: i64 = 3600;

/// Blocks of two hours with `metrics` × `series` series, one sample a `step_s`.
fn make_blocks(folder: &Path, metrics: usize, series: usize, step_s: i64, hours: i64) {
    let mut text = String::new();
    for metric in 0..metrics {
        writeln!(text, "# TYPE metric_{metric:02} gauge").unwrap();
        for gpu in 0..series {
            for at in 0..hours * HOUR_S / step_s {
                let noise = (at * 7919 + (gpu * 31 + metric) as i64 * 104_729) % 1013;
                let value = noise as f64 / 7.0;
                let ts = START_S + at * step_s;
                writeln!(text, "metric_{metric:02}{{gpu=\"{gpu}\"}} {value} {ts}").unwrap();
            }
        }
    }
    text.push_str("# EOF\n");
    let file = folder.join("in.om");
    std::fs::write(&file, text).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "-q"])
        .args([&file, &folder.join("blocks")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn peers() -> PathBuf {
    let named = std::env::var("IDLEPROOF_PEERS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/idleproof-peers")
    });
    named.into()
}

/// A peer's program; its absence is an error where CI promises it.
fn peer(path: &str) -> Option<PathBuf> {
    let program = peers().join(path);
    let found = program.exists();
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "{path} is not among the peers"
    );
    if !found {
        println!("skipped: {path} is not among the peers");
    }
    found.then_some(program)
}

/// A process that ends with its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// S3 by moto on loopback with one empty bucket, and the options to reach it.
async fn moto() -> Option<(Ends, u16, StoreOptions)> {
    let python = peer("bin/python3")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Command::new(python)
        .args([
            "-m",
            "moto.server",
            "-H",
            "127.0.0.1",
            "-p",
            &port.to_string(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Ends(server);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let begun = Instant::now();
    while !client
        .put(&url)
        .send()
        .await
        .is_ok_and(|r| r.status().is_success())
    {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "moto does not answer"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let options = [
        ("endpoint", format!("http://127.0.0.1:{port}")),
        ("allow_http", "true".to_owned()),
        ("region", "us-east-1".to_owned()),
        ("access_key_id", "test".to_owned()),
        ("secret_access_key", "test".to_owned()),
    ];
    Some((server, port, options.into_iter().collect()))
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .map(|f| f.parse().unwrap())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}

async fn timed(what: &str, source: &BlockSource) -> Content {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let content = read(source, &[], ALL).await.unwrap();
    let samples: usize = by_name(&content).values().sum();
    println!(
        "{what}: {samples} samples, {:.2} s wall, {:.2} CPU s, {:?}",
        wall.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
        source.traffic()
    );
    content
}

/// Blocks by Debian's promtool, in S3 by moto: the same samples, and only the bytes that a
/// selector needs.
#[tokio::test(flavor = "multi_thread")]
async fn moto_s3_gives_the_same_samples_and_only_what_is_asked_for() {
    if !installed("promtool") {
        return;
    }
    let Some((_server, port, options)) = moto().await else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    make_blocks(scratch.path(), 40, 50, 30, 4);
    let folder = scratch.path().join("blocks");
    let local = BlockSource::open(&folder).unwrap();
    let want = timed("disk", &local).await;
    assert_eq!(want.len(), 2000);

    let bucket = Bucket::open("s3://metrics/deep/prefix", &options).unwrap();
    upload(&folder, &bucket, "").await;
    let whole = BlockSource::open_bucket(bucket.clone(), Choice::default())
        .await
        .unwrap();
    assert_eq!(timed("S3 by moto", &whole).await, want);
    let (all, size) = (whole.traffic(), whole.size_bytes());
    assert!(all.bytes <= size + size / 10, "{all:?} of {size}");
    assert!(all.bytes >= size / 2, "{all:?} of {size}");

    let few = BlockSource::open_bucket(bucket.clone(), Choice::default())
        .await
        .unwrap();
    let matchers = [Matcher::equal("__name__", "metric_17")];
    let first = TimeWindow::new(START_S * 1000, (START_S + 2 * HOUR_S) * 1000);
    let mut some = read(&local, &matchers, ALL).await.unwrap();
    assert_eq!(read(&few, &matchers, ALL).await.unwrap(), some);
    let once = few.traffic();
    println!("one metric of 40: {once:?} of {size} bytes");
    assert!(once.bytes * 5 <= size, "{once:?} of {size}");
    // Another read of the same blocks needs no header again, and half the window half the blocks.
    some = read(&local, &matchers, first).await.unwrap();
    assert_eq!(read(&few, &matchers, first).await.unwrap(), some);
    let again = few.traffic().bytes - once.bytes;
    assert!(again * 2 < once.bytes, "{again} after {once:?}");

    // As the configuration opens it.
    let location = BlockLocation {
        url: "s3://metrics/deep/prefix".to_owned(),
        options: options.clone(),
        choice: Choice::default(),
    };
    let spec = SourceSpec {
        name: "blocks".to_owned(),
        kind: SourceKind::Tsdb,
        location: SourceLocation::Blocks(Box::new(location)),
    };
    let extent = Source::open(spec).await.unwrap().extent().await.unwrap();
    let spanned = local.extent().await.unwrap();
    assert_eq!(extent.unwrap().intersect(&spanned.unwrap()), spanned);

    let gone = Bucket::open(&format!("s3://none{port}/x"), &options).unwrap();
    let error = BlockSource::open_bucket(gone, Choice::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Remote { .. }), "{error}");
}

/// Runs a Thanos command to its end.
fn thanos(program: &Path, scratch: &Path, args: &[&str]) {
    let config = scratch.join("bucket.yml");
    let run = Command::new(program)
        .args(args)
        .arg(format!("--objstore.config-file={}", config.display()))
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .current_dir(scratch)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "thanos {args:?}: {said}");
}

fn compact(program: &Path, scratch: &Path, more: &[&str]) {
    let mut args = vec![
        "compact",
        "--data-dir=compact",
        "--consistency-delay=0s",
        "--http-address=127.0.0.1:0",
        "--log.level=warn",
    ];
    args.extend(more);
    thanos(program, scratch, &args);
}

fn with_cluster(content: Content) -> Content {
    let add = |labels: Labels| {
        let mut pairs = labels.into_pairs();
        pairs.push(("cluster".to_owned(), "eu".to_owned()));
        Labels::new(pairs)
    };
    content.into_iter().map(|(k, v)| (add(k), v)).collect()
}

/// Five days of promtool's two-hour blocks and what they hold.
async fn five_days(scratch: &Path) -> (PathBuf, Content) {
    make_blocks(scratch, 2, 4, 60, 120);
    let folder = scratch.join("blocks");
    assert_eq!(blocks(&folder).len(), 60);
    let source = BlockSource::open(&folder).unwrap();
    let want = with_cluster(read(&source, &[], ALL).await.unwrap());
    (folder, want)
}

/// Debian's real Prometheus compacts two-hour blocks: what it makes of them stands for them, also
/// where both are there.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_compacts_blocks_and_they_stand_for_their_sources() {
    if !installed("promtool") || !installed("prometheus") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    make_blocks(scratch.path(), 2, 4, 60, 120);
    let (sources, data) = (scratch.path().join("blocks"), scratch.path().join("data"));
    let want = read(&BlockSource::open(&sources).unwrap(), &[], ALL)
        .await
        .unwrap();
    copy(&sources, &data);
    let server = start_prometheus(scratch.path()).await;
    // It looks for work once a minute, and is done when nothing changes any more.
    let begun = Instant::now();
    let (mut seen, mut since) = (blocks(&data), Instant::now());
    while seen.len() == 60 || since.elapsed() < Duration::from_secs(5) {
        assert!(
            begun.elapsed() < Duration::from_mins(4),
            "it compacts nothing"
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = blocks(&data);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    drop(server);
    let both = scratch.path().join("both");
    copy(&sources, &both);
    for block in &seen {
        copy(&data.join(block), &both.join(block));
    }
    let local = BlockSource::open(&both).unwrap();
    let disk = Bucket::open(both.to_str().unwrap(), &StoreOptions::default()).unwrap();
    let remote = BlockSource::open_bucket(disk, Choice::default())
        .await
        .unwrap();
    let census = remote.census();
    println!(
        "{} blocks became {}: {census:?}",
        blocks(&sources).len(),
        seen.len()
    );
    assert_eq!(local.census(), census);
    assert_eq!(census.read, seen.len());
    assert!(census.superseded > 30, "{census:?}");
    for source in [&local, &remote, &BlockSource::open(&data).unwrap()] {
        assert!(read(source, &[], ALL).await.unwrap() == want);
    }
}

/// A bucket on disk that a real Thanos compacts and downsamples: before, with the compacted blocks
/// and their sources both there, with the sources marked, and when they are gone.
#[tokio::test(flavor = "multi_thread")]
async fn thanos_compacts_a_bucket_and_the_samples_stay() {
    let Some(program) = peer("servers/thanos-new").filter(|_| installed("promtool")) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let (folder, want) = five_days(scratch.path()).await;
    let bucket = scratch.path().join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    let config = format!(
        "type: FILESYSTEM\nconfig: {{directory: {}}}\n",
        bucket.display()
    );
    std::fs::write(scratch.path().join("bucket.yml"), config).unwrap();
    let path = format!("--path={}", folder.display());
    thanos(
        &program,
        scratch.path(),
        &[
            "tools",
            "bucket",
            "upload-blocks",
            &path,
            "--label=cluster=\"eu\"",
        ],
    );
    let open = async || {
        let disk = Bucket::open(bucket.to_str().unwrap(), &StoreOptions::default()).unwrap();
        let there = BlockSource::open_bucket(disk, Choice::default())
            .await
            .unwrap();
        let local = BlockSource::open(&bucket).unwrap();
        assert_eq!(local.census(), there.census());
        assert!(read(&local, &[], ALL).await.unwrap() == want);
        there
    };
    let before = open().await;
    assert_eq!(before.census().read, 60);
    assert!(read(&before, &[], ALL).await.unwrap() == want);

    compact(&program, scratch.path(), &["--delete-delay=48h"]);
    let marked = open().await;
    println!("after compaction: {:?}", marked.census());
    assert!(
        marked.census().marked_for_deletion > 30,
        "{:?}",
        marked.census()
    );
    assert!(marked.census().downsampled > 0, "{:?}", marked.census());
    assert!(marked.census().read < 30, "{:?}", marked.census());
    assert!(read(&marked, &[], ALL).await.unwrap() == want);

    // As a lister sees it that looks between the upload and the marks.
    for (key, path) in files(&bucket) {
        if key.ends_with("deletion-mark.json") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let both = open().await;
    println!("sources unmarked: {:?}", both.census());
    assert!(both.census().superseded > 30, "{:?}", both.census());
    assert_eq!(both.census().read, marked.census().read);
    assert!(read(&both, &[], ALL).await.unwrap() == want);

    // Thanos marks the sources again and deletes them, while `before` still knows only them.
    compact(&program, scratch.path(), &["--delete-delay=0s"]);
    compact(&program, scratch.path(), &["--delete-delay=0s"]);
    let after = open().await;
    println!("sources deleted: {:?}", after.census());
    assert!(blocks(&bucket).len() < 40);
    assert!(read(&after, &[], ALL).await.unwrap() == want);
    assert!(read(&before, &[], ALL).await.unwrap() == want);
}

/// The same through S3: uploaded and compacted by Thanos, read by ranges.
#[tokio::test(flavor = "multi_thread")]
async fn thanos_compacts_in_s3_by_moto_and_the_samples_stay() {
    let Some(program) = peer("servers/thanos-new").filter(|_| installed("promtool")) else {
        return;
    };
    let Some((_server, port, options)) = moto().await else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let (folder, want) = five_days(scratch.path()).await;
    let config = format!(
        "type: S3\nconfig: {{bucket: metrics, endpoint: '127.0.0.1:{port}', region: us-east-1, \
         insecure: true, access_key: test, secret_key: test}}\n"
    );
    std::fs::write(scratch.path().join("bucket.yml"), config).unwrap();
    let path = format!("--path={}", folder.display());
    thanos(
        &program,
        scratch.path(),
        &[
            "tools",
            "bucket",
            "upload-blocks",
            &path,
            "--label=cluster=\"eu\"",
        ],
    );
    let bucket = Bucket::open("s3://metrics", &options).unwrap();
    let before = BlockSource::open_bucket(bucket.clone(), Choice::default())
        .await
        .unwrap();
    assert!(read(&before, &[], ALL).await.unwrap() == want);
    compact(
        &program,
        scratch.path(),
        &["--downsampling.disable", "--delete-delay=48h"],
    );
    let after = BlockSource::open_bucket(bucket, Choice::default())
        .await
        .unwrap();
    println!("compacted in S3: {:?}", after.census());
    assert!(after.census().read < before.census().read);
    assert!(read(&after, &[], ALL).await.unwrap() == want);
}
