//! Owns the reading of PromQL as far as the lint needs it: which series a query selects, by which
//! labels. It evaluates nothing, and what it does not understand it leaves out.

/// Bytes of a query beyond this number are not read.
const MAX_QUERY: usize = 16 * 1024;

/// Words that are no metric though no bracket follows them.
const WORDS: &[&str] = &[
    "and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "atan2",
];

/// Words before a list of labels.
const LISTS: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Labels that say which part of a series, but not whose it is.
const BLUNT: &[&str] = &[
    "__name__",
    "le",
    "quantile",
    "finished_reason",
    "engine",
    "sleep_state",
    "source",
    "mode",
    "cluster",
];

/// One selection of series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    pub metric: String,
    /// Label, operator and value.
    pub matchers: Vec<(String, String, String)>,
}

impl Selector {
    /// Whether any label says whose series these are.
    pub(super) fn narrows(&self) -> bool {
        self.matchers.iter().any(|(name, op, value)| {
            !BLUNT.contains(&name.as_str())
                && matches!(op.as_str(), "=" | "=~")
                && !matches!(value.as_str(), "" | ".*" | ".+")
        })
    }
}

/// The selections of a query, in order.
pub(super) fn selectors(query: &str) -> Vec<Selector> {
    let mut reader = Reader {
        chars: query.chars().take(MAX_QUERY).collect(),
        at: 0,
    };
    let mut out: Vec<Selector> = Vec::new();
    while let Some(c) = reader.peek() {
        match c {
            '"' | '\'' | '`' => {
                reader.text();
            }
            '[' => reader.skip_past(']'),
            '#' => reader.skip_past('\n'),
            '{' => {
                let matchers = reader.matchers();
                let named = matchers
                    .iter()
                    .find(|(name, op, _)| name == "__name__" && op.starts_with('='));
                if let Some((_, _, metric)) = named {
                    out.push(Selector {
                        metric: metric.clone(),
                        matchers: matchers.clone(),
                    });
                }
            }
            c if c.is_ascii_digit() || c == '.' => reader.number(),
            c if is_name(c) => {
                let name = reader.name();
                reader.spaces();
                let lower = name.to_ascii_lowercase();
                match reader.peek() {
                    Some('(') if LISTS.contains(&lower.as_str()) => reader.skip_past(')'),
                    Some('(') => {}
                    Some('{') => {
                        let matchers = reader.matchers();
                        out.push(Selector {
                            metric: name,
                            matchers,
                        });
                    }
                    _ if WORDS.contains(&lower.as_str()) || LISTS.contains(&lower.as_str()) => {}
                    // `sum by (x) (y)`: the aggregation's name stands before a list.
                    _ if reader.list_follows() => {}
                    _ => out.push(Selector {
                        metric: name,
                        matchers: Vec::new(),
                    }),
                }
            }
            _ => reader.at += 1,
        }
    }
    out
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn skip_past(&mut self, end: char) {
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == end {
                break;
            }
        }
    }

    /// A number with its unit, such as `5m` or `1e3`.
    fn number(&mut self) {
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '.')
        {
            self.at += 1;
        }
    }

    fn name(&mut self) -> String {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| is_name(c) || c.is_ascii_digit())
        {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn list_follows(&self) -> bool {
        let rest: String = self.chars[self.at..].iter().take(12).collect();
        let word: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphabetic() || *c == '_')
            .collect();
        matches!(word.to_ascii_lowercase().as_str(), "by" | "without")
    }

    /// A quoted string, without its quotes.
    fn text(&mut self) -> String {
        let Some(quote) = self.peek() else {
            return String::new();
        };
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                c if c == quote => break,
                '\\' if quote != '`' => {
                    if let Some(next) = self.peek() {
                        self.at += 1;
                        out.push(next);
                    }
                }
                c => out.push(c),
            }
        }
        out
    }

    /// What stands between `{` and `}`.
    fn matchers(&mut self) -> Vec<(String, String, String)> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                None => break,
                Some('}') => {
                    self.at += 1;
                    break;
                }
                Some(c) if is_name(c) => {
                    let name = self.name();
                    self.spaces();
                    let mut op = String::new();
                    while let Some(c @ ('=' | '!' | '~')) = self.peek() {
                        op.push(c);
                        self.at += 1;
                    }
                    self.spaces();
                    if matches!(self.peek(), Some('"' | '\'' | '`')) && !op.is_empty() {
                        let value = self.text();
                        out.push((name, op, value));
                    }
                }
                // A quoted metric or label name of newer Prometheus.
                Some('"' | '\'' | '`') => {
                    let name = self.text();
                    self.spaces();
                    if self.peek() != Some('=') && self.peek() != Some('!') {
                        out.push(("__name__".to_owned(), "=".to_owned(), name));
                    }
                }
                Some(_) => self.at += 1,
            }
        }
        out
    }
}

/// Whether a matcher fits a value; none where its pattern is beyond literals, `.*`, `.+` and `|`.
pub(super) fn matches(op: &str, pattern: &str, value: &str) -> Option<bool> {
    let positive = match op {
        "=" | "!=" => pattern == value,
        "=~" | "!~" => {
            let inner = pattern
                .strip_prefix("^")
                .unwrap_or(pattern)
                .trim_end_matches('$');
            let inner = match inner
                .strip_prefix('(')
                .and_then(|rest| rest.strip_suffix(')'))
            {
                Some(rest) if !rest.contains(['(', ')']) => rest,
                _ => inner,
            };
            let mut any = false;
            for branch in inner.split('|') {
                any |= glob(&parts(branch)?, value);
            }
            any
        }
        _ => return None,
    };
    Some(positive != op.starts_with('!'))
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Any,
    Some,
}

fn parts(branch: &str) -> Option<Vec<Part>> {
    let mut out = Vec::new();
    let mut literal = String::new();
    let mut chars = branch.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' if matches!(chars.peek(), Some('*' | '+')) => {
                if !literal.is_empty() {
                    out.push(Part::Literal(std::mem::take(&mut literal)));
                }
                out.push(if chars.next() == Some('*') {
                    Part::Any
                } else {
                    Part::Some
                });
            }
            '\\' => literal.push(chars.next()?),
            // A lone dot fits itself among others: names have no other character there.
            '.' => literal.push('.'),
            '*' | '+' | '?' | '[' | ']' | '(' | ')' | '{' | '}' | '^' | '$' => return None,
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        out.push(Part::Literal(literal));
    }
    (out.len() <= 32).then_some(out)
}

/// Fits parts from the left, each wildcard as short as it can be.
fn glob(parts: &[Part], value: &str) -> bool {
    let mut rest = value;
    let mut gap: Option<usize> = None;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Any => gap = Some(gap.unwrap_or(0)),
            Part::Some => gap = Some(gap.unwrap_or(0) + 1),
            Part::Literal(text) => {
                let last = index + 1 == parts.len();
                match gap.take() {
                    None => match rest.strip_prefix(text.as_str()) {
                        Some(after) => rest = after,
                        None => return false,
                    },
                    Some(least) if last => {
                        let room = rest.len().checked_sub(text.len());
                        return rest.ends_with(text.as_str())
                            && room.is_some_and(|room| room >= least);
                    }
                    Some(least) => {
                        let Some(tail) = rest.get(least..) else {
                            return false;
                        };
                        match tail.find(text.as_str()) {
                            Some(found) => rest = &tail[found + text.len()..],
                            None => return false,
                        }
                    }
                }
            }
        }
    }
    match gap {
        Some(least) => rest.len() >= least,
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(query: &str) -> Vec<String> {
        selectors(query)
            .into_iter()
            .map(|one| {
                let inner: Vec<String> = one
                    .matchers
                    .iter()
                    .map(|(name, op, value)| format!("{name}{op}{value}"))
                    .collect();
                format!("{}{{{}}}", one.metric, inner.join(","))
            })
            .collect()
    }

    #[test]
    fn metrics_are_told_from_functions_words_and_labels() {
        assert_eq!(
            shown(
                "sum by (pod) (rate(vllm:x_total{model_name=~\"a.*\", ns='b'}[5m] offset 1h)) > bool 2 or vector(0)"
            ),
            ["vllm:x_total{model_name=~a.*,ns=b}"]
        );
        assert_eq!(
            shown("sum(a) by (x) / on (y) group_left (z) avg without (q) (b)"),
            ["a{}", "b{}"]
        );
        assert_eq!(shown("{__name__=\"c\", d!=\"e\"}"), ["c{__name__=c,d!=e}"]);
        assert_eq!(
            shown("{\"quoted.name\", a=\"b\"}"),
            ["quoted.name{__name__=quoted.name,a=b}"]
        );
        assert_eq!(shown("1e3 + 5m - 'text{x}' # note y"), Vec::<String>::new());
    }

    #[test]
    fn patterns_that_are_understood_fit_whole_values() {
        for (op, pattern, value, fits) in [
            ("=", "a", "a", Some(true)),
            ("!=", "a", "a", Some(false)),
            ("=~", "llama-.*", "llama-8b", Some(true)),
            ("=~", "llama", "llama-8b", Some(false)),
            ("=~", ".*decode.*", "x-decode-1", Some(true)),
            ("=~", "a|b.+", "bc", Some(true)),
            ("=~", "a|b.+", "b", Some(false)),
            ("!~", "a.*", "b", Some(true)),
            ("=~", "^(a|b)$", "b", Some(true)),
            ("=~", "[ab]", "a", None),
            ("=~", "é.+", "éé", Some(true)),
        ] {
            assert_eq!(matches(op, pattern, value), fits, "{op} {pattern} {value}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "[a-z:_{}()\\[\\]\"'\\\\=~!,. 0-9é|]{0,80}", value in "[a-zé]{0,6}") {
            selectors(&query);
            matches("=~", &query, &value);
        }
    }
}
