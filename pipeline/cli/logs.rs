//! Owns what goes to stderr: progress, warnings and errors as lines for people, or one JSON object a line for
//! a collector of logs (`IDLEPROOF_LOG_FORMAT=json`).

use std::io::{self, Write};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::now_ms;
use crate::model::time::format_ms;

/// Whether lines are JSON objects.
pub(super) fn are_json() -> bool {
    static JSON: OnceLock<bool> = OnceLock::new();
    *JSON.get_or_init(|| std::env::var("IDLEPROOF_LOG_FORMAT").as_deref() == Ok("json"))
}

/// One line of progress or warning on stderr.
pub(crate) fn say(text: &str) {
    if are_json() {
        let level = if text.contains("warning: ") {
            "WARN"
        } else {
            "INFO"
        };
        put(&line(level, text));
    } else {
        put(&text);
    }
}

/// How a command failed.
pub(super) fn complain(text: &str) {
    if are_json() {
        put(&line("ERROR", text));
    } else {
        put(&format_args!("error: {text}"));
    }
}

/// Nobody may listen any more, as after `2>&1 | head`: that stops nothing.
fn put(text: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn line(level: &str, text: &str) -> Value {
    json!({"timestamp": format_ms(now_ms()), "level": level, "message": text})
}

/// Makes each event of the libraries an object too.
pub(super) struct Lines;

/// One event, whose text comes in one piece.
pub(super) struct Event(&'static str);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event("INFO")
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event {
        Event(match *meta.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            _ => "DEBUG",
        })
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        writeln!(io::stderr().lock(), "{}", line(self.0, text.trim_end()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_it_says() {
        let text = line("WARN", "a \"b\"\nc").to_string();
        assert_eq!(text.lines().count(), 1);
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&back["level"], &back["message"]),
            (&"WARN".into(), &"a \"b\"\nc".into())
        );
        assert!(back["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
