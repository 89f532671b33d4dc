//! What a platform team installs: the chart, the plain manifests and the image's recipe, held against the
//! program, the documentation and a real API server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::kube_server::KubeServer;
use super::kubernetes::documented_rules;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// A program of the peers' Python packages. Its absence is an error where CI promises it.
fn of_python(name: &str, probe: &[&str]) -> Option<PathBuf> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/idleproof-peers")
    });
    let path = Path::new(&peers).join("bin").join(name);
    if Command::new(&path)
        .args(probe)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Some(path);
    }
    let why = format!("{name} with the packages of tests/requirements.txt is not installed");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("skipped: {why}");
    None
}

/// What Helm renders, or what it refuses.
fn rendered(values: &Value) -> Option<Result<String, String>> {
    let python = of_python("python3", &["-c", "import helm_python"])?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let output = Command::new(python)
        .arg(root().join("tests/peers/chart.py"))
        .arg(root().join("deploy/helm/idleproof"))
        .args(["idleproof", "idleproof"])
        .arg(file)
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(said(&output.stderr))
    })
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n")
        .map(|text| serde_yaml_ng::from_str::<Value>(text.trim_start_matches("---\n")).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|d| d["kind"] == kind).collect()
}

/// Values that turn everything on that a user can turn on.
fn everything() -> Value {
    json!({
        "image": {"repository": "registry.example/idleproof", "pullSecrets": [{"name": "pull"}]},
        "secrets": [{"name": "signing", "secretName": "idleproof-signing"}],
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}},
        "nightly": {"args": ["--fail-on", "coverage=80"]},
        "weekly": {"args": ["--last", "14d"]},
        "data": {"storageClassName": "fast"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "batch",
        "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
        "networkPolicy": {"extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    })
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders_to() {
    let Some(chart) = rendered(&json!({})) else {
        return;
    };
    assert_eq!(chart.unwrap(), text("deploy/manifests/idleproof.yaml"));
}

#[test]
fn the_role_is_the_documented_one_and_nothing_reads_secrets_or_runs_in_pods() {
    let documents = documents(&text("deploy/manifests/idleproof.yaml"));
    let roles = of_kind(&documents, "ClusterRole");
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0]["rules"], documented_rules());
    for rule in roles[0]["rules"].as_array().unwrap() {
        let words = |key: &str| -> BTreeSet<String> {
            let items = rule[key].as_array().unwrap();
            items.iter().map(|w| w.as_str().unwrap().into()).collect()
        };
        assert!(
            words("verbs")
                .iter()
                .all(|verb| verb == "get" || verb == "list"),
            "{rule}"
        );
        let closed = ["secrets", "pods/exec", "pods/attach", "nodes/proxy", "*"];
        assert!(
            !closed.iter().any(|name| words("resources").contains(*name)),
            "{rule}"
        );
    }
}

#[test]
fn jobs_run_without_privileges_and_end_by_the_documented_codes() {
    let Some(chart) = rendered(&everything()) else {
        return;
    };
    let documents = documents(&chart.unwrap());
    let jobs = of_kind(&documents, "CronJob");
    let names: Vec<&str> = jobs
        .iter()
        .filter_map(|j| j["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "idleproof-nightly",
            "idleproof-snapshot",
            "idleproof-upkeep",
            "idleproof-weekly"
        ]
    );
    for job in &jobs {
        let spec = &job["spec"]["jobTemplate"]["spec"];
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        // Without it a policy on exit codes is refused.
        assert_eq!(pod["restartPolicy"], "Never");
        let none = Vec::new();
        let first = pod["initContainers"].as_array().unwrap_or(&none);
        let main = pod["containers"].as_array().unwrap();
        for container in first.iter().chain(main) {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
            // The program knows the command: its help ends with 0.
            let mut args: Vec<&str> = container["args"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            args.push("--help");
            assert!(idleproof(&args).status.success(), "{args:?}");
        }
        let rules = spec["podFailurePolicy"]["rules"].as_array().unwrap();
        let ended: Vec<i64> = rules
            .iter()
            .filter(|rule| rule["action"] == "FailJob")
            .flat_map(|rule| rule["onExitCodes"]["values"].as_array().unwrap())
            .filter_map(Value::as_i64)
            .collect();
        use idleproof::exit::Exit;
        assert_eq!(
            ended,
            [
                Exit::Usage,
                Exit::Findings,
                Exit::Verification,
                Exit::Coverage
            ]
            .map(|e| e as i64)
        );
    }
    let token = |name: &str| {
        jobs.iter().find(|j| j["metadata"]["name"] == name).unwrap()["spec"]["jobTemplate"]["spec"]
            ["template"]["spec"]["automountServiceAccountToken"]
            .clone()
    };
    assert_eq!(token("idleproof-upkeep"), false);
    assert_eq!(token("idleproof-weekly"), false);
    assert_eq!(token("idleproof-snapshot"), true);
}

fn idleproof(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_configuration_of_the_chart_is_one_that_the_program_takes() {
    let documents = documents(&text("deploy/manifests/idleproof.yaml"));
    let map = of_kind(&documents, "ConfigMap")[0]["data"]["idleproof.toml"]
        .as_str()
        .unwrap()
        .to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("idleproof.toml");
    std::fs::write(&file, map).unwrap();
    let output = idleproof(&["check", "config", "--config", &file.to_string_lossy()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_schema_of_the_values_refuses_what_no_template_reads() {
    for (wrong, named) in [
        (json!({"nightly": {"schedul": "1 2 3 4 5"}}), "schedul"),
        (json!({"nightly": {"schedule": "at night"}}), "schedule"),
        (
            json!({"secrets": [{"name": "Upper", "secretName": "s"}]}),
            "secrets",
        ),
        (json!({"networkPolicy": {"ports": [70000]}}), "ports"),
    ] {
        let Some(chart) = rendered(&wrong) else {
            return;
        };
        let said = chart.unwrap_err();
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn the_image_has_no_shell_no_root_and_only_what_the_build_needs() {
    let recipe = text("deploy/Dockerfile");
    let last = recipe.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("scratch\n"));
    assert!(!last.contains("\nRUN "));
    let pod = documents(&text("deploy/manifests/idleproof.yaml"));
    let pod = &of_kind(&pod, "CronJob")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let user = pod["securityContext"]["runAsUser"].as_i64().unwrap();
    assert!(last.contains(&format!("\nUSER {user}:{user}\n")));
    assert!(last.contains("\nENTRYPOINT [\"/usr/bin/idleproof\"]\n"));
    // What is copied exists, is let through to the build, and is all that the crate names.
    let ignored = text(".dockerignore");
    let mut copied = BTreeSet::new();
    for line in recipe.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.pop();
        for word in words
            .iter()
            .filter(|word| !line.starts_with("--from") && !word.is_empty())
        {
            assert!(root().join(word).exists(), "{word}");
            assert!(ignored.lines().any(|l| l == format!("!{word}")), "{word}");
            copied.insert((*word).to_owned());
        }
    }
    let manifest: toml::Value = toml::from_str(&text("Cargo.toml")).unwrap();
    for section in ["lib", "bin", "test", "bench"] {
        let tables = match &manifest[section] {
            toml::Value::Array(tables) => tables.clone(),
            table => vec![table.clone()],
        };
        for table in tables {
            let path = table
                .get("path")
                .and_then(toml::Value::as_str)
                .unwrap_or("benches/");
            assert!(copied.contains(path.split('/').next().unwrap()), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_takes_the_chart() {
    let Some(kubectl) = of_python("kubectl", &["version", "--client"]) else {
        return;
    };
    let Some(all) = rendered(&everything()) else {
        return;
    };
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    server.namespace("idleproof").await;
    let admin = json!({
        "client-certificate": server.folder.path().join("admin.crt"),
        "client-key": server.folder.path().join("admin.key"),
    });
    let config = server.kubeconfig("admin", &admin);
    for (name, yaml) in [
        ("plain", text("deploy/manifests/idleproof.yaml")),
        ("all", all.unwrap()),
    ] {
        let file = server.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, yaml).unwrap();
        let output = Command::new(&kubectl)
            .args(["apply", "--validate=strict", "-n", "idleproof", "-f"])
            .arg(&file)
            .env("KUBECONFIG", &config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.to_lowercase().contains("warning"), "{name}: {said}");
    }
    let jobs = server
        .get("/apis/batch/v1/namespaces/idleproof/cronjobs")
        .await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 4);
}
