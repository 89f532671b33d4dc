//! Owns `report`: a publication rendered again, whole and unsigned, for a week, a template or a
//! program. What a run published is not touched.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{Datelike as _, NaiveDate, Weekday};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::ConfigArg;
use super::error::CliError;
use super::evidence::replace;
use super::{data, publish, report_data};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{Lake, LakeView, Publication};
use crate::model::canonical::sha256_hex;
use crate::model::time::{DAY_MS, HOUR_MS, date_of};
use crate::report::{Comparison, Renderer, ReportData, ReportView};

/// Publications that are looked at for a week, newest first: a year of nightly ones.
const SOUGHT_MAX: u64 = 400;

/// One rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Html,
    Markdown,
    /// The numbers of both, as text that is ready to be shown.
    Json,
    /// A few lines for chat.
    Digest,
}

enum Shown {
    Report(Box<ReportView>),
    Both(Box<Comparison>),
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
    /// What changed since another week or publication; without a value, since the week before
    #[arg(long, value_name = "WEEK|NUMBER", num_args = 0..=1, default_missing_value = "before", value_parser = parse_other)]
    pub compare: Option<Other>,
    /// A folder for report.html, report.md and report.json
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// One form, to stdout
    #[arg(short, long, value_enum, conflicts_with = "out")]
    pub output: Option<Form>,
}

/// What is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    WeekBefore,
    Week(i64, i64),
    Publication(u64),
}

fn parse_other(text: &str) -> Result<Other, String> {
    if text == "before" {
        return Ok(Other::WeekBefore);
    }
    if let Ok(number) = text.parse() {
        return Ok(Other::Publication(number));
    }
    let (start, end) = parse_week(text)
        .map_err(|_| "give an ISO week, as in `2026-W47`, or a publication's number".to_owned())?;
    Ok(Other::Week(start, end))
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
    let (data, sibling) = data_of(&lake, &publication).await?;
    let earlier = match args.compare {
        None => None,
        Some(other) => {
            let earlier = other_of(&lake, &publication, other).await?;
            Some(data_of(&lake, &earlier).await?.0)
        }
    };
    let templates = config.file.report.templates.as_ref();
    let renderer = Renderer::new(templates.map(|t| config.resolve(t)).as_deref())?;
    let shown = match &earlier {
        None => {
            let mut view = ReportView::new(&data);
            view.siblings.insert("findings.json".to_owned(), sibling);
            Shown::Report(Box::new(view))
        }
        Some(earlier) => Shown::Both(Box::new(Comparison::new(earlier, &data))),
    };
    let bytes = |form: Form| -> Result<Vec<u8>, CliError> {
        Ok(match (&shown, form) {
            (Shown::Report(view), Form::Html) => renderer.html(view)?.into_bytes(),
            (Shown::Report(view), Form::Markdown) => renderer.markdown(view)?.into_bytes(),
            (Shown::Report(view), Form::Digest) => renderer.digest_markdown(view)?.into_bytes(),
            (Shown::Report(view), Form::Json) => publish::json_of(view.as_ref())?,
            (Shown::Both(both), Form::Html) => renderer.compare_html(both)?.into_bytes(),
            (Shown::Both(both), Form::Markdown) => renderer.compare_markdown(both)?.into_bytes(),
            (Shown::Both(both), Form::Json) => publish::json_of(both.as_ref())?,
            (Shown::Both(_), Form::Digest) => {
                return Err(CliError::Usage(
                    "a comparison has no digest: use `-o markdown`".to_owned(),
                ));
            }
        })
    };
    let stem = if earlier.is_some() {
        "compare"
    } else {
        "report"
    };
    let mut stdout = std::io::stdout();
    if let Some(form) = args.output {
        stdout.write_all(&bytes(form)?).map_err(CliError::Stdout)?;
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::file("make the folder", folder, error))?;
        for (ending, form) in [
            ("html", Form::Html),
            ("md", Form::Markdown),
            ("json", Form::Json),
        ] {
            let path = folder.join(format!("{stem}.{ending}"));
            replace(&path, &bytes(form)?)?;
            writeln!(stdout, "{}", path.display()).map_err(CliError::Stdout)?;
        }
    }
    Ok(Exit::Done)
}

/// All that a publication's report shows, and the digest of the file of its findings.
async fn data_of(lake: &Lake, publication: &Publication) -> Result<(ReportData, String), CliError> {
    let window = publication.window();
    let digest = publication.digests.get("findings").ok_or_else(|| {
        CliError::Usage(format!(
            "publication {} keeps no findings: it was made by an older program",
            publication.number
        ))
    })?;
    let bytes = lake.get_evidence(digest).await?;
    let text = String::from_utf8_lossy(&bytes);
    let findings = text
        .lines()
        .map(report_data::kept)
        .collect::<Result<Vec<_>, _>>()?;
    let status = |finding: &Value| finding["status"].as_str().unwrap_or_default().to_owned();
    let statuses: Vec<String> = findings.iter().map(status).collect();
    let lines: Vec<(&str, String)> = statuses
        .iter()
        .zip(text.lines())
        .map(|(status, line)| (status.as_str(), line.to_owned()))
        .collect();
    let sibling = sha256_hex(publish::findings_file(&lines).as_bytes());
    let session = data::session(lake, &LakeView::published(publication)).await?;
    // The day after the window is shown, unclosed, where the run derived it.
    let shown_end_ms = window.end_ms + DAY_MS;
    let data = report_data::read(&session, publication, &findings, window, shown_end_ms).await?;
    Ok((data, sibling))
}

/// The publication that another is compared with.
async fn other_of(
    lake: &Lake,
    publication: &Publication,
    other: Other,
) -> Result<Publication, CliError> {
    let week = match other {
        Other::Publication(number) => {
            return lake.publication(Some(number)).await?.ok_or_else(|| {
                CliError::Usage(format!("there is no publication {number} in the lake"))
            });
        }
        Other::Week(start_ms, end_ms) => (start_ms, end_ms),
        Other::WeekBefore => {
            let last_ms = publication.window().end_ms - HOUR_MS;
            // The epoch was a Thursday: its week began three days earlier.
            let monday_ms = (last_ms + 3 * DAY_MS).div_euclid(7 * DAY_MS) * 7 * DAY_MS - 3 * DAY_MS;
            (monday_ms - 7 * DAY_MS, monday_ms)
        }
    };
    of_week(lake, publication.clone(), week).await
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
    fn a_comparison_is_with_a_week_a_publication_or_the_week_before() {
        assert_eq!(parse_other("before"), Ok(Other::WeekBefore));
        assert_eq!(parse_other("12"), Ok(Other::Publication(12)));
        let (start, end) = parse_week("2026-W46").unwrap();
        assert_eq!(parse_other("2026-W46"), Ok(Other::Week(start, end)));
        assert!(parse_other("last").is_err());
    }

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
