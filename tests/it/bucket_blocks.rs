//! TSDB blocks in buckets: the layouts of Thanos, Mimir and Cortex, which blocks are chosen, what is
//! fetched of them, and hostile ones. Made of real blocks; buckets in memory and on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use idleproof::ingest::prometheus::{Labels, Matcher, SampleSource, SeriesSamples, SourceError};
use idleproof::ingest::tsdb::{BlockSource, Choice};
use idleproof::lake::bucket::{Bucket, StoreOptions};
use idleproof::model::TimeWindow;
use serde_json::{Value, json};

use super::tsdb::{ALL, Content, FOLDERS, content, copy, fixture, truth};

pub(crate) async fn read(
    source: &dyn SampleSource,
    matchers: &[Matcher],
    window: TimeWindow,
) -> Result<Content, SourceError> {
    let mut all = Vec::new();
    let mut sink = |series: SeriesSamples| {
        all.push(series);
        Ok(())
    };
    source.read(matchers, window, &mut sink).await?;
    Ok(content(all))
}

/// Every file below a folder, with its path in it.
pub(crate) fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder).unwrap().to_str().unwrap();
                out.push((key.to_owned(), path));
            }
        }
    }
    out.sort();
    out
}

/// Puts a folder's files below a prefix.
pub(crate) async fn upload(folder: &Path, bucket: &Bucket, prefix: &str) {
    for (key, path) in files(folder) {
        let bytes = std::fs::read(path).unwrap().into();
        assert!(
            bucket
                .put_new(&format!("{prefix}{key}"), bytes)
                .await
                .unwrap()
        );
    }
}

fn disk(folder: &Path) -> Bucket {
    Bucket::open(folder.to_str().unwrap(), &StoreOptions::default()).unwrap()
}

async fn open(folder: &Path, choice: Choice) -> Result<BlockSource, SourceError> {
    BlockSource::open_bucket(disk(folder), choice).await
}

/// The ULIDs of a folder's blocks.
pub(crate) fn blocks(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.len() == 26).collect();
    names.sort();
    names
}

fn edit(folder: &Path, block: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(block).join("meta.json");
    let mut meta = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut meta);
    std::fs::write(path, serde_json::to_vec(&meta).unwrap()).unwrap();
}

/// Copies a block under another ULID.
fn clone_block(folder: &Path, block: &str, id: &str, change: impl FnOnce(&mut Value)) {
    copy(&folder.join(block), &folder.join(id));
    edit(folder, id, |meta| {
        meta["ulid"] = json!(id);
        change(meta);
    });
}

fn labelled(content: &Content, external: &[(&str, &str)]) -> Content {
    let with = |labels: &Labels| {
        let mut pairs = labels.clone().into_pairs();
        pairs.extend(external.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        Labels::new(pairs)
    };
    content.iter().map(|(k, v)| (with(k), v.clone())).collect()
}

const ID_A: &str = "01M8547AAAAAAAAAAAAAAAAAA1";
const ID_B: &str = "01M8547AAAAAAAAAAAAAAAAAA2";
const ID_C: &str = "01M8547AAAAAAAAAAAAAAAAAA3";
const ID_D: &str = "01M8547AAAAAAAAAAAAAAAAAA4";

#[tokio::test]
async fn every_encoding_reads_the_same_from_a_bucket() {
    for name in FOLDERS {
        let (folder, want) = (fixture(name), truth(&fixture(name)));
        let bucket = Bucket::open("memory:///some/prefix", &StoreOptions::default()).unwrap();
        upload(&folder, &bucket, "").await;
        let memory = BlockSource::open_bucket(bucket, Choice::default())
            .await
            .unwrap();
        let on_disk = open(&folder, Choice::default()).await.unwrap();
        for source in [memory, on_disk] {
            assert_eq!(read(&source, &[], ALL).await.unwrap(), want, "{name}");
            let (first, last) = {
                let times = want
                    .values()
                    .flat_map(|(f, h)| f.iter().map(|s| s.0).chain(h.iter().map(|s| s.0)));
                (times.clone().min().unwrap(), times.max().unwrap())
            };
            let extent = source.extent().await.unwrap().unwrap();
            assert!(extent.contains(first) && extent.contains(last), "{name}");
            let middle = TimeWindow::new(first + (last - first) / 3, first + (last - first) / 2);
            let only = BlockSource::open(&folder).unwrap();
            let matchers = [Matcher::prefix("__name__", "fx_")];
            assert_eq!(
                read(&source, &matchers, middle).await.unwrap(),
                read(&only, &matchers, middle).await.unwrap(),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn external_labels_are_added_the_series_own_hold_and_the_stores_notes_are_dropped() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture("xor"), scratch.path());
    let block = blocks(scratch.path()).remove(0);
    let own = truth(&fixture("xor"));
    let edge = own
        .keys()
        .find_map(|labels| labels.get("edge"))
        .unwrap()
        .to_owned();
    edit(scratch.path(), &block, |meta| {
        meta["thanos"] = json!({"labels": {
            "cluster": "eu", "edge": "outer", "__org_id__": "t",
            "__compactor_shard_id__": "1_of_4", "__tenant_id__": "t", "__ingester_id__": "i",
        }, "downsample": {"resolution": 0}, "source": "sidecar"});
    });
    let want = labelled(&own, &[("cluster", "eu"), ("edge", "outer")]);
    for source in [
        open(scratch.path(), Choice::default()).await.unwrap(),
        BlockSource::open(scratch.path()).unwrap(),
    ] {
        assert_eq!(read(&source, &[], ALL).await.unwrap(), want);
        let cases = [
            Matcher::equal("cluster", "eu"),
            Matcher::not_equal("cluster", "eu"),
            Matcher::equal("edge", "outer"),
            Matcher::equal("edge", &edge),
            Matcher::equal("edge", ""),
            Matcher::not_equal("edge", ""),
        ];
        for matcher in cases {
            let mut some = want.clone();
            some.retain(|labels, _| matcher.accepts(labels));
            let got = read(&source, std::slice::from_ref(&matcher), ALL).await;
            assert_eq!(got.unwrap(), some, "{matcher:?}");
        }
    }
}

#[tokio::test]
async fn a_mimir_bucket_reads_by_tenant_without_marked_and_partial_blocks() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    for tenant in ["team-a", "team-b"] {
        copy(&fixture("overlap"), &root.join(tenant));
    }
    let ids = blocks(&root.join("team-a"));
    let (first, second) = (&ids[0], &ids[1]);
    std::fs::create_dir(root.join("__mimir_cluster")).unwrap();
    std::fs::write(root.join("__mimir_cluster/seed.json"), "{}").unwrap();
    std::fs::write(root.join("team-a/bucket-index.json.gz"), "no gzip").unwrap();
    for choice in [vec![], vec!["team-c".to_owned()]] {
        let choice = Choice {
            tenants: choice,
            ..Choice::default()
        };
        let error = open(root, choice.clone()).await.unwrap_err().to_string();
        assert!(
            error.contains("team-") && error.contains("tenants"),
            "{error}"
        );
        assert!(BlockSource::open_folder(root, choice).is_err());
    }
    let choice = Choice {
        tenants: vec!["team-a".to_owned()],
        ..Choice::default()
    };
    let whole = truth(&fixture("overlap"));
    let source = open(root, choice.clone()).await.unwrap();
    assert_eq!(read(&source, &[], ALL).await.unwrap(), whole);

    // One block marked as Mimir and Cortex do; a mark against compaction changes nothing.
    let markers = root.join("team-a/markers");
    std::fs::create_dir(&markers).unwrap();
    let mark = json!({"id": first, "version": 1, "deletion_time": 1_794_800_000});
    let no_compact = json!({"id": second, "version": 1, "no_compact_time": 1, "reason": "manual"});
    std::fs::write(
        markers.join(format!("{first}-deletion-mark.json")),
        mark.to_string(),
    )
    .unwrap();
    let name = format!("{second}-no-compact-mark.json");
    std::fs::write(markers.join(name), no_compact.to_string()).unwrap();
    let path = root
        .join("team-a")
        .join(second)
        .join("no-compact-mark.json");
    std::fs::write(path, no_compact.to_string()).unwrap();
    let alone = tempfile::tempdir().unwrap();
    copy(
        &root.join("team-a").join(second),
        &alone.path().join(second),
    );
    let want = read(&BlockSource::open(alone.path()).unwrap(), &[], ALL)
        .await
        .unwrap();
    assert_ne!(want, whole);
    // And an upload that stopped before its meta.json.
    let partial = root.join("team-a").join(ID_A);
    copy(&root.join("team-a").join(first), &partial);
    std::fs::remove_file(partial.join("meta.json")).unwrap();
    for source in [
        open(root, choice.clone()).await.unwrap(),
        BlockSource::open_folder(root, choice.clone()).unwrap(),
        open(&root.join("team-a"), Choice::default()).await.unwrap(),
    ] {
        let census = source.census();
        assert_eq!(
            (census.read, census.marked_for_deletion, census.partial),
            (1, 1, 1)
        );
        assert_eq!(read(&source, &[], ALL).await.unwrap(), want);
    }

    // The other tenant's block, marked beside its files.
    let mark_path = root.join("team-b").join(first).join("deletion-mark.json");
    std::fs::write(mark_path, mark.to_string()).unwrap();
    let choice = Choice {
        tenants: vec!["team-b".to_owned()],
        ..Choice::default()
    };
    let source = open(root, choice).await.unwrap();
    assert_eq!(source.census().marked_for_deletion, 1);
    assert_eq!(read(&source, &[], ALL).await.unwrap(), want);
}

#[tokio::test]
async fn a_compacted_block_stands_for_its_sources_and_shards_only_together() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    copy(&fixture("xor"), root);
    let source = blocks(root).remove(0);
    let shard = |index: u32| json!({"labels": {"__compactor_shard_id__": format!("{index}_of_2")}});
    let census = async || open(root, Choice::default()).await.unwrap().census();
    // One of two shards: the source is still needed.
    clone_block(root, &source, ID_A, |meta| {
        meta["compaction"] = json!({"level": 2, "sources": [source]});
        meta["thanos"] = shard(1);
    });
    assert_eq!((census().await.read, census().await.superseded), (2, 0));
    clone_block(root, &source, ID_B, |meta| {
        meta["compaction"] = json!({"level": 2, "sources": [source]});
        meta["thanos"] = shard(2);
    });
    assert_eq!((census().await.read, census().await.superseded), (2, 1));
    // A block that claims another's sources but not its time does not stand for it.
    edit(root, ID_A, |meta| {
        meta["minTime"] = json!(meta["maxTime"].as_i64().unwrap() - 1);
    });
    assert_eq!(census().await.superseded, 0);
    // Of two that claim to be each other's parents the later one is read.
    for (one, other) in [(ID_A, ID_B), (ID_B, ID_A)] {
        edit(root, one, |meta| {
            meta["minTime"] = json!(0);
            meta["thanos"] = json!({});
            meta["compaction"] =
                json!({"level": 3, "sources": [ID_A, ID_B], "parents": [{"ulid": other}]});
        });
    }
    let got = census().await;
    assert_eq!((got.read, got.superseded), (2, 1));
    let content = read(&open(root, Choice::default()).await.unwrap(), &[], ALL).await;
    assert_eq!(content.unwrap(), truth(&fixture("xor")));
}

#[tokio::test]
async fn different_external_labels_ask_for_a_choice() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    copy(&fixture("xor"), root);
    let source = blocks(root).remove(0);
    edit(root, &source, |meta| {
        meta["thanos"] = json!({"labels": {"cluster": "eu"}});
    });
    clone_block(root, &source, ID_A, |meta| {
        meta["thanos"] = json!({"labels": {"cluster": "us"}});
    });
    let error = open(root, Choice::default()).await.unwrap_err().to_string();
    assert!(
        error.contains("cluster=\"eu\"") && error.contains("external_labels"),
        "{error}"
    );
    let choose = |pairs: &[(&str, &str)]| Choice {
        external_labels: Some(
            pairs
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
        ),
        ..Choice::default()
    };
    let error = open(root, choose(&[("cluster", "x")])).await.unwrap_err();
    assert!(error.to_string().contains("external_labels"), "{error}");
    let own = truth(&fixture("xor"));
    let us = open(root, choose(&[("cluster", "us")])).await.unwrap();
    assert_eq!(us.census().other_labels, 1);
    assert_eq!(
        read(&us, &[], ALL).await.unwrap(),
        labelled(&own, &[("cluster", "us")])
    );
    // All of them, asked for: every series once from each, and one that both hold once in all.
    let (eu, us) = (
        labelled(&own, &[("cluster", "eu")]),
        labelled(&own, &[("cluster", "us")]),
    );
    let all = open(root, choose(&[])).await.unwrap();
    let both: Content = eu.into_iter().chain(us).collect();
    assert_eq!(read(&all, &[], ALL).await.unwrap(), both);
    // `edge` is a label of some series: those come out of the end of the read.
    edit(root, ID_A, |meta| {
        meta["thanos"] = json!({"labels": {"cluster": "eu", "edge": "1"}});
    });
    let all = open(root, choose(&[])).await.unwrap();
    let mut both = labelled(&own, &[("cluster", "eu"), ("edge", "1")]);
    both.extend(labelled(&own, &[("cluster", "eu")]));
    assert_eq!(read(&all, &[], ALL).await.unwrap(), both);
}

#[tokio::test]
async fn downsampled_blocks_are_refused_where_only_they_are() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    copy(&fixture("xor"), root);
    let source = blocks(root).remove(0);
    let mut end = 0;
    clone_block(root, &source, ID_A, |meta| {
        meta["thanos"] = json!({"labels": {}, "downsample": {"resolution": 300_000}});
        end = meta["maxTime"].as_i64().unwrap();
        meta["maxTime"] = json!(end + 1000);
    });
    let opened = open(root, Choice::default()).await.unwrap();
    assert_eq!((opened.census().read, opened.census().downsampled), (1, 1));
    assert_eq!(
        read(&opened, &[], ALL).await.unwrap(),
        truth(&fixture("xor"))
    );
    let later = TimeWindow::new(end + 10, end + 20);
    let error = read(&opened, &[], later).await.unwrap_err().to_string();
    assert!(error.contains("downsampled"), "{error}");
    let beyond = TimeWindow::new(end + 5000, end + 6000);
    assert_eq!(read(&opened, &[], beyond).await.unwrap(), Content::new());
    std::fs::remove_dir_all(root.join(source)).unwrap();
    for error in [
        open(root, Choice::default()).await.unwrap_err(),
        BlockSource::open(root).unwrap_err(),
    ] {
        assert!(error.to_string().contains("downsampled"), "{error}");
    }
}

/// A compactor replaces the block between the listing and the read, and once more in its middle.
#[tokio::test]
async fn a_block_that_vanishes_is_read_from_its_successor_or_fails_the_window() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    copy(&fixture("xor"), root);
    let first = blocks(root).remove(0);
    let want = truth(&fixture("xor"));
    let compact = |from: &str, to: &str| {
        clone_block(root, from, to, |meta| {
            meta["compaction"] =
                json!({"level": 2, "sources": [first, "01M8547AAAAAAAAAAAAAAAAAA0"]});
        });
        std::fs::remove_dir_all(root.join(from)).unwrap();
    };
    let source = open(root, Choice::default()).await.unwrap();
    compact(&first, ID_A);
    assert_eq!(read(&source, &[], ALL).await.unwrap(), want);

    // In the middle: the second group's block goes when the first series of the first group came.
    clone_block(root, ID_A, ID_C, |meta| {
        meta["thanos"] = json!({"labels": {"cluster": "us"}});
        meta["compaction"] = json!({"level": 1, "sources": [ID_C]});
    });
    let every = Choice {
        external_labels: Some(BTreeMap::new()),
        ..Choice::default()
    };
    let source = open(root, every).await.unwrap();
    let (folder, reader) = (root.to_owned(), source.clone());
    let got = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        let mut sink = |series: SeriesSamples| {
            if all.is_empty() {
                clone_block(&folder, ID_C, ID_D, |meta| {
                    meta["compaction"] = json!({"level": 2, "sources": [ID_B, ID_C]});
                });
                std::fs::remove_dir_all(folder.join(ID_C)).unwrap();
            }
            all.push(series);
            Ok(())
        };
        reader.read_blocking(&[], ALL, &mut sink).unwrap();
        content(all)
    });
    let both: Content = labelled(&want, &[("cluster", "us")])
        .into_iter()
        .chain(want.clone())
        .collect();
    assert_eq!(got.await.unwrap(), both);
    assert!(root.join(ID_D).exists());
    std::fs::remove_dir_all(root.join(ID_D)).unwrap();

    // Gone for good: some series would come from less than others.
    let source = open(root, Choice::default()).await.unwrap();
    copy(&fixture("xor2"), root);
    std::fs::remove_dir_all(root.join(ID_A)).unwrap();
    let error = read(&source, &[], ALL).await.unwrap_err().to_string();
    assert!(
        error.contains("deleted while it was read") && error.contains(ID_A),
        "{error}"
    );
    // A lister that shows what cannot be read ends after a few rounds.
    let source = open(root, Choice::default()).await.unwrap();
    let left = blocks(root).remove(0);
    std::fs::remove_file(root.join(&left).join("chunks/000001")).unwrap();
    let error = read(&source, &[], ALL).await.unwrap_err().to_string();
    assert!(error.contains(&left), "{error}");
}

/// Whatever byte is flipped, the samples are the same or there is an error that names the file.
#[tokio::test]
async fn a_flipped_or_cut_file_in_a_bucket_is_an_error_or_changes_nothing() {
    for (name, step) in [("tombstones", 131), ("histogram", 709)] {
        let scratch = tempfile::tempdir().unwrap();
        copy(&fixture(name), scratch.path());
        let want = truth(scratch.path());
        let block = scratch.path().join(blocks(scratch.path()).remove(0));
        for file in ["index", "chunks/000001", "tombstones", "meta.json"] {
            let path = block.join(file);
            let sound = std::fs::read(&path).unwrap();
            let mut flips = 0;
            for at in (0..sound.len()).step_by(step.min(1 + sound.len() / 40)) {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << (at % 8);
                for bytes in [&bytes[..], &sound[..at]] {
                    std::fs::write(&path, bytes).unwrap();
                    let got = match open(scratch.path(), Choice::default()).await {
                        Ok(source) => read(&source, &[], ALL).await,
                        Err(error) => Err(error),
                    };
                    match got {
                        Ok(got) => assert_eq!(got, want, "{file}: byte {at}"),
                        Err(error) => {
                            flips += 1;
                            let error = error.to_string();
                            assert!(error.contains(block.to_str().unwrap()), "{error}");
                        }
                    }
                }
            }
            assert!(flips > 0, "{file}");
            std::fs::write(&path, &sound).unwrap();
        }
    }
}

#[tokio::test]
async fn metadata_that_lies_is_refused_and_names_no_file() {
    type Change = Box<dyn Fn(&mut Value)>;
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    copy(&fixture("xor"), root);
    let block = blocks(root).remove(0);
    let sound = std::fs::read(root.join(&block).join("meta.json")).unwrap();
    let changes: [(&str, Change); 4] = [
        ("version is 2", Box::new(|m| m["version"] = json!(2))),
        (
            "another block",
            Box::new(|m| m["ulid"] = json!("../../../etc")),
        ),
        ("ends before", Box::new(|m| m["minTime"] = json!(i64::MAX))),
        (
            "larger than 16 MiB",
            Box::new(|m| m["x"] = json!("x".repeat(17 << 20))),
        ),
    ];
    for (said, change) in changes {
        edit(root, &block, change);
        for error in [
            open(root, Choice::default()).await.unwrap_err(),
            BlockSource::open(root).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains(said) && error.contains("meta.json"),
                "{error}"
            );
        }
        std::fs::write(root.join(&block).join("meta.json"), &sound).unwrap();
    }
    // Names that lead elsewhere are compared and never opened.
    edit(root, &block, |meta| {
        meta["compaction"]["sources"] = json!(["../../../../etc/passwd", "/", ""]);
        meta["thanos"] = json!({
            "labels": null,
            "segment_files": ["../../000001"],
            "files": [{"rel_path": "../../../../etc/passwd", "size_bytes": 9_000_000_000_000_i64}],
        });
    });
    let got = read(&open(root, Choice::default()).await.unwrap(), &[], ALL).await;
    assert_eq!(got.unwrap(), truth(&fixture("xor")));
    // Blocks are named by ULIDs: other names are left alone.
    std::fs::create_dir_all(root.join("01m8547aet7m71e9fs9rmtmzt6")).unwrap();
    std::fs::create_dir_all(root.join("..01M8547AET7M71E9FS9RMTMZ")).unwrap();
    assert_eq!(
        open(root, Choice::default()).await.unwrap().census().read,
        1
    );
    let empty = tempfile::tempdir().unwrap();
    let error = open(empty.path(), Choice::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no folder in it is a block"), "{error}");
}

/// Lengths and offsets that nobody would write, under checksums that hold: errors, never memory.
#[tokio::test]
async fn absurd_lengths_and_offsets_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture("histogram"), scratch.path());
    let want = truth(scratch.path());
    let block = scratch.path().join(blocks(scratch.path()).remove(0));
    let both = async || {
        let local = match BlockSource::open(scratch.path()) {
            Ok(source) => read(&source, &[], ALL).await,
            Err(error) => Err(error),
        };
        let remote = match open(scratch.path(), Choice::default()).await {
            Ok(source) => read(&source, &[], ALL).await,
            Err(error) => Err(error),
        };
        [local, remote]
    };
    let path = block.join("index");
    let sound = std::fs::read(&path).unwrap();
    let toc = sound.len() - 52;
    let mut refused = 0;
    for field in 0..6 {
        for value in [1, 3, toc / 2, toc - 1, toc, sound.len(), usize::MAX] {
            let mut bytes = sound.clone();
            bytes[toc + field * 8..toc + field * 8 + 8].copy_from_slice(&value.to_be_bytes());
            let sum = crc32c::crc32c(&bytes[toc..toc + 48]).to_be_bytes();
            bytes[toc + 48..].copy_from_slice(&sum);
            std::fs::write(&path, &bytes).unwrap();
            for got in both().await {
                match got {
                    Ok(got) => assert_eq!(got, want, "field {field}, {value}"),
                    Err(error) => {
                        refused += 1;
                        assert!(error.to_string().contains("index"), "{error}");
                    }
                }
            }
        }
    }
    assert!(refused >= 42, "{refused}");
    // A section, and a chunk, of four gigabytes.
    std::fs::write(&path, &sound).unwrap();
    for (file, at) in [("index", 5), ("chunks/000001", 8)] {
        let path = block.join(file);
        let sound = std::fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        bytes[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        std::fs::write(&path, &bytes).unwrap();
        let [local, remote] = both().await;
        assert!(local.is_err());
        let error = remote.unwrap_err().to_string();
        assert!(error.contains("longer than the file"), "{error}");
        std::fs::write(&path, &sound).unwrap();
    }
    for got in both().await {
        assert_eq!(got.unwrap(), want);
    }
}

/// Labels by name, for the peers' tests.
pub(crate) fn by_name(content: &Content) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for (labels, (floats, _)) in content {
        *names.entry(labels.name().to_owned()).or_default() += floats.len();
    }
    names
}
