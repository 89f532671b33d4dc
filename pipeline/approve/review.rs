//! Owns the text that a person reads before signing: exactly what the decision will bind, from the
//! verified manifest, with everything that a terminal would hide spelled out.
//!
//! It shows; it decides nothing. Called by the command line for `--review` and `check policy`.

use std::fmt::Write as _;

use super::decision::Decision;
use super::policy::Policy;
use super::{Change, Recommendation, visible};
use crate::model::time::format_ms;
use serde_json::Value;

/// One recommendation in full.
#[must_use]
pub fn review(recommendation: &Recommendation, policy: Option<&Policy>, now_ms: i64) -> String {
    let r = recommendation;
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("recommendation {}  ({})", r.id, visible(&r.action)));
    line(format!("  sha256    {}", r.sha256));
    line(format!(
        "  where     {} · {} · {}",
        visible(&r.cluster),
        visible(&r.namespace),
        visible(&r.workload)
    ));
    if let Some(handle) = r.text("finding_handle") {
        line(format!("  finding   {}", visible(handle)));
    }
    line(format!("  finding id {}", visible(&r.finding_id)));
    if let Some(sha256) = &r.evidence_sha256 {
        line(format!("  evidence  {}", visible(sha256)));
    }
    if let Some(ticket) = &r.ticket {
        line(format!("  ticket    {}", visible(ticket)));
    }
    let usd = |name: &str| {
        r.text(name)
            .map_or("unknown".to_owned(), |text| format!("${}", visible(text)))
    };
    line(format!(
        "  saves     {} a month (80 % range {} to {}; realisable {}; prices: {})",
        usd("net_monthly_usd"),
        usd("net_p10_usd"),
        usd("net_p90_usd"),
        usd("realisable_monthly_usd"),
        r.text("price_basis").map_or("unknown".to_owned(), visible)
    ));
    for (label, name) in [
        ("risk", "risk"),
        ("disruption", "disruption"),
        ("expires", "expires"),
        ("team", "team"),
    ] {
        if let Some(text) = r.text(name).filter(|text| !text.is_empty()) {
            line(format!("  {label:<9} {}", visible(text)));
        }
    }
    for (label, name) in [
        ("assumes", "assumes"),
        ("limits", "limits"),
        ("latency", "predicted_latency"),
    ] {
        let value = &r.value[name];
        let empty = value.is_null()
            || value.as_object().is_some_and(|o| o.is_empty())
            || value.as_array().is_some_and(|a| a.is_empty());
        if !empty {
            line(format!("  {label:<9} {}", visible(&value.to_string())));
        }
    }
    if let Some(why) = &r.not_possible {
        line(format!("  no patch  {}: people act by hand", visible(why)));
    }
    for change in &r.changes {
        line(String::new());
        for text in change_lines(change) {
            line(text);
        }
    }
    if let Some(policy) = policy {
        line(String::new());
        line("  the policy asks for".to_owned());
        for need in policy.needs(r, now_ms) {
            line(format!("    {}", visible(&need)));
        }
    }
    out
}

fn change_lines(change: &Change) -> Vec<String> {
    let mut lines = vec![
        format!(
            "  object    {} {}",
            visible(&change.api_version),
            visible(&change.object())
        ),
        format!("  field     {}", visible(&change.field)),
        format!(
            "  - {}",
            change
                .current
                .as_deref()
                .map_or("(not set)".to_owned(), visible)
        ),
        format!(
            "  + {}",
            change
                .proposed
                .as_deref()
                .map_or("(removed)".to_owned(), visible)
        ),
    ];
    if let Some(root) = &change.managed_by {
        lines.push(format!("  managed by {}: change it there", visible(root)));
    }
    if let Some(ms) = change.observed_at_ms {
        let version = change.resource_version.as_deref().unwrap_or("unknown");
        lines.push(format!(
            "  observed  {} (resourceVersion {})",
            format_ms(ms),
            visible(version)
        ));
    }
    for (path, observed) in &change.preconditions {
        lines.push(format!(
            "  holds while {} is {}",
            visible(path),
            visible(&observed.to_string())
        ));
    }
    for (label, ops) in [("patch", &change.patch), ("inverse", &change.inverse)] {
        for op in ops {
            lines.push(format!("  {label:<9} {}", visible(&op_text(op))));
        }
    }
    for warning in &change.warnings {
        lines.push(format!("  warning   {}", visible(warning)));
    }
    for step in &change.verify {
        lines.push(format!("  verify    {}", visible(step)));
    }
    lines
}

fn op_text(op: &Value) -> String {
    let text = |name: &str| op[name].as_str().unwrap_or_default().to_owned();
    match op.get("value") {
        Some(value) => format!("{} {} = {value}", text("op"), text("path")),
        None => format!("{} {} {}", text("op"), text("path"), text("from")),
    }
}

/// The decision itself, as it will be signed.
#[must_use]
pub fn review_decision(decision: &Decision) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<12} {}", visible(&text));
    };
    line("decision", decision.verb.word().to_uppercase());
    if decision.break_glass {
        line(
            "BREAK GLASS",
            "one signature, for a short time, shown in every report".to_owned(),
        );
    }
    if !decision.manifest_sha256.is_empty() {
        line("manifest", decision.manifest_sha256.clone());
    }
    line("authority", decision.authority_sha256.clone());
    if let Some(reason) = &decision.reason {
        line("reason", reason.clone());
    }
    let limits = &decision.limits;
    for (name, ms) in [
        ("created", Some(decision.created_ms)),
        ("expires", decision.expires_ms),
        ("until", decision.until_ms),
        ("not before", limits.not_before_ms),
    ] {
        if let Some(ms) = ms {
            line(name, format_ms(ms));
        }
    }
    if let Some(hours) = limits.snapshot_max_age_hours {
        line("snapshot", format!("no older than {hours} h"));
    }
    for (name, sha256) in &decision.subjects {
        line("names", format!("{name}  {sha256}"));
    }
    out
}
