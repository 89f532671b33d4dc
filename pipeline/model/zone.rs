//! Owns time zones: an IANA name, and instants as people who live by it read them. Days of the ledger
//! stay UTC days whatever zone is shown. The rules are compiled in, so an image needs no zone files.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use chrono_tz::Tz;

use super::time::format_ms;

/// A zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// What a zone's clock shows, to the minute; a week begins with Sunday, 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    pub minute: u32,
    pub hour: u32,
    pub day: u32,
    pub month: u32,
    pub weekday: u32,
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    /// `None` where the database has no such name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    #[must_use]
    pub fn is_utc(self) -> bool {
        self == Self::UTC
    }

    /// What its clock shows at an instant; at one that no calendar holds, the first of all.
    #[must_use]
    pub fn clock(self, ms: i64) -> Clock {
        let time = DateTime::<Utc>::from_timestamp_millis(ms)
            .unwrap_or_default()
            .with_timezone(&self.0);
        Clock {
            minute: time.minute(),
            hour: time.hour(),
            day: time.day(),
            month: time.month(),
            weekday: time.weekday().num_days_from_sunday(),
        }
    }

    /// To the minute with the zone's abbreviation, `2026-11-23 01:00 CET`; in UTC as RFC 3339.
    #[must_use]
    pub fn instant(self, ms: i64) -> String {
        if self.is_utc() {
            return format_ms(ms);
        }
        DateTime::<Utc>::from_timestamp_millis(ms).map_or_else(
            || ms.to_string(),
            |time| {
                time.with_timezone(&self.0)
                    .format("%Y-%m-%d %H:%M %Z")
                    .to_string()
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::parse_ms;

    #[test]
    fn instants_follow_the_zones_clock_over_the_change_of_summer_time() {
        let shown = |zone: &str, time: &str| {
            let zone = Zone::parse(zone).unwrap();
            zone.instant(parse_ms(time).unwrap())
        };
        let berlin = |time: &str| shown("Europe/Berlin", time);
        // The hour that clocks show twice.
        assert_eq!(berlin("2026-10-25T00:30:00Z"), "2026-10-25 02:30 CEST");
        assert_eq!(berlin("2026-10-25T01:30:00Z"), "2026-10-25 02:30 CET");
        assert_eq!(
            shown("America/New_York", "2026-11-23T00:00:00Z"),
            "2026-11-22 19:00 EST"
        );
        // Where a zone has no letters, its offset stands there.
        assert_eq!(
            shown("Asia/Kathmandu", "2026-11-23T00:00:00Z"),
            "2026-11-23 05:45 +0545"
        );
        assert_eq!(shown("UTC", "2026-11-23"), "2026-11-23T00:00:00Z");
        assert!(Zone::parse("Mars/Olympus").is_none());
    }
}
