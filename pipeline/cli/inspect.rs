//! Owns the commands that look and change nothing: `lake info`, `lake verify`, `detectors`.

use std::io::Write as _;

use super::args::{ConfigArg, DetectorsArgs, DetectorsWhat};
use super::error::CliError;
use super::output::OutputFormat;
use crate::config::Config;
use crate::detect::QuerySet;
use crate::exit::Exit;
use crate::lake::Lake;
use crate::model::time::format_ms;

pub(super) async fn info(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let lake = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
    let publication = lake.publication(None).await?;
    let pins = lake.head().await?;
    let mut lines = vec![format!("lake: {}", lake.url())];
    match &publication {
        None => lines.push("publication: none yet".to_owned()),
        Some(publication) => {
            lines.push(format!(
                "publication: {}, made {}, window {} to {}",
                publication.number,
                format_ms(publication.created_ms),
                format_ms(publication.window_start_ms),
                format_ms(publication.window_end_ms)
            ));
            for (cluster, run) in &publication.runs {
                lines.push(format!("  {cluster}: run {run}"));
            }
        }
    }
    lines.push(format!(
        "{:<24} {:>8} {:>8} {:>12} {:>14}",
        "table", "version", "files", "rows", "bytes"
    ));
    for (table, version) in &pins.tables {
        let files = lake.files(table, *version).await?;
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        lines.push(format!(
            "{table:<24} {version:>8} {:>8} {rows:>12} {bytes:>14}",
            files.len()
        ));
    }
    writeln!(std::io::stdout().lock(), "{}", lines.join("\n")).map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

pub(super) async fn verify(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let lake = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
    let report = lake.check().await?;
    let mut out = std::io::stdout().lock();
    for fault in &report.faults {
        writeln!(out, "{}: {}", fault.path, fault.reason).map_err(CliError::Stdout)?;
    }
    writeln!(
        out,
        "{} tables, {} files, {} rows, {} faults",
        report.tables,
        report.files,
        report.rows,
        report.faults.len()
    )
    .map_err(CliError::Stdout)?;
    Ok(if report.faults.is_empty() {
        Exit::Done
    } else {
        Exit::Verification
    })
}

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
