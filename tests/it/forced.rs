//! A source that has forgotten samples, through the binary: what the lake holds stays until a person says
//! `--force`, and then the days that rest on it are restated.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sample::{idleproof, root, text};

/// The block that ends, and the one that begins, at noon of 2026-11-19.
const BEFORE_NOON: &str = "01M7STRFGH6S8PNR0A04S8VTPP";
const AFTER_NOON: &str = "01M83HEC4HF6VJCQ3EMGZERBSG";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A command that ends well: what it said on both ways.
fn good(args: &[&str]) -> (String, String) {
    let output = idleproof(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{said}");
    (text(&output.stdout), said)
}

#[test]
fn an_emptier_source_changes_nothing_until_forced_and_then_restates_its_day() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = folder.path().join("blocks");
    let sample = root().join("sample-data");
    for block in [BEFORE_NOON, AFTER_NOON] {
        copy(
            &sample.join("prometheus/prod-a").join(block),
            &blocks.join(block),
        );
    }
    let file = folder.path().join("idleproof.toml");
    // Late samples may come for weeks, so every run reads the day again.
    let config = format!(
        "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"prod-a\"\nprovider = \"aws\"\n\
         region = \"us-east-1\"\n[[source]]\nname = \"blocks\"\nkind = \"tsdb\"\ncluster = \"prod-a\"\n\
         url = \"./blocks\"\nlook_back_hours = 1000\n[[source]]\nname = \"objects\"\n\
         kind = \"kubernetes-export\"\ncluster = \"prod-a\"\npath = \"{}\"\n[report]\noutput = \"./out\"\n",
        sample.join("kubernetes/prod-a").display()
    );
    fs::write(&file, config).unwrap();
    let file = file.to_string_lossy().into_owned();
    let day = ["--from", "2026-11-19", "--to", "2026-11-20"];
    let with = |command: &str, more: &[&str]| {
        let args = [&[command][..], &day, &["--config", &file], more].concat();
        good(&args)
    };
    let held = || {
        let query = "SELECT SUM(samples) AS samples FROM ingest_windows WHERE source = 'blocks' AND \
                     window_start >= TIMESTAMP '2026-11-19T00:00:00Z' AND \
                     window_end <= TIMESTAMP '2026-11-20T00:00:00Z'";
        let rows = good(&["sql", query, "-o", "json", "--config", &file]).0;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        rows[0]["samples"].as_i64().unwrap()
    };
    let unknown = || {
        let query = "SELECT COALESCE(SUM(ms), 0) AS ms FROM v_ledger WHERE class = 'unknown' \
                     AND date = '2026-11-19'";
        let rows = good(&["sql", query, "-o", "json", "--config", &file]).0;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        rows[0]["ms"].as_i64().unwrap()
    };

    with("run", &[]);
    let (samples, blind) = (held(), unknown());
    assert!(samples > 100_000, "{samples}");

    fs::remove_dir_all(blocks.join(BEFORE_NOON)).unwrap();
    let said = with("run", &[]).1;
    assert!(said.contains("1 kept as they were fuller"), "{said}");
    assert!(said.contains("--force replaces them"), "{said}");
    assert!(!said.contains("restated"), "{said}");
    assert_eq!((held(), unknown()), (samples, blind));

    let said = with("ingest", &["--source", "blocks", "--force"]).1;
    assert!(said.contains("(1 written, 0 unchanged"), "{said}");
    assert!(!said.contains("fuller, --force"), "{said}");
    // What is published still rests on what it read.
    assert_eq!(unknown(), blind);
    let said = with("run", &["--no-ingest"]).1;
    assert!(
        said.contains("prod-a: restated a day that the last publication had otherwise: 2026-11-19"),
        "{said}"
    );
    assert!(held() < samples * 3 / 4, "{} of {samples}", held());
    // A morning that nobody can tell of any more is unknown, not idle.
    assert!(unknown() > blind, "{} after {blind}", unknown());
}
