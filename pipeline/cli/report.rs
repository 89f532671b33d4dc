//! Owns `report`: a publication rendered again, whole and unsigned, for a week, a template or a
//! program. What a run published is not touched.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{Datelike as _, NaiveDate, Weekday};
use clap::{Args, ValueEnum};

use super::args::ConfigArg;
use super::error::CliError;
use super::evidence::replace;
use super::{data, publish, report_data};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{Lake, LakeView, Publication};
use crate::model::time::{DAY_MS, HOUR_MS, date_of};
use crate::report::{Renderer, ReportView};

/// Publications that are looked at for a week, newest first: a year of nightly ones.
const SOUGHT_MAX: u64 = 400;

/// One rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Html,
    Markdown,
    /// The numbers of both, as text that is ready to be shown.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// The newest publication whose window ends in this ISO week, as in `2026-W47`
    #[arg(long, value_name = "WEEK", value_parser = parse_week, conflicts_with = "as_of")]
    pub week: Option<(i64, i64)>,
    /// This publication
    #[arg(long, value_name = "NUMBER")]
    pub as_of: Option<u64>,
    /// A folder for report.html, report.md and report.json
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// One form, to stdout
    #[arg(short, long, value_enum, conflicts_with = "out")]
    pub output: Option<Form>,
}

/// First millisecond of the ISO week and the first after it.
fn parse_week(text: &str) -> Result<(i64, i64), String> {
    let wrong = || "give an ISO week, as in `2026-W47`".to_owned();
    let (year, week) = text.split_once("-W").ok_or_else(wrong)?;
    let year: i32 = year.parse().map_err(|_| wrong())?;
    let week: u32 = week.parse().map_err(|_| wrong())?;
    let monday = NaiveDate::from_isoywd_opt(year, week, Weekday::Mon).ok_or_else(wrong)?;
    let days = i64::from(monday.num_days_from_ce()) - i64::from(epoch_days());
    Ok((days * DAY_MS, (days + 7) * DAY_MS))
}

fn epoch_days() -> i32 {
    NaiveDate::default().num_days_from_ce()
}

pub(super) async fn report(args: &ReportArgs) -> Result<Exit, CliError> {
    if args.out.is_none() && args.output.is_none() {
        return Err(CliError::Usage(
            "say where the report goes: `--out FOLDER` for its files, or `-o html|markdown|json` for one form on stdout".to_owned(),
        ));
    }
    let config = Config::load(&args.config.config)?;
    let (lake, newest) = data::published(&config, args.as_of).await?;
    let publication = match args.week {
        None => newest,
        Some(week) => of_week(&lake, newest, week).await?,
    };
    let window = publication.window();
    let digest = publication.digests.get("findings").ok_or_else(|| {
        CliError::Usage(format!(
            "publication {} keeps no findings: it was made by an older program",
            publication.number
        ))
    })?;
    let bytes = lake.get_evidence(digest).await?;
    let findings = String::from_utf8_lossy(&bytes)
        .lines()
        .map(report_data::kept)
        .collect::<Result<Vec<_>, _>>()?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    // The day after the window is shown, unclosed, where the run derived it.
    let shown_end_ms = window.end_ms + DAY_MS;
    let data = report_data::read(&session, &publication, &findings, window, shown_end_ms).await?;
    let view = ReportView::new(&data);
    let templates = config.file.report.templates.as_ref();
    let renderer = Renderer::new(templates.map(|t| config.resolve(t)).as_deref())?;
    let bytes = |form: Form| -> Result<Vec<u8>, CliError> {
        Ok(match form {
            Form::Html => renderer.html(&view)?.into_bytes(),
            Form::Markdown => renderer.markdown(&view)?.into_bytes(),
            Form::Json => publish::json_of(&view)?,
        })
    };
    let mut stdout = std::io::stdout();
    if let Some(form) = args.output {
        stdout.write_all(&bytes(form)?).map_err(CliError::Stdout)?;
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::file("make the folder", folder, error))?;
        for (name, form) in [
            ("report.html", Form::Html),
            ("report.md", Form::Markdown),
            ("report.json", Form::Json),
        ] {
            let path = folder.join(name);
            replace(&path, &bytes(form)?)?;
            writeln!(stdout, "{}", path.display()).map_err(CliError::Stdout)?;
        }
    }
    Ok(Exit::Done)
}

/// A window that ends at Monday's midnight ends in the week before: its last hour does.
async fn of_week(
    lake: &Lake,
    newest: Publication,
    (start_ms, end_ms): (i64, i64),
) -> Result<Publication, CliError> {
    let mut publication = newest;
    for _ in 0..SOUGHT_MAX {
        let last_ms = publication.window().end_ms - HOUR_MS;
        if (start_ms..end_ms).contains(&last_ms) {
            return Ok(publication);
        }
        let Some(earlier) = publication.number.checked_sub(1).filter(|n| *n > 0) else {
            break;
        };
        match lake.publication(Some(earlier)).await {
            Ok(Some(found)) => publication = found,
            // Older ones were let go.
            Ok(None) | Err(crate::lake::LakeError::NoSuchPublication { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::Usage(format!(
        "no publication has a window that ends in the week from {}; `idleproof run --to {}` makes one",
        date_of(start_ms),
        date_of(end_ms)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_are_iso_weeks() {
        let (start, end) = parse_week("2026-W47").unwrap();
        assert_eq!(
            (date_of(start), date_of(end)),
            ("2026-11-16".into(), "2026-11-23".into())
        );
        // The first week of 2026 began in 2025.
        assert_eq!(date_of(parse_week("2026-W01").unwrap().0), "2025-12-29");
        for wrong in ["2026", "2026-47", "2026-W54", "2026-W00", "x-W01"] {
            assert!(parse_week(wrong).is_err(), "{wrong}");
        }
    }
}
