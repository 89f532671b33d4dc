//! The audit log against an operator who rewrites it, a store that fails, and a process that dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::object_store::memory::InMemory;
use idleproof::approve::{Anchor, Kind, Log, PipelineKey, Proof, Verdict, verify_consistency};
use idleproof::lake::Lake;
use idleproof::lake::bucket::Bucket;
use serde_json::{Value, json};

use crate::approve_world::{HOUR, NOW, ORIGIN, World, recommendation};
use crate::faulty_store::{Fault, FaultyStore};

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

/// Every operation of an import fails in every way. Then a new process imports again: each decision
/// is in the log once, and the log verifies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_at_every_operation_of_an_import() {
    let base = Arc::new(InMemory::new());
    let lake = Lake::open_on(base.clone(), "memory:///").await.unwrap();
    let mut world = World::on(lake.audit_log());
    let all = [
        recommendation("r1", "prod-a", "120.00", 1),
        recommendation("r2", "prod-a", "90.00", 1),
    ];
    let manifest = world.publish(&all).await;
    let inbox = [
        world.signed("ada", &world.approval(&manifest, &all[..1])),
        world.signed("bob", &world.approval(&manifest, &all)),
        world.signed("guest", &world.approval(&manifest, &all)),
    ];
    let anchor = world.log().head().await.unwrap().unwrap();
    let counting = Arc::new(FaultyStore::new(Arc::new(base.fork()), None));
    world.bucket = Lake::open_on(counting.clone(), "memory:///")
        .await
        .unwrap()
        .audit_log();
    let before = counting.operations().len();
    world.import_at(&inbox, NOW).await;
    let operations = counting.operations();
    let mut injected = 0;
    for (at, operation) in operations.iter().enumerate().skip(before) {
        for fault in Fault::of(*operation) {
            let inner = Arc::new(base.fork());
            let faulty = Arc::new(FaultyStore::new(inner.clone(), Some((at, *fault))));
            world.bucket = Lake::open_on(faulty.clone(), "memory:///")
                .await
                .unwrap()
                .audit_log();
            // It may fail or not: what matters is what it leaves.
            let _ = world.try_import(&inbox, NOW).await;
            injected += usize::from(faulty.injected());
            world.bucket = Lake::open_on(inner, "memory:///")
                .await
                .unwrap()
                .audit_log();
            // Readers beside it see a whole log at any time.
            let anchors = [Anchor {
                from: "before".into(),
                checkpoint: anchor.checkpoint.clone(),
                note: anchor.note.clone(),
            }];
            let audit = world.log().audit(&anchors, true).await.unwrap();
            assert_eq!(audit.faults, [""; 0], "{fault:?} at {at}");
            let again = world.import_at(&inbox, NOW + HOUR).await;
            assert!(again.judged.iter().all(|one| !matches!(&one.verdict, Verdict::Refused { why } if !why.contains("holds no role"))));
            let records = world.records().await;
            let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
            for entry in &records.entries {
                *counts.entry(entry.kind).or_default() += 1;
            }
            assert_eq!(
                (counts[&Kind::Decision], counts[&Kind::Refusal]),
                (2, 1),
                "{fault:?} at {at}"
            );
            let audit = world.log().audit(&anchors, true).await.unwrap();
            assert_eq!(audit.faults, [""; 0], "{fault:?} at {at}, again");
        }
    }
    println!(
        "import: {} operations, {injected} faults injected",
        operations.len() - before
    );
    assert!(injected > 20, "{injected}");
}

/// With `IDLEPROOF_MILLION` set, a log of a million entries; else of three thousand.
#[tokio::test]
async fn a_long_log_is_verified_whole() {
    let count: u64 = if std::env::var_os("IDLEPROOF_MILLION").is_some() {
        1_000_000
    } else {
        3_000
    };
    let folder = tempfile::tempdir().unwrap();
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
    let started = Instant::now();
    let proof = log.prove(&head, count / 3).await.unwrap().to_text();
    let proved = started.elapsed();
    let consistency = log.prove_consistency(count / 2 + 1, &head).await.unwrap();
    Proof::verify(&proof, &[disk.key.verifying_key()]).unwrap();
    println!(
        "{count} entries: written in {:.1} s, verified whole in {:.1} s; an inclusion proof in {:.0} ms, {} bytes of text; {} hashes prove consistency",
        written.as_secs_f64(),
        verified.as_secs_f64(),
        proved.as_secs_f64() * 1e3,
        proof.len(),
        consistency.len()
    );
}
