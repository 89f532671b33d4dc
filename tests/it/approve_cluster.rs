//! What leaves, before a real API server: the exported patches by `kubectl` as client and server would
//! take them, applied, taken back, refused after drift; and whose hand the versions show afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use idleproof::approve::{
    Candidate, Fate, Limits, ObjectNow, Recommendation, Seen, Standing, State, export, follow,
};
use idleproof::inventory::changed_by;
use serde_json::{Value, json};

use crate::approve_peers::kubectl;
use crate::approve_world::{HOUR, NOW, recommendation};
use crate::kube_server::KubeServer;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/chat/deployments/llama";

/// A change of a Deployment from three replicas to one, with an annotation beside it.
fn change() -> Value {
    let mut value = recommendation("r1", "prod-a", "120.00", 1);
    value["changes"][0] = json!({
        "target": {"kind": "deployment.apps", "api_version": "apps/v1", "namespace": "chat", "name": "llama"},
        "field": "/spec/replicas",
        "current": "3",
        "proposed": "1",
        "patch": [
            {"op": "test", "path": "/spec/replicas", "value": 3},
            {"op": "replace", "path": "/spec/replicas", "value": 1},
        ],
        "inverse": [
            {"op": "test", "path": "/spec/replicas", "value": 1},
            {"op": "replace", "path": "/spec/replicas", "value": 3},
        ],
        "preconditions": [{"path": "/spec/replicas", "observed": 3}],
        "resource_version": null,
        "observed_at": "2026-11-22T22:00:00Z",
        "warnings": [],
        "verify": ["kubectl -n chat rollout status deployment llama"],
        "managed_by": null,
    });
    value
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "llama"}},
            "template": {
                "metadata": {"labels": {"app": "llama"}},
                "spec": {"containers": [{"name": "main", "image": "vllm/vllm-openai:v1"}]},
            },
        },
    })
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Writes the export of the change against the object as it is; gives the root's folder.
fn exported(folder: &Path, body: &Value) -> PathBuf {
    let recommendation = Recommendation::read(&change()).unwrap();
    let candidate = Candidate {
        recommendation,
        manifest_sha256: "ab".repeat(32),
        standing: Standing {
            state: State::Approved,
            break_glass: false,
            approvals: vec!["ada".into()],
            missing: Vec::new(),
            ignored: Vec::new(),
            frozen: None,
            limits: Limits::default(),
            reasons: Vec::new(),
        },
        now: vec![Some(ObjectNow {
            body: Some(body.clone()),
            seen_ms: NOW,
        })],
    };
    let exported = export(&[candidate], 72 * HOUR, false, NOW).unwrap();
    assert_eq!(exported.ready, ["r1"], "{:?}", exported.refused);
    for (name, bytes) in &exported.files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let root = exported.files.keys().find_map(|path| path.split_once('/'));
    folder.join(root.unwrap().0)
}

#[tokio::test]
async fn exported_patches_before_a_real_api_server() {
    let Some(kubectl) = kubectl() else { return };
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    server.namespace("chat").await;
    let first = server
        .create("/apis/apps/v1/namespaces/chat/deployments", &deployment())
        .await;
    let folder = tempfile::tempdir().unwrap();
    let root = exported(folder.path(), &first);
    let admin = json!({
        "client-certificate": server.folder.path().join("admin.crt"),
        "client-key": server.folder.path().join("admin.key"),
    });
    let config = server.kubeconfig("admin", &admin);
    let path = format!(
        "{}:{}",
        kubectl.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let run = |command: &mut Command| {
        command
            .env("KUBECONFIG", &config)
            .env("PATH", &path)
            .output()
            .unwrap()
    };
    let replicas = async || server.get(DEPLOYMENT).await["spec"]["replicas"].clone();

    // As GitOps would: the component over the object as it lies in the repository.
    let overlay = folder.path().join("overlay");
    std::fs::create_dir_all(&overlay).unwrap();
    std::fs::write(overlay.join("object.json"), deployment().to_string()).unwrap();
    let component = format!("../{}/patches", root.file_name().unwrap().display());
    let kustomization = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["object.json"], "components": [component]});
    std::fs::write(
        overlay.join("kustomization.yaml"),
        kustomization.to_string(),
    )
    .unwrap();
    let built = run(Command::new(&kubectl).arg("kustomize").arg(&overlay));
    assert!(built.status.success(), "{}", said(&built));
    let text: Value = serde_yaml_ng::from_slice(&built.stdout).unwrap();
    assert_eq!(text["spec"]["replicas"], 1);
    let apply = |dry: &str, more: &[&str]| {
        run(Command::new(&kubectl)
            .args(["apply", dry])
            .args(more)
            .arg("-k")
            .arg(&overlay))
    };
    // As client, kubectl shows what lies there; as server, what would.
    let client = apply("--dry-run=client", &[]);
    let told = said(&client);
    assert!(
        client.status.success() && told.contains("(dry run)"),
        "{told}"
    );
    let applied = apply("--dry-run=server", &["-o", "json"]);
    assert!(applied.status.success(), "{}", said(&applied));
    let told: Value = serde_json::from_slice(&applied.stdout).unwrap();
    assert_eq!(told["spec"]["replicas"], 1);

    // By hand: a dry run unless one says so.
    let script = |side: &str, more: &[&str]| {
        run(Command::new("sh")
            .arg("kubectl.sh")
            .args(more)
            .current_dir(root.join(side)))
    };
    let patch = std::fs::read_dir(root.join("patches"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let args = [
        "patch",
        "-n",
        "chat",
        "deployment.apps",
        "llama",
        "--type=json",
    ];
    let client = run(Command::new(&kubectl)
        .args(args)
        .args(["--dry-run=client", "-o", "json", "--patch-file"])
        .arg(&patch));
    assert!(client.status.success(), "{}", said(&client));
    let told: Value = serde_json::from_slice(&client.stdout).unwrap();
    assert_eq!(told["spec"]["replicas"], 1);
    let dry = script("patches", &[]);
    assert!(dry.status.success(), "{}", said(&dry));
    assert_eq!(replicas().await, 3, "a dry run changes nothing");

    let mut moments = vec![now()];
    let applied = script("patches", &["--yes"]);
    println!("{}", said(&applied));
    assert!(applied.status.success(), "{}", said(&applied));
    let second = server.get(DEPLOYMENT).await;
    assert_eq!(second["spec"]["replicas"], 1);
    moments.push(now());
    let twice = script("patches", &["--yes"]);
    assert!(!twice.status.success(), "the test operation refuses it now");

    moments.push(now());
    let back = script("inverse", &["--yes"]);
    assert!(back.status.success(), "{}", said(&back));
    let third = server.get(DEPLOYMENT).await;
    assert_eq!(third["spec"], first["spec"], "exactly as it was");
    moments.push(now());

    // Somebody scales by hand: what was approved is no longer what stands there.
    server
        .merge(DEPLOYMENT, &json!({"spec": {"replicas": 2}}))
        .await;
    let drifted = script("patches", &["--yes"]);
    assert!(!drifted.status.success(), "{}", said(&drifted));
    assert_eq!(replicas().await, 2);

    // The versions, as snapshots right before and after would show them, say who did what.
    let [before, after, later, last] = moments[..] else {
        panic!("{moments:?}")
    };
    let version = |body: Value, from_ms, to_ms| Seen {
        body,
        from_ms,
        to_ms,
    };
    let begun = time_of(&first);
    let seen = [
        version(first, begun, before),
        version(second, after, later),
        version(third, last, last),
    ];
    let value = change();
    let fate = follow(&value["changes"][0], begun - 1, &seen, None, &changed_by);
    assert_eq!(fate.fate, Fate::Reverted);
    let hand = |sight: &Option<idleproof::approve::Sight>| sight.as_ref().unwrap().by.clone();
    assert_eq!(hand(&fate.applied).as_deref(), Some("kubectl-patch"));
    assert_eq!(hand(&fate.ended).as_deref(), Some("kubectl-patch"));
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

fn time_of(object: &Value) -> i64 {
    let text = object["metadata"]["creationTimestamp"].as_str().unwrap();
    idleproof::model::time::parse_ms(text).unwrap()
}
