//! The first look, as a curious engineer takes it: `scan` and `init` against real servers.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::kube_server::KubeServer;
use crate::prometheus::{installed, start_prometheus};
use crate::sample::{root, text};

/// A folder with the first cluster's blocks as a Prometheus would hold them.
fn blocks(folder: &Path) {
    let from = root().join("sample-data/prometheus/prod-a");
    for block in fs::read_dir(from).unwrap() {
        let block = block.unwrap().path();
        let to = folder.join("data").join(block.file_name().unwrap());
        fs::create_dir_all(to.join("chunks")).unwrap();
        for name in ["index", "meta.json", "chunks/000001"] {
            fs::copy(block.join(name), to.join(name)).unwrap();
        }
    }
}

/// The program with a temporary folder of its own.
async fn idleproof(folder: &Path, args: &[&str]) -> Output {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_idleproof"));
    command
        .args(args)
        .current_dir(folder)
        .env("TMPDIR", &temporary)
        .env_remove("KUBECONFIG")
        .env("HOME", folder)
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_first_look_needs_a_server_and_leaves_nothing_but_its_report() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    blocks(path);
    let server = start_prometheus(path).await;
    let url = format!("http://127.0.0.1:{}", server.port);
    let lists = root().join("sample-data/kubernetes/prod-a");
    let lists = lists.to_str().unwrap();
    let scan = [
        "scan",
        "--prometheus",
        &url,
        "--snapshots",
        lists,
        "--last",
        "2d",
    ];
    let kept = [&scan[..], &["--cluster", "prod-a", "--keep", "first"]].concat();
    let output = idleproof(path, &kept).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    for part in [
        "prod-a · 2026-11-",
        "  spent ",
        "  avoidable ",
        "Where GPU time went",
        "What to change:",
        "Workloads by cost",
        "report: report.html",
    ] {
        assert!(out.contains(part), "{part} is lacking in\n{out}");
    }
    // A terminal's colours are no part of a file.
    assert!(!out.contains('\u{1b}'), "{out}");
    let page = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(page.contains("Where the GPU money went"));
    assert!(
        is_empty(&path.join("tmp")),
        "the lake is kept where it was asked for"
    );
    // What was kept is a lake like any other, under a configuration that can be used.
    let config = "first/idleproof.toml";
    let hours = "select count(*) as n from v_ledger";
    let asked = idleproof(path, &["sql", hours, "-o", "csv", "--config", config]).await;
    let rows: u64 = text(&asked.stdout).lines().nth(1).unwrap().parse().unwrap();
    assert!(rows > 500, "{rows}");
    // A folder that is there is somebody's.
    let again = idleproof(path, &kept).await;
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("make the new folder `first`"));

    // A server that is not there: its name, and nothing left behind.
    let nowhere = ["scan", "--prometheus", "http://127.0.0.1:9", "--last", "2d"];
    let failed = idleproof(path, &nowhere).await;
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("http://127.0.0.1:9"));
    assert!(is_empty(&path.join("tmp")));
}

#[tokio::test]
async fn a_configuration_is_written_from_flags_and_its_sources_are_asked() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    blocks(path);
    let server = start_prometheus(path).await;
    let url = format!("http://127.0.0.1:{}", server.port);
    let args = [
        "init",
        "--prometheus",
        &url,
        "--cluster",
        "prod-a",
        "--no-kubernetes",
    ];
    let output = idleproof(path, &args).await;
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("wrote idleproof.toml"), "{err}");
    assert!(
        text(&output.stdout).contains("prometheus-prod-a-0"),
        "{}",
        text(&output.stdout)
    );
    let checked = idleproof(path, &["check", "config"]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let again = idleproof(path, &args).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("overwrites nothing"));
    // What cannot be reached is said, and the file is there to be mended.
    let wrong = [
        "init",
        "--prometheus",
        "http://127.0.0.1:9",
        "--cluster",
        "x",
        "--no-kubernetes",
        "--config",
        "other.toml",
    ];
    let failed = idleproof(path, &wrong).await;
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed.stderr));
    assert!(path.join("other.toml").exists());
}

/// An address of this machine that is not loopback: the API server forbids that one to Endpoints.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only picks a way.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn a_metrics_server_is_found_by_its_labels_and_asked_through_the_api_server() {
    if !installed("prometheus") {
        return;
    }
    let Some(address) = own_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let Some(api) = KubeServer::start(&[]).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    blocks(path);
    let port = {
        let probe = std::net::TcpListener::bind((address, 0)).unwrap();
        probe.local_addr().unwrap().port()
    };
    fs::write(path.join("prometheus.yml"), "global: {}\n").unwrap();
    let mut prometheus = Command::new("prometheus")
        .current_dir(path)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
        .arg(format!("--web.listen-address={address}:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    api.namespace("monitoring").await;
    let services = "/api/v1/namespaces/monitoring/services";
    // One that looks like it and has nobody behind it, and the one that serves.
    for (name, labels) in [
        (
            "thanos-query",
            json!({"app.kubernetes.io/name": "thanos-query"}),
        ),
        (
            "kps-prometheus",
            json!({"app": "kube-prometheus-stack-prometheus"}),
        ),
        ("grafana", json!({"app.kubernetes.io/name": "grafana"})),
    ] {
        let object = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"ports": [{"name": "http-web", "port": 9090, "targetPort": port},
                               {"name": "http", "port": 80, "targetPort": port}]}});
        api.create(services, &object).await;
    }
    // What a controller would make of the Service; there is none here.
    let slice = json!({"metadata": {"name": "kps-prometheus-1",
                                    "labels": {"kubernetes.io/service-name": "kps-prometheus"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "http-web", "port": port, "protocol": "TCP"},
                  {"name": "http", "port": port, "protocol": "TCP"}]});
    api.create(
        "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices",
        &slice,
    )
    .await;
    let endpoints = json!({"metadata": {"name": "kps-prometheus"},
        "subsets": [{"addresses": [{"ip": address.to_string()}],
                     "ports": [{"name": "http-web", "port": port}, {"name": "http", "port": port}]}]});
    api.create("/api/v1/namespaces/monitoring/endpoints", &endpoints)
        .await;
    let ready = format!("{services}/kps-prometheus:9090/proxy/-/ready");
    let mut answered = false;
    for _ in 0..300 {
        answered = api.answers(&ready).await;
        if answered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        answered,
        "the API server does not reach Prometheus at {address}:{port}"
    );

    let rules = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get", "create"]},
    ]);
    api.reader("scanner", &rules).await;
    let token = api.token("scanner").await;
    let kubeconfig = api.kubeconfig("scanner", &json!({"token": token}));
    let kubeconfig = kubeconfig.to_str().unwrap();
    let init = [
        "init",
        "--yes",
        "--kubeconfig",
        kubeconfig,
        "--cluster",
        "prod-a",
        "--no-kubernetes",
    ];
    let output = idleproof(path, &init).await;
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(
        err.contains("found Prometheus at monitoring/kps-prometheus:9090"),
        "{err}"
    );
    let written = fs::read_to_string(path.join("idleproof.toml")).unwrap();
    assert!(
        written.contains("service = \"monitoring/kps-prometheus:9090\""),
        "{written}"
    );
    let days = ["ingest", "--from", "2026-11-20", "--to", "2026-11-21"];
    let through = idleproof(path, &days).await;
    assert_eq!(through.status.code(), Some(0), "{}", text(&through.stderr));

    // The same day, asked directly, gives the same rows.
    let direct = written
        .replace(
            "service = \"monitoring/kps-prometheus:9090\"",
            &format!("url = \"http://{address}:{port}\""),
        )
        .replace(&format!("kubeconfig = \"{kubeconfig}\"\n"), "")
        .replace("\"./lake\"", "\"./direct\"");
    fs::write(path.join("direct.toml"), direct).unwrap();
    let other = idleproof(path, &[&days[..], &["--config", "direct.toml"]].concat()).await;
    assert_eq!(other.status.code(), Some(0), "{}", text(&other.stderr));
    let read = |output: &Output| {
        let err = text(&output.stderr);
        let line = err
            .lines()
            .find(|line| line.contains(" windows ("))
            .unwrap_or_default();
        line.split(" windows (")
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        read(&through).contains("samples"),
        "{}",
        text(&through.stderr)
    );
    assert_eq!(read(&through), read(&other));

    // Without the right to the subresource it says what is lacking.
    let some = json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]}]);
    api.reader("nobody", &some).await;
    let token = api.token("nobody").await;
    let kubeconfig = api.kubeconfig("nobody", &json!({"token": token}));
    let refused = idleproof(
        path,
        &["scan", "--kubeconfig", kubeconfig.to_str().unwrap()],
    )
    .await;
    let err = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{err}");
    assert!(
        err.contains("services/proxy") && err.contains("kps-prometheus"),
        "{err}"
    );
    let _ = prometheus.kill();
    let _ = prometheus.wait();
}
