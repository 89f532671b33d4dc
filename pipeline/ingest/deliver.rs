//! Owns the one thing that leaves: a JSON body posted to a webhook, with the client, proxy and
//! certificates of sources. What it says of a failure never holds the address, which is a secret.

use std::time::Duration;

use serde_json::Value;

use super::prometheus::{RemoteOptions, SourceError, pause, post};

const ATTEMPTS: u32 = 3;

/// Posts a body; tries again where that may help.
pub async fn post_json(options: RemoteOptions, body: &Value) -> Result<(), String> {
    let bytes = body.to_string().into_bytes();
    let (backoff, ceiling) = (options.backoff, options.backoff_ceiling);
    let options = RemoteOptions {
        attempts: 1,
        ..options
    };
    let mut attempt = 1;
    loop {
        match post(options.clone(), bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(SourceError::Refused { what, .. }) => return Err(what),
            Err(error) if attempt >= ATTEMPTS => return Err(what_of(&error)),
            Err(_) => {}
        }
        let wait: Duration = pause(attempt, backoff, ceiling, None);
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// What went wrong, without where.
fn what_of(error: &SourceError) -> String {
    match error {
        SourceError::Remote { what, .. }
        | SourceError::Refused { what, .. }
        | SourceError::Limited { what, .. }
        | SourceError::Broken { what, .. } => what.clone(),
        _ => "it could not be reached".to_owned(),
    }
}
