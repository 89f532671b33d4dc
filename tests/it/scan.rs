//! The first look, as a curious engineer takes it: `scan` and `init` against real servers.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::prometheus::{Server, installed, start_prometheus};
use crate::sample::{root, text};

/// A folder with the first cluster's blocks as a Prometheus would hold them.
pub(crate) fn blocks(folder: &Path) {
    let from = root().join("sample-data/prometheus/prod-a");
    for block in fs::read_dir(from).unwrap() {
        let block = block.unwrap().path();
        let to = folder.join("data").join(block.file_name().unwrap());
        fs::create_dir_all(to.join("chunks")).unwrap();
        for name in ["index", "meta.json", "chunks/000001"] {
            fs::copy(block.join(name), to.join(name)).unwrap();
        }
    }
}

/// A Prometheus that holds them, and its address.
async fn serve(folder: &Path) -> (Server, String) {
    blocks(folder);
    let server = start_prometheus(folder).await;
    let url = format!("http://127.0.0.1:{}", server.port);
    (server, url)
}

/// The program with a temporary folder of its own.
pub(crate) async fn idleproof(folder: &Path, args: &[&str]) -> Output {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_idleproof"));
    command
        .args(args)
        .current_dir(folder)
        .env("TMPDIR", &temporary)
        .env_remove("KUBECONFIG")
        .env("HOME", folder)
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_first_look_needs_a_server_and_leaves_nothing_but_its_report() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (_server, url) = serve(path).await;
    let lists = root().join("sample-data/kubernetes/prod-a");
    let lists = lists.to_str().unwrap();
    let scan = [
        "scan",
        "--prometheus",
        &url,
        "--snapshots",
        lists,
        "--last",
        "2d",
    ];
    let kept = [&scan[..], &["--cluster", "prod-a", "--keep", "first"]].concat();
    let output = idleproof(path, &kept).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    for part in [
        "prod-a · 2026-11-",
        "  spent ",
        "  avoidable ",
        "Where GPU time went",
        "What to change:",
        "Workloads by cost",
        // Every column that a scanner of the moment has, over the window.
        "What each is and does",
        "engine",
        "cheapest that does",
        "replicas",
        "MFU",
        "$/M tokens",
        "$/h",
        "waste/day",
        "report: report.html",
    ] {
        assert!(out.contains(part), "{part} is lacking in\n{out}");
    }
    // A terminal's colours are no part of a file.
    assert!(!out.contains('\u{1b}'), "{out}");
    let page = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(page.contains("Where the GPU money went"));
    assert!(
        is_empty(&path.join("tmp")),
        "the lake is kept where it was asked for"
    );
    // What was kept is a lake like any other, under a configuration that can be used.
    let config = "first/idleproof.toml";
    let hours = "select count(*) as n from v_ledger";
    let asked = idleproof(path, &["sql", hours, "-o", "csv", "--config", config]).await;
    let rows: u64 = text(&asked.stdout).lines().nth(1).unwrap().parse().unwrap();
    assert!(rows > 500, "{rows}");
    // A folder that is there is somebody's.
    let again = idleproof(path, &kept).await;
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("make the new folder `first`"));

    // What cannot work is said before anything is read.
    for (wrong, part) in [
        (
            &["--prometheus", "no address"][..],
            "an http or https address",
        ),
        (
            &["--service", "prometheus"],
            "monitoring/prometheus-operated:9090",
        ),
        (
            &["--prometheus", &url, "--out", "no/where.html"],
            "no/where.html",
        ),
        (
            &["--prometheus", &url, "--snapshots", "no-lists"],
            "no-lists",
        ),
        (&[], "--prometheus URL"),
    ] {
        let output = idleproof(path, &[&["scan"], wrong].concat()).await;
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(part) && !err.contains('\u{1b}'), "{err}");
    }

    // A server that is not there: its name, and nothing left behind.
    let nowhere = ["scan", "--prometheus", "http://127.0.0.1:9", "--last", "2d"];
    let failed = idleproof(path, &nowhere).await;
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("http://127.0.0.1:9"));
    assert!(is_empty(&path.join("tmp")));
}

#[tokio::test]
async fn a_configuration_is_written_from_flags_and_its_sources_are_asked() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (_server, url) = serve(path).await;
    let args = [
        "init",
        "--prometheus",
        &url,
        "--cluster",
        "prod-a",
        "--no-kubernetes",
    ];
    let output = idleproof(path, &args).await;
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("wrote idleproof.toml"), "{err}");
    assert!(
        text(&output.stdout).contains("prometheus-prod-a-0"),
        "{}",
        text(&output.stdout)
    );
    let checked = idleproof(path, &["check", "config"]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let again = idleproof(path, &args).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("overwrites nothing"));
    // What cannot be reached is said, and the file is there to be mended.
    let wrong = [
        "init",
        "--prometheus",
        "http://127.0.0.1:9",
        "--cluster",
        "x",
        "--no-kubernetes",
        "--config",
        "other.toml",
    ];
    let failed = idleproof(path, &wrong).await;
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed.stderr));
    assert!(path.join("other.toml").exists());
}
