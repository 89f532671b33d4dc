//! Owns `init`: a commented configuration, from flags and from what a person answers, whose sources are
//! then asked. It overwrites nothing.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::args::{CheckArgs, CheckOutput, CheckWhat, ConfigArg};
use super::error::CliError;
use super::first::{self, Access, First, Inventory, Metrics, ServerArgs};
use super::{check, say};
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    #[command(flatten)]
    pub server: ServerArgs,
    /// What the cluster is called in the lake; default: its context
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub access: Access,
    /// Read no objects: kube-state-metrics alone says who holds a GPU
    #[arg(long)]
    pub no_kubernetes: bool,
    /// Where the lake goes: a folder, or s3://, gs://, az://
    #[arg(long, value_name = "URL")]
    pub lake: Option<String>,
    /// Ask nothing: what no flag says is its default
    #[arg(long)]
    pub yes: bool,
    /// Write the file and ask no source
    #[arg(long)]
    pub no_probe: bool,
}

pub(super) async fn init(args: &InitArgs) -> Result<Exit, CliError> {
    let path = &args.config.config;
    if path.exists() {
        return Err(CliError::Usage(format!(
            "`{}` is there already, and init overwrites nothing: name another with --config",
            path.display()
        )));
    }
    let asks = !args.yes && std::io::stdin().is_terminal();
    let ask = |question: &str, default: &str| -> Result<String, CliError> {
        if asks {
            answer(question, default)
        } else {
            Ok(default.to_owned())
        }
    };
    let access = args.access.clone();
    let cluster = match &args.cluster {
        Some(name) => name.clone(),
        None => ask(
            "What is the cluster called?",
            &first::cluster_name(access.context.as_deref()),
        )?,
    };
    let metrics = if let Some(named) = args.server.named() {
        named
    } else {
        let url = ask(
            "Prometheus' address? (nothing: look for it in the cluster)",
            "",
        )?;
        if url.is_empty() {
            first::find(&access, first::in_pod(&access)).await?
        } else {
            Metrics::Url(url)
        }
    };
    let reads = if args.no_kubernetes {
        false
    } else {
        let said = ask(
            "Read the cluster's objects, without Secrets? (yes or no)",
            "yes",
        )?;
        !said.to_ascii_lowercase().starts_with('n')
    };
    let lake = match &args.lake {
        Some(url) => url.clone(),
        None => ask("Where does the lake go?", "./lake")?,
    };
    let first = First {
        cluster,
        lake,
        output: "./out".to_owned(),
        metrics,
        inventory: if reads {
            Inventory::Cluster
        } else {
            Inventory::None
        },
        access,
        sheets: Vec::new(),
    };
    let (text, _) = first.config(path)?;
    // Made new or not at all: another that was written meanwhile stays.
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| CliError::file("write", path, error))?;
    say(&format!("wrote {}", path.display()));
    if args.no_probe {
        return Ok(Exit::Done);
    }
    let probed = check::check(&CheckArgs {
        what: Some(CheckWhat::Sources),
        config: ConfigArg {
            config: path.clone(),
        },
        advise: false,
        output: CheckOutput::Text,
    })
    .await?;
    if probed == Exit::Done {
        say(&format!(
            "next: idleproof check --config {0}, then idleproof run --config {0}",
            path.display()
        ));
    }
    Ok(probed)
}

/// A line of a person's; what they leave empty is the default.
#[expect(clippy::print_stderr, reason = "a question is asked where people read")]
fn answer(question: &str, default: &str) -> Result<String, CliError> {
    if default.is_empty() {
        eprint!("{question} ");
    } else {
        eprint!("{question} [{default}] ");
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::file("read an answer from", "stdin", error))?;
    let line = line.trim();
    Ok(if line.is_empty() { default } else { line }.to_owned())
}
