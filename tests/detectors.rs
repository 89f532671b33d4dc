//! Owns the SQL tests: every `queries/**/<name>.test.yaml` case, on `DataFusion` in this process
//! and on `DuckDB` through `duckdb_peer.py`, whose rows must also equal each other.
//!
//! It knows no query by name: a file added below `queries/` is a test added here. Without python3
//! and its `duckdb` package the `DuckDB` half is reported as ignored, with the reason; under
//! `CI=true` it fails instead. The format of a case is in `queries/detectors/README.md`.
#![allow(clippy::print_stderr)]

#[path = "detectors/cases.rs"]
mod cases;
#[path = "detectors/compare.rs"]
mod compare;
#[path = "detectors/engines.rs"]
mod engines;
#[path = "detectors/tables.rs"]
mod tables;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

use cases::Case;
use engines::{Outcome, Results};

/// What the trials share: every case, and what each engine made of it, computed once.
struct Suite {
    cases: Vec<Case>,
    datafusion: Vec<OnceLock<Outcome>>,
    duckdb: OnceLock<Result<Vec<Outcome>, String>>,
}

impl Suite {
    fn datafusion(&self, index: usize) -> Result<&Results, Failed> {
        let outcome =
            self.datafusion[index].get_or_init(|| engines::datafusion(&self.cases[index]));
        outcome.as_ref().map_err(|why| why.as_str().into())
    }

    fn duckdb(&self, index: usize) -> Result<&Results, Failed> {
        let answers = self.duckdb.get_or_init(|| engines::duckdb(&self.cases));
        let answers = answers.as_ref().map_err(|why| Failed::from(why.as_str()))?;
        answers[index].as_ref().map_err(|why| why.as_str().into())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
    let cases = match cases::load(&root) {
        Ok(cases) if cases.is_empty() => {
            eprintln!(
                "no *.test.yaml below {}: the SQL would go untested",
                root.display()
            );
            return ExitCode::FAILURE;
        }
        Ok(cases) => cases,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let missing = engines::duckdb_missing();
    let ignored = missing.is_some() && std::env::var("CI").as_deref() != Ok("true");
    if let Some(why) = missing.filter(|_| ignored && !arguments.list) {
        eprintln!("DuckDB's half of the SQL tests is ignored: {why}");
    }

    let suite = Arc::new(Suite {
        datafusion: cases.iter().map(|_| OnceLock::new()).collect(),
        duckdb: OnceLock::new(),
        cases,
    });
    let mut trials = Vec::new();
    for (index, case) in suite.cases.iter().enumerate() {
        let here = Arc::clone(&suite);
        trials.push(
            Trial::test(case.title.clone(), move || {
                compare::with_expected(&here.cases[index], here.datafusion(index)?)
            })
            .with_kind("datafusion"),
        );
        let here = Arc::clone(&suite);
        trials.push(
            Trial::test(case.title.clone(), move || {
                let peer = here.duckdb(index)?;
                compare::with_expected(&here.cases[index], peer)?;
                compare::engines(here.datafusion(index)?, peer)
            })
            .with_kind("duckdb")
            .with_ignored_flag(ignored),
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
