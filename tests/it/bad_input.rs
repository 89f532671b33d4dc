//! What a user gets wrong: one clear message that names the file and what to do, the documented exit
//! code, and a lake whose publication is as it was.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn idleproof(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs the job with a configuration and expects one message with these words, and this code.
fn refused(folder: &Path, config: &str, code: i32, words: &[&str]) {
    let file = folder.join("idleproof.toml");
    fs::write(&file, config).unwrap();
    let output = idleproof(&["run", "--config", &file.to_string_lossy()]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(
        errors.len(),
        1,
        "one message, not {}: {stderr}",
        errors.len()
    );
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
    assert!(
        !folder.join("lake/publications").exists(),
        "something was published"
    );
}

fn blocks(folder: &Path) -> String {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tsdb/xor");
    let target = folder.join("blocks");
    copy(&fixture, &target);
    config("tsdb", "url = \"./blocks\"")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path
            .extension()
            .is_none_or(|extension| extension != "ndjson")
        {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn config(kind: &str, place: &str) -> String {
    format!(
        "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"a\"\n[[source]]\nname = \"s\"\nkind = \"{kind}\"\ncluster = \"a\"\n{place}\n[report]\noutput = \"./out\"\n"
    )
}

#[test]
fn an_unknown_key_names_itself_and_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = config("tsdb", "url = \"./blocks\"\nselector = 1");
    refused(
        folder.path(),
        &text,
        2,
        &["idleproof.toml", "selector", "line 10"],
    );
}

#[test]
fn a_missing_configuration_says_how_to_name_one() {
    let output = idleproof(&["run", "--config", "no-such-file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("no-such-file.toml") && stderr.contains("--config"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_flag_is_usage() {
    let output = idleproof(&["run", "--lst", "14d"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("--last"), "{stderr}");
}

#[test]
fn a_damaged_block_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = blocks(folder.path());
    let block = fs::read_dir(folder.path().join("blocks"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let index = block.join("index");
    let mut bytes = fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&index, &bytes).unwrap();
    refused(folder.path(), &text, 2, &["index", "blocks"]);
    fs::write(&index, &bytes[..middle]).unwrap();
    refused(folder.path(), &text, 2, &["index", "blocks"]);
}

#[test]
fn malformed_lists_name_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("kubernetes/2026-11-01T00-00-00Z");
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(
        snapshot.join("pods.json"),
        "{\"kind\": \"List\", \"items\": [",
    )
    .unwrap();
    let text = config("kubernetes-export", "path = \"./kubernetes\"");
    refused(folder.path(), &text, 2, &["pods.json"]);
}

#[test]
fn a_server_that_is_not_there_is_worth_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let text = config("prometheus", &format!("url = \"http://127.0.0.1:{port}\""));
    refused(folder.path(), &text, 5, &[&format!("127.0.0.1:{port}")]);
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_first() {
    let folder = tempfile::tempdir().unwrap();
    let text = blocks(folder.path());
    fs::write(
        folder.path().join("out"),
        "a file stands where the folder should be",
    )
    .unwrap();
    refused(folder.path(), &text, 2, &["out", "write the report"]);
    assert!(
        !folder.path().join("lake").exists(),
        "the lake was touched before the output"
    );
}

#[test]
fn a_price_sheet_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = blocks(folder.path());
    text.push_str("[prices]\nsheets = [\"prices.csv\"]\n");
    refused(folder.path(), &text, 2, &["prices.csv"]);
    fs::write(
        folder.path().join("prices.csv"),
        "provider,price\naws,much\n",
    )
    .unwrap();
    refused(folder.path(), &text, 2, &["prices.csv"]);
}
