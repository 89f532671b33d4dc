//! Owns `detectors`: what there is to detect, how, and its pages; and the set of detectors that a
//! configuration makes, a user's own among them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::args::{DetectorsArgs, DetectorsWhat};
use super::error::CliError;
use super::output::OutputFormat;
use crate::config::Config;
use crate::detect::{Detector, QuerySet};
use crate::exit::Exit;

/// More files than this in a folder of detectors are no detectors.
const MAX_FILES: usize = 200;
/// A longer file is no query.
const MAX_BYTES: u64 = 1 << 20;

/// The built-in queries, and the detectors of the configuration's folder under the same contract.
pub(super) fn query_set(config: &Config) -> Result<QuerySet, CliError> {
    let built_in = embedded()?;
    let Some(folder) = &config.file.detectors.folder else {
        return Ok(built_in);
    };
    let own = own_detectors(&config.resolve(folder))?;
    built_in
        .with_detectors(own)
        .map_err(|error| CliError::Usage(format!("[detectors] folder: {error}")))
}

fn embedded() -> Result<QuerySet, CliError> {
    QuerySet::embedded().map_err(|error| CliError::Unexpected(error.to_string()))
}

fn own_detectors(folder: &Path) -> Result<Vec<Detector>, CliError> {
    let failed = |error| CliError::file("read the folder of detectors", folder, error);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let bytes = path.metadata().map_err(failed)?.len();
        if bytes > MAX_BYTES || files.len() >= MAX_FILES {
            return Err(CliError::Usage(format!(
                "[detectors] folder: `{}` is too large, or one file too many: a detector is one short query",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::file("read the detector", &path, error))?;
        files.insert(name.to_owned(), text);
    }
    let mut detectors = Vec::new();
    for (name, text) in &files {
        if name.ends_with(".claims.sql") {
            let id = name.trim_end_matches(".claims.sql");
            if !files.contains_key(&format!("{id}.sql")) {
                return Err(CliError::Usage(format!(
                    "[detectors] folder: `{name}` has no `{id}.sql` beside it"
                )));
            }
            continue;
        }
        let claims = files.get(&name.replace(".sql", ".claims.sql"));
        let detector = Detector::parse(&format!("user/{name}"), text, claims.map(String::as_str))
            .map_err(|error| CliError::Usage(format!("[detectors] folder: {error}")))?;
        detectors.push(detector);
    }
    Ok(detectors)
}

pub(super) fn detectors(args: &DetectorsArgs) -> Result<Exit, CliError> {
    let queries = match &args.config {
        Some(path) => query_set(&Config::load(path)?)?,
        None => embedded()?,
    };
    let mut out = std::io::stdout().lock();
    match &args.what {
        DetectorsWhat::List { output } => {
            for detector in queries.detectors() {
                if *output == OutputFormat::Table {
                    let claims = detector.head.claims.join(", ");
                    writeln!(
                        out,
                        "{:>3}  {:<26} {:<8} {:<14} {}",
                        detector.order,
                        detector.id,
                        detector.version,
                        if claims.is_empty() { "–" } else { &claims },
                        detector.title
                    )
                } else {
                    let row = json!({
                        "id": detector.id, "version": detector.version, "order": detector.order,
                        "title": detector.title, "claims": detector.head.claims,
                        "grain": detector.head.grain, "status": detector.head.status,
                        "own": detector.findings.path.starts_with("user/"),
                    });
                    writeln!(out, "{row}")
                }
                .map_err(CliError::Stdout)?;
            }
        }
        DetectorsWhat::Show { id } => {
            write!(out, "{}", find(&queries, id)?.text).map_err(CliError::Stdout)?;
        }
        DetectorsWhat::Docs { id, out: folder } => {
            let wanted: Vec<&Detector> = match id {
                Some(id) => vec![find(&queries, id)?],
                None => queries.detectors().iter().collect(),
            };
            let Some(folder) = folder else {
                for detector in wanted {
                    write!(out, "{}", page(detector)).map_err(CliError::Stdout)?;
                }
                return Ok(Exit::Done);
            };
            std::fs::create_dir_all(folder)
                .map_err(|error| CliError::file("make the folder of pages", folder, error))?;
            for detector in wanted {
                let path = folder.join(format!("{}.md", detector.id));
                std::fs::write(&path, page(detector))
                    .map_err(|error| CliError::file("write the page", &path, error))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn find<'a>(queries: &'a QuerySet, id: &str) -> Result<&'a Detector, CliError> {
    queries
        .detectors()
        .iter()
        .find(|detector| detector.id == id)
        .ok_or_else(|| {
            CliError::Usage(format!(
                "there is no detector `{id}`: `idleproof detectors list` names them"
            ))
        })
}

/// A detector's page, all of it from its own files.
fn page(detector: &Detector) -> String {
    let head = &detector.head;
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!("# {}", detector.title));
    line("");
    line("Made from the detector's own files by `idleproof detectors docs`; do not edit.");
    line("");
    line("| | |");
    line("|---|---|");
    line(&format!("| id | `{}` |", detector.id));
    line(&format!(
        "| version | {} ({}) |",
        detector.version, head.status
    ));
    line(&format!("| severity | {} |", plain(&head.severity)));
    line(&format!(
        "| one finding for each | {} |",
        head.grain.join(", ")
    ));
    line(&format!("| reads | {} |", head.requires.join(", ")));
    line(&format!(
        "| claims | {} |",
        if head.claims.is_empty() {
            "nothing: what it finds is shown with its cost, and adds no dollars".to_owned()
        } else {
            format!(
                "{}, as number {} in the order",
                head.claims.join(", "),
                detector.order
            )
        }
    ));
    line(&format!(
        "| window | {}, at least {} |",
        head.window.default, head.window.min
    ));
    line("");
    if let Some(rationale) = &head.rationale {
        line("## Why");
        line("");
        line(rationale.trim());
        line("");
    }
    if !head.params.is_empty() {
        line("## Parameters");
        line("");
        line(&format!(
            "Set in the configuration under `[params.{}]`.",
            detector.id
        ));
        line("");
        line("| name | unit | default | why |");
        line("|---|---|---|---|");
        for (name, param) in &head.params {
            line(&format!(
                "| `{name}` | {} | {} | {} |",
                param.unit.as_deref().unwrap_or("–"),
                plain(&param.default),
                param.why
            ));
        }
        line("");
    }
    line("## When it is wrong");
    line("");
    for case in &head.false_positives {
        line(&format!("- {case}"));
    }
    line("");
    line("## What to do");
    line("");
    for (name, value) in &head.remediation {
        line(&format!("- {name}: {}", plain(value)));
    }
    if !head.references.is_empty() {
        line("");
        line("## References");
        line("");
        for reference in &head.references {
            line(&format!("- {reference}"));
        }
    }
    text
}

/// A YAML value as people write it.
fn plain(value: &serde_yaml_ng::Value) -> String {
    match value {
        serde_yaml_ng::Value::String(text) => text.clone(),
        other => {
            let mut text = String::new();
            let shown = serde_yaml_ng::to_string(other).unwrap_or_default();
            let _ = write!(text, "{}", shown.trim());
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_in_docs_is_what_its_detector_says() {
        let queries = QuerySet::embedded().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detectors");
        let mut wrong = Vec::new();
        for detector in queries.detectors() {
            let path = folder.join(format!("{}.md", detector.id));
            if std::fs::read_to_string(&path).ok() != Some(page(detector)) {
                wrong.push(detector.id.clone());
            }
        }
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let id = name.trim_end_matches(".md");
            if !queries.detectors().iter().any(|d| d.id == id) {
                wrong.push(name);
            }
        }
        assert!(
            wrong.is_empty(),
            "run `idleproof detectors docs --out docs/detectors`: {wrong:?}"
        );
    }

    const OWN: &str = "/*---\nid: own-rule\nversion: 1.0.0\ntitle: t\nstatus: stable\nseverity: low\n\
        grain: [cluster]\nrequires: [ledger]\norder: 90\nwindow: {default: 14d, min: 3d}\n\
        false_positives: []\nremediation: {}\n---*/\nSELECT cluster FROM ledger ORDER BY cluster";

    fn config(folder: &Path) -> Config {
        let text = "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n[detectors]\nfolder = \"./own\"\n";
        Config::parse(&folder.join("idleproof.toml"), text).unwrap()
    }

    #[test]
    fn own_detectors_run_beside_the_built_in_ones_under_the_same_contract() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("own-rule.sql"), OWN).unwrap();
        std::fs::write(own.join("notes.txt"), "no detector").unwrap();
        let queries = query_set(&config(folder.path())).unwrap();
        let found = find(&queries, "own-rule").unwrap();
        assert_eq!(found.findings.path, "user/own-rule.sql");

        // It can define nothing, and it can be no other detector.
        std::fs::write(
            own.join("own-rule.sql"),
            OWN.replace("SELECT cluster", "DROP TABLE ledger; SELECT cluster"),
        )
        .unwrap();
        let refused = query_set(&config(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("one SELECT"), "{refused}");
        std::fs::remove_file(own.join("own-rule.sql")).unwrap();
        std::fs::write(
            own.join("dark-capacity.sql"),
            OWN.replace("own-rule", "dark-capacity"),
        )
        .unwrap();
        let refused = query_set(&config(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("never reused"), "{refused}");
        std::fs::remove_file(own.join("dark-capacity.sql")).unwrap();
        std::fs::write(own.join("own-rule.claims.sql"), "SELECT 1").unwrap();
        let refused = query_set(&config(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("has no `own-rule.sql`"), "{refused}");
    }
}
