//! TSDB blocks against the truth that Prometheus' own storage library wrote, and against hostile
//! files. Values are compared by bits.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use idleproof::ingest::prometheus::{
    Labels, Matcher, Pattern, SampleSource, SeriesSamples, SourceError,
};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::model::TimeWindow;
use serde_json::Value;

pub(crate) const ALL: TimeWindow = TimeWindow::new(i64::MIN, i64::MAX);

pub(crate) type Floats = Vec<(i64, u64)>;
/// Time, schema, count, bits of the sum, stale.
pub(crate) type Histograms = Vec<(i64, i32, f64, u64, bool)>;
pub(crate) type Content = BTreeMap<Labels, (Floats, Histograms)>;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tsdb")
        .join(name)
}

pub(crate) fn content(series: Vec<SeriesSamples>) -> Content {
    let mut out = Content::new();
    for one in series {
        let floats = one.samples.iter();
        let floats = floats.map(|s| (s.ts_ms, s.value.to_bits())).collect();
        let histograms = one.histograms.iter();
        let histograms = histograms
            .map(|h| (h.ts_ms, h.schema, h.count, h.sum.to_bits(), h.is_stale()))
            .collect();
        let again = out.insert(one.labels, (floats, histograms));
        assert!(again.is_none(), "a series came twice");
    }
    out
}

fn read(
    source: &BlockSource,
    matchers: &[Matcher],
    window: TimeWindow,
) -> Result<Content, SourceError> {
    let mut all = Vec::new();
    source.read_blocking(matchers, window, &mut |series| {
        all.push(series);
        Ok(())
    })?;
    Ok(content(all))
}

fn read_folder(folder: &Path) -> Result<Content, SourceError> {
    read(&BlockSource::open(folder)?, &[], ALL)
}

pub(crate) fn truth(folder: &Path) -> Content {
    let text = std::fs::read_to_string(folder.join("truth.ndjson")).unwrap();
    let bits = |v: &Value| u64::from_str_radix(v.as_str().unwrap(), 16).unwrap();
    let mut out = Content::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let labels = row["labels"].as_object().unwrap().iter();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
        let empty = Vec::new();
        let floats = row["floats"].as_array().unwrap_or(&empty).iter();
        let floats = floats
            .map(|s| (s[0].as_i64().unwrap(), bits(&s[2])))
            .collect();
        let histograms = row["histograms"].as_array().unwrap_or(&empty).iter();
        let histograms = histograms
            .map(|h| {
                (
                    h["t"].as_i64().unwrap(),
                    h["schema"].as_i64().unwrap() as i32,
                    h["count"].as_f64().unwrap(),
                    bits(&h["sum_bits"]),
                    h["stale"].as_bool().unwrap(),
                )
            })
            .collect();
        out.insert(labels.collect(), (floats, histograms));
    }
    out
}

pub(crate) const FOLDERS: [&str; 7] = [
    "xor",
    "xor2",
    "xor2-start",
    "tombstones",
    "overlap",
    "histogram",
    "histogram-start",
];

#[test]
fn every_encoding_reads_as_prometheus_reads_it() {
    for name in FOLDERS {
        let (got, want) = (read_folder(&fixture(name)).unwrap(), truth(&fixture(name)));
        assert!(!want.is_empty());
        let series = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
        assert_eq!(series(&got), series(&want), "{name}");
        for (labels, samples) in &want {
            assert_eq!(&got[labels], samples, "{name}: {labels}");
        }
    }
}

#[test]
fn every_histogram_bucket_is_there() {
    let source = BlockSource::open(&fixture("histogram")).unwrap();
    let mut seen = 0;
    let mut check = |series: SeriesSamples| {
        for sample in series.histograms.iter().filter(|h| !h.is_stale()) {
            let total: f64 = sample.buckets.iter().map(|b| b.count).sum();
            assert_eq!(total, sample.count, "{} {}", series.labels, sample.ts_ms);
            assert!(sample.buckets.is_sorted_by(|a, b| a.upper <= b.lower));
            assert!(sample.buckets.iter().all(|b| b.lower < b.upper));
            seen += 1;
        }
        Ok(())
    };
    source.read_blocking(&[], ALL, &mut check).unwrap();
    assert!(seen > 100);
}

#[test]
fn matchers_and_windows_select_what_they_say() {
    let source = BlockSource::open(&fixture("overlap")).unwrap();
    let all = truth(&fixture("overlap"));
    let span = |c: &Content| {
        let times = c.values().flat_map(|(f, _)| f.iter().map(|s| s.0));
        (times.clone().min().unwrap(), times.max().unwrap())
    };
    let (first, last) = span(&all);
    let middle = TimeWindow::new(first + (last - first) / 3, first + (last - first) / 2);
    let cases = [
        vec![Matcher::equal("__name__", "fx_counter")],
        vec![Matcher::one_of(
            "__name__",
            ["fx_counter", "fx_constant", "none"],
        )],
        vec![
            Matcher::prefix("__name__", "fx_dod"),
            Matcher::not_equal("edge", "1"),
        ],
        vec![Matcher::equal("edge", "")],
        vec![
            Matcher::none_of("__name__", vec![Pattern::Prefix("fx_c".into())]),
            Matcher::any_of(
                "edge",
                vec![Pattern::Exact(String::new()), Pattern::Prefix("2".into())],
            ),
        ],
        vec![Matcher::one_of::<String>("__name__", [])],
        vec![],
    ];
    for matchers in cases {
        for window in [
            ALL,
            middle,
            TimeWindow::new(first, first + 1),
            TimeWindow::new(last, last),
        ] {
            let mut want = all.clone();
            want.retain(|labels, (floats, _)| {
                floats.retain(|s| window.contains(s.0));
                !floats.is_empty() && matchers.iter().all(|m| m.accepts(labels))
            });
            assert_eq!(
                read(&source, &matchers, window).unwrap(),
                want,
                "{matchers:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_source_says_what_it_spans_and_streams_the_same() {
    let source = BlockSource::open(&fixture("overlap")).unwrap();
    let all = truth(&fixture("overlap"));
    let times = || all.values().flat_map(|(f, _)| f.iter().map(|s| s.0));
    let extent = source.extent().await.unwrap().unwrap();
    let want = TimeWindow::new(times().min().unwrap(), times().max().unwrap() + 1);
    assert_eq!(extent, want);

    let mut got = Vec::new();
    let mut sink = |series| {
        got.push(series);
        Ok(())
    };
    source.read(&[], extent, &mut sink).await.unwrap();
    assert_eq!(content(got), all);

    let mut refuse = |_| Err("full".into());
    let error = source.read(&[], extent, &mut refuse).await.unwrap_err();
    assert!(matches!(error, SourceError::Sink(_)), "{error}");
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Files of the only block of a copied fixture: index, chunks, tombstones, meta.json.
fn block_files(folder: &Path) -> Vec<PathBuf> {
    let is_block = |path: &PathBuf| path.join("meta.json").is_file();
    let entries = std::fs::read_dir(folder).unwrap();
    let block = entries.map(|e| e.unwrap().path()).find(is_block).unwrap();
    ["index", "chunks/000001", "tombstones", "meta.json"]
        .map(|name| block.join(name))
        .into()
}

fn assert_names(error: &SourceError, path: &Path) {
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains("restore the block"), "{message}");
}

/// Index, chunks and tombstones are covered by checksums to the last byte: any flip is an error
/// that names the file. `meta.json` has none: a flip there must not change a sample.
#[test]
fn a_flipped_byte_is_an_error_or_changes_nothing() {
    for (name, step) in [("tombstones", 67), ("histogram", 211), ("xor2-start", 127)] {
        let scratch = tempfile::tempdir().unwrap();
        copy(&fixture(name), scratch.path());
        let want = truth(scratch.path());
        for path in block_files(scratch.path()) {
            let sound = std::fs::read(&path).unwrap();
            // Every byte of what is small, a sample of what is not.
            let step = if sound.len() < 400 { 1 } else { step };
            for at in (0..sound.len()).step_by(step) {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bytes).unwrap();
                match read_folder(scratch.path()) {
                    Err(error) => assert_names(&error, path.parent().unwrap()),
                    Ok(got) => {
                        assert!(path.ends_with("meta.json"), "{}: byte {at}", path.display());
                        assert_eq!(got, want, "byte {at}");
                    }
                }
            }
            std::fs::write(&path, &sound).unwrap();
        }
    }
}

#[test]
fn a_cut_file_is_an_error_that_names_it() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture("tombstones"), scratch.path());
    for path in block_files(scratch.path()) {
        let sound = std::fs::read(&path).unwrap();
        let step = if sound.len() < 1000 { 1 } else { 97 };
        for end in (0..sound.len()).step_by(step).chain([sound.len() - 1]) {
            std::fs::write(&path, &sound[..end]).unwrap();
            assert_names(&read_folder(scratch.path()).unwrap_err(), &path);
        }
        std::fs::write(&path, [sound.as_slice(), &[0; 40]].concat()).unwrap();
        if !path.ends_with("chunks/000001") {
            assert_names(&read_folder(scratch.path()).unwrap_err(), &path);
        }
        std::fs::write(&path, &sound).unwrap();
    }
    assert_eq!(read_folder(scratch.path()).unwrap(), truth(scratch.path()));
}

/// A chunk whose checksum is right but whose encoding is of a later Prometheus.
#[test]
fn an_unknown_encoding_fails_the_read() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture("xor"), scratch.path());
    let path = &block_files(scratch.path())[1];
    let mut bytes = std::fs::read(path).unwrap();
    // The first chunk begins behind the header of 8 bytes: length, encoding, data, checksum.
    let (mut len, mut at, mut shift) = (0_usize, 8, 0);
    loop {
        len |= usize::from(bytes[at] & 0x7f) << shift;
        shift += 7;
        at += 1;
        if bytes[at - 1] < 0x80 {
            break;
        }
    }
    bytes[at] = 9;
    let sum = crc32c::crc32c(&bytes[at..=at + len]).to_be_bytes();
    bytes[at + len + 1..at + len + 5].copy_from_slice(&sum);
    std::fs::write(path, bytes).unwrap();
    let error = read_folder(scratch.path()).unwrap_err();
    assert_names(&error, path);
    assert!(error.to_string().contains("encoding 9"), "{error}");
}

#[test]
fn a_folder_without_blocks_says_what_it_looked_for() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir(scratch.path().join("wal")).unwrap();
    for folder in [scratch.path().to_owned(), scratch.path().join("gone")] {
        let error = BlockSource::open(&folder).unwrap_err().to_string();
        assert!(error.contains(&folder.display().to_string()), "{error}");
    }
}
