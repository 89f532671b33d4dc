//! Owns the headers of indexes in a bucket that were read last: many reads in a row, one for each
//! selector and window, need those of the same blocks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::file::BlockFile;
use super::index::{Header, Index};
use crate::ingest::prometheus::SourceError;

/// What the kept headers may take together; the last one read is kept whatever it takes.
const MAX_BYTES: usize = 192 << 20;

/// Headers by the key of their block, last used first.
#[derive(Default)]
pub(super) struct Headers {
    kept: Mutex<VecDeque<(String, Arc<Header>)>>,
    /// A disk reads them again: it costs little, and a block may be replaced under its name.
    is_off: bool,
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Headers")
    }
}

impl Headers {
    pub(super) fn off() -> Self {
        Self {
            is_off: true,
            ..Self::default()
        }
    }

    /// Opens a block's index, with the header of an earlier read if it is kept.
    pub(super) fn open(&self, block: &str, file: BlockFile) -> Result<Index, SourceError> {
        if self.is_off {
            return Index::open(file, None);
        }
        let index = Index::open(file, self.take(block))?;
        self.keep(block, Arc::clone(index.header()));
        Ok(index)
    }

    fn take(&self, block: &str) -> Option<Arc<Header>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(key, _)| key == block)?;
        kept.remove(at).map(|(_, header)| header)
    }

    fn keep(&self, block: &str, header: Arc<Header>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((block.to_owned(), header));
        let mut bytes = 0_usize;
        let mut fits = 0;
        for (_, header) in kept.iter() {
            bytes = bytes.saturating_add(header.bytes());
            if bytes > MAX_BYTES {
                break;
            }
            fits += 1;
        }
        kept.truncate(fits.max(1));
    }
}
