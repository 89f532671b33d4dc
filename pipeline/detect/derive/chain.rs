//! Owns which queries a day runs, in what order, and which tables they leave behind.
//!
//! Loading, binding and linting are `query`'s. Called by `derive`.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::detect::query::{PartsBy, Query, QuerySet};
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

    /// Steps that follow each other and are cut in the same way.
    pub(super) fn groups(&self) -> Vec<(Option<PartsBy>, Range<usize>)> {
        let mut groups: Vec<(Option<PartsBy>, Range<usize>)> = Vec::new();
        for (place, step) in self.steps.iter().enumerate() {
            match groups.last_mut() {
                Some((by, range)) if *by == step.parts => range.end = place + 1,
                _ => groups.push((step.parts, place..place + 1)),
            }
        }
        groups
    }

    /// What a group's steps read and none of them makes.
    pub(super) fn read_by(&self, group: &Range<usize>) -> BTreeSet<&'a str> {
        let steps = &self.steps[group.clone()];
        let read = steps.iter().flat_map(|step| &step.requires);
        let made: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        read.map(String::as_str)
            .filter(|name| !made.contains(name))
            .collect()
    }

    /// Whether a step after the group reads the table.
    pub(super) fn read_after(&self, group: &Range<usize>, table: &str) -> bool {
        let later = self.steps[group.end..].iter();
        later
            .flat_map(|step| &step.requires)
            .any(|name| name == table)
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
