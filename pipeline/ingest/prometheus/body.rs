//! Owns the way of an answer's bytes through one pair of hands: unpacked if they are packed, in
//! bounded pieces, and with an end that is seen. Used by export and by range queries; remote read
//! has frames of its own.

use std::io::Write as _;

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use reqwest::{Response, Version};

use super::SourceError;
use super::http::{Http, chain};

/// Packed bytes that are unpacked at once: gzip makes at most about a thousand of one.
const PACKED_PIECE_BYTES: usize = 4 << 10;

/// Hands the bytes of an answer to `take`, piece by piece. An answer that breaks off, or whose end
/// cannot be told from a break, is an error.
pub(super) async fn drain(
    http: &Http,
    mut response: Response,
    take: &mut (dyn FnMut(&[u8]) -> Result<(), SourceError> + Send),
) -> Result<(), SourceError> {
    let header = |name| {
        let value = response.headers().get(name);
        let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
        text.to_ascii_lowercase()
    };
    // A body that ends with its connection cannot be told from one that was cut.
    let framed = response.version() >= Version::HTTP_2
        || header(&TRANSFER_ENCODING).contains("chunked")
        || response.headers().contains_key(CONTENT_LENGTH);
    if !framed {
        return Err(
            http.failed("the answer has neither a length nor chunks, so its end could not be seen")
        );
    }
    let mut unpack = match header(&CONTENT_ENCODING).as_str() {
        "" | "identity" => None,
        "gzip" => Some(MultiGzDecoder::new(Vec::new())),
        other => {
            return Err(http.failed(format!("the answer is packed by {other:?}, not gzip")));
        }
    };
    let malformed = |error| http.failed(format!("the answer cannot be unpacked ({error})"));
    loop {
        let piece = response.chunk().await;
        let piece = piece
            .map_err(|error| http.failed(format!("the answer broke off: {}", chain(&error))))?;
        let Some(piece) = piece else { break };
        let Some(unpack) = &mut unpack else {
            take(&piece)?;
            continue;
        };
        for packed in piece.chunks(PACKED_PIECE_BYTES) {
            unpack.write_all(packed).map_err(malformed)?;
            take(unpack.get_ref())?;
            unpack.get_mut().clear();
        }
    }
    if let Some(mut unpack) = unpack {
        // Without the trailer of gzip the answer was cut.
        unpack.try_finish().map_err(malformed)?;
        take(unpack.get_ref())?;
    }
    Ok(())
}
