//! Owns what a person says: an in-toto Statement that names recommendations by cluster, id and
//! digest, the manifest they stand in, and what is decided about them.
//!
//! It is written here and read here; signing is `sshsig`'s. A decision can be written by hand: only
//! its bytes are signed, and `docs/approvals.md` shows the few fields. Whether it counts is for
//! `import` and `quorum` to say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::statement::STATEMENT_TYPE;
use super::strict::{parse_strict, unseen_character};
use super::{ApproveError, Recommendation};
use crate::model::canonical::to_canonical;
use crate::model::time::{format_ms, parse_ms};

/// The predicate's type of a decision.
pub const DECISION_TYPE: &str = "https://idleproof.dev/decision/v1";
/// A decision over ten thousand recommendations fits.
pub const DECISION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Approve,
    Reject,
    Defer,
    Revoke,
    /// Of a new policy or a new list of signers, under the old ones.
    ApprovePolicy,
}

impl Verb {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Defer => "defer",
            Self::Revoke => "revoke",
            Self::ApprovePolicy => "approve-policy",
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verb: Verb,
    /// Of the manifest's file; empty for a policy.
    pub manifest_sha256: String,
    /// The digest of policy and signers under which it is made, or, for a policy, the new one's.
    pub authority_sha256: String,
    /// `cluster/recommendation_id` and the recommendation's digest.
    pub subjects: BTreeMap<String, String>,
    pub reason: Option<String>,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
    /// Of a deferral.
    pub until_ms: Option<i64>,
    pub limits: Limits,
    pub break_glass: bool,
}

/// What an approval holds to, beyond the recommendation itself. An unknown limit refuses the
/// decision: nobody may believe that it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Not to be exported before.
    pub not_before_ms: Option<i64>,
    /// The newest snapshot may be no older than this when it is exported.
    pub snapshot_max_age_hours: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    decision: Verb,
    #[serde(default)]
    manifest_sha256: String,
    authority_sha256: String,
    #[serde(default)]
    reason: Option<String>,
    created: String,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limits: LimitFields,
    #[serde(default)]
    break_glass: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFields {
    not_before: Option<String>,
    snapshot_max_age_hours: Option<i64>,
}

impl Decision {
    /// The canonical bytes that are signed, with a final newline as text files have.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ApproveError> {
        let mut predicate = json!({
            "decision": self.verb.word(),
            "authority_sha256": self.authority_sha256,
            "created": format_ms(self.created_ms),
            "break_glass": self.break_glass,
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                predicate[name] = value;
            }
        };
        let time = |ms: Option<i64>| ms.map(|ms| Value::from(format_ms(ms)));
        set("reason", self.reason.clone().map(Value::from));
        set("expires", time(self.expires_ms));
        set("until", time(self.until_ms));
        if !self.manifest_sha256.is_empty() {
            set("manifest_sha256", Some(self.manifest_sha256.clone().into()));
        }
        let mut limits = serde_json::Map::new();
        if let Some(ms) = self.limits.not_before_ms {
            limits.insert("not_before".to_owned(), format_ms(ms).into());
        }
        if let Some(hours) = self.limits.snapshot_max_age_hours {
            limits.insert("snapshot_max_age_hours".to_owned(), hours.into());
        }
        if !limits.is_empty() {
            set("limits", Some(Value::Object(limits)));
        }
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}))
            .collect();
        let statement = json!({
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": DECISION_TYPE,
            "predicate": predicate,
        });
        let mut bytes = to_canonical(&statement)?.into_bytes();
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of a decision whose signature has verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = parse_strict(bytes, DECISION_BYTES_MAX)?;
        if let Some(place) = unseen_character(&value) {
            return Err(format!("it holds a character that nobody sees: {place}"));
        }
        let statement: Statement =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != DECISION_TYPE {
            return Err(format!("it is no `{DECISION_TYPE}`"));
        }
        let predicate = statement.predicate;
        let mut subjects = BTreeMap::new();
        for subject in statement.subject {
            digest(&subject.digest.sha256)?;
            if subjects
                .insert(subject.name.clone(), subject.digest.sha256)
                .is_some()
            {
                return Err(format!("it names `{}` twice", subject.name));
            }
        }
        digest(&predicate.authority_sha256)?;
        let of_policy = predicate.decision == Verb::ApprovePolicy;
        if of_policy != subjects.is_empty() || of_policy != predicate.manifest_sha256.is_empty() {
            return Err(
                "it must name a manifest and recommendations, or a policy and neither".to_owned(),
            );
        }
        if !of_policy {
            digest(&predicate.manifest_sha256)?;
        }
        let time =
            |name: &str, text: &str| parse_ms(text).ok_or(format!("its `{name}` is no time"));
        let optional = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| time(name, text)).transpose()
        };
        let until_ms = optional("until", &predicate.until)?;
        if (predicate.decision == Verb::Defer) != until_ms.is_some() {
            return Err("`until` belongs to a deferral, and a deferral needs it".to_owned());
        }
        let reason = predicate.reason.filter(|reason| !reason.trim().is_empty());
        if predicate.decision == Verb::Reject && reason.is_none() {
            return Err("a rejection needs a reason".to_owned());
        }
        if predicate.break_glass && (predicate.decision != Verb::Approve || reason.is_none()) {
            return Err("breaking the glass is an approval and needs a reason".to_owned());
        }
        let hours = predicate.limits.snapshot_max_age_hours;
        if hours.is_some_and(|hours| hours <= 0) {
            return Err("its limit snapshot_max_age_hours is not above zero".to_owned());
        }
        Ok(Self {
            verb: predicate.decision,
            manifest_sha256: predicate.manifest_sha256,
            authority_sha256: predicate.authority_sha256,
            subjects,
            reason,
            created_ms: time("created", &predicate.created)?,
            expires_ms: optional("expires", &predicate.expires)?,
            until_ms,
            limits: Limits {
                not_before_ms: optional("not_before", &predicate.limits.not_before)?,
                snapshot_max_age_hours: hours,
            },
            break_glass: predicate.break_glass,
        })
    }

    /// Whether the decision is about this recommendation, by cluster, id and digest.
    #[must_use]
    pub fn names(&self, recommendation: &Recommendation) -> bool {
        self.subjects.get(&recommendation.subject()) == Some(&recommendation.sha256)
    }

    /// Names that the manifest does not hold, or not with these digests.
    #[must_use]
    pub fn strangers(&self, known: &[Recommendation]) -> Vec<String> {
        self.subjects
            .iter()
            .filter(|(name, sha256)| {
                !known
                    .iter()
                    .any(|r| r.subject() == **name && r.sha256 == **sha256)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn digest(text: &str) -> Result<(), String> {
    let fits = text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if fits {
        Ok(())
    } else {
        Err("a digest is not 64 lower-case hexadecimal digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            verb: Verb::Approve,
            manifest_sha256: "ab".repeat(32),
            authority_sha256: "cd".repeat(32),
            subjects: BTreeMap::from([("prod-a/r1".into(), "ef".repeat(32))]),
            reason: Some("fits the night".into()),
            created_ms: 1_795_000_000_000,
            expires_ms: Some(1_795_500_000_000),
            until_ms: None,
            limits: Limits {
                not_before_ms: None,
                snapshot_max_age_hours: Some(24),
            },
            break_glass: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = decision().to_bytes().unwrap();
        assert_eq!(Decision::parse(&bytes).unwrap(), decision());
    }

    #[test]
    fn what_nobody_would_keep_is_refused() {
        let text = String::from_utf8(decision().to_bytes().unwrap()).unwrap();
        for (from, to, why) in [
            ("snapshot_max_age_hours", "max_dollars", "unknown field"),
            ("\"approve\"", "\"permit\"", "unknown variant"),
            ("\"approve\"", "\"defer\"", "until"),
            ("decision/v1", "decision/v2", "it is no"),
            ("fits the night", "fits\u{202e}the night", "nobody sees"),
            (
                "\"reason\":\"fits the night\"",
                "\"reason\":\" \",\"break_glass\":true",
                "stands twice",
            ),
            ("efef", "EFEF", "hexadecimal"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = Decision::parse(changed.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{from} -> {to}: {error}");
        }
        let glass = text
            .replace("\"break_glass\":false", "\"break_glass\":true")
            .replace("fits the night", " ");
        assert!(
            Decision::parse(glass.as_bytes())
                .unwrap_err()
                .contains("needs a reason")
        );
    }
}
