//! Owns `inventory`: workloads by cost as the newest publication has them, and the questions that the
//! card of one workload asks the lake. How the card looks is `inventory_card`'s business.

use std::io::Write as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde_json::{Map, Value};

use super::args::InventoryArgs;
use super::error::CliError;
use super::inventory_card::{Card, Known};
use super::output::{OutputFormat, json_objects, print_rows};
use super::stages::evidence;
use super::{data, say};
use crate::config::Config;
use crate::exit::Exit;
use crate::inventory;
use crate::inventory::remedy::{BoundsWish, CpuWish, Remedy, Wish};
use crate::lake::columns::text;
use crate::lake::{LakeError, LakeView, Publication, read_only_sql};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS, MONTH_HOURS, date_of};
use crate::model::workload::WorkloadId;

/// A month of 730 hours.
const MONTH_MS: i64 = MONTH_HOURS * HOUR_MS;
/// What existed for less shows its window's dollars and no monthly ones.
const MIN_EXISTED_MS: i64 = 3 * DAY_MS;

/// What a terminal has room for.
const SHOWN: &[&str] = &[
    "cluster",
    "namespace",
    "workload_kind",
    "workload_name",
    "model",
    "gpu_product",
    "gpus_per_replica",
    "replicas",
    "min_replicas",
    "max_replicas",
    "autoscaler",
    "team",
    "served",
    "gpu_hours",
    "list_usd",
    "list_usd_month",
    "known_percent",
    "data_notes",
];

pub(super) async fn inventory(args: &InventoryArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    if let Some(name) = &args.cluster
        && !config.file.clusters.iter().any(|one| one.name == *name)
    {
        return Err(CliError::Usage(format!(
            "there is no cluster `{name}` in `{}`",
            config.path.display()
        )));
    }
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let all = listing(&session, &publication, args.cluster.as_deref()).await?;
    let mut out = std::io::stdout();
    let Some(handle) = &args.workload else {
        let window = publication.window();
        if args.output == OutputFormat::Table {
            let shown: Vec<usize> = SHOWN
                .iter()
                .filter_map(|name| all.schema().index_of(name).ok())
                .collect();
            let rows = all.project(&shown).map_err(unexpected)?;
            print_rows(&mut out, &[rows], args.output)?;
            for line in lint_lines(&session, args.cluster.as_deref()).await? {
                say(&line);
            }
            say(&format!(
                "publication {}, {} to {}: list prices of the window and per month of 730 h; {}",
                publication.number,
                date_of(window.start_ms),
                date_of(window.end_ms),
                faults_line(&session).await?
            ));
        } else {
            print_rows(&mut out, &[all], args.output)?;
        }
        return Ok(Exit::Done);
    };
    let rows = json_objects(&all)?;
    let row = find(&rows, handle)?;
    let card = card(&session, &config, row, publication.window()).await?;
    match args.output {
        OutputFormat::Table => writeln!(out, "{}", card.text()),
        OutputFormat::Json => serde_json::to_writer_pretty(&mut out, card.value())
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out)),
        OutputFormat::Ndjson => writeln!(out, "{}", card.value()),
        OutputFormat::Csv => {
            return Err(CliError::Usage(
                "one workload is no table: use `-o json` or leave `-o` out".to_owned(),
            ));
        }
    }
    .map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

fn unexpected(error: datafusion::arrow::error::ArrowError) -> CliError {
    CliError::Unexpected(error.to_string())
}

async fn rows(
    session: &SessionContext,
    sql: &str,
    params: Vec<(&'static str, ScalarValue)>,
) -> Result<RecordBatch, CliError> {
    let frame = read_only_sql(session, sql, params).await?;
    let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
    let batches = frame
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read the inventory", cause))?;
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    concat_batches(&schema, &batches).map_err(unexpected)
}

/// All workloads by cost in the publication's window.
async fn listing(
    session: &SessionContext,
    publication: &Publication,
    cluster: Option<&str>,
) -> Result<RecordBatch, CliError> {
    let window = publication.window();
    let params = vec![
        ("from_date", ScalarValue::from(date_of(window.start_ms))),
        ("to_date", ScalarValue::from(date_of(window.end_ms))),
        ("from_ms", ScalarValue::from(window.start_ms)),
        ("to_ms", ScalarValue::from(window.end_ms)),
        ("month_ms", ScalarValue::from(MONTH_MS)),
        ("min_existed_ms", ScalarValue::from(MIN_EXISTED_MS)),
    ];
    let sql = include_str!("../../queries/report/inventory.sql");
    let all = rows(session, sql, params).await?;
    let Some(wanted) = cluster else {
        return Ok(all);
    };
    let clusters = text(&all, "cluster")?;
    let keep = clusters
        .iter()
        .map(|one| Some(one == Some(wanted)))
        .collect();
    filter_record_batch(&all, &keep).map_err(unexpected)
}

/// How many faults of each scope the sources have.
async fn faults_line(session: &SessionContext) -> Result<String, CliError> {
    let sql = include_str!("../../queries/report/faults.sql");
    let found = json_objects(&rows(session, sql, Vec::new()).await?)?;
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for row in &found {
        *counts
            .entry(row["scope"].as_str().unwrap_or(""))
            .or_default() += 1;
    }
    if counts.is_empty() {
        return Ok("no faults of the data".to_owned());
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(scope, count)| format!("{count} of {scope}s"))
        .collect();
    Ok(format!(
        "faults of the data: {} (v_data_quality)",
        parts.join(", ")
    ))
}

/// What is wrong with what autoscalers listen to, one line each.
async fn lint_lines(
    session: &SessionContext,
    cluster: Option<&str>,
) -> Result<Vec<String>, CliError> {
    let sql = include_str!("../../queries/report/scaling_lint.sql");
    let found = json_objects(&rows(session, sql, Vec::new()).await?)?;
    let of = |row: &Map<String, Value>, name: &str| row[name].as_str().unwrap_or("").to_owned();
    Ok(found
        .iter()
        .filter(|row| cluster.is_none_or(|only| of(row, "cluster") == only))
        .map(|row| {
            format!(
                "scaling signal: {}/{}/{} {}: {} ({})",
                of(row, "cluster"),
                of(row, "namespace"),
                of(row, "scaler_kind"),
                of(row, "scaler_name"),
                of(row, "sentence"),
                of(row, "rule")
            )
        })
        .collect())
}

fn path(row: &Map<String, Value>) -> String {
    ["cluster", "namespace", "workload_kind", "workload_name"]
        .map(|name| row[name].as_str().unwrap_or(""))
        .join("/")
}

/// The one workload that a handle names.
fn find<'r>(
    rows: &'r [Map<String, Value>],
    handle: &str,
) -> Result<&'r Map<String, Value>, CliError> {
    let named = || rows.iter().filter(|row| row["workload_kind"] != "");
    // `namespace/name` leaves the kind out, which few people know by heart.
    let fits = |row: &Map<String, Value>| {
        let whole = path(row);
        let parts: Vec<&str> = whole.split('/').collect();
        let short = format!("{}/{}", parts[1], parts[parts.len() - 1]);
        let shorter = format!("{}/{short}", parts[0]);
        whole == handle
            || whole.ends_with(&format!("/{handle}"))
            || short == handle
            || shorter == handle
    };
    let found: Vec<&Map<String, Value>> = named().filter(|row| fits(row)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::Usage(format!(
            "no workload of this publication is `{handle}`: `idleproof inventory` names them"
        ))),
        several => Err(CliError::Usage(format!(
            "`{handle}` is {} workloads: {}",
            several.len(),
            several
                .iter()
                .map(|row| path(row))
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// All that is known of one workload.
async fn card(
    session: &SessionContext,
    config: &Config,
    row: &Map<String, Value>,
    window: TimeWindow,
) -> Result<Card, CliError> {
    let of = |name: &str| ScalarValue::from(row[name].as_str().unwrap_or(""));
    let key = || {
        vec![
            ("cluster", of("cluster")),
            ("namespace", of("namespace")),
            ("workload_kind", of("workload_kind")),
            ("workload_name", of("workload_name")),
        ]
    };
    let details = rows(
        session,
        include_str!("../../queries/report/inventory_workload.sql"),
        key(),
    )
    .await?;
    let details = json_objects(&details)?
        .into_iter()
        .next()
        .unwrap_or_default();
    let events = rows(
        session,
        include_str!("../../queries/report/inventory_events.sql"),
        key(),
    )
    .await?;
    let faults = rows(
        session,
        include_str!("../../queries/report/inventory_faults.sql"),
        key(),
    )
    .await?;
    let lint = rows(
        session,
        include_str!("../../queries/report/inventory_lint.sql"),
        key(),
    )
    .await?;
    let known = Known {
        row: row.clone(),
        details,
        events: json_objects(&events)?,
        faults: json_objects(&faults)?,
        lint: json_objects(&lint)?,
        remedies: remedies(session, config, row, window).await?,
    };
    Ok(Card::new(known, &config.file.slos))
}

/// Where changes of a workload would go, as it was on the window's last day.
async fn remedies(
    session: &SessionContext,
    config: &Config,
    row: &Map<String, Value>,
    window: TimeWindow,
) -> Result<Vec<Remedy>, CliError> {
    let of = |name: &str| row[name].as_str().unwrap_or("").to_owned();
    let id = WorkloadId {
        cluster: of("cluster"),
        namespace: of("namespace"),
        kind: of("workload_kind"),
        name: of("workload_name"),
    };
    let clusters = &config.file.clusters;
    let Some(cluster) = clusters.iter().find(|one| one.name == id.cluster) else {
        return Ok(Vec::new());
    };
    let day = TimeWindow::new(window.end_ms - DAY_MS, window.end_ms);
    let inputs = evidence(config, cluster, session, day).await?;
    // Values that differ from what stands there: what is asked for is the place.
    let now = |name: &str| row[name].as_i64();
    let least = now("min_replicas").or_else(|| now("replicas")).unwrap_or(1) + 1;
    let most = now("max_replicas").map_or(least, |most| most.max(least)) + 1;
    let wish = Wish {
        bounds: Some(BoundsWish {
            min_replicas: Some(least),
            max_replicas: Some(most),
        }),
        cpu: Some(CpuWish {
            request: Some("3571m".to_owned()),
            ..CpuWish::default()
        }),
        ..Wish::survey("another-product")
    };
    Ok(inventory::remedies(&inputs, &id, &wish))
}
