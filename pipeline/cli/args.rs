//! Owns the flags of commands, their defaults and what they refuse.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::output::OutputFormat;

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigArg {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "IDLEPROOF_CONFIG",
        default_value = "idleproof.toml"
    )]
    pub config: PathBuf,
}

/// The span of time that a command is about, half-open, UTC.
#[derive(Debug, Args)]
pub(super) struct SpanArgs {
    /// Days before the end, as in `14d`
    #[arg(long, value_name = "DAYS", value_parser = parse_days, conflicts_with = "from")]
    pub last: Option<u32>,
    /// First day, `YYYY-MM-DD`
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub from: Option<i64>,
    /// Day after the last one; default: after the last closed day that the sources hold
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub to: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    #[command(flatten)]
    pub span: SpanArgs,
    /// Where the report goes instead of [report] output
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// End with a code of its own: `findings`, `findings=USD` (3) or `coverage=PERCENT` (6)
    #[arg(long, value_name = "WHAT", value_parser = parse_fail_on)]
    pub fail_on: Vec<FailOn>,
    /// Seconds to wait for a lease that another run holds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lease_wait: u64,
    /// Use what the lake holds; read no source
    #[arg(long)]
    pub no_ingest: bool,
}

#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    #[command(flatten)]
    pub span: SpanArgs,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only this cluster's sources
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Read settled windows again, and let an emptier read replace a fuller one
    #[arg(long)]
    pub force: bool,
    /// Say what would be read (series, samples, requests, time) and read nothing
    #[arg(long)]
    pub plan: bool,
    /// Seconds to wait for a lease that another run holds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lease_wait: u64,
}

#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// The folder that gets one folder a snapshot, named by its time
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A context of the kubeconfig; default: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// A kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A proxy, `http://host:port`, instead of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub proxy_url: Option<String>,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub qps: u32,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Only this; default: all
    #[arg(value_enum)]
    pub what: Option<CheckWhat>,
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print the lines that bring what is lacking, and the series that they add
    #[arg(long)]
    pub advise: bool,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: CheckOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckWhat {
    /// The configuration file alone; opens no source
    Config,
    /// Whether sources and lake can be read, and what they hold
    Sources,
    /// What each detector will be able to see
    Detectors,
    /// The policy, and whom each recommendation of the newest manifest would need
    Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckOutput {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A finding's handle, or a prefix of its id that only one has
    pub finding: String,
    #[command(flatten)]
    pub config: ConfigArg,
    /// The publication to explain from; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
    /// `text` for people, `json` for the bytes that replay
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: ExplainOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExplainOutput {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct InventoryArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// All that is known of one: `cluster/namespace/kind/name`, or an end of it that only one has
    #[arg(long, value_name = "HANDLE")]
    pub workload: Option<String>,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// The publication to read; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// The query, `.tables`, `.schema VIEW` or `.explain QUERY`; default: stdin, or a shell on a terminal
    #[arg(conflicts_with = "file")]
    pub query: Option<String>,
    /// A file that holds the query
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArg,
    /// How rows are printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// The publication to read; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
    /// The memory that a query may take; sorts and groups beyond it go to disk
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory_mib: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct PricesArgs {
    #[command(subcommand)]
    pub what: PricesWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum PricesWhat {
    /// Every price of the newest publication, with its rung and where it comes from
    List(PricesListArgs),
    /// A sheet with a row for each node type without an exact price, ready to fill in
    Missing(PricesMissingArgs),
}

#[derive(Debug, Args)]
pub(super) struct PricesListArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// How rows are printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct PricesMissingArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct LakeArgs {
    #[command(subcommand)]
    pub what: LakeWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum LakeWhat {
    /// Tables with their sizes and days, publications, leases, evidence
    Info(InfoArgs),
    /// Put the many files of closed days into few, and take out what [lake] no longer keeps
    Compact(CompactArgs),
    /// Delete what no version that is kept needs any more
    Vacuum(VacuumArgs),
    /// Read every file and compare it with what was written; ends with 4 when one differs
    Verify(VerifyLakeArgs),
}

#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only days before this one; default: those that ended a day ago or earlier
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub before: Option<i64>,
    /// Seconds to wait for a lease that another run holds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lease_wait: u64,
}

#[derive(Debug, Args)]
pub(super) struct VacuumArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Say what would go and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Days for which an object must have been superfluous; longer than any run or query takes
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub older_than: u32,
    /// Seconds to wait for a lease that another run holds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lease_wait: u64,
}

#[derive(Debug, Args)]
pub(super) struct VerifyLakeArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// How faults are printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct DetectorsArgs {
    /// The configuration whose own detectors are among them; default: the built-in ones alone
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub what: DetectorsWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum DetectorsWhat {
    /// One line a detector
    List {
        /// How rows are printed
        #[arg(short, long, value_enum, default_value = "table")]
        output: OutputFormat,
    },
    /// A detector's front matter and SQL
    Show {
        /// Its id
        id: String,
    },
    /// A detector's page in Markdown, or all of them
    Docs {
        /// Its id; default: all
        id: Option<String>,
        /// Write one file a detector here instead
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// When a finished run ends with a code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailOn {
    /// Alarms whose net monthly dollars reach this.
    Findings { usd: i64 },
    /// Less than this share of GPU time known.
    Coverage { percent: i64 },
}

pub(super) fn parse_days(text: &str) -> Result<u32, String> {
    text.strip_suffix('d')
        .unwrap_or(text)
        .parse()
        .ok()
        .filter(|days| (1..=3660).contains(days))
        .ok_or_else(|| "give whole days, as in `14d`".to_owned())
}

fn parse_date(text: &str) -> Result<i64, String> {
    crate::model::time::parse_ms(text)
        .filter(|ms| ms % crate::model::time::DAY_MS == 0)
        .ok_or_else(|| "give a UTC day, as in `2026-11-01`".to_owned())
}

fn parse_fail_on(text: &str) -> Result<FailOn, String> {
    let (what, limit) = text
        .split_once('=')
        .map_or((text, None), |(w, l)| (w, Some(l)));
    let number = |default: i64| match limit {
        None => Ok(default),
        Some(limit) => limit
            .parse()
            .map_err(|_| format!("`{limit}` is not a whole number")),
    };
    match what {
        "findings" => Ok(FailOn::Findings { usd: number(0)? }),
        "coverage" => Ok(FailOn::Coverage {
            percent: number(90)?,
        }),
        _ => Err("give `findings`, `findings=USD` or `coverage=PERCENT`".to_owned()),
    }
}
