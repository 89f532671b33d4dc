//! Owns the pages of all systems, generated from what each adapter says of itself. A test compares them
//! with `docs/systems.md` and `docs/systems/`.

use std::fmt::Write as _;

use super::{MACHINES, SCALERS, SYSTEMS};

/// What one adapter says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::inventory) struct About {
    pub title: &'static str,
    pub kinds: &'static [&'static str],
    pub chain: &'static str,
    pub model: &'static str,
    pub remedies: &'static str,
}

/// Everything that is registered, once, in order of its title.
fn abouts() -> Vec<&'static About> {
    let systems = SYSTEMS.iter().map(|system| system.about);
    let scalers = SCALERS.iter().map(|scaler| scaler.about);
    let machines = MACHINES.iter().map(|machines| machines.about);
    let mut all: Vec<&About> = systems.chain(scalers).chain(machines).collect();
    all.sort_by_key(|about| about.title.to_lowercase());
    all.dedup();
    all
}

/// The page that lists them, in Markdown.
#[must_use]
pub fn systems_page() -> String {
    let mut out = String::from(
        "# Serving systems\n\n\
         Generated from the registry in `pipeline/inventory/systems`; a test holds it to that.\n\
         A kind that is not listed is walked by its owner references and, where it has a pod\n\
         template, changed by its shape. Every remedy is data: a JSON patch that first tests what\n\
         was observed, its inverse, preconditions and warnings. Nothing is applied by idleproof.\n\
         Queues, shared devices, claims and vertical scalers lie over any workload, whatever its\n\
         kind: their answers take the place of its own.\n\n\
         | System | Read |\n|---|---|\n",
    );
    for about in abouts() {
        let _ = writeln!(
            out,
            "| [{}](systems/{}.md) | {} |",
            about.title,
            slug(about.title),
            about.kinds.join("; ")
        );
    }
    out
}

/// Each system's own page: the name of its file, its title, its Markdown.
#[must_use]
pub fn system_pages() -> Vec<(String, &'static str, String)> {
    let page = |about: &&'static About| {
        let text = format!(
            "# {}\n\n\
             Generated from the registry in `pipeline/inventory/systems`; do not edit. \
             [All systems](../systems.md).\n\n\
             | | |\n|---|---|\n\
             | objects that are read | {} |\n\
             | from a pod to what must be changed | {} |\n\
             | where the model is named | {} |\n\
             | what a change is written on | {} |\n",
            about.title,
            about.kinds.join("; "),
            about.chain,
            about.model,
            about.remedies
        );
        (format!("{}.md", slug(about.title)), about.title, text)
    };
    abouts().iter().map(page).collect()
}

/// A title as the name of a file.
fn slug(title: &str) -> String {
    let words: Vec<String> = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

/// The titles of all systems.
#[must_use]
pub fn systems() -> Vec<&'static str> {
    abouts().iter().map(|about| about.title).collect()
}
