//! As `pipeline/ingest/kubernetes/mod.rs`, without the API.

#[path = "../../../../pipeline/ingest/kubernetes/lists.rs"]
mod lists;
#[path = "../../../../pipeline/ingest/kubernetes/redact.rs"]
mod redact;

pub fn take(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice(data)
        && let Ok(taken) = lists::take_list(value)
    {
        for object in taken.objects {
            // What is kept is JSON again, and of no Secret.
            let kept: serde_json::Value =
                serde_json::from_str(&object.json).expect("redacted objects are JSON");
            assert!(object.kind != "Secret" && kept.is_object());
        }
    }
}
