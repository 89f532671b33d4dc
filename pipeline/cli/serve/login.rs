//! Owns a connection up to its login: encryption, who it is, and stopping another one's query. Nothing is
//! planned or read for a client before it has come through here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgwire::messages::PgWireBackendMessage as Out;
use pgwire::messages::PgWireFrontendMessage as In;
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus,
    PasswordMessageFamily, SecretKey, Startup,
};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::fault::Fault;
use super::users::{MECHANISM, Users, random};
use super::wire::{HELLO_BYTES_MAX, Hello, Wire, WireError};

/// From the first byte to the login's end.
pub(super) const LOGIN: Duration = Duration::from_secs(15);

/// Each question for encryption is asked once; more is no client of ours.
const HELLOS_MAX: usize = 3;

/// Queries that can be stopped from outside, by what a client was given at its login.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashMap<i32, (i32, watch::Sender<u64>)>>);

/// One client's place among those that run; given up when it goes.
pub(super) struct Place {
    running: Arc<Running>,
    pid: i32,
    key: i32,
    pub(super) cancelled: watch::Receiver<u64>,
}

impl Running {
    fn enter(self: &Arc<Self>) -> Option<Place> {
        let (sender, cancelled) = watch::channel(0);
        let key = i32::from_be_bytes(random()?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = loop {
            let pid = i32::from_be_bytes(random()?) & i32::MAX;
            if pid > 0 && !all.contains_key(&pid) {
                break pid;
            }
        };
        all.insert(pid, (key, sender));
        drop(all);
        Some(Place {
            running: Arc::clone(self),
            pid,
            key,
            cancelled,
        })
    }

    fn cancel(&self, pid: i32, key: i32) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, sender)) = all.get(&pid)
            && *known == key
        {
            sender.send_modify(|count| *count += 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let running = &self.running.0;
        let mut all = running.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.pid);
    }
}

/// What a login is held to.
pub(super) struct Door {
    pub users: Option<Users>,
    pub tls: Option<TlsAcceptor>,
    pub running: Arc<Running>,
}

impl Door {
    /// Who came in; `None` where nobody did, which they were told.
    pub(super) async fn enter(&self, tcp: TcpStream) -> Result<Option<(Wire, Place)>, WireError> {
        tcp.set_nodelay(true)?;
        let mut wire = Wire::new(Box::new(tcp));
        let mut is_encrypted = false;
        for _ in 0..HELLOS_MAX {
            match wire.hello().await? {
                Hello::Gss => {
                    wire.put_byte(b'N');
                    wire.send().await?;
                }
                Hello::Tls => match &self.tls {
                    Some(acceptor) if !is_encrypted => {
                        wire.put_byte(b'S');
                        wire.send().await?;
                        let stream = acceptor.accept(wire.into_stream()?).await?;
                        wire = Wire::new(Box::new(stream));
                        is_encrypted = true;
                    }
                    _ => {
                        wire.put_byte(b'N');
                        wire.send().await?;
                    }
                },
                // As PostgreSQL has it: no answer, whether there was something to stop or not.
                Hello::Cancel { pid, key } => {
                    self.running.cancel(pid, key);
                    return Ok(None);
                }
                Hello::Startup(startup) => {
                    if self.tls.is_some() && !is_encrypted {
                        let why = "this server takes encrypted connections alone (sslmode=require)";
                        return refuse(wire, Fault::fatal("28000", why)).await;
                    }
                    return self.admit(wire, startup).await;
                }
            }
        }
        Err(WireError::Malformed(
            "there is no end of questions".to_owned(),
        ))
    }

    async fn admit(
        &self,
        mut wire: Wire,
        startup: Startup,
    ) -> Result<Option<(Wire, Place)>, WireError> {
        if startup.protocol_number_minor > 0 {
            let known = i32::from(3_u16) << 16;
            wire.put(Out::NegotiateProtocolVersion(
                NegotiateProtocolVersion::new(known, Vec::new()),
            ))?;
        }
        let said = |name: &str| startup.parameters.get(name).cloned().unwrap_or_default();
        let name = said("user");
        if name.is_empty() {
            return refuse(wire, Fault::fatal("28000", "say as which user you come")).await;
        }
        if let Some(users) = &self.users
            && let Err(fault) = prove(&mut wire, users, &name).await?
        {
            return refuse(wire, fault).await;
        }
        let Some(place) = self.running.enter() else {
            return refuse(wire, Fault::fatal("58000", "no randomness could be had")).await;
        };
        wire.put(Out::Authentication(Authentication::Ok))?;
        let application = said("application_name");
        for (setting, value) in [
            ("server_version", super::SERVER_VERSION),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
            ("default_transaction_read_only", "on"),
            ("in_hot_standby", "off"),
            ("is_superuser", "off"),
            ("session_authorization", name.as_str()),
            ("application_name", application.as_str()),
        ] {
            let status = ParameterStatus::new(setting.to_owned(), value.to_owned());
            wire.put(Out::ParameterStatus(status))?;
        }
        let data = BackendKeyData::new(place.pid, SecretKey::I32(place.key));
        wire.put(Out::BackendKeyData(data))?;
        Ok(Some((wire, place)))
    }
}

async fn refuse<T>(mut wire: Wire, fault: Fault) -> Result<Option<T>, WireError> {
    wire.put(fault.message())?;
    wire.close().await;
    Ok(None)
}

/// Has a client prove that it knows the password of `name`.
async fn prove(wire: &mut Wire, users: &Users, name: &str) -> Result<Result<(), Fault>, WireError> {
    // One sentence for a wrong name, a wrong password and a wrong message.
    let wrong = || {
        let why = format!("password authentication failed for user \"{name}\"");
        Ok(Err(Fault::fatal("28P01", why)))
    };
    let methods = vec![MECHANISM.to_owned()];
    wire.put(Out::Authentication(Authentication::SASL(methods)))?;
    wire.send().await?;
    let Some(first) = first_message(&answer(wire).await?).map(<[u8]>::to_vec) else {
        return wrong();
    };
    let Some(exchange) = users.begin(name, &first) else {
        return wrong();
    };
    let said = exchange.answer.clone().into_bytes();
    wire.put(Out::Authentication(Authentication::SASLContinue(
        said.into(),
    )))?;
    wire.send().await?;
    let Some(last) = exchange.finish(&answer(wire).await?) else {
        return wrong();
    };
    wire.put(Out::Authentication(Authentication::SASLFinal(
        last.into_bytes().into(),
    )))?;
    Ok(Ok(()))
}

async fn answer(wire: &mut Wire) -> Result<Vec<u8>, WireError> {
    match wire.message(HELLO_BYTES_MAX).await? {
        In::PasswordMessageFamily(PasswordMessageFamily::Raw(body)) => Ok(body.to_vec()),
        _ => Err(WireError::Malformed(
            "something came that is no password".to_owned(),
        )),
    }
}

/// The mechanism's name, a length, and as many bytes.
fn first_message(body: &[u8]) -> Option<&[u8]> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let (length, data) = body[end + 1..].split_at_checked(4)?;
    let length = i32::from_be_bytes(length.try_into().ok()?);
    let is_ours = body[..end] == *MECHANISM.as_bytes();
    (is_ours && usize::try_from(length).ok() == Some(data.len())).then_some(data)
}
