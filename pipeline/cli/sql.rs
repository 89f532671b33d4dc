//! Owns `sql`: read-only queries over what a publication shows, one from the command line, a file or
//! stdin; `shell` asks for more.

use std::io::{IsTerminal as _, Read as _, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::common::collect;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::args::SqlArgs;
use super::error::CliError;
use super::output::print_rows;
use super::{data, engine, shell};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{LakeView, read_only_sql};
use crate::model::bounds;

/// A query that is longer is no question.
const QUERY_BYTES_MAX: u64 = 1 << 20;

pub(super) async fn sql(args: &SqlArgs) -> Result<Exit, CliError> {
    let query = match (&args.query, &args.file) {
        (Some(query), _) => query.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| CliError::file("read the query", path, error))?,
        // The shell draws: without a screen there is nothing to ask with.
        (None, None) if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
            return shell::shell(args).await;
        }
        (None, None) if std::io::stdin().is_terminal() => {
            return Err(CliError::Usage(
                "give a query, a file with one, or one on stdin".to_owned(),
            ));
        }
        (None, None) => {
            let mut text = String::new();
            std::io::stdin()
                .take(QUERY_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|error| CliError::file("read the query from", "stdin", error))?;
            text
        }
    };
    let query = query.trim().trim_end_matches(';').trim_end();
    if query.is_empty() {
        return Err(CliError::Usage(
            "give a query, a file with one, or one on stdin".to_owned(),
        ));
    }
    let mut out = std::io::stdout();
    if query == ".tables" {
        tables(&mut out)?;
        return Ok(Exit::Done);
    }
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let view = LakeView::published(&publication);
    let session = data::session_within(&lake, &view, engine::limits(args.memory_mib)).await?;
    engine::quiet();
    let batches = rows(&session, &statement(query)?).await?;
    print_rows(&mut out, &batches, args.output)?;
    Ok(Exit::Done)
}

/// Every view and what it is about.
pub(super) fn tables(out: &mut dyn Write) -> Result<(), CliError> {
    for (name, sql) in data::views() {
        let about = sql
            .lines()
            .next()
            .unwrap_or("")
            .trim_start_matches("--")
            .trim();
        writeln!(out, "{name:<22} {about}").map_err(CliError::Stdout)?;
    }
    Ok(())
}

/// The statement that a line means: `.schema` and `.explain` are short for others.
pub(super) fn statement(query: &str) -> Result<String, CliError> {
    if let Some(name) = query.strip_prefix(".schema") {
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(CliError::Usage(
                "`.schema` takes the name of a view".to_owned(),
            ));
        }
        return Ok(format!("DESCRIBE {name}"));
    }
    if let Some(query) = query.strip_prefix(".explain") {
        let query = query.trim();
        if query.is_empty() {
            return Err(CliError::Usage("`.explain` takes a query".to_owned()));
        }
        return Ok(format!("EXPLAIN {query}"));
    }
    if query.starts_with('.') {
        return Err(CliError::Usage(format!(
            "`{query}` is no command: there are .tables, .schema VIEW and .explain QUERY"
        )));
    }
    Ok(query.to_owned())
}

/// The rows of one statement; at least one batch, so that its columns are known.
pub(super) async fn rows(
    session: &SessionContext,
    statement: &str,
) -> Result<Vec<RecordBatch>, CliError> {
    bounds::check(statement).map_err(|why| CliError::Usage(why.to_string()))?;
    let none: Vec<ScalarValue> = Vec::new();
    let rows = read_only_sql(session, statement, none).await?;
    let schema = rows.schema().as_arrow().clone();
    let failed = |error| CliError::Usage(engine::told(&error));
    let all = async { collect(data::rows(rows).await?).await };
    let all = engine::guarded(all).await.map_err(CliError::Usage)?;
    let mut batches = all.map_err(failed)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema.into()));
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_commands_are_statements_and_nothing_else_slips_through() {
        assert_eq!(statement(".schema v_ledger").unwrap(), "DESCRIBE v_ledger");
        assert_eq!(statement(".explain select 1").unwrap(), "EXPLAIN select 1");
        assert_eq!(statement("select 1").unwrap(), "select 1");
        for wrong in [".schema", ".schema a; drop", ".explain", ".drop", "."] {
            assert!(statement(wrong).is_err(), "{wrong}");
        }
    }
}
