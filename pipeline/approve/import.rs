//! Owns the gate through which decisions come into the log: each is verified, held to the manifest
//! and the policy in force, and logged; what is refused is logged with its reason.
//!
//! An import may be run again at any time: what the log knows is passed over. Called by the command
//! line, for `decisions import` and in every run.

use serde_json::{Value, json};

use super::decision::{DECISION_BYTES_MAX, Decision, Verb};
use super::entry::Kind;
use super::log::{Head, Log};
use super::record::Records;
use super::sshsig::verify_person;
use super::strict::visible;
use super::{ApproveError, PipelineKey};
use crate::model::canonical::sha256_hex;
use crate::model::time::{DAY_MS, format_ms};

/// Looks at a log that others move before one gives up.
const TRIES: u32 = 8;

/// A decision as it lies in the inbox: the file and its `.sig`.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub name: String,
    pub decision: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub name: String,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accepted {
        principal: String,
        verb: Verb,
        recommendations: usize,
    },
    Refused {
        why: String,
    },
    /// The log holds it, or this refusal, already.
    Known,
}

/// The files of the policy that is to hold, as they lie there now.
#[derive(Debug, Clone, Copy)]
pub struct AuthorityFiles<'a> {
    pub policy: &'a [u8],
    pub allowed_signers: &'a [u8],
    pub revoked: &'a str,
    /// Who last edited the two files, as version control says; they do not approve under them.
    pub authors: &'a [String],
}

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    pub judged: Vec<Judged>,
    /// Why a new policy does not hold yet.
    pub policy_pending: Option<String>,
    pub head: Option<Head>,
    pub records: Records,
}

/// Judges and logs what lies in the inbox. The caller holds the lease.
pub async fn import(
    log: &Log,
    key: &PipelineKey,
    origin: &str,
    files: AuthorityFiles<'_>,
    inbox: &[Incoming],
    clock_ms: i64,
) -> Result<Imported, ApproveError> {
    let mut imported = Imported {
        judged: Vec::new(),
        policy_pending: None,
        head: None,
        records: Records::default(),
    };
    let mut head = log.recover(key).await?;
    for _ in 0..TRIES {
        let records = Records::load(log, head.as_ref(), files.revoked).await?;
        // First what lets a policy hold, then, under the policy in force, the rest.
        let mut bodies = Vec::new();
        imported.policy_pending = None;
        match records.adopt(files, clock_ms) {
            Ok(None) => {}
            Ok(Some(body)) => {
                log.put_blob(files.policy).await?;
                log.put_blob(files.allowed_signers).await?;
                bodies.push((Kind::Authority, body));
            }
            Err(error) if error.is_rejection() => imported.policy_pending = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        if bodies.is_empty() {
            imported.judged.clear();
            for incoming in inbox {
                let verdict = judge(log, &records, incoming, &mut bodies, clock_ms).await?;
                imported.judged.push(Judged {
                    name: incoming.name.clone(),
                    verdict,
                });
            }
        }
        if bodies.is_empty() {
            imported.head = head;
            imported.records = records;
            return Ok(imported);
        }
        let before = imported.judged.clone();
        match log
            .append(key, head.as_ref(), origin, bodies, clock_ms)
            .await?
        {
            Some(next) => {
                head = Some(next);
                if imported.judged.is_empty() {
                    continue;
                }
                let records = Records::load(log, head.as_ref(), files.revoked).await?;
                // What came in may be what a new policy waited for.
                if imported.policy_pending.is_some()
                    && let Ok(Some(body)) = records.adopt(files, clock_ms)
                {
                    log.put_blob(files.policy).await?;
                    log.put_blob(files.allowed_signers).await?;
                    if let Some(next) = log
                        .append(
                            key,
                            head.as_ref(),
                            origin,
                            vec![(Kind::Authority, body)],
                            clock_ms,
                        )
                        .await?
                    {
                        head = Some(next);
                        imported.policy_pending = None;
                    }
                }
                imported.records = Records::load(log, head.as_ref(), files.revoked).await?;
                imported.head = head;
                imported.judged = before;
                return Ok(imported);
            }
            None => head = log.recover(key).await?,
        }
    }
    Err(ApproveError::Invalid {
        what: "the log".to_owned(),
        why: "other writers kept moving it on: run again".to_owned(),
    })
}

async fn judge(
    log: &Log,
    records: &Records,
    incoming: &Incoming,
    bodies: &mut Vec<(Kind, Value)>,
    clock_ms: i64,
) -> Result<Verdict, ApproveError> {
    let decision_sha256 = sha256_hex(&incoming.decision);
    let signature_sha256 = sha256_hex(&incoming.signature);
    let pending = |body: &Value, kind: Kind, bodies: &[(Kind, Value)]| {
        let same = |other: &Value| match kind {
            Kind::Decision => {
                other["decision_sha256"] == body["decision_sha256"]
                    && other["principal"] == body["principal"]
            }
            _ => other == body,
        };
        records.knows(kind, body)
            || bodies
                .iter()
                .any(|(other, known)| *other == kind && same(known))
    };
    let not_another = |who: &super::Identified| {
        let mut others = bodies.iter().filter(|(kind, _)| *kind == Kind::Decision);
        let is_another = |(_, body): &(Kind, Value)| {
            body["key"] == who.fingerprint.as_str() && body["principal"] != who.principal.as_str()
        };
        if others.any(is_another) {
            Err(format!(
                "the key {} signs as somebody else beside it: one person would count as two",
                who.fingerprint
            ))
        } else {
            Ok(())
        }
    };
    let read = verdict(records, incoming, clock_ms)
        .and_then(|(who, decision)| not_another(&who).map(|()| (who, decision)));
    match read {
        Ok((who, decision)) => {
            let body = json!({
                "decision_sha256": decision_sha256,
                "signature_sha256": signature_sha256,
                "principal": who.principal,
                "key": who.fingerprint,
                "decision": decision.verb.word(),
                "break_glass": decision.break_glass,
                "manifest_sha256": decision.manifest_sha256,
                "authority_sha256": decision.authority_sha256,
                "recommendations": decision.subjects.len(),
            });
            if pending(&body, Kind::Decision, bodies) {
                return Ok(Verdict::Known);
            }
            log.put_blob(&incoming.decision).await?;
            log.put_blob(&incoming.signature).await?;
            bodies.push((Kind::Decision, body));
            Ok(Verdict::Accepted {
                principal: who.principal,
                verb: decision.verb,
                recommendations: decision.subjects.len(),
            })
        }
        Err(why) => {
            let why = visible(&why);
            let body = json!({
                "decision_sha256": decision_sha256,
                "signature_sha256": signature_sha256,
                "file": visible(&incoming.name),
                "why": why,
            });
            // The accepted bytes that come in again under a policy that moved on are no news.
            let accepted = records.entries.iter().any(|entry| {
                entry.kind == Kind::Decision
                    && entry.text("decision_sha256") == decision_sha256
                    && entry.text("signature_sha256") == signature_sha256
            });
            if accepted || pending(&body, Kind::Refusal, bodies) {
                return Ok(Verdict::Known);
            }
            bodies.push((Kind::Refusal, body));
            Ok(Verdict::Refused { why })
        }
    }
}

/// Signature first, then the text, then what it is about.
fn verdict(
    records: &Records,
    incoming: &Incoming,
    clock_ms: i64,
) -> Result<(super::Identified, Decision), String> {
    let now_ms = records.now_ms(clock_ms);
    let authority = records.authority.as_ref().ok_or("no policy is in force")?;
    if incoming.decision.len() > DECISION_BYTES_MAX {
        return Err(format!(
            "the decision is larger than {DECISION_BYTES_MAX} bytes"
        ));
    }
    let who = verify_person(
        &incoming.decision,
        &incoming.signature,
        &authority.signers,
        now_ms,
    )?;
    records.not_another(&who)?;
    let decision = Decision::parse(&incoming.decision)?;
    if decision.created_ms > now_ms + DAY_MS {
        return Err(format!(
            "it is dated {}, which lies ahead: a clock is wrong",
            format_ms(decision.created_ms)
        ));
    }
    if decision.expires_ms.is_some_and(|expires| expires <= now_ms) {
        return Err("it has expired".to_owned());
    }
    if decision.verb == Verb::ApprovePolicy {
        if decision.authority_sha256 == authority.sha256 {
            return Err("this policy is in force already".to_owned());
        }
        let may = authority
            .policy
            .change
            .iter()
            .any(|one| authority.policy.holds_role(&who.principal, &one.roles));
        return if may {
            Ok((who, decision))
        } else {
            Err(format!(
                "{} holds no role that may change the policy",
                who.principal
            ))
        };
    }
    if decision.authority_sha256 != authority.sha256 {
        return Err(format!(
            "it was made under the policy {}, in force is {}: review and sign again",
            decision.authority_sha256, authority.sha256
        ));
    }
    let manifest = records.manifest(&decision.manifest_sha256).ok_or_else(|| {
        format!(
            "it names the manifest {}, which this log does not hold",
            decision.manifest_sha256
        )
    })?;
    if manifest.authority_sha256.as_deref() != Some(authority.sha256.as_str()) {
        return Err(
            "its manifest was made under another policy: run again, then review and sign"
                .to_owned(),
        );
    }
    let strangers = decision.strangers(&manifest.recommendations);
    if !strangers.is_empty() {
        return Err(format!(
            "its manifest holds no {} with this digest",
            strangers.join(", ")
        ));
    }
    for recommendation in manifest
        .recommendations
        .iter()
        .filter(|r| decision.names(r))
    {
        let id = &recommendation.id;
        let policy = &authority.policy;
        let roles = policy
            .rules_for(recommendation)
            .into_iter()
            .flat_map(|rule| &rule.require);
        let glass = policy.break_glass.as_ref().filter(|_| decision.break_glass);
        let holds = roles
            .into_iter()
            .any(|one| policy.holds_role(&who.principal, &one.roles))
            || glass.is_some_and(|glass| policy.holds_role(&who.principal, &glass.roles));
        if !holds {
            return Err(format!(
                "{} holds no role that {id} asks for",
                who.principal
            ));
        }
        if decision.break_glass
            && glass.is_none_or(|glass| !policy.holds_role(&who.principal, &glass.roles))
        {
            return Err(format!("{} may not break the glass", who.principal));
        }
        if decision.verb == Verb::Approve {
            if let Some(why) = policy.excluded(&who.principal, recommendation) {
                return Err(format!("{} {why} and cannot approve {id}", who.principal));
            }
            if recommendation
                .expires_ms
                .is_some_and(|expires| expires <= now_ms)
            {
                return Err(format!("{id} has expired"));
            }
            if records.superseded(manifest, recommendation) {
                return Err(format!(
                    "{id} is superseded: a later manifest proposes another change"
                ));
            }
        }
        if records
            .exported
            .contains(&(manifest.sha256.clone(), id.clone()))
        {
            return Err(format!("{id} was exported: use its inverse patch"));
        }
    }
    Ok((who, decision))
}
