//! Owns the command line's shape: commands, flags, their defaults and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::args_approve::{ApproveArgs, DecideArgs, DecisionsArgs, DeferArgs, VerifyArgs};
use super::evidence::EvidenceArgs;
use super::export::ExportArgs;
use super::gate::GateArgs;
use super::init::InitArgs;
use super::manual::{CompletionsArgs, ManArgs};
use super::output::OutputFormat;
use super::report::ReportArgs;
use super::scan::ScanArgs;
use super::serve::ServeArgs;
use super::simulate::SimulateArgs;

/// Finds where GPU money is wasted in LLM inference fleets, proves it and prices it.
#[derive(Debug, Parser)]
#[command(
    name = "idleproof",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:\n  idleproof scan                                  # a first look, without configuration\n  idleproof run --config idleproof.toml           # the nightly job\n  idleproof report --week last --out weekly\n  idleproof sql 'select class, sum(seconds)/3600 h from v_ledger group by class'\n\nExit codes: 0 done, 1 unforeseen, 2 usage or configuration, 3 --fail-on findings, 4 verification failed,\n5 a source or the lake is unavailable (retry), 6 --fail-on coverage, 7 another run held the lease."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A first look without configuration: a table here, and report.html
    #[command(
        after_help = "Examples:\n  idleproof scan\n  idleproof scan --context prod-a --last 14d\n  idleproof scan --prometheus http://localhost:9090 --keep ./first\n\nWithout --prometheus the cluster's own server is found by its labels and asked through the API\nserver (services/proxy). Nothing leaves this machine; the temporary lake is removed."
    )]
    Scan(ScanArgs),
    /// Write a commented configuration, after asking or from flags, and probe its sources
    #[command(
        after_help = "Examples:\n  idleproof init\n  idleproof init --prometheus http://prometheus:9090 --cluster prod-a --lake s3://idleproof/lake\n  idleproof init --service monitoring/prometheus-operated:9090 --context prod-a"
    )]
    Init(InitArgs),
    /// Ingest, rebuild rollups and the ledger, detect, report, sign: the nightly job
    #[command(
        after_help = "Examples:\n  idleproof run --config idleproof.toml\n  idleproof run --last 28d\n  idleproof run --from 2026-11-01 --to 2026-11-15 --fail-on findings=1000"
    )]
    Run(RunArgs),
    /// Read the sources into the lake; publishes nothing
    #[command(
        after_help = "Examples:\n  idleproof ingest\n  idleproof ingest --source prom-a --from 2026-11-01 --to 2026-11-08\n  idleproof ingest --plan"
    )]
    Ingest(IngestArgs),
    /// Write the lists of a Kubernetes cluster as files, for a site that cannot be reached
    #[command(
        after_help = "Examples:\n  idleproof snapshot --out ./kubernetes\n  idleproof snapshot --out ./kubernetes --context prod-a\nThe folder is read by a source of kind = \"kubernetes-export\"."
    )]
    Snapshot(SnapshotArgs),
    /// Say what the sources hold and what each detector will be able to see; keeps nothing
    #[command(
        after_help = "Examples:\n  idleproof check\n  idleproof check sources\n  idleproof check detectors --advise"
    )]
    Check(CheckArgs),
    /// Workloads by cost, and all that is known of one: owners, model, GPUs, scaler, routes, team
    #[command(
        after_help = "Examples:\n  idleproof inventory\n  idleproof inventory --cluster prod-a -o json\n  idleproof inventory --workload chat/llama-8b"
    )]
    Inventory(InventoryArgs),
    /// Render a publication again: for a week, with other templates, or for a program
    #[command(
        after_help = "Examples:\n  idleproof report --out weekly\n  idleproof report --week 2026-W47 --out weekly\n  idleproof report --compare -o markdown\n  idleproof report -o json | jq .headline"
    )]
    Report(ReportArgs),
    /// Explain a finding: rows, chart, formula; replayed from its evidence to the same bytes
    #[command(
        after_help = "Examples:\n  idleproof explain dark-capacity/prod-a/chat/deployment.apps/llama-8b\n  idleproof explain 3f2a"
    )]
    Explain(ExplainArgs),
    /// What the fleet was priced with, and the price sheet that it lacks
    #[command(
        after_help = "Examples:\n  idleproof prices list -o csv\n  idleproof prices missing > prices.csv"
    )]
    Prices(PricesArgs),
    /// What another scaling spec would have cost and served, on the demand that was recorded
    #[command(
        after_help = "Examples:\n  idleproof simulate --workload chat/llama-8b\n  idleproof simulate --workload chat/llama-8b --spec hpa.yaml --last 28d\n  idleproof simulate --workload chat/llama-8b --min 1 --max 6 --target running=8\n  idleproof simulate --all -o csv\n\nThe present spec is replayed as well, and its error against the observed replica-hours printed."
    )]
    Simulate(Box<SimulateArgs>),
    /// What a change of manifests would do: fit, SLO, dollars a month, findings closed and opened
    #[command(
        after_help = "Examples:\n  idleproof gate --git origin/main...HEAD --path deploy -o markdown\n  idleproof gate --before base --after rendered --cluster prod-a --fail-on infeasible\n  kubectl diff -f deploy | idleproof gate --diff - --fail-on findings=1000\n\nNothing is applied and no cluster is asked: the change is judged against the lake."
    )]
    Gate(Box<GateArgs>),
    /// Ask the lake a question in SQL; read-only
    #[command(
        after_help = "Examples:\n  idleproof sql 'select class, sum(seconds)/3600 h from v_ledger group by class'\n  idleproof sql -o csv -f question.sql\n  idleproof sql .tables\n  idleproof sql < question.sql\n  idleproof sql                     # asks on: Tab completes, Ctrl-C stops a query, Ctrl-D ends"
    )]
    Sql(SqlArgs),
    /// Offer the views to clients of PostgreSQL: psql, Grafana, Python; read-only
    #[command(
        after_help = "Examples:\n  idleproof serve\n  idleproof serve --listen 127.0.0.1:5433 --as-of 12\n  idleproof serve --listen 0.0.0.0:5433 --user-file users --tls-cert server.crt --tls-key server.key\n\nThen: psql 'host=127.0.0.1 port=5433 user=me dbname=idleproof'. Connections that come later see later\npublications. Ctrl-C or SIGTERM ends it."
    )]
    Serve(ServeArgs),
    /// Approve recommendations of a manifest: two files, which travel to the inbox
    #[command(
        after_help = "Examples:\n  idleproof approve --all --manifest manifest.dsse.json --pipeline-key pipeline.pub --review\n  idleproof approve 3f2a9c --manifest manifest.dsse.json --pipeline-key pipeline.pub --key ~/.ssh/id_ed25519"
    )]
    Approve(ApproveArgs),
    /// Reject recommendations of a manifest, with a reason
    #[command(
        after_help = "Example:\n  idleproof reject 3f2a9c41d0b7e852 --reason \"needed in May\" --manifest manifest.dsse.json --pipeline-key pipeline.pub --key ~/.ssh/id_ed25519"
    )]
    Reject(DecideArgs),
    /// Put recommendations of a manifest off
    #[command(
        after_help = "Example:\n  idleproof defer 3f2a9c41d0b7e852 --until 2027-01-15T00:00:00Z --manifest manifest.dsse.json --pipeline-key pipeline.pub --key ~/.ssh/id_ed25519"
    )]
    Defer(DeferArgs),
    /// Take approvals back, until the change is exported
    #[command(
        after_help = "Example:\n  idleproof revoke 3f2a9c41d0b7e852 --reason \"a launch\" --manifest manifest.dsse.json --pipeline-key pipeline.pub --key ~/.ssh/id_ed25519"
    )]
    Revoke(DecideArgs),
    /// What people decided: import it, list what it adds up to, prove that it is logged
    #[command(
        after_help = "Examples:\n  idleproof decisions import\n  idleproof decisions list\n  idleproof decisions outcomes"
    )]
    Decisions(DecisionsArgs),
    /// Write what is approved and still true as patches; findings and costs for other tools
    #[command(
        after_help = "Examples:\n  idleproof export patches --out patches\n  idleproof export csv --out rows --format parquet\n  idleproof export focus --out focus.csv\n  idleproof export openmetrics --out /var/lib/node-exporter/idleproof.prom"
    )]
    Export(ExportArgs),
    /// A finding with all that it rests on, in one archive
    #[command(after_help = "Example:\n  idleproof evidence pack 3f2a --out evidence.tar.gz")]
    Evidence(EvidenceArgs),
    /// Check a signed file or the log against public keys; needs no lake and no network
    #[command(
        after_help = "Examples:\n  idleproof verify manifest manifest.dsse.json --key pipeline.pub\n  idleproof verify log /var/lib/idleproof/log --key pipeline.pub\n  idleproof verify evidence evidence.tar.gz --key pipeline.pub"
    )]
    Verify(VerifyArgs),
    /// What the lake holds, whether it is whole, and keeping it small
    #[command(
        after_help = "Examples:\n  idleproof lake info -o json\n  idleproof lake compact\n  idleproof lake vacuum --dry-run\n  idleproof lake verify"
    )]
    Lake(LakeArgs),
    /// The detectors, their parameters and why
    #[command(
        after_help = "Examples:\n  idleproof detectors list\n  idleproof detectors show dark-capacity\n  idleproof detectors docs --out pages"
    )]
    Detectors(DetectorsArgs),
    /// What a shell needs to complete commands and options
    #[command(
        after_help = "Example:\n  idleproof completions bash > /etc/bash_completion.d/idleproof"
    )]
    Completions(CompletionsArgs),
    /// Manual pages, one a command
    #[command(after_help = "Example:\n  idleproof man --out /usr/local/share/man/man1")]
    Man(ManArgs),
}

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
