//! Owns `report`: a publication rendered again, whole and unsigned, for a week, a template or a
//! program. What a run published is not touched.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use chrono::{Datelike as _, NaiveDate, Weekday};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::{ConfigArg, parse_days};
use super::error::CliError;
use super::evidence::replace;
use super::shelf::{self, Shelf};
use super::windowed::WEEK_MS;
use super::{books, data, given, governance, now_ms, outcomes, publish, report_data};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{Lake, LakeView, Publication};
use crate::model::canonical::sha256_hex;
use crate::model::time::{DAY_MS, HOUR_MS, date_of};
use crate::report::{Comparison, DecidedData, Renderer, ReportData, ReportView};

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
    /// The newest publication whose window ends in this ISO week, as in `2026-W47`, or in the `last` one
    #[arg(long, value_name = "WEEK", value_parser = parse_asked_week, conflicts_with = "as_of")]
    pub week: Option<Week>,
    /// The newest publication whose window has so many days, as in `7d`
    #[arg(long, value_name = "DAYS", value_parser = parse_days, conflicts_with = "as_of")]
    pub last: Option<u32>,
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
    /// Beside the runs' own files in [report] output, with what changed since the week before; once
    #[arg(long, conflicts_with_all = ["out", "output", "compare"])]
    pub to_output: bool,
}

/// A week that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Week {
    /// The last whole one by the clock.
    Last,
    Of(i64, i64),
}

impl Week {
    fn span(self) -> (i64, i64) {
        match self {
            Self::Of(start_ms, end_ms) => (start_ms, end_ms),
            Self::Last => {
                let monday_ms = monday_of(now_ms());
                (monday_ms - WEEK_MS, monday_ms)
            }
        }
    }
}

fn parse_asked_week(text: &str) -> Result<Week, String> {
    if text == "last" {
        return Ok(Week::Last);
    }
    parse_week(text)
        .map(|(start, end)| Week::Of(start, end))
        .map_err(|_| "give an ISO week, as in `2026-W47`, or `last`".to_owned())
}

/// The Monday's midnight at or before an instant. The epoch was a Thursday: its week began three days
/// earlier.
fn monday_of(ms: i64) -> i64 {
    (ms + 3 * DAY_MS).div_euclid(WEEK_MS) * WEEK_MS - 3 * DAY_MS
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
    if args.out.is_none() && args.output.is_none() && !args.to_output {
        return Err(CliError::Usage(
            "say where the report goes: `--out FOLDER` for its files, `-o html|markdown|json` for one form on stdout, or `--to-output` for [report] output".to_owned(),
        ));
    }
    let config = Config::load(&args.config.config)?;
    let (lake, newest) = data::published(&config, args.as_of).await?;
    let publication = asked_for(&lake, newest, args).await?;
    if args.to_output {
        return to_output(&config, &lake, &publication).await;
    }
    let (data, sibling) = data_of(&config, &lake, &publication).await?;
    let earlier = match args.compare {
        None => None,
        Some(other) => {
            let earlier = other_of(&lake, &publication, other).await?;
            Some(data_of(&config, &lake, &earlier).await?.0)
        }
    };
    let renderer = renderer(&config)?;
    let shown = match &earlier {
        None => {
            let decided = decided(&config, &lake, &publication).await?;
            let mut view = ReportView::new(&data, decided.as_deref());
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
async fn data_of(
    config: &Config,
    lake: &Lake,
    publication: &Publication,
) -> Result<(ReportData, String), CliError> {
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
    let zone = report_data::zone(config);
    let data =
        report_data::read(&session, publication, &findings, window, shown_end_ms, zone).await?;
    Ok((data, sibling))
}

fn renderer(config: &Config) -> Result<Renderer, CliError> {
    let templates = config.file.report.templates.as_ref();
    let templates = templates.map(|folder| config.resolve(folder));
    Ok(Renderer::new(templates.as_deref())?)
}

/// The weekly report: put beside the runs' files, once a publication. It is no publication, and nobody
/// is told of it: `[[notify]]` tells of runs.
async fn to_output(
    config: &Config,
    lake: &Lake,
    publication: &Publication,
) -> Result<Exit, CliError> {
    let shelf = Shelf::open(config, &shelf::output_place(config)?).await?;
    let week = shelf::week_of(publication.window());
    let place = format!("{week}/weekly-{}", publication.number);
    let (data, sibling) = data_of(config, lake, publication).await?;
    let renderer = renderer(config)?;
    let mut files = Vec::new();
    if let Some(earlier) = find(lake, publication.clone(), in_week(before(publication))).await? {
        let earlier = data_of(config, lake, &earlier).await?.0;
        let both = Comparison::new(&earlier, &data);
        files.push(("compare.json", publish::json_of(&both)?));
        let markdown = renderer.compare_markdown(&both)?;
        files.push(("compare.md", markdown.into_bytes()));
        files.push(("compare.html", renderer.compare_html(&both)?.into_bytes()));
    }
    let decided = decided(config, lake, publication).await?;
    let mut view = ReportView::new(&data, decided.as_deref());
    view.siblings.insert("findings.json".to_owned(), sibling);
    files.push(("report.json", publish::json_of(&view)?));
    files.push(("report.md", renderer.markdown(&view)?.into_bytes()));
    files.push(("report.html", renderer.html(&view)?.into_bytes()));
    let shown = shelf.shown(&format!("{place}/report.html"));
    let said = if shelf.put_once(&place, &files).await? {
        shown
    } else {
        format!("{shown} is there already and stays as it is")
    };
    writeln!(std::io::stdout(), "{said}").map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

/// The publication that the arguments name.
async fn asked_for(
    lake: &Lake,
    newest: Publication,
    args: &ReportArgs,
) -> Result<Publication, CliError> {
    let week = args.week.map(Week::span);
    let days = args.last.map(i64::from);
    if week.is_none() && days.is_none() {
        return Ok(newest);
    }
    let fits = |publication: &Publication| {
        let window = publication.window();
        week.is_none_or(|week| in_week(week)(publication))
            && days.is_none_or(|days| window.end_ms - window.start_ms == days * DAY_MS)
    };
    if let Some(found) = find(lake, newest, fits).await? {
        return Ok(found);
    }
    Err(match (week, days) {
        (Some(week), None) => no_such_week(week),
        (week, days) => {
            let days = days.map_or_else(String::new, |days| format!(" --last {days}d"));
            let to = week.map_or_else(String::new, |(_, end_ms)| {
                format!(" --to {}", date_of(end_ms))
            });
            CliError::Usage(format!(
                "no publication has such a window; `idleproof run --no-ingest{days}{to}` makes one of what the lake holds"
            ))
        }
    })
}

/// What the log says by now of what was decided on; `None` before there is a key, and so a log.
async fn decided(
    config: &Config,
    lake: &Lake,
    publication: &Publication,
) -> Result<Option<Vec<DecidedData>>, CliError> {
    let output = PathBuf::from(config.place(&config.file.report.output));
    let Some(records) = books::read_records(config, lake, &output).await? else {
        return Ok(None);
    };
    let bills = given::bills(config, &mut BTreeMap::new())?;
    let outcomes = outcomes::before_run(config, lake, Some(publication), &bills, &output).await?;
    Ok(Some(governance::decided(&records, &outcomes, now_ms())))
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
        Other::WeekBefore => before(publication),
    };
    find(lake, publication.clone(), in_week(week))
        .await?
        .ok_or_else(|| no_such_week(week))
}

/// The ISO week before that in which a publication's window ends.
fn before(publication: &Publication) -> (i64, i64) {
    let monday_ms = monday_of(publication.window().end_ms - HOUR_MS);
    (monday_ms - WEEK_MS, monday_ms)
}

/// A window that ends at Monday's midnight ends in the week before: its last hour does.
fn in_week((start_ms, end_ms): (i64, i64)) -> impl Fn(&Publication) -> bool {
    move |publication| (start_ms..end_ms).contains(&(publication.window().end_ms - HOUR_MS))
}

/// The newest publication that fits, not newer than the one given.
async fn find(
    lake: &Lake,
    newest: Publication,
    fits: impl Fn(&Publication) -> bool,
) -> Result<Option<Publication>, CliError> {
    let mut publication = newest;
    for _ in 0..SOUGHT_MAX {
        if fits(&publication) {
            return Ok(Some(publication));
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
    Ok(None)
}

fn no_such_week((start_ms, end_ms): (i64, i64)) -> CliError {
    CliError::Usage(format!(
        "no publication has a window that ends in the week from {}; `idleproof run --to {}` makes one",
        date_of(start_ms),
        date_of(end_ms)
    ))
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
    fn the_last_week_is_the_last_whole_one() {
        assert_eq!(parse_asked_week("last"), Ok(Week::Last));
        let (start, end) = parse_week("2026-W47").unwrap();
        assert_eq!(parse_asked_week("2026-W47"), Ok(Week::Of(start, end)));
        assert!(parse_asked_week("first").unwrap_err().contains("`last`"));
        assert_eq!(monday_of(start), start);
        assert_eq!(monday_of(end - 1), start);
        let (start, end) = Week::Last.span();
        assert!(end <= now_ms() && now_ms() < end + WEEK_MS && end - start == WEEK_MS);
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
