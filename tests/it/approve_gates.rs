//! What holds an approved change back, and what nobody can overlook: freezes and broken glass.

use idleproof::approve::{
    Candidate, ObjectNow, Policy, Recommendation, Signers, State, export, objections, review,
    review_decision,
};
use serde_json::{Value, json};

use crate::approve_world::{HOUR, NOW, World, recommendation};

const FREEZE: &str = r#"
[[freeze]]
name = "launch"
from = "2026-11-22"
to = "2026-11-24"
match = {cluster = "prod-*"}
"#;

async fn candidate(world: &World, manifest: &str, id: &str, at_ms: i64) -> Candidate {
    let records = world.records().await;
    let logged = records.manifest(manifest).unwrap();
    let found = logged.recommendations.iter().find(|one| one.id == id);
    let recommendation = found.unwrap().clone();
    let body = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {"minReplicaCount": 3, "maxReplicaCount": 6},
    });
    Candidate {
        standing: records.standing(logged, &recommendation, at_ms).unwrap(),
        recommendation,
        manifest_sha256: manifest.to_owned(),
        now: vec![Some(ObjectNow {
            body: Some(body),
            seen_ms: at_ms - HOUR,
        })],
    }
}

fn both() -> [Value; 2] {
    [
        recommendation("r1", "prod-a", "120.00", 1),
        recommendation("r2", "lab", "120.00", 1),
    ]
}

#[tokio::test]
async fn a_freeze_holds_what_is_approved_until_it_ends_and_no_glass_lifts_it() {
    let mut world = World::new();
    world.policy.push_str(FREEZE);
    let manifest = world.publish(&both()).await;
    let mut says = world.approval(&manifest, &both());
    world.verdict(world.signed("ada", &says)).await;
    let why = |candidate: &Candidate, at_ms: i64| objections(candidate, 72 * HOUR, false, at_ms);
    let frozen = candidate(&world, &manifest, "r1", NOW).await;
    assert_eq!(
        frozen.standing.state,
        State::Approved,
        "it is approved all the same"
    );
    assert_eq!(why(&frozen, NOW), ["it is frozen by `launch`"]);
    let lab = candidate(&world, &manifest, "r2", NOW).await;
    assert_eq!(why(&lab, NOW), [""; 0], "another cluster is not");
    let exported = export(&[frozen, lab], 72 * HOUR, false, NOW).unwrap();
    assert_eq!(exported.ready, ["r2"]);
    let plan = String::from_utf8(exported.files["PLAN.md"].clone()).unwrap();
    assert!(
        plan.contains("frozen by") && plan.contains("launch"),
        "{plan}"
    );

    says.break_glass = true;
    world.verdict(world.signed("ada", &says)).await;
    let glass = candidate(&world, &manifest, "r1", NOW).await;
    assert_eq!(why(&glass, NOW), ["it is frozen by `launch`"]);
    // 2026-11-24 00:00, to the millisecond.
    let end = NOW + 24 * HOUR;
    let last = candidate(&world, &manifest, "r1", end - 1).await;
    assert_eq!(why(&last, end - 1), ["it is frozen by `launch`"]);
    let free = candidate(&world, &manifest, "r1", end).await;
    assert_eq!(why(&free, end), [""; 0]);
}

#[tokio::test]
async fn what_a_recommendation_needs_is_told_with_names_and_freezes() {
    let mut world = World::new();
    world.policy.push_str(FREEZE);
    let signers = Signers::parse(&world.signers, "").unwrap();
    let policy = Policy::parse(&world.policy, &signers).unwrap();
    let needs = |cluster: &str, usd: &str| {
        let value = recommendation("r1", cluster, usd, 1);
        policy.needs(&Recommendation::read(&value).unwrap(), NOW)
    };
    // Whoever wrote the policy is none of those who may.
    assert_eq!(
        needs("prod-a", "4000.00"),
        [
            "rule `all`: 1 of platform (ada, bob)",
            "rule `prod-over-1k`: 1 of platform (ada, bob)",
            "rule `prod-over-1k`: 1 of finops (eve)",
            "frozen by `launch`: nothing is exported before it ends",
        ]
    );
    assert_eq!(
        needs("lab", "4000.00"),
        ["rule `all`: 1 of platform (ada, bob)"]
    );
}

#[tokio::test]
async fn a_broken_glass_is_marked_where_it_is_signed_and_where_it_leaves() {
    let world = World::new();
    let one = [recommendation("r1", "prod-a", "4000.00", 1)];
    let manifest = world.publish(&one).await;
    let mut says = world.approval(&manifest, &one);
    assert!(!review_decision(&says).contains("BREAK GLASS"));
    says.break_glass = true;
    assert!(review_decision(&says).contains("BREAK GLASS"));
    world.verdict(world.signed("ada", &says)).await;
    let leaving = candidate(&world, &manifest, "r1", NOW).await;
    assert!(leaving.standing.break_glass);
    let exported = export(&[leaving], 72 * HOUR, false, NOW).unwrap();
    let plan = String::from_utf8(exported.files["PLAN.md"].clone()).unwrap();
    assert!(
        plan.contains("**BREAK GLASS: one signature only."),
        "{plan}"
    );
    // With the second signature the rules are met, and nothing is broken any more.
    says.break_glass = false;
    world.verdict(world.signed("eve", &says)).await;
    world.verdict(world.signed("ada", &says)).await;
    let met = candidate(&world, &manifest, "r1", NOW).await;
    assert!(!met.standing.break_glass && met.standing.state == State::Approved);
}

#[tokio::test]
async fn what_is_reviewed_is_all_that_is_signed_and_equal_input_gives_equal_bytes() {
    let world = World::new();
    let one = [recommendation("r1", "prod-a", "4000.00", 1)];
    let manifest = world.publish(&one).await;
    assert_eq!(world.manifest(&one), world.manifest(&one));
    let records = world.records().await;
    let text = review(
        &records.manifest(&manifest).unwrap().recommendations[0],
        None,
        NOW,
    );
    let says = world.approval(&manifest, &one);
    let decision = review_decision(&says);
    println!("{text}{decision}");
    let sha256 = &says.subjects["prod-a/r1"];
    for line in [
        "  where     prod-a · chat · deployment.apps/llama".to_owned(),
        format!("  sha256    {sha256}"),
        format!("  evidence  {}", "ee".repeat(32)),
        "  ticket    OPS-7".to_owned(),
        "  saves     $4000.00 a month (80 % range $4000.00 to $4000.00; realisable unknown; prices: list)".to_owned(),
        "  risk      low".to_owned(),
        "  disruption none".to_owned(),
        "  expires   2027-01-01T00:00:00Z".to_owned(),
        "  object    keda.sh/v1alpha1 scaledobject.keda.sh/chat/llama".to_owned(),
        "  - 3".to_owned(),
        "  + 1".to_owned(),
        "  holds while /spec/minReplicaCount is 3".to_owned(),
        "  patch     test /spec/minReplicaCount = 3".to_owned(),
        "  patch     replace /spec/minReplicaCount = 1".to_owned(),
        "  inverse   replace /spec/minReplicaCount = 3".to_owned(),
        "  warning   the scaler scales up in steps of one".to_owned(),
        "  verify    kubectl -n chat get scaledobject llama".to_owned(),
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line}\n{text}");
    }
    for word in [
        manifest.as_str(),
        &world.authority(),
        sha256,
        "reviewed",
        "APPROVE",
    ] {
        assert!(decision.contains(word), "{word}\n{decision}");
    }
}

/// Every test that docs/approvals.md names for a promise exists.
#[test]
fn the_table_of_promises_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    let mut folders = vec![root.join("tests/it"), root.join("pipeline/approve")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let page = std::fs::read_to_string(root.join("docs/approvals.md")).unwrap();
    let table = page.split("| promise | test |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let mut count = 0;
    for name in table.split('`').filter(|word| word.contains('_')) {
        assert!(all.contains(&format!("fn {name}(")), "{name}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}
