//! Owns an object as lines of YAML in the order in which `kubectl` prints them: keys sorted, lists not
//! indented below their key. `diff` finds hunks in them.

use serde_json::Value;

/// The lines of a value.
pub(super) fn lines(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    block(value, 0, &mut out);
    out
}

fn pad(depth: usize) -> String {
    " ".repeat(depth)
}

fn block(value: &Value, depth: usize, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            for name in names {
                entry(
                    &format!("{}{}:", pad(depth), key(name)),
                    &fields[name],
                    depth,
                    out,
                );
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = Vec::new();
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        block(item, depth + 2, &mut inner);
                    }
                    Value::Array(items) if !items.is_empty() => block(item, depth + 2, &mut inner),
                    other => inner.push(format!("{}{}", pad(depth + 2), scalar(other))),
                }
                if let Some(first) = inner.first_mut() {
                    *first = format!("{}- {}", pad(depth), first.trim_start());
                }
                out.extend(inner);
            }
        }
        other => out.push(format!("{}{}", pad(depth), scalar(other))),
    }
}

fn entry(head: &str, value: &Value, depth: usize, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push(head.to_owned());
            block(value, depth + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push(head.to_owned());
            block(value, depth, out);
        }
        Value::String(text) if is_block(text) => {
            let keeps = if text.ends_with('\n') { "|" } else { "|-" };
            out.push(format!("{head} {keeps}"));
            for line in text.trim_end_matches('\n').split('\n') {
                out.push(format!("{}{line}", pad(depth + 2)));
            }
        }
        other => out.push(format!("{head} {}", scalar(other))),
    }
}

/// Text that can stand as a block of lines; anything odd is quoted.
fn is_block(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    body.contains('\n')
        && text.len() - body.len() <= 1
        && !body.starts_with([' ', '\n'])
        && !text.chars().any(|c| c.is_control() && c != '\n')
}

fn key(name: &str) -> String {
    if is_plain(name) {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON's quotes are YAML's.
        other => other.to_string(),
    }
}

/// Text that YAML takes for nothing but text.
fn is_plain(text: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let reserved = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(safe)
        && !reserved.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_reads_back_the_same() {
        let value = serde_json::json!({
            "spec": {"args": ["--model", "a: b", "8000", "", "-"], "n": 3, "none": null, "empty": {}, "list": [],
                "nested": [[1, 2], {"a": {"b": [true, "yes"]}}], "text": "one\n two\n", "cut": "a\nb", "odd": "x\u{1b}\ny"},
            "kind": "Deployment", "we ird": "1e3", "y": ["z"],
        });
        let text = lines(&value).join("\n");
        let back: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
        assert_eq!(lines(&value)[0], "kind: Deployment");
        assert!(
            text.contains("  args:\n  - --model\n") || text.contains("  args:\n  - \"--model\"\n")
        );
    }
}
