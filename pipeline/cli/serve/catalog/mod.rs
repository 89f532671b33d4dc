//! Owns PostgreSQL's catalogue for the clients of `serve`: what `\d` of psql, drivers and dashboards ask before
//! anybody asks a question. `facts` says what there is, `tables`, `information` and `empty` make tables of it,
//! `functions` the functions, and `rewrite`, `words` and `nothing` have the engine plan what clients send.

mod cells;
mod empty;
mod facts;
mod functions;
mod information;
mod nothing;
mod rewrite;
mod tables;
mod words;

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use facts::Facts;

/// Adds the catalogue to a session whose tables and views are all there.
pub(super) async fn install(session: &SessionContext) -> Result<()> {
    let facts = Arc::new(Facts::of(session).await?);
    let options = session.copied_config();
    if let Some(catalog) = session.catalog(&options.options().catalog.default_catalog) {
        catalog.register_schema("pg_catalog", tables::schema(&facts)?)?;
    }
    for function in functions::all(&facts) {
        session.register_udf(function);
    }
    Ok(())
}

/// A client's query as it can be planned here.
pub(super) fn planned(sql: &str) -> Cow<'_, str> {
    rewrite::rewritten(sql).map_or(Cow::Borrowed(sql), Cow::Owned)
}
