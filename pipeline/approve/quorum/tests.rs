use super::*;
use crate::approve::Signers;
use proptest::prelude::*;
use serde_json::json;

const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUHZGuvHpQ8CNW1wXyhbTuf1/CwElQ5P8ZSWiRfhvQM",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMnVPd71yjTSTT4SmoUBqGSInP0kuw7RqnKpDOHk6oJJ",
];
const HOUR: i64 = 3_600_000;

fn policy(rules: &str) -> Policy {
    let lines = ["ada", "bob", "eve"].iter().zip(KEYS);
    let lines: Vec<String> = lines.map(|(name, key)| format!("{name} {key}")).collect();
    let people = lines.join("\n");
    let signers = Signers::parse(&people, "").unwrap();
    let text = format!(
        "max_age = \"24h\"\nsnapshot_max_age = \"72h\"\n[roles]\nplatform = [\"ada\", \"bob\"]\nfinops = [\"bob\", \"eve\"]\n[change]\nrequire = [{{count = 2, roles = [\"platform\"]}}]\n[break_glass]\nroles = [\"platform\"]\nmax_age = \"2h\"\n{rules}"
    );
    Policy::parse(&text, &signers).unwrap()
}

const BOTH: &str = "[[rule]]\nname = \"all\"\nrequire = [{count = 1, roles = [\"platform\"]}, {count = 1, roles = [\"finops\"]}]\n";

fn recommendation() -> Recommendation {
    Recommendation::read(&json!({
        "recommendation_id": "r1", "finding_id": "f1", "cluster": "prod-a", "namespace": "chat",
        "action": "bounds", "net_monthly_usd": "1200.00", "changes": [],
    }))
    .unwrap()
}

fn said(principal: &str, verb: Verb, index: u64, logged_ms: i64) -> LoggedDecision {
    let r = recommendation();
    LoggedDecision {
        decision: Decision {
            verb,
            manifest_sha256: "m".into(),
            authority_sha256: String::new(),
            subjects: [(r.subject(), r.sha256)].into(),
            reason: Some("because".into()),
            created_ms: logged_ms,
            expires_ms: None,
            until_ms: (verb == Verb::Defer).then_some(10 * HOUR),
            limits: Limits::default(),
            break_glass: false,
        },
        principal: principal.into(),
        index,
        logged_ms,
    }
}

fn at(decisions: &[LoggedDecision], policy: &Policy, now_ms: i64) -> Standing {
    standing(
        &recommendation(),
        "m",
        decisions,
        policy,
        Fate::default(),
        now_ms,
    )
}

#[test]
fn one_person_fills_one_place_whatever_roles_they_hold() {
    let policy = policy(BOTH);
    let bob = said("bob", Verb::Approve, 0, 0);
    let standing = at(std::slice::from_ref(&bob), &policy, HOUR);
    assert_eq!(standing.state, State::Proposed);
    assert_eq!(standing.missing.len(), 1);
    // Bob has both roles: with either of the others he fills the place that they leave.
    for other in ["ada", "eve"] {
        let both = [bob.clone(), said(other, Verb::Approve, 1, 0)];
        assert_eq!(at(&both, &policy, HOUR).state, State::Approved, "{other}");
    }
    let twice = [bob.clone(), said("bob", Verb::Approve, 1, 0)];
    assert_eq!(at(&twice, &policy, HOUR).state, State::Proposed);
}

#[test]
fn the_last_word_holds_and_a_revocation_empties_the_table() {
    let policy = policy(BOTH);
    let yes = vec![
        said("ada", Verb::Approve, 0, 0),
        said("eve", Verb::Approve, 1, 0),
    ];
    let with = |more: &[LoggedDecision]| [yes.clone(), more.to_vec()].concat();
    assert_eq!(at(&yes, &policy, HOUR).state, State::Approved);
    assert_eq!(
        at(&yes, &policy, 24 * HOUR).state,
        State::Proposed,
        "too long ago"
    );
    assert_eq!(
        at(&with(&[said("bob", Verb::Reject, 2, 0)]), &policy, HOUR).state,
        State::Rejected
    );
    assert_eq!(
        at(&with(&[said("bob", Verb::Defer, 2, 0)]), &policy, HOUR).state,
        State::Deferred
    );
    assert_eq!(
        at(&with(&[said("bob", Verb::Defer, 2, 0)]), &policy, 11 * HOUR).state,
        State::Approved
    );
    let revoked = with(&[said("bob", Verb::Revoke, 2, 0)]);
    assert_eq!(at(&revoked, &policy, HOUR).state, State::Revoked);
    let again = [revoked, vec![said("ada", Verb::Approve, 3, 0)]].concat();
    assert_eq!(
        at(&again, &policy, HOUR).state,
        State::Revoked,
        "eve's is gone"
    );
    let again = [again, vec![said("eve", Verb::Approve, 4, 0)]].concat();
    assert_eq!(at(&again, &policy, HOUR).state, State::Approved);
}

#[test]
fn breaking_the_glass_is_short_loud_and_for_its_roles_only() {
    let policy = policy(BOTH);
    let glass = |who: &str| {
        let mut one = said(who, Verb::Approve, 0, 0);
        one.decision.break_glass = true;
        [one]
    };
    let standing = at(&glass("ada"), &policy, HOUR);
    assert!(standing.break_glass && standing.state == State::Approved);
    assert_eq!(at(&glass("ada"), &policy, 2 * HOUR).state, State::Proposed);
    assert_eq!(at(&glass("eve"), &policy, HOUR).state, State::Proposed);
}

#[test]
fn every_rule_that_matches_must_be_met_and_unknown_dollars_match() {
    let policy = policy(
        "[[rule]]\nname = \"base\"\nrequire = [{count = 1, roles = [\"platform\"]}]\n[[rule]]\nname = \"dear\"\nmatch = {min_monthly_usd = 1000, cluster = \"prod-*\"}\nrequire = [{count = 1, roles = [\"finops\"]}]\n",
    );
    let ada = [said("ada", Verb::Approve, 0, 0)];
    assert_eq!(at(&ada, &policy, HOUR).state, State::Proposed);
    let mut unknown = recommendation();
    unknown.net_monthly_usd = None;
    assert_eq!(policy.rules_for(&unknown).len(), 2);
    unknown.net_monthly_usd = Some(999.into());
    assert_eq!(policy.rules_for(&unknown).len(), 1);
    unknown.cluster = "dev".into();
    unknown.net_monthly_usd = None;
    assert_eq!(policy.rules_for(&unknown).len(), 1);
}

#[test]
fn authors_do_not_count_and_no_rule_means_no() {
    let written = policy(&format!("{BOTH}[authors]\npolicy = [\"ada\"]\n"));
    let both = [
        said("ada", Verb::Approve, 0, 0),
        said("eve", Verb::Approve, 1, 0),
    ];
    let standing = at(&both, &written, HOUR);
    assert_eq!(standing.state, State::Proposed);
    assert_eq!(
        standing.ignored,
        [("ada".to_owned(), "wrote the policy".to_owned())]
    );
    let none = policy(
        "[[rule]]\nname = \"dev\"\nmatch = {cluster = \"dev\"}\nrequire = [{count = 1, roles = [\"platform\"]}]\n",
    );
    assert_eq!(at(&both, &none, HOUR).state, State::Proposed);
}

proptest! {
    /// Whatever is said in whatever order, an approval without two people of the right roles never is one.
    #[test]
    fn nothing_but_enough_people_approves(words in proptest::collection::vec((0_usize..3, 0_usize..4), 0..12)) {
        let policy = policy(BOTH);
        let verbs = [Verb::Approve, Verb::Reject, Verb::Defer, Verb::Revoke];
        let people = ["ada", "bob", "eve"];
        let decisions: Vec<LoggedDecision> = words
            .iter()
            .enumerate()
            .map(|(index, (who, what))| said(people[*who], verbs[*what], index as u64, 0))
            .collect();
        let mut last: BTreeMap<&str, Verb> = BTreeMap::new();
        let mut revoked = 0;
        for (index, one) in decisions.iter().enumerate() {
            last.insert(&one.principal, one.decision.verb);
            if one.decision.verb == Verb::Revoke {
                revoked = index;
            }
        }
        let yes: BTreeSet<&str> = decisions[revoked.min(decisions.len())..]
            .iter()
            .filter(|one| one.decision.verb == Verb::Approve && last[one.principal.as_str()] == Verb::Approve)
            .map(|one| one.principal.as_str())
            .collect();
        let enough = yes.len() >= 2;
        let state = at(&decisions, &policy, HOUR).state;
        prop_assert!(state != State::Approved || enough, "{state:?} {yes:?}");
    }
}
