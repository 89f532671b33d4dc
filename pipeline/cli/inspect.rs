//! Owns `detectors`: what there is to detect, and how.

use std::io::Write as _;

use super::args::{DetectorsArgs, DetectorsWhat};
use super::error::CliError;
use super::output::OutputFormat;
use crate::detect::QuerySet;
use crate::exit::Exit;

pub(super) fn detectors(args: &DetectorsArgs) -> Result<Exit, CliError> {
    let queries = QuerySet::embedded().map_err(|error| CliError::Unexpected(error.to_string()))?;
    let mut out = std::io::stdout().lock();
    match &args.what {
        DetectorsWhat::List { output } => {
            if *output == OutputFormat::Table {
                for detector in queries.detectors() {
                    writeln!(
                        out,
                        "{:>3}  {:<22} {:<8} {}",
                        detector.order, detector.id, detector.version, detector.title
                    )
                    .map_err(CliError::Stdout)?;
                }
            } else {
                for detector in queries.detectors() {
                    let row = serde_json::json!({
                        "id": detector.id, "version": detector.version,
                        "order": detector.order, "title": detector.title,
                    });
                    writeln!(out, "{row}").map_err(CliError::Stdout)?;
                }
            }
        }
        DetectorsWhat::Show { id } => {
            let detector = queries
                .detectors()
                .iter()
                .find(|d| d.id == *id)
                .ok_or_else(|| {
                    CliError::Usage(format!(
                        "there is no detector `{id}`: `idleproof detectors list` names them"
                    ))
                })?;
            write!(out, "{}", detector.text).map_err(CliError::Stdout)?;
        }
    }
    Ok(Exit::Done)
}
