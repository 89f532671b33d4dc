//! Owns cutting a day into parts that fit into memory: sets of nodes for what is judged by device, sets of
//! pods for what is judged by replica.
//!
//! Which queries may be cut is said in their front matter (`parts`). What shares an owner (a scrape target,
//! a workload, a replica) stays together, and a part sees of each input only its own rows: so a query over
//! the parts gives the rows that it gives over the whole. Called by `derive`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::JoinType;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::prelude::{DataFrame, Expr, SessionContext, col, lit};

use crate::detect::query::PartsBy;
use crate::lake::columns::{ColumnError, int, text};

/// Scrapes of a part: what a part's steps hold at once is about 250 bytes a scrape, twice over where a
/// sort has it. A day of a hundred GPUs at 30 s is one part.
pub(super) const SCRAPES_PER_PART: i64 = 500_000;

/// The columns that say to which part a row belongs, and their joined side.
type Columns = &'static [(&'static str, &'static str)];
const NODES: Columns = &[("node", "part_node")];
const PODS: Columns = &[("namespace", "part_namespace"), ("pod", "part_pod")];

/// A node's name, or a pod's namespace and name.
type Key = Vec<String>;

/// One piece of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    columns: Columns,
    /// In order, and never empty.
    keys: Vec<Key>,
}

/// The parts of a day; none where all of it is one.
pub(super) async fn plan(
    context: &SessionContext,
    by: PartsBy,
    scrapes_per_part: i64,
) -> Result<Vec<Part>, DataFusionError> {
    let (columns, tables, owners) = match by {
        PartsBy::Nodes => (
            NODES,
            &["gpu_samples"][..],
            ("gpu_samples", &["target"][..]),
        ),
        PartsBy::Workloads => (
            PODS,
            &["serving_samples", "container_samples"][..],
            (
                "stg_pod_replicas",
                &["replica", "workload_kind", "workload_name"][..],
            ),
        ),
    };
    let keys: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
    let mut scrapes: BTreeMap<Key, i64> = BTreeMap::new();
    for table in tables {
        for (key, rows) in counted(context, table, &keys).await? {
            *scrapes.entry(key).or_insert(0) += rows;
        }
    }
    if scrapes.values().sum::<i64>() <= scrapes_per_part {
        return Ok(Vec::new());
    }
    let (table, names) = owners;
    let mut owners: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
    let all: Vec<&str> = keys.iter().chain(names).copied().collect();
    for (mut key, _) in counted(context, table, &all).await? {
        let names = key.split_off(keys.len());
        scrapes.entry(key.clone()).or_insert(0);
        owners.entry(key).or_default().push(names);
    }
    let owned = |key: &Key| owned(by, key, owners.get(key).map_or(&[], Vec::as_slice));
    let sets = sets(&scrapes, owned, scrapes_per_part);
    if sets.len() < 2 {
        return Ok(Vec::new());
    }
    Ok(sets
        .into_iter()
        .map(|keys| Part { columns, keys })
        .collect())
}

/// What keeps a key together with others: never equal for owners of two kinds.
fn owned(by: PartsBy, key: &Key, names: &[Key]) -> Vec<Key> {
    let namespace = key.first().cloned().unwrap_or_default();
    match by {
        PartsBy::Nodes => names.to_vec(),
        // A pod that the inventory does not know is its own replica.
        PartsBy::Workloads if names.is_empty() => {
            vec![vec![namespace, key.last().cloned().unwrap_or_default()]]
        }
        PartsBy::Workloads => names
            .iter()
            .filter_map(|names| {
                let [replica, kind, name] = names.as_slice() else {
                    return None;
                };
                let replica = vec![namespace.clone(), replica.clone()];
                let workload = vec![namespace.clone(), kind.clone(), name.clone()];
                Some([replica, workload])
            })
            .flatten()
            .collect(),
    }
}

/// Rows by key.
async fn counted(
    context: &SessionContext,
    table: &str,
    keys: &[&str],
) -> Result<Vec<(Key, i64)>, DataFusionError> {
    let by: Vec<Expr> = keys.iter().map(|key| col(*key)).collect();
    let rows = context
        .table(table)
        .await?
        .aggregate(by, vec![count(lit(1)).alias("scrapes")])?
        .collect()
        .await?;
    let external = |cause: ColumnError| DataFusionError::External(Box::new(cause));
    let mut counted = Vec::new();
    for batch in &rows {
        let scrapes = int(batch, "scrapes").map_err(external)?;
        let texts: Result<Vec<StringArray>, DataFusionError> = keys
            .iter()
            .map(|key| text(batch, key).map_err(external))
            .collect();
        let texts = texts?;
        for row in 0..batch.num_rows() {
            let key = texts.iter().map(|text| text.value(row).to_owned());
            counted.push((key.collect(), scrapes.value(row)));
        }
    }
    Ok(counted)
}

/// Sets of keys of which no two share an owner, each up to the limit where it can be.
fn sets(
    scrapes: &BTreeMap<Key, i64>,
    owned: impl Fn(&Key) -> Vec<Key>,
    scrapes_per_part: i64,
) -> Vec<Vec<Key>> {
    let mut sets: Vec<Vec<Key>> = Vec::new();
    let mut held = 0;
    for group in joined(scrapes.keys(), owned) {
        let weight: i64 = group.iter().filter_map(|key| scrapes.get(key)).sum();
        if sets.is_empty() || held + weight > scrapes_per_part {
            sets.push(Vec::new());
            held = 0;
        }
        held += weight;
        if let Some(last) = sets.last_mut() {
            last.extend(group);
        }
    }
    for set in &mut sets {
        set.sort_unstable();
    }
    sets
}

/// Keys that share an owner are of one group; groups stand in the order of their first key.
fn joined<'a>(
    keys: impl Iterator<Item = &'a Key>,
    owned: impl Fn(&Key) -> Vec<Key>,
) -> Vec<Vec<Key>> {
    let mut groups: Vec<Vec<Key>> = Vec::new();
    // Where a group went that was joined to an earlier one.
    let mut moved: Vec<usize> = Vec::new();
    let mut by_owner: BTreeMap<Key, usize> = BTreeMap::new();
    let found = |moved: &[usize], mut group: usize| {
        while moved[group] != group {
            group = moved[group];
        }
        group
    };
    for key in keys {
        let owners = owned(key);
        let known: BTreeSet<usize> = owners
            .iter()
            .filter_map(|owner| by_owner.get(owner))
            .map(|group| found(&moved, *group))
            .collect();
        let mut known = known.into_iter();
        let group = known.next().unwrap_or_else(|| {
            groups.push(Vec::new());
            moved.push(groups.len() - 1);
            groups.len() - 1
        });
        for other in known {
            let keys = std::mem::take(&mut groups[other]);
            groups[group].extend(keys);
            moved[other] = group;
        }
        groups[group].push(key.clone());
        for owner in owners {
            by_owner.insert(owner, group);
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// A session that shows of each named table only what belongs to the part.
pub(super) async fn session(
    context: &SessionContext,
    tables: &BTreeSet<&str>,
    part: &Part,
) -> Result<SessionContext, DataFusionError> {
    let inner = SessionContext::new_with_config_rt(context.copied_config(), context.runtime_env());
    for table in tables {
        let whole = context.table(*table).await?;
        let has = |(name, _): &(&str, &str)| {
            let schema = whole.schema();
            schema.has_column_with_unqualified_name(name)
        };
        let shown = if part.columns.iter().all(has) {
            of_part(context, whole, part)?
        } else {
            whole
        };
        inner.register_table(*table, shown.into_view())?;
    }
    Ok(inner)
}

fn of_part(
    context: &SessionContext,
    whole: DataFrame,
    part: &Part,
) -> Result<DataFrame, DataFusionError> {
    let (columns, mine): (Vec<&str>, Vec<&str>) = part.columns.iter().copied().unzip();
    let mut near = whole;
    // Bounds on what rows are sorted by let a scan pass over row groups; the join decides.
    if let (Some(first), Some(last)) = (part.keys.first(), part.keys.last()) {
        near = near
            .filter(col(columns[0]).gt_eq(lit(&first[0])))?
            .filter(col(columns[0]).lt_eq(lit(&last[0])))?;
    }
    let fields: Vec<Field> = mine
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, false))
        .collect();
    let arrays = (0..mine.len()).map(|place| -> ArrayRef {
        let values = part.keys.iter().map(|key| &key[place]);
        Arc::new(StringArray::from_iter_values(values))
    });
    let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect())?;
    let keys = context.read_batch(keys)?;
    near.join(keys, JoinType::LeftSemi, &columns, &mine, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(names: &[&str]) -> Key {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn scrapes(counts: &[(&[&str], i64)]) -> BTreeMap<Key, i64> {
        counts.iter().map(|(names, n)| (key(names), *n)).collect()
    }

    #[test]
    fn nodes_of_one_target_stay_together() {
        let counts = scrapes(&[
            (&["a"], 4),
            (&["b"], 4),
            (&["c"], 9),
            (&["d"], 1),
            (&["e"], 1),
        ]);
        let target = |node: &Key| {
            let shared = matches!(node[0].as_str(), "a" | "d");
            let name = if shared { "central" } else { &node[0] };
            owned(PartsBy::Nodes, node, &[key(&[name])])
        };
        let sets = sets(&counts, target, 8);
        assert_eq!(
            sets,
            [
                vec![key(&["a"]), key(&["d"])],
                vec![key(&["b"])],
                vec![key(&["c"])],
                vec![key(&["e"])]
            ]
        );
    }

    #[test]
    fn a_workload_is_never_cut_nor_a_replica() {
        let names: BTreeMap<Key, Key> = BTreeMap::from([
            (key(&["ns", "a-0"]), key(&["a-0", "k", "a"])),
            (key(&["ns", "b-0"]), key(&["group", "k", "b"])),
            (key(&["ns", "c-0"]), key(&["c-0", "k", "c"])),
            // Of another workload, and in the same replica.
            (key(&["ns", "d-0"]), key(&["group", "k", "d"])),
            (key(&["ns", "e-0"]), key(&["e-0", "k", "a"])),
            // Of the same name, and elsewhere.
            (key(&["other", "a-0"]), key(&["a-0", "k", "a"])),
        ]);
        let mut counts: BTreeMap<Key, i64> = names.keys().map(|key| (key.clone(), 2)).collect();
        // The inventory does not know them, and one's name is another's replica.
        counts.insert(key(&["ns", "group"]), 1);
        counts.insert(key(&["ns", "unknown"]), 1);
        let sets = sets(
            &counts,
            |pod| {
                owned(
                    PartsBy::Workloads,
                    pod,
                    names.get(pod).map_or(&[], std::slice::from_ref),
                )
            },
            4,
        );
        assert_eq!(
            sets,
            [
                vec![key(&["ns", "a-0"]), key(&["ns", "e-0"])],
                vec![
                    key(&["ns", "b-0"]),
                    key(&["ns", "d-0"]),
                    key(&["ns", "group"])
                ],
                vec![key(&["ns", "c-0"]), key(&["ns", "unknown"])],
                vec![key(&["other", "a-0"])],
            ]
        );
    }
}
