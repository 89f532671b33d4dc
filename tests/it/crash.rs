//! Every write to the store goes wrong once in every way, and one read in eight fails once (with
//! `IDLEPROOF_EVERY_READ` set all of them do, which takes long), in each piece of work that writes.
//! A reader beside it never sees a part of a window or of a run, and the work done again, by a new
//! process, ends in exactly the rows that it should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::object_store::memory::InMemory;
use futures::StreamExt;
use futures::future::BoxFuture;
use idleproof::lake::{Lake, LakeError, VacuumOptions};
use idleproof::model::time::DAY_MS;

use crate::faulty_store::{Fault, FaultyStore, Operation};
use crate::lake_work::{
    DAY, LATER_MS, Seen, compact, halves, ingest, keeper, look, publish, published,
};

/// One read in so many fails; every write does, always.
const EVERY_READ: usize = 8;
const URL: &str = "memory:///";
/// Long after any clock that stamps objects in memory.
const FAR_MS: i64 = DAY + 5000 * DAY_MS;

type Work = fn(Lake, i64) -> BoxFuture<'static, Result<(), String>>;

struct Case {
    name: &'static str,
    base: Arc<InMemory>,
    work: Work,
    /// What readers may see at any time.
    allowed: fn(&Seen) -> bool,
    /// What they see in the end.
    wanted: Seen,
}

async fn open(store: Arc<dyn datafusion::object_store::ObjectStore>) -> Result<Lake, LakeError> {
    Lake::open_on(store, URL).await
}

/// One fault; whether it was injected.
async fn once(case: &Case, at: usize, fault: Fault) -> Result<bool, String> {
    let place = |what: &str, e: String| {
        format!(
            "{} with {fault:?} at operation {at}, {what}: {e}",
            case.name
        )
    };
    let inner = Arc::new(case.base.fork());
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&inner), Some((at, fault))));
    if let Ok(lake) = open(faulty.clone()).await {
        // It may fail or not: what matters is what it leaves.
        let _ = (case.work)(lake, DAY).await;
    }
    if !faulty.injected() {
        return Ok(false);
    }
    let fresh = open(inner.clone())
        .await
        .map_err(|e| place("reopened", e.to_string()))?;
    let seen = look(&fresh).await.map_err(|e| place("seen beside it", e))?;
    if !(case.allowed)(&seen) {
        return Err(place("seen beside it", format!("{seen:?}")));
    }
    // A new process, once the dead one's lease has run out.
    (case.work)(fresh.clone(), DAY + LATER_MS)
        .await
        .map_err(|e| place("run again", e))?;
    let seen = look(&fresh)
        .await
        .map_err(|e| place("seen at the end", e))?;
    if seen != case.wanted {
        return Err(place("seen at the end", format!("{seen:?}")));
    }
    Ok(true)
}

/// Injects every fault at every operation, and prints how many those were.
async fn exhaust(case: Case) {
    let started = Instant::now();
    let counting = Arc::new(FaultyStore::new(Arc::new(case.base.fork()), None));
    let lake = open(counting.clone()).await.unwrap();
    (case.work)(lake.clone(), DAY).await.unwrap();
    let operations = counting.operations();
    assert_eq!(look(&lake).await.unwrap(), case.wanted, "{}", case.name);
    let writes = operations.iter().filter(|o| **o != Operation::Read).count();
    assert!(writes > 2, "{}: {writes}", case.name);
    let every = if std::env::var_os("IDLEPROOF_EVERY_READ").is_some() {
        1
    } else {
        EVERY_READ
    };
    let case = Arc::new(case);
    let name = case.name;
    let chosen: Vec<(usize, Fault)> = operations
        .iter()
        .enumerate()
        .filter(|(at, operation)| **operation != Operation::Read || at % every == 0)
        .flat_map(|(at, operation)| Fault::of(*operation).iter().map(move |f| (at, *f)))
        .collect();
    let planned = chosen.len();
    let mut results = futures::stream::iter(chosen)
        .map(|(at, fault)| {
            let case = Arc::clone(&case);
            tokio::spawn(async move { once(&case, at, fault).await })
        })
        .buffer_unordered(4);
    let mut injected = 0_usize;
    let mut wrong = Vec::new();
    while let Some(result) = results.next().await {
        match result.unwrap() {
            Ok(done) => injected += usize::from(done),
            Err(error) => wrong.push(error),
        }
    }
    println!(
        "{name}: {} operations, {writes} of them write; {injected} faults injected in {:.1} s",
        operations.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(
        wrong.is_empty(),
        "{} of {injected} went wrong, first:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    // Reads side by side come in any order, so a few places hold another operation than before.
    assert!(injected * 10 >= planned * 9, "{injected} of {planned}");
}

fn text(error: LakeError) -> String {
    error.to_string()
}

async fn base(prepare: impl AsyncFnOnce(&Lake)) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    let lake = open(store.clone()).await.unwrap();
    prepare(&lake).await;
    store
}

fn sources(versions: [i64; 2]) -> Seen {
    Seen {
        windows: halves("s", versions),
        published: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_survives_every_fault() {
    exhaust(Case {
        name: "ingest of two windows of several tables",
        base: base(async |_| {}).await,
        work: |lake, now| Box::pin(async move { ingest(&lake, "s", [1, 2], now).await }),
        allowed: |seen| {
            halves("s", [1, 2])
                .iter()
                .filter(|(k, v)| seen.windows.get(k) == Some(v))
                .count()
                == seen.windows.len()
        },
        wanted: sources([1, 2]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_a_window_survives_every_fault() {
    exhaust(Case {
        name: "ingest that replaces a window",
        base: base(async |lake| ingest(lake, "s", [1, 2], DAY).await.unwrap()).await,
        work: |lake, now| Box::pin(async move { ingest(&lake, "s", [1, 3], now).await }),
        allowed: |seen| {
            let second = seen.windows.get(&("s".to_owned(), DAY + DAY_MS / 2));
            seen.windows.get(&("s".to_owned(), DAY)) == Some(&1)
                && second.is_none_or(|version| [2, 3].contains(version))
        },
        wanted: sources([1, 3]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_a_window_of_a_compacted_day_survives_every_fault() {
    exhaust(Case {
        name: "ingest that replaces a window of a compacted day",
        base: base(async |lake| {
            ingest(lake, "s", [1, 2], DAY).await.unwrap();
            assert_eq!(compact(lake, DAY).await.unwrap(), 1);
        })
        .await,
        work: |lake, now| Box::pin(async move { ingest(&lake, "s", [1, 3], now).await }),
        allowed: |seen| {
            let second = seen.windows.get(&("s".to_owned(), DAY + DAY_MS / 2));
            seen.windows.get(&("s".to_owned(), DAY)) == Some(&1)
                && second.is_none_or(|version| [2, 3].contains(version))
        },
        wanted: sources([1, 3]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publication_survives_every_fault() {
    exhaust(Case {
        name: "a run's tables and its publication",
        base: base(async |lake| publish(lake, "c", 1, DAY).await.unwrap()).await,
        work: |lake, now| Box::pin(async move { publish(&lake, "c", 2, now).await.map_err(text) }),
        allowed: |seen| seen.published.get("c").is_some_and(|v| [1, 2].contains(v)),
        wanted: Seen {
            windows: BTreeMap::new(),
            published: BTreeMap::from([("c".to_owned(), 2)]),
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_survives_every_fault() {
    exhaust(Case {
        name: "compaction",
        base: base(async |lake| ingest(lake, "s", [1, 2], DAY).await.unwrap()).await,
        work: |lake, now| {
            Box::pin(async move {
                compact(&lake, now).await.map_err(text)?;
                Ok(())
            })
        },
        allowed: |seen| seen.windows == halves("s", [1, 2]),
        wanted: sources([1, 2]),
    })
    .await;
}

/// Everything that vacuum may meet: replaced windows, two publications, files of nobody.
async fn littered(lake: &Lake) {
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    publish(lake, "c", 1, DAY).await.unwrap();
    ingest(lake, "s", [1, 3], DAY).await.unwrap();
    publish(lake, "c", 2, DAY + DAY_MS).await.unwrap();
    compact(lake, DAY).await.unwrap();
    lake.put_evidence(b"of nobody").await.unwrap();
}

async fn sweep(lake: Lake, now_ms: i64) -> Result<(), String> {
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        dry_run: false,
        publications_before_ms: Some(DAY + 1),
        evidence_before_ms: Some(FAR_MS),
    };
    let now_ms = FAR_MS + now_ms - DAY;
    keeper(&lake, now_ms).vacuum(&options).await.map_err(text)?;
    let rest = VacuumOptions {
        dry_run: true,
        ..options
    };
    let left = keeper(&lake, now_ms).vacuum(&rest).await.map_err(text)?;
    let left = left.data_files + left.evidence_files + left.publications.len() + left.log_files;
    if left > 0 {
        return Err(format!("{left} objects were left"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_survives_every_fault() {
    let wanted = Seen {
        windows: halves("s", [1, 3]),
        published: BTreeMap::from([("c".to_owned(), 2)]),
    };
    exhaust(Case {
        name: "vacuum",
        base: base(async |lake| littered(lake).await).await,
        work: |lake, now| Box::pin(sweep(lake, now)),
        allowed: |seen| seen.windows == halves("s", [1, 3]) && seen.published.get("c") == Some(&2),
        wanted,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_lease_survives_every_fault() {
    exhaust(Case {
        name: "a lease taken, renewed and given back",
        base: base(async |_| {}).await,
        work: |lake, now| {
            Box::pin(async move {
                let lease = lake
                    .acquire_lease("fleet", "a", now, Duration::ZERO)
                    .await
                    .map_err(text)?;
                lease.renew(now + 1).await.map_err(text)?;
                // While it holds nobody else does.
                let rival = lake
                    .acquire_lease("fleet", "b", now + 2, Duration::ZERO)
                    .await;
                assert!(rival.is_err());
                lease.release(now + 3).await.map_err(text)
            })
        },
        allowed: |_| true,
        wanted: Seen::default(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_busy_writers_never_sees_a_part() {
    let store = Arc::new(InMemory::new());
    let lake = open(store.clone()).await.unwrap();
    ingest(&lake, "s", [0, 0], DAY).await.unwrap();
    publish(&lake, "c", 1, DAY).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (lake, done) = (open(store.clone()).await.unwrap(), Arc::clone(&done));
        async move {
            let (mut looks, mut unsteady) = (0, 0);
            while !done.load(Ordering::SeqCst) {
                match look(&lake).await {
                    Ok(_) => looks += 1,
                    Err(error) if error.contains("windows were replaced") => unsteady += 1,
                    Err(error) => panic!("after {looks} looks: {error}"),
                }
            }
            (looks, unsteady)
        }
    });
    for round in 1..8 {
        ingest(&lake, "s", [round, round + 100], DAY).await.unwrap();
        if round % 2 == 0 {
            compact(&lake, DAY).await.unwrap();
        }
        publish(&lake, "c", round + 1, DAY).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let (looks, unsteady) = reader.await.unwrap();
    println!("{looks} looks beside the writers, {unsteady} given up");
    assert!(looks > 3, "{looks}");
    let publications = lake.info().await.unwrap().publications;
    for number in publications {
        let old = lake.publication(Some(number)).await.unwrap().unwrap();
        let versions = published(&lake, &old).await.unwrap();
        assert_eq!(versions["c"], number as i64);
    }
}
