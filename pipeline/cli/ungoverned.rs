//! Owns the changes that nobody approved: what the inventory saw somebody change since a policy holds, and
//! no exported plan explains. Each stands beside the outcomes of what was approved, with what it cost.
//! Called by `outcomes`.

use std::collections::BTreeSet;

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};

use super::error::CliError;
use crate::approve::{ChangeFate, Fate, Kind, Records, Sight};
use crate::lake::columns::{int, text, text_at};
use crate::lake::{LakeError, read_only_sql};
use crate::model::canonical::sha256_hex;

/// The word for the state of one.
pub(super) const STATE: &str = "ungoverned";
const DETECTOR: &str = "ungoverned-change";
/// More than this nobody reads; the newest stay.
const MOST: usize = 1_000;

/// One such change, as an item of a plan that nobody made.
pub(super) struct Ungoverned {
    pub item: Value,
    pub seen_ms: i64,
    pub fates: Vec<ChangeFate>,
}

/// A row of the query.
struct Row {
    item: Value,
    place: (String, String, String),
    sight: Sight,
}

/// All of them, oldest first. Before a first policy nothing needs an approval.
pub(super) async fn ungoverned(
    session: &SessionContext,
    records: &Records,
) -> Result<Vec<Ungoverned>, CliError> {
    let first = records
        .entries
        .iter()
        .find(|entry| entry.kind == Kind::Authority);
    let Some(first) = first else {
        return Ok(Vec::new());
    };
    let rows = rows(session, first.time_ms).await?;
    let planned = planned(records);
    let mut out = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let is_planned = planned
            .iter()
            .any(|((cluster, object, field), exported_ms)| {
                (cluster, object) == (&row.place.0, &row.place.1)
                    && *field == unlisted(&row.place.2)
                    && *exported_ms < row.sight.seen_ms
            });
        if is_planned {
            continue;
        }
        let ended = rows[at + 1..]
            .iter()
            .find(|later| later.place == row.place)
            .map(|later| later.sight.clone());
        let fate = if ended.is_some() {
            Fate::Overtaken
        } else {
            Fate::Applied
        };
        out.push(Ungoverned {
            item: row.item.clone(),
            seen_ms: row.sight.seen_ms,
            fates: vec![ChangeFate {
                fate,
                applied: Some(row.sight.clone()),
                ended,
            }],
        });
    }
    let beyond = out.len().saturating_sub(MOST);
    out.drain(..beyond);
    Ok(out)
}

async fn rows(session: &SessionContext, since_ms: i64) -> Result<Vec<Row>, CliError> {
    let sql = include_str!("../../queries/report/ungoverned.sql");
    let params = vec![("since_ms", ScalarValue::Int64(Some(since_ms)))];
    let batches = read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read the changes that nobody approved", cause))?;
    let mut out = Vec::new();
    for batch in &batches {
        let column = |name: &str| text(batch, name);
        let (cluster, namespace) = (column("cluster")?, column("namespace")?);
        let (kind, name) = (column("workload_kind")?, column("workload_name")?);
        let (object, field) = (column("object")?, column("field")?);
        let (before, after) = (column("before")?, column("after")?);
        let (what, actor) = (column("what")?, column("actor")?);
        let (seen, not_before) = (int(batch, "seen_ms")?, int(batch, "not_before_ms")?);
        for row in 0..batch.num_rows() {
            let value = |side| text_at(side, row).unwrap_or_else(|| "unset".to_owned());
            let place = (
                cluster.value(row).to_owned(),
                object.value(row).to_owned(),
                field.value(row).to_owned(),
            );
            let action = format!(
                "{} of {}: {} → {}",
                place.2,
                place.1,
                value(&before),
                value(&after)
            );
            let whole = format!("{}/{action}/{}", place.0, seen.value(row));
            out.push(Row {
                item: json!({
                    "recommendation_id": &sha256_hex(whole.as_bytes())[..16],
                    "finding_id": "",
                    "manifest_sha256": "",
                    "detector": DETECTOR,
                    "action": action,
                    "what": what.value(row),
                    "cluster": place.0,
                    "namespace": namespace.value(row),
                    "workload": format!("{}/{}", kind.value(row), name.value(row)),
                }),
                sight: Sight {
                    not_before_ms: not_before.value(row),
                    seen_ms: seen.value(row),
                    by: text_at(&actor, row),
                },
                place,
            });
        }
    }
    Ok(out)
}

/// Where exported plans write, and since when: what stands there is followed by their outcomes.
fn planned(records: &Records) -> BTreeSet<((String, String, String), i64)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut out = BTreeSet::new();
    for (_, exported_ms, plan) in &records.plans {
        for item in list(&plan["items"]) {
            for change in list(&item["changes"]) {
                let part = |name: &str| change["target"][name].as_str().unwrap_or_default();
                let object = [part("kind"), part("namespace"), part("name")]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("/");
                for op in list(&change["patch"]) {
                    let path = op["path"].as_str().unwrap_or_default();
                    if op["op"] == "test" {
                        continue;
                    }
                    let cluster = item["cluster"].as_str().unwrap_or_default();
                    out.insert((
                        (cluster.to_owned(), object.clone(), dotted(path)),
                        *exported_ms,
                    ));
                }
            }
        }
    }
    out
}

/// A JSON pointer as the inventory spells fields, without places in lists, which it spells by name.
fn dotted(pointer: &str) -> String {
    let parts: Vec<String> = pointer
        .split('/')
        .skip(1)
        .filter(|part| *part != "-" && part.parse::<usize>().is_err())
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    parts.join(".")
}

/// The same of the inventory's spelling.
fn unlisted(field: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in field.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_spelt_as_the_inventory_spells_fields() {
        assert_eq!(dotted("/spec/minReplicas"), "spec.minReplicas");
        assert_eq!(
            dotted("/metadata/annotations/serving.kserve.io~1stop"),
            "metadata.annotations.serving.kserve.io/stop"
        );
        assert_eq!(
            dotted("/spec/components/0/replicas"),
            unlisted("spec.components[decode].replicas")
        );
    }
}
