//! Owns what the log's entries add up to: the policy in force, the manifests, the decisions whose
//! signatures hold, what was exported. It believes no summary in an entry: every signature is
//! verified again over the bytes that the entry names.
//!
//! Called by import, export, the report's funnel and the command line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::decision::{Decision, Verb};
use super::entry::{Entry, Kind};
use super::import::AuthorityFiles;
use super::log::{Head, Log};
use super::policy::{Policy, authority_sha256};
use super::quorum::{Fate, LoggedDecision, Standing, policy_change_missing, standing};
use super::recommendation::{Recommendation, recommendations};
use super::signers::Signers;
use super::sshsig::{Identified, verify_person};
use super::verify::verify_envelope;
use super::{ApproveError, VerifyingKey};
use crate::model::canonical::{sha256_hex, to_canonical};

/// The policy and the signers that hold.
#[derive(Debug, Clone)]
pub struct Authority {
    pub sha256: String,
    pub policy: Policy,
    pub signers: Signers,
    /// The entry that made it hold.
    since: u64,
}

/// A manifest in the log.
#[derive(Debug, Clone)]
pub struct LoggedManifest {
    pub sha256: String,
    pub index: u64,
    /// The authority under which it was made.
    pub authority_sha256: Option<String>,
    pub recommendations: Vec<Recommendation>,
}

/// Everything that the log says.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub entries: Vec<Entry>,
    pub authority: Option<Authority>,
    pub manifests: Vec<LoggedManifest>,
    pub decisions: Vec<LoggedDecision>,
    /// Decisions in the log that count no more, and why.
    pub void: Vec<(u64, String)>,
    /// `(manifest digest, recommendation id)` of what left.
    pub exported: BTreeSet<(String, String)>,
    /// Plans of exports: the entry, its time, and what left.
    pub plans: Vec<(u64, i64, Value)>,
    known: BTreeSet<String>,
    /// Who signed with a key first: certificates could name one key's owner in two ways.
    owners: BTreeMap<String, String>,
}

impl Records {
    /// Reads what a checkpoint covers. `revoked` is the list of keys that count no more.
    pub async fn load(log: &Log, head: Option<&Head>, revoked: &str) -> Result<Self, ApproveError> {
        let mut records = Self::default();
        let Some(head) = head else { return Ok(records) };
        records.entries = log.entries(&head.checkpoint).await?;
        records.known = records.entries.iter().filter_map(Entry::once).collect();
        let last = records
            .entries
            .iter()
            .rfind(|entry| entry.kind == Kind::Authority);
        if let Some(entry) = last {
            let policy = needed(log, entry, "policy_sha256").await?;
            let signers = needed(log, entry, "allowed_signers_sha256").await?;
            let mut authority = Authority::new(&policy, &signers, revoked, entry.index)?;
            let authors = entry.body["authors"].as_array().into_iter().flatten();
            for name in authors.filter_map(Value::as_str) {
                authority.policy.wrote(name);
            }
            records.authority = Some(authority);
        }
        for entry in records.entries.clone() {
            match entry.kind {
                Kind::Manifest => {
                    let bytes = needed(log, &entry, "manifest_sha256").await?;
                    records
                        .manifests
                        .push(read_manifest(&bytes, entry.index, &log.keys)?);
                }
                Kind::Decision => records.add_decision(log, &entry).await?,
                Kind::Export => {
                    let plan = needed(log, &entry, "plan_sha256").await?;
                    let plan =
                        super::parse_strict(&plan, super::BATCH_BYTES_MAX).map_err(|why| {
                            log.broken(&format!("the plan of entry {}", entry.index), why)
                        })?;
                    for item in plan["items"]
                        .as_array()
                        .map_or(&[] as &[Value], Vec::as_slice)
                    {
                        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                        records
                            .exported
                            .insert((text("manifest_sha256"), text("recommendation_id")));
                    }
                    records.plans.push((entry.index, entry.time_ms, plan));
                }
                _ => {}
            }
        }
        Ok(records)
    }

    async fn add_decision(&mut self, log: &Log, entry: &Entry) -> Result<(), ApproveError> {
        let Some(authority) = &self.authority else {
            return Ok(());
        };
        let bytes = needed(log, entry, "decision_sha256").await?;
        let signature = needed(log, entry, "signature_sha256").await?;
        let read = verify_person(&bytes, &signature, &authority.signers, entry.time_ms)
            .and_then(|who| self.not_another(&who).map(|()| who))
            .and_then(|who| Decision::parse(&bytes).map(|decision| (who, decision)));
        match read {
            Ok((who, decision)) => {
                self.owners
                    .entry(who.fingerprint)
                    .or_insert_with(|| who.principal.clone());
                self.decisions.push(LoggedDecision {
                    decision,
                    principal: who.principal,
                    index: entry.index,
                    logged_ms: entry.time_ms,
                });
            }
            Err(why) => self.void.push((entry.index, why)),
        }
        Ok(())
    }

    /// Refuses a key under another name than the one under which it signed before.
    pub(super) fn not_another(&self, who: &Identified) -> Result<(), String> {
        match self.owners.get(&who.fingerprint) {
            Some(owner) if *owner != who.principal => Err(format!(
                "the key {} has signed as `{owner}`: one person would count as two",
                who.fingerprint
            )),
            _ => Ok(()),
        }
    }

    /// The later of a clock and the log's last time.
    #[must_use]
    pub fn now_ms(&self, clock_ms: i64) -> i64 {
        clock_ms.max(self.entries.last().map_or(i64::MIN, |entry| entry.time_ms))
    }

    pub(super) fn knows(&self, kind: Kind, body: &Value) -> bool {
        let entry = Entry {
            index: 0,
            kind,
            time_ms: 0,
            body: body.clone(),
        };
        entry.once().is_some_and(|key| self.known.contains(&key))
    }

    #[must_use]
    pub fn manifest(&self, sha256: &str) -> Option<&LoggedManifest> {
        self.manifests
            .iter()
            .find(|manifest| manifest.sha256 == sha256)
    }

    /// Whether a later manifest proposes another change for the same finding.
    #[must_use]
    pub fn superseded(&self, manifest: &LoggedManifest, recommendation: &Recommendation) -> bool {
        let later = self
            .manifests
            .iter()
            .filter(|other| other.index > manifest.index);
        let newest = later
            .flat_map(|other| &other.recommendations)
            .rfind(|other| {
                other.cluster == recommendation.cluster
                    && other.finding_id == recommendation.finding_id
            });
        newest.is_some_and(|other| change_key(other) != change_key(recommendation))
    }

    /// Where a recommendation of a manifest stands; `None` where no policy holds.
    #[must_use]
    pub fn standing(
        &self,
        manifest: &LoggedManifest,
        recommendation: &Recommendation,
        clock_ms: i64,
    ) -> Option<Standing> {
        let authority = self.authority.as_ref()?;
        let fate = Fate {
            superseded: self.superseded(manifest, recommendation),
            exported: self
                .exported
                .contains(&(manifest.sha256.clone(), recommendation.id.clone())),
        };
        Some(standing(
            recommendation,
            &manifest.sha256,
            &self.decisions,
            &authority.policy,
            fate,
            self.now_ms(clock_ms),
        ))
    }

    /// What to log so that the given files hold: `None` where they do already.
    ///
    /// The first ones hold at once. Others need the people whom the old policy asks for; until then
    /// the old ones hold, and the error says who is missing.
    pub fn adopt(
        &self,
        files: AuthorityFiles<'_>,
        clock_ms: i64,
    ) -> Result<Option<Value>, ApproveError> {
        let (policy, signers) = (files.policy, files.allowed_signers);
        let sha256 = authority_sha256(policy, signers);
        let fresh = Authority::new(policy, signers, "", 0)?;
        let mut body = json!({
            "authority_sha256": sha256,
            "policy_sha256": sha256_hex(policy),
            "allowed_signers_sha256": sha256_hex(signers),
        });
        if !files.authors.is_empty() {
            body["authors"] = json!(files.authors);
        }
        let Some(old) = &self.authority else {
            body["accepted_by"] = "first".into();
            return Ok(Some(body));
        };
        if old.sha256 == fresh.sha256 {
            return Ok(None);
        }
        // What was agreed before the last change is spent: it must not bring an old policy back.
        let current: Vec<LoggedDecision> = self
            .decisions
            .iter()
            .filter(|d| d.index > old.since)
            .cloned()
            .collect();
        let missing = policy_change_missing(&old.policy, &sha256, &current, self.now_ms(clock_ms));
        if !missing.is_empty() {
            return Err(ApproveError::Refused {
                what: "the policy or the list of signers".to_owned(),
                why: format!(
                    "it differs from the one in force and needs {} under that one: sign `approve --new-policy` ({sha256})",
                    missing.join(", ")
                ),
            });
        }
        let people: BTreeSet<&str> = current
            .iter()
            .filter(|d| {
                d.decision.verb == Verb::ApprovePolicy && d.decision.authority_sha256 == sha256
            })
            .map(|d| d.principal.as_str())
            .collect();
        body["accepted_by"] = json!(people);
        body["replaces"] = old.sha256.clone().into();
        Ok(Some(body))
    }

    /// Everything that somebody decided on, and where it stands.
    #[must_use]
    pub fn decided(&self, clock_ms: i64) -> Vec<(&LoggedManifest, &Recommendation, Standing)> {
        let mut out = Vec::new();
        for manifest in &self.manifests {
            for recommendation in &manifest.recommendations {
                let named = self.decisions.iter().any(|logged| {
                    logged.decision.manifest_sha256 == manifest.sha256
                        && logged.decision.names(recommendation)
                });
                if let Some(standing) = self
                    .standing(manifest, recommendation, clock_ms)
                    .filter(|_| named)
                {
                    out.push((manifest, recommendation, standing));
                }
            }
        }
        out
    }
}

impl Authority {
    fn new(policy: &[u8], signers: &[u8], revoked: &str, since: u64) -> Result<Self, ApproveError> {
        let text = |what: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| ApproveError::Invalid {
                what: what.to_owned(),
                why: "it is not UTF-8".to_owned(),
            })
        };
        let people = Signers::parse(&text("allowed_signers", signers)?, revoked)?;
        Ok(Self {
            sha256: authority_sha256(policy, signers),
            policy: Policy::parse(&text("the policy", policy)?, &people)?,
            signers: people,
            since,
        })
    }
}

/// What a recommendation would do, without its dollars: those change every night.
fn change_key(recommendation: &Recommendation) -> String {
    let changes = recommendation.value["changes"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    let parts: Vec<Value> = changes
        .iter()
        .map(|change| json!([change["target"], change["patch"]]))
        .collect();
    sha256_hex(
        to_canonical(&Value::from(parts))
            .unwrap_or_default()
            .as_bytes(),
    )
}

/// Verifies a manifest's bytes under the pipeline's keys and reads its recommendations.
pub(super) fn read_manifest(
    bytes: &[u8],
    index: u64,
    keys: &[VerifyingKey],
) -> Result<LoggedManifest, ApproveError> {
    let path = std::path::Path::new("manifest.dsse.json");
    let mut result = Err(ApproveError::rejected(
        path,
        "no key of the pipeline is given",
    ));
    for key in keys {
        result = verify_envelope(path, bytes, key);
        if result.is_ok() {
            break;
        }
    }
    let manifest = result?;
    Ok(LoggedManifest {
        sha256: sha256_hex(bytes),
        index,
        authority_sha256: manifest.predicate["digests"]["authority"]
            .as_str()
            .map(str::to_owned),
        recommendations: recommendations(&manifest)?,
    })
}

async fn needed(log: &Log, entry: &Entry, name: &str) -> Result<Vec<u8>, ApproveError> {
    let sha256 = entry.text(name);
    let found = log.blob(sha256).await?;
    found.map(|bytes| bytes.to_vec()).ok_or_else(|| {
        log.broken(
            &format!("entry {}", entry.index),
            format!("it names {sha256}, which is missing"),
        )
    })
}
