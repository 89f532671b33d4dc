//! Owns who is served: which Services, pools and routes reach a workload's pods, with what share of
//! the traffic, and who stands in front of it. It corroborates; it never decides that nothing runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::json;
use super::objects::{Key, ObjectStore, Version};

const SERVICE: &str = "service";
const POOLS: &[&str] = &[
    "inferencepool.inference.networking.k8s.io",
    "inferencepool.inference.networking.x-k8s.io",
];
const HTTP_ROUTE: &str = "httproute.gateway.networking.k8s.io";
const VIRTUAL_SERVICE: &str = "virtualservice.networking.istio.io";
/// Workloads that may stand in front of another.
const CALLERS: &[&str] = &["deployment.apps", "statefulset.apps"];
/// More routes or callers of one workload are not listed.
const MAX_LISTED: usize = 32;
/// Hosts that one object names beyond this number are not kept.
const MAX_HOSTS: usize = 256;

/// A backend that a route names, and its weight.
#[derive(Debug, Clone)]
struct Backend {
    route: Key,
    from_ms: i64,
    to_ms: i64,
    weight: i64,
}

/// Objects by a label's name and value.
type Labelled = BTreeMap<String, BTreeMap<String, BTreeSet<Key>>>;

/// What routes to what, over all time.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// By kind (`service` or `inferencepool`), namespace and name.
    backends: BTreeMap<(&'static str, String, String), Vec<Backend>>,
    /// Workloads whose containers name a host, by the Service's namespace and name that it may be.
    callers: BTreeMap<(String, String), BTreeSet<Key>>,
    /// Services and pools by kind, namespace and one label that they select: name, then value.
    selectors: BTreeMap<(&'static str, String), Labelled>,
    listed: bool,
}

/// Who reaches a workload at an instant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Served {
    pub how: &'static str,
    pub traffic_percent: Option<i64>,
    pub routes: Vec<Value>,
    pub related: Vec<Value>,
}

impl Network {
    pub(super) fn new(store: &ObjectStore) -> Self {
        let mut out = Self {
            listed: !store.listings_of(SERVICE).is_empty() || store.of_kind(SERVICE).count() > 0,
            ..Self::default()
        };
        for (key, versions) in store.of_kind(HTTP_ROUTE) {
            for version in versions {
                out.http_route(key, version);
            }
        }
        for (key, versions) in store.of_kind(VIRTUAL_SERVICE) {
            for version in versions {
                out.virtual_service(key, version);
            }
        }
        for kind in CALLERS {
            for (key, versions) in store.of_kind(kind) {
                if let Some(version) = versions.last() {
                    out.caller(key, version.body());
                }
            }
        }
        for kind in std::iter::once(&SERVICE).chain(POOLS) {
            for (key, versions) in store.of_kind(kind) {
                for version in versions {
                    // Any one label of a selector finds it; whether all fit is asked later.
                    let first = selector(kind, version.body())
                        .as_object()
                        .and_then(|wanted| wanted.iter().next());
                    if let Some((name, Value::String(value))) = first {
                        out.selectors
                            .entry((*kind, key.namespace.clone()))
                            .or_default()
                            .entry(name.clone())
                            .or_default()
                            .entry(value.clone())
                            .or_default()
                            .insert(key.clone());
                    }
                }
            }
        }
        out
    }

    fn http_route(&mut self, key: &Key, version: &Version) {
        for rule in json::items(version.body(), &["spec", "rules"]) {
            for backend in json::items(rule, &["backendRefs"]) {
                let kind = match json::text(backend, &["kind"]).unwrap_or("Service") {
                    "Service" => SERVICE,
                    "InferencePool" => "inferencepool",
                    _ => continue,
                };
                let namespace = json::text(backend, &["namespace"]).unwrap_or(&key.namespace);
                let weight = json::int(backend, &["weight"]).unwrap_or(1);
                if let Some(name) = json::text(backend, &["name"]) {
                    self.put((kind, namespace, name), key, version, weight);
                }
            }
        }
    }

    fn virtual_service(&mut self, key: &Key, version: &Version) {
        for rule in json::items(version.body(), &["spec", "http"]) {
            let routes = json::items(rule, &["route"]);
            for route in routes {
                let Some(host) = json::text(route, &["destination", "host"]) else {
                    continue;
                };
                let mut parts = host.split('.');
                let name = parts.next().unwrap_or(host);
                let namespace = parts.next().unwrap_or(&key.namespace);
                // A single destination gets all, whatever its weight says.
                let weight = json::int(route, &["weight"]).unwrap_or(if routes.len() == 1 {
                    100
                } else {
                    0
                });
                self.put((SERVICE, namespace, name), key, version, weight);
            }
        }
    }

    fn put(
        &mut self,
        (kind, namespace, name): (&'static str, &str, &str),
        route: &Key,
        version: &Version,
        weight: i64,
    ) {
        self.backends
            .entry((kind, namespace.to_owned(), name.to_owned()))
            .or_default()
            .push(Backend {
                route: route.clone(),
                from_ms: version.from_ms,
                to_ms: version.to_ms,
                weight: weight.max(0),
            });
    }

    fn caller(&mut self, key: &Key, body: &Value) {
        for host in hosts(body) {
            let mut parts = host.split('.');
            let name = parts.next().unwrap_or("").to_owned();
            let namespace = parts.next().unwrap_or(&key.namespace).to_owned();
            self.callers
                .entry((namespace, name))
                .or_default()
                .insert(key.clone());
        }
    }

    /// Services or pools that may select pods with these labels.
    fn candidates<'n>(
        &'n self,
        kind: &'static str,
        namespace: &str,
        labels: &dyn Fn(&str) -> Option<String>,
    ) -> BTreeSet<&'n Key> {
        let by_name = self.selectors.get(&(kind, namespace.to_owned()));
        by_name
            .into_iter()
            .flatten()
            .filter_map(|(name, values)| values.get(&labels(name)?))
            .flatten()
            .collect()
    }

    /// When anything that may reach pods with these labels changed.
    pub(super) fn cuts(
        &self,
        store: &ObjectStore,
        namespace: &str,
        labels: &dyn Fn(&str) -> Option<String>,
        cuts: &mut BTreeSet<i64>,
    ) {
        for kind in std::iter::once(&SERVICE).chain(POOLS) {
            for key in self.candidates(kind, namespace, labels) {
                let versions = store.versions(key);
                cuts.extend(versions.iter().flat_map(|one| [one.from_ms, one.to_ms]));
                let at = (short(kind), namespace.to_owned(), key.name.clone());
                for backend in self.backends.get(&at).map_or(&[][..], Vec::as_slice) {
                    cuts.extend([backend.from_ms, backend.to_ms]);
                }
            }
        }
    }

    /// Who reaches pods with these labels; `objects` are those of the workload itself.
    pub(super) fn served(
        &self,
        store: &ObjectStore,
        namespace: &str,
        labels: &dyn Fn(&str) -> Option<String>,
        objects: &[(&Key, &Value)],
        ms: i64,
    ) -> Served {
        let mut routes = Vec::new();
        let mut related = Vec::new();
        let mut weights: Vec<i64> = Vec::new();
        let own: BTreeSet<&Key> = objects.iter().map(|(key, _)| *key).collect();
        let mut reached = 0;
        for kind in std::iter::once(&SERVICE).chain(POOLS) {
            for key in self.candidates(kind, namespace, labels) {
                let versions = store.versions(key);
                let Some(version) = versions.iter().find(|version| version.holds(ms)) else {
                    continue;
                };
                let body = version.body();
                if !selects(selector(kind, body), labels) {
                    continue;
                }
                reached += 1;
                let mut through = Vec::new();
                let at = (short(kind), namespace.to_owned(), key.name.clone());
                for backend in self.backends.get(&at).map_or(&[][..], Vec::as_slice) {
                    if backend.from_ms <= ms && ms < backend.to_ms {
                        weights.push(backend.weight);
                        through.push(json!({
                            "route": backend.route.path(), "weight": backend.weight}));
                    }
                }
                let endpoints = (*kind == SERVICE).then(|| ready(store, key, ms)).flatten();
                routes.push(json!({
                    "by": key.path(),
                    "headless": json::text(body, &["spec", "clusterIP"]) == Some("None"),
                    "routes": through,
                    "ready_endpoints": endpoints,
                }));
                if *kind == SERVICE {
                    related.extend(self.callers_of(namespace, &key.name, &own));
                }
                if let Some(picker) = json::text(body, &["spec", "endpointPickerRef", "name"])
                    .or_else(|| json::text(body, &["spec", "extensionRef", "name"]))
                {
                    related.push(json!({"role": "endpoint picker", "by": key.path(),
                        "object": Key::new(SERVICE, namespace, picker).path()}));
                }
            }
        }
        for (key, _) in objects
            .iter()
            .filter(|(key, _)| CALLERS.contains(&key.kind.as_str()))
        {
            if objects.first().is_none_or(|(top, _)| top != key) {
                related.push(json!({"role": "same owner", "object": key.path()}));
            }
        }
        let declared = objects.iter().find_map(|(_, body)| declared_percent(body));
        let routed: i64 = weights
            .iter()
            .fold(0, |sum, weight| sum.saturating_add(*weight));
        let served = match declared {
            _ if !weights.is_empty() && routed == 0 => "zero weight",
            _ if !weights.is_empty() => "routed",
            _ if reached > 0 => "service",
            Some(_) => "routed",
            None if self.listed => "nothing",
            None => "unknown",
        };
        routes.truncate(MAX_LISTED);
        related.sort_by_key(Value::to_string);
        related.dedup();
        related.truncate(MAX_LISTED);
        Served {
            how: served,
            traffic_percent: declared.or((served == "zero weight").then_some(0)),
            routes,
            related,
        }
    }

    /// Workloads whose containers name a Service's address.
    fn callers_of(&self, namespace: &str, service: &str, own: &BTreeSet<&Key>) -> Vec<Value> {
        let at = (namespace.to_owned(), service.to_owned());
        let callers = self.callers.get(&at).into_iter().flatten();
        callers
            .filter(|key| !own.contains(key))
            .take(MAX_LISTED)
            .map(|key| {
                json!({"role": "calls it", "object": key.path(),
                    "by": format!("service/{namespace}/{service}")})
            })
            .collect()
    }
}

fn short(kind: &str) -> &'static str {
    if kind == SERVICE {
        SERVICE
    } else {
        "inferencepool"
    }
}

fn selector<'v>(kind: &str, body: &'v Value) -> &'v Value {
    let whole = json::get(body, &["spec", "selector"]);
    match json::get(whole, &["matchLabels"]) {
        labels if kind != SERVICE && labels.is_object() => labels,
        _ => whole,
    }
}

fn selects(selector: &Value, labels: &dyn Fn(&str) -> Option<String>) -> bool {
    selector.as_object().is_some_and(|wanted| {
        !wanted.is_empty()
            && wanted
                .iter()
                .all(|(name, value)| labels(name).as_deref() == value.as_str())
    })
}

/// Ready endpoints behind a Service, if slices are known.
fn ready(store: &ObjectStore, service: &Key, ms: i64) -> Option<i64> {
    let mut known = None;
    for (_, versions) in store.in_namespace("endpointslice.discovery.k8s.io", &service.namespace) {
        let Some(version) = versions.iter().find(|version| version.holds(ms)) else {
            continue;
        };
        let of = json::text(
            version.body(),
            &["metadata", "labels", "kubernetes.io/service-name"],
        );
        if of == Some(service.name.as_str()) {
            let ready = json::items(version.body(), &["endpoints"])
                .iter()
                .filter(|one| json::get(one, &["conditions", "ready"]).as_bool() != Some(false))
                .count();
            known = Some(known.unwrap_or(0) + i64::try_from(ready).unwrap_or(0));
        }
    }
    known
}

/// The share of traffic that a serving object itself declares or reports for what it runs now.
fn declared_percent(body: &Value) -> Option<i64> {
    let traffic = json::items(body, &["status", "traffic"]);
    if !traffic.is_empty() {
        let latest = json::text(body, &["status", "latestReadyRevisionName"]);
        let mut sum = 0;
        for one in traffic {
            if latest.is_none() || json::text(one, &["revisionName"]) == latest {
                sum += json::int(one, &["percent"]).unwrap_or(0);
            }
        }
        return Some(sum.clamp(0, 100));
    }
    json::int(body, &["spec", "predictor", "canaryTrafficPercent"])
        .filter(|percent| (0..=100).contains(percent))
}

/// Hosts that containers of an object are told.
fn hosts(body: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for container in json::items(body, &["spec", "template", "spec", "containers"])
        .iter()
        .take(16)
    {
        let words = json::items(container, &["command"])
            .iter()
            .chain(json::items(container, &["args"]))
            .filter_map(Value::as_str);
        let values = json::items(container, &["env"])
            .iter()
            .filter_map(|var| json::text(var, &["value"]));
        for text in words
            .chain(values)
            .filter(|text| text.len() < 4096)
            .take(256)
        {
            hosts_in(text, &mut out);
        }
    }
    out
}

/// Names that stand where an address has its host: after `//`, or at the beginning, after `=`, `@` or
/// `,` and before a port.
fn hosts_in(text: &str, out: &mut BTreeSet<String>) {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let mut at = 0;
    while let Some(start) = text[at..].find(part).map(|found| at + found) {
        let end = text[start..]
            .find(|c: char| !part(c))
            .map_or(text.len(), |found| start + found);
        let before = &text[..start];
        let after = text[end..].chars().next();
        let address = before.ends_with("//");
        let scheme = text[end..].starts_with("://");
        let listed = !scheme && (before.is_empty() || before.ends_with(['=', '@', ',']));
        let fits =
            (address && matches!(after, None | Some(':' | '/'))) || (listed && after == Some(':'));
        if fits && out.len() < MAX_HOSTS {
            out.insert(text[start..end].to_owned());
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_and_no_part_of_a_word() {
        let found = |text: &str| {
            let mut out = BTreeSet::new();
            hosts_in(text, &mut out);
            out.into_iter().collect::<Vec<String>>().join(" ")
        };
        assert_eq!(found("--backend=http://llama:8000/v1"), "llama");
        assert_eq!(found("http://llama.chat.svc"), "llama.chat.svc");
        assert_eq!(found("BACKENDS=llama:8000,qwen:8000"), "llama qwen");
        assert_eq!(found("--model=meta/llama/x"), "");
        assert_eq!(found("meta-llama/Llama-3"), "");
        assert_eq!(found("é//ü"), "");
    }
}
