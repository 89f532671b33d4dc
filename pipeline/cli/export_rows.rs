//! Owns `export csv`, `export focus` and `export openmetrics`: what the newest publication says, in
//! forms that other tools take. Every file is whole or is not there.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;

use super::args::ConfigArg;
use super::error::CliError;
use super::evidence::replace;
use super::output::{OutputFormat, print_rows};
use super::windowed::{gather_days, window_rows};
use super::{data, say};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::columns::{int, text, text_at, usd, usd_at};
use crate::lake::{LakeView, Publication, parquet_bytes};
use crate::model::TimeWindow;
use crate::report::{Gauge, gpu_hours, openmetrics};

/// The version whose columns `export focus` writes.
const FOCUS_VERSION: &str = "1.4";

/// The form of exported tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    Csv,
    Ndjson,
    Parquet,
}

impl FileFormat {
    const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }

    fn bytes(self, batches: &[RecordBatch]) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        match self {
            Self::Csv => print_rows(&mut bytes, batches, OutputFormat::Csv)?,
            Self::Ndjson => print_rows(&mut bytes, batches, OutputFormat::Ndjson)?,
            Self::Parquet => bytes = parquet_bytes(batches)?,
        }
        Ok(bytes)
    }
}

/// What all exports of rows take.
#[derive(Debug, Args)]
pub(super) struct PublicationArg {
    #[command(flatten)]
    pub config: ConfigArg,
    /// An older publication
    #[arg(long, value_name = "NUMBER")]
    pub as_of: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct TablesArgs {
    #[command(flatten)]
    pub publication: PublicationArg,
    /// Where the files go: findings, recommendations, ledger
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Their form; cells of CSV that a spreadsheet would run are quoted
    #[arg(long, value_enum, default_value = "csv")]
    pub format: FileFormat,
}

#[derive(Debug, Args)]
pub(super) struct FocusArgs {
    #[command(flatten)]
    pub publication: PublicationArg,
    /// The file; default: stdout, which takes no Parquet
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Its form
    #[arg(long, value_enum, default_value = "csv")]
    pub format: FileFormat,
}

#[derive(Debug, Args)]
pub(super) struct GaugesArgs {
    #[command(flatten)]
    pub publication: PublicationArg,
    /// The file, for a textfile collector; default: stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

struct Open {
    session: SessionContext,
    publication: Publication,
    window: TimeWindow,
}

impl Open {
    async fn new(args: &PublicationArg) -> Result<Self, CliError> {
        let config = Config::load(&args.config.config)?;
        let (lake, publication) = data::published(&config, args.as_of).await?;
        let session = data::session(&lake, &LakeView::published(&publication)).await?;
        let window = publication.window();
        Ok(Self {
            session,
            publication,
            window,
        })
    }

    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, CliError> {
        window_rows(&self.session, sql, self.window, self.window.end_ms).await
    }
}

pub(super) async fn tables(args: &TablesArgs) -> Result<Exit, CliError> {
    let open = Open::new(&args.publication).await?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| CliError::file("make the folder", &args.out, error))?;
    for (name, sql) in [
        (
            "findings",
            include_str!("../../queries/report/export_findings.sql"),
        ),
        (
            "recommendations",
            include_str!("../../queries/report/export_recommendations.sql"),
        ),
        (
            "ledger",
            include_str!("../../queries/report/export_ledger.sql"),
        ),
    ] {
        let batches = open.rows(sql).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let path = args.out.join(format!("{name}.{}", args.format.extension()));
        replace(&path, &args.format.bytes(&batches)?)?;
        writeln!(std::io::stdout(), "{}: {rows} rows", path.display()).map_err(CliError::Stdout)?;
    }
    Ok(Exit::Done)
}

pub(super) async fn focus(args: &FocusArgs) -> Result<Exit, CliError> {
    if args.out.is_none() && args.format == FileFormat::Parquet {
        return Err(CliError::Usage(
            "Parquet is no text for a terminal: name a file with --out".to_owned(),
        ));
    }
    let open = Open::new(&args.publication).await?;
    let batches = open
        .rows(include_str!("../../queries/report/export_focus.sql"))
        .await?;
    let unpriced = open
        .rows(include_str!("../../queries/report/unpriced.sql"))
        .await?;
    let unpriced_ms = match unpriced.first() {
        Some(batch) if batch.num_rows() > 0 => int(batch, "unpriced_ms")?.value(0),
        _ => 0,
    };
    if unpriced_ms > 0 {
        say(&format!(
            "warning: {} GPU-hours have no known price and are no charge here; `idleproof prices missing` writes the sheet that they need",
            gpu_hours(unpriced_ms)
        ));
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    write_or_print(args.out.as_deref(), &args.format.bytes(&batches)?)?;
    say(&format!(
        "{rows} charges with the columns of FOCUS {FOCUS_VERSION} (docs/exports.md)"
    ));
    Ok(Exit::Done)
}

fn write_or_print(out: Option<&Path>, bytes: &[u8]) -> Result<(), CliError> {
    match out {
        Some(path) => replace(path, bytes),
        None => (std::io::stdout().lock())
            .write_all(bytes)
            .map_err(CliError::Stdout),
    }
}

pub(super) async fn gauges(args: &GaugesArgs) -> Result<Exit, CliError> {
    let open = Open::new(&args.publication).await?;
    gather_days(&open.session, open.window, open.window.end_ms).await?;
    let mut families = of_publication(&open);
    families.extend(of_classes(&open).await?);
    families.extend(of_findings(&open).await?);
    families.extend(of_models(&open).await?);
    write_or_print(args.out.as_deref(), openmetrics(&families).as_bytes())?;
    Ok(Exit::Done)
}

/// Seconds with three decimals, exact.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn of_publication(open: &Open) -> Vec<Gauge> {
    let mut number = Gauge::new(
        "idleproof_publication",
        "",
        "Number of the publication that these gauges are read from.",
    );
    number.add(&[], open.publication.number.to_string());
    let mut window = Gauge::new(
        "idleproof_window_end_timestamp_seconds",
        "seconds",
        "End of the window that was judged: time less this is how old the numbers are.",
    );
    window.add(&[], seconds(open.window.end_ms));
    let mut start = Gauge::new(
        "idleproof_window_start_timestamp_seconds",
        "seconds",
        "Start of the window that was judged.",
    );
    start.add(&[], seconds(open.window.start_ms));
    vec![number, start, window]
}

async fn of_classes(open: &Open) -> Result<Vec<Gauge>, CliError> {
    let mut hours = Gauge::new(
        "idleproof_gpu_hours",
        "hours",
        "GPU-hours of the window by class of the ledger.",
    );
    let mut cost = Gauge::new(
        "idleproof_cost_usd",
        "usd",
        "Effective cost of the window by class of the ledger; hours without a price are left out.",
    );
    let mut unpriced = Gauge::new(
        "idleproof_unpriced_gpu_hours",
        "hours",
        "GPU-hours without a known price.",
    );
    let sql = include_str!("../../queries/report/gauges_classes.sql");
    for batch in open.rows(sql).await? {
        let (clusters, classes) = (text(&batch, "cluster")?, text(&batch, "class")?);
        let (gpu_hours, usd_sum) = (usd(&batch, "gpu_hours")?, usd(&batch, "cost_usd")?);
        let without = usd(&batch, "unpriced_gpu_hours")?;
        for row in 0..batch.num_rows() {
            let labels = [
                ("cluster", clusters.value(row)),
                ("class", classes.value(row)),
            ];
            if let Some(value) = usd_at(&gpu_hours, row) {
                hours.add(&labels, value.to_string());
            }
            if let Some(value) = usd_at(&usd_sum, row) {
                cost.add(&labels, value.to_string());
            }
            if let Some(value) = usd_at(&without, row).filter(|value| !value.is_zero()) {
                unpriced.add(&labels, value.to_string());
            }
        }
    }
    Ok(vec![hours, cost, unpriced])
}

async fn of_findings(open: &Open) -> Result<Vec<Gauge>, CliError> {
    let mut count = Gauge::new(
        "idleproof_findings",
        "",
        "Findings by detector and status; undetermined ones lacked telemetry.",
    );
    let mut net = Gauge::new(
        "idleproof_avoidable_monthly_usd",
        "usd",
        "Net dollars a month of 730 h that findings would save; none counted twice.",
    );
    let sql = include_str!("../../queries/report/gauges_findings.sql");
    for batch in open.rows(sql).await? {
        let (clusters, detectors) = (text(&batch, "cluster")?, text(&batch, "detector")?);
        let (statuses, counts) = (text(&batch, "status")?, int(&batch, "findings")?);
        let sums = usd(&batch, "net_monthly_usd")?;
        for row in 0..batch.num_rows() {
            let (cluster, detector) = (clusters.value(row), detectors.value(row));
            let status = statuses.value(row);
            count.add(
                &[
                    ("cluster", cluster),
                    ("detector", detector),
                    ("status", status),
                ],
                counts.value(row).to_string(),
            );
            if let Some(value) = usd_at(&sums, row).filter(|_| status == "alarm") {
                net.add(
                    &[("cluster", cluster), ("detector", detector)],
                    value.to_string(),
                );
            }
        }
    }
    Ok(vec![count, net])
}

/// `OpenCost`'s names, so that its dashboards show them.
async fn of_models(open: &Open) -> Result<Vec<Gauge>, CliError> {
    let mut hourly = Gauge::new(
        "llm_total_hourly_cost",
        "",
        "Dollars an hour that a model's GPUs cost over the window.",
    );
    let mut tokens = Gauge::new(
        "llm_cost_per_million_tokens",
        "",
        "Dollars a million tokens, prompt and generated; basis allocation counts all that was held, usage what served.",
    );
    let sql = include_str!("../../queries/report/unit_costs.sql");
    for batch in open.rows(sql).await? {
        let (clusters, models) = (text(&batch, "cluster")?, text(&batch, "model")?);
        let per_hour = usd(&batch, "usd_per_hour")?;
        let held = usd(&batch, "allocation_usd_per_million_tokens")?;
        let used = usd(&batch, "usage_usd_per_million_tokens")?;
        for row in 0..batch.num_rows() {
            let model = text_at(&models, row).unwrap_or_default();
            let cluster = clusters.value(row);
            if let Some(value) = usd_at(&per_hour, row) {
                hourly.add(
                    &[("cluster", cluster), ("model", &model)],
                    value.to_string(),
                );
            }
            for (basis, column) in [("allocation", &held), ("usage", &used)] {
                if let Some(value) = usd_at(column, row) {
                    tokens.add(
                        &[
                            ("cluster", cluster),
                            ("model", &model),
                            ("phase", "blended"),
                            ("cost_basis", basis),
                        ],
                        value.to_string(),
                    );
                }
            }
        }
    }
    Ok(vec![hourly, tokens])
}
