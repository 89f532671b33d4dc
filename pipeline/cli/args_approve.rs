//! Owns the command line's shape where people decide: approve and its kin, decisions, export,
//! evidence, verify.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::ConfigArg;
use crate::model::time::parse_ms;

/// A decision on recommendations of a manifest. Needs no lake and no network.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// Recommendations: id, a unique beginning of it, or the finding's handle
    #[arg(value_name = "REC")]
    pub recommendations: Vec<String>,
    /// All recommendations of the manifest
    #[arg(long, conflicts_with = "recommendations")]
    pub all: bool,
    /// The manifest: a file, or the URL of an object (`s3://…/manifest.dsse.json`)
    #[arg(long, value_name = "FILE")]
    pub manifest: String,
    /// The pipeline's public key, which signed the manifest
    #[arg(long, value_name = "FILE", env = "IDLEPROOF_PIPELINE_KEY")]
    pub pipeline_key: PathBuf,
    /// Your key: a private key, or a public one whose private half the agent holds. Without it the
    /// decision is written for `ssh-keygen -Y sign`
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Show exactly what is signed; on a terminal, ask before signing
    #[arg(long)]
    pub review: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// From when on the decision counts no more
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub expires: Option<i64>,
    /// Where the two files go; the inbox, if you reach it
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Not to be exported before
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub not_before: Option<i64>,
    /// How old the cluster's snapshot may be when it is exported
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(i64).range(1..))]
    pub snapshot_max_age: Option<i64>,
    /// Alone, for a short time, shown in every report; needs --reason
    #[arg(long, requires = "reason")]
    pub break_glass: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeferArgs {
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: i64,
}

/// Agreement to a changed policy or list of signers, under the old ones.
#[derive(Debug, Args)]
pub(super) struct ApprovePolicyArgs {
    /// The new policy
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The list of signers that goes with it
    #[arg(long, value_name = "FILE")]
    pub allowed_signers: PathBuf,
    /// Your key, as for `approve`
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Where the two files go
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct DecisionsArgs {
    #[command(subcommand)]
    pub what: DecisionsWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum DecisionsWhat {
    /// Verify and log what lies in the inbox; `run` does so too
    Import(ConfigArg),
    /// Where each recommendation of the newest manifest stands, and what it still needs
    List(ConfigArg),
    /// What became of what was exported: applied, reverted, overtaken; predicted and realised savings
    Outcomes(ConfigArg),
    /// Agree to a changed policy or list of signers
    ApprovePolicy(ApprovePolicyArgs),
    /// The proof that a decision or manifest stands in the log
    Prove {
        /// The file: `decision….json` or `manifest.dsse.json`
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArg,
    },
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(subcommand)]
    pub what: VerifyWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum VerifyWhat {
    /// A run's manifest, and the files beside it that it names
    Manifest {
        /// The manifest, `manifest.dsse.json`
        file: PathBuf,
        /// The pipeline's public key (OpenSSH, Ed25519)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Also that it stands in the log: `manifest.tlog-proof`
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// A decision: signature, person, manifest and digests, and its place in the log
    Decision {
        /// The decision; its signature is the same name with `.sig`
        file: PathBuf,
        /// Who can sign
        #[arg(long, value_name = "FILE")]
        allowed_signers: PathBuf,
        /// Keys that count no more
        #[arg(long, value_name = "FILE")]
        revoked_keys: Option<PathBuf>,
        /// The manifest that it names
        #[arg(long, value_name = "FILE", requires = "key")]
        manifest: Option<PathBuf>,
        /// The pipeline's public key
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The proof that it stands in the log
        #[arg(long, value_name = "FILE", requires = "key")]
        proof: Option<PathBuf>,
    },
    /// An archive of `evidence pack`: signatures, log, digests, and the SQL run again to equal bytes
    Evidence {
        /// The archive
        file: PathBuf,
        /// The pipeline's public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Who can sign, to hold its decisions to
        #[arg(long, value_name = "FILE")]
        allowed_signers: Option<PathBuf>,
    },
    /// The audit log: every entry, hash, checkpoint and blob
    Log {
        /// The folder or bucket of the log, `<lake>/log`
        place: String,
        /// The pipeline's public keys, also former ones
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// Checkpoints kept elsewhere that the log must contain: manifests, proofs or notes
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
        /// A witness whose cosignature one of the anchors must carry: `NAME=KEY.pub`
        #[arg(long, value_name = "NAME=FILE")]
        witness: Vec<String>,
        /// Be a witness: where all holds, print the newest checkpoint with this key's cosignature
        #[arg(long, value_name = "NAME=FILE")]
        cosign: Option<String>,
    },
}

fn parse_time(text: &str) -> Result<i64, String> {
    parse_ms(text).ok_or_else(|| {
        "give a day or a time, as in `2026-12-01` or `2026-12-01T08:00:00Z`".to_owned()
    })
}
