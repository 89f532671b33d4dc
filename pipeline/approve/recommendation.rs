//! Owns recommendations as a verified manifest holds them: data from a file, read defensively.
//!
//! Nothing here knows how a recommendation came about. Its digest is the SHA-256 of its canonical
//! JSON as `recommendations.json` holds it, one a line, so any tool can compute it. Called by
//! review, quorum and export.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{ApproveError, VerifiedManifest};
use crate::model::canonical::{sha256_hex, to_canonical};
use crate::model::time::parse_ms;

/// Members that the manifest adds to a recommendation's own.
const ADDED: [&str; 3] = ["sha256", "evidence_sha256", "ticket"];

/// One change that the manifest proposes.
#[derive(Debug, Clone)]
pub struct Recommendation {
    pub id: String,
    pub finding_id: String,
    pub sha256: String,
    pub action: String,
    pub cluster: String,
    pub namespace: String,
    pub workload: String,
    pub detector: String,
    pub net_monthly_usd: Option<Decimal>,
    pub expires_ms: Option<i64>,
    pub changes: Vec<Change>,
    pub not_possible: Option<String>,
    /// What it rests on, as the manifest binds it.
    pub evidence_sha256: Option<String>,
    /// Where people speak of it: bound by the manifest, no part of what is approved.
    pub ticket: Option<String>,
    /// All of it.
    pub value: Value,
}

/// One object that a recommendation changes.
#[derive(Debug, Clone)]
pub struct Change {
    pub kind: String,
    pub api_version: String,
    pub namespace: String,
    pub name: String,
    pub field: String,
    pub current: Option<String>,
    pub proposed: Option<String>,
    pub patch: Vec<Value>,
    pub inverse: Vec<Value>,
    /// JSON pointer and the value that was observed there.
    pub preconditions: Vec<(String, Value)>,
    pub resource_version: Option<String>,
    pub observed_at_ms: Option<i64>,
    pub warnings: Vec<String>,
    pub verify: Vec<String>,
    pub managed_by: Option<String>,
}

/// The recommendations of a manifest whose signature has verified.
pub fn recommendations(manifest: &VerifiedManifest) -> Result<Vec<Recommendation>, ApproveError> {
    let entries = manifest.predicate["recommendations"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    let mut out: Vec<Recommendation> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let invalid = |why: String| ApproveError::Refused {
            what: format!("recommendation {index} of the manifest"),
            why,
        };
        let found = Recommendation::read(entry).map_err(invalid)?;
        if out.iter().any(|other| other.id == found.id) {
            return Err(invalid(format!("its id {} stands twice", found.id)));
        }
        out.push(found);
    }
    Ok(out)
}

impl Recommendation {
    /// Reads one entry of `predicate.recommendations[]`.
    pub fn read(entry: &Value) -> Result<Self, String> {
        let Value::Object(fields) = entry else {
            return Err("it is no object".to_owned());
        };
        let mut own: Map<String, Value> = fields.clone();
        for name in ADDED {
            own.remove(name);
        }
        let own = Value::Object(own);
        let sha256 = sha256_hex(to_canonical(&own).map_err(|e| e.to_string())?.as_bytes());
        if let Some(said) = fields.get("sha256").and_then(Value::as_str)
            && said != sha256
        {
            return Err(format!("its digest is {sha256}, the manifest says {said}"));
        }
        let text = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let id = text("recommendation_id");
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err("it has no plain `recommendation_id`".to_owned());
        }
        let net = match fields.get("net_monthly_usd") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(
                text.parse()
                    .map_err(|_| "its net_monthly_usd is no decimal".to_owned())?,
            ),
            Some(_) => return Err("its net_monthly_usd is no text".to_owned()),
        };
        let expires_ms = match fields.get("expires").and_then(Value::as_str) {
            None => None,
            Some(text) => Some(parse_ms(text).ok_or("its `expires` is no time")?),
        };
        let changes = match fields.get("changes") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().map(Change::read).collect::<Result<_, _>>()?
            }
            Some(_) => return Err("its changes are no list".to_owned()),
        };
        Ok(Self {
            id,
            finding_id: text("finding_id"),
            sha256,
            action: text("action"),
            cluster: text("cluster"),
            namespace: text("namespace"),
            workload: format!("{}/{}", text("workload_kind"), text("workload_name")),
            detector: text("detector"),
            net_monthly_usd: net,
            expires_ms,
            changes,
            not_possible: fields
                .get("not_possible")
                .and_then(Value::as_str)
                .map(str::to_owned),
            evidence_sha256: fields
                .get("evidence_sha256")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ticket: fields
                .get("ticket")
                .and_then(Value::as_str)
                .map(str::to_owned),
            value: own,
        })
    }

    /// The name under which a decision names it: the cluster is part of it.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}", self.cluster, self.id)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name).and_then(Value::as_str)
    }
}

impl Change {
    fn read(value: &Value) -> Result<Self, String> {
        let target = &value["target"];
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let shown = |name: &str| match &value[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let texts = |name: &str| {
            list(name)
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut preconditions = Vec::new();
        for item in list("preconditions") {
            let path = item["path"].as_str().ok_or("a precondition has no path")?;
            preconditions.push((
                path.to_owned(),
                item.get("observed").cloned().unwrap_or(Value::Null),
            ));
        }
        let observed_at_ms = match value["observed_at"].as_str() {
            None => None,
            Some(text) => Some(parse_ms(text).ok_or("an `observed_at` is no time")?),
        };
        let field = match &value["field"] {
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let change = Self {
            kind: text(target, "kind"),
            api_version: text(target, "api_version"),
            namespace: text(target, "namespace"),
            name: text(target, "name"),
            field,
            current: shown("current"),
            proposed: shown("proposed"),
            patch: list("patch"),
            inverse: list("inverse"),
            preconditions,
            resource_version: value["resource_version"].as_str().map(str::to_owned),
            observed_at_ms,
            warnings: texts("warnings"),
            verify: texts("verify"),
            managed_by: value["managed_by"].as_str().map(str::to_owned),
        };
        if change.kind.is_empty() || change.name.is_empty() {
            return Err("a change names no object".to_owned());
        }
        Ok(change)
    }

    /// `kind/namespace/name`, for people.
    #[must_use]
    pub fn object(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/{}", self.kind, self.name)
        } else {
            format!("{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}
