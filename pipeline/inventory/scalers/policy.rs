//! Owns what a scaler is told, as data: bounds, signals, mode, and whether it may go to zero. The
//! readers of each kind fill it; `lint`, rows and remedies read it. It knows no kind itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::json;

/// Signals of one scaler beyond this number are not read.
pub(in crate::inventory) const MAX_TRIGGERS: usize = 64;

/// One signal that a scaler listens to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::inventory) struct Trigger {
    /// KEDA's type, the HPA's source, or what a resource scales itself by.
    pub kind: String,
    pub name: Option<String>,
    pub metric: Option<String>,
    pub query: Option<String>,
    pub server: Option<String>,
    pub namespace: Option<String>,
    pub threshold: Option<String>,
    /// Above it a target that sleeps wakes.
    pub activation: Option<String>,
    /// `Utilization`, `AverageValue` or `Value`.
    pub target_type: Option<String>,
    /// Labels by which a metric of an HPA is chosen.
    pub selector: BTreeMap<String, String>,
    /// The object that a metric describes, `kind/name`.
    pub object: Option<String>,
    /// KEDA reads an answer without any series as zero, instead of as a failure.
    pub ignores_nulls: Option<bool>,
}

impl Trigger {
    pub(in crate::inventory) fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            ..Self::default()
        }
    }

    /// CPU or memory of the pods themselves: nothing to see once there are none.
    pub(in crate::inventory) fn is_resource(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "cpu" | "memory" | "Resource" | "ContainerResource"
        )
    }

    fn value(&self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                out.insert(name.to_owned(), Value::from(value.as_str()));
            }
        };
        put("name", &self.name);
        put("metric", &self.metric);
        put("query", &self.query);
        put("server", &self.server);
        put("namespace", &self.namespace);
        put("threshold", &self.threshold);
        put("activation", &self.activation);
        put("target_type", &self.target_type);
        put("object", &self.object);
        out.insert("type".to_owned(), Value::from(self.kind.as_str()));
        if !self.selector.is_empty() {
            out.insert("selector".to_owned(), json!(self.selector));
        }
        if let Some(ignores) = self.ignores_nulls {
            out.insert("ignores_nulls".to_owned(), Value::from(ignores));
        }
        Value::Object(out)
    }
}

/// What a scaler is told while it stays the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::inventory) struct Policy {
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub idle: Option<i64>,
    pub triggers: Vec<Trigger>,
    /// What kind of scaling it does: `autonomous`, `kpa`, `external`…
    pub mode: Option<String>,
    /// Why it moves nothing at all now, if it says so.
    pub paused: Option<String>,
    /// Replicas that it asks for while its signals fail.
    pub fallback_replicas: Option<i64>,
    pub formula: Option<String>,
    pub up_seconds: Option<i64>,
    pub down_seconds: Option<i64>,
    pub down_disabled: bool,
    /// Why the bounds may not be zero, if they may not.
    pub no_zero: Option<String>,
    /// Conditions of its status that say it does not work, `type: reason`.
    pub failing: Vec<String>,
    /// What one kind alone says, by name.
    pub more: BTreeMap<&'static str, String>,
}

impl Policy {
    /// Whether it can take its target to zero by itself.
    pub(in crate::inventory) fn sleeps(&self) -> bool {
        self.no_zero.is_none() && (self.min == Some(0) || self.idle == Some(0))
    }

    pub(in crate::inventory) fn triggers_json(&self) -> String {
        Value::Array(self.triggers.iter().map(Trigger::value).collect()).to_string()
    }

    /// Everything but bounds and signals; only what is known is in it.
    pub(in crate::inventory) fn json(&self, shared_with: &[String]) -> String {
        let mut out = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(name.to_owned(), value);
            }
        };
        put("mode", self.mode.as_deref().map(Value::from));
        put("paused", self.paused.as_deref().map(Value::from));
        put("fallback_replicas", self.fallback_replicas.map(Value::from));
        put("formula", self.formula.as_deref().map(Value::from));
        put("up_seconds", self.up_seconds.map(Value::from));
        put("down_seconds", self.down_seconds.map(Value::from));
        put("down_disabled", self.down_disabled.then_some(true.into()));
        put("no_zero", self.no_zero.as_deref().map(Value::from));
        let failing = (!self.failing.is_empty()).then(|| json!(self.failing));
        put("failing", failing);
        let shared = (!shared_with.is_empty()).then(|| json!(shared_with));
        put("shares_target_with", shared);
        for (name, value) in &self.more {
            put(name, Some(Value::from(value.as_str())));
        }
        Value::Object(out).to_string()
    }
}

/// A scalar as text: manifests write numbers, servers give text back.
pub(super) fn scalar(value: &Value, path: &[&str]) -> Option<String> {
    match json::get(value, path) {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// An address without the name and password that it may carry.
pub(super) fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    // A query string may carry a token.
    let path = path.split('?').next().unwrap_or(path);
    format!("{scheme}://{host}{path}")
}

/// Conditions of a status that are `False`, among those that must be true.
pub(super) fn failing(body: &Value, must: &[&str], fine: &[&str]) -> Vec<String> {
    json::items(body, &["status", "conditions"])
        .iter()
        .filter(|one| json::text(one, &["status"]) == Some("False"))
        .filter_map(|one| {
            let kind = json::text(one, &["type"]).filter(|kind| must.contains(kind))?;
            let reason = json::text(one, &["reason"]).unwrap_or("no reason given");
            (!fine.contains(&reason)).then(|| format!("{kind}: {reason}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_is_secret() {
        for (told, kept) in [
            ("http://prom:9090/api?token=x", "http://prom:9090/api"),
            ("amqp://me:pw@rabbit:5672/v", "amqp://rabbit:5672/v"),
            ("kafka:9092", "kafka:9092"),
        ] {
            assert_eq!(address(told), kept);
        }
    }

    #[test]
    fn what_is_unknown_is_not_written() {
        assert_eq!(Policy::default().json(&[]), "{}");
        assert_eq!(Policy::default().triggers_json(), "[]");
        assert!(!Policy::default().sleeps());
    }
}
