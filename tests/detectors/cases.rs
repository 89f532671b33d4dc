//! Owns the test files: finding, parsing, and turning each case into tables and SQL steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use datafusion::scalar::ScalarValue;
use idleproof::detect::query::{Params, Query, QuerySet};
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::tables::{self, Given};

/// A case as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
    #[serde(default)]
    given: BTreeMap<String, Vec<BTreeMap<String, Value>>>,
    expect: BTreeMap<String, Vec<BTreeMap<String, Value>>>,
}

/// A case ready to run on any engine.
pub(crate) struct Case {
    /// `folder/stem: name`, unique.
    pub(crate) title: String,
    pub(crate) tables: Vec<Given>,
    pub(crate) steps: Vec<Step>,
    pub(crate) expect: BTreeMap<String, Vec<BTreeMap<String, Value>>>,
}

/// One statement, its bound parameters, and where its result is registered.
pub(crate) struct Step {
    pub(crate) query: Query,
    pub(crate) params: Params,
    /// The name under which the result is compared.
    pub(crate) result: String,
    /// The tables which the result becomes for later steps.
    pub(crate) register: Vec<String>,
}

/// What the ledger leaves to claim before any detector ran.
const CLAIMABLE: &str = "
SELECT
  cluster, namespace, workload_kind, workload_name,
  COALESCE(instance_type, '') AS instance_type,
  COALESCE(gpu_product, '') AS gpu_product,
  price_key, hour_ms, class,
  CAST(SUM(ms) AS BIGINT) AS ms
FROM ledger
WHERE final AND hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9";

/// What a detector's claims leave to the next one.
const LEFT: &str = "
SELECT
  c.cluster, c.namespace, c.workload_kind, c.workload_name, c.instance_type, c.gpu_product,
  c.price_key, c.hour_ms, c.class,
  c.ms - COALESCE(t.ms_freed, 0) AS ms
FROM claimable AS c
LEFT JOIN (
  SELECT
    cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key,
    hour_ms, class, CAST(SUM(ms_freed) AS BIGINT) AS ms_freed
  FROM taken
  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
) AS t
  ON c.cluster = t.cluster AND c.namespace = t.namespace
  AND c.workload_kind = t.workload_kind AND c.workload_name = t.workload_name
  AND c.instance_type = t.instance_type AND c.gpu_product = t.gpu_product
  AND c.price_key = t.price_key AND c.hour_ms = t.hour_ms AND c.class = t.class
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9";

/// Every case below `root`, in the order of paths and files.
pub(crate) fn load(root: &Path) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let queries = Queries::load(root)?;
    let mut cases = Vec::new();
    let mut titles = BTreeSet::new();
    for file in files {
        let shown = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let stem = shown.trim_end_matches(".test.yaml").to_owned();
        let text = fs::read_to_string(&file).map_err(|e| format!("{shown}: {e}"))?;
        let mut value: Value =
            serde_yaml_ng::from_str(&text).map_err(|e| format!("{shown}: {e}"))?;
        merge(&mut value).map_err(|why| format!("{shown}: {why}"))?;
        let written: Vec<Written> =
            serde_yaml_ng::from_value(value).map_err(|e| format!("{shown}: {e}"))?;
        if written.is_empty() {
            return Err(format!("{shown} holds no case"));
        }
        for case in written {
            let title = format!("{stem}: {}", case.name);
            if !titles.insert(title.clone()) {
                return Err(format!("two cases are called `{title}`"));
            }
            let case = prepare(&queries, &stem, title.clone(), case)
                .map_err(|why| format!("`{title}`: {why}"))?;
            cases.push(case);
        }
    }
    Ok(cases)
}

/// Resolves `<<`, also where what is merged merges in its turn, which the parser's own does not.
fn merge(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Mapping(mapping) => {
            while let Some(base) = mapping.remove("<<") {
                let Value::Mapping(base) = base else {
                    return Err("`<<` merges a mapping".to_owned());
                };
                for (key, value) in base {
                    mapping.entry(key).or_insert(value);
                }
            }
            mapping.iter_mut().try_for_each(|(_, value)| merge(value))
        }
        Value::Sequence(items) => items.iter_mut().try_for_each(merge),
        _ => Ok(()),
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.to_string_lossy().ends_with(".test.yaml") {
            into.push(path);
        }
    }
    Ok(())
}

/// What may be run, by name.
struct Queries {
    set: QuerySet,
    window: BTreeMap<String, Query>,
}

impl Queries {
    fn load(root: &Path) -> Result<Self, String> {
        let set = QuerySet::embedded().map_err(|e| e.to_string())?;
        let mut window = BTreeMap::new();
        let folder = root.join("window");
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.extension().is_some_and(|e| e == "sql") {
                let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
                let name = format!("window/{}", path.file_name().unwrap_or_default().display());
                let query = Query::parse(&name, &text).map_err(|e| e.to_string())?;
                window.insert(query.name.clone(), query);
            }
        }
        // Lines of gates, reports and replays carry no front matter: those that have cases run by their file's name.
        let mut cases = Vec::new();
        for folder in ["gate", "report", "sections", "simulate"] {
            collect(&root.join(folder), &mut cases)?;
        }
        for case in cases {
            let path = case.to_string_lossy().replace(".test.yaml", ".sql");
            let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
            let stem = Path::new(&path).file_stem().unwrap_or_default();
            let query = bookkeeping(&stem.to_string_lossy(), &text)?;
            window.insert(query.name.clone(), query);
        }
        Ok(Self { set, window })
    }

    /// The steps of a run when a case names none: what its own file needs, and nothing else.
    fn default_run(&self, stem: &str) -> Vec<String> {
        let name = stem.rsplit('/').next().unwrap_or(stem);
        if let Some(detector) = self.set.detectors().iter().find(|d| d.id == name) {
            let claims = detector.claims.iter().map(|claims| claims.name.clone());
            return std::iter::once(name.to_owned()).chain(claims).collect();
        }
        let mut needed = BTreeSet::from([name.to_owned()]);
        loop {
            let more: BTreeSet<String> = self
                .set
                .derive()
                .iter()
                .filter(|query| needed.contains(&query.name))
                .flat_map(|query| query.requires.iter().cloned())
                .filter(|name| !needed.contains(name) && self.set.query(name).is_some())
                .collect();
            if more.is_empty() {
                break;
            }
            needed.extend(more);
        }
        let chain: Vec<String> = self
            .set
            .derive()
            .iter()
            .filter(|query| needed.contains(&query.name))
            .map(|query| query.name.clone())
            .collect();
        if chain.is_empty() {
            vec![name.to_owned()]
        } else {
            chain
        }
    }

    fn steps(&self, name: &str, params: &BTreeMap<String, Value>) -> Result<Vec<Step>, String> {
        let step = |query: &Query, result: &str, register: &[&str]| {
            let params = query
                .bind(&given_params(query, params)?)
                .map_err(|e| e.to_string())?;
            Ok::<Step, String>(Step {
                query: query.clone(),
                params,
                result: result.to_owned(),
                register: register.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        for detector in self.set.detectors() {
            if detector.id == name {
                return Ok(vec![step(&detector.findings, name, &["found"])?]);
            }
            if let Some(claims) = detector
                .claims
                .as_ref()
                .filter(|claims| claims.name == name)
            {
                let left = bookkeeping("left", LEFT)?;
                return Ok(vec![
                    step(claims, name, &["taken"])?,
                    step(&left, &format!("left after {name}"), &["claimable"])?,
                ]);
            }
        }
        let query = self.set.query(name).or_else(|| self.window.get(name));
        let query = query.ok_or_else(|| format!("there is no query `{name}`"))?;
        Ok(vec![step(query, name, &[name])?])
    }
}

fn bookkeeping(name: &str, sql: &str) -> Result<Query, String> {
    let head = format!(
        "/*---\nname: {name}\ntitle: {name}\ngrain: []\nrequires: [ledger]\norder: 0\n---*/\n"
    );
    Query::parse(name, &format!("{head}{sql}")).map_err(|e| e.to_string())
}

/// The values a case gives, typed as the query declares them.
fn given_params(query: &Query, given: &BTreeMap<String, Value>) -> Result<Params, String> {
    let mut params = Params::default();
    for (name, value) in given {
        let float = query
            .params
            .get(name)
            .is_some_and(|p| matches!(p.param_type, idleproof::detect::query::ParamType::Float));
        let value = match value {
            Value::Number(n) if float || n.is_f64() => ScalarValue::Float64(n.as_f64()),
            Value::Number(n) => ScalarValue::Int64(n.as_i64()),
            Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
            other => return Err(format!("parameter `{name}` cannot be {other:?}")),
        };
        params.0.insert(name.clone(), value);
    }
    Ok(params)
}

fn prepare(queries: &Queries, stem: &str, title: String, case: Written) -> Result<Case, String> {
    let run = if case.run.is_empty() {
        queries.default_run(stem)
    } else {
        case.run
    };
    let mut steps = Vec::new();
    // Claims read what the ledger leaves, unless the case says what is left.
    if run.iter().any(|name| name.ends_with(".claims")) && !case.given.contains_key("claimable") {
        let claimable = bookkeeping("claimable", CLAIMABLE)?;
        steps.push(Step {
            params: claimable
                .bind(&given_params(&claimable, &case.params)?)
                .map_err(|e| e.to_string())?,
            query: claimable,
            result: "claimable".to_owned(),
            register: vec!["claimable".to_owned()],
        });
    }
    for name in &run {
        steps.extend(queries.steps(name, &case.params)?);
    }
    for name in case.expect.keys() {
        if !steps.iter().any(|step| step.result == *name) {
            return Err(format!(
                "`{name}` is expected, but is not among what is run"
            ));
        }
    }
    if case.expect.is_empty() {
        return Err("it expects nothing".to_owned());
    }
    let made: BTreeSet<&str> = steps
        .iter()
        .flat_map(|step| step.register.iter().map(String::as_str))
        .collect();
    let mut wanted: BTreeSet<String> = case.given.keys().cloned().collect();
    for step in &steps {
        let words = step
            .query
            .sql
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        wanted.extend(words.filter(|word| tables::known(word)).map(str::to_owned));
    }
    let mut given = Vec::new();
    for name in wanted {
        let rows = case.given.get(&name);
        if rows.is_none() && made.contains(name.as_str()) {
            continue;
        }
        given.push(tables::table(&name, rows.map_or(&[][..], Vec::as_slice))?);
    }
    Ok(Case {
        title,
        tables: given,
        steps,
        expect: case.expect,
    })
}
