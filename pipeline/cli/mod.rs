//! Owns the command line: parses it, drives the rooms, prints. The only room that prints, reads the
//! clock or knows all others.
//!
//! Data goes to stdout, logs and errors to stderr; every error is one message that says what failed,
//! where, and what to do, and ends in a documented exit code.

mod approve;
mod args;
mod args_approve;
mod authentication;
mod authors;
mod bill_days;
mod blindness;
mod books;
mod check;
mod commands;
mod conclude;
mod data;
mod decisions;
mod detectors;
#[cfg(test)]
mod docs;
mod editor;
mod engine;
mod error;
mod evidence;
mod explain;
mod export;
mod export_rows;
mod first;
mod gate;
mod given;
mod governance;
mod init;
mod inventory;
mod inventory_card;
mod keys;
mod lake;
mod line;
mod logs;
mod manual;
mod notify;
mod outcome_rows;
mod outcomes;
mod output;
mod past;
mod plan;
mod prices;
mod progress;
mod publish;
mod remedies;
mod report;
mod report_data;
mod report_sections;
mod report_uses;
mod report_week;
mod returnable;
mod run;
mod scan;
mod serve;
mod shelf;
mod shell;
mod simulate;
mod snapshot;
mod sources;
mod sql;
mod stages;
mod ungoverned;
mod verify;
mod windowed;

use std::io::IsTerminal as _;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;
use commands::{Cli, Command};
use error::CliError;

use logs::complain;
pub(crate) use logs::say;
pub use output::OutputFormat;

/// Version of the code that a lake's commits and publications name.
pub(crate) const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Parses the arguments of this process, runs the command and says how it ended.
#[must_use]
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    let filter =
        EnvFilter::try_from_env("IDLEPROOF_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .without_time();
    let _ = if logs::are_json() {
        let log = log.with_ansi(false).with_level(false);
        log.with_writer(logs::Lines).try_init()
    } else {
        // Colours are for people: a file or a collector gets none.
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        log.with_ansi(colours)
            .with_writer(std::io::stderr)
            .try_init()
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Query plans recurse deeply, and unoptimised frames are large.
        .thread_stack_size(16 << 20)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start the runtime: {error}"));
            return Exit::Unexpected;
        }
    };
    // The command runs on a worker, whose stack is as large as set above.
    let ended = runtime.block_on(async { tokio::spawn(dispatch(cli.command)).await });
    // What still computes for nobody, as a query that was stopped may, holds nothing up.
    runtime.shutdown_background();
    match ended {
        Ok(Ok(exit)) => exit,
        // The reader of our output has gone, as `head` does: nothing is wrong.
        Ok(Err(CliError::Stdout(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Exit::Done
        }
        Ok(Err(error)) => {
            complain(&error.to_string());
            error.exit()
        }
        Err(error) => {
            complain(&format!(
                "this is a bug in idleproof, please report it: {error}"
            ));
            Exit::Unexpected
        }
    }
}

async fn dispatch(command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Scan(args) => scan::scan(&args, now_ms()).await,
        Command::Init(args) => init::init(&args).await,
        Command::Run(args) => run::run(&args, now_ms()).await,
        Command::Ingest(args) => sources::ingest_command(&args, now_ms()).await,
        Command::Snapshot(args) => snapshot::snapshot(&args, now_ms()).await,
        Command::Check(args) if args.what == Some(args::CheckWhat::Policy) => {
            decisions::check_policy(&args.config).await
        }
        Command::Check(args) => check::check(&args).await,
        Command::Inventory(args) => inventory::inventory(&args).await,
        Command::Report(args) => report::report(&args).await,
        Command::Explain(args) => explain::explain(&args).await,
        Command::Prices(args) => prices::prices(&args).await,
        Command::Simulate(args) => simulate::simulate(&args).await,
        Command::Gate(args) => gate::gate(&args).await,
        Command::Sql(args) => sql::sql(&args).await,
        Command::Serve(args) => serve::serve(&args).await,
        Command::Approve(args) => approve::approve(&args).await,
        Command::Reject(args) => approve::reject(&args).await,
        Command::Defer(args) => approve::defer(&args).await,
        Command::Revoke(args) => approve::revoke(&args).await,
        Command::Decisions(args) => decisions::decisions(&args).await,
        Command::Export(args) => export::run(&args).await,
        Command::Evidence(args) => evidence::evidence(&args).await,
        Command::Verify(args) => verify::verify(&args).await,
        Command::Lake(args) => lake::lake(&args.what).await,
        Command::Detectors(args) => detectors::detectors(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// The one place that reads the clock.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
