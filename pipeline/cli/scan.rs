//! Owns `scan`: the first look at a fleet, without a configuration. A lake in a folder of its own, one
//! run, a table in the terminal and the report beside it; the folder goes unless it is asked for.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::evidence::replace;
use super::first::{self, Access, First, Inventory, ServerArgs};
use super::output::{plain, table_text};
use super::run::{self, Asked};
use super::say;
use crate::exit::Exit;
use crate::report::ReportView;

/// Findings and workloads that the terminal shows; the report has all.
const SHOWN: usize = 15;

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// How the cluster is reached; with --prometheus alone none is read
    #[command(flatten)]
    pub access: Access,
    /// Lists that `idleproof snapshot --out` wrote, instead of a cluster's API
    #[arg(long, value_name = "DIR", conflicts_with_all = ["context", "kubeconfig", "service"], requires = "prometheus")]
    pub snapshots: Option<PathBuf>,
    /// What the cluster is called; default: its context
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Closed days that are looked at
    #[arg(long, value_name = "DAYS", value_parser = super::args::parse_days, default_value = "7d")]
    pub last: u32,
    /// A price sheet of your own; may be given again
    #[arg(long, value_name = "FILE")]
    pub prices: Vec<PathBuf>,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Keep lake and configuration in this new folder, for `idleproof sql` and `explain`
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// A folder that goes when it is dropped, unless it is kept.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn make(keep: Option<&Path>) -> Result<Self, CliError> {
        let path = keep.map_or_else(
            || {
                let name = format!(
                    "idleproof-scan-{}-{:08x}",
                    std::process::id(),
                    fastrand::u32(..)
                );
                std::env::temp_dir().join(name)
            },
            Path::to_owned,
        );
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        // Never one that is there: what lies in it is somebody's.
        builder
            .create(&path)
            .map_err(|error| CliError::file("make the new folder", &path, error))?;
        Ok(Self {
            path,
            kept: keep.is_some(),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            say(&format!(
                "warning: cannot remove `{}`: {error}",
                self.path.display()
            ));
        }
    }
}

pub(super) async fn scan(args: &ScanArgs, now_ms: i64) -> Result<Exit, CliError> {
    let access = args.access.clone();
    let named = access.context.is_some() || access.kubeconfig.is_some();
    probe(&args.out)?;
    if let Some(folder) = &args.snapshots {
        std::fs::read_dir(folder)
            .map_err(|error| CliError::file("read the snapshots in", folder, error))?;
    }
    let metrics = match args.server.named() {
        Some(metrics) => metrics,
        None => first::find(&access, first::in_pod(&access)).await?,
    };
    let inventory = match &args.snapshots {
        Some(folder) => Inventory::Lists(absolute(folder)?),
        // A server that is named need not be the current context's.
        None if args.server.prometheus.is_some() && !named => {
            say(
                "no cluster is read: kube-state-metrics alone says who holds a GPU; --context NAME adds \
                 owners, models and what to change",
            );
            Inventory::None
        }
        None => Inventory::Cluster,
    };
    let folder = Folder::make(args.keep.as_deref())?;
    let path = folder.path.join("idleproof.toml");
    let sheets = args.prices.iter().map(|sheet| absolute(sheet));
    let first = First {
        cluster: args
            .cluster
            .clone()
            .unwrap_or_else(|| first::cluster_name(access.context.as_deref())),
        lake: "./lake".to_owned(),
        output: "./report".to_owned(),
        metrics,
        inventory,
        access: Access {
            kubeconfig: access.kubeconfig.as_deref().map(absolute).transpose()?,
            ..access
        },
        sheets: sheets.collect::<Result<_, _>>()?,
    };
    let (text, config) = first.config(&path)?;
    std::fs::write(&path, text).map_err(|error| CliError::file("write", &path, error))?;
    let asked = Asked {
        last: Some(args.last),
        output: config.place(&config.file.report.output),
        lease_wait: Duration::from_mins(1),
        ..Asked::default()
    };
    // An interrupt must not leave days of somebody's telemetry in a temporary folder.
    let published = tokio::select! {
        published = run::once(&config, &asked, now_ms) => published?,
        _ = tokio::signal::ctrl_c() => {
            return Err(CliError::Usage("interrupted: nothing was kept".to_owned()));
        }
    };
    let view = &published.view;
    if view.gpus == 0 {
        return Err(CliError::Usage(format!(
            "no GPU was seen in the closed days {} to {}: a day closes at 06:00 UTC of the next one, so a \
             server needs a whole day and six hours of it, and dcgm-exporter's or kube-state-metrics' \
             series; `idleproof init` and `idleproof check --advise` say what is lacking",
            day(&view.window_start),
            day(&view.window_end)
        )));
    }
    replace(&args.out, &published.html)?;
    let mut stdout = std::io::stdout();
    let bold = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut page = page(view, bold);
    let _ = writeln!(page, "\nreport: {}", args.out.display());
    if folder.kept {
        let _ = writeln!(
            page,
            "kept:   idleproof explain ID --config {0}\n        idleproof sql .tables --config {0}",
            path.display()
        );
    } else {
        page.push_str("--keep DIR keeps the lake, for `idleproof explain` and `idleproof sql`\n");
    }
    stdout
        .write_all(page.as_bytes())
        .map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

/// Finds out before minutes of work whether the report can be written where it is to go.
fn probe(out: &Path) -> Result<(), CliError> {
    let wrong = |error| CliError::file("write the report to", out, error);
    if out.is_dir() {
        return Err(wrong(std::io::ErrorKind::IsADirectory.into()));
    }
    let beside = out.with_file_name(format!(".probe-{}", std::process::id()));
    std::fs::write(&beside, b"")
        .and_then(|()| std::fs::remove_file(&beside))
        .map_err(wrong)
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::file("find", path, error))
}

/// The day of a time.
fn day(time: &str) -> String {
    time.chars().take(10).collect()
}

/// What the terminal shows.
fn page(view: &ReportView, bold: bool) -> String {
    let title = |text: &str| {
        if bold {
            format!("\u{1b}[1m{text}\u{1b}[0m\n")
        } else {
            format!("{text}\n")
        }
    };
    let head = &view.headline;
    let mut page = title(&format!(
        "{} · {} to {} · {} GPUs · {} prices",
        plain(&view.clusters.join(", ")),
        day(&view.window_start),
        day(&view.window_end),
        view.gpus,
        view.price_basis
    ));
    let rows = [
        ("spent", &head.fleet_cost, &head.fleet_monthly),
        ("avoidable", &head.avoidable_window, &head.avoidable_monthly),
    ];
    for (name, window, month) in rows {
        let share = if name == "avoidable" {
            format!(", {} of it", head.avoidable_share)
        } else {
            String::new()
        };
        let _ = writeln!(
            page,
            "  {name:<10} {window} in {} days, {month} a month{share}",
            view.days
        );
    }
    let _ = writeln!(
        page,
        "  {:<10} {} of GPU time, never counted as waste",
        "not seen", head.unknown_share
    );
    if let Some(hours) = &head.unpriced_gpu_hours {
        let _ = writeln!(
            page,
            "  {:<10} {hours} GPU-hours: give --prices",
            "no price"
        );
    }
    if !view.ledger_balances {
        page.push_str("  the ledger does not sum to capacity: use no number of this\n");
    }

    let _ = write!(page, "\n{}", title("Where GPU time went"));
    let lines = view.ledger.iter().chain([&view.ledger_total]).map(|line| {
        [&line.class, &line.gpu_hours, &line.share, &line.cost]
            .map(|cell| cell.clone())
            .into_iter()
            .chain([line.meaning.to_owned()])
            .collect()
    });
    page += &table_text(
        &["class", "GPU-hours", "share", "cost", ""],
        &lines.collect::<Vec<_>>(),
        &[false, true, true, true, false],
    );

    let count = format!("What to change: {} findings", view.findings.len());
    let _ = write!(page, "\n{}", title(&count));
    if view.findings.is_empty() {
        page.push_str("nothing stands out on what could be seen\n");
    } else {
        let rows: Vec<Vec<String>> = view
            .findings
            .iter()
            .take(SHOWN)
            .map(|finding| {
                vec![
                    finding.id.chars().take(8).collect(),
                    finding.net_monthly.clone(),
                    finding.range.clone().unwrap_or_default(),
                    finding.confidence.clone(),
                    finding.coverage.clone(),
                    finding.title.clone(),
                ]
            })
            .collect();
        page += &table_text(
            &["id", "a month", "between", "confidence", "seen", "what"],
            &rows,
            &[false, true, true, false, true, false],
        );
        page += &more(view.findings.len());
    }

    let _ = write!(page, "\n{}", title("Workloads by cost"));
    let rows: Vec<Vec<String>> = view
        .workloads
        .iter()
        .take(SHOWN)
        .map(|row| {
            vec![
                format!("{}/{}", row.namespace, row.workload),
                row.model.clone(),
                row.gpu_product.clone(),
                row.gpu_hours.clone(),
                row.serving.clone(),
                row.dark.clone(),
                row.unknown.clone(),
                row.cost.clone(),
            ]
        })
        .collect();
    page += &table_text(
        &[
            "workload",
            "model",
            "GPU",
            "GPU-hours",
            "serving",
            "dark",
            "not seen",
            "cost",
        ],
        &rows,
        &[false, false, false, true, true, true, true, true],
    );
    page += &more(view.workloads.len());
    page += &uses(view, &title);

    if !view.blindness.is_empty() {
        let _ = write!(
            page,
            "\n{}",
            title("What would be seen with more telemetry")
        );
        let rows: Vec<Vec<String>> = view
            .blindness
            .iter()
            .take(SHOWN)
            .map(|row| {
                vec![
                    row.line.clone(),
                    row.gpu_hours.clone(),
                    row.cost.clone(),
                    row.remedy.clone(),
                ]
            })
            .collect();
        page += &table_text(
            &["missing", "GPU-hours", "cost", "how"],
            &rows,
            &[false, true, true, false],
        );
    }
    page
}

/// What each workload is and does, a line each: what scanners of the moment tell, over the whole window.
fn uses(view: &ReportView, title: &dyn Fn(&str) -> String) -> String {
    let fits = &view.sections.tier_fit;
    let rows: Vec<Vec<String>> = view
        .sections
        .uses
        .iter()
        .take(SHOWN)
        .map(|row| {
            // Cluster and kind stand in the report; here the line must fit.
            let parts: Vec<&str> = row.workload.splitn(4, '/').collect();
            let name = match parts.as_slice() {
                [_, namespace, _, name] => format!("{namespace}/{name}"),
                _ => row.workload.clone(),
            };
            let fit = fits.iter().find(|fit| fit.workload == row.workload);
            vec![
                name,
                row.engine.clone(),
                row.gpus.clone(),
                fit.map_or_else(|| "not judged".to_owned(), |fit| fit.cheapest.clone()),
                row.replicas.clone(),
                row.known_days.clone(),
                row.busy.clone(),
                row.arithmetic.clone(),
                row.million.clone(),
                row.hourly.clone(),
                row.waste_daily.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}", title("What each is and does"));
    text += &table_text(
        &[
            "workload",
            "engine",
            "a replica",
            "cheapest that does",
            "replicas",
            "days",
            "busy",
            "MFU",
            "$/M tokens",
            "$/h",
            "waste/day",
        ],
        &rows,
        &[
            false, false, false, false, true, true, true, true, true, true, true,
        ],
    );
    text + &more(view.sections.uses.len())
}

fn more(all: usize) -> String {
    match all.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!("… and {more} more in the report\n"),
    }
}
