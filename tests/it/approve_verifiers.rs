//! The audit log before verifiers that share no code with us: one in Python from the texts of C2SP, one in
//! Go on the code of Go's own checksum database.

use std::path::{Path, PathBuf};
use std::process::Command;

use idleproof::approve::verifier_key;
use idleproof::lake::bucket::Bucket;

use crate::approve_peers::{found, ok, peers};
use crate::approve_world::{NOW, ORIGIN, World, recommendation};

#[tokio::test]
async fn a_verifier_in_python_reads_the_log() {
    let python = peers().join("bin/python3");
    let probe = ["-c", "import cryptography"];
    let Some(python) = found(python, &probe, "python3 with cryptography") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tlog_verify.py");
    agrees(&[&python, &script], |world| {
        world.folder.path().join("pipeline.pub")
    })
    .await;
}

#[tokio::test]
async fn go_s_checksum_database_code_reads_the_log() {
    let program = peers().join("servers/tlog-new");
    let what = "the verifier in Go (tests/peers/install FOLDER tlog)";
    let Some(program) = found(program, &[], what) else {
        return;
    };
    // Go takes a verifier's key as text.
    agrees(&[&program], |world| {
        verifier_key(ORIGIN, &world.key.verifying_key())
            .unwrap()
            .into()
    })
    .await;
}

/// The verifier agrees on whole logs, proofs and older checkpoints, and on what is broken. `command` is
/// how it is called, `key` what it takes for a key.
async fn agrees(command: &[&Path], key: impl Fn(&World) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("log");
    let world = World::on(
        Bucket::open(
            place.to_str().unwrap(),
            &idleproof::lake::StoreOptions::default(),
        )
        .unwrap(),
    );
    let one = recommendation("r1", "prod-a", "120.00", 1);
    let manifest = world.publish(std::slice::from_ref(&one)).await;
    world
        .verdict(world.signed(
            "ada",
            &world.approval(&manifest, std::slice::from_ref(&one)),
        ))
        .await;
    let old = folder.path().join("old.note");
    std::fs::write(&old, world.log().head().await.unwrap().unwrap().note).unwrap();
    let more = (0..700).map(|n| {
        (
            idleproof::approve::Kind::Run,
            serde_json::json!({"run_id": n.to_string()}),
        )
    });
    world.append(more.collect(), NOW).await;
    let head = world.log().head().await.unwrap().unwrap();
    let proof = folder.path().join("p.tlog-proof");
    std::fs::write(&proof, world.log().prove(&head, 2).await.unwrap().to_text()).unwrap();
    let public = key(&world);
    let run = |args: &[&Path]| {
        Command::new(command[0])
            .args(&command[1..])
            .args(args)
            .output()
            .unwrap()
    };
    let log: &[&Path] = &["log".as_ref(), &place, &public];
    let said = ok(&run(log));
    println!("{said}");
    assert!(said.contains("703 entries"), "{said}");
    let said = ok(&run(&["proof".as_ref(), &proof, &public]));
    println!("{said}");
    assert!(said.contains("entry 2 of 703"), "{said}");
    let said = ok(&run(&["consistency".as_ref(), &place, &public, &old]));
    println!("{said}");
    let tile = place.join("tile/entries/001");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    assert!(!run(log).status.success());
    let text = std::fs::read_to_string(&proof).unwrap();
    std::fs::write(&proof, text.replacen("extra ey", "extra eZ", 1)).unwrap();
    assert!(!run(&["proof".as_ref(), &proof, &public]).status.success());
    let text = std::fs::read_to_string(&old).unwrap();
    let (first, _) = text.split_once('\n').unwrap();
    std::fs::write(&old, text.replacen(first, "elsewhere.test", 1)).unwrap();
    let moved: &[&Path] = &["consistency".as_ref(), &place, &public, &old];
    assert!(!run(moved).status.success());
    assert!(
        !world
            .log()
            .audit(&[], true)
            .await
            .unwrap()
            .faults
            .is_empty()
    );
}
