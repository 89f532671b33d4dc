//! Owns what a change does to findings: which of the newest publication it closes, makes smaller or larger,
//! and which it opens. Quantities come in, from replays, placements and the fold; nothing is guessed here.

use rust_decimal::Decimal;
use serde::Serialize;

/// A finding of the newest publication about the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub detector: String,
    pub handle: String,
    pub usd_month: Option<Decimal>,
    /// GPU-hours of the window.
    pub gpu_hours: Option<Decimal>,
}

/// What becomes of one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingEffect {
    /// `closes`, `shrinks`, `stays`, `grows`, `opens`, `not judged`.
    pub effect: &'static str,
    pub detector: String,
    pub finding: String,
    /// What it stands at in the newest publication.
    pub finding_usd_month: Option<Decimal>,
    /// What the change adds to it.
    pub added_usd_month: Option<Decimal>,
    pub why: String,
}

impl FindingEffect {
    /// Whether the change opens it or makes it larger.
    #[must_use]
    pub fn adds(&self) -> bool {
        matches!(self.effect, "opens" | "grows")
    }
}

/// An amount on both sides, by the same rule: GPU-hours a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    pub before: Decimal,
    pub after: Decimal,
    /// Less is no finding.
    pub threshold: Decimal,
    /// Dollars of a GPU-hour after the change.
    pub usd_per_gpu_hour: Option<Decimal>,
}

/// Smaller moves are rounding of a replay.
const STILL_PERCENT: i64 = 2;
/// Of what a finding claims, so much must go for it to be closed.
const CLOSED_PERCENT: i64 = 90;

fn percent(of: Decimal, percent: i64) -> Decimal {
    of * Decimal::from(percent) / Decimal::from(100)
}

fn effect(
    (detector, handle): (&str, &str),
    effect: &'static str,
    known: Option<&Known>,
    added: Option<Decimal>,
    why: String,
) -> FindingEffect {
    FindingEffect {
        effect,
        detector: detector.to_owned(),
        finding: known.map_or_else(|| handle.to_owned(), |known| known.handle.clone()),
        finding_usd_month: known.and_then(|known| known.usd_month),
        added_usd_month: added,
        why,
    }
}

fn hours(hours: Decimal) -> String {
    hours.round().to_string()
}

/// A finding that is an amount of GPU-hours beyond what is needed, judged by the same rule on both sides.
#[must_use]
pub fn of_amounts(
    id: (&str, &str),
    known: Option<&Known>,
    amounts: Amounts,
) -> Option<FindingEffect> {
    let Amounts {
        before,
        after,
        threshold,
        usd_per_gpu_hour,
    } = amounts;
    let still = (after - before).abs() <= percent(before, STILL_PERCENT);
    let text = |tail: &str| {
        format!(
            "{} GPU-hours a month beyond what demand needs, {} before{tail}",
            hours(after),
            hours(before)
        )
    };
    let added = || usd_per_gpu_hour.map(|usd| ((after - before) * usd).round_dp(2));
    match known {
        Some(_) if after < threshold => Some(effect(id, "closes", known, None, text(""))),
        Some(_) if still => Some(effect(id, "stays", known, None, text(""))),
        Some(_) if after < before => Some(effect(
            id,
            "shrinks",
            known,
            None,
            text(": surplus remains"),
        )),
        Some(_) => Some(effect(id, "grows", known, added(), text(""))),
        None if after >= threshold && after > before && !still => {
            let word = if before < threshold { "opens" } else { "grows" };
            Some(effect(id, word, known, added(), text("")))
        }
        None => None,
    }
}

/// A finding about GPU-hours that nobody used, against what the change no longer holds. All in GPU-hours of
/// the window.
#[must_use]
pub fn of_held(
    known: &Known,
    (before, after): (Decimal, Decimal),
    usd_per_gpu_hour: Option<Decimal>,
    month_per_window: Decimal,
) -> FindingEffect {
    let id = (known.detector.as_str(), known.handle.as_str());
    let freed = before - after;
    let told = format!(
        "{} GPU-hours of the window are held, {} before",
        hours(after),
        hours(before)
    );
    let Some(claimed) = known.gpu_hours.filter(|claimed| *claimed > Decimal::ZERO) else {
        return effect(id, "not judged", Some(known), None, told);
    };
    if freed >= percent(claimed, CLOSED_PERCENT) {
        effect(id, "closes", Some(known), None, told)
    } else if freed > percent(claimed, STILL_PERCENT) {
        effect(id, "shrinks", Some(known), None, told)
    } else if -freed > percent(claimed, STILL_PERCENT) {
        let added = usd_per_gpu_hour.map(|usd| (-freed * usd * month_per_window).round_dp(2));
        effect(id, "grows", Some(known), added, told)
    } else {
        effect(id, "stays", Some(known), None, told)
    }
}

/// What a placement costs at the peak, beside the cheapest that holds the SLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Dollars a month of the replicas that the peak needs.
    pub before: Option<Decimal>,
    pub after: Decimal,
    pub cheapest: Decimal,
    pub candidate: String,
    /// What the workload costs a month after the change.
    pub usd_month_after: Option<Decimal>,
}

/// A dearer placement than this above the cheapest one is a finding.
const DEARER_PERCENT: i64 = 105;

/// The finding of a tier that is dearer than one that would do.
#[must_use]
pub fn of_tier(id: (&str, &str), known: Option<&Known>, tier: &Tier) -> Option<FindingEffect> {
    let is_dear = tier.after > percent(tier.cheapest, DEARER_PERCENT);
    let told = format!(
        "at the peak ${} a month, where {} would do for ${}",
        tier.after.round(),
        tier.candidate,
        tier.cheapest.round()
    );
    if !is_dear {
        return known.map(|_| effect(id, "closes", known, None, told));
    }
    let before = tier.before.unwrap_or(tier.cheapest);
    // The same share of what it costs, as demand comes and goes.
    let added = tier
        .usd_month_after
        .zip((tier.after - before).checked_div(tier.after))
        .map(|(usd, share)| (usd * share).round_dp(2))
        .filter(|usd| *usd > Decimal::ZERO);
    let still = (tier.after - before).abs() <= percent(before, STILL_PERCENT);
    match known {
        Some(_) if still => Some(effect(id, "stays", known, None, told)),
        Some(_) if tier.after < before => Some(effect(id, "shrinks", known, None, told)),
        Some(_) => Some(effect(id, "grows", known, added, told)),
        None if tier.after > before && !still => Some(effect(id, "opens", known, added, told)),
        None => None,
    }
}

/// One thing wrong with what a scaler listens to, by rule, scaler and sentence.
pub type Lint = (String, String, String);

/// What the lint says of one side only.
#[must_use]
pub fn of_lint(before: &[Lint], after: &[Lint]) -> Vec<FindingEffect> {
    let only = |one: &[Lint], other: &[Lint], word: &'static str| -> Vec<FindingEffect> {
        one.iter()
            .filter(|lint| !other.contains(lint))
            .map(|(rule, scaler, sentence)| FindingEffect {
                effect: word,
                detector: "scaling-signal-lint".to_owned(),
                finding: format!("{rule} of {scaler}"),
                finding_usd_month: None,
                added_usd_month: None,
                why: sentence.clone(),
            })
            .collect()
    };
    let mut out = only(after, before, "opens");
    out.extend(only(before, after, "closes"));
    out
}

/// Everything about a workload that goes away.
#[must_use]
pub fn of_removal(known: &[Known]) -> Vec<FindingEffect> {
    known
        .iter()
        .map(|known| {
            let id = (known.detector.as_str(), known.handle.as_str());
            let why = "the workload goes away".to_owned();
            effect(id, "closes", Some(known), None, why)
        })
        .collect()
}

/// A finding of which nothing can be said, and why.
#[must_use]
pub fn not_judged(known: &Known, why: &str) -> FindingEffect {
    let id = (known.detector.as_str(), known.handle.as_str());
    effect(id, "not judged", Some(known), None, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(detector: &str, gpu_hours: i64) -> Known {
        Known {
            detector: detector.to_owned(),
            handle: format!("{detector}/prod-a/chat/deployment.apps/a"),
            usd_month: Some(Decimal::from(900)),
            gpu_hours: Some(Decimal::from(gpu_hours)),
        }
    }

    fn surplus(is_known: bool, before: i64, after: i64) -> Option<(&'static str, Option<Decimal>)> {
        let known = known("surplus-replicas", 500);
        let amounts = Amounts {
            before: Decimal::from(before),
            after: Decimal::from(after),
            threshold: Decimal::from(52),
            usd_per_gpu_hour: Some(Decimal::from(2)),
        };
        let id = ("surplus-replicas", "h");
        of_amounts(id, is_known.then_some(&known), amounts)
            .map(|effect| (effect.effect, effect.added_usd_month))
    }

    #[test]
    fn a_smaller_minimum_that_exceeds_need_leaves_surplus() {
        assert_eq!(surplus(true, 2000, 30), Some(("closes", None)));
        assert_eq!(surplus(true, 2000, 700), Some(("shrinks", None)));
        assert_eq!(surplus(true, 2000, 1990), Some(("stays", None)));
        assert_eq!(
            surplus(true, 2000, 2700),
            Some(("grows", Some(Decimal::from(1400))))
        );
        assert_eq!(
            surplus(false, 10, 700),
            Some(("opens", Some(Decimal::from(1380))))
        );
        assert_eq!(surplus(false, 60, 700).unwrap().0, "grows");
        assert_eq!(surplus(false, 10, 50), None);
        assert_eq!(surplus(false, 700, 60), None);
    }

    #[test]
    fn dark_hours_close_when_they_are_no_longer_held() {
        let word = |before: i64, after: i64| {
            let held = (Decimal::from(before), Decimal::from(after));
            let usd = Some(Decimal::from(2));
            let found = of_held(&known("dark-capacity", 300), held, usd, Decimal::from(2));
            (found.effect, found.added_usd_month)
        };
        assert_eq!(word(336, 20), ("closes", None));
        assert_eq!(word(336, 200), ("shrinks", None));
        assert_eq!(word(336, 336), ("stays", None));
        assert_eq!(word(336, 672), ("grows", Some(Decimal::from(336 * 4))));
        let mut blind = known("dark-capacity", 0);
        blind.gpu_hours = None;
        let held = (Decimal::ONE, Decimal::ZERO);
        assert_eq!(
            of_held(&blind, held, None, Decimal::ONE).effect,
            "not judged"
        );
    }

    #[test]
    fn a_bigger_tier_than_needed_is_opened_with_its_dollars() {
        let tier = |before: Option<i64>, after: i64| Tier {
            before: before.map(Decimal::from),
            after: Decimal::from(after),
            cheapest: Decimal::from(500),
            candidate: "L4-24 x1".to_owned(),
            usd_month_after: Some(Decimal::from(8000)),
        };
        let id = ("tier-misplacement", "h");
        let one = known("tier-misplacement", 1);
        let opened = of_tier(id, None, &tier(Some(500), 4000)).unwrap();
        assert_eq!(
            (opened.effect, opened.added_usd_month),
            ("opens", Some(Decimal::from(7000)))
        );
        assert_eq!(of_tier(id, None, &tier(Some(4000), 4000)), None);
        assert_eq!(of_tier(id, None, &tier(Some(4000), 500)), None);
        assert_eq!(
            of_tier(id, Some(&one), &tier(Some(4000), 510))
                .unwrap()
                .effect,
            "closes"
        );
        assert_eq!(
            of_tier(id, Some(&one), &tier(Some(4000), 2000))
                .unwrap()
                .effect,
            "shrinks"
        );
        assert_eq!(
            of_tier(id, Some(&one), &tier(Some(2000), 4000))
                .unwrap()
                .effect,
            "grows"
        );
        // A new workload has no side before: all above the cheapest is added.
        assert_eq!(
            of_tier(id, None, &tier(None, 1000))
                .unwrap()
                .added_usd_month,
            Some(Decimal::from(4000))
        );
    }

    #[test]
    fn the_lint_of_one_side_only_is_what_changes() {
        let lint = |rule: &str| (rule.to_owned(), "hpa".to_owned(), "s".to_owned());
        let found = of_lint(&[lint("a"), lint("b")], &[lint("b"), lint("c")]);
        let told: Vec<(&str, &str)> = found
            .iter()
            .map(|f| (f.effect, f.finding.as_str()))
            .collect();
        assert_eq!(told, [("opens", "c of hpa"), ("closes", "a of hpa")]);
        assert_eq!(of_removal(&[known("x", 1)])[0].effect, "closes");
        assert_eq!(not_judged(&known("x", 1), "w").effect, "not judged");
    }
}
