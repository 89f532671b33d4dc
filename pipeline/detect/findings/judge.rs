//! Owns how sure a finding is, with the reasons by name, how wide its band is after what earlier
//! outcomes taught, and how findings rank: savings against what the change disturbs.

use rust_decimal::Decimal;

use crate::model::time::DAY_MS;

/// How sure, and why no surer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Confidence {
    pub level: &'static str,
    /// Named reasons, the strongest first; empty where nothing lowers it.
    pub because: Vec<String>,
}

/// What confidence is made of.
pub(super) struct Grounds<'a> {
    /// The detector's own word.
    pub detector: &'a str,
    pub coverage: Option<f64>,
    pub existed_ms: i64,
    pub price_band_percent: i64,
    pub placement_band_percent: i64,
}

const LEVELS: [&str; 3] = ["low", "medium", "high"];

/// An edge of a band, moved away from its middle or towards it; `None` where it is beyond all money.
pub(super) fn scaled(middle: Decimal, edge: Decimal, percent: i64) -> Option<Decimal> {
    if percent == 100 {
        return Some(edge);
    }
    let moved = (edge - middle).checked_mul(Decimal::new(percent, 2))?;
    middle.checked_add(moved)
}

/// The lowest of what each ground allows.
pub(super) fn confidence(grounds: &Grounds<'_>) -> Confidence {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level).unwrap_or(0);
    let mut caps: Vec<(usize, String)> = Vec::new();
    if rank(grounds.detector) < 2 {
        caps.push((
            rank(grounds.detector),
            "the signals that the detector saw allow no more".to_owned(),
        ));
    }
    match grounds.coverage {
        Some(seen) if seen < 0.8 => {
            caps.push((0, "a fifth and more of its time was not seen".to_owned()));
        }
        Some(seen) if seen < 0.95 => {
            caps.push((
                1,
                "a twentieth and more of its time was not seen".to_owned(),
            ));
        }
        Some(_) => {}
        None => caps.push((0, "how much of its time was seen is unknown".to_owned())),
    }
    if grounds.existed_ms < 3 * DAY_MS {
        caps.push((0, "it existed for less than three days".to_owned()));
    } else if grounds.existed_ms < 7 * DAY_MS {
        caps.push((
            1,
            "it existed for less than a week, whose rhythm is unknown".to_owned(),
        ));
    }
    if grounds.price_band_percent >= 40 {
        caps.push((
            0,
            "its price is the provider's for another machine".to_owned(),
        ));
    } else if grounds.price_band_percent >= 20 {
        caps.push((1, "its price is that of another region".to_owned()));
    }
    if grounds.placement_band_percent >= 60 {
        caps.push((
            1,
            "few measurements stand behind the estimate of what would do".to_owned(),
        ));
    }
    caps.sort_by_key(|(cap, _)| *cap);
    Confidence {
        level: LEVELS[caps.first().map_or(2, |(cap, _)| *cap)],
        because: caps.into_iter().map(|(_, why)| why).collect(),
    }
}

/// What a finding ranks by: its monthly saving, discounted for doubt and for what the change
/// disturbs. The weights order a list; they are no money, and no report shows them as such.
pub(super) fn priority(
    net_usd: Option<Decimal>,
    confidence: &str,
    risk: Option<&str>,
) -> Option<Decimal> {
    let doubt = match confidence {
        "high" => 100,
        "medium" => 85,
        _ => 60,
    };
    let disturbance = match risk {
        Some("low") => 100,
        Some("medium") => 80,
        Some(_) => 55,
        // Nothing to carry out: it waits behind what can be done.
        None => 50,
    };
    net_usd?
        .checked_mul(Decimal::from(doubt * disturbance))?
        .checked_div(Decimal::from(10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Grounds<'static> = Grounds {
        detector: "high",
        coverage: Some(1.0),
        existed_ms: 14 * DAY_MS,
        price_band_percent: 0,
        placement_band_percent: 0,
    };

    #[test]
    fn nothing_lowers_what_was_seen_whole() {
        let sure = confidence(&SURE);
        assert_eq!((sure.level, sure.because.len()), ("high", 0));
    }

    #[test]
    fn the_weakest_ground_decides_and_all_are_named() {
        let doubted = confidence(&Grounds {
            detector: "medium",
            coverage: Some(0.5),
            price_band_percent: 20,
            ..SURE
        });
        assert_eq!(doubted.level, "low");
        assert_eq!(doubted.because.len(), 3);
        assert!(doubted.because[0].contains("not seen"));
    }

    #[test]
    fn an_easy_sure_saving_goes_before_a_larger_risky_one() {
        let easy = priority(Some(100.into()), "high", Some("low"));
        let risky = priority(Some(150.into()), "medium", Some("high"));
        assert!(easy > risky);
        assert_eq!(priority(None, "high", Some("low")), None);
    }
}
