//! Fates told from versions of an object.

use super::*;

const HOUR: i64 = 3_600_000;

fn change() -> Value {
    json!({
        "patch": [{"op": "test", "path": "/spec/min", "value": 3}, {"op": "replace", "path": "/spec/min", "value": 1}],
        "preconditions": [{"path": "/spec/min", "observed": 3}],
    })
}

fn version(spec: Value, from: i64, to: i64) -> Seen {
    Seen {
        body: json!({"spec": spec, "by": if from > 30 { "kubectl-edit" } else { "argocd" }}),
        from_ms: from * HOUR,
        to_ms: to * HOUR,
    }
}

fn seen(min: i64, from: i64, to: i64) -> Seen {
    version(json!({"min": min}), from, to)
}

fn who(body: &Value, path: &str, after_ms: i64, until_ms: i64) -> Option<String> {
    assert!(path.starts_with("/spec/") && after_ms <= until_ms);
    body["by"].as_str().map(str::to_owned)
}

fn told(versions: &[Seen]) -> ChangeFate {
    follow(&change(), 10 * HOUR, versions, Some(100 * HOUR), &who)
}

fn fate(versions: &[Seen]) -> Fate {
    told(versions).fate
}

fn sight(not_before: i64, seen: i64, by: &str) -> Sight {
    Sight {
        not_before_ms: not_before * HOUR,
        seen_ms: seen * HOUR,
        by: Some(by.to_owned()),
    }
}

#[test]
fn each_fate_is_told_from_the_others() {
    assert_eq!(fate(&[seen(3, 0, 20)]), Fate::NotApplied);
    let applied = told(&[seen(3, 0, 12), seen(1, 13, 30)]);
    assert_eq!(applied.fate, Fate::Applied);
    assert_eq!(applied.applied, Some(sight(12, 13, "argocd")));
    let reverted = told(&[seen(3, 0, 12), seen(1, 13, 30), seen(3, 31, 40)]);
    assert_eq!(reverted.fate, Fate::Reverted);
    assert_eq!(reverted.applied, Some(sight(12, 13, "argocd")));
    assert_eq!(reverted.ended, Some(sight(30, 31, "kubectl-edit")));
    assert_eq!(
        held(std::slice::from_ref(&reverted)),
        Some(Held {
            before_ms: 12 * HOUR,
            from_ms: 13 * HOUR,
            until_ms: Some(30 * HOUR)
        })
    );
    let again = told(&[seen(1, 13, 30), seen(3, 31, 40), seen(1, 41, 50)]);
    assert_eq!(
        (again.fate, again.ended.clone()),
        (Fate::Applied, None),
        "what was taken back and made again holds"
    );
    assert_eq!(again.applied, Some(sight(40, 41, "kubectl-edit")));
    let instead = told(&[seen(3, 0, 12), seen(2, 13, 30)]);
    assert_eq!((instead.fate, instead.applied), (Fate::Overtaken, None));
    assert_eq!(fate(&[seen(1, 11, 12), seen(5, 13, 30)]), Fate::Overtaken);
    assert_eq!(fate(&[seen(3, 0, 9)]), Fate::Gone);
    let unseen = follow(&change(), 10 * HOUR, &[seen(3, 0, 9)], Some(9 * HOUR), &who);
    assert_eq!(unseen.fate, Fate::Unseen);
    assert_eq!(held(&[unseen]), None);
}

#[test]
fn some_fields_of_a_change_are_part_of_it() {
    let change = json!({
        "patch": [
            {"op": "test", "path": "/spec/min", "value": 3},
            {"op": "test", "path": "/spec/max", "value": 9},
            {"op": "replace", "path": "/spec/min", "value": 1},
            {"op": "replace", "path": "/spec/max", "value": 4},
        ],
        "preconditions": [{"path": "/spec/min", "observed": 3}, {"path": "/spec/max", "observed": 9}],
    });
    let both = |min: i64, max: i64, from, to| version(json!({"min": min, "max": max}), from, to);
    let follow = |versions: &[Seen]| follow(&change, 10 * HOUR, versions, None, &who);
    let part = follow(&[both(3, 9, 0, 11), both(1, 9, 12, 20)]);
    assert_eq!(
        (part.fate, part.applied.clone()),
        (Fate::Partly, Some(sight(11, 12, "argocd")))
    );
    // The rest follows: it stands since the first part.
    let whole = follow(&[both(1, 9, 12, 20), both(1, 4, 21, 30)]);
    assert_eq!(
        (whole.fate, whole.applied),
        (Fate::Applied, Some(sight(10, 12, "argocd")))
    );
    // The other field holds what nobody approved.
    assert_eq!(follow(&[both(1, 5, 12, 20)]).fate, Fate::Overtaken);
    assert_eq!(
        follow(&[both(1, 4, 12, 20), both(3, 9, 31, 40)]).fate,
        Fate::Reverted
    );
    assert_eq!(state(&[part]), "partly_applied");
}

#[test]
fn a_recommendation_is_where_its_changes_are() {
    let of = |fate| ChangeFate {
        fate,
        applied: None,
        ended: None,
    };
    assert_eq!(
        state(&[of(Fate::Applied), of(Fate::NotApplied)]),
        "partly_applied"
    );
    assert_eq!(state(&[of(Fate::Applied), of(Fate::Applied)]), "applied");
    assert_eq!(state(&[of(Fate::Applied), of(Fate::Reverted)]), "reverted");
    assert_eq!(
        state(&[of(Fate::Overtaken), of(Fate::Applied)]),
        "overtaken"
    );
    assert_eq!(state(&[of(Fate::NotApplied)]), "not_applied");
    assert_eq!(state(&[]), "unseen", "what people make by hand");
}
