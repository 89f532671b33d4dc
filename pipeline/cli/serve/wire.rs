//! Owns how bytes become messages of the PostgreSQL protocol and back: bounded before anything is
//! allocated, and a client that takes nothing is given up. What messages mean is `talk`'s.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use pgwire::messages::startup::Startup;
use pgwire::messages::{
    DecodeContext, Message as _, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// What comes before a client has said who it is.
pub(super) const HELLO_BYTES_MAX: usize = 10_000;
/// A statement with its parameters.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Rows are sent on when so much has gathered.
const SEND_BYTES: usize = 64 << 10;
/// A client that takes no byte for so long is gone.
const STALL: Duration = Duration::from_mins(1);

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// A stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why a connection ends without a word of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the client has gone")]
    Gone,
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a client opens with.
#[derive(Debug)]
pub(super) enum Hello {
    Tls,
    Gss,
    Cancel { pid: i32, key: i32 },
    Startup(Startup),
}

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    read: BytesMut,
    write: BytesMut,
    context: DecodeContext,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        let mut context = DecodeContext::default();
        context.protocol_version = ProtocolVersion::PROTOCOL3_0;
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        Self {
            stream,
            read: BytesMut::new(),
            write: BytesMut::new(),
            context,
        }
    }

    /// The stream under it; an error where the client sent more than it was asked for, which could be
    /// somebody between us.
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, WireError> {
        if self.read.is_empty() {
            Ok(self.stream)
        } else {
            Err(malformed("bytes came before encryption"))
        }
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), WireError> {
        while self.read.len() < bytes {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(WireError::Gone);
            }
        }
        Ok(())
    }

    pub(super) async fn hello(&mut self) -> Result<Hello, WireError> {
        self.fill(8).await?;
        let length = (&self.read[..4]).get_i32();
        let code = (&self.read[4..8]).get_i32();
        let length = bounded(length, 8, HELLO_BYTES_MAX)?;
        self.fill(length).await?;
        let mut message = self.read.split_to(length);
        match code {
            SSL_REQUEST => Ok(Hello::Tls),
            GSS_REQUEST => Ok(Hello::Gss),
            CANCEL_REQUEST if length == 16 => {
                message.advance(8);
                Ok(Hello::Cancel {
                    pid: message.get_i32(),
                    key: message.get_i32(),
                })
            }
            _ => {
                let context = &self.context;
                decode(|| Startup::decode(&mut message, context)).map(Hello::Startup)
            }
        }
    }

    /// The next message, at most as long as `limit`.
    pub(super) async fn message(
        &mut self,
        limit: usize,
    ) -> Result<PgWireFrontendMessage, WireError> {
        self.fill(5).await?;
        let length = bounded((&self.read[1..5]).get_i32(), 4, limit)?;
        self.fill(length + 1).await?;
        let mut message = self.read.split_to(length + 1);
        // Before a login, nothing but a password is looked into.
        if limit == HELLO_BYTES_MAX && message[0] != b'p' {
            return Err(malformed("something came that is no password"));
        }
        let context = &self.context;
        if length == 4 && matches!(message[0], b'S' | b'H' | b'X' | b'c') {
            // The decoder wants to see the byte after a message that has no body; any other kind
            // without one is malformed.
            message.extend_from_slice(&[0]);
        }
        decode(|| PgWireFrontendMessage::decode(&mut message, context))
    }

    pub(super) fn put(&mut self, message: PgWireBackendMessage) -> Result<(), WireError> {
        let encoded = message.encode(&mut self.write);
        encoded.map_err(|error| malformed(&error.to_string()))
    }

    pub(super) fn put_byte(&mut self, byte: u8) {
        self.write.extend_from_slice(&[byte]);
    }

    /// Sends what has gathered where it is much.
    pub(super) async fn send_if_much(&mut self) -> Result<(), WireError> {
        if self.write.len() < SEND_BYTES {
            return Ok(());
        }
        self.send().await
    }

    pub(super) async fn send(&mut self) -> Result<(), WireError> {
        while !self.write.is_empty() {
            let written = timeout(STALL, self.stream.write_buf(&mut self.write));
            if written.await.map_err(|_| WireError::Gone)?? == 0 {
                return Err(WireError::Gone);
            }
        }
        timeout(STALL, self.stream.flush())
            .await
            .map_err(|_| WireError::Gone)??;
        Ok(())
    }

    /// Says goodbye, as far as the other side listens.
    pub(super) async fn close(mut self) {
        let _ = self.send().await;
        let _ = timeout(Duration::from_secs(2), self.stream.shutdown()).await;
    }
}

fn malformed(what: &str) -> WireError {
    WireError::Malformed(what.to_owned())
}

fn bounded(length: i32, least: usize, most: usize) -> Result<usize, WireError> {
    let length = usize::try_from(length).ok();
    length
        .filter(|length| (least..=most).contains(length))
        .ok_or_else(|| malformed("a message has an impossible length"))
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Lets the decoder, which reads past the end of a message that lies about its counts, end in an error.
fn decode<T>(
    body: impl FnOnce() -> Result<Option<T>, pgwire::error::PgWireError>,
) -> Result<T, WireError> {
    DECODING.set(true);
    let decoded = catch_unwind(AssertUnwindSafe(body));
    DECODING.set(false);
    match decoded {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) | Err(_) => Err(malformed("a message is not whole")),
        Ok(Err(error)) => Err(malformed(&error.to_string())),
    }
}

/// Keeps what a decoder panics over off the log: the client is told, and that is all it is worth.
pub(super) fn quiet_decoding() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !DECODING.get() {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(bytes: &[u8]) -> Wire {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(bytes).await.unwrap();
        Wire::new(Box::new(server))
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as i32 + 4).to_be_bytes();
        [&[kind], length.as_slice(), body].concat()
    }

    #[tokio::test]
    async fn messages_are_read_one_by_one() {
        let bytes = [
            message(b'Q', b"select 1\0"),
            message(b'S', b""),
            message(b'X', b""),
        ]
        .concat();
        let mut wire = of(&bytes).await;
        let mut next = async || wire.message(MESSAGE_BYTES_MAX).await.unwrap();
        assert!(matches!(next().await, PgWireFrontendMessage::Query(q) if q.query == "select 1"));
        assert!(matches!(next().await, PgWireFrontendMessage::Sync(_)));
        assert!(matches!(next().await, PgWireFrontendMessage::Terminate(_)));
    }

    #[tokio::test]
    async fn lengths_are_held_to_their_limits_before_anything_is_read() {
        for length in [i32::MAX, -1, 0, 3, MESSAGE_BYTES_MAX as i32 + 1] {
            let bytes = [b"Q".as_slice(), &length.to_be_bytes()].concat();
            let read = of(&bytes).await.message(MESSAGE_BYTES_MAX).await;
            assert!(matches!(read, Err(WireError::Malformed(_))), "{length}");
        }
        let mut hello = of(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(hello.hello().await, Err(WireError::Malformed(_))));
    }

    #[tokio::test]
    async fn bodies_that_lie_are_errors() {
        quiet_decoding();
        // Counts without what they count, and a parameter that is longer than the message.
        for (kind, body) in [
            (b'P', b"\0select 1\0\xff\xff".as_slice()),
            (b'B', b"\0\0\xff\xff"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            (b'E', b"\0"),
            (b'D', b""),
            (b'!', b"x"),
        ] {
            let mut wire = of(&message(kind, body)).await;
            let read = wire.message(MESSAGE_BYTES_MAX).await;
            assert!(
                matches!(read, Err(WireError::Malformed(_))),
                "{kind} {read:?}"
            );
        }
        let mut wire = of(&message(b'B', b"\0\0\0\0\0\0\0\0")).await;
        assert!(wire.message(HELLO_BYTES_MAX).await.is_err());
    }
}
