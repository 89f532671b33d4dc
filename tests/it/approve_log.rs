//! The audit log against an operator who rewrites it, two writers, and its own length.

use std::path::Path;
use std::time::Instant;

use idleproof::approve::{Anchor, Kind, Log, PipelineKey, Proof, verify_consistency};
use idleproof::lake::bucket::Bucket;
use serde_json::{Value, json};

use crate::approve_world::{NOW, ORIGIN, World, recommendation};

fn runs(from: u64, count: u64) -> Vec<(Kind, Value)> {
    (from..from + count)
        .map(|n| (Kind::Run, json!({"run_id": format!("run-{n}")})))
        .collect()
}

/// A log of 300 entries in a folder, in three batches.
struct Disk {
    folder: tempfile::TempDir,
    key: PipelineKey,
}

impl Disk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = PipelineKey::open_or_create(&folder.path().join("key")).unwrap();
        let disk = Self { folder, key };
        for (from, count) in [(0, 3), (3, 260), (263, 37)] {
            disk.append(runs(from, count)).await;
        }
        disk
    }

    fn place(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn at(&self, place: &Path) -> Log {
        let bucket = Bucket::open(
            place.to_str().unwrap(),
            &idleproof::lake::StoreOptions::default(),
        )
        .unwrap();
        Log::new(bucket, vec![self.key.verifying_key()])
    }

    fn log(&self) -> Log {
        self.at(&self.place())
    }

    async fn append(&self, bodies: Vec<(Kind, Value)>) {
        let log = self.log();
        let head = log.recover(&self.key).await.unwrap();
        log.append(&self.key, head.as_ref(), ORIGIN, bodies, NOW)
            .await
            .unwrap()
            .unwrap();
    }

    async fn faults(&self, anchors: &[Anchor]) -> String {
        self.log()
            .audit(anchors, true)
            .await
            .unwrap()
            .faults
            .join("; ")
    }

    async fn anchor(&self) -> Anchor {
        let head = self.log().head().await.unwrap().unwrap();
        Anchor {
            from: "last week's report".into(),
            checkpoint: head.checkpoint,
            note: head.note,
        }
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let mut out = Vec::new();
        let mut stack = vec![self.place()];
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    stack.push(path);
                } else {
                    out.push(path);
                }
            }
        }
        out.sort();
        out
    }
}

#[tokio::test]
async fn a_log_that_was_left_alone_verifies() {
    let disk = Disk::new().await;
    let anchor = disk.anchor().await;
    disk.append(runs(300, 5)).await;
    let audit = disk.log().audit(&[anchor], true).await.unwrap();
    assert_eq!(audit.faults, [""; 0]);
    assert_eq!(
        (audit.size, audit.checkpoints, audit.by_kind[&Kind::Run]),
        (305, 4, 305)
    );
}

#[tokio::test]
async fn attack_any_altered_object_of_the_log() {
    let disk = Disk::new().await;
    for path in disk.files() {
        let name = path.to_string_lossy().into_owned();
        // Batches are the writer's notes, partial tiles of older sizes are of no use to the newest.
        let used = name.contains("checkpoints")
            || name.ends_with("tile/entries/000")
            || name.ends_with("tile/entries/001.p/44")
            || name.ends_with("tile/0/000")
            || name.ends_with("tile/0/001.p/44")
            || name.ends_with("tile/1/000.p/1");
        let good = std::fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bent = good.clone();
            bent[at] ^= 1;
            std::fs::write(&path, &bent).unwrap();
            assert_eq!(disk.faults(&[]).await.is_empty(), !used, "{name} byte {at}");
        }
        std::fs::remove_file(&path).unwrap();
        // The newest checkpoint alone can go unseen: that is what anchors are for.
        let last = name.ends_with("00000000000000000003.note");
        assert_eq!(
            disk.faults(&[]).await.is_empty(),
            !used || last,
            "{name} removed"
        );
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(disk.faults(&[]).await, "");
}

#[tokio::test]
async fn attack_log_truncation_and_rollback() {
    let disk = Disk::new().await;
    let anchor = disk.anchor().await;
    std::fs::remove_file(disk.place().join("checkpoints/00000000000000000003.note")).unwrap();
    std::fs::remove_file(disk.place().join("batches/00000000000000000003.json")).unwrap();
    assert_eq!(
        disk.faults(&[]).await,
        "",
        "an older state is whole in itself"
    );
    let faults = disk.faults(&[anchor]).await;
    assert!(
        faults.contains("cut off") && faults.contains("last week's report"),
        "{faults}"
    );
}

#[tokio::test]
async fn attack_log_fork() {
    let disk = Disk::new().await;
    let anchor = disk.anchor().await;
    // The operator starts over with the same key and other entries.
    std::fs::remove_dir_all(disk.place()).unwrap();
    disk.append(runs(1000, 299)).await;
    disk.append(runs(2000, 4)).await;
    assert_eq!(disk.faults(&[]).await, "", "the fork is whole in itself");
    let faults = disk.faults(std::slice::from_ref(&anchor)).await;
    assert!(!faults.is_empty(), "{faults}");
    disk.append(runs(3000, 1)).await;
    assert!(!disk.faults(&[anchor]).await.is_empty());
}

#[tokio::test]
async fn attack_log_reordering_and_replay() {
    // An operator with the key can sign any tree; what entries say of themselves gives it away.
    let disk = Disk::new().await;
    let entries = disk.place().join("tile/entries/000.p/3");
    let honest = std::fs::read(&entries).unwrap();
    let (_, first) = honest.split_at(2);
    let length = usize::from(u16::from_be_bytes([honest[0], honest[1]]));
    let first = String::from_utf8(first[..length].to_vec()).unwrap();
    let second = first
        .replace("\"index\":0", "\"index\":1")
        .replace("run-0", "run-1");
    for (lines, why) in [
        (vec![second.clone(), first.clone()], "the order was changed"),
        (
            vec![first.clone(), second.replace("run-1", "run-0")],
            "replayed",
        ),
        (
            vec![first.clone(), second.replace("2026-11-23", "2026-11-22")],
            "before the entry",
        ),
        (
            vec![
                first.clone(),
                second.replace("\"index\":1", "\"index\":1,\"index\":1"),
            ],
            "stands twice",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let batch = json!({"number": 1, "first": 0, "origin": ORIGIN, "entries": lines});
        let batch = idleproof::model::canonical::to_canonical(&batch).unwrap();
        std::fs::create_dir_all(folder.path().join("batches")).unwrap();
        std::fs::write(
            folder.path().join("batches/00000000000000000001.json"),
            batch,
        )
        .unwrap();
        let log = disk.at(folder.path());
        log.recover(&disk.key).await.unwrap();
        let faults = log.audit(&[], true).await.unwrap().faults.join("; ");
        assert!(faults.contains(why), "{why}: {faults}");
    }
}

#[tokio::test]
async fn attack_checkpoint_of_another_key_or_log() {
    let disk = Disk::new().await;
    let (other, _) = PipelineKey::open_or_create(&disk.folder.path().join("other")).unwrap();
    let head = disk.log().head().await.unwrap().unwrap();
    let forged = head.checkpoint.sign(&other).unwrap();
    std::fs::write(
        disk.place().join("checkpoints/00000000000000000004.note"),
        forged,
    )
    .unwrap();
    assert!(disk.faults(&[]).await.contains("no signature on it"));
    std::fs::remove_file(disk.place().join("checkpoints/00000000000000000004.note")).unwrap();
    let mut anchor = disk.anchor().await;
    anchor.checkpoint.origin = "elsewhere.test".into();
    assert!(disk.faults(&[anchor]).await.contains("of another log"));
}

#[tokio::test]
async fn attack_missing_or_swapped_blob() {
    let world = World::new();
    let manifest = world
        .publish(&[recommendation("r1", "prod-a", "120.00", 1)])
        .await;
    let copy = tempfile::tempdir().unwrap();
    for object in world.bucket.list("").await.unwrap() {
        let path = copy.path().join(&object.key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, world.bucket.get(&object.key).await.unwrap().unwrap()).unwrap();
    }
    let bucket = Bucket::open(
        copy.path().to_str().unwrap(),
        &idleproof::lake::StoreOptions::default(),
    )
    .unwrap();
    let log = Log::new(bucket, vec![world.key.verifying_key()]);
    assert_eq!(log.audit(&[], true).await.unwrap().faults, [""; 0]);
    let blob = copy.path().join("blobs").join(&manifest);
    std::fs::write(&blob, b"{}").unwrap();
    assert!(
        log.audit(&[], true)
            .await
            .unwrap()
            .faults
            .join("")
            .contains("digest")
    );
    std::fs::remove_file(&blob).unwrap();
    assert!(
        log.audit(&[], true)
            .await
            .unwrap()
            .faults
            .join("")
            .contains("missing")
    );
}

#[tokio::test]
async fn proofs_need_no_log_and_prove_one_entry() {
    let disk = Disk::new().await;
    let log = disk.log();
    let head = log.head().await.unwrap().unwrap();
    let keys = [disk.key.verifying_key()];
    for index in [0, 2, 3, 255, 256, 299] {
        let text = log.prove(&head, index).await.unwrap().to_text();
        let (proof, checkpoint) = Proof::verify(&text, &keys).unwrap();
        assert_eq!((proof.index, checkpoint.size), (index, 300));
        assert!(String::from_utf8_lossy(&proof.entry).contains(&format!("run-{index}\"")));
        let moved = text.replace(
            &format!("index {index}\n"),
            &format!("index {}\n", index + 1),
        );
        assert!(Proof::verify(&moved, &keys).is_err());
        assert!(Proof::verify(&text.replacen("extra ey", "extra eZ", 1), &keys).is_err());
    }
    let old = log.audit(&[], false).await.unwrap();
    assert_eq!(old.size, 300);
    let middle =
        std::fs::read_to_string(disk.place().join("checkpoints/00000000000000000002.note"))
            .unwrap();
    let middle = idleproof::approve::Checkpoint::verify(&middle, &keys).unwrap();
    let proof = log.prove_consistency(middle.size, &head).await.unwrap();
    assert!(verify_consistency(
        middle.size,
        300,
        &proof,
        &middle.root,
        &head.checkpoint.root
    ));
    assert!(!verify_consistency(
        middle.size,
        300,
        &proof,
        &head.checkpoint.root,
        &middle.root
    ));
}

#[tokio::test]
async fn two_writers_cannot_fork_the_log() {
    let disk = Disk::new().await;
    let log = disk.log();
    let head = log.head().await.unwrap();
    let first = log
        .append(&disk.key, head.as_ref(), ORIGIN, runs(900, 2), NOW)
        .await
        .unwrap();
    assert!(first.is_some());
    // The other still believes in the head that it saw.
    let second = log
        .append(&disk.key, head.as_ref(), ORIGIN, runs(950, 2), NOW)
        .await
        .unwrap();
    assert!(second.is_none());
    assert_eq!(disk.faults(&[]).await, "");
}

/// With `IDLEPROOF_MILLION` set, a log of a million entries; else of three thousand. With
/// `IDLEPROOF_KEEP_LOG` it stays where it was made, for other verifiers to be timed on.
#[tokio::test]
async fn a_long_log_is_verified_whole() {
    let count: u64 = if std::env::var_os("IDLEPROOF_MILLION").is_some() {
        1_000_000
    } else {
        3_000
    };
    let keep = std::env::var_os("IDLEPROOF_KEEP_LOG").is_some();
    let folder = tempfile::Builder::new()
        .disable_cleanup(keep)
        .tempdir()
        .unwrap();
    let (key, _) = PipelineKey::open_or_create(&folder.path().join("key")).unwrap();
    let disk = Disk { folder, key };
    let started = Instant::now();
    let mut from = 0;
    while from < count {
        let batch = (count - from).min(100_000);
        disk.append(runs(from, batch)).await;
        from += batch;
    }
    let written = started.elapsed();
    let log = disk.log();
    let started = Instant::now();
    let audit = log.audit(&[], true).await.unwrap();
    let verified = started.elapsed();
    assert_eq!((audit.size, audit.faults.len()), (count, 0));
    let head = log.head().await.unwrap().unwrap();
    // The entries of the longest and of the shortest way to the root, and some between.
    let keys = [disk.key.verifying_key()];
    let (mut hashes, mut bytes) = ((usize::MAX, 0), (usize::MAX, 0));
    let started = Instant::now();
    let asked = [0, 1, count / 3, count / 2, count - 2, count - 1];
    for index in asked {
        let proof = log.prove(&head, index).await.unwrap();
        let text = proof.to_text();
        Proof::verify(&text, &keys).unwrap();
        let (path, length) = (proof.path.len(), text.len());
        hashes = (hashes.0.min(path), hashes.1.max(path));
        bytes = (bytes.0.min(length), bytes.1.max(length));
    }
    let proved = started.elapsed() / asked.len() as u32;
    let depth = count.next_power_of_two().trailing_zeros() as usize;
    assert!(hashes.1 <= depth, "{hashes:?} of {depth}");
    let consistency = log.prove_consistency(count / 2 + 1, &head).await.unwrap();
    assert!(consistency.len() <= depth + 1, "{}", consistency.len());
    println!(
        "{count} entries in {}: written in {:.1} s, verified whole in {:.1} s ({:.1} µs an entry); an inclusion proof in {:.1} ms, {} to {} hashes, {} to {} bytes of text with entry and checkpoint; {} hashes ({} bytes) prove consistency with half of it",
        disk.folder.path().display(),
        written.as_secs_f64(),
        verified.as_secs_f64(),
        verified.as_secs_f64() * 1e6 / count as f64,
        proved.as_secs_f64() * 1e3,
        hashes.0,
        hashes.1,
        bytes.0,
        bytes.1,
        consistency.len(),
        consistency.len() * 32
    );
}
