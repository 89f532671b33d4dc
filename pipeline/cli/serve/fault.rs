//! Owns how a client is told that something went wrong: a severity, a SQLSTATE, a sentence.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::ErrorResponse;

use crate::cli::engine;
use crate::cli::error::CliError;
use crate::lake::LakeError;
use crate::model::bounds::TooInvolved;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    severity: &'static str,
    pub(super) code: &'static str,
    message: String,
}

/// A sentence that is longer helps nobody.
const MESSAGE_CHARS_MAX: usize = 4_000;

impl Fault {
    pub(super) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "ERROR",
            code,
            message: message.into(),
        }
    }

    /// One that ends the connection.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "FATAL",
            ..Self::error(code, message)
        }
    }

    pub(super) fn read_only(what: &str) -> Self {
        Self::error(
            "25006",
            format!("{what} is not possible: what idleproof serves is read only"),
        )
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.severity == "FATAL"
    }

    pub(super) fn message(&self) -> PgWireBackendMessage {
        let text = self.message.replace('\0', "\u{fffd}");
        let text = text.chars().take(MESSAGE_CHARS_MAX).collect();
        PgWireBackendMessage::ErrorResponse(ErrorResponse::new(vec![
            (b'S', self.severity.to_owned()),
            (b'V', self.severity.to_owned()),
            (b'C', self.code.to_owned()),
            (b'M', text),
        ]))
    }
}

impl From<TooInvolved> for Fault {
    fn from(why: TooInvolved) -> Self {
        Self::error("54001", why.to_string())
    }
}

impl From<LakeError> for Fault {
    fn from(error: LakeError) -> Self {
        match &error {
            LakeError::Sql { cause, .. } => Self::from(&**cause),
            _ => Self::error("58000", error.to_string()),
        }
    }
}

impl From<CliError> for Fault {
    fn from(error: CliError) -> Self {
        match error {
            CliError::Lake(error) => Self::from(error),
            other => Self::error("58000", other.to_string()),
        }
    }
}

impl From<&DataFusionError> for Fault {
    fn from(error: &DataFusionError) -> Self {
        let text = engine::told(error);
        let code = match error.find_root() {
            DataFusionError::SQL(..) => "42601",
            DataFusionError::SchemaError(cause, _) => match **cause {
                SchemaError::FieldNotFound { .. } => "42703",
                SchemaError::AmbiguousReference { .. } => "42702",
                _ => "42000",
            },
            DataFusionError::Plan(why) if why.contains("not found") => "42P01",
            DataFusionError::Plan(why)
                if ["DDL", "DML", "Statement"]
                    .iter()
                    .any(|word| why.starts_with(word)) =>
            {
                return Self::read_only("this statement");
            }
            DataFusionError::Plan(_) => "42000",
            DataFusionError::NotImplemented(_) => "0A000",
            DataFusionError::ResourcesExhausted(_) | DataFusionError::ExecutionJoin(_) => "53200",
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => "22000",
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => "58030",
            _ => "XX000",
        };
        Self::error(code, text)
    }
}
