use super::*;

const HEAD: &str = "/*---
name: q
title: t
grain: [a]
requires: [ledger]
params:
  limit: {type: int, unit: h, default: 6, why: because}
order: 1
---*/
";

fn parse(sql: &str) -> Result<Query, QueryError> {
    Query::parse("rollups/q.sql", &format!("{HEAD}{sql}"))
}

#[test]
fn the_embedded_queries_keep_to_the_subset() {
    let queries = QuerySet::embedded().unwrap();
    assert!(!queries.derive().is_empty());
}

#[test]
fn what_the_engines_disagree_on_is_refused() {
    for (sql, word) in [
        ("SELECT a / b AS c FROM t ORDER BY c", "bare `/`"),
        ("SELECT a FROM t", "ORDER BY"),
        ("SELECT a FROM t ORDER BY a; DROP TABLE t", "one statement"),
        ("INSERT INTO t SELECT 1 ORDER BY 1", "one SELECT"),
        ("SELECT AVG (a) FROM t ORDER BY 1", "subset"),
        (
            "SELECT LAST_VALUE(a IGNORE\nNULLS) OVER () FROM t ORDER BY 1",
            "count-group",
        ),
        ("SELECT a::int FROM t ORDER BY a", "CAST"),
        (
            "SELECT f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(a)))))))))))))))))) FROM t ORDER BY 1",
            "nests too many calls",
        ),
    ] {
        let sql = sql.replace("AVG (", "AVG(");
        let error = parse(&sql).unwrap_err().to_string();
        assert!(error.contains(word), "{sql}: {error}");
    }
    parse("SELECT CAST(a AS DOUBLE) / CAST(b AS DOUBLE) AS c -- a / b\nFROM t WHERE d <> 'x/y' ORDER BY c")
        .unwrap();
}

#[test]
fn parameters_have_defaults_and_types() {
    let query = parse("SELECT a FROM t WHERE a > $limit AND b = $day ORDER BY a").unwrap();
    let bound = query
        .bind(&Params::default().with_int("day", 1).with_int("unused", 2))
        .unwrap();
    assert_eq!(
        bound,
        Params::default().with_int("limit", 6).with_int("day", 1)
    );
    let error = query.bind(&Params::default()).unwrap_err().to_string();
    assert!(error.contains("`day`"), "{error}");
    let error = query
        .bind(&Params::default().with_text("limit", "x"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`limit`"), "{error}");
}

#[tokio::test]
async fn values_are_bound_and_never_text() {
    let context = SessionContext::new();
    let query = parse("SELECT $name AS a ORDER BY a").unwrap();
    let hostile = "x'; DROP TABLE t; --";
    let batches = run(
        &context,
        &query,
        &Params::default().with_text("name", hostile),
    )
    .await
    .unwrap();
    let column = crate::lake::columns::text(&batches[0], "a").unwrap();
    assert_eq!(column.value(0), hostile);
}
