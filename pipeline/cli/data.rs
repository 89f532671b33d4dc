//! Owns how commands open the lake for reading: the publication, its session, the views of
//! `queries/views/`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionContext};
use include_dir::{Dir, include_dir};

use super::error::CliError;
use crate::config::Config;
use crate::lake::{Lake, LakeView, Publication, SessionLimits, register_views};

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
    let mut ordered = Vec::with_capacity(views.len());
    while !views.is_empty() {
        let ready = views.iter().position(|(name, sql)| {
            !views
                .iter()
                .any(|(other, _)| other != name && reads(sql, other))
        });
        ordered.push(views.remove(ready.unwrap_or(0)));
    }
    ordered
}

/// Whether a view's SQL, its comments aside, names another one.
fn reads(sql: &str, view: &str) -> bool {
    sql.lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .any(|word| word == view)
}

/// A session over a view of the lake, with the documented `v_` views defined.
pub(super) async fn session(lake: &Lake, view: &LakeView) -> Result<SessionContext, CliError> {
    session_within(lake, view, SessionLimits::default()).await
}

/// [`session`] with memory of its own.
pub(super) async fn session_within(
    lake: &Lake,
    view: &LakeView,
    limits: SessionLimits,
) -> Result<SessionContext, CliError> {
    let session = lake.read_session_within(view, limits).await?;
    register_views(&session, &views()).await?;
    Ok(session)
}

/// The newest publication, or the one asked for.
pub(super) async fn published(
    config: &Config,
    as_of: Option<u64>,
) -> Result<(Lake, Publication), CliError> {
    let (lake, publication) = newest(config, as_of).await?;
    let publication = publication.ok_or_else(|| no_publication(config, &lake))?;
    Ok((lake, publication))
}

/// [`published`], where a lake without a publication is no error.
pub(super) async fn newest(
    config: &Config,
    as_of: Option<u64>,
) -> Result<(Lake, Option<Publication>), CliError> {
    let lake = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
    let publication = lake.publication(as_of).await?;
    Ok((lake, publication))
}

pub(super) fn no_publication(config: &Config, lake: &Lake) -> CliError {
    CliError::Usage(format!(
        "the lake `{}` has no publication yet: `idleproof run --config {}` makes one",
        lake.url(),
        config.path.display()
    ))
}

/// A query's rows, in pieces between which it can be stopped. What multiplies rows would otherwise compute for
/// minutes before it looks up.
pub(super) async fn rows(frame: DataFrame) -> Result<SendableRecordBatchStream, DataFusionError> {
    let context = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await?;
    let plan = plan.transform_up(|plan| {
        Ok(if plan.name().contains("Join") {
            Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(plan)
        })
    })?;
    execute_stream(plan.data, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_after_those_that_it_reads() {
        let views = views();
        for (at, (name, sql)) in views.iter().enumerate() {
            for (later, _) in &views[at + 1..] {
                assert!(!reads(sql, later), "{name} reads {later}");
            }
        }
        assert!(views.len() > 10);
    }
}
