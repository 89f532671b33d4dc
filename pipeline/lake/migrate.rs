//! Owns what happens to a lake that another version of this program made. A table that lacks columns
//! which may be empty gains them by one commit of metadata, under the fleet's lease; its files stay
//! as they are, and their rows are NULL there. Any other difference is refused before a row is
//! written: rows of two kinds in one table could never be told apart again.
//!
//! Called by `Lake::migrate`, by [`super::commit`] before each commit and by [`super::provider`]
//! before each read.

use deltalake_core::DeltaTable;
use deltalake_core::kernel::StructField;
use deltalake_core::kernel::transaction::CommitProperties;

use super::commit::{self, delta_type};
use super::error::LakeError;
use super::lease::Lease;
use super::schema::{Column, TABLES, TableSpec};
use super::store::LakeStore;

/// Other writers that may be met on the way to one commit of metadata.
const MAX_ATTEMPTS: u32 = 20;

const START_ANEW: &str = "read it with the version that made it, and ingest into a new [lake] url";

/// How a table's columns differ from what this program knows.
struct Difference<'a> {
    missing: Vec<&'a Column>,
    unknown: Vec<String>,
}

fn other(spec: &TableSpec, reason: String, todo: &'static str) -> LakeError {
    LakeError::OtherVersion {
        table: spec.name.to_owned(),
        reason,
        todo,
    }
}

/// Fails where the table cannot be read as this program knows it.
fn difference<'a>(spec: &'a TableSpec, delta: &DeltaTable) -> Result<Difference<'a>, LakeError> {
    let state = delta
        .snapshot()
        .map_err(|e| LakeError::delta("read", spec.name, e))?;
    let schema = state.schema();
    let partitions = spec.partition_columns();
    let names = partitions.map(|column| column.name);
    let found = state.metadata().partition_columns();
    if found.iter().ne(names.iter()) {
        let reason = format!("it is partitioned by {found:?} and not by {names:?}");
        return Err(other(spec, reason, START_ANEW));
    }
    let mut missing: Vec<&Column> = Vec::new();
    for column in partitions.iter().chain(spec.columns) {
        let Some(field) = schema.field(column.name) else {
            // A partition column is in every schema, or the check above has failed.
            missing.extend(spec.columns.iter().find(|own| own.name == column.name));
            continue;
        };
        let wanted = delta_type(column.column_type);
        if *field.data_type() != wanted {
            let reason = format!(
                "its column {} holds {} and not {wanted}",
                column.name,
                field.data_type()
            );
            return Err(other(spec, reason, START_ANEW));
        }
        if field.is_nullable() && !column.nullable {
            let reason = format!("its column {} may be empty", column.name);
            return Err(other(spec, reason, START_ANEW));
        }
        if !field.is_nullable() && column.nullable {
            let reason = format!("its column {} may not be empty", column.name);
            return Err(other(spec, reason, START_ANEW));
        }
    }
    if let Some(column) = missing.iter().find(|column| !column.nullable) {
        let reason = format!(
            "it lacks the column {}, which none of its rows may lack",
            column.name
        );
        return Err(other(spec, reason, START_ANEW));
    }
    let is_known =
        |name: &str| names.contains(&name) || spec.columns.iter().any(|column| column.name == name);
    let unknown = schema
        .fields()
        .map(|field| field.name().clone())
        .filter(|name| !is_known(name))
        .collect();
    Ok(Difference { missing, unknown })
}

/// Whether rows can be read: what is missing reads as NULL, what is unknown is not asked for.
pub(crate) fn check_readable(spec: &TableSpec, delta: &DeltaTable) -> Result<(), LakeError> {
    difference(spec, delta).map(|_| ())
}

/// Whether rows may be written. A column that this program does not know would be lost when its
/// files are made compact.
pub(crate) fn check_writable(spec: &TableSpec, delta: &DeltaTable) -> Result<(), LakeError> {
    let found = difference(spec, delta)?;
    check_known(spec, &found)?;
    if found.missing.is_empty() {
        return Ok(());
    }
    Err(other(
        spec,
        format!("it lacks the columns {}", names(&found.missing).join(", ")),
        "`idleproof ingest`, `run` and `lake compact` add them first",
    ))
}

fn check_known(spec: &TableSpec, found: &Difference<'_>) -> Result<(), LakeError> {
    if found.unknown.is_empty() {
        return Ok(());
    }
    Err(other(
        spec,
        format!(
            "it has the columns {}, which this version does not know",
            found.unknown.join(", ")
        ),
        "write to it with the version that added them, or a newer one",
    ))
}

fn names(columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|c| c.name.to_owned()).collect()
}

/// The tables that lack columns, and which. Fails before anything is changed where one of the
/// lake's tables does not fit.
pub(crate) async fn lacking(
    store: &LakeStore,
) -> Result<Vec<(&'static TableSpec, Vec<String>)>, LakeError> {
    let looks = TABLES.iter().map(async |spec| {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            return Ok::<_, LakeError>(None);
        };
        let found = difference(spec, &delta)?;
        check_known(spec, &found)?;
        Ok((!found.missing.is_empty()).then(|| (spec, names(&found.missing))))
    });
    let found = futures::future::try_join_all(looks).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Adds the columns that a table lacks; the fleet's lease is the caller's.
pub(crate) async fn add_columns(
    store: &LakeStore,
    spec: &TableSpec,
    lease: &Lease,
) -> Result<(), LakeError> {
    let failed = |e| LakeError::delta("add columns to", spec.name, e);
    for _ in 0..MAX_ATTEMPTS {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            return Ok(());
        };
        let found = difference(spec, &delta)?;
        if found.missing.is_empty() {
            return Ok(());
        }
        lease.check_held().await?;
        let fields = found
            .missing
            .iter()
            .map(|column| StructField::new(column.name, delta_type(column.column_type), true));
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_cleanup_expired_logs(Some(false));
        let added = delta
            .add_columns()
            .with_fields(fields.collect::<Vec<_>>())
            .with_commit_properties(properties)
            .await;
        match added {
            Ok(_) => return Ok(()),
            Err(error) if commit::is_conflict(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(LakeError::Contended {
        table: spec.name.to_owned(),
        attempts: MAX_ATTEMPTS,
    })
}
