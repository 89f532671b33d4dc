//! Owns the text form of OpenMetrics 1.0: families of gauges, escaped, ended by `# EOF`.
//!
//! It knows no metric of ours: `cli` names families and brings numbers as text. A label's value may
//! be anything; a family without a sample is left out, so that nothing is shown as zero that was
//! never measured.

use std::fmt::Write as _;

/// One family; all are gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    /// Empty, or the last part of the name, as the format asks.
    pub unit: &'static str,
    pub samples: Vec<GaugeSample>,
}

/// Labels in their order, and the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeSample {
    pub labels: Vec<(&'static str, String)>,
    pub value: String,
}

impl Gauge {
    #[must_use]
    pub fn new(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            unit,
            samples: Vec::new(),
        }
    }

    pub fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<String>) {
        self.samples.push(GaugeSample {
            labels: (labels.iter())
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            value: value.into(),
        });
    }
}

/// The exposition, as a textfile collector or a push takes it.
#[must_use]
pub fn openmetrics(families: &[Gauge]) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# TYPE {} gauge", family.name);
        if !family.unit.is_empty() {
            let _ = writeln!(out, "# UNIT {} {}", family.name, family.unit);
        }
        let _ = writeln!(out, "# HELP {} {}", family.name, escaped(family.help));
        for sample in &family.samples {
            out.push_str(family.name);
            for (at, (name, value)) in sample.labels.iter().enumerate() {
                let before = if at == 0 { '{' } else { ',' };
                let _ = write!(out, "{before}{name}=\"{}\"", escaped(value));
            }
            if !sample.labels.is_empty() {
                out.push('}');
            }
            let _ = writeln!(out, " {}", sample.value);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut cost = Gauge::new("idleproof_cost_usd", "usd", "Dollars.");
        cost.add(&[("cluster", "a\"b\\c\nd"), ("class", "dark")], "1.500000");
        let mut plain = Gauge::new("idleproof_publication", "", "Number.");
        plain.add(&[], "3");
        let none = Gauge::new("idleproof_none", "", "Never seen.");
        assert_eq!(
            openmetrics(&[cost, none, plain]),
            "# TYPE idleproof_cost_usd gauge\n# UNIT idleproof_cost_usd usd\n# HELP idleproof_cost_usd Dollars.\n\
             idleproof_cost_usd{cluster=\"a\\\"b\\\\c\\nd\",class=\"dark\"} 1.500000\n\
             # TYPE idleproof_publication gauge\n# HELP idleproof_publication Number.\nidleproof_publication 3\n# EOF\n"
        );
    }
}
