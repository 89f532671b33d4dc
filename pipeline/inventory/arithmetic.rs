//! Owns numbers that a shell would compute: variables, defaults, whole-number arithmetic. What names
//! an unknown variable has no value.

/// Deeper nesting than this is no size.
const MAX_DEPTH: usize = 16;
/// Longer text than this is no number.
const MAX_TEXT: usize = 512;

/// The number that a word stands for, with variables looked up by name.
pub(super) fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<i64> {
    word(text, lookup, 0)
}

fn word(text: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> Option<i64> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    if depth > MAX_DEPTH || text.len() > MAX_TEXT {
        return None;
    }
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let rest = text.strip_prefix('$')?;
    if let Some(inner) = rest.strip_prefix("((").and_then(|r| r.strip_suffix("))")) {
        return expression(inner, lookup, depth + 1);
    }
    if let Some(inner) = rest.strip_prefix('{').and_then(|r| r.strip_suffix('}')) {
        return braced(inner, lookup, depth + 1);
    }
    // Kubernetes' own spelling.
    let name = rest
        .strip_prefix('(')
        .and_then(|r| r.strip_suffix(')'))
        .unwrap_or(rest);
    named(name, lookup, depth + 1)
}

fn braced(inner: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> Option<i64> {
    match inner.split_once(":-").or_else(|| inner.split_once('-')) {
        Some((name, default)) => {
            named(name, lookup, depth).or_else(|| word(default, lookup, depth + 1))
        }
        None => named(inner, lookup, depth),
    }
}

fn named(name: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> Option<i64> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return None;
    }
    word(&lookup(name)?, lookup, depth + 1)
}

fn expression(text: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> Option<i64> {
    let mut reader = Reader {
        rest: text,
        lookup,
        depth,
    };
    let value = reader.sum()?;
    reader.rest.trim().is_empty().then_some(value)
}

/// Sums of products of numbers, names and brackets.
struct Reader<'t> {
    rest: &'t str,
    lookup: &'t dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Reader<'_> {
    fn next_is(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        loop {
            if self.next_is('+') {
                value = value.checked_add(self.product()?)?;
            } else if self.next_is('-') {
                value = value.checked_sub(self.product()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<i64> {
        let mut value = self.atom()?;
        loop {
            if self.next_is('*') {
                value = value.checked_mul(self.atom()?)?;
            } else if self.next_is('/') {
                value = value.checked_div(self.atom()?)?;
            } else if self.next_is('%') {
                value = value.checked_rem(self.atom()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn atom(&mut self) -> Option<i64> {
        if self.depth > MAX_DEPTH {
            return None;
        }
        if self.next_is('(') {
            self.depth += 1;
            let value = self.sum()?;
            self.depth -= 1;
            return self.next_is(')').then_some(value);
        }
        let variable = self.next_is('$');
        if variable && self.next_is('{') {
            let (inner, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            return braced(inner, self.lookup, self.depth + 1);
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.parse()
            .ok()
            .or_else(|| named(name, self.lookup, self.depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<i64> {
        evaluate(text, &|name| {
            let value = match name {
                "LWS_GROUP_SIZE" => "2",
                "DP_SIZE_LOCAL" => "8",
                "TP" => "$DP_SIZE_LOCAL",
                "LOOP" => "$LOOP",
                _ => return None,
            };
            Some(value.to_owned())
        })
    }

    #[test]
    fn variables_and_arithmetic_become_numbers() {
        assert_eq!(value("16"), Some(16));
        assert_eq!(value("$((LWS_GROUP_SIZE * DP_SIZE_LOCAL))"), Some(16));
        assert_eq!(value("$(( ($TP + 1) / 3 - ${LWS_GROUP_SIZE} ))"), Some(1));
        assert_eq!(value("$(TP)"), Some(8));
        assert_eq!(value("\"${TP_SIZE:-4}\""), Some(4));
    }

    #[test]
    fn what_is_unknown_or_hostile_has_no_value() {
        for text in [
            "",
            "$",
            "$X",
            "$((X * 2))",
            "$((1 / 0))",
            "$LOOP",
            "$((9223372036854775807 + 1))",
            "$((1 2))",
            "$(nvidia-smi | wc -l)",
            "four",
            "$((((((((((((((((((((1))))))))))))))))))))",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
