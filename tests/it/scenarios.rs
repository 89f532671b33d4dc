//! A small fleet of the scenario suite through the binary: its own generator states the truth, its
//! own scorer compares. The full suite and its thresholds are in `tests/scenarios/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside test functions"
)]

use std::path::Path;
use std::process::Command;

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether all programs are there; in CI they must be.
fn have(programs: &[&str]) -> bool {
    for program in programs {
        if !installed(program) {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{program} must be installed"
            );
            println!("skipped: {program} is not installed");
            return false;
        }
    }
    true
}

#[test]
fn the_generator_and_its_judge_agree_with_themselves() {
    if !have(&["python3"]) {
        return;
    }
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/check.py"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        !said.contains("Ran 0 tests") && said.contains("OK"),
        "{said}"
    );
}

#[test]
fn a_small_fleet_meets_its_truth() {
    if !have(&["promtool", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/score.py"))
        .args(["--binary", env!("CARGO_BIN_EXE_idleproof")])
        .args(["--small", "--seeds", "3", "--work"])
        .arg(folder.path())
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{table}\n{errors}");
    // A table without cases would pass every threshold.
    let owed = |detector: &str| -> u32 {
        let row = table.lines().find(|line| line.starts_with(detector));
        row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_default()
    };
    for detector in ["unallocated-capacity", "surplus-replicas"] {
        assert!(owed(detector) > 0, "{detector}\n{table}");
    }
}
