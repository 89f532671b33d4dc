//! Owns the reading of selectors that a user writes, as in PromQL: `{env="prod",team!="x"}`. Only
//! what [`Matcher`] can say on every kind of source is taken; the rest is an error, never a guess.

use super::{Matcher, Pattern};

/// Far longer than any selector that a person writes.
const MAX_SELECTOR_BYTES: usize = 16 << 10;

/// A selector that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the matchers `{text}` cannot be used: {what}")]
pub struct SelectorError {
    text: String,
    what: String,
}

/// The matchers of a selector in braces.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, SelectorError> {
    Reader { rest: text.trim() }
        .selector()
        .map_err(|what| SelectorError {
            text: text.chars().take(200).collect(),
            what,
        })
}

/// Whether PromQL takes it as a label's name without quotes.
fn is_label_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn selector(mut self) -> Result<Vec<Matcher>, String> {
        if self.rest.len() > MAX_SELECTOR_BYTES {
            return Err("they are longer than 16 KiB".to_owned());
        }
        self.token("{")
            .then_some(())
            .ok_or("write them in braces, as in {env=\"prod\"}")?;
        let mut matchers = Vec::new();
        while !self.token("}") {
            matchers.push(self.matcher()?);
            if !self.token(",") && !self.rest.trim_start().starts_with('}') {
                return Err(format!("expected `,` or `}}` before `{}`", self.ahead()));
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(format!("`{}` stands after the closing brace", self.ahead()));
        }
        if matchers.is_empty() {
            return Err("there is none in the braces".to_owned());
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (label, rest) = self.rest.split_at(end);
        if !is_label_name(label) {
            return Err(format!("expected a label's name before `{}`", self.ahead()));
        }
        let label = label.to_owned();
        self.rest = rest;
        // The longer ones first.
        let operator = ["=~", "!~", "!=", "="]
            .into_iter()
            .find(|operator| self.token(operator))
            .ok_or_else(|| format!("expected =, !=, =~ or !~ after `{label}`"))?;
        let value = self.string()?;
        Ok(match operator {
            "=" => Matcher::equal(&label, &value),
            "!=" => Matcher::not_equal(&label, &value),
            "=~" => Matcher::any_of(&label, patterns(&value)?),
            _ => Matcher::none_of(&label, patterns(&value)?),
        })
    }

    fn string(&mut self) -> Result<String, String> {
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.char_indices();
        let quote = match chars.next() {
            Some((_, quote @ ('"' | '\''))) => quote,
            _ => return Err(format!("expected a quoted value before `{}`", self.ahead())),
        };
        let mut value = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or("");
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('\\' | '"' | '\''))) => value.push(escaped),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    _ => {
                        return Err(
                            "only \\\\, \\\", \\', \\n and \\t are known escapes".to_owned()
                        );
                    }
                },
                c => value.push(c),
            }
        }
        Err("a quoted value does not end".to_owned())
    }

    fn token(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn ahead(&self) -> String {
        self.rest.trim_start().chars().take(20).collect()
    }
}

/// `a|b|c.*`: alternatives of plain text, of which each may end in `.*`.
fn patterns(regex: &str) -> Result<Vec<Pattern>, String> {
    let refuse = || {
        format!(
            "of regular expressions only lists such as a|b and beginnings such as a.* can be used, \
             not `{regex}`"
        )
    };
    let mut patterns = Vec::new();
    for alternative in alternatives(regex) {
        let (body, is_prefix) = match alternative.strip_suffix(".*") {
            // An escaped dot before a star is no beginning.
            Some(body) if !body.ends_with('\\') => (body, true),
            _ => (alternative, false),
        };
        let mut text = String::new();
        let mut chars = body.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(c) if !c.is_ascii_alphanumeric() => text.push(c),
                    _ => return Err(refuse()),
                },
                '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => {
                    return Err(refuse());
                }
                c => text.push(c),
            }
        }
        patterns.push(if is_prefix {
            Pattern::Prefix(text)
        } else {
            Pattern::Exact(text)
        });
    }
    Ok(patterns)
}

/// Splits at bars that are not escaped.
fn alternatives(regex: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in regex.char_indices() {
        if c == '|' && !escaped {
            out.push(regex.get(start..at).unwrap_or(""));
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    out.push(regex.get(start..).unwrap_or(""));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_sources_can_evaluate_is_taken() {
        let text = r#" { env = "prod" , team!='a\'b', job=~"x|y\\.z|w-.*", zone !~ "a|b", } "#;
        let want = [
            Matcher::equal("env", "prod"),
            Matcher::not_equal("team", "a'b"),
            Matcher::any_of(
                "job",
                vec![
                    Pattern::Exact("x".to_owned()),
                    Pattern::Exact("y.z".to_owned()),
                    Pattern::Prefix("w-".to_owned()),
                ],
            ),
            Matcher::none_of(
                "zone",
                vec![
                    Pattern::Exact("a".to_owned()),
                    Pattern::Exact("b".to_owned()),
                ],
            ),
        ];
        assert_eq!(parse_selector(text).unwrap(), want);
        let hostile = parse_selector(r#"{env="\"} or {x=\"\\"}"#).unwrap();
        assert_eq!(hostile, [Matcher::equal("env", "\"} or {x=\"\\")]);
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        for (text, says) in [
            ("env=\"prod\"", "braces"),
            ("{}", "none"),
            ("{env}", "expected ="),
            ("{env=prod}", "quoted"),
            ("{env=\"prod}", "does not end"),
            ("{env=\"prod\"} or up", "after the closing brace"),
            ("{1=\"x\"}", "name"),
            ("{env=\"a\" team=\"b\"}", "`,`"),
            ("{env=~\"a.b\"}", "a|b"),
            ("{env=~\"(a|b)\"}", "a|b"),
            ("{env=~\"\\\\d\"}", "a|b"),
            ("{env=\"\\x\"}", "escapes"),
        ] {
            let error = parse_selector(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
