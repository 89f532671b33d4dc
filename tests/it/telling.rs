//! What a user is told: by `check` of a server, and by an ingest as it goes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use idleproof::ingest::stored_windows;
use idleproof::lake::Lake;
use idleproof::model::TimeWindow;
use serde_json::Value;

use super::loopback::{Loopback, answer};
use super::peers::{Data, client, peer, prometheus};

/// 2026-11-01T00:00:00Z.
const DAY: i64 = 1_793_491_200_000;
const HOUR: i64 = 3_600_000;

fn configure(folder: &Path, source: &str) -> String {
    let file = folder.join("idleproof.toml");
    let text = format!(
        "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"prod-a\"\n[[source]]\nname = \"s\"\n\
         cluster = \"prod-a\"\n{source}"
    );
    std::fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}

/// Runs beside the test's own servers, which live on its runtime.
async fn idleproof(args: &[&str]) -> Output {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_idleproof"))
            .args(args)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A GPU with its engine, every so often over some hours of the month.
fn gpu(data: &mut Data, number: &str, hours: std::ops::Range<i64>, step_ms: i64) {
    let times = (DAY + hours.start * HOUR..DAY + hours.end * HOUR).step_by(step_ms as usize);
    let times: Vec<i64> = times.collect();
    let uuid = format!("GPU-{number}");
    let pod = format!("llama-{number}");
    let labels = [
        ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
        ("gpu", number),
        ("UUID", uuid.as_str()),
        ("modelName", "NVIDIA H100 80GB HBM3"),
        ("Hostname", "node-0"),
        ("namespace", "chat"),
        ("pod", pod.as_str()),
        ("instance", "10.0.0.1:9400"),
        ("job", "dcgm"),
    ];
    data.add(&labels, times.iter().map(|ts| (*ts, 50.0)).collect());
    let labels = [
        ("__name__", "vllm:num_requests_running"),
        ("namespace", "chat"),
        ("pod", pod.as_str()),
        ("model_name", "llama"),
        ("instance", "10.0.1.1:8000"),
        ("job", "vllm"),
    ];
    data.add(&labels, times.iter().map(|ts| (*ts, 1.0)).collect());
}

fn note_of(output: &Output) -> (bool, String) {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = answer["sources"].as_array().unwrap();
    let one = all.iter().find(|source| source["source"] == "s").unwrap();
    (one["ok"] == true, one["notes"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_a_server_holds_how_often_and_by_whose_clock() {
    let (Some(_), Some(program)) = (peer("promtool"), peer("prometheus")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut data = Data::default();
    gpu(&mut data, "0", 0..26, 400_000);
    data.blocks(folder.path());
    let server = prometheus(&program, folder.path(), &[]).await;
    let source = format!(
        "kind = \"prometheus\"\nurl = \"http://127.0.0.1:{}\"\n",
        server.port
    );
    let file = configure(folder.path(), &source);
    let output = idleproof(&["check", "sources", "--config", &file, "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (ok, notes) = note_of(&output);
    assert!(ok, "{notes}");
    for part in [
        "it holds 1 days; the detectors look at",
        "give it longer retention",
        "behind this machine's clock",
        "gpu_samples are scraped every 400 s",
    ] {
        assert!(notes.contains(part), "{part} is not in {notes}");
    }
    let told = text(&output.stderr);
    assert!(told.contains("mode auto chose"), "{told}");

    // One GPU and one engine pod: what each line that is to be pasted adds is known.
    let output = idleproof(&["check", "--advise", "--config", &file]).await;
    let told = text(&output.stdout);
    for advice in [
        "adds 1 series:\n         # dcgm-exporter, in the file that its -f flag names:\n         \
         DCGM_FI_PROF_DRAM_ACTIVE, gauge, ",
        "adds 3 series:\n         # The engine's own metrics, for the Prometheus operator (match the \
         labels and the port to the pods):\n         apiVersion: monitoring.coreos.com/v1\n         \
         kind: PodMonitor\n",
        "adds 4 series:\n         # kube-state-metrics, its default metrics; where an allow-list is \
         set, add:\n         --metric-allowlist=kube_pod_.*,",
    ] {
        assert!(told.contains(advice), "{advice} is not in {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_a_server_refuses_and_shouts_where_tls_is_not_verified() {
    let server = Loopback::start(|_| answer("401 Unauthorized", "text/plain", "who are you")).await;
    let folder = tempfile::tempdir().unwrap();
    let source = format!("kind = \"prometheus\"\nurl = \"{}\"\n", server.url());
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let check = async |source: &str| {
        let file = configure(folder.path(), source);
        let output = idleproof(&["check", "sources", "--config", &file, "-o", "json"]).await;
        assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
        output
    };
    let output = check(&source).await;
    let (ok, notes) = note_of(&output);
    assert!(
        !ok && notes.contains("401") && notes.contains("credentials"),
        "{notes}"
    );
    assert!(!text(&output.stderr).contains("WARNING"));
    for section in ["tls_config", "oauth2"] {
        let more = if section == "oauth2" {
            format!(
                "[source.oauth2]\nclient_id = \"c\"\nclient_secret_file = \"secret\"\ntoken_url = \"{}/t\"\n\
                 [source.oauth2.tls_config]\ninsecure_skip_verify = true\n",
                server.url()
            )
        } else {
            "[source.tls_config]\ninsecure_skip_verify = true\n".to_owned()
        };
        let told = text(&check(&format!("{source}{more}")).await.stderr);
        assert!(
            told.contains("s: WARNING: insecure_skip_verify is set"),
            "{section}: {told}"
        );
    }
}

/// The requests of remote read that a Prometheus says it has answered.
async fn reads(port: u16) -> u64 {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let page = client().get(url).send().await.unwrap();
    let page = page.text().await.unwrap();
    let counts = page.lines().filter_map(|line| {
        let rest = line.strip_prefix("prometheus_http_requests_total{")?;
        let (labels, count) = rest.split_once("} ")?;
        let is_read = labels.contains("handler=\"/api/v1/read\"");
        is_read.then(|| count.parse::<f64>().unwrap() as u64)
    });
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_the_ingest_of_a_prometheus_then_takes() {
    let (Some(_), Some(program)) = (peer("promtool"), peer("prometheus")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut data = Data::default();
    // Two series, and a sample of each a minute, over two days.
    gpu(&mut data, "0", 0..48, 60_000);
    // Beyond the span, and of no use to anyone.
    gpu(&mut data, "0", 48..50, 60_000);
    data.add(&[("__name__", "go_goroutines")], vec![(DAY, 1.0)]);
    data.blocks(folder.path());
    let server = prometheus(&program, folder.path(), &[]).await;
    let source = format!(
        "kind = \"prometheus\"\nmode = \"remote-read\"\nurl = \"http://127.0.0.1:{}\"\n",
        server.port
    );
    let file = configure(folder.path(), &source);
    let ingest = async |more: &[&str]| {
        let mut args = vec!["ingest", "--from", "2026-11-01", "--to", "2026-11-03"];
        args.extend_from_slice(&["--config", file.as_str()]);
        args.extend_from_slice(more);
        let output = idleproof(&args).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let planned = ingest(&["--plan"]).await;
    let before = reads(server.port).await;
    ingest(&[]).await;
    let requests = reads(server.port).await - before;
    assert!(requests > 0);
    let wanted = format!(
        "s: 2026-11-01T00:00:00Z to 2026-11-03T00:00:00Z: 2 windows to read, 0 settled; about 2 \
         series, 5760 samples, {requests} requests, "
    );
    let seconds = planned.trim().strip_prefix(&wanted);
    let seconds = seconds.and_then(|rest| rest.strip_suffix(" s"));
    let seconds: Option<u64> = seconds.and_then(|number| number.parse().ok());
    assert!(
        seconds.is_some_and(|s| s > 0),
        "{planned} is not {wanted}… s"
    );
    let lake = folder.path().join("lake").to_string_lossy().into_owned();
    let lake = Lake::open_existing(&lake).await.unwrap();
    let stored = stored_windows(&lake, "s", TimeWindow::new(DAY, DAY + 50 * HOUR));
    let samples: Vec<i64> = stored.await.unwrap().iter().map(|w| w.samples).collect();
    assert_eq!(samples, [2880, 2880]);
}

/// Two days of the sample's blocks.
fn sample(folder: &Path) -> [String; 7] {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/prometheus/prod-a");
    let source = format!("kind = \"tsdb\"\nurl = \"{}\"\n", sample.display());
    let file = configure(folder, &source);
    [
        "ingest",
        "--from",
        "2026-11-02",
        "--to",
        "2026-11-04",
        "--config",
        &file,
    ]
    .map(str::to_owned)
}

#[test]
fn an_ingest_without_a_terminal_writes_a_line_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(sample(folder.path()))
        .env("IDLEPROOF_LOG", "idleproof=info")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let windows: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("window_start_ms="))
        .collect();
    assert_eq!(windows.len(), 2, "{told}");
    for line in windows {
        for part in ["source=\"s\"", "outcome=Written", "series=", "samples="] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    assert!(
        !told.contains("to go"),
        "a bar where there is no terminal: {told}"
    );
}

#[test]
fn an_ingest_on_a_terminal_shows_windows_samples_and_the_time_to_go() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no python3");
        println!("skipped: python3 is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Python gives the program a terminal and repeats what it shows there.
    let spawn = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let output = Command::new("python3")
        .args(["-c", spawn, env!("CARGO_BIN_EXE_idleproof")])
        .args(sample(folder.path()))
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}{}",
        text(&output.stderr)
    );
    for part in ["/2 windows", "a second", "gone", "to go"] {
        assert!(shown.contains(part), "{part} is not in {shown:?}");
    }
}

/// Every command and option of the command line, for shells and as pages.
#[test]
fn shells_complete_and_manual_pages_exist_for_every_command() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_idleproof"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}\n{}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        for word in ["openmetrics", "lease-wait", "pipeline-key"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    run(&["man", "--out", &folder.path().to_string_lossy()]);
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("idleproof.1").contains("inventory"));
    assert!(page("idleproof-export-focus.1").contains("FOCUS"));
    assert!(page("idleproof-run.1").contains("no\\-ingest"));
}
