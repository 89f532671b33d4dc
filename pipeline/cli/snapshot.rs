//! Owns `snapshot`: the lists of a running cluster as files, and the words that say what one found.

use super::args::SnapshotArgs;
use super::error::CliError;
use super::say;
use crate::exit::Exit;
use crate::ingest::{ClusterApi, ClusterOptions, IngestError, KindCounts, Snapshot};

pub(super) async fn snapshot(args: &SnapshotArgs, now_ms: i64) -> Result<Exit, CliError> {
    let api = ClusterApi::connect(ClusterOptions {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        proxy_url: args.proxy_url.clone(),
        qps: args.qps,
        ..ClusterOptions::default()
    })
    .await
    .map_err(IngestError::from)?;
    let snapshot = Snapshot::take(&api).await.map_err(IngestError::from)?;
    let folder = snapshot
        .write(&args.out, now_ms)
        .map_err(IngestError::from)?;
    summarise(&folder.display().to_string(), &snapshot.counts());
    Ok(Exit::Done)
}

/// Says what a snapshot found, and of each kind that could not be read why.
pub(super) fn summarise(what: &str, found: &KindCounts) {
    say(&format!(
        "{what}: {} kinds listed with {} objects, {} not installed, {} forbidden, {} failed",
        found.kinds,
        found.objects,
        found.absent,
        found.forbidden.len(),
        found.failed.len()
    ));
    if !found.forbidden.is_empty() {
        say(&format!(
            "{what}: warning: the account may not read {}; nothing is known of them (docs/sources.md \
             has the ClusterRole)",
            found.forbidden.join(", ")
        ));
    }
    for (kind, reason) in &found.failed {
        say(&format!(
            "{what}: warning: {kind} could not be read: {reason}"
        ));
    }
}
