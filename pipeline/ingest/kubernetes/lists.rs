//! Owns the way from a list as the API server or `kubectl` writes it to redacted objects. Pure; what
//! is wrong with a list is said in words, and the caller says which list it was.

use serde_json::Value;

use super::redact::redact;

/// Bytes of a name that Kubernetes gave: its own limit is 253.
const MAX_NAME_BYTES: usize = 512;

/// An object as a list held it, redacted.
#[derive(Debug, Clone)]
pub(super) struct ListedObject {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub json: String,
}

/// What a list held.
#[derive(Debug, Default)]
pub(super) struct TakenList {
    pub objects: Vec<ListedObject>,
    pub secrets_skipped: u64,
    /// `apiVersion` and kind of its elements, where the list itself says so.
    pub element: Option<(String, String)>,
}

/// The objects of a list, an array or a single object.
pub(super) fn take_list(list: Value) -> Result<TakenList, String> {
    let Value::Object(mut map) = list else {
        return match list {
            Value::Array(items) => take_items(items, None),
            _ => Err("it is neither an object nor an array".to_owned()),
        };
    };
    let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match (map.remove("items"), kind) {
        (Some(Value::Array(items)), kind) => {
            // `PodList` holds Pods that do not repeat their kind; `List` holds anything.
            let element = kind.as_deref().and_then(|k| k.strip_suffix("List"));
            let element = element.filter(|k| !k.is_empty()).map(str::to_owned);
            take_items(items, api_version.zip(element))
        }
        (Some(_), _) => Err("its items are not an array".to_owned()),
        (None, Some(kind)) if kind.ends_with("List") => Err("it has no items".to_owned()),
        (None, _) => take_items(vec![Value::Object(map)], None),
    }
}

/// Objects that may lack their `apiVersion` and kind where `element` gives them.
pub(super) fn take_items(
    items: Vec<Value>,
    element: Option<(String, String)>,
) -> Result<TakenList, String> {
    let mut taken = TakenList {
        objects: Vec::with_capacity(items.len()),
        secrets_skipped: 0,
        element,
    };
    for (index, mut item) in items.into_iter().enumerate() {
        let lacks = |what: &str| format!("item {index} has no usable {what}");
        let Value::Object(map) = &mut item else {
            return Err(format!("item {index} is no object"));
        };
        if let Some((api_version, kind)) = &taken.element {
            map.entry("apiVersion")
                .or_insert_with(|| api_version.clone().into());
            map.entry("kind").or_insert_with(|| kind.clone().into());
        }
        let short = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        let top = |name: &str| item.get(name).and_then(Value::as_str).filter(|t| short(t));
        let meta = |name: &str| {
            let value = item.get("metadata").and_then(|m| m.get(name));
            value
                .and_then(Value::as_str)
                .filter(|t| short(t))
                .map(str::to_owned)
        };
        let api_version = top("apiVersion")
            .ok_or_else(|| lacks("apiVersion"))?
            .to_owned();
        let kind = top("kind").ok_or_else(|| lacks("kind"))?.to_owned();
        let name = meta("name").ok_or_else(|| lacks("metadata.name"))?;
        let (namespace, uid) = (meta("namespace"), meta("uid"));
        let resource_version = meta("resourceVersion");
        if !redact(&kind, &mut item) {
            taken.secrets_skipped += 1;
            continue;
        }
        taken.objects.push(ListedObject {
            api_version,
            kind,
            namespace,
            name,
            uid,
            resource_version,
            json: item.to_string(),
        });
    }
    Ok(taken)
}
