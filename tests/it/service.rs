//! A metrics server inside a cluster, found by its labels and asked through a real API server's
//! `services/proxy`. There are no controllers, so the test makes what they would.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::kube_server::KubeServer;
use crate::prometheus::installed;
use crate::sample::text;
use crate::scan::{blocks, idleproof};

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
    // The server asks only addresses that are a pod's own. What a controller would make of them and of
    // the Service follows; there is none here.
    api.pods("monitoring", "prometheus", 1).await;
    let ip = address.to_string();
    let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let pod = "/api/v1/namespaces/monitoring/pods/prometheus-0";
    api.merge(&format!("{pod}/status"), &status).await;
    let uid = api.get(pod).await["metadata"]["uid"].clone();
    let target =
        json!({"kind": "Pod", "namespace": "monitoring", "name": "prometheus-0", "uid": uid});
    let slice = json!({"metadata": {"name": "kps-prometheus-1",
                                    "labels": {"kubernetes.io/service-name": "kps-prometheus"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}, "targetRef": target}],
        "ports": [{"name": "http-web", "port": port, "protocol": "TCP"},
                  {"name": "http", "port": port, "protocol": "TCP"}]});
    api.create(
        "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices",
        &slice,
    )
    .await;
    let endpoints = json!({"metadata": {"name": "kps-prometheus"},
        "subsets": [{"addresses": [{"ip": ip, "targetRef": target}],
                     "ports": [{"name": "http-web", "port": port}, {"name": "http", "port": port}]}]});
    api.create("/api/v1/namespaces/monitoring/endpoints", &endpoints)
        .await;
    let ready = format!("{services}/kps-prometheus:9090/proxy/-/ready");
    let mut answered = Err(String::new());
    for _ in 0..300 {
        answered = api.answer(&ready).await;
        if answered.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(answered.is_ok(), "{address}:{port}: {answered:?}");

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
