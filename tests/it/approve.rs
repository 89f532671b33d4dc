//! Approvals from signature to state: what counts, and every attack that must fail. Each attack is a
//! test whose name says it; `docs/approvals.md` lists them and is held to them here.

use idleproof::approve::{
    DECISION_NAMESPACE, Decision, Envelope, Kind, PipelineKey, Recommendation, Signers, State,
    Verb, Verdict, VerifyingKey, verify_envelope, verify_person,
};
use serde_json::json;
use ssh_key::PrivateKey;

use crate::approve_world::{HOUR, NOW, POLICY, World, person, recommendation, sign};

fn cheap() -> serde_json::Value {
    recommendation("r1", "prod-a", "120.00", 1)
}

fn dear() -> serde_json::Value {
    recommendation("r2", "prod-a", "5200.00", 0)
}

#[tokio::test]
async fn enough_of_the_right_people_approve() {
    let world = World::new();
    let both = [cheap(), dear()];
    let manifest = world.publish(&both).await;
    let ada = world.signed("ada", &world.approval(&manifest, &both));
    assert!(matches!(
        world.verdict(ada.clone()).await,
        Verdict::Accepted { .. }
    ));
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
    assert_eq!(world.state(&manifest, "r2", NOW).await, State::Proposed);
    let eve = world.signed("eve", &world.approval(&manifest, &both[1..]));
    assert!(matches!(world.verdict(eve).await, Verdict::Accepted { .. }));
    assert_eq!(world.state(&manifest, "r2", NOW).await, State::Approved);
    // What is known is passed over, and the log does not grow.
    let before = world.records().await.entries.len();
    assert_eq!(world.verdict(ada).await, Verdict::Known);
    assert_eq!(world.records().await.entries.len(), before);
    let audit = world.log().audit(&[], true).await.unwrap();
    assert!(audit.faults.is_empty(), "{:?}", audit.faults);
}

#[tokio::test]
async fn reject_defer_and_revoke_are_statements_of_their_own() {
    let world = World::new();
    let both = [cheap()];
    let manifest = world.publish(&both).await;
    let mut says = world.approval(&manifest, &both);
    world.verdict(world.signed("ada", &says)).await;
    says.verb = Verb::Revoke;
    world.verdict(world.signed("bob", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Revoked);
    says.verb = Verb::Approve;
    says.reason = Some("again".into());
    world.verdict(world.signed("bob", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
    says.verb = Verb::Defer;
    says.until_ms = Some(NOW + 5 * HOUR);
    world.verdict(world.signed("ada", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Deferred);
    says.verb = Verb::Reject;
    says.until_ms = None;
    world.verdict(world.signed("ada", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Rejected);
    // A rejection without a reason is none.
    says.reason = None;
    assert!(Decision::parse(&says.to_bytes().unwrap()).is_err());
    let reasons = world.records().await.decisions.len();
    assert_eq!(reasons, 5);
}

#[tokio::test]
async fn attack_flipped_bytes_in_a_decision_or_its_signature() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    let good = world.signed("ada", &world.approval(&manifest, &[cheap()]));
    let signers = Signers::parse(&world.signers, "").unwrap();
    assert!(verify_person(&good.decision, &good.signature, &signers, NOW).is_ok());
    for at in 0..good.decision.len() {
        let mut bent = good.decision.clone();
        bent[at] ^= 1 << (at % 8);
        assert!(
            verify_person(&bent, &good.signature, &signers, NOW).is_err(),
            "decision byte {at}"
        );
    }
    let text = String::from_utf8(good.signature.clone()).unwrap();
    for (at, c) in text
        .char_indices()
        .filter(|(_, c)| c.is_ascii_alphanumeric())
    {
        let mut bent = good.signature.clone();
        bent[at] = if c == 'A' { b'B' } else { b'A' };
        if bent != good.signature {
            let read = verify_person(&good.decision, &bent, &signers, NOW);
            assert!(read.is_err(), "signature byte {at}");
        }
    }
}

#[tokio::test]
async fn attack_swapped_evidence() {
    let world = World::new();
    let bytes = world.manifest(&[cheap()]);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
    let payload = base64(envelope["payload"].as_str().unwrap());
    let swapped = String::from_utf8(payload)
        .unwrap()
        .replace(&"ee".repeat(32), &"dd".repeat(32));
    let mut forged = envelope.clone();
    forged["payload"] = encode(swapped.as_bytes()).into();
    let forged = format!("{forged}\n");
    let key = world.key.verifying_key();
    assert!(verify_envelope("m".as_ref(), forged.as_bytes(), &key).is_err());
    // The content of a recommendation and the digest beside it are one.
    let mut entry = cheap();
    entry["sha256"] = "00".repeat(32).into();
    assert!(Recommendation::read(&entry).unwrap_err().contains("digest"));
}

#[tokio::test]
async fn attack_stale_manifest_replayed_after_drift() {
    let world = World::new();
    let old = world.publish(&[cheap()]).await;
    let approval = world.signed("ada", &world.approval(&old, &[cheap()]));
    // What was observed has moved on: the next run proposes another change for the same finding.
    let moved = recommendation("r1", "prod-a", "80.00", 2);
    world.publish(&[moved]).await;
    assert!(world.refusal(approval).await.contains("superseded"));
    assert_eq!(world.state(&old, "r1", NOW).await, State::Superseded);
}

#[tokio::test]
async fn new_dollars_alone_do_not_supersede() {
    let world = World::new();
    let old = world.publish(&[cheap()]).await;
    world
        .publish(&[recommendation("r1", "prod-a", "121.00", 1)])
        .await;
    let approval = world.signed("ada", &world.approval(&old, &[cheap()]));
    assert!(matches!(
        world.verdict(approval).await,
        Verdict::Accepted { .. }
    ));
}

#[tokio::test]
async fn attack_approval_copied_to_another_recommendation_cluster_or_week() {
    let world = World::new();
    let other_cluster = recommendation("r1", "prod-b", "120.00", 1);
    let both = [cheap(), dear(), other_cluster];
    // Ids are unique within a manifest, so the cluster's twin stands in one of its own.
    let manifest = world.publish(&both[..2]).await;
    let second = world.publish(&both[2..]).await;
    world
        .verdict(world.signed("ada", &world.approval(&manifest, &both[..1])))
        .await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
    assert_eq!(world.state(&manifest, "r2", NOW).await, State::Proposed);
    assert_eq!(world.state(&second, "r1", NOW).await, State::Proposed);
    // The digest of one under the name of another.
    let mut moved = world.approval(&manifest, &both[..1]);
    let digest = moved.subjects.remove("prod-a/r1").unwrap();
    moved.subjects.insert("prod-a/r2".into(), digest.clone());
    assert!(
        world
            .refusal(world.signed("ada", &moved))
            .await
            .contains("with this digest")
    );
    moved.subjects = [("prod-b/r1".to_owned(), digest)].into();
    assert!(
        world
            .refusal(world.signed("ada", &moved))
            .await
            .contains("with this digest")
    );
    // The same recommendation, another week's manifest: it names one and counts for one.
    let next = world.publish(&both[..1]).await;
    assert_eq!(world.state(&next, "r1", NOW).await, State::Proposed);
    let mut unknown = world.approval(&manifest, &both[..1]);
    unknown.manifest_sha256 = "12".repeat(32);
    assert!(
        world
            .refusal(world.signed("ada", &unknown))
            .await
            .contains("does not hold")
    );
}

#[tokio::test]
async fn attack_expired_revoked_unknown_or_wrong_role_key() {
    let mut world = World::new();
    let (old, early) = (person(), person());
    world.enlist("ada", &old, "valid-before=\"20261101Z\"");
    world.enlist("ada", &early, "valid-after=\"20270101Z\"");
    let foreign = person();
    world.enlist("ada", &foreign, "namespaces=\"git\"");
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    let bytes = || says.to_bytes().unwrap();
    let with = |key: &PrivateKey| sign(key, bytes(), DECISION_NAMESPACE);
    assert!(world.refusal(with(&old)).await.contains("no longer valid"));
    assert!(world.refusal(with(&early)).await.contains("not valid yet"));
    assert!(world.refusal(with(&foreign)).await.contains("may not sign"));
    assert!(world.refusal(with(&person())).await.contains("in no line"));
    assert!(
        world
            .refusal(world.signed("guest", &says))
            .await
            .contains("holds no role")
    );
    let accepted = world.verdict(world.signed("ada", &says)).await;
    assert!(matches!(accepted, Verdict::Accepted { .. }));
    // Revoked later: what it signed before counts no more.
    world.revoked = world.people["ada"].public_key().to_openssh().unwrap();
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Proposed);
    assert!(world.records().await.void[0].1.contains("revoked"));
    let mut again = says.clone();
    again.reason = Some("again".into());
    assert!(
        world
            .refusal(world.signed("ada", &again))
            .await
            .contains("revoked")
    );
}

#[tokio::test]
async fn attack_expired_decision_recommendation_or_approval() {
    let world = World::new();
    let mut stale = cheap();
    stale["expires"] = "2026-11-20T00:00:00Z".into();
    stale["recommendation_id"] = "r9".into();
    stale["finding_id"] = "f9".into();
    let manifest = world.publish(&[cheap(), stale.clone()]).await;
    let mut says = world.approval(&manifest, &[cheap()]);
    says.expires_ms = Some(NOW);
    assert!(
        world
            .refusal(world.signed("ada", &says))
            .await
            .contains("expired")
    );
    says.expires_ms = Some(NOW + HOUR);
    world.verdict(world.signed("ada", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
    assert_eq!(
        world.state(&manifest, "r1", NOW + HOUR).await,
        State::Proposed
    );
    let says = world.approval(&manifest, &[stale]);
    assert!(
        world
            .refusal(world.signed("ada", &says))
            .await
            .contains("has expired")
    );
    assert_eq!(world.state(&manifest, "r9", NOW).await, State::Expired);
}

#[tokio::test]
async fn attack_author_approving_alone() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    assert!(
        world
            .refusal(world.signed("writer", &says))
            .await
            .contains("wrote the policy")
    );
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Proposed);
    // Nor whoever edited the policy last, as its checkout says, whatever it declares.
    let mut world = World::new();
    world.authors = vec!["bob".into()];
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    let why = world.refusal(world.signed("bob", &says)).await;
    assert!(why.contains("wrote the policy"), "{why}");
    // It stands in the log: who looks later, without the checkout, sees the same.
    world.authors.clear();
    let mut again = says.clone();
    again.reason = Some("said again".into());
    let why = world.refusal(world.signed("bob", &again)).await;
    assert!(why.contains("wrote the policy"), "{why}");
    world.verdict(world.signed("ada", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
}

#[tokio::test]
async fn attack_duplicate_signatures_counted_twice() {
    let mut world = World::new();
    world.policy = POLICY.replacen(
        "{count = 1, roles = [\"platform\"]}",
        "{count = 2, roles = [\"platform\"]}",
        1,
    );
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    let one = world.signed("ada", &says);
    let mut renamed = one.clone();
    renamed.name = "another.json".into();
    let imported = world.import_at(&[one.clone(), renamed], NOW).await;
    assert!(matches!(
        imported.judged[0].verdict,
        Verdict::Accepted { .. }
    ));
    assert_eq!(imported.judged[1].verdict, Verdict::Known);
    // Said again in other words it is another statement of the same person.
    let mut again = says.clone();
    again.reason = Some("yes, really".into());
    world.verdict(world.signed("ada", &again)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Proposed);
    world.verdict(world.signed("bob", &says)).await;
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Approved);
}

#[tokio::test]
async fn attack_two_keys_of_one_person_counted_as_two() {
    let mut world = World::new();
    world.policy = POLICY.replacen(
        "{count = 1, roles = [\"platform\"]}",
        "{count = 2, roles = [\"platform\"]}",
        1,
    );
    let second = person();
    world.enlist("ada", &second, "");
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    world.verdict(world.signed("ada", &says)).await;
    let mut other = says.clone();
    other.reason = Some("with the other key".into());
    let incoming = sign(&second, other.to_bytes().unwrap(), DECISION_NAMESPACE);
    assert!(matches!(
        world.verdict(incoming).await,
        Verdict::Accepted { .. }
    ));
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Proposed);
    // Nor may one key stand under two names.
    let twice = format!(
        "{}zoe {}\n",
        world.signers,
        second.public_key().to_openssh().unwrap()
    );
    assert!(
        Signers::parse(&twice, "")
            .unwrap_err()
            .to_string()
            .contains("count as two")
    );
}

#[tokio::test]
async fn attack_algorithm_namespace_or_payload_type_confusion() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    let says = world.approval(&manifest, &[cheap()]);
    let bytes = says.to_bytes().unwrap();
    let git = sign(&world.people["ada"], bytes.clone(), "git");
    assert!(world.refusal(git).await.contains("is for `git`"));
    // The pipeline's key approves nothing, by its raw signature or as a person's.
    let pipeline = std::fs::read_to_string(world.folder.path().join("pipeline")).unwrap();
    let pipeline = PrivateKey::from_openssh(pipeline).unwrap();
    assert!(
        world
            .refusal(sign(&pipeline, bytes.clone(), DECISION_NAMESPACE))
            .await
            .contains("in no line")
    );
    let mut raw = sign(&world.people["ada"], bytes.clone(), DECISION_NAMESPACE);
    raw.signature = Envelope::sign(&bytes, &world.key)
        .unwrap()
        .to_bytes()
        .unwrap();
    assert!(world.refusal(raw).await.contains("no SSH signature"));
    // An envelope of another type, or a decision's statement in the pipeline's envelope.
    let key = world.key.verifying_key();
    let good = String::from_utf8(world.manifest(&[cheap()])).unwrap();
    let typed = good.replace(
        "application/vnd.in-toto+json",
        "application/vnd.in-toto.json",
    );
    assert!(verify_envelope("m".as_ref(), typed.as_bytes(), &key).is_err());
    let decision = Envelope::sign(bytes.trim_ascii_end(), &world.key)
        .unwrap()
        .to_bytes()
        .unwrap();
    assert!(
        verify_envelope("m".as_ref(), &decision, &key)
            .unwrap_err()
            .to_string()
            .contains("no `https")
    );
}

#[tokio::test]
async fn attack_duplicate_keys_odd_unicode_huge_or_deep_payloads() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    let text =
        String::from_utf8(world.approval(&manifest, &[cheap()]).to_bytes().unwrap()).unwrap();
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    for (changed, why) in [
        (
            text.replace(
                "\"decision\":\"approve\"",
                "\"decision\":\"reject\",\"decision\":\"approve\"",
            ),
            "stands twice",
        ),
        (
            text.replace("\"decision\"", "\"\\u0064ecision\":\"reject\",\"decision\""),
            "stands twice",
        ),
        (text.replace("reviewed", "re\u{200b}viewed"), "nobody sees"),
        (
            text.replace("prod-a/r1", "prod-a/\u{202e}1r"),
            "nobody sees",
        ),
        (text.replace("false", "1.5"), "float"),
        (deep, "deeper"),
        (format!("{text}{}", " ".repeat(3 << 20)), "larger than"),
        (
            text.replace(
                "\"break_glass\":false",
                "\"break_glass\":false,\"sudo\":true",
            ),
            "unknown field",
        ),
    ] {
        let incoming = sign(
            &world.people["ada"],
            changed.into_bytes(),
            DECISION_NAMESPACE,
        );
        let refusal = world.refusal(incoming).await;
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
    let mut bytes = text.into_bytes();
    bytes[10] = 0xff;
    let incoming = sign(&world.people["ada"], bytes, DECISION_NAMESPACE);
    assert!(world.refusal(incoming).await.contains("UTF-8"));
    assert_eq!(world.state(&manifest, "r1", NOW).await, State::Proposed);
}

#[tokio::test]
async fn attack_policy_downgrade() {
    let mut world = World::new();
    let old_policy = world.policy.clone();
    let old_authority = world.authority();
    let manifest = world.publish(&[dear()]).await;
    // Whoever writes the file asks for less: the old policy holds until its people agree.
    world.policy = POLICY.replace("min_monthly_usd = 1000", "min_monthly_usd = 100000");
    let imported = world.import_at(&[], NOW).await;
    assert!(
        imported
            .policy_pending
            .unwrap()
            .contains("2 more of platform or finops")
    );
    world.policy.clone_from(&old_policy);
    world
        .verdict(world.signed("ada", &world.approval(&manifest, &[dear()])))
        .await;
    world.policy = POLICY.replace("min_monthly_usd = 1000", "min_monthly_usd = 100000");
    assert_eq!(world.state(&manifest, "r2", NOW).await, State::Proposed);
    // A decision made under the weaker policy is refused.
    let under_new = world.approval(&manifest, &[dear()]);
    assert!(
        world
            .refusal(world.signed("bob", &under_new))
            .await
            .contains("under the policy")
    );

    // Two people agree under the old one; then the new one holds, and the log says who agreed.
    let mut agree = world.approval(&manifest, &[]);
    agree.verb = Verb::ApprovePolicy;
    agree.manifest_sha256 = String::new();
    let both = [world.signed("ada", &agree), world.signed("eve", &agree)];
    assert!(
        world
            .refusal(world.signed("guest", &agree))
            .await
            .contains("may change the policy")
    );
    let imported = world.import_at(&both, NOW).await;
    assert_eq!(imported.policy_pending, None);
    let records = world.records().await;
    let entry = records
        .entries
        .iter()
        .rfind(|entry| entry.kind == Kind::Authority)
        .unwrap();
    assert_eq!(entry.body["accepted_by"], json!(["ada", "eve"]));
    assert_eq!(entry.text("replaces"), old_authority);

    // The agreement is spent: it does not bring an older policy back, nor does this one's.
    world.policy.clone_from(&old_policy);
    let imported = world.import_at(&both, NOW).await;
    assert!(imported.policy_pending.is_some());
    // And the old manifest is stale: it was made under another policy.
    world.policy = POLICY.replace("min_monthly_usd = 1000", "min_monthly_usd = 100000");
    let late = world.approval(&manifest, &[dear()]);
    assert!(
        world
            .refusal(world.signed("bob", &late))
            .await
            .contains("another policy")
    );
}

#[tokio::test]
async fn attack_clock_set_back() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    let mut says = world.approval(&manifest, &[cheap()]);
    says.expires_ms = Some(NOW + HOUR);
    let late = world.signed("ada", &says);
    // The log has seen a later time than the clock shows now.
    world
        .append(
            vec![(Kind::Run, json!({"run_id": "later"}))],
            NOW + 2 * HOUR,
        )
        .await;
    assert!(world.refusal(late).await.contains("expired"));
    let records = world.records().await;
    assert_eq!(records.now_ms(NOW), NOW + 2 * HOUR);
    let times: Vec<i64> = records.entries.iter().map(|entry| entry.time_ms).collect();
    assert!(times.is_sorted(), "{times:?}");
    // A decision from the day after tomorrow is no decision either.
    says.created_ms = NOW + 72 * HOUR;
    says.expires_ms = None;
    assert!(
        world
            .refusal(world.signed("ada", &says))
            .await
            .contains("lies ahead")
    );
}

#[tokio::test]
async fn attack_break_glass_by_someone_else_or_for_long() {
    let world = World::new();
    let manifest = world.publish(&[dear()]).await;
    let mut says = world.approval(&manifest, &[dear()]);
    says.break_glass = true;
    assert!(
        world
            .refusal(world.signed("bob", &says))
            .await
            .contains("may not break the glass")
    );
    world.verdict(world.signed("ada", &says)).await;
    let records = world.records().await;
    let logged = records.manifest(&manifest).unwrap();
    let standing = records
        .standing(logged, &logged.recommendations[0], NOW)
        .unwrap();
    assert!(standing.break_glass && standing.state == State::Approved);
    assert_eq!(
        world.state(&manifest, "r2", NOW + 4 * HOUR).await,
        State::Proposed
    );
}

#[tokio::test]
async fn attack_secrets_in_any_output() {
    let world = World::new();
    let manifest = world.publish(&[cheap()]).await;
    world
        .verdict(world.signed("ada", &world.approval(&manifest, &[cheap()])))
        .await;
    let file = std::fs::read_to_string(world.folder.path().join("pipeline")).unwrap();
    // The private key's own lines, and its bytes as hexadecimal.
    let pipeline = PrivateKey::from_openssh(&file).unwrap();
    let seed = pipeline.key_data().ed25519().unwrap().private.to_bytes();
    let ada = world.people["ada"]
        .key_data()
        .ed25519()
        .unwrap()
        .private
        .to_bytes();
    let needles: Vec<Vec<u8>> = [seed, ada]
        .iter()
        .flat_map(|secret| {
            [
                secret.to_vec(),
                hex_of(secret).into_bytes(),
                encode(secret).into_bytes(),
            ]
        })
        .chain(
            file.lines()
                .filter(|l| !l.starts_with('-') && l.len() > 40)
                .skip(2)
                .map(|l| l.as_bytes().to_vec()),
        )
        .collect();
    let mut seen = 0;
    for object in world.bucket.list("").await.unwrap() {
        let bytes = world.bucket.get(&object.key).await.unwrap().unwrap();
        seen += 1;
        for needle in &needles {
            assert!(
                !bytes
                    .windows(needle.len())
                    .any(|part| part == needle.as_slice()),
                "{}",
                object.key
            );
        }
    }
    assert!(seen > 5);
    let shown = format!(
        "{:?} {:?}",
        world.key,
        VerifyingKey::open(&world.folder.path().join("pipeline.pub"))
    );
    assert!(!shown.contains(&hex_of(&seed)) && !shown.contains(&encode(&seed)));
    // A key that others can read is not used at all.
    let open = world.folder.path().join("open");
    std::fs::write(&open, &file).unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    std::fs::set_permissions(&open, mode).unwrap();
    assert!(PipelineKey::open_or_create(&open).is_err());
    let refused = idleproof::approve::sign_decision(b"x", &open, None, &|_| Ok(String::new()));
    assert!(refused.unwrap_err().to_string().contains("chmod 600"));
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

/// The table of docs/approvals.md names every attack, and no test that is not there.
#[test]
fn the_table_of_attacks_is_the_tests() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let mut tests = std::collections::BTreeSet::new();
    let files = std::fs::read_dir(root.join("tests/it")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    for file in names.filter(|name| name.starts_with("approve")) {
        for line in read(&format!("tests/it/{file}")).lines() {
            let name = line
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next());
            tests.extend(
                name.filter(|name| name.starts_with("attack_"))
                    .map(str::to_owned),
            );
        }
    }
    let listed: std::collections::BTreeSet<String> = read("docs/approvals.md")
        .lines()
        .filter_map(|line| Some(line.rsplit("| `").next()?.strip_suffix("` |")?.to_owned()))
        .filter(|name| name.starts_with("attack_"))
        .collect();
    assert_eq!(listed, tests);
    assert!(tests.len() > 20);
}
