//! Owns what a client's text asks for: which statements it holds, and which of them are queries, which are
//! answered without one, and which are refused.

use super::catalog;
use super::fault::Fault;
use crate::model::bounds;

/// What one statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Query(String),
    Begin,
    /// `COMMIT` or `ROLLBACK`: nothing was changed, so they differ in name alone.
    End(&'static str),
    /// `SAVEPOINT` or `RELEASE`: names in a transaction, where nothing is changed between them.
    Mark(&'static str),
    /// `ROLLBACK TO`: a transaction that failed goes on.
    Back,
    /// A setting that is as it is already, or that only the client minds.
    Set(&'static str),
    /// One setting's value.
    Show(String, String),
    /// A prepared statement is not needed any more; `None` is all of them.
    Deallocate(Option<String>),
}

/// What `SHOW` tells, and what `SET` may set them to.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "off"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", super::SERVER_VERSION),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
];

/// Settings that change nothing in an answer of ours, whatever they are set to.
const CLIENTS_OWN: &[&str] = &[
    "application_name",
    "client_min_messages",
    "extra_float_digits",
    "bytea_output",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "row_security",
    "jit",
    "geqo",
];

/// The statements of a text, without the semicolons between them.
pub(super) fn split(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut found, mut from, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        at = match bytes[at] {
            b';' => {
                found.push(&text[from..at]);
                from = at + 1;
                from
            }
            quote @ (b'\'' | b'"') => after(bytes, at + 1, &[quote]),
            b'$' => match dollar_tag(&bytes[at..]) {
                Some(tag) => after(bytes, at + tag.len(), tag),
                None => at + 1,
            },
            b'-' if bytes[at..].starts_with(b"--") => after(bytes, at + 2, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => after_comment(bytes, at),
            _ => at + 1,
        };
    }
    found.push(&text[from..]);
    found.retain(|statement| !beginning(statement).is_empty());
    found
}

/// The place behind the next `end`, or the end of all.
fn after(bytes: &[u8], from: usize, end: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let found = rest.windows(end.len()).position(|window| window == end);
    found.map_or(bytes.len(), |place| from + place + end.len())
}

/// Comments of this kind nest.
fn after_comment(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// `$$` or `$name$`; `$1` is a parameter.
fn dollar_tag(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes[1..].iter().position(|byte| *byte == b'$')? + 1;
    let name = &bytes[1..end];
    let is_name = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && !name.first().is_some_and(u8::is_ascii_digit);
    is_name.then_some(&bytes[..=end])
}

/// A statement from its first word on.
fn beginning(statement: &str) -> &str {
    let mut text = statement;
    loop {
        text = text.trim_start();
        let bytes = text.as_bytes();
        let skip = if bytes.starts_with(b"--") {
            after(bytes, 2, b"\n")
        } else if bytes.starts_with(b"/*") {
            after_comment(bytes, 0)
        } else {
            return text;
        };
        text = text.get(skip..).unwrap_or_default();
    }
}

/// What one statement asks for; what writes, defines or sets is refused by name.
pub(super) fn asked(statement: &str) -> Result<Asked, Fault> {
    let text = beginning(statement).trim_end();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.to_ascii_uppercase();
    let rest = rest.trim();
    match word.as_str() {
        // DataFusion's check of the plan holds what these contain; this is about words alone.
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "EXPLAIN" | "DESCRIBE" | "DESC" | "" => {
            query(statement)
        }
        "BEGIN" | "START" => {
            let upper = rest.to_ascii_uppercase();
            if upper.contains("READ WRITE") {
                return Err(Fault::read_only("a transaction that writes"));
            }
            Ok(Asked::Begin)
        }
        "SAVEPOINT" => Ok(Asked::Mark("SAVEPOINT")),
        "RELEASE" => Ok(Asked::Mark("RELEASE")),
        "ROLLBACK" if is_back(rest) => Ok(Asked::Back),
        "COMMIT" | "END" => Ok(Asked::End("COMMIT")),
        "ROLLBACK" | "ABORT" => Ok(Asked::End("ROLLBACK")),
        "SET" => set(rest),
        "RESET" | "DISCARD" | "UNLISTEN" => Ok(Asked::Set(match word.as_str() {
            "RESET" => "RESET",
            "DISCARD" => "DISCARD ALL",
            _ => "UNLISTEN",
        })),
        "SHOW" => show(rest).map_or_else(|| query(statement), Ok),
        "DEALLOCATE" => {
            let name = strip_word(rest, "PREPARE");
            Ok(Asked::Deallocate(
                (!name.eq_ignore_ascii_case("ALL")).then(|| unquoted(name)),
            ))
        }
        "DECLARE" | "FETCH" | "CLOSE" | "MOVE" => Err(Fault::error(
            "0A000",
            format!(
                "{word} is not offered: rows are streamed, and drivers can fetch them in parts"
            ),
        )),
        "PREPARE" | "EXECUTE" | "LISTEN" | "NOTIFY" | "LOAD" | "DO" | "CALL" | "LOCK" => {
            Err(Fault::error("0A000", format!("{word} is not offered")))
        }
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" | "COPY" | "CREATE" | "ALTER"
        | "DROP" | "GRANT" | "REVOKE" | "COMMENT" | "VACUUM" | "ANALYZE" | "REINDEX"
        | "CLUSTER" | "REFRESH" | "IMPORT" | "SECURITY" | "REASSIGN" | "CHECKPOINT" => {
            Err(Fault::read_only(&word))
        }
        _ if text.starts_with('(') => query(statement),
        _ => Err(Fault::error(
            "42601",
            format!("`{word}` begins no statement"),
        )),
    }
}

/// A query, with what it asks of PostgreSQL's catalogue in words of ours.
fn query(statement: &str) -> Result<Asked, Fault> {
    bounds::check(statement)?;
    let planned = catalog::planned(statement);
    bounds::check(&planned)?;
    Ok(Asked::Query(planned.into_owned()))
}

/// Whether what follows `ROLLBACK` names a place to go back to.
fn is_back(rest: &str) -> bool {
    let rest = strip_word(strip_word(rest, "WORK"), "TRANSACTION");
    strip_word(rest, "TO") != rest
}

fn strip_word<'a>(text: &'a str, word: &str) -> &'a str {
    match text.get(..word.len()) {
        Some(head) if head.eq_ignore_ascii_case(word) => text[word.len()..].trim_start(),
        _ => text,
    }
}

fn unquoted(name: &str) -> String {
    let name = name.trim();
    let inner = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(
        || name.to_ascii_lowercase(),
        |name| name.replace("\"\"", "\""),
    )
}

fn set(rest: &str) -> Result<Asked, Fault> {
    let rest = strip_word(strip_word(rest, "SESSION"), "LOCAL");
    let upper = rest.to_ascii_uppercase();
    if upper.starts_with("CHARACTERISTICS") || upper.starts_with("TRANSACTION") {
        return if upper.contains("READ WRITE") {
            Err(Fault::read_only("a transaction that writes"))
        } else {
            Ok(Asked::Set("SET"))
        };
    }
    let (name, value) = match upper.strip_prefix("TIME ZONE") {
        Some(_) => ("timezone".to_owned(), rest["TIME ZONE".len()..].trim()),
        None if upper.starts_with("NAMES") => {
            ("client_encoding".to_owned(), rest["NAMES".len()..].trim())
        }
        None => {
            let end = rest
                .find(|c: char| c == '=' || c.is_whitespace())
                .unwrap_or(rest.len());
            let value = rest[end..].trim_start();
            let value = value.strip_prefix('=').unwrap_or(strip_word(value, "TO"));
            (rest[..end].to_ascii_lowercase(), value.trim())
        }
    };
    let plain = |text: &str| {
        let text = text.trim().trim_matches(['\'', '"']).to_ascii_lowercase();
        text.replace(['-', ' ', '"', '\''], "")
    };
    let value = plain(value);
    let is_same = match name.as_str() {
        "timezone" => ["utc", "etc/utc", "gmt", "default", "+00:00", "0"].contains(&value.as_str()),
        "datestyle" => value.starts_with("iso") || value == "default",
        "client_encoding" => ["utf8", "unicode", "default"].contains(&value.as_str()),
        "search_path" => value.split(',').any(|schema| schema == "public") || value == "default",
        _ => SETTINGS
            .iter()
            .any(|(known, is)| *known == name && (plain(is) == value || value == "default")),
    };
    if is_same || CLIENTS_OWN.contains(&name.as_str()) {
        return Ok(Asked::Set("SET"));
    }
    Err(Fault::read_only(&format!("setting `{name}`")))
}

fn show(rest: &str) -> Option<Asked> {
    let name = rest.trim().trim_matches('"').to_ascii_lowercase();
    let name = match name.as_str() {
        "time zone" => "timezone",
        "transaction isolation level" => "transaction_isolation",
        other => other,
    };
    let known = SETTINGS.iter().find(|(known, _)| *known == name);
    known.map(|(name, value)| Asked::Show((*name).to_owned(), (*value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_and_what_is_quoted_is_not_one() {
        assert_eq!(split("select 1; select 2;"), ["select 1", " select 2"]);
        assert_eq!(split(" ;; -- nothing\n ; /* ; */"), Vec::<&str>::new());
        for whole in [
            "select ';', \";\" -- ; \n from t",
            "select $$;$$, $a$ ; $b$ ; $a$",
            "select 1 /* ; /* ; */ ; */ + $1",
            "select 'it''s;'",
            "select 'open ;",
        ] {
            assert_eq!(split(whole), [whole]);
        }
    }

    #[test]
    fn what_writes_is_refused_by_its_state() {
        let code = |text: &str| asked(text).unwrap_err().code;
        for text in [
            "insert into ledger values (1)",
            " /* x */ DELETE FROM ledger",
            "-- x\ncreate table t (a int)",
            "COPY ledger TO STDOUT",
            "SET datafusion.execution.batch_size = 1",
            "set timezone = 'Europe/Berlin'",
            "begin read write",
            "set session characteristics as transaction read write",
        ] {
            assert_eq!(code(text), "25006", "{text}");
        }
        assert_eq!(code("declare c cursor for select 1"), "0A000");
        assert_eq!(code("frobnicate"), "42601");
    }

    #[test]
    fn what_clients_say_by_themselves_is_taken() {
        for text in [
            "SET extra_float_digits = 3",
            "set application_name to 'Grafana'",
            "SET DateStyle TO 'ISO'",
            "SET client_encoding TO 'UTF-8'",
            "SET NAMES 'utf8'",
            "SET TIME ZONE 'UTC'",
            "SET search_path = \"$user\", public",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "set default_transaction_read_only = on",
        ] {
            assert_eq!(asked(text), Ok(Asked::Set("SET")), "{text}");
        }
        assert_eq!(
            asked("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            Ok(Asked::Begin)
        );
        assert_eq!(asked("rollback"), Ok(Asked::End("ROLLBACK")));
        assert_eq!(asked("savepoint \"_pg3_1\""), Ok(Asked::Mark("SAVEPOINT")));
        assert_eq!(asked("rollback to savepoint a"), Ok(Asked::Back));
        assert_eq!(
            asked("show transaction isolation level"),
            Ok(Asked::Show(
                "transaction_isolation".into(),
                "repeatable read".into()
            ))
        );
        assert_eq!(
            asked("DEALLOCATE \"_pg3_0\""),
            Ok(Asked::Deallocate(Some("_pg3_0".into())))
        );
        assert_eq!(asked("(select 1)"), Ok(Asked::Query("(select 1)".into())));
    }
}
