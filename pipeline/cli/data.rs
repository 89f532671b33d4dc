//! Owns how commands open the lake for reading: the publication, its session, the views of
//! `queries/views/`.

use datafusion::prelude::SessionContext;
use include_dir::{Dir, include_dir};

use super::error::CliError;
use crate::config::Config;
use crate::lake::{Lake, LakeView, Publication, register_views};

static VIEWS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/views");

/// `(name, SQL)` of every documented view, in an order in which each needs earlier ones only.
pub(super) fn views() -> Vec<(String, String)> {
    let mut views: Vec<(String, String)> = VIEWS
        .files()
        .filter_map(|file| {
            let name = file.path().file_stem()?.to_str()?.to_owned();
            (file.path().extension()? == "sql").then_some((name, file.contents_utf8()?.to_owned()))
        })
        .collect();
    views.sort();
    views
}

/// A session over a view of the lake, with the documented `v_` views defined.
pub(super) async fn session(lake: &Lake, view: &LakeView) -> Result<SessionContext, CliError> {
    let session = lake.read_session(view).await?;
    register_views(&session, &views()).await?;
    Ok(session)
}

/// The newest publication, or the one asked for.
pub(super) async fn published(
    config: &Config,
    as_of: Option<u64>,
) -> Result<(Lake, Publication), CliError> {
    let lake = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
    let publication = lake.publication(as_of).await?.ok_or_else(|| {
        CliError::Usage(format!(
            "the lake `{}` has no publication yet: `idleproof run --config {}` makes one",
            lake.url(),
            config.path.display()
        ))
    })?;
    Ok((lake, publication))
}
