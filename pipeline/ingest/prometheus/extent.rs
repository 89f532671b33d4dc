//! Owns finding what time a server spans where its label queries heed short ranges only, as those
//! of VictoriaMetrics do: it walks back from the server's own present, a month at a time.

use super::SourceError;
use super::client::RemoteSource;
use super::queries::FAR_MS;
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS};

/// Nothing is older: 2010-01-01.
const BEFORE_ALL_MS: i64 = 1_262_304_000_000;
/// Ranges up to this long are looked up day by day.
const STRIDE_MS: i64 = 30 * DAY_MS;
/// How far the walk goes back: ten years.
const MAX_STRIDES: i64 = 122;
/// Empty months that end a history.
const MAX_EMPTY: u32 = 13;
/// Samples may be stamped a little ahead of the server's clock.
const AHEAD_MS: i64 = 2 * DAY_MS;

impl RemoteSource {
    /// Whether label queries heed any range that they are given: somewhere there are labels, and
    /// in the long time before there was a Prometheus there are none.
    pub(super) async fn heeds_ranges(&self) -> Result<bool, SourceError> {
        Ok(self.any_between(0, FAR_MS).await? && !self.any_between(0, BEFORE_ALL_MS).await?)
    }

    /// The span in which the server may hold samples, in whole days outwards, but never beyond the
    /// hour that the server's clock shows: a day that is not over is not complete.
    pub(super) async fn walk_extent(&self) -> Result<Option<TimeWindow>, SourceError> {
        let now_ms = self.server_now_ms().await?;
        let top_ms = (now_ms + AHEAD_MS).div_euclid(DAY_MS) * DAY_MS;
        let (mut newest, mut oldest, mut empty) = (None, None, 0);
        for stride in 0..MAX_STRIDES {
            let end_ms = top_ms - stride * STRIDE_MS;
            let month = TimeWindow::new(end_ms - STRIDE_MS, end_ms);
            if self.any_in(month).await? {
                newest = newest.or(Some(month));
                oldest = Some(month);
                empty = 0;
            } else {
                empty += 1;
                if oldest.is_some() && empty == MAX_EMPTY {
                    break;
                }
            }
        }
        let (Some(newest), Some(oldest)) = (newest, oldest) else {
            return Ok(None);
        };
        // The last day from which on there is something, and the first up to which there is.
        let (mut low, mut high) = (0, STRIDE_MS / DAY_MS - 1);
        while low < high {
            let middle = (low + high + 1) / 2;
            let rest = TimeWindow::new(newest.start_ms + middle * DAY_MS, newest.end_ms);
            if self.any_in(rest).await? {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let end_ms = newest.start_ms + (low + 1) * DAY_MS;
        let (mut low, mut high) = (0, STRIDE_MS / DAY_MS - 1);
        while low < high {
            let middle = low.midpoint(high);
            let head_ms = oldest.start_ms + (middle + 1) * DAY_MS;
            if self
                .any_in(TimeWindow::new(oldest.start_ms, head_ms))
                .await?
            {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let start_ms = oldest.start_ms + low * DAY_MS;
        let present_ms = (now_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS;
        let end_ms = if end_ms > present_ms && start_ms < present_ms {
            present_ms
        } else {
            end_ms
        };
        Ok(Some(TimeWindow::new(start_ms, end_ms)))
    }

    async fn any_in(&self, window: TimeWindow) -> Result<bool, SourceError> {
        self.any_between(window.start_ms, window.end_ms - 1).await
    }
}
