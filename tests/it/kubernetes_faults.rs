//! The live Kubernetes source against servers that do what a real API server will not do on demand:
//! lists cut short or without an end, too many requests, failures between two pages.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use idleproof::ingest::{ClusterApi, ClusterOptions, KubernetesError, Snapshot};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a fault does to a request for pods; the count is of such requests, from 1.
type Fault = fn(usize, &str) -> Reply;

enum Reply {
    Json(Value),
    /// Status line and headers.
    Refuse(&'static str),
    /// A body that is shorter than it says.
    Short,
    /// A body without an end.
    Endless,
    /// Nothing at all.
    Silence,
}

struct Mock {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

fn discovery(path: &str) -> Value {
    let resource = |plural: &str, kind: &str| json!({"resource": plural, "responseKind": {"kind": kind}, "verbs": ["get", "list"]});
    let resources = json!([resource("pods", "Pod"), resource("nodes", "Node")]);
    let groups = match path {
        "/api" => json!([{"metadata": {"name": ""}, "versions": [
            {"version": "v1", "freshness": "Current", "resources": resources}]}]),
        _ => json!([{"metadata": {"name": "keda.sh"}, "versions": [
            {"version": "v1alpha1", "freshness": "Stale"}]}]),
    };
    json!({"kind": "APIGroupDiscoveryList", "items": groups})
}

fn page(names: &[&str], token: Option<&str>) -> Value {
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "1"}}))
        .collect();
    json!({"apiVersion": "v1", "kind": "PodList", "items": items,
        "metadata": {"resourceVersion": "9", "continue": token}})
}

async fn mock(fault: Fault) -> Mock {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let pods = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, pods) = (Arc::clone(&seen), Arc::clone(&pods));
            tokio::spawn(async move { serve(stream, &seen, &pods, fault).await });
        }
    });
    Mock { port, requests }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, pods: &AtomicUsize, fault: Fault) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock()
        .unwrap()
        .push(head.lines().next().unwrap().to_owned());
    let path = target.split('?').next().unwrap();
    let reply = match path {
        "/api" | "/apis" => Reply::Json(discovery(path)),
        "/api/v1/nodes" => Reply::Json(page(&[], None)),
        _ => fault(pods.fetch_add(1, Ordering::Relaxed) + 1, &target),
    };
    let start = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let said = match reply {
        Reply::Json(value) => {
            let body = value.to_string();
            format!("{start}Content-Length: {}\r\n\r\n{body}", body.len())
        }
        Reply::Refuse(head) => {
            format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        Reply::Short => format!("{start}Content-Length: 900\r\n\r\n{{\"items\":["),
        Reply::Endless => {
            let _ = stream
                .write_all(format!("{start}\r\n{{\"items\":[").as_bytes())
                .await;
            let blank = vec![b' '; 64 << 10];
            while stream.write_all(&blank).await.is_ok() {}
            return;
        }
        Reply::Silence => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return;
        }
    };
    let _ = stream.write_all(said.as_bytes()).await;
}

async fn take(mock: &Mock) -> Result<Snapshot, KubernetesError> {
    take_through(mock, None).await
}

async fn take_through(mock: &Mock, proxy_url: Option<String>) -> Result<Snapshot, KubernetesError> {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "m",
        "clusters": [{"name": "m", "cluster": {"server": format!("http://127.0.0.1:{}", mock.port)}}],
        "users": [{"name": "m", "user": {}}],
        "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}]});
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let api = ClusterApi::connect(ClusterOptions {
        kubeconfig: Some(path),
        proxy_url,
        qps: 1_000,
        idle_timeout: Duration::from_millis(500),
        backoff: Duration::from_millis(5),
        max_answer_bytes: 1 << 20,
        ..ClusterOptions::default()
    })
    .await?;
    Snapshot::take(&api).await
}

/// The reason that pods failed with; nothing of them may be in the files.
async fn failed(fault: Fault) -> String {
    let snapshot = take(&mock(fault).await).await.unwrap();
    let counts = snapshot.counts();
    let pods = counts.failed.iter().find(|(kind, _)| kind == "pod");
    let reason = pods.unwrap_or_else(|| panic!("{counts:?}")).1.clone();
    let folder = tempfile::tempdir().unwrap();
    let written = snapshot.write(folder.path(), 1_793_500_000_000).unwrap();
    assert!(!written.join("pods.json").exists());
    assert!(written.join("nodes.json").exists());
    assert!(!leftovers(folder.path()));
    reason
}

fn leftovers(folder: &Path) -> bool {
    let hidden = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    std::fs::read_dir(folder)
        .unwrap()
        .any(|entry| hidden(entry.unwrap()))
}

async fn pods_of(fault: Fault) -> (usize, Vec<String>) {
    let mock = mock(fault).await;
    let snapshot = take(&mock).await.unwrap();
    // KEDA's group is stale, so its kinds failed; nothing else did.
    let counts = snapshot.counts();
    let kinds: Vec<&str> = counts
        .failed
        .iter()
        .map(|(kind, _)| kind.as_str())
        .collect();
    assert_eq!(kinds, ["scaledobject.keda.sh"]);
    let requests = mock.requests.lock().unwrap();
    let pods = requests
        .iter()
        .filter(|line| line.contains("/pods"))
        .cloned()
        .collect();
    (counts.objects as usize, pods)
}

#[tokio::test]
async fn a_list_cut_short_is_failed_and_never_empty() {
    let reason = failed(|_, _| Reply::Short).await;
    assert!(reason.contains("broke off"), "{reason}");
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let reason = failed(|_, _| Reply::Endless).await;
    assert!(reason.contains("too large"), "{reason}");
    // Pages without an end: the same token again, or always another one.
    let reason = failed(|_, _| Reply::Json(page(&["p"], Some("same")))).await;
    assert!(reason.contains("same continue token"), "{reason}");
    let reason = failed(|n, _| Reply::Json(page(&[], Some(&n.to_string())))).await;
    assert!(reason.contains("1000 pages"), "{reason}");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let reason = failed(|_, _| Reply::Silence).await;
    assert!(reason.contains("was silent"), "{reason}");
}

#[tokio::test]
async fn too_many_requests_are_waited_for_as_long_as_asked() {
    let start = Instant::now();
    let (objects, pods) = pods_of(|n, _| match n {
        1 => Reply::Refuse("429 Too Many Requests\r\nRetry-After: 1"),
        _ => Reply::Json(page(&["p"], None)),
    })
    .await;
    assert_eq!((objects, pods.len()), (1, 2));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_failure_between_pages_asks_for_that_page_again() {
    let (objects, pods) = pods_of(|n, target| match (n, target.contains("continue=t2")) {
        (1, false) => Reply::Json(page(&["a", "b"], Some("t2"))),
        (2, true) => Reply::Refuse("500 Internal Server Error"),
        (3, true) => Reply::Json(page(&["c"], None)),
        _ => Reply::Refuse("418 Out of order"),
    })
    .await;
    assert_eq!((objects, pods.len()), (3, 3));
    assert!(
        failed(|_, _| Reply::Refuse("500 Internal Server Error"))
            .await
            .contains("status 500")
    );
}

#[tokio::test]
async fn pages_of_two_versions_are_never_joined() {
    let (objects, pods) = pods_of(|n, _| match n {
        1 => Reply::Json(page(&["a"], Some("t2"))),
        2 => {
            let mut other = page(&["b"], None);
            other["metadata"]["resourceVersion"] = json!("10");
            Reply::Json(other)
        }
        3 => Reply::Refuse("410 Gone"),
        4 => Reply::Json(page(&["a", "b"], None)),
        _ => Reply::Refuse("418 Out of order"),
    })
    .await;
    assert_eq!((objects, pods.len()), (2, 4));
}

#[tokio::test]
async fn hostile_items_fail_their_kind_only() {
    let reason = failed(|_, _| Reply::Json(json!({"items": [{"metadata": {}}]}))).await;
    assert!(
        reason.contains("item 0 has no usable metadata.name"),
        "{reason}"
    );
    let reason = failed(|_, _| Reply::Json(json!([1, 2]))).await;
    assert!(reason.contains("without items"), "{reason}");
}

#[tokio::test]
async fn no_server_and_no_api_server_are_told_apart() {
    let gone = Mock {
        port: 1,
        requests: Arc::default(),
    };
    let said = take(&gone).await.unwrap_err().to_string();
    assert!(
        said.contains("127.0.0.1:1") && said.contains("check address"),
        "{said}"
    );
    let refused = mock(|_, _| Reply::Refuse("401 Unauthorized")).await;
    let said = take(&refused).await.unwrap_err().to_string();
    assert!(
        said.contains("401") && said.contains("ClusterRoleBinding"),
        "{said}"
    );
}

/// A proxy that opens tunnels and counts them.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tunnels = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tunnels);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap();
                let target = target.split(' ').next().unwrap();
                let mut far = TcpStream::connect(target).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (url, tunnels)
}

#[tokio::test]
async fn a_proxy_is_gone_through() {
    let server = mock(|_, _| Reply::Json(page(&["p"], None))).await;
    let (url, tunnels) = proxy().await;
    let snapshot = take_through(&server, Some(url)).await.unwrap();
    assert_eq!(snapshot.counts().objects, 1);
    assert!(tunnels.load(Ordering::Relaxed) > 0);
    let said = take_through(&server, Some("http://127.0.0.1:1".to_owned())).await;
    assert!(said.unwrap_err().to_string().contains("does not answer"));
}
