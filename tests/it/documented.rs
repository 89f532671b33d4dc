//! The documentation as somebody follows it: each of its commands is run, by a shell, on the sample's lake. What
//! needs a cluster, a server or a terminal is run by the test that is named for it here.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::gate::git;
use crate::sample::{root, run, text};

/// What pages leave open or say by example, and what stands there in the test.
const WORDS: &[(&str, &str)] = &[
    ("PATH/", "./"),
    (" FINDING", " \"$FINDING\""),
    (" KEY", " pipeline_ed25519.pub"),
    (" HANDLE", " \"$FINDING\""),
    ("3f2a9c41d0b7e852", "$RECOMMENDATION"),
    ("/lake/log", "lake/log"),
    ("last-week/", "./"),
    ("--as-of 12", "--as-of 1"),
    ("select …", "select 1"),
    ("'…'", "'select 1'"),
    ("--last 28d", "--last 14d"),
    ("NAMESPACE/NAME", "chat/qwen-7b-router"),
    ("~/.ssh/id_ed25519", "ada"),
    ("/var/lib/idleproof", "$PWD/lake"),
    ("/etc/bash_completion.d/", "./"),
];

/// Commands that need more than a lake, by how they begin → the test that runs the like of them.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "idleproof scan",
        "a_first_look_needs_a_server_and_leaves_nothing_but_its_report",
    ),
    (
        "idleproof init",
        "a_configuration_is_written_from_flags_and_its_sources_are_asked",
    ),
    (
        "idleproof snapshot",
        "a_read_only_account_reads_a_real_cluster_and_keeps_no_secret",
    ),
    ("idleproof serve", "psql_sees_what_sql_prints"),
    (
        "idleproof run",
        "findings_and_dollars_are_the_samples_truth",
    ),
    (
        "idleproof decisions prove",
        "from_a_manifest_to_patches_an_audited_log_and_evidence",
    ),
    (
        "idleproof verify decision",
        "from_a_manifest_to_patches_an_audited_log_and_evidence",
    ),
    (
        "idleproof decisions approve-policy",
        "from_a_manifest_to_patches_an_audited_log_and_evidence",
    ),
    // The sample has one publication: there is no week before it.
    (
        "idleproof report --compare",
        "an_acceptance_and_a_rule_of_ones_own_change_what_is_asked_and_nothing_else",
    ),
    (
        "idleproof report --last 7d",
        "a_part_of_the_week_is_reported_with_a_word",
    ),
    // Needs as many weeks as nobody's repository can hold.
    (
        "idleproof simulate --workload chat/llama-8b-assist --schedule",
        "a_weekly_schedule_is_judged_over_the_week_that_it_has_not_seen",
    ),
];

/// The pages that a reader follows.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in [
        "docs",
        "docs/detectors",
        "docs/systems",
        "deploy",
        "deploy/manifests",
    ] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// Lines of code blocks that begin with one of `programs`, whole where they go on over several lines.
fn commands(text: &str, programs: &[&str]) -> Vec<String> {
    let (mut found, mut fenced) = (Vec::new(), false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let line = line.trim_end();
        let code = fenced || line.starts_with("    ");
        if !code
            || !programs
                .iter()
                .any(|name| line.trim_start().starts_with(&format!("{name} ")))
        {
            continue;
        }
        let mut command = line.trim_start().to_owned();
        while command.ends_with('\\') || quote_is_open(&command) {
            let Some(next) = lines.next() else { break };
            command = format!("{}\n{next}", command.trim_end_matches('\\'));
        }
        found.push(command);
    }
    found
}

/// Whether a quotation goes on; a comment has none.
fn quote_is_open(command: &str) -> bool {
    let (mut open, mut before) = (None, ' ');
    for c in command.chars() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '\'' | '"') => open = Some(c),
            (None, '#') if before.is_whitespace() => return false,
            _ => {}
        }
        before = c;
    }
    open.is_some()
}

/// The sample's lake with all that a page may name beside it.
struct Place {
    folder: tempfile::TempDir,
    finding: String,
    recommendation: String,
}

/// A change for `gate`: in folders, in a repository, and as kubectl shows it.
fn changed_manifests(path: &Path) {
    let scaler = |min: u8| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: qwen-7b-router, namespace: chat}}\n\
             spec:\n  minReplicas: {min}\n  maxReplicas: 6\n  \
             scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: qwen-7b-router}}\n  metrics:\n  - type: Pods\n    \
             pods: {{metric: {{name: vllm:num_requests_running}}, target: {{type: AverageValue, averageValue: \"8\"}}}}\n"
        )
    };
    for (folder, min) in [
        ("base", 4),
        ("last-rendered", 4),
        ("rendered", 1),
        ("deploy", 4),
    ] {
        fs::create_dir_all(path.join(folder)).unwrap();
        fs::write(path.join(folder).join("hpa.yaml"), scaler(min)).unwrap();
    }
    let name = "autoscaling.v2.HorizontalPodAutoscaler.chat.qwen-7b-router";
    let diff = format!(
        "diff -u -N /tmp/LIVE-1/{name} /tmp/MERGED-2/{name}\n--- /tmp/LIVE-1/{name}\n+++ /tmp/MERGED-2/{name}\n@@ -16,6 +16,6 @@\n         \
         averageValue: \"8\"\n         type: AverageValue\n     type: Pods\n-  minReplicas: 4\n+  minReplicas: 1\n   scaleTargetRef:\n     \
         apiVersion: apps/v1\n"
    );
    fs::write(path.join("kubectl.diff"), diff).unwrap();
    git(path, &["init", "-q"]);
    git(path, &["add", "deploy"]);
    git(path, &["commit", "-qm", "what serves"]);
    git(path, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
    fs::write(path.join("deploy/hpa.yaml"), scaler(1)).unwrap();
    git(path, &["commit", "-qam", "less at night"]);
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let run = run();
        // Other tests work on the same run: what they move away under a copy is copied again.
        let copied = (0..5).any(|_| {
            Command::new("cp")
                .arg("-r")
                .arg(run.folder.path().join("."))
                .arg(path)
                .status()
                .unwrap()
                .success()
        });
        assert!(copied);
        // Another test may have exported from the same run before.
        let _ = fs::remove_dir_all(path.join("patches"));
        // A manifest and its files lie where a reader has saved them.
        for entry in fs::read_dir(&run.report).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, path.join(file.file_name().unwrap())).unwrap();
        }
        let config = fs::read_to_string(path.join("idleproof.toml")).unwrap();
        let here = config.replace(
            &*run.folder.path().to_string_lossy(),
            &path.to_string_lossy(),
        );
        fs::write(path.join("idleproof.toml"), &here).unwrap();
        fs::create_dir_all(path.join("sample-data")).unwrap();
        let beside = here
            .replace("\"policy.toml\"", "\"../policy.toml\"")
            .replace("\"allowed_signers\"", "\"../allowed_signers\"")
            .replace("\"./decisions\"", "\"../decisions\"");
        fs::write(path.join("sample-data/idleproof.toml"), beside).unwrap();
        fs::write(
            path.join("question.sql"),
            "SELECT COUNT(*) FROM v_ledger;\n",
        )
        .unwrap();
        fs::write(
            path.join("hpa.yaml"),
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  minReplicas: 1\n  maxReplicas: 4\n  \
             scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: llama-8b-assist}\n  metrics:\n  - type: Pods\n    \
             pods: {metric: {name: vllm:num_requests_running}, target: {type: AverageValue, averageValue: \"8\"}}\n",
        )
        .unwrap();
        changed_manifests(path);
        let bin = path.join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_idleproof"), bin.join("idleproof")).unwrap();
        let findings = run.findings();
        let alarm = findings
            .iter()
            .find(|finding| finding["status"] == "alarm")
            .unwrap();
        let listed = fs::read(run.report.join("recommendations.json")).unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
        let changed = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["changes"][0].is_object());
        Self {
            finding: alarm["handle"].as_str().unwrap().to_owned(),
            recommendation: changed.unwrap()["recommendation_id"]
                .as_str()
                .unwrap()
                .to_owned(),
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sh(&self, command: &str) -> Output {
        let mut written = command.to_owned();
        for (word, here) in WORDS {
            written = written.replace(word, here);
        }
        let bins = format!(
            "{}:{}",
            self.path().join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        Command::new("sh")
            .args(["-c", &written])
            .current_dir(self.path())
            .env("PATH", bins)
            .env("HOME", self.path())
            .env("FINDING", &self.finding)
            .env("RECOMMENDATION", &self.recommendation)
            .env_remove("IDLEPROOF_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

#[test]
fn every_command_of_the_documentation_does_what_it_says() {
    let place = Place::new();
    let (mut ran, mut wrong) = (0, Vec::new());
    let mut done = BTreeSet::new();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        for command in commands(&fs::read_to_string(&page).unwrap(), &["idleproof"]) {
            let is_elsewhere = ELSEWHERE
                .iter()
                .any(|(begin, _)| command.starts_with(begin))
                || command.trim_end() == "idleproof sql"
                || command.starts_with("idleproof sql   ");
            if is_elsewhere || !done.insert(command.clone()) {
                continue;
            }
            let output = place.sh(&command);
            ran += 1;
            if output.status.code() != Some(0) {
                wrong.push(format!("{name}: {command}\n{}", text(&output.stderr)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran > 35, "{ran}");
}

#[test]
fn what_is_run_elsewhere_is_run() {
    let mut all = String::new();
    for entry in fs::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    for (_, test) in ELSEWHERE {
        assert!(
            all.contains(&format!("fn {test}(")),
            "no test is called {test}"
        );
    }
}

#[test]
fn the_lines_for_other_engines_answer_as_sql_does() {
    let peers = crate::stores::peers().join("bin/python3");
    let probe = ["-c", "import duckdb, duckdb_extension_delta, deltalake"];
    let has = Command::new(&peers).args(probe).output();
    if !has.is_ok_and(|output| output.status.success()) {
        let why = "duckdb and deltalake are not installed";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        println!("skipped: {why}");
        return;
    }
    let place = Place::new();
    // Not a link: an environment of Python's is found by where its program lies.
    let python = place.path().join("bin/python3");
    fs::write(
        &python,
        format!("#!/bin/sh\nexec '{}' \"$@\"\n", peers.display()),
    )
    .unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    // The extension comes from the peers' packages: no test fetches one.
    let load = "import duckdb_extension_delta, pathlib; extension = next(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob('delta.duckdb_extension'))";
    let page = fs::read_to_string(root().join("docs/sql.md")).unwrap();
    let lines = commands(&page, &["python3"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let asked = place.sh("idleproof sql -o csv 'SELECT class, SUM(ms) AS ms FROM ledger GROUP BY class ORDER BY class'");
    let expected: Vec<String> = text(&asked.stdout)
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect();
    assert!(expected.len() > 5, "{}", text(&asked.stderr));
    for line in lines {
        let line = line
            .replace("import duckdb;", &format!("import duckdb; {load};"))
            .replace(
                "duckdb.sql('INSTALL delta; LOAD delta')",
                "duckdb = duckdb.connect(config={'allow_unsigned_extensions': 'true'}); duckdb.execute(f\\\"LOAD '{extension}'\\\")",
            );
        let output = place.sh(&line);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{line}\n{}", text(&output.stderr));
        for row in &expected {
            let (class, ms) = row.split_once(',').unwrap();
            assert!(
                said.lines()
                    .any(|told| told.contains(class) && told.contains(ms)),
                "{row} is not in\n{said}"
            );
        }
    }
}
