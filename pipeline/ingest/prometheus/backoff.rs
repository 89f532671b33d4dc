//! Owns how long is waited before something is tried again: full jitter, so that many clients do
//! not come back together, under a ceiling; a server's `Retry-After` is heeded within it. Pure but
//! for the dice.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The pause after attempt number `attempt` (from 1): anywhere between nothing and twice as long
/// as the last could be, or what the server asked for.
pub(crate) fn pause(
    attempt: u32,
    base: Duration,
    ceiling: Duration,
    asked: Option<Duration>,
) -> Duration {
    if let Some(asked) = asked {
        return asked.min(ceiling);
    }
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1).min(16));
    let longest = base
        .saturating_mul(doubled.unwrap_or(u32::MAX))
        .min(ceiling);
    longest.mul_f64(fastrand::f64())
}

/// What an answer says of when to come back: seconds, or a moment, which is measured by the
/// answer's own clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(&RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(after).ok()?;
    let now = DateTime::parse_from_rfc2822(text(&DATE)?).ok()?;
    Some((at - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CEILING: Duration = Duration::from_secs(2);

    #[test]
    fn pauses_are_anywhere_below_a_ceiling() {
        let mut longest = Duration::ZERO;
        for attempt in 1..200 {
            let took = pause(attempt, BASE, CEILING, None);
            assert!(took <= CEILING);
            longest = longest.max(took);
        }
        assert!(longest > CEILING / 2);
        assert!((0..50).all(|_| pause(1, BASE, CEILING, None) <= BASE));
    }

    #[test]
    fn a_server_may_ask_for_its_time_but_not_for_ever() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause(1, BASE, CEILING, asked(1)), Duration::from_secs(1));
        assert_eq!(pause(9, BASE, CEILING, asked(0)), Duration::ZERO);
        assert_eq!(pause(1, BASE, CEILING, asked(86_400)), CEILING);
    }

    #[test]
    fn moments_are_measured_by_the_servers_clock() {
        let headers = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers)
        };
        assert_eq!(headers("7", None), Some(Duration::from_secs(7)));
        let (now, then) = (
            "Sun, 01 Nov 2026 08:00:00 GMT",
            "Sun, 01 Nov 2026 08:00:09 GMT",
        );
        assert_eq!(headers(then, Some(now)), Some(Duration::from_secs(9)));
        assert_eq!(headers(now, Some(then)), Some(Duration::ZERO));
        assert_eq!(headers(then, None), None);
        assert_eq!(headers("soon", Some(now)), None);
    }
}
