//! Holds the tree to what ARCHITECTURE.md says of it: room edges, owners, file heads and sizes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms and what each may import. Data flows one way; siblings never import each other.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("catalogue", &["model"]),
    ("config", &[]),
    ("lake", &["model", "catalogue"]),
    ("ingest", &["lake", "catalogue", "model"]),
    ("inventory", &["lake", "catalogue", "model"]),
    ("detect", &["lake", "catalogue", "model", "exit"]),
    ("report", &["model"]),
    ("approve", &["model", "lake"]),
    ("simulate", &["model"]),
    ("gate", &["model"]),
    ("exit", &[]),
    (
        "cli",
        &[
            "approve",
            "catalogue",
            "config",
            "detect",
            "exit",
            "gate",
            "ingest",
            "inventory",
            "lake",
            "model",
            "report",
            "simulate",
        ],
    ),
];

/// Words that only their owner may write, with the reason.
const OWNED: &[(&str, &[&str], &str)] = &[
    ("deltalake_core", &["lake"], "only the lake commits"),
    ("object_store::", &["lake"], "only the lake names a store"),
    ("parquet::", &["lake"], "only the lake writes files"),
    ("reqwest", &["ingest"], "only ingest makes HTTP calls"),
    ("kube::", &["ingest"], "only ingest asks an API server"),
    (
        "SessionContext",
        &["lake", "detect", "inventory", "cli"],
        "only these rooms run SQL",
    ),
    ("println!", &["cli"], "only the command line prints"),
    ("eprintln!", &["cli"], "only the command line prints"),
    ("Utc::now", &["cli"], "the clock is passed in"),
    (
        "PrivateKey",
        &["approve"],
        "only approve sees a private key",
    ),
];

/// Files longer than the limit, each with its reason.
const LONG: &[(&str, &str)] = &[(
    "pipeline/lake/schema/tables.rs",
    "a table of uniform entries, one per lake table",
)];

const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, out);
            } else if path.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join(folder), ending, &mut out);
    out.sort();
    assert!(!out.is_empty(), "no {ending} files under {folder}");
    out
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn room_of(path: &str) -> Option<&str> {
    path.strip_prefix("pipeline/")?
        .split_once('/')
        .map(|(room, _)| room)
}

/// Source without comments and without the tests that stand at a file's end or in `tests.rs`.
fn code(path: &Path) -> String {
    if relative(path).ends_with("tests.rs") || relative(path).contains("/tests/") {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for path in files("pipeline", ".rs") {
        let name = relative(&path);
        let Some(room) = room_of(&name) else { continue };
        let allowed = EDGES
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is a new room: say in tidy.rs what it may import"))
            .1;
        let code = code(&path);
        for (other, _) in EDGES.iter().filter(|(other, _)| *other != room) {
            if code.contains(&format!("crate::{other}")) && !allowed.contains(other) {
                wrong.push(format!("{name} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden edges:\n{}", wrong.join("\n"));
}

#[test]
fn owned_words_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for path in files("pipeline", ".rs") {
        let name = relative(&path);
        let Some(room) = room_of(&name) else { continue };
        // A server's TLS key signs no decision: `cli/serve` hands its file to rustls.
        let code = code(&path).replace("PrivateKeyDer", "");
        for (word, owners, why) in OWNED {
            if code.contains(word) && !owners.contains(&room) {
                wrong.push(format!("{name} writes `{word}`: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns_and_is_no_two_rooms() {
    let mut wrong = Vec::new();
    for folder in ["pipeline", "tests", "benches"] {
        for path in files(folder, ".rs") {
            let name = relative(&path);
            let text = fs::read_to_string(&path).unwrap();
            let is_test = name.ends_with("tests.rs");
            if !is_test && !text.starts_with("//!") {
                wrong.push(format!("{name} does not begin with `//!`"));
            }
            let lines = code(&path).lines().count();
            let excused = LONG.iter().any(|(long, _)| *long == name);
            if folder == "pipeline" && lines > LINES_MAX && !excused {
                wrong.push(format!(
                    "{name} has {lines} lines of code (at most {LINES_MAX})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_detector_has_its_claims_and_its_tests() {
    let folder = root().join("queries/detectors");
    let stems: BTreeSet<String> = files("queries/detectors", ".sql")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .map(|stem| {
            stem.strip_suffix(".claims")
                .map_or(stem.clone(), str::to_owned)
        })
        .collect();
    for stem in stems {
        // What claims nothing has no claims.
        let head = fs::read_to_string(folder.join(format!("{stem}.sql"))).unwrap_or_default();
        let claims = head.contains("\nclaims:") && !head.contains("\nclaims: []");
        let endings = [".sql", ".claims.sql", ".test.yaml"];
        for ending in endings
            .iter()
            .filter(|ending| claims || !ending.contains("claims"))
        {
            let file = folder.join(format!("{stem}{ending}"));
            assert!(file.is_file(), "{} is missing", relative(&file));
        }
    }
}

#[test]
fn no_sql_hides_in_rust() {
    let mut wrong = Vec::new();
    for path in files("pipeline", ".rs") {
        let name = relative(&path);
        for (number, line) in code(&path).lines().enumerate() {
            // One whole table by a name of the column contract: nothing that a file could hold.
            let whole_table = name.starts_with("pipeline/detect/derive")
                && (line.contains("FROM {name}") || line.contains("FROM {} "));
            if line.contains("SELECT ") && line.contains(" FROM ") && !whole_table {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "SQL lives in queries/:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_debris_is_tracked() {
    let ignored = ["target", ".git"];
    let mut wrong = Vec::new();
    let mut stack = vec![root()];
    while let Some(folder) = stack.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if ignored.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                stack.push(path);
            } else if [".snap.new", ".orig", ".rej", ".swp"]
                .iter()
                .any(|e| name.ends_with(e))
            {
                wrong.push(relative(&path));
            }
        }
    }
    assert!(wrong.is_empty(), "debris: {wrong:?}");
}
