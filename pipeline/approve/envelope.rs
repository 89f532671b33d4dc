//! Owns the DSSE envelope: its encoding before signing and its one byte form.
//!
//! Format: DSSE v1.0.2, `PAE = "DSSEv1" SP len(type) SP type SP len(body) SP body`. It does not know
//! what the payload says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{ApproveError, PipelineKey};

/// The only payload type that is signed or accepted.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope larger than this is refused unread.
pub(super) const ENVELOPE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A DSSE envelope with exactly the fields of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    pub payload: String,
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature: who signed, and the signature over the pre-authentication encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    pub keyid: String,
    pub sig: String,
}

/// The bytes that are signed.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

impl Envelope {
    /// Signs a payload with the pipeline's key.
    pub fn sign(payload: &[u8], key: &PipelineKey) -> Result<Self, ApproveError> {
        let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, payload))?;
        Ok(Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key.verifying_key().fingerprint(),
                sig: STANDARD.encode(signature),
            }],
        })
    }

    /// The one byte form of an envelope: keys in the order of the specification, one final newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ApproveError> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|error| ApproveError::Sign(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        // The example of the DSSE protocol text.
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            bytes,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
