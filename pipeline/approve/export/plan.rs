//! Owns the words of an export: `PLAN.md` in the order in which to go, and the `kubectl` commands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Candidate, Piece, quoted, slug};
use crate::approve::{Change, visible};
use crate::model::time::format_ms;

/// `kubectl patch` for each piece, with the dry run unless `--yes` is given.
pub(super) fn commands(pieces: &[Piece<'_>]) -> String {
    let mut out = String::from(
        "#!/bin/sh\n# Shows what would change; with --yes as its argument it changes it. Each patch tests what\n# was observed first, so one that drifted since fails and changes nothing.\nset -eu\ncd \"$(dirname \"$0\")\"\ndry=--dry-run=server\n[ \"${1:-}\" = --yes ] && dry=--dry-run=none\n",
    );
    for piece in pieces {
        let change = piece.change;
        let _ = writeln!(
            out,
            "kubectl{} patch {} {} --type=json --patch-file={} \"$dry\"",
            namespace(change),
            quoted(&change.kind),
            quoted(&change.name),
            quoted(&format!("{}.json", piece.name))
        );
    }
    out
}

fn namespace(change: &Change) -> String {
    if change.namespace.is_empty() {
        String::new()
    } else {
        format!(" --namespace={}", quoted(&change.namespace))
    }
}

/// Text in a line of Markdown that cannot be anything but text.
fn code(text: &str) -> String {
    format!("`{}`", visible(text).replace('`', "'"))
}

/// The plan for people.
pub(super) fn markdown(
    leaving: &[&Candidate],
    roots: &BTreeMap<String, Vec<Piece<'_>>>,
    refused: &[(String, Vec<String>)],
    now_ms: i64,
) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line("# Approved changes".to_owned());
    line(String::new());
    line(format!(
        "Exported {}. idleproof changes no cluster: apply these by GitOps or by hand, in this order. Every patch tests what was observed before it changes anything; the inverse of each lies in `inverse/` under the same name.",
        format_ms(now_ms)
    ));
    for (order, candidate) in leaving.iter().enumerate() {
        let r = &candidate.recommendation;
        line(String::new());
        line(format!(
            "## {}. {} on {}",
            order + 1,
            code(&r.action),
            code(&format!("{}/{}/{}", r.cluster, r.namespace, r.workload))
        ));
        line(String::new());
        if candidate.standing.break_glass {
            line("**BREAK GLASS: one signature only. Have it approved in the ordinary way afterwards.**".to_owned());
            line(String::new());
        }
        let field = |name: &str| {
            code(
                r.text(name)
                    .filter(|text| !text.is_empty())
                    .unwrap_or("unknown"),
            )
        };
        line(format!(
            "- saves {} USD a month ({} to {}), risk {}, disruption {}",
            field("net_monthly_usd"),
            field("net_p10_usd"),
            field("net_p90_usd"),
            field("risk"),
            field("disruption")
        ));
        line(format!(
            "- recommendation {}, approved by {}",
            code(&r.id),
            code(&candidate.standing.approvals.join(", "))
        ));
        if let Some(ticket) = &r.ticket {
            line(format!("- ticket {}", code(ticket)));
        }
        if let Some(why) = &r.not_possible {
            line(format!("- by hand: {}", code(why)));
        }
        for (index, change) in r.changes.iter().enumerate() {
            let root = slug(&format!(
                "{}/{}",
                r.cluster,
                change.managed_by.as_deref().unwrap_or("by-kubectl")
            ));
            let name = roots.get(&root).and_then(|pieces| {
                pieces
                    .iter()
                    .find(|p| std::ptr::eq(p.change, change))
                    .map(|p| p.name.clone())
            });
            let name = name.unwrap_or_default();
            line(format!(
                "- {} {}: {} → {}",
                code(&change.object()),
                code(&change.field),
                code(change.current.as_deref().unwrap_or("not set")),
                code(change.proposed.as_deref().unwrap_or("removed"))
            ));
            match &change.managed_by {
                Some(managed) => line(format!(
                    "  - kept by {}: commit the change there, or what you apply is taken back; component {}",
                    code(managed),
                    code(&format!("{root}/patches"))
                )),
                None => line(format!(
                    "  - no GitOps root was found: `kubectl` or component {}",
                    code(&format!("{root}/patches"))
                )),
            }
            if let Some(Some(now)) = candidate.now.get(index) {
                line(format!(
                    "  - checked against the snapshot of {}",
                    format_ms(now.seen_ms)
                ));
            }
            for warning in &change.warnings {
                line(format!("  - warning: {}", code(warning)));
            }
            line("  - try it, apply it, and, to take it back, undo it:".to_owned());
            line(String::new());
            let patch = |folder: &str, dry: &str| {
                format!(
                    "kubectl{} patch {} {} --type=json --patch-file={}{dry}",
                    namespace(change),
                    quoted(&change.kind),
                    quoted(&change.name),
                    quoted(&format!("{root}/{folder}/{name}.json"))
                )
            };
            line(format!("        {}", patch("patches", " --dry-run=server")));
            line(format!("        {}", patch("patches", "")));
            line(format!("        {}", patch("inverse", "")));
            line(String::new());
            for verify in &change.verify {
                line(format!("  - done when: {}", code(verify)));
            }
        }
    }
    if leaving.is_empty() {
        line(String::new());
        line("Nothing is approved and still true.".to_owned());
    }
    if !refused.is_empty() {
        line(String::new());
        line("## Not exported".to_owned());
        line(String::new());
        for (id, why) in refused {
            line(format!(
                "- {}: {}",
                code(id),
                why.iter()
                    .map(|one| code(one))
                    .collect::<Vec<_>>()
                    .join("; ")
            ));
        }
    }
    out
}
