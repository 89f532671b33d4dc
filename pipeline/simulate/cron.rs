//! Owns cron schedules of five fields and the times between two of them, in a zone's own clock.
//!
//! Follows <https://keda.sh/docs/latest/scalers/cron/> and kedacore/keda `pkg/scalers/cron_scaler.go`: a
//! moment is inside where the next end comes before the next start.

use crate::model::zone::{Clock, Zone};

const MINUTE_MS: i64 = 60_000;
/// Beyond this nobody waits for a schedule's next time.
const LOOK_AHEAD_MS: i64 = 400 * 86_400_000;

/// A schedule of minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days of the month and of the week are alternatives unless one of them is `*`.
    either_day: bool,
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn number(text: &str, names: &[&str], first: u32) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(place) => Some(place as u32 + first),
        None if text.len() <= 3 => text.parse().ok(),
        None => None,
    }
}

/// One field as a set of bits, and whether it is every value.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Option<(u64, bool)> {
    let mut bits = 0_u64;
    let mut every = false;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range {
            "*" | "?" => {
                every |= step == 1;
                (least, most)
            }
            range => {
                if let Some((from, to)) = range.split_once('-') {
                    (number(from, names, least)?, number(to, names, least)?)
                } else {
                    let one = number(range, names, least)?;
                    (one, if part.contains('/') { most } else { one })
                }
            }
        };
        // Sunday is 0 and 7.
        let to_most = if names.len() == 7 { 7 } else { most };
        if from < least || to > to_most || from > to {
            return None;
        }
        for value in (from..=to).step_by(step as usize) {
            bits |= 1 << if names.len() == 7 { value % 7 } else { value };
        }
    }
    Some((bits, every))
}

impl Cron {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return None;
        };
        let (days, every_day) = field(days, 1, 31, &[])?;
        let (weekdays, every_weekday) = field(weekdays, 0, 6, WEEKDAYS)?;
        Some(Self {
            minutes: field(minutes, 0, 59, &[])?.0,
            hours: field(hours, 0, 23, &[])?.0,
            days,
            months: field(months, 1, 12, MONTHS)?.0,
            weekdays,
            either_day: !every_day && !every_weekday,
        })
    }

    fn fires(&self, clock: Clock) -> bool {
        let has = |bits: u64, value: u32| bits & (1 << value) != 0;
        let day = has(self.days, clock.day);
        let weekday = has(self.weekdays, clock.weekday);
        has(self.minutes, clock.minute)
            && has(self.hours, clock.hour)
            && has(self.months, clock.month)
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }
}

/// The times between the starts and the ends of two schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    pub start: Cron,
    pub end: Cron,
    pub zone: Zone,
}

impl Between {
    /// When it turns, in order, over a span: `(from, whether it is inside from then on)`. The first is
    /// the span's start.
    #[must_use]
    pub fn turns(&self, start_ms: i64, end_ms: i64) -> Vec<(i64, bool)> {
        let mut turns = Vec::new();
        let mut events = Vec::new();
        let mut at = start_ms - start_ms.rem_euclid(MINUTE_MS);
        while at < end_ms + LOOK_AHEAD_MS {
            at += MINUTE_MS;
            let clock = self.zone.clock(at);
            let (starts, ends) = (self.start.fires(clock), self.end.fires(clock));
            if starts || ends {
                events.push((at, starts, ends));
                if at >= end_ms {
                    break;
                }
            }
        }
        // Before each event the next is known: an end before a start is inside.
        let mut from = start_ms;
        for (at, starts, ends) in events {
            let inside = ends && !starts;
            if turns.last().is_none_or(|(_, last)| *last != inside) {
                turns.push((from, inside));
            }
            from = at;
        }
        if turns.is_empty() {
            turns.push((start_ms, false));
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{format_ms, parse_ms};

    fn turns(start: &str, end: &str, zone: &str, from: &str, to: &str) -> Vec<(String, bool)> {
        let between = Between {
            start: Cron::parse(start).unwrap(),
            end: Cron::parse(end).unwrap(),
            zone: Zone::parse(zone).unwrap(),
        };
        let turns = between.turns(parse_ms(from).unwrap(), parse_ms(to).unwrap());
        turns
            .into_iter()
            .map(|(at, inside)| (format_ms(at), inside))
            .collect()
    }

    #[test]
    fn office_hours_follow_the_zones_clock() {
        // Summer time ends on 2026-10-25: eight o'clock comes an hour later in UTC.
        let found = turns(
            "0 8 * * *",
            "0 20 * * *",
            "Europe/Berlin",
            "2026-10-24",
            "2026-10-26",
        );
        let told = [
            ("2026-10-24T00:00:00Z", false),
            ("2026-10-24T06:00:00Z", true),
            ("2026-10-24T18:00:00Z", false),
            ("2026-10-25T07:00:00Z", true),
            ("2026-10-25T19:00:00Z", false),
        ];
        assert_eq!(found, told.map(|(at, inside)| (at.to_owned(), inside)));
    }

    #[test]
    fn a_span_may_begin_inside_and_nights_span_midnight() {
        let found = turns(
            "0 22 * * mon-fri",
            "0 6 * * *",
            "UTC",
            "2026-11-10",
            "2026-11-11",
        );
        let told = [
            ("2026-11-10T00:00:00Z", true),
            ("2026-11-10T06:00:00Z", false),
            ("2026-11-10T22:00:00Z", true),
        ];
        assert_eq!(found, told.map(|(at, inside)| (at.to_owned(), inside)));
    }

    #[test]
    fn days_of_month_and_week_are_alternatives_where_both_are_named() {
        let clock = |day, weekday| Clock {
            minute: 0,
            hour: 0,
            day,
            month: 11,
            weekday,
        };
        let both = Cron::parse("0 0 13 * 5").unwrap();
        assert!(both.fires(clock(13, 2)) && both.fires(clock(1, 5)) && !both.fires(clock(1, 2)));
        let one = Cron::parse("0 0 * * fri").unwrap();
        assert!(one.fires(clock(1, 5)) && !one.fires(clock(13, 2)));
        assert_eq!(
            Cron::parse("*/15 * * * 7"),
            Cron::parse("0,15,30,45 * * * 0")
        );
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "5-1 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "@daily",
        ] {
            assert_eq!(Cron::parse(wrong), None, "{wrong}");
        }
    }
}
