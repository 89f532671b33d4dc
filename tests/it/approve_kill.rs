//! A store that fails and a process that dies, at every operation: no decision is lost, none is recorded
//! twice, and what leaves stands in the log once.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::object_store::memory::InMemory;
use idleproof::approve::{Anchor, Candidate, Kind, ObjectNow, State, Verdict, export};
use idleproof::lake::Lake;
use serde_json::json;

use crate::approve_world::{HOUR, NOW, ORIGIN, World, recommendation};
use crate::faulty_store::{Fault, FaultyStore};

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

/// What `export patches` does, up to where the folder appears: decide, keep the plan, log it. `None`
/// where nothing is left to leave.
async fn try_export(world: &World) -> Result<Option<Vec<u8>>, String> {
    let text = |error: idleproof::approve::ApproveError| error.to_string();
    let log = world.log();
    let head = log.recover(&world.key).await.map_err(text)?;
    let records = idleproof::approve::Records::load(&log, head.as_ref(), "")
        .await
        .map_err(text)?;
    let body = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {"minReplicaCount": 3},
    });
    let candidates: Vec<Candidate> = records
        .decided(NOW)
        .into_iter()
        .filter(|(_, _, standing)| standing.state == State::Approved)
        .map(|(manifest, recommendation, standing)| Candidate {
            recommendation: recommendation.clone(),
            manifest_sha256: manifest.sha256.clone(),
            standing,
            now: vec![Some(ObjectNow {
                body: Some(body.clone()),
                seen_ms: NOW,
            })],
        })
        .collect();
    let exported = export(&candidates, 72 * HOUR, false, NOW).map_err(text)?;
    if exported.ready.is_empty() {
        return Ok(None);
    }
    let plan_sha256 = log.put_blob(&exported.plan).await.map_err(text)?;
    let entry = (Kind::Export, json!({"plan_sha256": plan_sha256}));
    let written = log
        .append(&world.key, head.as_ref(), ORIGIN, vec![entry], NOW)
        .await
        .map_err(text)?;
    written.ok_or("another writer")?;
    Ok(Some(exported.plan))
}

/// Every operation of an export fails in every way. Then a new process exports again: the log holds the
/// export once, with its plan, whether or not the first one lived to see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_at_every_operation_of_an_export() {
    let base = Arc::new(InMemory::new());
    let lake = Lake::open_on(base.clone(), "memory:///").await.unwrap();
    let mut world = World::on(lake.audit_log());
    let one = recommendation("r1", "prod-a", "120.00", 1);
    let manifest = world.publish(std::slice::from_ref(&one)).await;
    let approval = world.approval(&manifest, std::slice::from_ref(&one));
    world.verdict(world.signed("ada", &approval)).await;
    let on = async |store: Arc<FaultyStore>| {
        Lake::open_on(store, "memory:///")
            .await
            .unwrap()
            .audit_log()
    };
    let counting = Arc::new(FaultyStore::new(Arc::new(base.fork()), None));
    world.bucket = on(counting.clone()).await;
    let before = counting.operations().len();
    assert!(try_export(&world).await.unwrap().is_some());
    let operations = counting.operations();
    let mut injected = 0;
    let mut lived = [0, 0];
    for (at, operation) in operations.iter().enumerate().skip(before) {
        for fault in Fault::of(*operation) {
            let inner = Arc::new(base.fork());
            let faulty = Arc::new(FaultyStore::new(inner.clone(), Some((at, *fault))));
            world.bucket = on(faulty.clone()).await;
            let told = try_export(&world).await;
            injected += usize::from(faulty.injected());
            world.bucket = Lake::open_on(inner, "memory:///")
                .await
                .unwrap()
                .audit_log();
            let again = try_export(&world).await.unwrap();
            // What was told to have left has left, and does not leave again.
            if let Ok(Some(_)) = told {
                assert_eq!(again, None, "{fault:?} at {at}");
            }
            lived[usize::from(again.is_none())] += 1;
            let records = world.records().await;
            let exports = records.entries.iter().filter(|e| e.kind == Kind::Export);
            assert_eq!(exports.count(), 1, "{fault:?} at {at}");
            assert_eq!(records.plans.len(), 1, "{fault:?} at {at}");
            assert_eq!(world.state(&manifest, "r1", NOW).await, State::Exported);
            let audit = world.log().audit(&[], true).await.unwrap();
            assert_eq!(audit.faults, [""; 0], "{fault:?} at {at}");
        }
    }
    println!(
        "export: {} operations, {injected} faults injected; {} had to be made again, {} stood",
        operations.len() - before,
        lived[0],
        lived[1]
    );
    assert!(
        injected > 10 && lived[0] > 0 && lived[1] > 0,
        "{injected} {lived:?}"
    );
}
