//! `check` and `ingest --plan` as a user runs them: what is said, in which form, and that nothing is
//! kept.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn idleproof(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(args)
        .output()
        .unwrap()
}

/// One day of the sample's blocks, and what `more` adds.
fn config(folder: &Path, more: &str) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data");
    let file = folder.join("idleproof.toml");
    let text = format!(
        "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"prod-a\"\n[[source]]\nname = \"blocks\"\n\
         kind = \"tsdb\"\ncluster = \"prod-a\"\nurl = \"{0}/prometheus/prod-a\"\n[[source]]\n\
         name = \"objects\"\nkind = \"kubernetes-export\"\ncluster = \"prod-a\"\n\
         path = \"{0}/kubernetes/prod-a\"\n{more}",
        sample.display()
    );
    fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}

#[test]
fn what_the_sample_lacks_is_named_with_the_lines_that_bring_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let output = idleproof(&["check", "--config", &file, "--advise"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "ok   blocks of prod-a",
        "ok   objects of prod-a",
        "all  prod-a: how busy each GPU is, 12 of 12",
        "part prod-a: prompt and output lengths, as histograms, 2 of 11",
        "lacking: agents/code-agent-",
        "adds 270 series:",
        "prod-a: dark-capacity sees all",
        "prod-a: tier-misplacement sees part: lacks engine-lengths (2 of 11)",
        "every signal for 2 of 11 pods with GPUs",
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    assert!(!folder.path().join("lake").exists(), "check made a lake");
}

#[test]
fn a_source_that_is_away_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let file = config(
        folder.path(),
        &format!(
            "[[source]]\nname = \"away\"\nkind = \"prometheus\"\ncluster = \"prod-a\"\n\
             url = \"http://{closed}\"\ntimeout_seconds = 2\n"
        ),
    );
    let output = idleproof(&["check", "sources", "--config", &file, "-o", "json"]);
    assert_eq!(output.status.code(), Some(5));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        answer["sources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|source| source["source"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("blocks")["ok"], true);
    assert!(of("blocks")["series"].as_u64().unwrap() > 500);
    assert_eq!(of("away")["ok"], false);
    let why = of("away")["notes"].to_string();
    assert!(why.contains("connection failed"), "{why}");
}

#[test]
fn the_configuration_alone_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(
        folder.path(),
        "[[source]]\nkind = \"prometheus\"\ncluster = \"prod-a\"\nurl = \"http://127.0.0.1:9\"\n",
    );
    let output = idleproof(&["check", "config", "--config", &file]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("1 clusters, 3 sources"), "{words}");
}

#[test]
fn a_plan_reads_nothing_into_a_lake_and_counts_what_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let span = [
        "--from",
        "2026-11-02",
        "--to",
        "2026-11-04",
        "--config",
        &file,
    ];
    let plan = |args: &[&str]| {
        let output = idleproof(args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let asked: Vec<&str> = ["ingest", "--plan"].into_iter().chain(span).collect();
    let before = plan(&asked);
    assert!(before.contains("2 windows to read, 0 settled"), "{before}");
    assert!(
        before.contains("objects: snapshots, read whole"),
        "{before}"
    );
    assert!(!folder.path().join("lake").exists(), "a plan made a lake");

    let read: Vec<&str> = ["ingest"].into_iter().chain(span).collect();
    plan(&read);
    let after = plan(&asked);
    assert!(after.contains("0 windows to read, 2 settled"), "{after}");
}
