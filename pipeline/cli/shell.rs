//! Owns the SQL shell: what a person may say there, completion of views, columns and words, paging, and
//! stopping a query. Lines are read by `editor`, statements and rows are `sql`'s and `output`'s.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::ValueEnum as _;
use datafusion::prelude::SessionContext;

use super::args::SqlArgs;
use super::editor::{Editor, Knows, Typed, screen};
use super::error::CliError;
use super::output::{OutputFormat, plain, print_rows};
use super::{data, engine, past, say, sql};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::LakeView;

const HELP: &str = "\
.tables            the views and what each is about
.schema VIEW       a view's columns
.explain QUERY     how a query would run
.output FORMAT     table, json, ndjson or csv
.timing on|off     rows and time of each query
.help, .quit       this, and the end; Ctrl-D ends too
A query ends with `;` and may have many lines. Ctrl-C stops one that runs.";

const WORDS: &[&str] = &[
    "AND", "AS", "ASC", "AVG", "BETWEEN", "BY", "CASE", "CAST", "COUNT", "DESC", "DESCRIBE",
    "DISTINCT", "ELSE", "END", "EXPLAIN", "FROM", "GROUP", "HAVING", "IN", "INTERVAL", "IS",
    "JOIN", "LEFT", "LIKE", "LIMIT", "MAX", "MIN", "NOT", "NULL", "ON", "OR", "ORDER", "SELECT",
    "SUM", "THEN", "UNION", "USING", "WHEN", "WHERE", "WITH",
];
const COMMANDS: &[&str] = &[
    ".explain", ".help", ".output", ".quit", ".schema", ".tables", ".timing",
];

/// What the editor asks while a person types.
#[derive(Debug, Default)]
struct Known {
    words: BTreeSet<String>,
}

impl Known {
    /// Views, their columns, and SQL's own words.
    async fn of(session: &SessionContext) -> Self {
        let mut words: BTreeSet<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
        for (name, _) in data::views() {
            // A view that cannot be opened says so when it is asked.
            if let Ok(view) = session.table_provider(name.as_str()).await {
                let schema = view.schema();
                words.extend(schema.fields().iter().map(|field| field.name().clone()));
            }
            words.insert(name);
        }
        Self { words }
    }
}

impl Knows for Known {
    fn complete(&self, before: &str) -> (usize, Vec<String>) {
        if before.starts_with('.') && !before.contains(' ') {
            let fits = COMMANDS.iter().filter(|word| word.starts_with(before));
            return (0, fits.map(|word| (*word).to_owned()).collect());
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_part(c)).map_or(0, |place| {
            place + before[place..].chars().next().map_or(1, char::len_utf8)
        });
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let lower = word.to_ascii_lowercase();
        let fits = self
            .words
            .iter()
            .filter(|known| known.to_ascii_lowercase().starts_with(&lower));
        (start, fits.cloned().collect())
    }

    fn is_whole(&self, text: &str) -> bool {
        is_whole(text)
    }
}

/// Whether what was typed so far is to be run: a command, nothing, or a query with its end.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('.') || text.ends_with(';')
}

/// Asks until there is nothing more to ask.
pub(super) async fn shell(args: &SqlArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let view = LakeView::published(&publication);
    let session = data::session_within(&lake, &view, engine::limits(args.memory_mib)).await?;
    engine::quiet();
    let known = Known::of(&session).await;
    let history = past::place();
    let kept = history.as_deref().map(past::load).transpose();
    let kept = kept.unwrap_or_else(|error| {
        say(&format!("warning: the history cannot be read: {error}"));
        None
    });
    let mut editor = Editor::new("idleproof> ", "      ...> ", kept.unwrap_or_default());
    say(&format!(
        "publication {} of {}, {} to {}; read only; .help tells what there is",
        publication.number,
        lake.url(),
        crate::model::time::format_ms(publication.window().start_ms),
        crate::model::time::format_ms(publication.window().end_ms),
    ));
    let mut shell = Shell {
        session,
        output: args.output,
        timing: true,
    };
    let mut warned = false;
    loop {
        let read = tokio::task::block_in_place(|| editor.read(&known));
        let typed = match read {
            Ok(Typed::Line(typed)) => typed,
            Ok(Typed::GivenUp) => continue,
            Ok(Typed::End) => break,
            Err(error) => {
                return Err(CliError::Unexpected(format!(
                    "cannot read from the terminal: {error}"
                )));
            }
        };
        let line = typed.trim();
        if line.is_empty() {
            continue;
        }
        // As in shells: what begins with a space leaves no trace.
        if !typed.starts_with(' ') {
            editor.remember(line);
            let kept = history.as_deref().map(|path| past::append(path, line));
            if let Some(Err(error)) = kept.filter(|_| !warned) {
                say(&format!("warning: the history cannot be kept: {error}"));
                warned = true;
            }
        }
        match shell.obey(line).await {
            Ok(true) => {}
            Ok(false) => break,
            // A wrong question is answered, and the next one may be right.
            Err(error) => {
                let text = error.to_string();
                let lines: Vec<String> = text.lines().map(plain).collect();
                say(&format!("error: {}", lines.join("\n")));
            }
        }
    }
    Ok(Exit::Done)
}

struct Shell {
    session: SessionContext,
    output: OutputFormat,
    timing: bool,
}

impl Shell {
    /// Does what a line says; `false` at the end.
    async fn obey(&mut self, line: &str) -> Result<bool, CliError> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let mut out = Vec::new();
        match command.trim_end_matches(';') {
            ".quit" | ".exit" | "quit" | "exit" => return Ok(false),
            ".help" => {
                say(HELP);
                return Ok(true);
            }
            ".tables" => sql::tables(&mut out)?,
            ".output" => {
                self.output = OutputFormat::from_str(rest, true).map_err(|_| {
                    CliError::Usage(format!("`{rest}` is no format: table, json, ndjson or csv"))
                })?;
                return Ok(true);
            }
            ".timing" => {
                self.timing = match rest {
                    "on" => true,
                    "off" => false,
                    _ => return Err(CliError::Usage("`.timing` is on or off".to_owned())),
                };
                return Ok(true);
            }
            _ => {
                let query = line.trim_end_matches(';').trim_end();
                let statement = sql::statement(query)?;
                let started = Instant::now();
                let batches = tokio::select! {
                    rows = sql::rows(&self.session, &statement) => rows?,
                    _ = tokio::signal::ctrl_c() => {
                        say("stopped");
                        return Ok(true);
                    }
                };
                let took = started.elapsed();
                print_rows(&mut out, &batches, self.output)?;
                show(&out)?;
                if self.timing {
                    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                    say(&format!("{rows} rows in {:.3} s", took.as_secs_f64()));
                }
                return Ok(true);
            }
        }
        show(&out)?;
        Ok(true)
    }
}

/// Prints, through the pager where the screen is too small for it.
fn show(text: &[u8]) -> Result<(), CliError> {
    let lines = text.split(|byte| *byte == b'\n').count();
    if lines >= screen().0 && page(text) {
        return Ok(());
    }
    std::io::stdout()
        .lock()
        .write_all(text)
        .map_err(CliError::Stdout)
}

/// Hands text to `$PAGER`, or to `less` so that it keeps columns and ends at the end; `false` where it
/// could not be started.
fn page(text: &[u8]) -> bool {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less -SFX".to_owned());
    let mut words = pager.split_whitespace();
    let Some(program) = words.next() else {
        return false;
    };
    let started = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        return false;
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A reader that left early has seen enough.
        let _ = stdin.write_all(text);
    }
    if let Err(error) = child.wait() {
        say(&format!("warning: {}: {}", plain(&pager), error));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let words = ["v_ledger", "v_findings", "gpu_product", "SELECT", "SUM"];
        Known {
            words: words.map(str::to_owned).into(),
        }
    }

    #[test]
    fn words_are_completed_where_they_stand() {
        let known = known();
        assert_eq!(
            known.complete("select sum(gpu"),
            (11, vec!["gpu_product".to_owned()])
        );
        let all = known.complete("select * from V_");
        assert_eq!(
            all,
            (14, vec!["v_findings".to_owned(), "v_ledger".to_owned()])
        );
        assert_eq!(known.complete(".ta"), (0, vec![".tables".to_owned()]));
        assert_eq!(known.complete("select 'ü").1, Vec::<String>::new());
        assert_eq!(known.complete(""), (0, Vec::new()));
    }

    #[test]
    fn a_query_runs_when_it_has_its_end() {
        assert!(is_whole("select 1;"));
        assert!(is_whole(" .tables"));
        assert!(is_whole(""));
        assert!(!is_whole("select 1\nfrom v_ledger"));
    }
}
