//! Owns half-open UTC time windows in milliseconds and their text form.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Milliseconds in a UTC day.
pub const DAY_MS: i64 = 86_400_000;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Hours of the month in which money is told: a twelfth of 8,760.
pub const MONTH_HOURS: i64 = 730;

/// `[start_ms, end_ms)` in milliseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl TimeWindow {
    #[must_use]
    pub const fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { start_ms, end_ms }
    }

    /// The UTC day that starts at or before `ms`.
    #[must_use]
    pub const fn day_of(ms: i64) -> Self {
        let start_ms = ms.div_euclid(DAY_MS) * DAY_MS;
        Self {
            start_ms,
            end_ms: start_ms + DAY_MS,
        }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end_ms <= self.start_ms
    }

    #[must_use]
    pub const fn contains(&self, ms: i64) -> bool {
        self.start_ms <= ms && ms < self.end_ms
    }

    /// The part that both windows share, if any.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let both = Self::new(
            self.start_ms.max(other.start_ms),
            self.end_ms.min(other.end_ms),
        );
        (!both.is_empty()).then_some(both)
    }

    /// The UTC days that the window touches, in order, whole.
    pub fn days(&self) -> impl Iterator<Item = Self> + use<> {
        let end_ms = self.end_ms;
        let mut next = Self::day_of(self.start_ms);
        std::iter::from_fn(move || {
            if next.start_ms >= end_ms {
                return None;
            }
            let day = next;
            next = Self::new(day.end_ms, day.end_ms + DAY_MS);
            Some(day)
        })
    }

    /// The UTC date of the window's start, `YYYY-MM-DD`.
    #[must_use]
    pub fn date(&self) -> String {
        date_of(self.start_ms)
    }

    /// `start_end` in RFC 3339, the key of an ingest window.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}_{}", format_ms(self.start_ms), format_ms(self.end_ms))
    }
}

/// The UTC date of an instant, `YYYY-MM-DD`.
#[must_use]
pub fn date_of(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |t| t.format("%Y-%m-%d").to_string())
}

/// RFC 3339 in UTC; milliseconds only where there are any.
#[must_use]
pub fn format_ms(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |t| t.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// Parses RFC 3339 (`:` may be `-` in the time, as in folder names) or a bare `YYYY-MM-DD`.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let (date, time) = text.split_once('T')?;
    let (time, zone) = time.strip_suffix('Z').map_or_else(
        || time.split_at_checked(time.len().checked_sub(6)?),
        |t| Some((t, "Z")),
    )?;
    let zone = if zone == "Z" {
        "Z".to_owned()
    } else {
        format!("{}:{}", zone.get(..3)?, zone.get(4..)?)
    };
    let spelled = format!("{date}T{}{zone}", time.replace('-', ":"));
    DateTime::parse_from_rfc3339(&spelled)
        .ok()
        .map(|t| t.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_cover_the_window_and_nothing_else() {
        let window = TimeWindow::new(DAY_MS - 1, 2 * DAY_MS);
        let days: Vec<_> = window.days().collect();
        assert_eq!(
            days,
            vec![
                TimeWindow::new(0, DAY_MS),
                TimeWindow::new(DAY_MS, 2 * DAY_MS)
            ]
        );
        assert_eq!(TimeWindow::new(5, 5).days().count(), 1);
    }

    #[test]
    fn folder_names_and_rfc_3339_mean_the_same_instant() {
        let ms = parse_ms("2026-10-26T06:30:00Z").unwrap();
        assert_eq!(parse_ms("2026-10-26T06-30-00Z"), Some(ms));
        assert_eq!(parse_ms("2026-10-26T08-30-00+02-00"), Some(ms));
        assert_eq!(parse_ms("2026-10-26T08:30:00+02:00"), Some(ms));
        assert_eq!(format_ms(ms), "2026-10-26T06:30:00Z");
        assert_eq!(parse_ms("2026-10-26"), parse_ms("2026-10-26T00:00:00Z"));
        assert_eq!(parse_ms("yesterday"), None);
        assert_eq!(parse_ms("Té"), None);
    }
}
