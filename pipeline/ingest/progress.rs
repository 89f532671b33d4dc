//! Owns what an ingest tells of itself while it runs. How it is shown is the command line's.

use std::sync::Arc;

use super::driver::WindowReport;
use crate::model::TimeWindow;

/// A moment of an ingest.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// So many windows are to be looked at.
    Begins { windows: usize },
    /// A window is being read.
    Reads { window: TimeWindow },
    /// Samples that came in since the last time.
    Took { samples: u64 },
    /// A window was too large, for the memory that it may have or for the server: it is read in
    /// narrower ones.
    Narrows {
        window: TimeWindow,
        width_ms: i64,
        why: &'a str,
    },
    /// The windows behind this one are tried wider again.
    Widens { window: TimeWindow, width_ms: i64 },
    /// A window came damaged and is read from its start.
    Repeats { window: TimeWindow, why: &'a str },
    /// A window is dealt with.
    Done { report: &'a WindowReport },
}

type Tell = dyn Fn(Progress<'_>) + Send + Sync;

/// Who is told.
#[derive(Clone, Default)]
pub struct Listener(Option<Arc<Tell>>);

impl Listener {
    pub fn new(tell: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, progress: Progress<'_>) {
        if let Some(tell) = &self.0 {
            tell(progress);
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Listener(some)"
        } else {
            "Listener(none)"
        })
    }
}
