//! Owns the commands by name: what each is for, and an example of it in its help. Their flags are `args`'s and
//! those of the commands' own files.

use clap::{Parser, Subcommand};

use super::args::{
    CheckArgs, DetectorsArgs, ExplainArgs, IngestArgs, InventoryArgs, LakeArgs, PricesArgs,
    RunArgs, SnapshotArgs, SqlArgs,
};
use super::args_approve::{ApproveArgs, DecideArgs, DecisionsArgs, DeferArgs, VerifyArgs};
use super::evidence::EvidenceArgs;
use super::export::ExportArgs;
use super::gate::GateArgs;
use super::init::InitArgs;
use super::manual::{CompletionsArgs, ManArgs};
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
