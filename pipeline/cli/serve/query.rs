//! Owns a query from its text to its rows: planning, what its columns are, and rows that come as they are
//! computed, within a time and until somebody stops them.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::StreamExt as _;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use tokio::sync::watch;

use super::fault::Fault;
use super::params;
use super::types::{Kind, Ready};
use crate::cli::{data, engine};
use crate::lake::read_only_sql;

/// What a statement can be given.
const PARAMETERS_MAX: usize = 1_000;

/// A column as the protocol describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// What is known of a query before it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    /// The type of each parameter, by PostgreSQL's numbers.
    pub parameters: Vec<u32>,
    pub columns: Vec<Column>,
}

/// Plans a query as far as its columns; `said` are types of parameters that the client gave.
pub(super) async fn plan(
    session: &SessionContext,
    sql: &str,
    said: &[u32],
) -> Result<Planned, Fault> {
    let none: [ScalarValue; 0] = [];
    let plan = session.state().create_logical_plan(sql).await;
    let plan = plan.map_err(|error| Fault::from(&error))?;
    let wanted = plan
        .get_parameter_types()
        .map_err(|error| Fault::from(&error))?;
    let numbers = wanted.keys().map(|name| {
        let number = name
            .strip_prefix('$')
            .and_then(|name| name.parse::<usize>().ok());
        number
            .filter(|number| (1..=PARAMETERS_MAX).contains(number))
            .ok_or_else(|| {
                Fault::error("42P02", format!("`{name}` is no parameter: write $1, $2 …"))
            })
    });
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let count = numbers.into_iter().max().unwrap_or(0).max(said.len());
    let parameters: Vec<u32> = (1..=count)
        .map(|number| {
            let planned = wanted.get(&format!("${number}")).and_then(Option::as_ref);
            params::oid(said.get(number - 1).copied().unwrap_or(0), planned)
        })
        .collect();
    if count == 0 {
        // The check that nothing is written is part of opening the query.
        let frame = read_only_sql(session, sql, none.to_vec()).await?;
        return Ok(Planned {
            parameters,
            columns: columns(frame.schema().as_arrow().fields()),
        });
    }
    // Types of results can hang on those of parameters: each stands in as a NULL of its type.
    let nulls = parameters
        .iter()
        .enumerate()
        .map(|(index, oid)| params::value(index + 1, *oid, false, None));
    let nulls = nulls.collect::<Result<Vec<_>, _>>()?;
    let frame = read_only_sql(session, sql, nulls).await?;
    Ok(Planned {
        parameters,
        columns: columns(frame.schema().as_arrow().fields()),
    })
}

fn columns(fields: &datafusion::arrow::datatypes::Fields) -> Vec<Column> {
    let column = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| Column {
        name: field.name().clone(),
        kind: Kind::of(field.data_type()),
    };
    fields.iter().map(column).collect()
}

/// The description of columns, whose values are binary where `binary` says so.
pub(super) fn description(
    columns: &[Column],
    binary: impl Fn(usize) -> bool,
) -> PgWireBackendMessage {
    let field = |(index, column): (usize, &Column)| {
        let format = i16::from(binary(index));
        let name = column.name.replace('\0', "\u{fffd}");
        FieldDescription::new(
            name,
            0,
            0,
            column.kind.oid(),
            column.kind.size(),
            -1,
            format,
        )
    };
    let fields = columns.iter().enumerate().map(field).collect();
    PgWireBackendMessage::RowDescription(RowDescription::new(fields))
}

/// What stops rows before their end.
#[derive(Clone)]
pub(super) struct Stops {
    /// How long a query may compute.
    pub allowed: Duration,
    /// Changes when the client wants the query stopped.
    pub cancelled: watch::Receiver<u64>,
    /// Turns true when the server ends.
    pub ending: watch::Receiver<bool>,
}

impl Stops {
    /// For a query that begins: what a client asked to stop before is no matter of it.
    pub(super) fn fresh(mut self) -> Self {
        self.cancelled.mark_unchanged();
        self
    }

    /// Waits for work, and for nothing longer than it is wanted.
    pub(super) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let started = Instant::now();
        let done = tokio::select! {
            biased;
            () = ended(&mut self.ending) => {
                return Err(Fault::fatal("57P01", "the server is ending"));
            }
            _ = self.cancelled.changed() => {
                return Err(Fault::error("57014", "the query was stopped as asked"));
            }
            // A bug under a query is that query's end and not its client's.
            done = engine::guarded(work) => done.map_err(|why| Fault::error("53200", why))?,
            () = tokio::time::sleep(self.allowed) => {
                return Err(Fault::error(
                    "57014",
                    "the query took longer than the server allows (--statement-timeout)",
                ));
            }
        };
        self.allowed = self.allowed.saturating_sub(started.elapsed());
        Ok(done)
    }
}

/// Returns when the server ends.
pub(super) async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Rows that are still to come.
pub(super) struct Rows {
    pub columns: Vec<Column>,
    source: Source,
    batch: Option<(Ready, usize)>,
    stops: Stops,
}

enum Source {
    Query(SendableRecordBatchStream),
    Given(Option<RecordBatch>),
}

impl Rows {
    /// Begins a query, with its parameters bound.
    pub(super) async fn open(
        session: &SessionContext,
        sql: &str,
        values: Vec<ScalarValue>,
        stops: Stops,
    ) -> Result<Self, Fault> {
        let mut stops = stops.fresh();
        let stream = stops
            .wait(async {
                let frame = read_only_sql(session, sql, values).await?;
                let columns = columns(frame.schema().as_arrow().fields());
                let stream = data::rows(frame).await;
                Ok::<_, Fault>((columns, stream.map_err(|error| Fault::from(&error))?))
            })
            .await??;
        Ok(Self {
            columns: stream.0,
            source: Source::Query(stream.1),
            batch: None,
            stops,
        })
    }

    /// One text.
    pub(super) fn text(name: &str, value: &str, stops: Stops) -> Result<Self, Fault> {
        let array: ArrayRef = std::sync::Arc::new(StringArray::from(vec![value]));
        let batch = RecordBatch::try_from_iter([(name, array)])
            .map_err(|error| Fault::error("XX000", error.to_string()))?;
        Ok(Self {
            columns: vec![Column {
                name: name.to_owned(),
                kind: Kind::of(&DataType::Utf8),
            }],
            source: Source::Given(Some(batch)),
            batch: None,
            stops,
        })
    }

    /// The next row; `None` at the end.
    pub(super) async fn next(
        &mut self,
        binary: impl Fn(usize) -> bool,
    ) -> Result<Option<PgWireBackendMessage>, Fault> {
        loop {
            if let Some((ready, row)) = &mut self.batch {
                if *row < ready.rows {
                    let mut data = BytesMut::with_capacity(128);
                    ready.write(*row, binary, &mut data);
                    *row += 1;
                    let count = i16::try_from(self.columns.len()).map_err(|_| {
                        Fault::error("54011", "a result has at most 32,767 columns")
                    })?;
                    return Ok(Some(PgWireBackendMessage::DataRow(DataRow::new(
                        data, count,
                    ))));
                }
                self.batch = None;
            }
            let next = match &mut self.source {
                Source::Query(stream) => {
                    let next = self.stops.wait(stream.next()).await?;
                    next.transpose()
                        .map_err(|error: DataFusionError| Fault::from(&error))?
                }
                Source::Given(batch) => batch.take(),
            };
            let Some(batch) = next else {
                return Ok(None);
            };
            let ready = Ready::of(&batch).map_err(|error| {
                Fault::error("22000", format!("a value cannot be sent: {error}"))
            })?;
            self.batch = Some((ready, 0));
        }
    }
}
