//! Owns what decisions add up to: the state of a recommendation, computed anew each time from signed
//! statements and the policy, and stored nowhere.
//!
//! People are counted, never signatures or keys, and one person fills one place. Who is the author
//! of the policy, the suppression or the detector does not count. Called by export, the report's
//! funnel and the command line; who signed was established before.

use std::collections::{BTreeMap, BTreeSet};

use super::Recommendation;
use super::decision::{Decision, Limits, Verb};
use super::policy::{Policy, Requirement};
use crate::model::time::format_ms;

/// A decision in the log whose signature holds.
#[derive(Debug, Clone)]
pub struct LoggedDecision {
    pub decision: Decision,
    pub principal: String,
    /// Its place in the log: what came later holds.
    pub index: u64,
    /// The log's time, which never runs backwards.
    pub logged_ms: i64,
}

/// Where a recommendation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Proposed,
    Approved,
    Rejected,
    Deferred,
    Revoked,
    Expired,
    Superseded,
    Exported,
}

impl State {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Exported => "exported",
        }
    }
}

/// What the decisions on one recommendation add up to.
#[derive(Debug, Clone)]
pub struct Standing {
    pub state: State,
    pub break_glass: bool,
    /// Who approves, as far as they count.
    pub approvals: Vec<String>,
    /// What is still needed.
    pub missing: Vec<String>,
    /// Who said something that does not count, and why.
    pub ignored: Vec<(String, String)>,
    pub frozen: Option<String>,
    /// The strictest of what the approvals hold to.
    pub limits: Limits,
    pub reasons: Vec<String>,
}

/// What else is known of a recommendation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    pub(super) superseded: bool,
    pub(super) exported: bool,
}

/// The state of a recommendation of the manifest with this digest. `now_ms` is the later of the
/// verifier's clock and the log's last time.
#[must_use]
pub(super) fn standing(
    recommendation: &Recommendation,
    manifest_sha256: &str,
    decisions: &[LoggedDecision],
    policy: &Policy,
    fate: Fate,
    now_ms: i64,
) -> Standing {
    let rules = policy.rules_for(recommendation);
    let needed: Vec<&Requirement> = rules.iter().flat_map(|rule| &rule.require).collect();
    let mut ignored = Vec::new();
    let mut counting: Vec<&LoggedDecision> = Vec::new();
    for logged in decisions {
        let decision = &logged.decision;
        if decision.manifest_sha256 != manifest_sha256 || !decision.names(recommendation) {
            continue;
        }
        let mut ignore = |why: String| ignored.push((logged.principal.clone(), why));
        let glass = policy.break_glass.as_ref().filter(|_| decision.break_glass);
        let has_role = needed
            .iter()
            .any(|one| policy.holds_role(&logged.principal, &one.roles))
            || glass.is_some_and(|glass| policy.holds_role(&logged.principal, &glass.roles));
        let max_age_ms = glass.map_or(policy.max_age_ms, |glass| glass.max_age_ms);
        if !has_role {
            ignore("holds no role that this change asks for".to_owned());
        } else if decision.verb == Verb::Approve
            && let Some(why) = policy.excluded(&logged.principal, recommendation)
        {
            ignore(why.to_owned());
        } else if decision.verb == Verb::Approve && logged.logged_ms + max_age_ms <= now_ms {
            ignore(format!(
                "approved at {}, which is too long ago",
                format_ms(logged.logged_ms)
            ));
        } else if decision.expires_ms.is_some_and(|expires| expires <= now_ms) {
            ignore("the decision has expired".to_owned());
        } else {
            counting.push(logged);
        }
    }
    counting.sort_by_key(|logged| logged.index);
    let revoked_at = counting
        .iter()
        .filter(|logged| logged.decision.verb == Verb::Revoke)
        .map(|logged| logged.index)
        .max();
    // A person's last word holds; approvals from before a revocation are gone.
    let mut last: BTreeMap<&str, &LoggedDecision> = BTreeMap::new();
    for logged in &counting {
        last.insert(&logged.principal, logged);
    }
    let approving: Vec<&LoggedDecision> = last
        .values()
        .copied()
        .filter(|logged| logged.decision.verb == Verb::Approve)
        .filter(|logged| revoked_at.is_none_or(|at| logged.index > at))
        .collect();
    let people: BTreeSet<&str> = approving
        .iter()
        .filter(|logged| !logged.decision.break_glass)
        .map(|logged| logged.principal.as_str())
        .collect();
    let glass = approving.iter().find(|logged| {
        logged.decision.break_glass
            && policy
                .break_glass
                .as_ref()
                .is_some_and(|glass| policy.holds_role(&logged.principal, &glass.roles))
    });
    // Each rule by itself: who counts for one counts for another too.
    let mut missing: Vec<String> = Vec::new();
    for rule in &rules {
        let places: Vec<&Requirement> = rule.require.iter().collect();
        for one in unmet(policy, &places, &people) {
            if !missing.contains(&one) {
                missing.push(one);
            }
        }
    }
    if rules.is_empty() {
        missing.push("a rule of the policy that covers it".to_owned());
    }
    let break_glass = glass.is_some() && !missing.is_empty() && !rules.is_empty();
    let met = missing.is_empty() || break_glass;
    let said = |verb: Verb| last.values().any(|logged| logged.decision.verb == verb);
    let deferred = last.values().any(|logged| {
        logged.decision.verb == Verb::Defer
            && logged.decision.until_ms.is_some_and(|until| now_ms < until)
    });
    let state = if fate.exported {
        State::Exported
    } else if fate.superseded {
        State::Superseded
    } else if recommendation
        .expires_ms
        .is_some_and(|expires| expires <= now_ms)
    {
        State::Expired
    } else if said(Verb::Reject) {
        State::Rejected
    } else if deferred {
        State::Deferred
    } else if met {
        State::Approved
    } else if revoked_at.is_some() {
        State::Revoked
    } else {
        State::Proposed
    };
    let limits = approving.iter().fold(Limits::default(), |limits, logged| {
        let own = &logged.decision.limits;
        let least = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        Limits {
            not_before_ms: limits.not_before_ms.max(own.not_before_ms),
            snapshot_max_age_hours: least(
                limits.snapshot_max_age_hours,
                own.snapshot_max_age_hours,
            ),
        }
    });
    Standing {
        state,
        break_glass,
        approvals: approving
            .iter()
            .map(|logged| logged.principal.clone())
            .collect(),
        missing: if met { Vec::new() } else { missing },
        ignored,
        frozen: policy.frozen(recommendation, now_ms).map(str::to_owned),
        limits,
        reasons: last
            .values()
            .filter_map(|l| Some(format!("{}: {}", l.principal, l.decision.reason.as_ref()?)))
            .collect(),
    }
}

/// Whether the people agree to a new policy, under the old one.
#[must_use]
pub(super) fn policy_change_missing(
    policy: &Policy,
    new_authority_sha256: &str,
    decisions: &[LoggedDecision],
    now_ms: i64,
) -> Vec<String> {
    let needed: Vec<&Requirement> = policy.change.iter().collect();
    let people: BTreeSet<&str> = decisions
        .iter()
        .filter(|logged| {
            logged.decision.verb == Verb::ApprovePolicy
                && logged.decision.authority_sha256 == new_authority_sha256
                && logged.logged_ms + policy.max_age_ms > now_ms
                && logged
                    .decision
                    .expires_ms
                    .is_none_or(|expires| expires > now_ms)
        })
        .map(|logged| logged.principal.as_str())
        .collect();
    unmet(policy, &needed, &people)
}

/// What a set of people leaves unmet, each of them filling one place at most.
fn unmet(policy: &Policy, needed: &[&Requirement], people: &BTreeSet<&str>) -> Vec<String> {
    let people: Vec<&str> = people.iter().copied().collect();
    let places: Vec<usize> = needed
        .iter()
        .enumerate()
        .flat_map(|(index, one)| std::iter::repeat_n(index, one.count))
        .collect();
    // Kuhn's matching: person → place.
    let mut taken: Vec<Option<usize>> = vec![None; people.len()];
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    for place in 0..places.len() {
        let mut seen = vec![false; people.len()];
        if !fill(
            policy, needed, &places, &people, place, &mut taken, &mut seen,
        ) {
            *open.entry(places[place]).or_default() += 1;
        }
    }
    open.into_iter()
        .map(|(index, count)| format!("{count} more of {}", needed[index].roles.join(" or ")))
        .collect()
}

fn fill(
    policy: &Policy,
    needed: &[&Requirement],
    places: &[usize],
    people: &[&str],
    place: usize,
    taken: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for (person, name) in people.iter().enumerate() {
        if seen[person] || !policy.holds_role(name, &needed[places[place]].roles) {
            continue;
        }
        seen[person] = true;
        let free = match taken[person] {
            None => true,
            Some(other) => fill(policy, needed, places, people, other, taken, seen),
        };
        if free {
            taken[person] = Some(place);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
