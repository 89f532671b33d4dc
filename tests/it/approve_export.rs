//! What leaves: only what is approved and still true, in files that no name can break out of.

use std::path::Path;
use std::process::Command;

use idleproof::approve::{
    Candidate, Exported, Limits, ObjectNow, Recommendation, Standing, State, export, objections,
};
use serde_json::{Value, json};

use crate::approve_world::{HOUR, NOW, recommendation};

fn standing(state: State) -> Standing {
    Standing {
        state,
        break_glass: false,
        approvals: vec!["ada".into(), "eve".into()],
        missing: Vec::new(),
        ignored: Vec::new(),
        frozen: None,
        limits: Limits::default(),
        reasons: Vec::new(),
    }
}

fn scaler(min: i64) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {"minReplicaCount": min, "maxReplicaCount": 6, "scaleTargetRef": {"name": "llama"}},
    })
}

fn candidate(value: &Value, body: Option<Value>) -> Candidate {
    let recommendation = Recommendation::read(value).unwrap();
    let now = vec![
        Some(ObjectNow {
            body,
            seen_ms: NOW - HOUR
        });
        recommendation.changes.len()
    ];
    Candidate {
        recommendation,
        manifest_sha256: "ab".repeat(32),
        standing: standing(State::Approved),
        now,
    }
}

fn good() -> Candidate {
    candidate(
        &recommendation("r1", "prod-a", "120.00", 1),
        Some(scaler(3)),
    )
}

fn why(candidate: &Candidate) -> String {
    objections(candidate, 72 * HOUR, false, NOW).join("; ")
}

#[test]
fn what_is_approved_and_still_true_leaves() {
    assert_eq!(why(&good()), "");
    let exported = export(&[good()], 72 * HOUR, false, NOW).unwrap();
    assert_eq!(exported.ready, ["r1"]);
    let names: Vec<&str> = exported.files.keys().map(String::as_str).collect();
    assert_eq!(
        names
            .iter()
            .filter(|name| name.contains("/patches/"))
            .count(),
        3,
        "{names:?}"
    );
    assert_eq!(
        names
            .iter()
            .filter(|name| name.contains("/inverse/"))
            .count(),
        3,
        "{names:?}"
    );
    let plan = String::from_utf8(exported.files["PLAN.md"].clone()).unwrap();
    for text in [
        "scaledobject.keda.sh/chat/llama",
        "--dry-run=server",
        "approved by `ada, eve`",
        "steps of one",
    ] {
        assert!(plan.contains(text), "{text}\n{plan}");
    }
    // Equal input, equal bytes.
    assert_eq!(
        export(&[good()], 72 * HOUR, false, NOW).unwrap().files,
        exported.files
    );
}

#[test]
fn attack_drift_is_refused_with_the_difference() {
    let value = recommendation("r1", "prod-a", "120.00", 1);
    let drifted = candidate(&value, Some(scaler(2)));
    assert_eq!(
        why(&drifted),
        "scaledobject.keda.sh/chat/llama: /spec/minReplicaCount was 3 and is 2"
    );
    assert!(why(&candidate(&value, None)).contains("was gone"));
    let mut unseen = good();
    unseen.now = vec![None];
    assert!(why(&unseen).contains("no snapshot"));
    let mut old = good();
    old.now[0].as_mut().unwrap().seen_ms = NOW - 73 * HOUR;
    assert!(why(&old).contains("take a newer one"));
    let mut strict = good();
    strict.standing.limits.snapshot_max_age_hours = Some(1);
    strict.now[0].as_mut().unwrap().seen_ms = NOW - 2 * HOUR;
    assert!(why(&strict).contains("older than 1 h"));
    strict.standing.limits.not_before_ms = Some(NOW + HOUR);
    assert!(why(&strict).contains("holds from"));
    let exported = export(&[drifted, good()], 72 * HOUR, false, NOW).unwrap();
    assert_eq!((exported.ready.len(), exported.refused.len()), (1, 1));
    assert!(String::from_utf8_lossy(&exported.files["PLAN.md"]).contains("was 3 and is 2"));
}

#[test]
fn attack_an_inverse_that_does_not_restore_or_a_patch_that_lies() {
    let mut value = recommendation("r1", "prod-a", "120.00", 1);
    value["changes"][0]["inverse"][1]["value"] = 4.into();
    assert!(why(&candidate(&value, Some(scaler(3)))).contains("does not restore"));
    let mut value = recommendation("r1", "prod-a", "120.00", 1);
    value["changes"][0]["patch"][0]["value"] = 5.into();
    assert!(why(&candidate(&value, Some(scaler(3)))).contains("does not apply"));
    let value = recommendation("r1", "prod-a", "120.00", 3);
    assert!(why(&candidate(&value, Some(scaler(3)))).contains("changes nothing"));
}

#[test]
fn only_approved_states_leave() {
    for state in [
        State::Proposed,
        State::Rejected,
        State::Deferred,
        State::Revoked,
        State::Expired,
        State::Superseded,
        State::Exported,
    ] {
        let mut one = good();
        one.standing = standing(state);
        assert!(why(&one).contains(state.word()), "{state:?}");
    }
    let mut frozen = good();
    frozen.standing.frozen = Some("year end".into());
    assert!(why(&frozen).contains("frozen by `year end`"));
    let mut again = good();
    again.standing = standing(State::Exported);
    assert!(objections(&again, 72 * HOUR, true, NOW).is_empty());
}

const HOSTILE: &[&str] = &[
    "../../etc/passwd",
    "x; rm -rf /",
    "$(touch pwned)",
    "`touch pwned`",
    "a\nb: c",
    "--kubeconfig=/tmp/x",
    "'; echo pwned; '",
    "\"}],\"x\":[{\"",
    "a\u{202e}b",
    "*anchor &x !!python/object",
    "",
];

#[test]
fn attack_path_traversal_and_injection_through_names() {
    for name in HOSTILE {
        // A name that Kubernetes could not hold is not exported as an object.
        let mut value = recommendation("r1", "prod-a", "120.00", 1);
        value["changes"][0]["target"]["name"] = json!(if name.is_empty() { "-" } else { name });
        assert!(
            why(&candidate(&value, Some(scaler(3)))).contains("could hold"),
            "{name}"
        );
        // Everything else that comes from outside is only text.
        let mut value = recommendation("r1", "prod-a", "120.00", 1);
        for field in ["cluster", "workload_name", "team", "risk", "disruption"] {
            value[field] = (*name).into();
        }
        let change = &mut value["changes"][0];
        for field in ["managed_by", "field", "current", "proposed"] {
            change[field] = (*name).into();
        }
        change["warnings"] = json!([name, "# heading\n- item"]);
        let exported =
            export(&[candidate(&value, Some(scaler(3)))], 72 * HOUR, false, NOW).unwrap();
        assert_eq!(exported.ready, ["r1"], "{:?}", exported.refused);
        held_to_folder(&exported, name);
    }
}

/// Every path is plain, every YAML is what it should be, every script does one thing.
fn held_to_folder(exported: &Exported, name: &str) {
    for (path, bytes) in &exported.files {
        let plain = path.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        });
        assert!(plain || path == "PLAN.md", "{name}: {path}");
        let text = String::from_utf8(bytes.clone()).unwrap();
        if path.ends_with("kustomization.yaml") {
            let value: Value = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(value["patches"].as_array().unwrap().len(), 1);
            assert_eq!(value["patches"][0]["target"]["name"], "llama");
            assert_eq!(value["kind"], "Component");
        }
        if path.strip_suffix(".md").is_some() {
            assert!(
                !text.contains("\n# heading") && !text.contains('\u{202e}'),
                "{text}"
            );
        }
    }
}

/// A script from the export with a `kubectl` that notes its arguments: what was said is one word.
#[test]
fn attack_shell_words_of_an_export_stay_words() {
    let folder = tempfile::tempdir().unwrap();
    let exported = export(&[good()], 72 * HOUR, false, NOW).unwrap();
    write(folder.path(), &exported);
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let kubectl = bin.join("kubectl");
    std::fs::write(
        &kubectl,
        "#!/bin/sh\nfor a in \"$@\"; do printf '[%s]' \"$a\"; done\necho\n",
    )
    .unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(&kubectl, mode).unwrap();
    let script = exported
        .files
        .keys()
        .find(|path| path.ends_with("patches/kubectl.sh"))
        .unwrap();
    for (args, dry) in [(vec![], "server"), (vec!["--yes"], "none")] {
        let output = Command::new("sh")
            .arg(folder.path().join(script))
            .args(&args)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(
            line.starts_with(
                "[--namespace=chat][patch][scaledobject.keda.sh][llama][--type=json][--patch-file="
            ),
            "{line}"
        );
        assert!(
            line.trim_end().ends_with(&format!("[--dry-run={dry}]")),
            "{line}"
        );
    }
}

fn write(folder: &Path, exported: &Exported) {
    for (name, bytes) in &exported.files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// `kubectl kustomize` applies the component to the object and takes it back with the inverse.
#[test]
fn kubectl_kustomize_applies_the_patch_and_its_inverse() {
    let Some(kubectl) = crate::approve_peers::kubectl() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let exported = export(&[good()], 72 * HOUR, false, NOW).unwrap();
    write(folder.path(), &exported);
    let root = exported
        .files
        .keys()
        .find_map(|path| path.split_once("/patches/"))
        .unwrap()
        .0
        .to_owned();
    let build = |components: &[&str], body: &Value| -> Result<Value, String> {
        let overlay = folder.path().join("overlay");
        std::fs::create_dir_all(&overlay).unwrap();
        std::fs::write(overlay.join("object.json"), body.to_string()).unwrap();
        let list: Vec<String> = components
            .iter()
            .map(|c| format!("../{root}/{c}"))
            .collect();
        let text = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["object.json"], "components": list});
        std::fs::write(overlay.join("kustomization.yaml"), text.to_string()).unwrap();
        let output = Command::new(&kubectl)
            .arg("kustomize")
            .arg(&overlay)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(serde_yaml_ng::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    assert_eq!(build(&["patches"], &scaler(3)).unwrap(), scaler(1));
    assert_eq!(build(&["inverse"], &scaler(1)).unwrap(), scaler(3));
    let drifted = build(&["patches"], &scaler(2)).unwrap_err();
    assert!(drifted.contains("test"), "{drifted}");
}
