//! Owns `sql`: one read-only query over what a publication shows.

use std::io::Write as _;

use datafusion::scalar::ScalarValue;

use super::args::SqlArgs;
use super::data;
use super::error::CliError;
use super::output::print_rows;
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::{LakeView, read_only_sql};

pub(super) async fn sql(args: &SqlArgs) -> Result<Exit, CliError> {
    let query = match (&args.query, &args.file) {
        (Some(query), _) => query.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| CliError::file("read the query", path, error))?,
        (None, None) => {
            return Err(CliError::Usage(
                "give a query or a file with one".to_owned(),
            ));
        }
    };
    let query = query.trim();
    if query == ".tables" {
        let mut out = std::io::stdout().lock();
        for (name, sql) in data::views() {
            let about = sql
                .lines()
                .next()
                .unwrap_or("")
                .trim_start_matches("--")
                .trim();
            writeln!(out, "{name:<22} {about}").map_err(CliError::Stdout)?;
        }
        return Ok(Exit::Done);
    }
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let statement = match query.strip_prefix(".schema") {
        None => query.to_owned(),
        Some(name) => {
            let name = name.trim();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(CliError::Usage(
                    "`.schema` takes the name of a view".to_owned(),
                ));
            }
            format!("DESCRIBE {name}")
        }
    };
    let none: Vec<ScalarValue> = Vec::new();
    let rows = read_only_sql(&session, &statement, none).await?;
    let schema = rows.schema().as_arrow().clone();
    let mut batches = rows
        .collect()
        .await
        .map_err(|error| CliError::Usage(format!("the query failed: {error}")))?;
    if batches.is_empty() {
        batches.push(datafusion::arrow::array::RecordBatch::new_empty(
            schema.into(),
        ));
    }
    print_rows(&mut std::io::stdout().lock(), &batches, args.output)?;
    Ok(Exit::Done)
}
