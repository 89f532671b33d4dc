//! Owns `lake`: what the lake holds, whether it is whole, and keeping it small. Also the end of
//! `run`, which compacts closed days where nobody else writes.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::error::ArrowError;
use serde_json::json;

use super::args::{CompactArgs, ConfigArg, InfoArgs, LakeWhat, VacuumArgs, VerifyLakeArgs};
use super::error::CliError;
use super::output::{OutputFormat, print_rows};
use super::sources::holder;
use super::{CODE_VERSION, now_ms, say};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::schema::TableKind;
use crate::lake::{Fault, Keeper, Lake, LakeInfo, LeaseInfo, Retention, VacuumOptions};
use crate::model::time::{DAY_MS, format_ms};

/// A day is rewritten once it is this long over: until then sources may still be read again.
const CLOSED_AFTER_MS: i64 = DAY_MS;

pub(super) async fn lake(what: &LakeWhat) -> Result<Exit, CliError> {
    match what {
        LakeWhat::Info(args) => info(args).await,
        LakeWhat::Compact(args) => compact(args).await,
        LakeWhat::Vacuum(args) => vacuum(args).await,
        LakeWhat::Verify(args) => verify(args).await,
    }
}

async fn open(args: &ConfigArg) -> Result<(Config, Lake), CliError> {
    let config = Config::load(&args.config)?;
    let lake = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
    Ok((config, lake))
}

fn keeper(lake: &Lake, lease_wait_seconds: u64) -> Keeper<'_> {
    Keeper {
        lake,
        holder: holder(now_ms()),
        wait: Duration::from_secs(lease_wait_seconds),
        clock: Arc::new(now_ms),
        code_version: CODE_VERSION.to_owned(),
    }
}

/// The first moment whose day is too young to be rewritten.
fn closed_before_ms(now_ms: i64) -> i64 {
    (now_ms - CLOSED_AFTER_MS).div_euclid(DAY_MS) * DAY_MS
}

/// What `run` does when it is done: retention where it is configured, and closed days made compact.
/// A failure is a warning, as the run has been published.
pub(super) async fn after_run(lake: &Lake, config: &Config) {
    let keeper = keeper(lake, 0);
    let kept = async {
        let retained = keeper.retain(&retention(config)).await?;
        Ok::<_, CliError>((retained, keeper.compact(closed_before_ms(now_ms())).await?))
    };
    match kept.await {
        Ok((retained, report)) => {
            if retained.raw_files + retained.derived_partitions > 0 {
                say(&format!(
                    "lake: retention took out {} raw files and {} derived partitions",
                    retained.raw_files, retained.derived_partitions
                ));
            }
            if report.days > 0 {
                say(&compact_line(&report));
            }
        }
        Err(error) => say(&format!(
            "warning: the lake's upkeep did not finish, the run did: {error}"
        )),
    }
}

fn retention(config: &Config) -> Retention {
    let lake = &config.file.lake;
    Retention {
        raw_days: lake.raw_days,
        derived_days: lake.derived_days,
    }
}

fn compact_line(report: &crate::lake::CompactReport) -> String {
    let total = &report.total;
    let held = if report.held.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = report.held.iter().map(String::as_str).collect();
        format!(
            "; left for later, as others write to them: {}",
            names.join(", ")
        )
    };
    format!(
        "lake: {} days made compact, {} files are now {}, {} bytes are now {}, {} rows{held}",
        report.days,
        total.files_before,
        total.files_after,
        total.bytes_before,
        total.bytes_after,
        total.rows
    )
}

/// Adds the columns that tables of an older version of this program lack, and says so.
pub(super) async fn bring_up_to_date(
    lake: &Lake,
    holder: &str,
    wait: Duration,
) -> Result<(), CliError> {
    let added = lake.migrate(holder, now_ms(), wait).await?;
    if !added.is_empty() {
        say(&format!(
            "lake: an older version made it; these columns were added, and are empty in its rows: {}",
            added.join(", ")
        ));
    }
    Ok(())
}

async fn compact(args: &CompactArgs) -> Result<Exit, CliError> {
    let (config, lake) = open(&args.config).await?;
    lake.prove_writable().await?;
    let keeper = keeper(&lake, args.lease_wait);
    bring_up_to_date(&lake, &keeper.holder, keeper.wait).await?;
    let retained = keeper.retain(&retention(&config)).await?;
    let before_ms = args.before.unwrap_or_else(|| closed_before_ms(now_ms()));
    let report = keeper.compact(before_ms).await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}\nlake: retention took out {} raw files and {} derived partitions",
        compact_line(&report),
        retained.raw_files,
        retained.derived_partitions
    )
    .map_err(CliError::Stdout)?;
    Ok(if report.held.is_empty() {
        Exit::Done
    } else {
        Exit::LeaseHeld
    })
}

async fn vacuum(args: &VacuumArgs) -> Result<Exit, CliError> {
    let (config, lake) = open(&args.config).await?;
    if !args.dry_run {
        lake.prove_writable().await?;
    }
    let section = &config.file.lake;
    let now_ms = now_ms();
    let before = |days: Option<u32>| days.map(|days| now_ms - i64::from(days) * DAY_MS);
    let options = VacuumOptions {
        older_than_ms: i64::from(args.older_than) * DAY_MS,
        dry_run: args.dry_run,
        publications_before_ms: before(section.publication_days),
        evidence_before_ms: before(section.evidence_days),
    };
    let report = keeper(&lake, args.lease_wait).vacuum(&options).await?;
    let mut out = std::io::stdout().lock();
    let verb = if args.dry_run {
        "would delete"
    } else {
        "deleted"
    };
    writeln!(
        out,
        "lake: {verb} {} data files of {} bytes, {} log files of {} bytes, {} evidence objects of {} bytes, {} publications",
        report.data_files,
        report.data_bytes,
        report.log_files,
        report.log_bytes,
        report.evidence_files,
        report.evidence_bytes,
        report.publications.len()
    )
    .map_err(CliError::Stdout)?;
    for folder in &report.unknown {
        say(&format!(
            "warning: no known source explains `{folder}`: it was left as it is"
        ));
    }
    for name in &report.held {
        say(&format!(
            "another writer held the lease {name}: its files were left for the next vacuum"
        ));
    }
    Ok(if report.held.is_empty() {
        Exit::Done
    } else {
        Exit::LeaseHeld
    })
}

async fn info(args: &InfoArgs) -> Result<Exit, CliError> {
    let (_, lake) = open(&args.config).await?;
    let info = lake.info().await?;
    let mut out = std::io::stdout().lock();
    if args.output == OutputFormat::Json {
        let text = serde_json::to_string_pretty(&document(&info))
            .map_err(|e| CliError::Format(e.to_string()))?;
        writeln!(out, "{text}").map_err(CliError::Stdout)?;
        return Ok(Exit::Done);
    }
    let rows = rows(&info).map_err(|e| CliError::Format(e.to_string()))?;
    if args.output == OutputFormat::Table {
        let publications = match (info.publications.first(), info.publications.last()) {
            (Some(first), Some(last)) => {
                format!("{}, {first} to {last}", info.publications.len())
            }
            _ => "none yet".to_owned(),
        };
        writeln!(out, "lake: {}\npublications: {publications}", info.url)
            .map_err(CliError::Stdout)?;
        print_rows(&mut out, &[rows], args.output)?;
        let per_sample = info
            .bytes_per_sample()
            .map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes:.2}"));
        writeln!(
            out,
            "telemetry: {} samples, {per_sample} bytes a sample\nevidence: {} objects, {} bytes",
            info.samples, info.evidence_objects, info.evidence_bytes
        )
        .map_err(CliError::Stdout)?;
        for lease in &info.leases {
            writeln!(out, "lease {}: {}", lease.name, state(lease)).map_err(CliError::Stdout)?;
        }
        return Ok(Exit::Done);
    }
    print_rows(&mut out, &[rows], args.output)?;
    Ok(Exit::Done)
}

fn state(lease: &LeaseInfo) -> String {
    if lease.released {
        format!("free, number {}", lease.number)
    } else if lease.expires_ms <= now_ms() {
        format!(
            "free, number {}: {} let it run out at {}",
            lease.number,
            lease.holder,
            format_ms(lease.expires_ms)
        )
    } else {
        format!(
            "held by {} since {}, number {}",
            lease.holder,
            format_ms(lease.acquired_ms),
            lease.number
        )
    }
}

fn kind(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Raw => "raw",
        TableKind::Derived => "derived",
        TableKind::Run => "run",
    }
}

fn rows(info: &LakeInfo) -> Result<RecordBatch, ArrowError> {
    let tables = &info.tables;
    let per_row = tables.iter().map(|table| {
        (table.rows > 0)
            .then(|| (table.size_bytes as f64 / table.rows as f64 * 100.0).round() / 100.0)
    });
    let day = |which: fn(&(String, String)) -> &String| -> ArrayRef {
        let days = tables.iter().map(|t| t.days.as_ref().map(which));
        Arc::new(days.collect::<StringArray>())
    };
    let count = |of: fn(&crate::lake::TableInfo) -> u64| -> ArrayRef {
        Arc::new(tables.iter().map(|t| Some(of(t))).collect::<UInt64Array>())
    };
    RecordBatch::try_from_iter([
        (
            "table",
            Arc::new(StringArray::from_iter_values(
                tables.iter().map(|t| &t.table),
            )) as ArrayRef,
        ),
        (
            "kind",
            Arc::new(StringArray::from_iter_values(
                tables.iter().map(|t| kind(t.kind)),
            )),
        ),
        (
            "version",
            Arc::new(Int64Array::from_iter_values(
                tables.iter().map(|t| t.version),
            )),
        ),
        ("files", count(|t| t.files as u64)),
        ("rows", count(|t| t.rows)),
        ("bytes", count(|t| t.size_bytes)),
        ("bytes_per_row", Arc::new(per_row.collect::<Float64Array>())),
        ("oldest_day", day(|days| &days.0)),
        ("newest_day", day(|days| &days.1)),
    ])
}

fn document(info: &LakeInfo) -> serde_json::Value {
    let tables: Vec<serde_json::Value> = info
        .tables
        .iter()
        .map(|table| {
            json!({
                "table": table.table,
                "kind": kind(table.kind),
                "version": table.version,
                "files": table.files,
                "rows": table.rows,
                "bytes": table.size_bytes,
                "oldest_day": table.days.as_ref().map(|days| &days.0),
                "newest_day": table.days.as_ref().map(|days| &days.1),
            })
        })
        .collect();
    let leases: Vec<serde_json::Value> = info
        .leases
        .iter()
        .map(|lease| {
            json!({
                "name": lease.name,
                "number": lease.number,
                "holder": lease.holder,
                "acquired": format_ms(lease.acquired_ms),
                "expires": format_ms(lease.expires_ms),
                "released": lease.released,
            })
        })
        .collect();
    json!({
        "url": info.url,
        "publications": info.publications,
        "tables": tables,
        "leases": leases,
        "samples": info.samples,
        "bytes_per_sample": info.bytes_per_sample(),
        "evidence_objects": info.evidence_objects,
        "evidence_bytes": info.evidence_bytes,
    })
}

async fn verify(args: &VerifyLakeArgs) -> Result<Exit, CliError> {
    let (_, lake) = open(&args.config).await?;
    let report = lake.check().await?;
    let mut out = std::io::stdout().lock();
    if args.output == OutputFormat::Table {
        for note in &report.notes {
            say(&format!("note: {}: {}", note.path, note.reason));
        }
        for fault in &report.faults {
            writeln!(out, "{}: {}", fault.path, fault.reason).map_err(CliError::Stdout)?;
        }
        writeln!(
            out,
            "{} tables, {} files, {} rows, {} bytes, {} windows, {} evidence objects, {} faults",
            report.tables,
            report.files,
            report.rows,
            report.size_bytes,
            report.windows,
            report.evidence_objects,
            report.faults.len()
        )
        .map_err(CliError::Stdout)?;
    } else {
        let found =
            findings(&report.faults, &report.notes).map_err(|e| CliError::Format(e.to_string()))?;
        print_rows(&mut out, &[found], args.output)?;
    }
    Ok(if report.faults.is_empty() {
        Exit::Done
    } else {
        Exit::Verification
    })
}

fn findings(faults: &[Fault], notes: &[Fault]) -> Result<RecordBatch, ArrowError> {
    let grades = faults
        .iter()
        .map(|_| "fault")
        .chain(notes.iter().map(|_| "note"));
    let all = || faults.iter().chain(notes);
    RecordBatch::try_from_iter([
        (
            "grade",
            Arc::new(StringArray::from_iter_values(grades)) as ArrayRef,
        ),
        (
            "path",
            Arc::new(StringArray::from_iter_values(all().map(|f| &f.path))),
        ),
        (
            "reason",
            Arc::new(StringArray::from_iter_values(all().map(|f| &f.reason))),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_closed_a_day_after_its_end() {
        assert_eq!(closed_before_ms(10 * DAY_MS), 9 * DAY_MS);
        assert_eq!(closed_before_ms(10 * DAY_MS - 1), 8 * DAY_MS);
    }
}
