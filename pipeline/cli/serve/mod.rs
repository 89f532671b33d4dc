//! Owns `serve`: the views for clients of PostgreSQL. A listener on loopback, or elsewhere behind TLS and
//! passwords; every connection reads one publication and can change nothing.
//!
//! `login` lets clients in, `talk` answers them, `query` runs what they ask; `wire` has the bytes.

mod catalog;
mod fault;
mod login;
mod params;
mod query;
mod shown;
mod statement;
mod talk;
mod tls;
mod types;
mod users;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::args::ConfigArg;
use super::error::CliError;
use super::{data, engine, say};
use crate::config::Config;
use crate::exit::Exit;
use fault::Fault;
use login::{Door, LOGIN, Running};
use shown::Shelf;
use talk::{Patience, Talk};
use users::Users;

/// What clients choose their ways by: the protocol and the words of this version are understood.
const SERVER_VERSION: &str = "15.0";

/// Connections that have not logged in, beside those that have; more are dropped unheard.
const STRANGERS_MAX: usize = 64;

/// How long connections have to end when the server does.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Where to listen; an address that is not loopback needs --user-file, --tls-cert and --tls-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5433")]
    pub listen: SocketAddr,
    /// The publication to serve; default: for each connection the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
    /// Who may connect: `name:password` or `name:SCRAM-SHA-256$…` a line
    #[arg(long, value_name = "FILE")]
    pub user_file: Option<PathBuf>,
    /// The certificate and those that it rests on, PEM; with it, clients must encrypt
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_connections: u16,
    /// Seconds for which a query may compute
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub statement_timeout: u32,
    /// The memory that all queries together may take; sorts and groups beyond it go to disk
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory_mib: Option<u32>,
    /// Seconds after which a client that asks nothing is let go
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_timeout: u32,
}

/// What all connections share.
struct Server {
    door: Door,
    shelf: Shelf,
    patience: Patience,
    clients: Arc<Semaphore>,
    ending: watch::Receiver<bool>,
}

pub(super) async fn serve(args: &ServeArgs) -> Result<Exit, CliError> {
    if !args.listen.ip().is_loopback() && (args.user_file.is_none() || args.tls_cert.is_none()) {
        return Err(CliError::Usage(format!(
            "`{}` can be reached by others: give --user-file, --tls-cert and --tls-key, or listen on \
             loopback (the default)",
            args.listen
        )));
    }
    let users = args.user_file.as_deref().map(Users::load).transpose()?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let (number, url) = (publication.number, lake.url().to_string());
    let shelf = Shelf::of(
        lake,
        &publication,
        args.as_of,
        engine::limits(args.memory_mib),
    )
    .await?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| CliError::Usage(format!("cannot listen on `{}`: {error}", args.listen)))?;
    let address = listener.local_addr().unwrap_or(args.listen);
    wire::quiet_decoding();
    engine::quiet();
    let (end, ending) = watch::channel(false);
    let server = Arc::new(Server {
        door: Door {
            users,
            tls,
            running: Arc::new(Running::default()),
        },
        shelf,
        patience: Patience {
            statement: Duration::from_secs(args.statement_timeout.into()),
            idle: Duration::from_secs(args.idle_timeout.into()),
        },
        clients: Arc::new(Semaphore::new(args.max_connections.into())),
        ending,
    });
    let pinned = if args.as_of.is_some() {
        ""
    } else {
        " and what comes after it"
    };
    say(&format!(
        "serving publication {number}{pinned} of {url} on {address}; read only"
    ));
    accept(&listener, &server, usize::from(args.max_connections), end).await?;
    Ok(Exit::Done)
}

/// Takes connections until the process is asked to end, and then lets them end too.
async fn accept(
    listener: &TcpListener,
    server: &Arc<Server>,
    clients: usize,
    end: watch::Sender<bool>,
) -> Result<(), CliError> {
    let sockets = Arc::new(Semaphore::new(clients + STRANGERS_MAX));
    let mut connections = JoinSet::new();
    let stopped = stop_signal()?;
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((tcp, _)) => {
                // Past this, not even a refusal is owed.
                if let Ok(permit) = Arc::clone(&sockets).try_acquire_owned() {
                    let server = Arc::clone(server);
                    connections.spawn(async move {
                        server.host(tcp).await;
                        drop(permit);
                    });
                }
            }
            // No descriptors left, or a client that went while it came: neither ends the server.
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    say("ending: connections are told");
    let _ = end.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(FAREWELL, all).await.is_err() {
        say("warning: some connections did not end in time and are cut");
    }
    Ok(())
}

/// Completes at Ctrl-C or, where there is one, SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>, CliError> {
    let failed = |error| CliError::Unexpected(format!("cannot wait for signals: {error}"));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let _ = failed;
        Ok(async {
            let _ = tokio::signal::ctrl_c().await;
        })
    }
}

impl Server {
    /// One connection from its first byte to its last.
    async fn host(&self, tcp: TcpStream) {
        let mut ending = self.ending.clone();
        let entered = tokio::select! {
            () = query::ended(&mut ending) => return,
            entered = timeout(LOGIN, self.door.enter(tcp)) => entered,
        };
        let (mut wire, place) = match entered {
            Ok(Ok(Some(entered))) => entered,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!("a client did not come in: {error}");
                return;
            }
        };
        let refused = match Arc::clone(&self.clients).try_acquire_owned() {
            Err(_) => Fault::fatal(
                "53300",
                "there are as many clients as --max-connections allows",
            ),
            Ok(_permit) => match self.shelf.now().await {
                Ok(shown) => {
                    let cancelled = place.cancelled.clone();
                    let ending = self.ending.clone();
                    return Talk::new(wire, shown, self.patience, cancelled, ending)
                        .hold()
                        .await;
                }
                Err(error) => {
                    say(&format!("warning: a client could not be served: {error}"));
                    Fault::fatal("58000", "the lake cannot be read now: try again later")
                }
            },
        };
        let _ = wire.put(refused.message());
        wire.close().await;
    }
}
