//! Owns `report`: a publication rendered again, whole and unsigned, for a week, a template or a
//! program. What a run published is not touched.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::{ConfigArg, parse_days};
use super::error::CliError;
use super::evidence::replace;
use super::report_week::{self, Other, Picked, Week, parse_asked_week, parse_other};
use super::shelf::{self, Shelf};
use super::{books, data, given, governance, now_ms, outcomes, publish, report_data, say};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{Lake, LakeView, Publication};
use crate::model::canonical::sha256_hex;
use crate::model::time::DAY_MS;
use crate::report::{Comparison, DecidedData, Renderer, ReportData, ReportView};

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

pub(super) async fn report(args: &ReportArgs) -> Result<Exit, CliError> {
    if args.out.is_none() && args.output.is_none() && !args.to_output {
        return Err(CliError::Usage(
            "say where the report goes: `--out FOLDER` for its files, `-o html|markdown|json` for one form on stdout, or `--to-output` for [report] output".to_owned(),
        ));
    }
    let config = Config::load(&args.config.config)?;
    // A job that comes before its first week has nothing to tell, which is no failure.
    let is_early_job = args.to_output && args.week == Some(Week::Last);
    let (lake, newest) = data::newest(&config, args.as_of).await?;
    let newest = match newest {
        None if is_early_job => {
            say("no report: the lake has no publication yet; the first `idleproof run` makes one");
            return Ok(Exit::Done);
        }
        newest => newest.ok_or_else(|| data::no_publication(&config, &lake))?,
    };
    let (publication, note) = match report_week::pick(&lake, newest, args.week, args.last).await? {
        Picked::Whole(publication) => (publication, None),
        Picked::Partly(publication, why) => {
            say(&format!("warning: {why}"));
            (publication, Some(format!("Not a whole week: {why}.")))
        }
        Picked::None(why) if is_early_job => {
            say(&format!("no report: {why}"));
            return Ok(Exit::Done);
        }
        Picked::None(why) => return Err(CliError::Usage(why)),
    };
    if args.to_output {
        return to_output(&config, &lake, &publication, note).await;
    }
    let (data, sibling) = data_of(&config, &lake, &publication).await?;
    let earlier = match args.compare {
        None => None,
        Some(other) => {
            let earlier = report_week::other(&lake, &publication, other).await?;
            Some(data_of(&config, &lake, &earlier).await?.0)
        }
    };
    let renderer = renderer(&config)?;
    let shown = match &earlier {
        None => {
            let decided = decided(&config, &lake, &publication).await?;
            let mut view = ReportView::new(&data, decided.as_deref());
            view.siblings.insert("findings.json".to_owned(), sibling);
            view.notes.extend(note);
            Shown::Report(Box::new(view))
        }
        Some(earlier) => {
            let mut both = Comparison::new(earlier, &data);
            both.notes.splice(0..0, note);
            Shown::Both(Box::new(both))
        }
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
    note: Option<String>,
) -> Result<Exit, CliError> {
    let shelf = Shelf::open(config, &shelf::output_place(config)?).await?;
    let week = shelf::week_of(publication.window());
    let place = format!("{week}/weekly-{}", publication.number);
    let (data, sibling) = data_of(config, lake, publication).await?;
    let renderer = renderer(config)?;
    let mut files = Vec::new();
    if let Some(earlier) = report_week::week_before(lake, publication).await? {
        let earlier = data_of(config, lake, &earlier).await?.0;
        let mut both = Comparison::new(&earlier, &data);
        both.notes.splice(0..0, note.clone());
        files.push(("compare.json", publish::json_of(&both)?));
        let markdown = renderer.compare_markdown(&both)?;
        files.push(("compare.md", markdown.into_bytes()));
        files.push(("compare.html", renderer.compare_html(&both)?.into_bytes()));
    }
    let decided = decided(config, lake, publication).await?;
    let mut view = ReportView::new(&data, decided.as_deref());
    view.siblings.insert("findings.json".to_owned(), sibling);
    view.notes.extend(note);
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
