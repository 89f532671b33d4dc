//! Approvals as people use them, on the sample: from the run's manifest to patches, an audited log
//! and an archive of evidence, each step by the binary.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use ssh_key::LineEnding;

use crate::approve_outcomes;
use crate::approve_world::person;
use crate::sample::{idleproof, run};

const POLICY: &str = r#"
max_age = "14d"
snapshot_max_age = "3660d"
[roles]
platform = ["ada"]
[[rule]]
name = "all"
require = [{count = 1, roles = ["platform"]}]
[change]
require = [{count = 1, roles = ["platform"]}]
"#;

/// A policy, a person with a key, and the section of the configuration that names them.
pub(crate) fn govern(folder: &Path) -> String {
    let ada = person();
    let write = |name: &str, mode: u32, text: &str| {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(folder.join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write("ada", 0o600, &ada.to_openssh(LineEnding::LF).unwrap());
    write(
        "allowed_signers",
        0o644,
        &format!("ada {}\n", ada.public_key().to_openssh().unwrap()),
    );
    write(
        "ada.pub",
        0o644,
        &format!("{}\n", ada.public_key().to_openssh().unwrap()),
    );
    write("policy.toml", 0o644, POLICY);
    "[approve]\npolicy = \"policy.toml\"\nallowed_signers = \"allowed_signers\"\ninbox = \"./decisions\"\n".to_owned()
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn say(args: &[&str]) -> Said {
    let output = idleproof(args);
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn good(args: &[&str]) -> String {
    let said = say(args);
    assert_eq!(said.code, Some(0), "{args:?}\n{}{}", said.out, said.err);
    println!("$ idleproof {}\n{}{}", args.join(" "), said.out, said.err);
    said.out
}

#[test]
fn from_a_manifest_to_patches_an_audited_log_and_evidence() {
    let run = run();
    let folder = run.folder.path();
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let config = run.config().to_string_lossy().into_owned();
    let manifest = run
        .report
        .join("manifest.dsse.json")
        .to_string_lossy()
        .into_owned();
    let proof = run
        .report
        .join("manifest.tlog-proof")
        .to_string_lossy()
        .into_owned();
    let key = at("pipeline_ed25519.pub");

    let said = good(&[
        "verify", "manifest", &manifest, "--key", &key, "--proof", &proof,
    ]);
    assert!(said.contains("logged: entry"), "{said}");
    assert!(good(&["check", "policy", "--config", &config]).contains("1 of platform (ada)"));

    let text = std::fs::read_to_string(run.report.join("recommendations.json")).unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ids: Vec<&str> = all
        .iter()
        .map(|r| r["recommendation_id"].as_str().unwrap())
        .collect();
    assert!(ids.len() > 2);
    let on = ["--manifest", &manifest, "--pipeline-key", &key];

    // Without a key the decision is only shown and written.
    let unsigned = at("unsigned");
    let said = good(
        &[
            &["approve", "--all", "--review", "--out", &unsigned][..],
            &on,
        ]
        .concat(),
    );
    for word in ["saves", "manifest", "authority", ids[0]] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    assert_eq!(std::fs::read_dir(&unsigned).unwrap().count(), 1);

    let inbox = at("decisions");
    let ada = at("ada");
    let signed = ["--key", &ada, "--out", &inbox];
    let approved: Vec<&str> = ids[1..].to_vec();
    good(
        &[
            &["approve", "--reason", "reviewed"][..],
            &approved[..],
            &on[..],
            &signed[..],
        ]
        .concat(),
    );
    good(
        &[
            &["reject", ids[0], "--reason", "needed next week"][..],
            &on[..],
            &signed[..],
        ]
        .concat(),
    );
    let twice = say(&[&["reject", ids[0]][..], &on[..], &signed[..]].concat());
    assert_eq!(twice.code, Some(2), "{}", twice.err);
    assert!(
        good(&["decisions", "import", "--config", &config]).starts_with("2 accepted, 0 refused")
    );
    assert!(
        good(&["decisions", "import", "--config", &config])
            .starts_with("0 accepted, 0 refused, 2 known")
    );
    let said = good(&["decisions", "list", "--config", &config]);
    let states = |word: &str| {
        said.lines()
            .filter(|line| line.split_whitespace().nth(1) == Some(word))
            .count()
    };
    assert_eq!(
        (states("approved"), states("rejected")),
        (ids.len() - 1, 1),
        "{said}"
    );

    // A signature on other bytes is refused, and the log says so once.
    let approval = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|e| e == "json")
            && std::fs::read_to_string(path).is_ok_and(|text| text.contains("\"approve\""))
    };
    let decision = std::fs::read_dir(&inbox)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(approval)
        .unwrap();
    let bad = folder.join("decisions/bad.json");
    std::fs::write(
        &bad,
        std::fs::read_to_string(&decision)
            .unwrap()
            .replace("approve", "approvE"),
    )
    .unwrap();
    std::fs::copy(
        decision.with_extension("json.sig"),
        folder.join("decisions/bad.json.sig"),
    )
    .unwrap();
    assert_eq!(
        say(&["decisions", "import", "--config", &config]).code,
        Some(4)
    );
    assert_eq!(
        say(&["decisions", "import", "--config", &config]).code,
        Some(0)
    );

    let patches = at("patches");
    let said = good(&["export", "patches", "--config", &config, "--out", &patches]);
    let exported = said
        .lines()
        .filter(|line| line.ends_with(" exported"))
        .count();
    let stays = said
        .lines()
        .filter(|line| line.contains(" stays: "))
        .count();
    assert!(exported > 0 && exported + stays == ids.len(), "{said}");
    let plan = std::fs::read_to_string(folder.join("patches/PLAN.md")).unwrap();
    println!("{plan}");
    assert!(!plan.contains(&format!("recommendation `{}`", ids[0])));
    let again = good(&[
        "export",
        "patches",
        "--config",
        &config,
        "--out",
        &at("again"),
    ]);
    assert!(
        again.contains("nothing is approved and still true"),
        "{again}"
    );
    good(&["decisions", "outcomes", "--config", &config]);
    approve_outcomes::what_became_of_it(folder);

    let place = at("lake/log");
    let said = good(&[
        "verify", "log", &place, "--key", &key, "--anchor", &manifest, "--anchor", &proof,
    ]);
    assert!(said.contains("nothing is altered"), "{said}");
    for kind in [
        "run",
        "manifest",
        "decision",
        "refusal",
        "export",
        "authority",
        "key",
    ] {
        assert!(said.contains(&format!("  {kind} ")), "{kind}\n{said}");
    }
    // A witness looks at all of it and cosigns; an auditor asks for that.
    let place_and_key = ["verify", "log", &place, "--key", &key];
    let cosigned = at("cosigned.note");
    let note = good(&[&place_and_key[..], &["--cosign", &format!("w.test={ada}")]].concat());
    std::fs::write(&cosigned, note).unwrap();
    let witness = format!("w.test={ada}.pub");
    let ask = ["--witness", &witness, "--anchor"];
    good(&[&place_and_key[..], &ask, &[&cosigned]].concat());
    let unseen = say(&[&place_and_key[..], &ask, &[&manifest]].concat());
    assert!(
        unseen.code == Some(4) && unseen.err.contains("w.test"),
        "{}",
        unseen.err
    );
    let decision = decision.to_string_lossy().into_owned();
    let proof = at("decision.tlog-proof");
    std::fs::write(
        &proof,
        good(&["decisions", "prove", &decision, "--config", &config]),
    )
    .unwrap();
    let signers = at("allowed_signers");
    let said = good(&[
        "verify",
        "decision",
        &decision,
        "--allowed-signers",
        &signers,
        "--manifest",
        &manifest,
        "--key",
        &key,
        "--proof",
        &proof,
    ]);
    assert!(
        said.contains("signed by ada") && said.contains("holds all that it names"),
        "{said}"
    );

    evidence(
        folder,
        &config,
        &key,
        all[1]["finding_id"].as_str().unwrap(),
    );
}

fn evidence(folder: &Path, config: &str, key: &str, finding: &str) {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let archive = at("evidence.tar.gz");
    good(&[
        "evidence", "pack", finding, "--config", config, "--out", &archive,
    ]);
    let signers = at("allowed_signers");
    let said = good(&[
        "verify",
        "evidence",
        &archive,
        "--key",
        key,
        "--allowed-signers",
        &signers,
    ]);
    assert!(
        said.contains("equal, byte for byte") && said.contains("approve by ada"),
        "{said}"
    );
    let bytes = std::fs::read(&archive).unwrap();
    let mut files = idleproof::approve::unpack(&bytes).unwrap();
    let page = std::fs::read_to_string(folder.join("evidence.html")).unwrap();
    let public = std::fs::read_to_string(key).unwrap();
    if let Some(seen) = in_browser(folder, &page, &bytes, &public) {
        println!("in Chromium:\n{seen}");
        assert!(
            seen.contains("verified") && !seen.contains("does not verify"),
            "{seen}"
        );
        assert!(
            seen.contains("approve by ada") && seen.contains("signed with SHA256:"),
            "{seen}"
        );
    }
    let mut signature = false;
    // One row's bytes, the SQL, the findings, a decision: each swapped in turn.
    for name in files.keys().cloned().collect::<Vec<_>>() {
        let part = ["evidence/", "findings", "decisions/", "manifest", "index"]
            .iter()
            .position(|start| name.starts_with(start));
        let Some(part) = part else { continue };
        if part == 0 && !name.ends_with('0') && !name.ends_with('8') {
            continue;
        }
        let good = files[&name].clone();
        let mut bent = good.clone();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        files.insert(name.clone(), bent);
        let broken = at("broken.tar.gz");
        let packed = idleproof::approve::pack(&files).unwrap();
        std::fs::write(&broken, &packed).unwrap();
        let said = say(&[
            "verify",
            "evidence",
            &broken,
            "--key",
            key,
            "--allowed-signers",
            &signers,
        ]);
        assert_ne!(said.code, Some(0), "{name}: {}", said.out);
        // The page by itself: the findings, and a person's signature.
        let in_page = part == 1
            || (Path::new(&name).extension().is_some_and(|e| e == "sig")
                && !std::mem::replace(&mut signature, true));
        if in_page && let Some(seen) = in_browser(folder, &page, &packed, &public) {
            assert!(seen.contains("does not verify"), "{seen}");
        }
        files.insert(name, good);
    }
}

/// What the page shows for an archive, as Chromium renders it without network.
fn in_browser(folder: &Path, page: &str, archive: &[u8], key: &str) -> Option<String> {
    use base64::Engine as _;
    let archive = base64::engine::general_purpose::STANDARD.encode(archive);
    let given = format!(
        "<script>globalThis.ARCHIVE=\"{archive}\";globalThis.KEY={};</script>\n<script>",
        Value::from(key.trim())
    );
    let path = folder.join("page.html");
    std::fs::write(&path, page.replacen("<script>", &given, 1)).unwrap();
    if !has_chromium() {
        return None;
    }
    // Virtual time can end before a busy machine's crypto does: then the page has no verdict yet.
    for _ in 0..5 {
        let seen = shown(folder, &path).unwrap_or_default();
        if seen.contains(">verified") || seen.contains("does not verify") {
            return Some(seen);
        }
    }
    panic!("the page came to no verdict");
}

/// Whether there is a browser; its absence is an error where CI promises it.
pub(crate) fn has_chromium() -> bool {
    let found = Command::new("chromium").arg("--version").output().is_ok();
    let why = "chromium is not installed";
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "{why}"
    );
    if !found {
        println!("skipped: {why}");
    }
    found
}

/// What the page shows when its time has passed.
pub(crate) fn shown(folder: &Path, path: &Path) -> Option<String> {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=60000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("chromium").display()
        ))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let list = dom
        .split("<ol id=\"out\"")
        .nth(1)?
        .split("</ol>")
        .next()?
        .to_owned();
    Some(list.replace("</li>", "\n"))
}
