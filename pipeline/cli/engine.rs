//! Owns how a query ends that the engine cannot finish: in one sentence that says what to do, and without a
//! trace of the engine's threads on stderr. Called by `sql`, its shell and `serve`.

use std::panic::AssertUnwindSafe;
use std::sync::Once;

use datafusion::error::DataFusionError;
use futures::FutureExt as _;

use crate::lake::SessionLimits;

/// What a person can do about a query that takes more memory than it may.
const ADVICE: &str = "filter or group before joining, join on equal keys, or raise --memory-mib (sorts and \
                      groups go to disk, joins do not)";

/// Keeps what the engine's threads panic over off stderr: whoever asked is told, and that is all it is worth.
/// A panic of our own is printed as before.
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            match info.location().filter(|place| is_engines(place.file())) {
                Some(place) => tracing::debug!("the engine panicked at {place}: {info}"),
                None => before(info),
            }
        }));
    });
}

/// Whether a source file is of the query engine.
fn is_engines(file: &str) -> bool {
    let file = file.replace('\\', "/");
    let mut folders = file.split('/');
    folders.any(|folder| {
        ["datafusion-", "arrow-", "parquet-"]
            .iter()
            .any(|of| folder.starts_with(of))
    })
}

/// Does work of the engine's; its panic is an error. It panics where a join has no memory left for what others
/// wait for.
pub(super) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_| {
        format!("the query failed inside the engine, most likely for want of memory: {ADVICE}")
    })
}

/// What is told of an error while rows are made.
pub(super) fn told(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            format!("the query takes more memory than it may: {ADVICE}")
        }
        // A panic that the engine caught itself.
        DataFusionError::ExecutionJoin(_) => {
            format!("the query failed inside the engine, most likely for want of memory: {ADVICE}")
        }
        _ => error.strip_backtrace(),
    }
}

/// The memory that queries may take, where it is given.
pub(super) fn limits(memory_mib: Option<u32>) -> SessionLimits {
    let default = SessionLimits::default();
    SessionLimits {
        memory_bytes: memory_mib.map_or(default.memory_bytes, |mib| (mib as usize) << 20),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_files_are_told_from_ours() {
        assert!(is_engines(
            "/x/registry/src/datafusion-physical-plan-55.2.0/src/repartition/mod.rs"
        ));
        assert!(is_engines("C:\\x\\arrow-select-59.0.0\\src\\lib.rs"));
        for ours in ["pipeline/cli/engine.rs", "/x/tokio-1.0/src/lib.rs", ""] {
            assert!(!is_engines(ours), "{ours}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_says_what_to_do() {
        let done = guarded(async { 7 }).await;
        assert_eq!(done, Ok(7));
        let failed = guarded(async { assert!(std::hint::black_box(false), "gone") }).await;
        assert!(failed.unwrap_err().contains("--memory-mib"));
    }
}
