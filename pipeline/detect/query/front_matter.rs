//! Owns the front matter: the YAML between `/*---` and `---*/` that says what a query is.

use std::collections::BTreeMap;

use datafusion::scalar::ScalarValue;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

use super::QueryError;

/// What a staging or rollup query says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryHead {
    pub name: String,
    pub title: String,
    pub grain: Vec<String>,
    pub requires: Vec<String>,
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    pub order: i64,
    /// By what a day may be cut for it without changing a row.
    #[serde(default)]
    pub parts: Option<PartsBy>,
}

/// By what a day may be cut so that a query's rows over the parts are its rows over the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartsBy {
    /// No row depends on another node's rows.
    Nodes,
    /// No row depends on the pods of another workload.
    Workloads,
}

/// What a detector says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorHead {
    pub id: String,
    pub version: String,
    pub title: String,
    pub status: String,
    pub severity: Value,
    pub grain: Vec<String>,
    pub requires: Vec<String>,
    #[serde(default)]
    pub claims: Vec<String>,
    pub order: i64,
    pub window: Window,
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    pub false_positives: Vec<String>,
    pub remediation: BTreeMap<String, Value>,
    #[serde(default)]
    pub references: Vec<String>,
    #[serde(default)]
    pub rationale: Option<String>,
}

/// How much history a detector wants, and how little it takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub default: String,
    pub min: String,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    Int,
    Float,
    Text,
}

/// A threshold: never in the SQL, always with its unit and its reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    #[serde(rename = "type")]
    pub param_type: ParamType,
    #[serde(default)]
    pub unit: Option<String>,
    pub default: Value,
    pub why: String,
}

impl Param {
    pub(super) fn default_value(&self, path: &str, name: &str) -> Result<ScalarValue, QueryError> {
        let value = match (self.param_type, &self.default) {
            (ParamType::Int, Value::Number(number)) => {
                number.as_i64().map(|n| ScalarValue::Int64(Some(n)))
            }
            (ParamType::Float, Value::Number(number)) => {
                number.as_f64().map(|n| ScalarValue::Float64(Some(n)))
            }
            (ParamType::Text, Value::String(text)) => Some(ScalarValue::Utf8(Some(text.clone()))),
            _ => None,
        };
        value.ok_or_else(|| self.misfit(path, name, &format!("{:?}", self.default)))
    }

    pub(super) fn check(
        &self,
        path: &str,
        name: &str,
        value: &ScalarValue,
    ) -> Result<(), QueryError> {
        let fits = matches!(
            (self.param_type, value),
            (ParamType::Int, ScalarValue::Int64(Some(_)))
                | (ParamType::Float, ScalarValue::Float64(Some(_)))
                | (ParamType::Text, ScalarValue::Utf8(Some(_)))
        );
        if fits {
            Ok(())
        } else {
            Err(self.misfit(path, name, &value.to_string()))
        }
    }

    fn misfit(&self, path: &str, name: &str, value: &str) -> QueryError {
        QueryError::BadParam {
            path: path.to_owned(),
            name: name.to_owned(),
            why: format!("{value} is no value of type {:?}", self.param_type).to_lowercase(),
        }
    }
}

const OPEN: &str = "/*---";
const CLOSE: &str = "---*/";

/// Front matter and statement of a file that must have both.
pub(super) fn split<'a>(path: &str, text: &'a str) -> Result<(&'a str, &'a str), QueryError> {
    text.strip_prefix(OPEN)
        .and_then(|rest| rest.split_once(CLOSE))
        .ok_or_else(|| QueryError::Bad {
            path: path.to_owned(),
            why: format!("it does not begin with front matter between `{OPEN}` and `{CLOSE}`"),
        })
}

/// The statement of a file that may have front matter.
pub(super) fn body(text: &str) -> &str {
    text.strip_prefix(OPEN)
        .and_then(|rest| rest.split_once(CLOSE))
        .map_or(text, |(_, sql)| sql)
}

pub(super) fn parse<T: DeserializeOwned>(path: &str, head: &str) -> Result<T, QueryError> {
    serde_yaml_ng::from_str(head).map_err(|error| QueryError::Bad {
        path: path.to_owned(),
        why: format!("its front matter does not parse: {error}"),
    })
}
