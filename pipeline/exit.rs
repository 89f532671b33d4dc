//! Owns the documented exit codes: what a scheduler or a script may rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; degraded coverage is a warning, not a failure.
    Done = 0,
    /// Something idleproof did not foresee: a bug, or a machine that failed under it.
    Unexpected = 1,
    /// A wrong argument, an unknown configuration key, a file that is not what it should be.
    Usage = 2,
    /// `--fail-on findings` held.
    Findings = 3,
    /// A signature, digest or replay did not verify.
    Verification = 4,
    /// A source or the lake cannot be reached or read: trying again may help.
    Unavailable = 5,
    /// `--fail-on coverage` held.
    Coverage = 6,
    /// Another run held the lease for longer than `--lease-wait`.
    LeaseHeld = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
