//! Owns which queries a day runs, in what order, and which tables they leave behind.
//!
//! Loading, binding and linting are `query`'s. Called by `derive`.

use std::collections::BTreeSet;

use crate::detect::query::{Query, QuerySet};
use crate::lake::schema::{self, TableKind, TableSpec};

/// The queries that fill derived tables, and all that these require, in their order.
#[derive(Debug)]
pub struct Chain<'a> {
    steps: Vec<&'a Query>,
    /// Tables that no step makes.
    inputs: BTreeSet<&'a str>,
}

impl<'a> Chain<'a> {
    #[must_use]
    pub fn new(queries: &'a QuerySet) -> Self {
        let mut wanted: BTreeSet<&str> = queries
            .derive()
            .iter()
            .filter(|query| output(&query.name).is_some())
            .map(|query| query.name.as_str())
            .collect();
        // Queries over a whole window are in the same folders; no derived table requires them.
        loop {
            let more: Vec<&str> = queries
                .derive()
                .iter()
                .filter(|query| wanted.contains(query.name.as_str()))
                .flat_map(|query| query.requires.iter().map(String::as_str))
                .filter(|name| !wanted.contains(name))
                .collect();
            if more.is_empty() {
                break;
            }
            wanted.extend(more);
        }
        let steps: Vec<&Query> = queries
            .derive()
            .iter()
            .filter(|query| wanted.contains(query.name.as_str()))
            .collect();
        let made: BTreeSet<&str> = steps.iter().map(|query| query.name.as_str()).collect();
        let inputs = wanted.difference(&made).copied().collect();
        Self { steps, inputs }
    }

    #[must_use]
    pub fn steps(&self) -> &[&'a Query] {
        &self.steps
    }

    /// The lake's tables that the chain reads.
    pub fn inputs(&self) -> impl Iterator<Item = &'static TableSpec> {
        self.inputs.iter().filter_map(|name| schema::table(name))
    }

    /// The derived tables that it fills.
    pub fn outputs(&self) -> impl Iterator<Item = &'static TableSpec> {
        self.steps.iter().filter_map(|step| output(&step.name))
    }

    /// The tables that the step at `place` is the last to read.
    pub(super) fn spent_after(&self, place: usize) -> Vec<&'a str> {
        let Some((last, later)) = self.steps[place..].split_first() else {
            return Vec::new();
        };
        let wanted: BTreeSet<&str> = later
            .iter()
            .flat_map(|step| step.requires.iter().map(String::as_str))
            .collect();
        let mut spent: BTreeSet<&str> = last.requires.iter().map(String::as_str).collect();
        spent.insert(&last.name);
        spent.difference(&wanted).copied().collect()
    }
}

/// The derived table that a query fills, if it fills one.
pub(super) fn output(name: &str) -> Option<&'static TableSpec> {
    schema::table(name).filter(|spec| spec.kind == TableKind::Derived)
}
