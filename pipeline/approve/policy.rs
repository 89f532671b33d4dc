//! Owns the policy: who must agree to which change, for how long an agreement holds, when nothing
//! may leave, and how the policy itself is changed.
//!
//! Every rule that matches must be met, so a rule that is added never weakens. What a recommendation
//! does not say of itself (its dollars, its labels) matches: unknown is never the easier case. Where
//! no rule matches nothing can be approved. Counting is `quorum`'s.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Deserialize;

use super::{ApproveError, Recommendation, Signers};
use crate::model::canonical::sha256_hex;
use crate::model::time::{HOUR_MS, parse_ms};

/// A policy that has been read and checked.
#[derive(Debug, Clone)]
pub struct Policy {
    roles: BTreeMap<String, BTreeSet<String>>,
    pub(super) rules: Vec<Rule>,
    freezes: Vec<Freeze>,
    pub(super) break_glass: Option<BreakGlass>,
    pub(super) change: Vec<Requirement>,
    authors: Authors,
    /// For how long an approval counts.
    pub max_age_ms: i64,
    /// How old the snapshot may be against which an export is checked.
    pub snapshot_max_age_ms: i64,
}

/// What a set of recommendations needs.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    matching: Match,
    pub(super) require: Vec<Requirement>,
}

/// So many people who each hold one of these roles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirement {
    pub(super) count: usize,
    pub(super) roles: Vec<String>,
}

#[derive(Debug, Clone)]
struct Freeze {
    name: String,
    from_ms: i64,
    to_ms: i64,
    matching: Match,
}

/// One signature is enough, for a short time, and everything says so.
#[derive(Debug, Clone)]
pub(super) struct BreakGlass {
    pub(super) roles: Vec<String>,
    pub(super) max_age_ms: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authors {
    #[serde(default)]
    policy: BTreeSet<String>,
    #[serde(default)]
    suppressions: BTreeSet<String>,
    #[serde(default)]
    detectors: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    cluster: Option<String>,
    namespace: Option<String>,
    action: Option<String>,
    detector: Option<String>,
    /// Whole dollars a month, from which on the rule matches.
    min_monthly_usd: Option<i64>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    max_age: String,
    snapshot_max_age: String,
    roles: BTreeMap<String, BTreeSet<String>>,
    #[serde(rename = "rule", default)]
    rules: Vec<RuleFields>,
    #[serde(rename = "freeze", default)]
    freezes: Vec<FreezeFields>,
    break_glass: Option<BreakGlassFields>,
    change: ChangeFields,
    #[serde(default)]
    authors: Authors,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    name: String,
    #[serde(rename = "match", default)]
    matching: Match,
    require: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FreezeFields {
    name: String,
    from: String,
    to: String,
    #[serde(rename = "match", default)]
    matching: Match,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakGlassFields {
    roles: Vec<String>,
    max_age: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeFields {
    require: Vec<Requirement>,
}

impl Policy {
    /// Reads `policy.toml` and holds it to the people who can sign.
    pub fn parse(text: &str, signers: &Signers) -> Result<Self, ApproveError> {
        let invalid = |why: String| ApproveError::Invalid {
            what: "the policy".to_owned(),
            why,
        };
        let file: File =
            toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_owned()))?;
        for (role, people) in &file.roles {
            if let Some(stranger) = people.iter().find(|name| !signers.know(name)) {
                return Err(invalid(format!(
                    "role `{role}` names `{stranger}`, who has no key in allowed_signers"
                )));
            }
        }
        let length = |name: &str, text: &str| {
            duration_ms(text).ok_or_else(|| {
                invalid(format!(
                    "{name} = `{text}` is no length of time as in `14d` or `72h`"
                ))
            })
        };
        let instant = |name: &str, text: &str| {
            parse_ms(text).ok_or_else(|| invalid(format!("freeze `{name}`: `{text}` is no time")))
        };
        let mut names = BTreeSet::new();
        if file.rules.is_empty() {
            return Err(invalid(
                "it has no [[rule]]: nothing could be approved".to_owned(),
            ));
        }
        for rule in &file.rules {
            if !names.insert(rule.name.as_str()) {
                return Err(invalid(format!("two rules are called `{}`", rule.name)));
            }
        }
        let people = |roles: &[String]| -> Result<usize, ApproveError> {
            let mut all = BTreeSet::new();
            for role in roles {
                let of_role = file.roles.get(role).ok_or_else(|| {
                    invalid(format!(
                        "it asks for the role `{role}`, which [roles] does not name"
                    ))
                })?;
                all.extend(of_role);
            }
            Ok(all.len())
        };
        let lists = file
            .rules
            .iter()
            .map(|rule| (format!("rule `{}`", rule.name), &rule.require));
        for (what, require) in lists.chain([("[change]".to_owned(), &file.change.require)]) {
            if require.is_empty() {
                return Err(invalid(format!("{what} requires nobody")));
            }
            for one in require {
                let have = people(&one.roles)?;
                if one.count == 0 || one.count > have {
                    return Err(invalid(format!(
                        "{what} asks for {} of {have} people: ask for one or more of those there are",
                        one.count
                    )));
                }
            }
        }
        let break_glass = match file.break_glass {
            None => None,
            Some(glass) => {
                people(&glass.roles)?;
                Some(BreakGlass {
                    max_age_ms: length("[break_glass] max_age", &glass.max_age)?,
                    roles: glass.roles,
                })
            }
        };
        let mut freezes = Vec::new();
        for freeze in file.freezes {
            let (from_ms, to_ms) = (
                instant(&freeze.name, &freeze.from)?,
                instant(&freeze.name, &freeze.to)?,
            );
            if from_ms >= to_ms {
                return Err(invalid(format!(
                    "freeze `{}` ends before it begins",
                    freeze.name
                )));
            }
            freezes.push(Freeze {
                name: freeze.name,
                from_ms,
                to_ms,
                matching: freeze.matching,
            });
        }
        Ok(Self {
            max_age_ms: length("max_age", &file.max_age)?,
            snapshot_max_age_ms: length("snapshot_max_age", &file.snapshot_max_age)?,
            rules: file
                .rules
                .into_iter()
                .map(|rule| Rule {
                    name: rule.name,
                    matching: rule.matching,
                    require: rule.require,
                })
                .collect(),
            roles: file.roles,
            freezes,
            break_glass,
            change: file.change.require,
            authors: file.authors,
        })
    }

    /// Counts somebody among those who wrote the policy, beside those whom it declares.
    pub(super) fn wrote(&mut self, name: &str) {
        self.authors.policy.insert(name.to_owned());
    }

    /// The rules that a recommendation must meet, all of them.
    #[must_use]
    pub(super) fn rules_for(&self, recommendation: &Recommendation) -> Vec<&Rule> {
        self.rules
            .iter()
            .filter(|rule| rule.matching.fits(recommendation))
            .collect()
    }

    /// The freeze that holds at an instant, if one does.
    #[must_use]
    pub fn frozen(&self, recommendation: &Recommendation, at_ms: i64) -> Option<&str> {
        let freeze = self.freezes.iter().find(|freeze| {
            freeze.from_ms <= at_ms && at_ms < freeze.to_ms && freeze.matching.fits(recommendation)
        });
        freeze.map(|freeze| freeze.name.as_str())
    }

    pub(super) fn holds_role(&self, principal: &str, roles: &[String]) -> bool {
        roles.iter().any(|role| {
            self.roles
                .get(role)
                .is_some_and(|people| people.contains(principal))
        })
    }

    /// Why a person's signature does not count for a recommendation, however many roles they hold.
    pub(super) fn excluded(
        &self,
        principal: &str,
        recommendation: &Recommendation,
    ) -> Option<&'static str> {
        let of_detector = self.authors.detectors.get(&recommendation.detector);
        if self.authors.policy.contains(principal) {
            Some("wrote the policy")
        } else if self.authors.suppressions.contains(principal) {
            Some("wrote a suppression")
        } else if of_detector.is_some_and(|people| people.contains(principal)) {
            Some("wrote the detector")
        } else {
            None
        }
    }

    /// What a recommendation would need, for people.
    #[must_use]
    pub fn needs(&self, recommendation: &Recommendation, at_ms: i64) -> Vec<String> {
        let rules = self.rules_for(recommendation);
        let mut lines = Vec::new();
        if rules.is_empty() {
            lines.push("no rule covers it: it cannot be approved".to_owned());
        }
        for rule in rules {
            for one in &rule.require {
                let people: BTreeSet<&str> = one
                    .roles
                    .iter()
                    .filter_map(|role| self.roles.get(role))
                    .flatten()
                    .map(String::as_str)
                    .filter(|name| self.excluded(name, recommendation).is_none())
                    .collect();
                let people: Vec<&str> = people.into_iter().collect();
                lines.push(format!(
                    "rule `{}`: {} of {} ({})",
                    rule.name,
                    one.count,
                    one.roles.join(" or "),
                    if people.is_empty() {
                        "nobody may".to_owned()
                    } else {
                        people.join(", ")
                    }
                ));
            }
        }
        if let Some(name) = self.frozen(recommendation, at_ms) {
            lines.push(format!(
                "frozen by `{name}`: nothing is exported before it ends"
            ));
        }
        lines
    }
}

impl Match {
    fn fits(&self, recommendation: &Recommendation) -> bool {
        let text = |pattern: &Option<String>, value: &str| {
            pattern
                .as_deref()
                .is_none_or(|pattern| value.is_empty() || glob(pattern, value))
        };
        let labels = recommendation
            .value
            .get("labels")
            .and_then(|labels| labels.as_object());
        text(&self.cluster, &recommendation.cluster)
            && text(&self.namespace, &recommendation.namespace)
            && text(&self.action, &recommendation.action)
            && text(&self.detector, &recommendation.detector)
            && self.min_monthly_usd.is_none_or(|least| {
                recommendation
                    .net_monthly_usd
                    .is_none_or(|net| net >= Decimal::from(least))
            })
            && self.labels.iter().all(|(name, wanted)| {
                labels.is_none_or(|labels| {
                    labels
                        .get(name)
                        .and_then(|value| value.as_str())
                        .is_some_and(|value| glob(wanted, value))
                })
            })
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| glob(rest, &text[at..]))
}

fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "h" => HOUR_MS,
        "d" => 24 * HOUR_MS,
        _ => return None,
    };
    number
        .parse::<i64>()
        .ok()
        .filter(|n| (1..=3660).contains(n))
        .map(|n| n * unit)
}

/// The digest under which decisions are made: of the policy's and the signers' bytes together.
#[must_use]
pub fn authority_sha256(policy: &[u8], signers: &[u8]) -> String {
    let text = format!(
        "policy {}\nallowed_signers {}\n",
        sha256_hex(policy),
        sha256_hex(signers)
    );
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_anything_and_nothing_else() {
        assert!(glob("prod-*", "prod-a") && glob("*", "") && glob("a*c*e", "abcde"));
        assert!(!glob("prod-*", "preprod-a") && !glob("prod", "prod-a") && !glob("a*c", "abd"));
    }

    #[test]
    fn lengths_of_time_are_days_or_hours() {
        assert_eq!(duration_ms("14d"), Some(14 * 24 * HOUR_MS));
        assert_eq!(duration_ms("4h"), Some(4 * HOUR_MS));
        assert!(
            ["", "h", "0d", "-1d", "1w", "é"]
                .iter()
                .all(|t| duration_ms(t).is_none())
        );
    }
}
