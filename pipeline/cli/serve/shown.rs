//! Owns what is served: the newest publication at the time of a connection, or the one that was asked for,
//! in one session that all its connections share, so that its memory is bounded once.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use tokio::sync::Mutex;

use super::catalog;
use crate::cli::data;
use crate::cli::error::CliError;
use crate::lake::{Lake, LakeError, LakeView, Publication, SessionLimits};

/// A publication and the session that shows it.
#[derive(Clone)]
pub(super) struct Shown {
    pub number: u64,
    pub session: SessionContext,
}

/// Opens publications as they come.
pub(super) struct Shelf {
    lake: Lake,
    as_of: Option<u64>,
    limits: SessionLimits,
    newest: Mutex<Arc<Shown>>,
}

impl Shelf {
    pub(super) async fn of(
        lake: Lake,
        publication: &Publication,
        as_of: Option<u64>,
        limits: SessionLimits,
    ) -> Result<Self, CliError> {
        let shown = open(&lake, publication, limits).await?;
        Ok(Self {
            lake,
            as_of,
            limits,
            newest: Mutex::new(Arc::new(shown)),
        })
    }

    /// What a new connection sees; connections that are open keep what they have.
    pub(super) async fn now(&self) -> Result<Arc<Shown>, CliError> {
        let mut newest = self.newest.lock().await;
        if self.as_of.is_none()
            && let Some(publication) = self.lake.publication(None).await?
            && publication.number != newest.number
        {
            *newest = Arc::new(open(&self.lake, &publication, self.limits).await?);
        }
        Ok(Arc::clone(&newest))
    }
}

async fn open(
    lake: &Lake,
    publication: &Publication,
    limits: SessionLimits,
) -> Result<Shown, CliError> {
    let view = LakeView::published(publication);
    let session = data::session_within(lake, &view, limits).await?;
    catalog::install(&session)
        .await
        .map_err(|error| LakeError::sql("describe the views", error))?;
    Ok(Shown {
        number: publication.number,
        session,
    })
}
