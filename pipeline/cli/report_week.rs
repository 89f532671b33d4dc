//! Owns which publication a report is of: the weeks that can be asked for, and what there is where a week is
//! not there, or not whole.

use chrono::{Datelike as _, NaiveDate, Weekday};

use super::error::CliError;
use super::now_ms;
use super::windowed::WEEK_MS;
use crate::lake::{Lake, LakeError, Publication};
use crate::model::time::{DAY_MS, HOUR_MS, date_of};

/// Publications that are looked at for a week, newest first: a year of nightly ones.
const SOUGHT_MAX: u64 = 400;

/// A week that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Week {
    /// The last whole one by the clock.
    Last,
    Of(i64, i64),
}

impl Week {
    fn span(self) -> (i64, i64) {
        match self {
            Self::Of(start_ms, end_ms) => (start_ms, end_ms),
            Self::Last => {
                let monday_ms = monday_of(now_ms());
                (monday_ms - WEEK_MS, monday_ms)
            }
        }
    }
}

pub(super) fn parse_asked_week(text: &str) -> Result<Week, String> {
    if text == "last" {
        return Ok(Week::Last);
    }
    parse_week(text)
        .map(|(start, end)| Week::Of(start, end))
        .map_err(|_| "give an ISO week, as in `2026-W47`, or `last`".to_owned())
}

/// The Monday's midnight at or before an instant. The epoch was a Thursday: its week began three days
/// earlier.
fn monday_of(ms: i64) -> i64 {
    (ms + 3 * DAY_MS).div_euclid(WEEK_MS) * WEEK_MS - 3 * DAY_MS
}

/// What is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    WeekBefore,
    Week(i64, i64),
    Publication(u64),
}

pub(super) fn parse_other(text: &str) -> Result<Other, String> {
    if text == "before" {
        return Ok(Other::WeekBefore);
    }
    if let Ok(number) = text.parse() {
        return Ok(Other::Publication(number));
    }
    let (start, end) = parse_week(text)
        .map_err(|_| "give an ISO week, as in `2026-W47`, or a publication's number".to_owned())?;
    Ok(Other::Week(start, end))
}

/// First millisecond of the ISO week and the first after it.
fn parse_week(text: &str) -> Result<(i64, i64), String> {
    let wrong = || "give an ISO week, as in `2026-W47`".to_owned();
    let (year, week) = text.split_once("-W").ok_or_else(wrong)?;
    let year: i32 = year.parse().map_err(|_| wrong())?;
    let week: u32 = week.parse().map_err(|_| wrong())?;
    let monday = NaiveDate::from_isoywd_opt(year, week, Weekday::Mon).ok_or_else(wrong)?;
    let days = i64::from(monday.num_days_from_ce()) - i64::from(epoch_days());
    Ok((days * DAY_MS, (days + 7) * DAY_MS))
}

fn epoch_days() -> i32 {
    NaiveDate::default().num_days_from_ce()
}

/// A publication for what was asked, or why there is none.
#[derive(Debug)]
pub(super) enum Picked {
    Whole(Publication),
    /// One that has a part of the week, and which.
    Partly(Publication, String),
    None(String),
}

/// The publication that the arguments name.
pub(super) async fn pick(
    lake: &Lake,
    newest: Publication,
    week: Option<Week>,
    days: Option<u32>,
) -> Result<Picked, CliError> {
    let (is_last, week) = (week == Some(Week::Last), week.map(Week::span));
    let days = days.map(i64::from);
    let has_days = |publication: &Publication| {
        let window = publication.window();
        days.is_none_or(|days| window.end_ms - window.start_ms == days * DAY_MS)
    };
    let fits = |publication: &Publication| {
        week.is_none_or(|week| in_week(week)(publication)) && has_days(publication)
    };
    if let Some(found) = find(lake, newest.clone(), fits).await? {
        return Ok(match week {
            Some(week) => partly(found, week),
            None => Picked::Whole(found),
        });
    }
    let Some(week) = week else {
        let days = days.map_or_else(String::new, |days| format!(" --last {days}d"));
        return Ok(Picked::None(format!(
            "no publication has such a window; `idleproof run --no-ingest{days}` makes one of what the lake holds"
        )));
    };
    // The first run after an install ends later than the last week, and has days of it.
    let touches =
        |publication: &Publication| publication.window().start_ms < week.1 && has_days(publication);
    let is_later = newest.window().end_ms > week.1;
    if is_last
        && is_later
        && let Some(found) = find(lake, newest.clone(), touches).await?
    {
        return Ok(partly(found, week));
    }
    let there = newest.window();
    let days = days.map_or_else(String::new, |days| format!(" --last {days}d"));
    Ok(Picked::None(format!(
        "no publication has a window{} that ends in the week from {}; the newest, {}, is of {} to {}: \
         `idleproof run --no-ingest{days} --to {}` makes one of what the lake holds",
        if days.is_empty() {
            ""
        } else {
            " of so many days"
        },
        date_of(week.0),
        newest.number,
        date_of(there.start_ms),
        date_of(there.end_ms),
        date_of(week.1)
    )))
}

/// Says how much of a week a publication has where that is not all.
fn partly(publication: Publication, (start_ms, end_ms): (i64, i64)) -> Picked {
    let window = publication.window();
    let (from, to) = (window.start_ms.max(start_ms), window.end_ms.min(end_ms));
    if (from, to) == (start_ms, end_ms) && window.end_ms == end_ms {
        return Picked::Whole(publication);
    }
    let days = (to - from).max(0) / DAY_MS;
    let why = format!(
        "the week from {} is in publication {} with {days} of its 7 days: its window is {} to {}",
        date_of(start_ms),
        publication.number,
        date_of(window.start_ms),
        date_of(window.end_ms)
    );
    Picked::Partly(publication, why)
}

/// The newest publication of the week before another's.
pub(super) async fn week_before(
    lake: &Lake,
    publication: &Publication,
) -> Result<Option<Publication>, CliError> {
    find(lake, publication.clone(), in_week(before(publication))).await
}

/// The publication that another is compared with.
pub(super) async fn other(
    lake: &Lake,
    publication: &Publication,
    other: Other,
) -> Result<Publication, CliError> {
    let week = match other {
        Other::Publication(number) => {
            return lake.publication(Some(number)).await?.ok_or_else(|| {
                CliError::Usage(format!("there is no publication {number} in the lake"))
            });
        }
        Other::Week(start_ms, end_ms) => (start_ms, end_ms),
        Other::WeekBefore => before(publication),
    };
    find(lake, publication.clone(), in_week(week))
        .await?
        .ok_or_else(|| no_such_week(week))
}

/// The ISO week before that in which a publication's window ends.
fn before(publication: &Publication) -> (i64, i64) {
    let monday_ms = monday_of(publication.window().end_ms - HOUR_MS);
    (monday_ms - WEEK_MS, monday_ms)
}

/// A window that ends at Monday's midnight ends in the week before: its last hour does.
fn in_week((start_ms, end_ms): (i64, i64)) -> impl Fn(&Publication) -> bool {
    move |publication| (start_ms..end_ms).contains(&(publication.window().end_ms - HOUR_MS))
}

/// The newest publication that fits, not newer than the one given.
async fn find(
    lake: &Lake,
    newest: Publication,
    fits: impl Fn(&Publication) -> bool,
) -> Result<Option<Publication>, CliError> {
    let mut publication = newest;
    for _ in 0..SOUGHT_MAX {
        if fits(&publication) {
            return Ok(Some(publication));
        }
        let Some(earlier) = publication.number.checked_sub(1).filter(|n| *n > 0) else {
            break;
        };
        match lake.publication(Some(earlier)).await {
            Ok(Some(found)) => publication = found,
            // Older ones were let go.
            Ok(None) | Err(LakeError::NoSuchPublication { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn no_such_week((start_ms, end_ms): (i64, i64)) -> CliError {
    CliError::Usage(format!(
        "no publication has a window that ends in the week from {}; `idleproof run --to {}` makes one",
        date_of(start_ms),
        date_of(end_ms)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_with_a_week_a_publication_or_the_week_before() {
        assert_eq!(parse_other("before"), Ok(Other::WeekBefore));
        assert_eq!(parse_other("12"), Ok(Other::Publication(12)));
        let (start, end) = parse_week("2026-W46").unwrap();
        assert_eq!(parse_other("2026-W46"), Ok(Other::Week(start, end)));
        assert!(parse_other("last").is_err());
    }

    #[test]
    fn the_last_week_is_the_last_whole_one() {
        assert_eq!(parse_asked_week("last"), Ok(Week::Last));
        let (start, end) = parse_week("2026-W47").unwrap();
        assert_eq!(parse_asked_week("2026-W47"), Ok(Week::Of(start, end)));
        assert!(parse_asked_week("first").unwrap_err().contains("`last`"));
        assert_eq!(monday_of(start), start);
        assert_eq!(monday_of(end - 1), start);
        let (start, end) = Week::Last.span();
        assert!(end <= now_ms() && now_ms() < end + WEEK_MS && end - start == WEEK_MS);
    }

    #[test]
    fn weeks_are_iso_weeks() {
        let (start, end) = parse_week("2026-W47").unwrap();
        assert_eq!(
            (date_of(start), date_of(end)),
            ("2026-11-16".into(), "2026-11-23".into())
        );
        // The first week of 2026 began in 2025.
        assert_eq!(date_of(parse_week("2026-W01").unwrap().0), "2025-12-29");
        for wrong in ["2026", "2026-47", "2026-W54", "2026-W00", "x-W01"] {
            assert!(parse_week(wrong).is_err(), "{wrong}");
        }
    }
}
