//! Owns the taking of a snapshot: each wanted kind listed whole, or the reason why not. What it finds
//! it holds in memory, redacted; who keeps it, in the lake or as files, is its callers' matter.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Answer, ClusterApi, TOO_LARGE};
use super::discovery::{Discovery, Found, Served};
use super::error::KubernetesError;
use super::kinds::{Wanted, config_map_of, wanted};
use super::lists::{ListedObject, take_items};
use crate::model::workload::kind_of;

/// A list whose token ran out is begun again so often.
const MAX_STARTS: u32 = 3;
/// Pages of one list: half a million objects.
const MAX_PAGES: u32 = 1_000;
const MAX_CONFIG_MAPS: usize = 1_000;
/// The server as a whole is out of order, and every further kind would wait as long.
const MAX_FAILED_IN_ROW: u32 = 3;

/// What became of a kind. Only a listed kind's absence of objects says that there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindState {
    Listed,
    /// The server does not serve the kind: its CRD is not installed.
    Absent,
    /// The account may not list it.
    Forbidden,
    /// It could not be read, and nothing is known of it.
    Failed(String),
}

impl KindState {
    /// As tables and files spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Absent => "absent",
            Self::Forbidden => "forbidden",
            Self::Failed(_) => "failed",
        }
    }
}

/// One kind of a snapshot.
#[derive(Debug)]
pub(super) struct KindList {
    /// Lower-case `kind.group`, as everywhere in the lake.
    pub kind: String,
    /// `plural.group` where it is served: the name of its file.
    pub resource: String,
    pub api_version: String,
    /// As the API spells it.
    pub kind_name: String,
    pub resource_version: Option<String>,
    pub state: KindState,
    pub objects: Vec<ListedObject>,
}

/// A cluster at one time.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) lists: Vec<KindList>,
    /// The uid of its kube-system namespace, if namespaces could be listed.
    pub(super) cluster_uid: Option<String>,
}

/// What a snapshot found, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct KindCounts {
    pub kinds: usize,
    pub objects: u64,
    pub absent: usize,
    pub forbidden: Vec<String>,
    /// Kind and reason.
    pub failed: Vec<(String, String)>,
}

impl Snapshot {
    /// Lists every kind of `kinds.toml`, then the ConfigMaps that they name.
    pub async fn take(api: &ClusterApi) -> Result<Self, KubernetesError> {
        let all: Vec<Wanted> = wanted().collect();
        let discovery = Discovery::read(api, &all).await?;
        let mut lists = Vec::new();
        let mut named = BTreeSet::new();
        let mut failed_in_row = 0;
        for wanted in all {
            let list = one_kind(api, &discovery, wanted, &mut named).await?;
            match &list.state {
                KindState::Failed(reason) if !list.resource.is_empty() => {
                    failed_in_row += 1;
                    if failed_in_row == MAX_FAILED_IN_ROW {
                        return Err(KubernetesError::Unreachable {
                            server: api.server.clone(),
                            what: format!("fails at one kind after the other; the last: {reason}"),
                        });
                    }
                }
                KindState::Listed | KindState::Forbidden => failed_in_row = 0,
                _ => {}
            }
            lists.push(list);
        }
        lists.push(config_maps(api, &named).await?);
        let snapshot = Self {
            cluster_uid: lists
                .iter()
                .flat_map(|list| &list.objects)
                .find(|o| o.kind == "Namespace" && o.name == "kube-system")
                .and_then(|o| o.uid.clone()),
            lists,
        };
        // Kinds that fail one by one are recorded; if all of them do, nothing was learnt.
        let lists = snapshot.lists.iter();
        let any = lists
            .filter(|list| list.kind != "configmap")
            .any(|list| list.state == KindState::Listed);
        if !any {
            let first = snapshot.lists.iter().find_map(|list| match &list.state {
                KindState::Failed(reason) => Some(reason.clone()),
                KindState::Forbidden => Some(format!("{} may not be listed", list.kind)),
                _ => None,
            });
            return Err(KubernetesError::NothingListed {
                server: api.server.clone(),
                first: first.unwrap_or_else(|| "the server serves none of them".to_owned()),
            });
        }
        Ok(snapshot)
    }

    #[must_use]
    pub fn counts(&self) -> KindCounts {
        let mut counts = KindCounts::default();
        for list in &self.lists {
            match &list.state {
                KindState::Listed => {
                    counts.kinds += 1;
                    counts.objects += list.objects.len() as u64;
                }
                KindState::Absent => counts.absent += 1,
                KindState::Forbidden => counts.forbidden.push(list.kind.clone()),
                KindState::Failed(reason) => {
                    counts.failed.push((list.kind.clone(), reason.clone()));
                }
            }
        }
        counts
    }
}

async fn one_kind(
    api: &ClusterApi,
    discovery: &Discovery,
    wanted: Wanted,
    named: &mut BTreeSet<(String, String)>,
) -> Result<KindList, KubernetesError> {
    let api_version = if wanted.group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{}/", wanted.group)
    };
    let mut list = KindList {
        kind: kind_of(&api_version, wanted.kind),
        resource: String::new(),
        api_version,
        kind_name: wanted.kind.to_owned(),
        resource_version: None,
        state: KindState::Absent,
        objects: Vec::new(),
    };
    let served = match discovery.find(wanted) {
        Found::Served(served) => served,
        Found::Absent => return Ok(list),
        Found::Unknown(reason) => {
            list.state = KindState::Failed(reason);
            return Ok(list);
        }
    };
    list.api_version.clone_from(&served.api_version);
    list.resource = if wanted.group.is_empty() {
        served.plural.clone()
    } else {
        format!("{}.{}", served.plural, wanted.group)
    };
    match whole_list(api, &served, wanted.kind, named).await? {
        Ok((objects, version)) => {
            list.state = KindState::Listed;
            list.objects = objects;
            list.resource_version = version;
        }
        Err(state) => list.state = state,
    }
    Ok(list)
}

type Pages = Result<(Vec<ListedObject>, Option<String>), KindState>;

/// All pages of a list at one resourceVersion. An expired token means that the rest would come from
/// another one, so the list is begun again.
async fn whole_list(
    api: &ClusterApi,
    served: &Served,
    kind: &str,
    named: &mut BTreeSet<(String, String)>,
) -> Result<Pages, KubernetesError> {
    let failed = |reason: String| Ok(Err(KindState::Failed(reason)));
    let path = served.path();
    let mut limit = api.options.page_limit.max(1);
    let mut starts = 0;
    'start: while starts < MAX_STARTS {
        starts += 1;
        let mut objects: Vec<ListedObject> = Vec::new();
        let mut version: Option<String> = None;
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let answer = match api.list(&path, limit, token.as_deref()).await {
                Ok(answer) => answer,
                // The server has gone as a whole, or this list breaks it: the next kind will tell.
                Err(KubernetesError::Unreachable { what, .. }) => return failed(what),
                Err(other) => return Err(other),
            };
            match answer.status {
                200 => {}
                403 => return Ok(Err(KindState::Forbidden)),
                // Deleted between discovery and now.
                404 => return Ok(Err(KindState::Absent)),
                410 => continue 'start,
                TOO_LARGE if limit > 1 => {
                    limit = (limit / 8).max(1);
                    starts -= 1;
                    continue 'start;
                }
                TOO_LARGE => return failed("one object alone is too large".to_owned()),
                status => return failed(format!("{path} answers with status {status}")),
            }
            let mut page: Value = match serde_json::from_slice(&answer.body) {
                Ok(page) => page,
                Err(error) => return failed(format!("{path} answers no JSON list: {error}")),
            };
            let metadata = |name: &str| {
                let text = page["metadata"][name].as_str();
                text.filter(|text| !text.is_empty()).map(str::to_owned)
            };
            let (next, of_page) = (metadata("continue"), metadata("resourceVersion"));
            if version.is_some() && version != of_page {
                continue 'start;
            }
            version = of_page;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return failed(format!("{path} answers a list without items"));
            };
            for item in &items {
                let of = &item["metadata"]["namespace"];
                if let Some(name) = config_map_of(&served.api_version, kind, item)
                    && let Some(namespace) = of.as_str()
                    && named.len() < MAX_CONFIG_MAPS
                {
                    named.insert((namespace.to_owned(), name.to_owned()));
                }
            }
            let element = (served.api_version.clone(), kind.to_owned());
            match take_items(items, Some(element)) {
                Ok(taken) => objects.extend(taken.objects),
                Err(reason) => return failed(format!("{path}: {reason}")),
            }
            match next {
                None => return Ok(Ok((objects, version))),
                // It would go on for ever.
                Some(next) if token.as_deref() == Some(next.as_str()) => {
                    return failed(format!("{path} gives the same continue token twice"));
                }
                Some(next) => token = Some(next),
            }
        }
        return failed(format!("{path} has more than {MAX_PAGES} pages"));
    }
    failed(format!(
        "{path} changed too much to be read whole: begun {MAX_STARTS} times"
    ))
}

/// The ConfigMaps that custom resources name: their keys, never their values.
async fn config_maps(
    api: &ClusterApi,
    named: &BTreeSet<(String, String)>,
) -> Result<KindList, KubernetesError> {
    let mut list = KindList {
        kind: "configmap".to_owned(),
        resource: "configmaps".to_owned(),
        api_version: "v1".to_owned(),
        kind_name: "ConfigMap".to_owned(),
        resource_version: None,
        state: KindState::Listed,
        objects: Vec::new(),
    };
    let mut by_key = BTreeMap::new();
    for (namespace, name) in named {
        if !is_path_segment(namespace) || !is_path_segment(name) {
            continue;
        }
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let answer = match api.get(&path, name).await {
            Ok(answer) => answer,
            Err(KubernetesError::Unreachable { what, .. }) => {
                list.state = KindState::Failed(what);
                return Ok(list);
            }
            Err(other) => return Err(other),
        };
        let Answer { status, body } = answer;
        match status {
            200 => {}
            404 => continue,
            403 => {
                list.state = KindState::Forbidden;
                return Ok(list);
            }
            status => {
                list.state = KindState::Failed(format!("{path}/{name} answers {status}"));
                return Ok(list);
            }
        }
        let element = Some(("v1".to_owned(), "ConfigMap".to_owned()));
        let taken = serde_json::from_slice(&body)
            .map_err(|error| error.to_string())
            .and_then(|value| take_items(vec![value], element));
        match taken {
            Ok(taken) => by_key.extend(
                taken
                    .objects
                    .into_iter()
                    .map(|object| ((namespace.clone(), name.clone()), object)),
            ),
            Err(reason) => {
                list.state = KindState::Failed(format!("{path}/{name}: {reason}"));
                return Ok(list);
            }
        }
    }
    list.objects = by_key.into_values().collect();
    Ok(list)
}

/// A name that a custom resource gives is no part of a path until it looks like one.
fn is_path_segment(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && name.bytes().any(|b| b.is_ascii_alphanumeric())
}
