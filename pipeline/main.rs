//! Parses the command line, runs it and turns its end into an exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    idleproof::cli::main().into()
}
