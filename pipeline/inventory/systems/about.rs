//! Owns the page that lists all systems, generated from what each adapter says of itself. A test
//! compares it with `docs/systems.md`.

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

/// The page in Markdown.
#[must_use]
pub fn systems_page() -> String {
    let mut out = String::from(
        "# Serving systems\n\n\
         Generated from the registry in `pipeline/inventory/systems`; a test holds it to that.\n\
         A kind that is not listed is walked by its owner references and, where it has a pod\n\
         template, changed by its shape. Every remedy is data: a JSON patch that first tests what\n\
         was observed, its inverse, preconditions and warnings. Nothing is applied by idleproof.\n\
         Queues, shared devices, claims and vertical scalers lie over any workload, whatever its\n\
         kind: their answers take the place of its own.\n",
    );
    for about in abouts() {
        let _ = write!(
            out,
            "\n## {}\n\n- **Read**: {}\n- **Chain**: {}\n- **Model**: {}\n- **Change**: {}\n",
            about.title,
            about.kinds.join("; "),
            about.chain,
            about.model,
            about.remedies
        );
    }
    out
}

/// The titles of all systems.
#[must_use]
pub fn systems() -> Vec<&'static str> {
    abouts().iter().map(|about| about.title).collect()
}
