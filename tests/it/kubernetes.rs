//! The live Kubernetes source against a real API server: pages, rights, redaction, credentials, page
//! tokens that expire, and the same inventory as from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use idleproof::ingest::{
    ClusterApi, ClusterOptions, IngestError, IngestOptions, IngestReport, KubernetesExport,
    LakeSink, Outcome, Snapshot, ingest_export, ingest_live,
};
use idleproof::inventory::input::Inputs;
use idleproof::inventory::{Embedded, Inventory, fold};
use idleproof::lake::{Lake, LakeView, read_only_sql, source_lease};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS, parse_ms};
use serde_json::{Value, json};

use super::kube_server::{KubeServer, collection, manifests};

/// The rules of the ClusterRole that the documentation tells users to apply.
pub(crate) fn documented_rules() -> Value {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let role = docs
        .split("```yaml\n")
        .skip(1)
        .map(|part| part.split("```").next().unwrap())
        .find(|yaml| yaml.contains("kind: ClusterRole\n"))
        .unwrap();
    let role = role.split("\n---").next().unwrap();
    let role: Value = serde_yaml_ng::from_str(role).unwrap();
    role["rules"].clone()
}

fn options(kubeconfig: &Path) -> ClusterOptions {
    ClusterOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        qps: 1_000,
        ..ClusterOptions::default()
    }
}

async fn connect(kubeconfig: &Path) -> ClusterApi {
    ClusterApi::connect(options(kubeconfig)).await.unwrap()
}

/// A lake in memory with the lease of one source.
struct Kept {
    lake: Lake,
    source: &'static str,
}

impl Kept {
    async fn new(name: &'static str) -> Self {
        let lake = Lake::open(&format!("memory:///{name}")).await.unwrap();
        Self { lake, source: name }
    }

    async fn live(&self, api: &ClusterApi, now_ms: i64) -> Result<IngestReport, IngestError> {
        let lease = self
            .lake
            .acquire_lease(&source_lease(self.source), "test", now_ms, Duration::ZERO)
            .await
            .unwrap();
        let sink = LakeSink::new(&self.lake, &lease, Arc::new(move || now_ms));
        let report = ingest_live(api, self.source, "prod-a", &sink, now_ms).await;
        lease.release(now_ms).await.unwrap();
        report
    }

    async fn sql(&self, sql: &str) -> Vec<RecordBatch> {
        let head = self.lake.head().await.unwrap();
        let windows = self.lake.complete_windows(&head).await.unwrap();
        let view = LakeView::pinned(head).with_windows(windows);
        let session = self.lake.read_session(&view).await.unwrap();
        let no_params: Vec<datafusion::scalar::ScalarValue> = Vec::new();
        let frame = read_only_sql(&session, sql, no_params).await.unwrap();
        frame.collect().await.unwrap()
    }

    async fn text(&self, sql: &str) -> String {
        pretty_format_batches(&self.sql(sql).await)
            .unwrap()
            .to_string()
    }

    async fn inventory(&self, window: TimeWindow) -> Inventory {
        let head = self.lake.head().await.unwrap();
        let session = self
            .lake
            .read_session(&LakeView::pinned(head))
            .await
            .unwrap();
        let evidence = TimeWindow::new(window.start_ms - DAY_MS, window.end_ms);
        let inputs = Inputs::empty("prod-a", window);
        let inputs = idleproof::inventory::read(&session, inputs, evidence)
            .await
            .unwrap();
        fold(&inputs, &Embedded)
    }
}

fn noon() -> i64 {
    parse_ms("2026-11-02T12:00:00Z").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_account_reads_a_real_cluster_and_keeps_no_secret() {
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    server.namespace("chat").await;
    server.pods("chat", "engine", 1_234).await;
    let secret_pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": "with-secrets", "namespace": "chat", "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"hunter2-applied\"}"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "vllm",
            "args": ["--model", "m", "--api-key", "hunter2-arg"],
            "env": [{"name": "HF_TOKEN", "value": "hunter2-env"}, {"name": "MODEL_ID", "value": "m"}]}]}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"k": "hunter2-secret"},
        "metadata": {"name": "s", "namespace": "chat"}});
    let config_map = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"inference.yaml": "hunter2-map"},
            "metadata": {"name": name, "namespace": "chat"}})
    };
    let workspace = json!({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace",
        "metadata": {"name": "w", "namespace": "chat"},
        "inference": {"config": "named", "preset": {"name": "llama"}}});
    let queue = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue",
        "metadata": {"name": "q", "namespace": "chat"}, "spec": {}});
    server
        .load(&[
            secret_pod,
            secret,
            config_map("named"),
            config_map("other"),
            workspace,
            queue,
        ])
        .await;

    // The documented account, but for Kueue.
    let mut rules = documented_rules();
    let rules_of = rules.as_array_mut().unwrap();
    rules_of.retain(|rule| rule["apiGroups"] != json!(["kueue.x-k8s.io"]));
    let user = server.reader("reader", &rules).await;
    let token = server.token("reader").await;
    let kubeconfig = server.kubeconfig("reader", &json!({"token": token}));
    let api = connect(&kubeconfig).await;

    let kept = Kept::new("live").await;
    let first = kept.live(&api, noon()).await.unwrap();
    let found = first.snapshot.as_ref().unwrap();
    assert_eq!(found.failed, []);
    assert_eq!(found.forbidden, ["localqueue.kueue.x-k8s.io"]);
    assert!(found.absent > 30, "{found:?}");
    let states = kept
        .text(
            "SELECT kind, state, objects FROM snapshots WHERE kind IN ('pod', 'job.batch', \
             'scaledobject.keda.sh', 'localqueue.kueue.x-k8s.io', 'configmap') ORDER BY kind",
        )
        .await;
    insta::assert_snapshot!(states, @r"
    +---------------------------+-----------+---------+
    | kind                      | state     | objects |
    +---------------------------+-----------+---------+
    | configmap                 | listed    | 1       |
    | job.batch                 | listed    | 0       |
    | localqueue.kueue.x-k8s.io | forbidden |         |
    | pod                       | listed    | 1235    |
    | scaledobject.keda.sh      | absent    |         |
    +---------------------------+-----------+---------+
    ");

    // Redaction, read back from the lake.
    let all = format!("{:?}", kept.sql("SELECT object_json FROM objects").await);
    let whole = kept
        .text("SELECT object_json FROM objects WHERE name IN ('with-secrets', 'named', 'other')")
        .await;
    for text in [&all, &whole] {
        assert!(!text.contains("hunter2"));
    }
    assert!(whole.contains("<redacted>") && whole.contains("MODEL_ID"));
    assert!(whole.contains("inference.yaml") && whole.contains("managedFields"));
    let secrets = kept
        .text("SELECT COUNT(*) n FROM objects WHERE kind = 'Secret' OR name = 'other'")
        .await;
    assert!(secrets.contains("| 0 |"), "{secrets}");

    // What the server saw: nothing but reads, pods by pages, and no Secret.
    let events = server.audit(&user);
    assert!(events.len() > 15, "{} events", events.len());
    for event in &events {
        let verb = event["verb"].as_str().unwrap();
        assert!(["get", "list"].contains(&verb), "{event}");
        let resource = &event["objectRef"]["resource"];
        assert_ne!(resource, "secrets", "{event}");
        assert!(verb == "get" || resource != "configmaps", "{event}");
    }
    let pages: Vec<&str> = events
        .iter()
        .filter(|event| event["objectRef"]["resource"] == "pods")
        .filter_map(|event| event["requestURI"].as_str())
        .collect();
    assert_eq!(pages.len(), 3, "{pages:?}");
    assert!(pages.iter().all(|uri| uri.contains("limit=500")));
    assert!(!pages[0].contains("continue=") && pages[2].contains("continue="));

    // Nothing changed: nothing is written.
    let head = kept.lake.head().await.unwrap();
    let same = kept.live(&api, noon() + HOUR_MS / 2).await.unwrap();
    assert_eq!(same.count(Outcome::Unchanged), 1);
    assert_eq!(kept.lake.head().await.unwrap(), head);

    // One pod goes and one changes: the rest is seen again without its body, earlier rows stay.
    server.delete("/api/v1/namespaces/chat/pods/engine-7").await;
    let label = json!({"metadata": {"labels": {"team": "a"}}});
    server
        .merge("/api/v1/namespaces/chat/pods/engine-8", &label)
        .await;
    let changed_ms = noon() + HOUR_MS;
    let changed = kept.live(&api, changed_ms).await.unwrap();
    let window = &changed.windows[0];
    assert_eq!((window.series, window.samples), (1, 1_234));
    assert_eq!(
        (window.rows["objects"], window.rows["snapshots"]),
        (1_234, 1)
    );
    let spans = kept
        .text(
            "SELECT name, COUNT(DISTINCT resource_version) versions, COUNT(object_json) bodies, \
             COUNT(*) AS sightings, MAX(seen_to) last_seen FROM objects WHERE kind = 'Pod' AND name IN \
             ('engine-7', 'engine-8', 'engine-9') GROUP BY name ORDER BY name",
        )
        .await;
    insta::assert_snapshot!(spans, @r"
    +----------+----------+--------+-----------+----------------------+
    | name     | versions | bodies | sightings | last_seen            |
    +----------+----------+--------+-----------+----------------------+
    | engine-7 | 1        | 1      | 1         | 2026-11-02T12:00:00Z |
    | engine-8 | 2        | 2      | 2         | 2026-11-02T13:00:00Z |
    | engine-9 | 1        | 1      | 2         | 2026-11-02T13:00:00Z |
    +----------+----------+--------+-----------+----------------------+
    ");
    let inventory = kept.inventory(TimeWindow::day_of(noon())).await;
    let ended: Vec<&str> = inventory
        .pods
        .iter()
        .filter(|pod| pod.valid_to_ms == changed_ms)
        .map(|pod| pod.pod.as_str())
        .collect();
    assert_eq!(ended, ["engine-7"]);

    // The next day stands on its own, and a clock that goes back is refused.
    let next = kept.live(&api, noon() + DAY_MS).await.unwrap();
    assert!(next.windows[0].series > 1_234);
    let back = kept.live(&api, noon()).await.unwrap_err().to_string();
    assert!(back.contains("set the clock"), "{back}");

    // Another cluster under the same name.
    drop(server);
    let Some(other) = KubeServer::start(&[]).await else {
        return;
    };
    other.reader("reader", &documented_rules()).await;
    let token = other.token("reader").await;
    let api = connect(&other.kubeconfig("other", &json!({"token": token}))).await;
    let error = kept.live(&api, noon() + 2 * DAY_MS).await.unwrap_err();
    let uid = other.get("/api/v1/namespaces/kube-system").await;
    let said = error.to_string();
    assert!(
        said.contains(uid["metadata"]["uid"].as_str().unwrap()),
        "{said}"
    );
    assert!(
        said.contains("prod-a") && said.contains("kube-system"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_a_plugin_a_pod_or_a_token_file_that_is_renewed() {
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    for name in ["plugin", "inside", "before", "after"] {
        server.reader(name, &documented_rules()).await;
    }
    let folder = server.folder.path().to_owned();
    let script = folder.join("plugin.sh");
    let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": server.token("plugin").await}});
    std::fs::write(
        &script,
        format!("#!/bin/sh\ncat <<'END'\n{credential}\nEND\n"),
    )
    .unwrap();
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
        "args": [script], "interactiveMode": "Never"}});
    let api = connect(&server.kubeconfig("plugin", &exec)).await;
    Snapshot::take(&api).await.unwrap();
    let as_user = |name: &str| {
        server
            .audit(&format!("system:serviceaccount:default:{name}"))
            .len()
    };
    assert!(as_user("plugin") > 10);

    // The same by the command: one folder, whole, with a summary beside the lists.
    let out = tempfile::tempdir().unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(["snapshot", "--context", "test", "--kubeconfig"])
        .arg(folder.join("plugin.kubeconfig"))
        .arg("--out")
        .arg(out.path().join("kubernetes"))
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    assert!(
        said.contains("kinds listed with") && said.contains("0 forbidden"),
        "{said}"
    );
    let export = KubernetesExport::new(out.path().join("kubernetes"));
    let snapshots = export.snapshots().unwrap();
    assert_eq!(snapshots.len(), 1);
    let written = snapshots.values().next().unwrap();
    assert!(written.join("namespaces.json").is_file());
    let summary = std::fs::read_to_string(written.join("snapshot.summary")).unwrap();
    assert!(
        summary.contains(
            "\"scaledobject.keda.sh\",\n      \"reason\": null,\n      \"state\": \"absent\""
        ),
        "{summary}"
    );

    // And in a pod, whose token and authority stand where they stand in every pod: a file system
    // of its own has them there.
    let pod = out.path().join("pod");
    std::fs::create_dir(&pod).unwrap();
    std::fs::copy(folder.join("ca.crt"), pod.join("ca.crt")).unwrap();
    std::fs::write(pod.join("token"), server.token("inside").await).unwrap();
    std::fs::write(pod.join("namespace"), "default").unwrap();
    let mount = "at=/var/run/secrets/kubernetes.io/serviceaccount; mount -t tmpfs none /var/run && \
                 mkdir -p $at && cp \"$1\"/* $at && shift && exec \"$@\"";
    let own_mounts = |args: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount"]).args(args);
        command
    };
    let may = own_mounts(&["sh", "-c", "mount -t tmpfs none /var/run"]).output();
    if may.is_ok_and(|may| may.status.success()) {
        let inside = own_mounts(&["sh", "-c", mount, "sh"])
            .arg(&pod)
            .args([env!("CARGO_BIN_EXE_idleproof"), "snapshot", "--out"])
            .arg(out.path().join("inside"))
            .env_remove("KUBECONFIG")
            .env("HOME", out.path())
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", server.port.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8(inside.stderr).unwrap();
        assert!(inside.status.success(), "{said}");
        assert!(as_user("inside") > 10, "{said}");
    } else {
        println!("skipped: no mounts of its own for a process here, so none that looks like a pod");
    }

    let file = folder.join("token");
    std::fs::write(&file, server.token("before").await).unwrap();
    let by_file = server.kubeconfig("file", &json!({"tokenFile": file}));
    Snapshot::take(&connect(&by_file).await).await.unwrap();
    assert!(as_user("before") > 10 && as_user("after") == 0);
    std::fs::write(&file, server.token("after").await).unwrap();
    Snapshot::take(&connect(&by_file).await).await.unwrap();
    assert!(as_user("after") > 10);

    // A token that means nothing is an error that says so, at once.
    std::fs::write(&file, "nonsense").unwrap();
    let error = Snapshot::take(&connect(&by_file).await).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_page_token_expired_is_read_again_from_its_start() {
    let flags = ["--feature-gates=ListFromCacheSnapshot=false"];
    let Some(server) = KubeServer::start(&flags).await else {
        return;
    };
    server.namespace("chat").await;
    server.pods("chat", "engine", 60).await;
    let user = server.reader("slow", &documented_rules()).await;
    let token = server.token("slow").await;
    let mut options = options(&server.kubeconfig("slow", &json!({"token": token})));
    options.page_limit = 20;
    options.qps = 2;
    let api = ClusterApi::connect(options).await.unwrap();
    let taken = tokio::spawn(async move { Snapshot::take(&api).await });
    let pods = |event: &Value| event["objectRef"]["resource"] == "pods";
    for _ in 0..600 {
        if server.audit(&user).iter().any(pods) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Between two pages the past is thrown away.
    server.pods("chat", "late", 1).await;
    server.compact().await;
    let snapshot = taken.await.unwrap().unwrap();
    let events = server.audit(&user);
    let codes: Vec<i64> = events
        .iter()
        .filter(|event| pods(event))
        .filter_map(|event| event["responseStatus"]["code"].as_i64())
        .collect();
    assert!(codes.contains(&410), "{codes:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot.write(folder.path(), noon()).unwrap();
    let list: Value =
        serde_json::from_slice(&std::fs::read(path.join("pods.json")).unwrap()).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 61);
    assert_eq!(snapshot.counts().failed, []);
}

/// A node with eight GPUs, and one GPU pod that the first of each workload kind owns.
fn chains(made: &[Value]) -> Vec<Value> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-1", "labels": {
        "node.kubernetes.io/instance-type": "p5.48xlarge", "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}});
    let mut out = vec![node];
    let owners = made.iter().filter(|o| {
        let kind = o["kind"].as_str().unwrap();
        !["Service", "Secret", "ConfigMap", "Namespace", "Pod"].contains(&kind)
            && o["metadata"]["namespace"].is_string()
    });
    for owner in owners {
        let name = format!(
            "{}-{}-0",
            owner["kind"].as_str().unwrap().to_ascii_lowercase(),
            owner["metadata"]["name"].as_str().unwrap()
        );
        out.push(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": owner["metadata"]["namespace"],
                "ownerReferences": [{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
                    "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
                    "controller": true}]},
            "spec": {"nodeName": "gpu-1", "containers": [{"name": "main", "image": "vllm",
                "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_source_and_files_give_the_same_inventory() {
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/k8s");
    let mut objects = manifests(&folder);
    let made = server.load(&objects).await;
    objects.retain(|object| object["kind"] != "CustomResourceDefinition");
    let pods = chains(&made);
    server.load(&pods).await;
    objects.extend(pods);
    assert!(objects.len() > 40, "{} objects", objects.len());

    server.reader("reader", &documented_rules()).await;
    let token = server.token("reader").await;
    let kubeconfig = server.kubeconfig("reader", &json!({"token": token}));
    let api = connect(&kubeconfig).await;
    // Seen once at a whole second after all was made.
    let seen_ms = (chrono_now_ms() / 1_000 + 2) * 1_000;
    let day = TimeWindow::day_of(seen_ms);
    let live = Kept::new("live-all").await;
    let report = live.live(&api, seen_ms).await.unwrap();
    assert_eq!(
        report.snapshot.as_ref().unwrap().forbidden,
        Vec::<String>::new()
    );

    // As `snapshot --out` writes it.
    let written = tempfile::tempdir().unwrap();
    Snapshot::take(&api)
        .await
        .unwrap()
        .write(written.path(), seen_ms)
        .unwrap();
    let by_files = export(written.path(), "files", seen_ms).await;
    assert_eq!(live.inventory(day).await, by_files.inventory(day).await);
    let listings = "SELECT ts, kind, state, objects FROM snapshots ORDER BY kind";
    assert_eq!(live.text(listings).await, by_files.text(listings).await);

    // As the manifests say it, with what only a server gives: uid, birth, version.
    let bare = tempfile::tempdir().unwrap();
    let time = idleproof::model::time::format_ms(seen_ms);
    let folder = bare.path().join(time.replace(':', "-"));
    std::fs::create_dir(&folder).unwrap();
    for object in &mut objects {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let there = server.get(&format!("{}/{name}", collection(object))).await;
        for given in ["uid", "creationTimestamp", "resourceVersion"] {
            object["metadata"][given] = there["metadata"][given].clone();
        }
    }
    objects.retain(|object| object["kind"] != "Secret" && object["kind"] != "ConfigMap");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(folder.join("all.json"), list.to_string()).unwrap();
    let by_manifests = export(bare.path(), "manifests", seen_ms).await;
    let (live, manifests) = (live.inventory(day).await, by_manifests.inventory(day).await);
    assert!(live.workloads.len() > 12, "{:?}", live.workloads);
    assert_eq!(live.gpu_holders, manifests.gpu_holders);
    // A server writes quantities as text, whatever the manifest did.
    let mut autoscalers = manifests.autoscalers.clone();
    for row in &mut autoscalers {
        row.triggers_json = row
            .triggers_json
            .replace("\"value\":1}", "\"value\":\"1\"}");
    }
    assert_eq!(live.autoscalers, autoscalers);
    for (live, manifest) in live.workloads.iter().zip(&manifests.workloads) {
        assert_eq!(live, manifest);
    }
    assert_eq!(live.pods, manifests.pods);
    assert_eq!(live.slices, manifests.slices);
}

fn chrono_now_ms() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn export(folder: &Path, name: &'static str, ms: i64) -> Kept {
    let kept = Kept::new(name).await;
    let lease = kept
        .lake
        .acquire_lease(&source_lease(name), "test", ms, Duration::ZERO)
        .await
        .unwrap();
    let sink = LakeSink::new(&kept.lake, &lease, Arc::new(move || ms));
    let export = KubernetesExport::new(folder);
    let span = export.extent().unwrap().unwrap();
    let options = IngestOptions::default();
    let report = ingest_export(&export, name, "prod-a", &sink, span, &options)
        .await
        .unwrap();
    assert_eq!(report.count(Outcome::Written), 1);
    kept
}
