//! Owns the template environment: built-in templates, a user's overrides, and escaping.
//!
//! Every value is escaped by where it lands, without a template having to ask: HTML by minijinja,
//! Markdown by `markdown_text`. Labels, pod and model names are hostile input.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Output, State};
use sha2::{Digest as _, Sha256};

use super::{Comparison, ReportError, ReportView};

const BUILT_IN: &[(&str, &str)] = &[
    (
        "report.html.j2",
        include_str!("../../reports/report.html.j2"),
    ),
    ("report.md.j2", include_str!("../../reports/report.md.j2")),
    (
        "_chart.html.j2",
        include_str!("../../reports/_chart.html.j2"),
    ),
    (
        "_finding.html.j2",
        include_str!("../../reports/_finding.html.j2"),
    ),
    (
        "_savings.html.j2",
        include_str!("../../reports/_savings.html.j2"),
    ),
    (
        "_savings.md.j2",
        include_str!("../../reports/_savings.md.j2"),
    ),
    (
        "_sections.html.j2",
        include_str!("../../reports/_sections.html.j2"),
    ),
    (
        "_sections.md.j2",
        include_str!("../../reports/_sections.md.j2"),
    ),
    (
        "digest.html.j2",
        include_str!("../../reports/digest.html.j2"),
    ),
    (
        "compare.html.j2",
        include_str!("../../reports/compare.html.j2"),
    ),
    ("compare.md.j2", include_str!("../../reports/compare.md.j2")),
    ("digest.md.j2", include_str!("../../reports/digest.md.j2")),
    ("report.css", include_str!("../../reports/report.css")),
];

/// Longer text is cut: a ten-kilobyte label is an attack, not a name.
const TEXT_CHARS_MAX: usize = 400;

/// Renders the view with the built-in templates or a user's.
#[derive(Debug)]
pub struct Renderer {
    environment: Environment<'static>,
    css: String,
}

impl Renderer {
    /// `overrides` is a folder whose files take the place of built-in templates of the same name.
    pub fn new(overrides: Option<&Path>) -> Result<Self, ReportError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|name| {
            if name.ends_with(".html.j2") {
                AutoEscape::Html
            } else if name == "digest.md.j2" {
                AutoEscape::Custom("chat")
            } else if name.ends_with(".md.j2") {
                AutoEscape::Custom("markdown")
            } else {
                AutoEscape::None
            }
        });
        environment.set_formatter(format_value);
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        let mut css = String::new();
        for (name, built_in) in BUILT_IN {
            let text = match overrides {
                Some(folder) => read_override(&folder.join(name))?,
                None => None,
            };
            let text = text.unwrap_or_else(|| (*built_in).to_owned());
            if *name == "report.css" {
                css = text;
            } else {
                environment
                    .add_template_owned(*name, text)
                    .map_err(|error| render_error(name, &error))?;
            }
        }
        Ok(Self { environment, css })
    }

    /// One HTML file: no script, nothing fetched.
    pub fn html(&self, view: &ReportView) -> Result<String, ReportError> {
        self.page("report.html.j2", minijinja::context! { report => view })
    }

    /// Two reports side by side, as a page like theirs.
    pub fn compare_html(&self, both: &Comparison) -> Result<String, ReportError> {
        self.page("compare.html.j2", minijinja::context! { both => both })
    }

    pub fn compare_markdown(&self, both: &Comparison) -> Result<String, ReportError> {
        self.render("compare.md.j2", minijinja::context! { both => both })
    }

    fn page(&self, name: &str, shown: Value) -> Result<String, ReportError> {
        // The style is the only inline content that the page's policy lets through, by its digest.
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&self.css));
        let style = minijinja::context! {
            css => Value::from_safe_string(self.css.clone()),
            css_sha256 => digest,
        };
        self.render(name, minijinja::context! { ..style, ..shown })
    }

    pub fn markdown(&self, view: &ReportView) -> Result<String, ReportError> {
        self.render("report.md.j2", minijinja::context! { report => view })
    }

    /// The report in a few lines, for chat: Markdown as far as chats agree on it.
    pub fn digest_markdown(&self, view: &ReportView) -> Result<String, ReportError> {
        self.render("digest.md.j2", minijinja::context! { report => view })
    }

    /// The same for mail: tables alone, nothing fetched.
    pub fn digest_html(&self, view: &ReportView) -> Result<String, ReportError> {
        self.render("digest.html.j2", minijinja::context! { report => view })
    }

    fn render(&self, name: &str, context: Value) -> Result<String, ReportError> {
        self.environment
            .get_template(name)
            .and_then(|template| template.render(context))
            .map_err(|error| render_error(name, &error))
    }
}

fn read_override(path: &PathBuf) -> Result<Option<String>, ReportError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReportError::Template {
            path: path.clone(),
            source,
        }),
    }
}

fn render_error(name: &str, error: &minijinja::Error) -> ReportError {
    ReportError::Render {
        name: name.to_owned(),
        detail: format!("{error:#}"),
    }
}

fn format_value(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    let escape = match state.auto_escape() {
        AutoEscape::Custom("chat") => Some(chat_text as fn(&str) -> String),
        AutoEscape::Custom(_) => Some(markdown_text as fn(&str) -> String),
        _ => None,
    };
    let text = match value.as_str() {
        Some(text) if !value.is_safe() => visible(text),
        // Numbers, and what a template's own macro has escaped already.
        _ if escape.is_some() => return Ok(write!(out, "{value}")?),
        _ => return minijinja::escape_formatter(out, state, value),
    };
    match escape {
        Some(escape) => Ok(out.write_str(&escape(&text))?),
        None => minijinja::escape_formatter(out, state, &Value::from(text)),
    }
}

/// Cuts what is too long, and shows what would be invisible or turn the text around.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(TEXT_CHARS_MAX));
    for (count, character) in text.chars().enumerate() {
        if count == TEXT_CHARS_MAX {
            out.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => out.push(' '),
            // Bidirectional controls and zero-width characters.
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Text that Markdown shows as it is, in a paragraph, a list or a table cell.
fn markdown_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '!' | '~' => {
                out.push('\\');
                out.push(character);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text that a chat shows as it is: no link, no mention, no emphasis of its own. Chats know no
/// backslash, so what would begin emphasis becomes a character that looks the same.
fn chat_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '`' => out.push('ˋ'),
            '@' => out.push('＠'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(super) mod tests;
