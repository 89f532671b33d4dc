//! Owns the SQL files: their front matter, their parameters, the subset they keep to, and running
//! one with its parameters bound.
//!
//! Queries are data: `queries/` is embedded at build time, so a file added there is a query added
//! here. Nothing is ever formatted into SQL. Called by `derive`, `runner` and the SQL tests.

mod front_matter;
mod lint;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::prelude::{SQLOptions, SessionContext};
use datafusion::scalar::ScalarValue;
use include_dir::{Dir, include_dir};

pub use front_matter::{DetectorHead, Param, ParamType, PartsBy, QueryHead, Window};
pub use lint::lint;

use crate::model::canonical::sha256_hex;

static QUERIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries");

/// A query that cannot be used or did not run, by its file.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("`{path}` cannot be used: {why}")]
    Bad { path: String, why: String },
    #[error("`{path}` takes no parameter `{name}`; it takes {known}")]
    UnknownParam {
        path: String,
        name: String,
        known: String,
    },
    #[error("`{path}`, parameter `{name}`: {why}")]
    BadParam {
        path: String,
        name: String,
        why: String,
    },
    #[error("`{path}` failed: {cause}")]
    Run { path: String, cause: String },
}

/// Values by parameter name, bound when a query runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params(pub BTreeMap<String, ScalarValue>);

impl Params {
    #[must_use]
    pub fn with_int(mut self, name: &str, value: i64) -> Self {
        self.0
            .insert(name.to_owned(), ScalarValue::Int64(Some(value)));
        self
    }

    #[must_use]
    pub fn with_text(mut self, name: &str, value: &str) -> Self {
        self.0
            .insert(name.to_owned(), ScalarValue::Utf8(Some(value.to_owned())));
        self
    }
}

/// One SQL file.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where its result is registered for later queries.
    pub name: String,
    /// Its path below `queries/`, for people.
    pub path: String,
    pub requires: Vec<String>,
    pub params: BTreeMap<String, Param>,
    pub order: i64,
    pub parts: Option<PartsBy>,
    /// The statement, without the front matter.
    pub sql: String,
    /// The whole file, whose digest is part of every replay.
    pub text: String,
}

impl Query {
    /// Parses a staging or rollup file.
    pub fn parse(path: &str, text: &str) -> Result<Self, QueryError> {
        let (head, sql) = front_matter::split(path, text)?;
        let head: QueryHead = front_matter::parse(path, head)?;
        Self::checked(path, text, sql, head)
    }

    /// Parses a statement that has no front matter of its own, under its detector's parameters.
    fn checked(path: &str, text: &str, sql: &str, head: QueryHead) -> Result<Self, QueryError> {
        lint(sql).map_err(|why| QueryError::Bad {
            path: path.to_owned(),
            why,
        })?;
        Ok(Self {
            name: head.name,
            path: path.to_owned(),
            requires: head.requires,
            params: head.params,
            order: head.order,
            parts: head.parts,
            sql: sql.to_owned(),
            text: text.to_owned(),
        })
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }

    /// The parameters that a run binds: defaults, then what the user or the run gives.
    ///
    /// Parameters that the statement does not name are left out: engines refuse them.
    pub fn bind(&self, given: &Params) -> Result<Params, QueryError> {
        let mut bound = BTreeMap::new();
        for (name, param) in &self.params {
            bound.insert(name.clone(), param.default_value(&self.path, name)?);
        }
        for (name, value) in &given.0 {
            if let Some(param) = self.params.get(name) {
                param.check(&self.path, name, value)?;
            }
            bound.insert(name.clone(), value.clone());
        }
        let named = lint::placeholders(&self.sql);
        bound.retain(|name, _| named.contains(name));
        if let Some(missing) = named.iter().find(|name| !bound.contains_key(*name)) {
            return Err(QueryError::BadParam {
                path: self.path.clone(),
                name: missing.clone(),
                why: "it has no default and was not given".to_owned(),
            });
        }
        Ok(Params(bound))
    }
}

/// One detector: what it finds, and what it claims of the ledger.
#[derive(Debug, Clone)]
pub struct Detector {
    pub id: String,
    pub version: String,
    pub title: String,
    pub order: i64,
    pub head: DetectorHead,
    pub findings: Query,
    pub claims: Option<Query>,
    /// The findings file, whole.
    pub text: String,
}

/// All queries of a lake's code version.
#[derive(Debug, Clone)]
pub struct QuerySet {
    derive: Vec<Query>,
    window: Vec<Query>,
    detectors: Vec<Detector>,
}

impl QuerySet {
    /// The queries that this build carries.
    pub fn embedded() -> Result<Self, QueryError> {
        let mut derive = Vec::new();
        for folder in ["staging", "rollups"] {
            for (path, text) in sql_files(folder) {
                derive.push(Query::parse(&path, text)?);
            }
        }
        derive.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let mut window = Vec::new();
        for (path, text) in sql_files("window") {
            window.push(Query::parse(&path, text)?);
        }
        let files: BTreeMap<String, &str> = sql_files("detectors").into_iter().collect();
        let mut detectors = Vec::new();
        for (path, text) in &files {
            if !path.ends_with(".claims.sql") {
                let claims = path.replace(".sql", ".claims.sql");
                detectors.push(Detector::parse(path, text, files.get(&claims).copied())?);
            }
        }
        Self::checked(derive, window, detectors)
    }

    /// Detectors alone, as a replay reads them from evidence.
    pub fn of_detectors(detectors: Vec<Detector>) -> Result<Self, QueryError> {
        Self::checked(Vec::new(), Vec::new(), detectors)
    }

    /// Adds a user's detectors, under the same contract.
    pub fn with_detectors(self, more: Vec<Detector>) -> Result<Self, QueryError> {
        let mut detectors = self.detectors;
        detectors.extend(more);
        Self::checked(self.derive, self.window, detectors)
    }

    fn checked(
        derive: Vec<Query>,
        mut window: Vec<Query>,
        mut detectors: Vec<Detector>,
    ) -> Result<Self, QueryError> {
        window.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        detectors.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        let mut ids: Vec<&str> = detectors.iter().map(|d| d.id.as_str()).collect();
        ids.sort_unstable();
        if let Some([twice, _]) = ids.array_windows::<2>().find(|pair| pair[0] == pair[1]) {
            return Err(QueryError::Bad {
                path: format!("detectors/{twice}.sql"),
                why: "another detector has this id, and ids are never reused".to_owned(),
            });
        }
        Ok(Self {
            derive,
            window,
            detectors,
        })
    }

    /// Staging and rollups, in the order in which they run.
    #[must_use]
    pub fn derive(&self) -> &[Query] {
        &self.derive
    }

    /// Queries that read a whole window rather than a day, in the order in which they run.
    #[must_use]
    pub fn window(&self) -> &[Query] {
        &self.window
    }

    /// A staging, rollup or window query by name.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&Query> {
        self.derive
            .iter()
            .chain(&self.window)
            .find(|query| query.name == name)
    }

    /// Detectors in their declared total order.
    #[must_use]
    pub fn detectors(&self) -> &[Detector] {
        &self.detectors
    }
}

impl Detector {
    /// Parses `<id>.sql` and, where it claims, `<id>.claims.sql`.
    pub fn parse(path: &str, text: &str, claims: Option<&str>) -> Result<Self, QueryError> {
        let bad = |why: String| QueryError::Bad {
            path: path.to_owned(),
            why,
        };
        let (head, sql) = front_matter::split(path, text)?;
        let head: DetectorHead = front_matter::parse(path, head)?;
        let stem = path
            .rsplit('/')
            .next()
            .unwrap_or(path)
            .trim_end_matches(".sql");
        if head.id != stem {
            return Err(bad(format!(
                "its id is `{}`, its file is `{stem}.sql`",
                head.id
            )));
        }
        if head.claims.is_empty() == claims.is_some() {
            return Err(bad(
                "it must have claims and a `.claims.sql`, or neither".to_owned()
            ));
        }
        let query = |path: &str, text: &str, sql: &str, name: String| {
            Query::checked(
                path,
                text,
                sql,
                QueryHead {
                    name,
                    title: head.title.clone(),
                    grain: head.grain.clone(),
                    requires: head.requires.clone(),
                    params: head.params.clone(),
                    order: head.order,
                    parts: None,
                },
            )
        };
        let findings = query(path, text, sql, head.id.clone())?;
        let claims = match claims {
            Some(claims) => {
                let path = path.replace(".sql", ".claims.sql");
                let sql = front_matter::body(claims);
                Some(query(&path, claims, sql, format!("{}.claims", head.id))?)
            }
            None => None,
        };
        Ok(Self {
            id: head.id.clone(),
            version: head.version.clone(),
            title: head.title.clone(),
            order: head.order,
            findings,
            claims,
            text: text.to_owned(),
            head,
        })
    }

    /// The part of the version whose change changes what a finding is.
    #[must_use]
    pub fn major_version(&self) -> &str {
        self.version.split('.').next().unwrap_or(&self.version)
    }
}

/// `(path, text)` of the SQL files of a folder below `queries/`, in order.
fn sql_files(folder: &str) -> Vec<(String, &'static str)> {
    let mut files: Vec<(String, &'static str)> = QUERIES
        .get_dir(folder)
        .map(|dir| {
            dir.files()
                .filter(|file| file.path().extension().is_some_and(|e| e == "sql"))
                .filter_map(|file| Some((file.path().to_str()?.to_owned(), file.contents_utf8()?)))
                .collect()
        })
        .unwrap_or_default();
    files.sort();
    files
}

/// Runs one query with its parameters bound: it can define, change and set nothing.
pub async fn run(
    context: &SessionContext,
    query: &Query,
    params: &Params,
) -> Result<Vec<RecordBatch>, QueryError> {
    let failed = |cause: datafusion::error::DataFusionError| QueryError::Run {
        path: query.path.clone(),
        cause: cause.strip_backtrace(),
    };
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let bound = query.bind(params)?;
    let values = ParamValues::Map(
        bound
            .0
            .into_iter()
            .map(|(name, value)| (name, ScalarAndMetadata::from(value)))
            .collect(),
    );
    let frame = context
        .sql_with_options(&query.sql, options)
        .await
        .and_then(|frame| frame.with_param_values(values))
        .map_err(failed)?;
    let schema = frame.schema().as_arrow().clone();
    let mut batches = frame.collect().await.map_err(failed)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema.into()));
    }
    Ok(batches)
}

/// The tables that a query names: those of its own common table expressions are not among them.
pub fn tables(context: &SessionContext, query: &Query) -> Result<BTreeSet<String>, QueryError> {
    let failed = |cause: datafusion::error::DataFusionError| QueryError::Run {
        path: query.path.clone(),
        cause: cause.strip_backtrace(),
    };
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state
        .sql_to_statement(&query.sql, &dialect)
        .map_err(failed)?;
    let references = state.resolve_table_references(&statement).map_err(failed)?;
    Ok(references
        .iter()
        .map(|reference| reference.table().to_owned())
        .collect())
}

#[cfg(test)]
mod tests;
