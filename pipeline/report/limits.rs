//! Owns how much of long lists a page shows; templates obey, `report.json` has all.

use serde::Serialize;

/// How much a page shows before it names the file that has all.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// Findings in full, and those after them as a line each.
    pub findings: usize,
    pub listed: usize,
    /// Rows of tables of workloads.
    pub rows: usize,
}

/// A page of 2,000 findings and workloads stays below a megabyte.
pub(super) const LIMITS: Limits = Limits {
    findings: 60,
    listed: 800,
    rows: 250,
};
