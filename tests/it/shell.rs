//! The SQL shell as a person at a keyboard meets it: a pseudo-terminal, driven by Python's standard library.

use std::process::Command;

use crate::sample::{root, run, text};

#[test]
fn the_shell_edits_completes_pages_stops_and_remembers() {
    if Command::new("python3").arg("--version").output().is_err() {
        let why = "python3 is not installed";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        println!("skipped: {why}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .arg(root().join("tests/peers/sql_shell.py"))
        .arg(env!("CARGO_BIN_EXE_idleproof"))
        .arg(run().config())
        .env("XDG_STATE_HOME", state.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let history = std::fs::read_to_string(state.path().join("idleproof/sql_history")).unwrap();
    assert!(
        history.contains("select nothing from nowhere;"),
        "{history}"
    );
    assert!(!history.contains("'nobody'"), "{history}");
}
