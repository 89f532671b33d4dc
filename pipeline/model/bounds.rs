//! Owns how involved a SQL statement may be that a person wrote. The parser takes twice as long for each call
//! within a call, and a chain of operators is walked by recursion: without a limit, a line of text would hold a
//! thread for hours or end the process for all.
//!
//! Asked before anything is parsed: by `sql`, its shell and `serve`, and for detectors of a user's own.

/// Why a statement is not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooInvolved {
    #[error("the statement nests too many calls: put inner ones into a subquery of their own")]
    Calls,
    #[error("the statement has more than {LINKS_MAX} operators: use IN (…) or a join")]
    Links,
}

/// Calls, each counted twice as often as the one around it: sixteen levels, or thousands side by side.
const CALLS_MAX: u64 = 1 << 16;
/// Operators, comparisons, joins and unions of one statement.
const LINKS_MAX: usize = 2_000;

/// Words that put what is before them into what comes, or take it further.
const LINKS: &[&str] = &[
    "and",
    "at",
    "between",
    "collate",
    "except",
    "ilike",
    "in",
    "intersect",
    "is",
    "isnull",
    "join",
    "like",
    "not",
    "notnull",
    "or",
    "over",
    "similar",
    "union",
    "when",
];

/// Whether a statement can be parsed and planned in good time.
pub fn check(statement: &str) -> Result<(), TooInvolved> {
    let measured = Measured::of(statement);
    if measured.calls > CALLS_MAX {
        return Err(TooInvolved::Calls);
    }
    if measured.links > LINKS_MAX {
        return Err(TooInvolved::Links);
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Measured {
    calls: u64,
    links: usize,
}

impl Measured {
    /// What is quoted counts as well, which errs on the safe side and needs no second reading of quotes.
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut found, mut open, mut depth, mut at) = (Self::default(), Vec::new(), 0_u32, 0);
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'"';
        let is_sign = |byte: u8| b"+-*/%|&^<>=~!@#?:[".contains(&byte);
        while at < bytes.len() {
            let from = at;
            match bytes[at] {
                b'(' => {
                    let before = text[..at].trim_end().as_bytes().last().copied();
                    let is_call = before.is_some_and(is_word);
                    open.push(is_call);
                    if is_call {
                        depth += 1;
                        found.calls = found.calls.saturating_add(1_u64 << depth.min(40));
                    }
                    at += 1;
                }
                b')' => {
                    depth -= u32::from(open.pop().unwrap_or(false));
                    at += 1;
                }
                byte if is_word(byte) => {
                    while at < bytes.len() && is_word(bytes[at]) {
                        at += 1;
                    }
                    let word = text[from..at].to_ascii_lowercase();
                    found.links += usize::from(LINKS.contains(&word.as_str()));
                }
                byte if is_sign(byte) => {
                    while at < bytes.len() && is_sign(bytes[at]) {
                        at += 1;
                    }
                    found.links += 1;
                }
                _ => at += 1,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_and_dashboards_write_is_far_below() {
        let sql = "SELECT ROUND(SUM(CAST(COALESCE(a, ABS(b)) AS DOUBLE)), 2), COUNT(*) FROM v_ledger \
                   WHERE (((hour >= $1 AND class IN ('dark', 'lull')))) GROUP BY 1 HAVING COUNT(*) > 1";
        assert_eq!(check(sql), Ok(()));
        let many = format!("SELECT {} 1", "round(max(a), 2), ".repeat(1_000));
        assert_eq!(check(&many), Ok(()));
        let list = format!("SELECT 1 WHERE a IN ({}0)", "1, ".repeat(100_000));
        assert_eq!(check(&list), Ok(()));
    }

    #[test]
    fn what_only_harms_is_refused() {
        for harm in [
            format!("SELECT {}a{}", "f(".repeat(20), ")".repeat(20)),
            format!("SELECT {}a{}", "f ((".repeat(20), "))".repeat(20)),
            format!(
                "SELECT {} 1",
                format!("{}a{}, ", "f(".repeat(10), ")".repeat(10)).repeat(100)
            ),
            format!("SELECT {}1", "1 + ".repeat(20_000)),
            format!("SELECT 1 WHERE {}1", "a OR ".repeat(20_000)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(20_000)),
            format!("SELECT a{}", "::text".repeat(20_000)),
            format!("SELECT a{}", "[1]".repeat(20_000)),
        ] {
            assert!(check(&harm).is_err(), "{harm:.60}");
        }
        // Closed more often than opened, and not ASCII.
        assert_eq!(check(&")".repeat(9)), Ok(()));
        assert_eq!(check("SELECT 'ü', \"ä\"(1) -- …"), Ok(()));
    }
}
