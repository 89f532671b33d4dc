//! Owns the page that lists all systems, generated from what each adapter says of itself. A test
//! compares it with `docs/systems.md`.

use std::fmt::Write as _;

use super::{ABOUTS, SCALERS, SYSTEMS};

/// What one adapter says of itself.
pub(super) struct About {
    pub title: &'static str,
    /// The name in the column `serving_system`; for autoscalers their kind.
    pub system: &'static str,
    pub kinds: &'static [&'static str],
    pub chain: &'static str,
    pub model: &'static str,
    pub remedies: &'static str,
}

/// The page in Markdown.
#[must_use]
pub fn systems_page() -> String {
    let mut out = String::from(
        "# Serving systems\n\n\
         Generated from the registry in `pipeline/inventory/systems`; a test holds it to that.\n\
         A kind that is not listed is walked by its owner references and, where it has a pod\n\
         template, changed by its shape. Every remedy is data: a JSON patch that first tests what\n\
         was observed, its inverse, preconditions and warnings. Nothing is applied by idleproof.\n",
    );
    let mut abouts: Vec<&About> = ABOUTS.to_vec();
    abouts.sort_by_key(|about| about.title.to_lowercase());
    for about in abouts {
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

/// Titles of all systems, and whether an adapter of the named system is registered.
#[must_use]
pub fn systems() -> Vec<(&'static str, bool)> {
    ABOUTS
        .iter()
        .map(|about| {
            let registered = SYSTEMS.iter().any(|system| system.name == about.system)
                || SCALERS.iter().any(|scaler| scaler.kind == about.system);
            (about.title, registered)
        })
        .collect()
}
