//! Owns the SQL subset: what `DataFusion` and `DuckDB` both run with equal results.
//!
//! A lint over the text without comments and strings, not a parser: it refuses what is known to
//! differ between the engines or to change with the partitioning. `queries/README.md` lists it.

use std::collections::BTreeSet;

use crate::model::bounds;

/// Functions and words whose meaning, type or precision differs between the engines.
const FORBIDDEN: &[(&str, &str)] = &[
    ("ignore nulls", "use the count-group trick"),
    ("approx_", "results must not depend on partitioning (D14)"),
    ("date_bin", "bucket integers: `ts_ms - ts_ms % 3600000`"),
    ("date_trunc", "bucket integers: `ts_ms - ts_ms % 3600000`"),
    ("to_timestamp", "derived columns are milliseconds"),
    ("epoch_ms", "use `EXTRACT(EPOCH FROM ts)` with a cast"),
    ("named_struct", "no struct constructors"),
    ("struct_pack", "no struct constructors"),
    ("struct(", "no struct constructors"),
    ("median(", "types differ between the engines"),
    ("now(", "the run passes its times"),
    ("current_timestamp", "the run passes its times"),
    ("random(", "results must repeat"),
    ("avg(", "sum integers and divide once, at the end"),
    ("::", "use CAST"),
];

const STATEMENTS: &[&str] = &[
    "insert", "update", "delete", "create", "drop", "copy", "set", "alter", "attach", "pragma",
];

/// Refuses a statement outside of the subset, saying what to write instead.
pub fn lint(sql: &str) -> Result<(), String> {
    let code = strip(sql).to_lowercase();
    // A detector of a user's own is text from outside like any other.
    bounds::check(&code).map_err(|why| why.to_string())?;
    let words: Vec<&str> = code
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))
        .filter(|word| !word.is_empty())
        .collect();
    if !matches!(words.first(), Some(&("select" | "with"))) {
        return Err("a query is one SELECT, with common table expressions or without".to_owned());
    }
    if code.trim_end().trim_end_matches(';').contains(';') {
        return Err("a query is one statement".to_owned());
    }
    if let Some(word) = words.iter().find(|word| STATEMENTS.contains(word)) {
        return Err(format!("`{word}` has no place in a query"));
    }
    let flat = words_joined(&code);
    for (word, instead) in FORBIDDEN {
        if flat.contains(word) {
            return Err(format!("`{word}` is outside of the subset: {instead}"));
        }
    }
    if !flat.contains("order by") {
        return Err("a result is ordered by its full key: ORDER BY is missing".to_owned());
    }
    for (index, _) in code.match_indices('/') {
        let before = code[..index].trim_end();
        if !before.ends_with("as double)") {
            return Err(
                "a bare `/` divides integers in one engine and not in the other: cast both sides \
                 to DOUBLE, or write `(a - a % b) / b` with casts"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// The names of `$placeholders`.
pub(super) fn placeholders(sql: &str) -> BTreeSet<String> {
    let code = strip(sql);
    let mut names = BTreeSet::new();
    for (index, _) in code.match_indices('$') {
        let name: String = code[index + 1..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if !name.is_empty() {
            names.insert(name);
        }
    }
    names
}

fn words_joined(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text without comments and string literals.
fn strip(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if first == '\'' {
            out.push_str("''");
            rest = rest[1..].find('\'').map_or("", |end| &rest[end + 2..]);
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}
