//! Owns `gate`: what a change of manifests would do to what serves, judged against the lake.
//!
//! Both sides are read as text, folded by the inventory as the cluster would have them, placed by the
//! estimator and replayed over the window's demand; `crate::gate` pairs, adds up and tells. Nothing is
//! applied, and nothing is asked of a cluster.

mod effects;
mod facts;
mod fleet;
mod judge;
mod money;
mod source;
mod stand;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::ConfigArg;
use super::conclude::Settings;
use super::error::CliError;
use super::output::{plain, table_text};
use super::stages::evidence;
use super::{CODE_VERSION, data, detectors, say};
use crate::config::{ClusterSection, Config};
use crate::exit::Exit;
use crate::gate::diff::sections;
use crate::gate::document::ObjectKey;
use crate::gate::outcome::{FailOn, Totals};
use crate::gate::{Change, Document, Refusal, Report, changes, markdown, sarif, table};
use crate::ingest::kubernetes::is_read;
use crate::lake::LakeView;
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, date_of};
use fleet::Fleet;
use judge::judge;
use source::{Both, Git};
use stand::Asked;
use world::{Declared, Id, World};

/// More workloads than one change moves.
const ROWS_MAX: usize = 500;

/// What a change of manifests would cost, serve, close and open.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).args(["after", "git", "diff"])))]
pub(super) struct GateArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Manifests before the change: a folder, or a file
    #[arg(long, value_name = "PATH", requires = "after")]
    pub before: Option<PathBuf>,
    /// Manifests after it
    #[arg(long, value_name = "PATH", requires = "before")]
    pub after: Option<PathBuf>,
    /// Two revisions of a git repository, `main..HEAD`; with `...` from where they parted
    #[arg(long, value_name = "REV..REV")]
    pub git: Option<String>,
    /// The repository of --git
    #[arg(long, value_name = "DIR", default_value = ".", requires = "git")]
    pub repository: PathBuf,
    /// Only this folder or file of the repository
    #[arg(long, value_name = "PATH", requires = "git")]
    pub path: Option<String>,
    /// What `kubectl diff` printed; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub diff: Option<String>,
    /// The cluster that the manifests are for; needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// End with 3: `findings`, `findings=USD` (those that the change adds, a month) or `infeasible`
    #[arg(long, value_name = "WHAT", value_parser = parse_fail_on)]
    pub fail_on: Vec<FailOn>,
    /// How the answer is printed
    #[arg(
        short,
        long,
        visible_alias = "format",
        value_enum,
        default_value = "table"
    )]
    pub output: GateOutput,
    /// The publication to judge by; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GateOutput {
    /// For a terminal; the sentences behind it go to stderr
    Table,
    /// For a comment under a pull request
    Markdown,
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}

fn parse_fail_on(text: &str) -> Result<FailOn, String> {
    match text.split_once('=') {
        None if text == "findings" => Ok(FailOn::Findings { usd: 0 }),
        None if text == "infeasible" => Ok(FailOn::Infeasible),
        Some(("findings", usd)) => usd
            .parse()
            .ok()
            .filter(|usd| *usd >= 0)
            .map(|usd| FailOn::Findings { usd })
            .ok_or_else(|| format!("`{usd}` is not a whole number of dollars")),
        _ => Err("give `findings`, `findings=USD` or `infeasible`".to_owned()),
    }
}

fn refused(refusal: &Refusal) -> CliError {
    CliError::Usage(plain(&refusal.to_string()))
}

pub(super) async fn gate(args: &GateArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let cluster = cluster(&config, args.cluster.as_deref())?;
    // What is asked is read before the lake: a typing error costs no time.
    let (mut both, diff) = match &args.diff {
        Some(from) => (
            Both::default(),
            Some(sections(&source::diff(from)?).map_err(|e| refused(&e))?),
        ),
        None => (files(args)?, None),
    };
    let queries = detectors::query_set(&config)?;
    let settings = Settings::new(&config, &queries)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let window = publication.window();
    let day = TimeWindow::new(window.end_ms - DAY_MS, window.end_ms);
    let world = World::new(evidence(&config, cluster, &session, day).await?);
    for section in diff.iter().flatten() {
        let known = world.body(&section.key);
        let sides = section.sides(known.as_ref()).map_err(|e| refused(&e))?;
        both.before.extend(sides.before);
        both.after.extend(sides.after);
    }
    let unchanged: Vec<Document> = both.after.clone();
    let changes = changes(both.before, both.after).map_err(|e| refused(&e))?;
    let changed: BTreeSet<&ObjectKey> = changes.iter().map(|one| &one.key).collect();
    let unchanged: Vec<&Document> = unchanged
        .iter()
        .filter(|document| !changed.contains(&document.key) && !world.holds(&document.key))
        .collect();
    let mut rows = Vec::new();
    let (mut others, mut unread) = (Vec::new(), Vec::new());
    if !changes.is_empty() {
        let before = world.side(&changes, &unchanged, |one| one.before.as_ref());
        let after = world.side(&changes, &unchanged, |one| one.after.as_ref());
        let (asked, rest) = affected(&changes, (&before, &after));
        (unread, others) = rest;
        if asked.len() > ROWS_MAX {
            return Err(CliError::Usage(format!(
                "the change is about {} workloads, more than {ROWS_MAX}: judge it in parts with --path",
                asked.len()
            )));
        }
        if !asked.is_empty() {
            let fleet =
                Fleet::new(&lake, &publication, &session, &queries, &settings, cluster).await?;
            for one in &asked {
                rows.push(judge(&fleet, &world, (&before, &after), one).await?);
            }
        }
    }
    let mut notes = both.notes;
    if !unread.is_empty() {
        notes.push(format!(
            "not judged, as no snapshot reads such a kind: {}",
            unread.join(", ")
        ));
    }
    let report = Report {
        cluster: cluster.name.clone(),
        publication: publication.number,
        from: date_of(window.start_ms),
        to: date_of(window.end_ms),
        totals: Totals::of(&rows),
        rows,
        others,
        unread,
        notes,
    };
    print(args.output, &report)?;
    let fails = args.fail_on.iter().any(|on| report.totals.fails(*on));
    Ok(if fails { Exit::Findings } else { Exit::Done })
}

fn cluster<'c>(config: &'c Config, asked: Option<&str>) -> Result<&'c ClusterSection, CliError> {
    let all = &config.file.clusters;
    let names = || {
        all.iter()
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (asked, all.as_slice()) {
        (Some(name), _) => all.iter().find(|one| one.name == name).ok_or_else(|| {
            CliError::Usage(format!(
                "there is no cluster `{name}` in `{}`: it has {}",
                config.path.display(),
                names()
            ))
        }),
        (None, [only]) => Ok(only),
        (None, _) => Err(CliError::Usage(format!(
            "say with --cluster which cluster the manifests are for: {}",
            names()
        ))),
    }
}

/// Both sides from folders or from git, with paths as the caller knows them.
fn files(args: &GateArgs) -> Result<Both, CliError> {
    if let Some(range) = &args.git {
        let git = Git {
            repository: &args.repository,
            under: args.path.as_deref(),
        };
        let (before, after) = git.sides(range)?;
        return source::both(&before, &after, &args.namespace).map_err(|e| refused(&e));
    }
    let (Some(before), Some(after)) = (&args.before, &args.after) else {
        return Err(CliError::Usage("give --before and --after".to_owned()));
    };
    let (mut one, other) = (source::folder(before)?, source::folder(after)?);
    // Two files are two editions of one, whatever they are called.
    if before.is_file()
        && after.is_file()
        && let (Some((_, text)), Some((name, _))) = (one.pop_first(), other.first_key_value())
    {
        one.insert(name.clone(), text);
    }
    let mut both = source::both(&one, &other, &args.namespace).map_err(|e| refused(&e))?;
    if both.before.is_empty() && both.after.is_empty() {
        return Err(CliError::Usage(format!(
            "neither `{}` nor `{}` holds a Kubernetes object in a .yaml, .yml or .json file",
            before.display(),
            after.display()
        )));
    }
    // Code hosts know files by their path from the repository on.
    for (root, side) in [(before, &mut both.before), (after, &mut both.after)] {
        for document in side {
            let path = if root.is_dir() {
                root.join(&document.file)
            } else {
                root.clone()
            };
            if root.is_relative() {
                document.file = path.to_string_lossy().into_owned();
            }
        }
    }
    Ok(both)
}

/// Changed objects that are part of no workload, in words: of kinds that nobody reads, and the others.
type Rest = (Vec<String>, Vec<String>);

/// Whether an object is a custom resource of which the inventory knows nothing.
fn is_unread(key: &ObjectKey) -> bool {
    let custom = key
        .kind
        .split_once('.')
        .is_some_and(|(_, group)| group.contains('.') && !group.ends_with(".k8s.io"));
    custom && !is_read(&key.kind)
}

/// The workloads that a change is about, and the rest of it.
fn affected(changes: &[Change], (before, after): (&Declared, &Declared)) -> (Vec<Asked>, Rest) {
    let mut by_id: BTreeMap<Id, Vec<&Change>> = BTreeMap::new();
    let holds = |id: &Id| before.workloads.contains_key(id) || after.workloads.contains_key(id);
    let mut placed: BTreeSet<&ObjectKey> = BTreeSet::new();
    for change in changes {
        let key = &change.key;
        let own = (key.namespace.clone(), key.kind.clone(), key.name.clone());
        let scaled = [before, after].into_iter().flat_map(|side| {
            side.scalers
                .iter()
                .filter(|(id, all)| {
                    id.0 == key.namespace
                        && all
                            .iter()
                            .any(|row| row.scaler_kind == key.kind && row.scaler_name == key.name)
                })
                .map(|(id, _)| id.clone())
        });
        let ids: BTreeSet<Id> = scaled.chain([own]).filter(holds).collect();
        for id in ids {
            placed.insert(key);
            by_id.entry(id).or_default().push(change);
        }
    }
    // What a runtime, a pool or a claim changes of workloads that name it.
    let all: BTreeSet<&Id> = before
        .workloads
        .keys()
        .chain(after.workloads.keys())
        .collect();
    for id in all {
        if before.workloads.get(id) != after.workloads.get(id) {
            by_id.entry(id.clone()).or_default();
        }
    }
    let unplaced: Vec<&Change> = changes
        .iter()
        .filter(|one| !placed.contains(&one.key))
        .collect();
    let asked = by_id
        .into_iter()
        .filter(|(id, _)| {
            let gpus = |side: &Declared| {
                side.workloads
                    .get(id)
                    .is_some_and(|row| row.gpu_milli_per_replica > 0)
            };
            gpus(before) || gpus(after)
        })
        .map(|(id, mut own)| {
            if own.is_empty() {
                own.clone_from(&unplaced);
            }
            let top = own
                .iter()
                .find(|one| one.key.kind == id.1 && one.key.name == id.2);
            let shown = top.or(own.first()).and_then(|one| one.document());
            let word = match (
                before.workloads.contains_key(&id),
                after.workloads.contains_key(&id),
                top,
            ) {
                (false, true, Some(top)) if top.before.is_none() => "added",
                (true, false, Some(top)) if top.after.is_none() => "removed",
                _ => "changed",
            };
            Asked {
                change: word,
                objects: own
                    .iter()
                    .map(|one| format!("{} {}", one.word(), one.key.path()))
                    .collect(),
                file: shown.map(|one| one.file.clone()).unwrap_or_default(),
                line: shown.map_or(1, |one| one.line),
                body: top
                    .and_then(|one| one.after.as_ref())
                    .map(|one| one.body.clone()),
                id,
            }
        })
        .collect::<Vec<_>>();
    let judged: BTreeSet<&String> = asked.iter().flat_map(|one| &one.objects).collect();
    let mut rest = Rest::default();
    for one in changes {
        let told = format!("{} {}", one.word(), one.key.path());
        if judged.contains(&told) {
            continue;
        }
        if is_unread(&one.key) {
            rest.0.push(told);
        } else {
            rest.1.push(told);
        }
    }
    (asked, rest)
}

fn print(output: GateOutput, report: &Report) -> Result<(), CliError> {
    let mut out = std::io::stdout();
    match output {
        GateOutput::Table => {
            if !report.rows.is_empty() {
                let (head, rows) = table(report);
                let right: Vec<bool> = head.iter().map(|name| *name == "usd_month").collect();
                out.write_all(table_text(&head, &rows, &right).as_bytes())
                    .map_err(CliError::Stdout)?;
            }
            for row in &report.rows {
                for line in crate::gate::sentences(row) {
                    say(&plain(&format!("{}: {line}", row.title())));
                }
            }
            for note in &report.notes {
                say(&plain(note));
            }
            writeln!(out, "{}", plain(&report.summary())).map_err(CliError::Stdout)
        }
        GateOutput::Markdown => out
            .write_all(markdown(report).as_bytes())
            .map_err(CliError::Stdout),
        GateOutput::Json => json(&mut out, &serde_json::json!(report)),
        GateOutput::Sarif => json(&mut out, &sarif(report, CODE_VERSION)),
    }
}

fn json(out: &mut dyn std::io::Write, value: &serde_json::Value) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(out))
        .map_err(CliError::Stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        assert_eq!(parse_fail_on("findings"), Ok(FailOn::Findings { usd: 0 }));
        assert_eq!(
            parse_fail_on("findings=1000"),
            Ok(FailOn::Findings { usd: 1000 })
        );
        assert_eq!(parse_fail_on("infeasible"), Ok(FailOn::Infeasible));
        for wrong in [
            "findings=-1",
            "findings=x",
            "coverage=9",
            "infeasible=1",
            "",
        ] {
            assert!(parse_fail_on(wrong).is_err(), "{wrong}");
        }
    }
}
