//! SSH certificates as signers, against the real `ssh-keygen` and `ssh-agent`: an authority names a
//! person, the person signs, and both programs agree on what counts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use idleproof::approve::{
    DECISION_NAMESPACE, Incoming, Signers, State, Verdict, sign_decision, verify_person,
};
use idleproof::model::time::parse_ms;

use crate::approve_peers::{agent, keygen};
use crate::approve_world::{NOW, World, recommendation};

/// A folder of keys with an authority `ca` and what it certifies.
struct Office {
    folder: tempfile::TempDir,
    keygen: PathBuf,
}

impl Office {
    fn open() -> Option<Self> {
        let office = Self {
            folder: tempfile::tempdir().unwrap(),
            keygen: keygen()?,
        };
        office.key("ca", &["-t", "ed25519"]);
        Some(office)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.keygen)
            .current_dir(self.folder.path())
            .args(args)
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn key(&self, name: &str, kind: &[&str]) {
        let args = ["-q", "-N", "", "-C", "test", "-f", name];
        self.ok(&[&args[..], kind].concat());
    }

    /// Certifies a key for some people; the certificate is `NAME-cert.pub`.
    fn certify(&self, authority: &str, name: &str, people: &str, more: &[&str]) {
        let public = format!("{name}.pub");
        let args = ["-q", "-s", authority, "-I", "hr-7", "-n", people];
        let span = ["-V", "20261101000000Z:20270101000000Z"];
        self.ok(&[&args[..], &span, more, &[&public]].concat());
    }

    /// `ssh-keygen -Y sign`, with a certificate where that is what is given.
    fn sign(&self, key: &str, message: &[u8]) -> Vec<u8> {
        std::fs::write(self.at("d.json"), message).unwrap();
        let _ = std::fs::remove_file(self.at("d.json.sig"));
        self.ok(&["-Y", "sign", "-n", DECISION_NAMESPACE, "-f", key, "d.json"]);
        std::fs::read(self.at("d.json.sig")).unwrap()
    }

    /// Whether `ssh-keygen -Y verify` takes it for this person's, at the time of the tests' world.
    fn verifies(&self, who: &str, allowed: &str, message: &[u8], signature: &[u8]) -> bool {
        std::fs::write(self.at("allowed"), allowed).unwrap();
        std::fs::write(self.at("s.sig"), signature).unwrap();
        let mut child = Command::new(&self.keygen)
            .current_dir(self.folder.path())
            .args(["-Y", "verify", "-n", DECISION_NAMESPACE, "-f", "allowed"])
            .args([
                "-I",
                who,
                "-s",
                "s.sig",
                "-O",
                "verify-time=20261123000000Z",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(message).unwrap();
        child.wait().unwrap().success()
    }

    fn authority_line(&self, patterns: &str, options: &str) -> String {
        format!("{patterns} cert-authority{options} {}", self.text("ca.pub"))
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what asks for a passphrase can fail"
)]
fn no_passphrase(_: &str) -> std::io::Result<String> {
    Ok(String::new())
}

fn principal(message: &[u8], signature: &[u8], allowed: &str, at: &str) -> Result<String, String> {
    let signers = Signers::parse(allowed, "").map_err(|error| error.to_string())?;
    let at_ms = parse_ms(at).unwrap();
    verify_person(message, signature, &signers, at_ms).map(|who| who.principal)
}

const DAY: &str = "2026-11-23T00:00:00Z";

/// Every kind of key: `ssh-keygen` signs with its certificate and we say who it was; we sign and it does.
#[test]
fn certificates_of_every_kind_sign_and_verify_both_ways() {
    let Some(office) = Office::open() else { return };
    let kinds: [(&str, &[&str]); 3] = [
        ("ed25519", &["-t", "ed25519"]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256"]),
        ("rsa", &["-t", "rsa", "-b", "3072"]),
    ];
    let allowed = office.authority_line(
        "*@example.com",
        &format!(",namespaces=\"{DECISION_NAMESPACE}\""),
    );
    let message = b"a decision\n";
    for (name, kind) in kinds {
        office.key(name, kind);
        let who = format!("{name}@example.com");
        office.certify("ca", name, &who, &[]);
        let certificate = format!("{name}-cert.pub");
        let theirs = office.sign(&certificate, message);
        assert_eq!(principal(message, &theirs, &allowed, DAY).unwrap(), who);
        // By the private key that lies beside the certificate.
        let ours = sign_decision(message, &office.at(&certificate), None, &no_passphrase).unwrap();
        assert_eq!(
            principal(message, ours.as_bytes(), &allowed, DAY).unwrap(),
            who
        );
        assert!(
            office.verifies(&who, &allowed, message, ours.as_bytes()),
            "{name}"
        );
        assert!(!office.verifies(&who, &allowed, b"other", ours.as_bytes()));
        let mut bent = ours.clone().into_bytes();
        for at in (40..bent.len() - 40).step_by(37) {
            bent[at] ^= 1;
            assert!(
                principal(message, &bent, &allowed, DAY).is_err(),
                "{name} {at}"
            );
            bent[at] ^= 1;
        }
    }
}

#[tokio::test]
async fn ssh_agent_signs_with_a_certificate() {
    let Some(office) = Office::open() else { return };
    let socket = office.at("agent.sock");
    let Some(_agent) = agent(&socket).await else {
        return;
    };
    office.key("ada", &["-t", "ed25519"]);
    office.certify("ca", "ada", "ada@example.com", &[]);
    let certificate = office.at("ada-cert.pub");
    let add = |socket: &Path| {
        // Where a certificate lies beside the key, it is held too.
        let output = Command::new("ssh-add")
            .arg(office.at("ada"))
            .env("SSH_AUTH_SOCK", socket)
            .output()
            .unwrap();
        assert!(output.status.success());
    };
    add(&socket);
    // The agent's copy is all there is.
    std::fs::remove_file(office.at("ada")).unwrap();
    let ours = sign_decision(b"x", &certificate, Some(&socket), &no_passphrase).unwrap();
    let allowed = office.authority_line("*@example.com", "");
    assert_eq!(
        principal(b"x", ours.as_bytes(), &allowed, DAY).unwrap(),
        "ada@example.com"
    );
    assert!(office.verifies("ada@example.com", &allowed, b"x", ours.as_bytes()));
    let without = sign_decision(b"x", &certificate, None, &no_passphrase).unwrap_err();
    assert!(without.to_string().contains("SSH_AUTH_SOCK"), "{without}");
}

/// What a certificate may not do, and what `ssh-keygen` says of the same where it has an opinion.
#[test]
fn attack_certificates_beyond_their_authority() {
    let Some(office) = Office::open() else { return };
    let message = b"x";
    office.key("other-ca", &["-t", "ed25519"]);
    office.key("weak-ca", &["-t", "rsa", "-b", "2048"]);
    for (name, authority, people, more) in [
        ("good", "ca", "ada@example.com", &[][..]),
        ("stranger", "other-ca", "ada@example.com", &[]),
        ("weak", "weak-ca", "ada@example.com", &[]),
        ("outside", "ca", "ada@evil.test", &[]),
        ("many", "ca", "ada@example.com,bob@example.com", &[]),
        ("host", "ca", "ada@example.com", &["-h"]),
        (
            "forced",
            "ca",
            "ada@example.com",
            &["-O", "force-command=true"],
        ),
        (
            "old",
            "ca",
            "ada@example.com",
            &["-V", "20250101000000Z:20260101000000Z"],
        ),
    ] {
        office.key(name, &["-t", "ed25519"]);
        office.certify(authority, name, people, more);
    }
    // Without an end it could be used for ever.
    office.key("endless", &["-t", "ed25519"]);
    office.ok(&[
        "-q",
        "-s",
        "ca",
        "-I",
        "x",
        "-n",
        "ada@example.com",
        "endless.pub",
    ]);
    let allowed = office.authority_line("*@example.com", "");
    let weak = format!(
        "*@example.com cert-authority {}",
        office.text("weak-ca.pub")
    );
    assert!(Signers::parse(&weak, "").is_err());
    let read = |name: &str, allowed: &str, at: &str| {
        let signature = office.sign(&format!("{name}-cert.pub"), message);
        principal(message, &signature, allowed, at)
    };
    assert_eq!(read("good", &allowed, DAY).unwrap(), "ada@example.com");
    for (name, why) in [
        ("stranger", "in no line"),
        ("weak", "2048"),
        ("outside", "may not speak"),
        ("many", "2 people"),
        ("host", "host"),
        ("forced", "critical"),
        ("old", "not valid"),
        ("endless", "must have an end"),
    ] {
        let told = read(name, &allowed, DAY).unwrap_err();
        assert!(told.contains(why), "{name}: {told}");
    }
    // Later than its end, before its line's beginning, for another namespace.
    let told = read("good", &allowed, "2027-01-02").unwrap_err();
    assert!(told.contains("not valid at"), "{told}");
    for (options, why) in [
        (",valid-after=\"20270101Z\"", "not valid yet"),
        (",valid-before=\"20260101Z\"", "no longer valid"),
        (",namespaces=\"git\"", "may not sign"),
    ] {
        let line = office.authority_line("*@example.com", options);
        let told = read("good", &line, DAY).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    // Not by its name alone: a certificate that is signed by itself, an authority's own signature, and
    // the certified key without its certificate.
    let own = office.sign("ca", message);
    assert!(principal(message, &own, &allowed, DAY).is_err());
    let bare = office.sign("good", message);
    assert!(
        principal(message, &bare, &allowed, DAY)
            .unwrap_err()
            .contains("in no line")
    );
    // Revoked: the certified key, or its authority.
    let signature = office.sign("good-cert.pub", message);
    for revoked in ["good.pub", "ca.pub"] {
        let signers = Signers::parse(&allowed, &office.text(revoked)).unwrap();
        let told = verify_person(message, &signature, &signers, NOW).unwrap_err();
        assert!(told.contains("revoked"), "{told}");
    }
    for (who, fits) in [("ada@example.com", true), ("bob@example.com", false)] {
        assert_eq!(office.verifies(who, &allowed, message, &signature), fits);
    }
}

/// One key under two names is one person, whether by two certificates or beside a line of its own.
#[tokio::test]
async fn attack_one_key_certified_for_two_people() {
    let Some(office) = Office::open() else { return };
    let mut world = World::new();
    office.key("k", &["-t", "ed25519"]);
    world.signers.push_str(&office.authority_line("cert-*", ""));
    world.policy = world.policy.replace(
        "[\"ada\", \"bob\", \"writer\"]",
        "[\"ada\", \"bob\", \"writer\", \"cert-ada\"]",
    );
    world.policy = world
        .policy
        .replace("finops = [\"eve\"]", "finops = [\"eve\", \"cert-eve\"]");
    let one = recommendation("r1", "prod-a", "2000.00", 1);
    let manifest = world.publish(std::slice::from_ref(&one)).await;
    let mut inbox = Vec::new();
    for (at, who) in ["cert-ada", "cert-eve"].into_iter().enumerate() {
        office.certify("ca", "k", who, &[]);
        let mut decision = world.approval(&manifest, std::slice::from_ref(&one));
        decision.reason = Some(who.to_owned());
        let decision = decision.to_bytes().unwrap();
        let signature = office.sign("k-cert.pub", &decision);
        inbox.push(Incoming {
            name: format!("{at}.json"),
            decision,
            signature,
        });
    }
    // Together, and one after the other.
    let judged = world.import_at(&inbox, NOW).await.judged;
    assert!(
        matches!(&judged[0].verdict, Verdict::Accepted { principal, .. } if principal == "cert-ada")
    );
    for verdict in [
        judged[1].verdict.clone(),
        world.verdict(inbox[1].clone()).await,
    ] {
        assert!(
            matches!(&verdict, Verdict::Refused { why } if why.contains("count as two")),
            "{verdict:?}"
        );
    }
    assert_eq!(
        world.state(&manifest, "r1", NOW).await,
        State::Proposed,
        "a finance approval is missing"
    );
    // A person with a key of their own is not somebody else by a certificate.
    let plain = format!(
        "zoe {}{}",
        office.text("k.pub"),
        office.authority_line("cert-*", "")
    );
    let told = principal(b"x", &office.sign("k-cert.pub", b"x"), &plain, DAY).unwrap_err();
    assert!(told.contains("count as two"), "{told}");
}

/// The page of an evidence archive verifies in a browser what `ssh-keygen` signs, with every kind of key.
#[test]
fn the_evidence_page_verifies_every_kind_of_signature() {
    use base64::Engine as _;
    let Some(office) = Office::open() else { return };
    if !crate::approve_cli::has_chromium() {
        return;
    }
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut cases = Vec::new();
    let mut wanted = Vec::new();
    for (name, kind) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256"]),
        ("rsa", &["-t", "rsa", "-b", "3072"]),
    ] {
        office.key(name, kind);
        office.certify("ca", name, "ada", &[]);
        let print = office.run(&["-l", "-f", &format!("{name}.pub")]);
        let print = String::from_utf8(print.stdout).unwrap();
        let print = print.split_whitespace().nth(1).unwrap().to_owned();
        for (file, certified) in [(name.to_owned(), false), (format!("{name}-cert.pub"), true)] {
            let signature = office.sign(&file, b"a decision\n");
            let good = format!("{file}: {print} {certified}");
            cases.push(serde_json::json!([
                file,
                base64(b"a decision\n"),
                base64(&signature)
            ]));
            let bad = format!("bent {file}");
            cases.push(serde_json::json!([
                bad,
                base64(b"another\n"),
                base64(&signature)
            ]));
            wanted.extend([good, format!("{bad}: does not hold")]);
        }
    }
    let script = format!(
        "<script>(async () => {{ for (const [name, message, pem] of {}) try {{ const by = await signature(base64(message), base64(pem)); say(name + \": \" + by.print + \" \" + by.certified, true); }} catch (error) {{ say(name + \": does not hold\", true); }} say(\"verified\", true); }})();</script></body>",
        serde_json::Value::from(cases)
    );
    let page = include_str!("../../reports/evidence.html").replace("</body>", &script);
    let path = office.at("page.html");
    std::fs::write(&path, page).unwrap();
    let mut seen = String::new();
    for _ in 0..5 {
        seen = crate::approve_cli::shown(office.folder.path(), &path).unwrap_or_default();
        if seen.contains(">verified") {
            break;
        }
    }
    for line in wanted {
        assert!(seen.contains(&line), "{line}\n{seen}");
    }
}
