//! What leaves a run: its files in an object store, and a digest at a webhook on loopback.

use std::fs;
use std::process::{Command, Output};

use idleproof::lake::bucket::Bucket;
use serde_json::Value;

use crate::loopback::Loopback;
use crate::sample::{configuration, run, text};
use crate::stores::moto;

async fn idleproof(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idleproof"));
    command.args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_lies_whole_in_a_bucket_and_its_digest_reaches_a_webhook() {
    let Some((_server, endpoint, options)) = moto("reports").await else {
        return;
    };
    // The first address is refused for good, the second is busy once.
    let refuses = Loopback::start(|_| {
        b"HTTP/1.1 403 Forbidden\r\ncontent-length: 13\r\n\r\ninvalid_token".to_vec()
    })
    .await;
    let busy = std::sync::atomic::AtomicBool::new(true);
    let hears = Loopback::start(move |_| {
        if busy.swap(false, std::sync::atomic::Ordering::SeqCst) {
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
        }
    })
    .await;

    let whole = tokio::task::spawn_blocking(run).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(whole.folder.path().join("lake"))
        .arg(path.join("lake"))
        .status()
        .unwrap();
    assert!(copied.success());
    for key in ["pipeline_ed25519", "pipeline_ed25519.pub"] {
        fs::copy(whole.folder.path().join(key), path.join(key)).unwrap();
    }
    fs::write(
        path.join("refuses"),
        format!("{}/services/T0/SECRET1\n", refuses.url()),
    )
    .unwrap();
    fs::write(
        path.join("hears"),
        format!("{}/services/T0/SECRET2\n", hears.url()),
    )
    .unwrap();
    let report = configuration(path);
    let report = report.replace(
        &format!("output = \"{}/report\"", path.display()),
        &format!(
            "output = \"s3://reports/fleet\"\noutput_options = {{ endpoint = \"{endpoint}\", region = \"us-east-1\", access_key_id = \"test\", secret_access_key = \"test\", allow_http = \"true\" }}"
        ),
    );
    assert!(report.contains("s3://reports/fleet"), "{report}");
    let notify = "\n[[notify]]\nkind = \"webhook\"\nurl_file = \"./refuses\"\n\n[[notify]]\nkind = \"webhook\"\nurl_file = \"./hears\"\nlink = \"https://reports.example.com/fleet/\"\n";
    let config = path.join("idleproof.toml");
    let config_text = config.to_string_lossy().into_owned();
    let again = ["run", "--no-ingest", "--config", &config_text];

    // A key has no place beside a bucket.
    fs::write(&config, format!("{report}{notify}")).unwrap();
    let output = idleproof(&again).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[approve] signing_key"));

    let key = "\n[approve]\nsigning_key = \"./pipeline_ed25519\"\n";
    fs::write(&config, format!("{report}{notify}{key}")).unwrap();
    let output = idleproof(&again).await;
    let stderr = text(&output.stderr);
    // A delivery that fails is a warning.
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("warning: [[notify]] 1 was not told: the server answered 403 Forbidden: \"invalid_token\""),
        "{stderr}"
    );
    assert!(stderr.contains("told [[notify]] 2"), "{stderr}");
    assert!(
        !stderr.contains("SECRET"),
        "an address is a secret: {stderr}"
    );

    let bucket = Bucket::open("s3://reports/fleet", &options).unwrap();
    let get = async |key: &str| {
        let found = bucket.get(key).await.unwrap();
        found
            .unwrap_or_else(|| panic!("{key} is not there"))
            .to_vec()
    };
    let latest: Value = serde_json::from_slice(&get("latest.json").await).unwrap();
    let place = latest["path"].as_str().unwrap();
    assert!(place.starts_with("2026/W47/"), "{place}");
    let there = path.join("there");
    fs::create_dir(&there).unwrap();
    for name in [
        "report.html",
        "report.md",
        "report.json",
        "findings.json",
        "recommendations.json",
        "digest.html",
        "digest.md",
        "manifest.tlog-proof",
        "manifest.dsse.json",
    ] {
        fs::write(there.join(name), get(&format!("{place}/{name}")).await).unwrap();
    }
    let manifest = there.join("manifest.dsse.json");
    let public = path.join("pipeline_ed25519.pub");
    let verified = idleproof(&[
        "verify",
        "manifest",
        &manifest.to_string_lossy(),
        "--key",
        &public.to_string_lossy(),
    ])
    .await;
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        text(&verified.stderr)
    );
    assert!(text(&verified.stdout).contains("digest.html: matches"));

    // Once when it was busy, once heard: the same words.
    let heard = hears.requests();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].body, heard[1].body);
    assert_eq!(heard[1].header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&heard[1].body).unwrap();
    let message = body["text"].as_str().unwrap();
    let view: Value =
        serde_json::from_slice(&fs::read(there.join("report.json")).unwrap()).unwrap();
    for number in ["fleet_cost", "avoidable_window", "avoidable_monthly"] {
        let number = view["headline"][number].as_str().unwrap();
        assert!(message.contains(number), "{number} is lacking in {message}");
    }
    let first = view["findings"][0]["net_monthly"].as_str().unwrap();
    assert!(
        message.contains(&format!("1. *{first} a month*")),
        "{message}"
    );
    assert!(message.ends_with(&format!(
        "<https://reports.example.com/fleet/{place}/report.html|The whole report>"
    )));
    assert_eq!(refuses.requests().len(), 1, "a refusal is final");
}
