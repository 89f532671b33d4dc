//! Owns `completions` and `man`: what shells and manual pages know of the command line, made from the
//! same definitions as `--help`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::commands::Cli;
use super::error::CliError;
use super::evidence::replace;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// A folder for `idleproof.1`, `idleproof-run.1`, …
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "idleproof", &mut bytes);
    std::io::stdout()
        .write_all(&bytes)
        .map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    std::fs::create_dir_all(&args.out)
        .map_err(|error| CliError::file("make the folder", &args.out, error))?;
    let mut command = Cli::command();
    command.build();
    page(&command, args)
}

/// A page of a command, and one of each command under it.
fn page(command: &clap::Command, args: &ManArgs) -> Result<Exit, CliError> {
    // Building gave each command the name of its page: `idleproof-export-focus`.
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut bytes)
        .map_err(|error| CliError::file("write a page in", &args.out, error))?;
    replace(&args.out.join(format!("{name}.1")), &bytes)?;
    for under in command.get_subcommands() {
        if under.get_name() != "help" {
            page(under, args)?;
        }
    }
    Ok(Exit::Done)
}
