//! Owns the order of the staging and rollup queries, and their parameters' defaults.
//!
//! It reads the front matter of the embedded files and runs nothing. Called by `derive`.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::ScalarValue;
use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::DeriveError;

static STAGING: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/staging");
static ROLLUPS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/rollups");

/// One query of the chain.
#[derive(Debug, Clone)]
pub struct Step {
    pub name: String,
    /// What follows the front matter.
    pub sql: String,
    /// The whole file, which digests name.
    pub text: String,
    pub requires: Vec<String>,
    order: i64,
    defaults: BTreeMap<String, ScalarValue>,
}

impl Step {
    /// The parameters that the SQL names: defaults under what the run gives.
    pub(super) fn bind(
        &self,
        given: &BTreeMap<&'static str, ScalarValue>,
    ) -> Vec<(&str, ScalarValue)> {
        let named = names(&self.sql);
        let mut bound: BTreeMap<&str, ScalarValue> = self
            .defaults
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        bound.extend(given.iter().map(|(name, value)| (*name, value.clone())));
        bound.retain(|name, _| named.contains(name));
        bound.into_iter().collect()
    }
}

/// The names that follow a `$` in the SQL.
fn names(sql: &str) -> BTreeSet<&str> {
    sql.split('$')
        .skip(1)
        .map(|rest| {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// All staging and rollup queries in the order in which they run.
#[derive(Debug, Clone)]
pub struct Chain {
    steps: Vec<Step>,
    /// Tables that no step makes.
    inputs: BTreeSet<String>,
}

#[derive(Deserialize)]
struct FrontMatter {
    name: String,
    order: i64,
    requires: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, Param>,
}

#[derive(Deserialize)]
struct Param {
    default: serde_yaml_ng::Value,
}

impl Chain {
    /// The queries that the program was built with.
    pub fn embedded() -> Result<Self, DeriveError> {
        let files = [&STAGING, &ROLLUPS].into_iter().flat_map(Dir::files);
        let mut steps = Vec::new();
        for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "sql")) {
            let path = file.path().display().to_string();
            let text = file.contents_utf8().ok_or_else(|| DeriveError::FrontMatter {
                file: path.clone(),
                reason: "it is not UTF-8".to_owned(),
            })?;
            steps.push(parse(&path, text)?);
        }
        steps.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        Self::new(steps)
    }

    fn new(steps: Vec<Step>) -> Result<Self, DeriveError> {
        let all: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let mut inputs = BTreeSet::new();
        let mut made = BTreeSet::new();
        for step in &steps {
            for table in &step.requires {
                if !all.contains(table.as_str()) {
                    inputs.insert(table.clone());
                } else if !made.contains(table.as_str()) {
                    return Err(DeriveError::FrontMatter {
                        file: step.name.clone(),
                        reason: format!("it requires {table}, whose order is not lower"),
                    });
                }
            }
            made.insert(step.name.as_str());
        }
        Ok(Self { steps, inputs })
    }

    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The lake's tables that the chain reads.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(String::as_str)
    }

    /// The tables that nothing after the step at `place` reads any more.
    pub(super) fn spent_after(&self, place: usize) -> Vec<&str> {
        let Some((last, later)) = self.steps[place..].split_first() else {
            return Vec::new();
        };
        let wanted: BTreeSet<&str> = later
            .iter()
            .flat_map(|step| step.requires.iter().map(String::as_str))
            .collect();
        let used = last.requires.iter().map(String::as_str);
        used.chain([last.name.as_str()])
            .filter(|table| !wanted.contains(table))
            .collect()
    }
}

fn parse(path: &str, text: &str) -> Result<Step, DeriveError> {
    let bad = |reason: String| DeriveError::FrontMatter {
        file: path.to_owned(),
        reason,
    };
    let (front, sql) = text
        .strip_prefix("/*---\n")
        .and_then(|rest| rest.split_once("---*/"))
        .ok_or_else(|| bad("it does not begin with /*--- … ---*/".to_owned()))?;
    let front: FrontMatter = serde_yaml_ng::from_str(front).map_err(|e| bad(e.to_string()))?;
    let mut defaults = BTreeMap::new();
    for (name, param) in front.params {
        let value = match &param.default {
            serde_yaml_ng::Value::Number(n) => match n.as_i64() {
                Some(int) => ScalarValue::from(int),
                None => ScalarValue::Float64(n.as_f64()),
            },
            serde_yaml_ng::Value::String(s) => ScalarValue::from(s.as_str()),
            _ => return Err(bad(format!("the default of {name} is neither number nor text"))),
        };
        defaults.insert(name, value);
    }
    Ok(Step {
        name: front.name,
        sql: sql.to_owned(),
        text: text.to_owned(),
        requires: front.requires,
        order: front.order,
        defaults,
    })
}
