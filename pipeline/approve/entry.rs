//! Owns the entries of the log: one canonical JSON line each, numbered and timed.
//!
//! The log's order is what holds. An entry's time is the writer's clock, but never earlier than the
//! entry before it, so a clock that is set back revives nothing; where it was behind, the entry says
//! what it showed. Called by the log and all who read it.

use serde_json::{Value, json};

use super::ApproveError;
use super::strict::parse_strict;
use crate::model::canonical::to_canonical;
use crate::model::time::{format_ms, parse_ms};

/// tlog-tiles gives a length in sixteen bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// What an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A run and the publication that it made.
    Run,
    /// A signed manifest, by the digest of its file.
    Manifest,
    /// A person's decision whose signature held and that may count.
    Decision,
    /// Something that came in and was refused, and why.
    Refusal,
    /// Patches that left.
    Export,
    /// The policy and signers that hold from here on.
    Authority,
    /// The pipeline's key that signs from here on.
    Key,
    /// What became of an exported change.
    Outcome,
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Run, "run"),
    (Kind::Manifest, "manifest"),
    (Kind::Decision, "decision"),
    (Kind::Refusal, "refusal"),
    (Kind::Export, "export"),
    (Kind::Authority, "authority"),
    (Kind::Key, "key"),
    (Kind::Outcome, "outcome"),
];

impl Kind {
    #[must_use]
    pub fn word(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(_, other)| *other == word)
            .map(|(kind, _)| *kind)
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub index: u64,
    pub kind: Kind,
    pub time_ms: i64,
    pub body: Value,
}

impl Entry {
    /// The bytes that are hashed. `clock_ms` is what the writer's clock showed.
    pub(super) fn to_bytes(&self, clock_ms: i64) -> Result<Vec<u8>, ApproveError> {
        let mut value = json!({
            "index": self.index,
            "kind": self.kind.word(),
            "time": format_ms(self.time_ms),
            "body": self.body,
        });
        if clock_ms != self.time_ms {
            value["clock"] = format_ms(clock_ms).into();
        }
        let bytes = to_canonical(&value)?.into_bytes();
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(ApproveError::Invalid {
                what: format!("an entry of kind {} for the log", self.kind.word()),
                why: format!("it is longer than {ENTRY_BYTES_MAX} bytes"),
            });
        }
        Ok(bytes)
    }

    /// Reads the bytes of an entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = parse_strict(bytes, ENTRY_BYTES_MAX)?;
        if to_canonical(&value).ok().map(String::into_bytes).as_deref() != Some(bytes) {
            return Err("it is not canonical JSON".to_owned());
        }
        let kind = value["kind"]
            .as_str()
            .and_then(Kind::parse)
            .ok_or("its kind is not known")?;
        Ok(Self {
            index: value["index"].as_u64().ok_or("it has no index")?,
            kind,
            time_ms: value["time"]
                .as_str()
                .and_then(parse_ms)
                .ok_or("it has no time")?,
            body: value["body"].clone(),
        })
    }

    /// A text of the body; empty where there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }

    /// What may stand in a log once only; `None` for what may repeat.
    pub(super) fn once(&self) -> Option<String> {
        let word = self.kind.word();
        match self.kind {
            Kind::Decision => Some(format!(
                "{word} {} {}",
                self.text("decision_sha256"),
                self.text("principal")
            )),
            Kind::Manifest => Some(format!("{word} {}", self.text("manifest_sha256"))),
            Kind::Refusal => Some(format!(
                "{word} {} {} {}",
                self.text("decision_sha256"),
                self.text("signature_sha256"),
                self.text("why")
            )),
            Kind::Export => Some(format!("{word} {}", self.text("plan_sha256"))),
            Kind::Run => Some(format!("{word} {}", self.text("run_id"))),
            Kind::Outcome => Some(format!("{word} {}", self.text("outcome_sha256"))),
            Kind::Authority | Kind::Key => None,
        }
    }

    /// Digests of blobs that an entry rests on.
    pub(super) fn blobs(&self) -> Vec<&str> {
        let names: &[&str] = match self.kind {
            Kind::Decision => &["decision_sha256", "signature_sha256"],
            Kind::Manifest => &["manifest_sha256"],
            Kind::Authority => &["policy_sha256", "allowed_signers_sha256"],
            Kind::Export => &["plan_sha256"],
            Kind::Outcome => &["outcome_sha256"],
            _ => &[],
        };
        names.iter().map(|name| self.text(name)).collect()
    }
}
