//! Owns a connection after its login: simple and extended queries, prepared statements and portals,
//! transactions in name. Everything is answered from one publication.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::scalar::ScalarValue;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::{PgWireBackendMessage as Out, PgWireFrontendMessage as In};
use tokio::sync::watch;
use tokio::time::timeout;

use super::fault::Fault;
use super::params;
use super::query::{Column, Planned, Rows, Stops, description, ended, plan};
use super::shown::Shown;
use super::statement::{Asked, asked, split};
use super::wire::{MESSAGE_BYTES_MAX, Wire, WireError};

/// What one client may have prepared at a time.
const STATEMENTS_MAX: usize = 1_000;
const STATEMENT_BYTES_MAX: usize = 16 << 20;
const PORTALS_MAX: usize = 100;

#[derive(Debug)]
struct Prepared {
    asked: Option<Asked>,
    text_bytes: usize,
    planned: Planned,
}

struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<ScalarValue>,
    formats: Formats,
    rows: Option<Rows>,
    is_done: bool,
}

/// Which columns are binary.
#[derive(Debug, Clone)]
struct Formats(Vec<bool>);

impl Formats {
    /// None, one for all, or one each.
    fn of(codes: &[i16], count: usize) -> Result<Self, Fault> {
        let is_binary = |code: &i16| match code {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Fault::error("08P01", format!("{other} is no format"))),
        };
        if codes.len() > 1 && codes.len() != count {
            return Err(Fault::error(
                "08P01",
                "there are not as many formats as values",
            ));
        }
        codes
            .iter()
            .map(is_binary)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn is_binary(&self, index: usize) -> bool {
        match self.0.as_slice() {
            [] => false,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(false),
        }
    }
}

/// Why a conversation ends.
enum End {
    Wire(WireError),
    Fault(Fault),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub statement: Duration,
    pub idle: Duration,
}

pub(super) struct Talk {
    wire: Wire,
    shown: Arc<Shown>,
    stops: Stops,
    idle: Duration,
    status: TransactionStatus,
    statements: BTreeMap<String, Arc<Prepared>>,
    portals: BTreeMap<String, Portal>,
}

impl Talk {
    pub(super) fn new(
        wire: Wire,
        shown: Arc<Shown>,
        patience: Patience,
        cancelled: watch::Receiver<u64>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            wire,
            shown,
            stops: Stops {
                allowed: patience.statement,
                cancelled,
                ending,
            },
            idle: patience.idle,
            status: TransactionStatus::Idle,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
        }
    }

    /// Answers until the client goes, says nothing for long, or the server ends.
    pub(super) async fn hold(mut self) {
        let end = self.answer_all().await;
        match end {
            Ok(()) | Err(End::Wire(WireError::Gone | WireError::Io(_))) => {}
            Err(End::Wire(WireError::Malformed(why))) => {
                let _ = self.wire.put(Fault::fatal("08P01", why).message());
            }
            Err(End::Fault(fault)) => {
                let _ = self.wire.put(fault.message());
            }
        }
        self.wire.close().await;
    }

    async fn answer_all(&mut self) -> Result<(), End> {
        self.ready().await?;
        // After an error among messages of the extended protocol, all up to the next Sync are dropped.
        let mut is_skipping = false;
        loop {
            let message = self.listen().await?;
            let is_extended = message.is_extended_query();
            let answered = match message {
                In::Terminate(_) => return Ok(()),
                In::Sync(_) => {
                    is_skipping = false;
                    if self.status == TransactionStatus::Idle {
                        self.portals.clear();
                    }
                    self.ready().await?;
                    Ok(())
                }
                _ if is_skipping => Ok(()),
                In::Query(query) => {
                    let answered = self.simple(&query.query).await;
                    self.settle(answered)?;
                    self.ready().await?;
                    Ok(())
                }
                In::Parse(parse) => self.parse(parse).await,
                In::Bind(bind) => self.bind(bind),
                In::Describe(describe) => self.describe(describe),
                In::Execute(execute) => self.execute(execute).await,
                In::Close(close) => {
                    let name = close.name.unwrap_or_default();
                    if close.target_type == b'S' {
                        self.statements.remove(&name);
                    } else {
                        self.portals.remove(&name);
                    }
                    self.put(Out::CloseComplete(CloseComplete::new()))
                }
                In::Flush(_) => self.wire.send().await.map_err(End::from),
                // What belongs to COPY comes late where COPY was refused.
                In::CopyData(_) | In::CopyDone(_) | In::CopyFail(_) => Ok(()),
                _ => Err(Fault::fatal("08P01", "this message has no place here").into()),
            };
            if answered.is_err() {
                self.settle(answered)?;
                is_skipping = is_extended;
            }
            // Who never says Sync gathers no answers here without end.
            self.wire.send_if_much().await?;
        }
    }

    /// Tells a fault and goes on, unless it ends the connection.
    fn settle(&mut self, answered: Result<(), End>) -> Result<(), End> {
        match answered {
            Err(End::Fault(fault)) if !fault.is_fatal() => {
                if self.status == TransactionStatus::Transaction {
                    self.status = TransactionStatus::Error;
                }
                self.put(fault.message())
            }
            other => other,
        }
    }

    async fn listen(&mut self) -> Result<In, End> {
        let mut ending = self.stops.ending.clone();
        tokio::select! {
            biased;
            () = ended(&mut ending) => {
                Err(Fault::fatal("57P01", "the server is ending").into())
            }
            message = timeout(self.idle, self.wire.message(MESSAGE_BYTES_MAX)) => match message {
                Ok(message) => Ok(message?),
                Err(_) => Err(Fault::fatal("57P05", "nothing was asked for too long").into()),
            },
        }
    }

    fn put(&mut self, message: Out) -> Result<(), End> {
        self.wire.put(message).map_err(End::from)
    }

    async fn ready(&mut self) -> Result<(), End> {
        self.put(Out::ReadyForQuery(ReadyForQuery::new(self.status)))?;
        Ok(self.wire.send().await?)
    }

    /// All statements of a text, one after the other, up to the first that fails.
    async fn simple(&mut self, text: &str) -> Result<(), End> {
        let statements = split(text);
        if statements.is_empty() {
            return self.put(Out::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        for statement in statements {
            let asked = asked(statement)?;
            self.may_run(&asked)?;
            let Some(mut rows) = self.begin(&asked, Vec::new()).await? else {
                continue;
            };
            self.put(description(&rows.columns, |_| false))?;
            self.rows(&mut rows, &Formats(Vec::new()), 0).await?;
        }
        Ok(())
    }

    /// In a transaction that failed, only its end is heard.
    fn may_run(&self, asked: &Asked) -> Result<(), Fault> {
        if self.status == TransactionStatus::Error && !matches!(asked, Asked::End(_) | Asked::Back)
        {
            return Err(Fault::error(
                "25P02",
                "the transaction has failed: end it with ROLLBACK first",
            ));
        }
        Ok(())
    }

    /// Opens a query's rows, or does and tells what needs none.
    async fn begin(
        &mut self,
        asked: &Asked,
        values: Vec<ScalarValue>,
    ) -> Result<Option<Rows>, End> {
        let tag = match asked {
            Asked::Query(sql) => {
                let rows = Rows::open(&self.shown.session, sql, values, self.stops.clone());
                return Ok(Some(rows.await?));
            }
            Asked::Show(name, value) => {
                return Ok(Some(Rows::text(name, value, self.stops.clone())?));
            }
            Asked::Begin => {
                self.status = TransactionStatus::Transaction;
                "BEGIN"
            }
            Asked::End(tag) => {
                let had_failed = self.status == TransactionStatus::Error;
                self.status = TransactionStatus::Idle;
                if had_failed { "ROLLBACK" } else { tag }
            }
            Asked::Mark(_) | Asked::Back if self.status == TransactionStatus::Idle => {
                let why = "savepoints are for transactions, and none has begun";
                return Err(Fault::error("25P01", why).into());
            }
            Asked::Mark(tag) => tag,
            Asked::Back => {
                self.status = TransactionStatus::Transaction;
                "ROLLBACK"
            }
            Asked::Set(tag) => {
                if *tag == "DISCARD ALL" {
                    self.statements.clear();
                }
                tag
            }
            Asked::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.statements.remove(name)),
                    None => self.statements.clear(),
                }
                "DEALLOCATE"
            }
        };
        self.complete(tag.to_owned())?;
        Ok(None)
    }

    fn complete(&mut self, tag: String) -> Result<(), End> {
        self.put(Out::CommandComplete(CommandComplete::new(tag)))
    }

    /// Sends rows, all or at most `limit`; whether they came to their end.
    async fn rows(
        &mut self,
        rows: &mut Rows,
        formats: &Formats,
        limit: usize,
    ) -> Result<bool, End> {
        let mut sent = 0_usize;
        while limit == 0 || sent < limit {
            let Some(row) = rows.next(|index| formats.is_binary(index)).await? else {
                self.complete(format!("SELECT {sent}"))?;
                return Ok(true);
            };
            self.put(row)?;
            self.wire.send_if_much().await?;
            sent += 1;
        }
        self.put(Out::PortalSuspended(PortalSuspended::new()))?;
        Ok(false)
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), End> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Fault::error("42P05", format!("`{name}` is prepared already")).into());
        }
        let held: usize = self.statements.values().map(|held| held.text_bytes).sum();
        if self.statements.len() >= STATEMENTS_MAX || held + parse.query.len() > STATEMENT_BYTES_MAX
        {
            return Err(Fault::error("53400", "too much is prepared: deallocate some").into());
        }
        let statements = split(&parse.query);
        let asked = match statements.as_slice() {
            [] => None,
            [one] => Some(asked(one)?),
            _ => {
                let why = "a prepared statement is one statement";
                return Err(Fault::error("42601", why).into());
            }
        };
        if let Some(asked) = &asked {
            self.may_run(asked)?;
        }
        let planned = match &asked {
            Some(Asked::Query(sql)) => {
                let planning = plan(&self.shown.session, sql, &parse.type_oids);
                self.stops.clone().fresh().wait(planning).await??
            }
            Some(Asked::Show(name, _)) => Planned {
                parameters: Vec::new(),
                columns: vec![Column {
                    name: name.clone(),
                    kind: super::types::Kind::TEXT,
                }],
            },
            _ => Planned::default(),
        };
        let prepared = Prepared {
            asked,
            text_bytes: parse.query.len(),
            planned,
        };
        self.statements.insert(name, Arc::new(prepared));
        self.put(Out::ParseComplete(ParseComplete::new()))
    }

    fn prepared(&self, name: Option<String>) -> Result<Arc<Prepared>, Fault> {
        let name = name.unwrap_or_default();
        self.statements
            .get(&name)
            .cloned()
            .ok_or_else(|| Fault::error("26000", format!("nothing is prepared as `{name}`")))
    }

    fn bind(&mut self, bind: Bind) -> Result<(), End> {
        let prepared = self.prepared(bind.statement_name)?;
        let wanted = &prepared.planned.parameters;
        if bind.parameters.len() != wanted.len() {
            let why = format!(
                "{} parameters came for {}",
                bind.parameters.len(),
                wanted.len()
            );
            return Err(Fault::error("08P01", why).into());
        }
        let formats = Formats::of(&bind.parameter_format_codes, wanted.len())?;
        let values = wanted.iter().zip(&bind.parameters).enumerate();
        let values = values.map(|(index, (oid, bytes))| {
            params::value(index + 1, *oid, formats.is_binary(index), bytes.as_ref())
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let columns = prepared.planned.columns.len();
        let portal = Portal {
            formats: Formats::of(&bind.result_column_format_codes, columns)?,
            prepared,
            values,
            rows: None,
            is_done: false,
        };
        let name = bind.portal_name.unwrap_or_default();
        if self.portals.len() >= PORTALS_MAX && !self.portals.contains_key(&name) {
            return Err(Fault::error("53400", "too many portals are open: close some").into());
        }
        self.portals.insert(name, portal);
        self.put(Out::BindComplete(BindComplete::new()))
    }

    fn portal(&mut self, name: &str) -> Result<&mut Portal, Fault> {
        self.portals
            .get_mut(name)
            .ok_or_else(|| Fault::error("34000", format!("there is no portal `{name}`")))
    }

    fn describe(&mut self, describe: Describe) -> Result<(), End> {
        let (prepared, formats) = if describe.target_type == b'S' {
            let prepared = self.prepared(describe.name)?;
            let parameters = prepared.planned.parameters.clone();
            let message = ParameterDescription::new(parameters);
            self.put(Out::ParameterDescription(message))?;
            (prepared, Formats(Vec::new()))
        } else {
            let portal = self.portal(&describe.name.unwrap_or_default())?;
            (Arc::clone(&portal.prepared), portal.formats.clone())
        };
        let columns = &prepared.planned.columns;
        if matches!(prepared.asked, Some(Asked::Query(_) | Asked::Show(..))) {
            self.put(description(columns, |index| formats.is_binary(index)))
        } else {
            self.put(Out::NoData(NoData::new()))
        }
    }

    async fn execute(&mut self, execute: Execute) -> Result<(), End> {
        let name = execute.name.unwrap_or_default();
        let portal = self.portal(&name)?;
        let (prepared, formats) = (Arc::clone(&portal.prepared), portal.formats.clone());
        let (values, open, is_done) = (portal.values.clone(), portal.rows.take(), portal.is_done);
        let Some(asked) = &prepared.asked else {
            return self.put(Out::EmptyQueryResponse(EmptyQueryResponse::new()));
        };
        self.may_run(asked)?;
        if is_done {
            return self.complete("SELECT 0".to_owned());
        }
        let rows = match open {
            Some(rows) => Some(rows),
            None => self.begin(asked, values).await?,
        };
        let mut is_done = true;
        let mut rest = None;
        if let Some(mut rows) = rows {
            let limit = usize::try_from(execute.max_rows).unwrap_or(0);
            is_done = self.rows(&mut rows, &formats, limit).await?;
            rest = (!is_done).then_some(rows);
        }
        if let Some(portal) = self.portals.get_mut(&name) {
            (portal.rows, portal.is_done) = (rest, is_done);
        }
        Ok(())
    }
}
