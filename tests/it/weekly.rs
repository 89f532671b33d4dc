//! `report --week last` as the weekly job runs it: on the first Monday after an install, with a part of the
//! week, and with none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::sample::{configuration, idleproof, run, text};

const DAY_MS: i64 = 86_400_000;

/// A lake whose one publication has another window, and the configuration that names it.
fn shifted(folder: &Path, window: Option<(i64, i64)>) -> PathBuf {
    let lake = folder.join("lake");
    fs::create_dir(&lake).unwrap();
    crate::tsdb::copy(&run().folder.path().join("lake"), &lake);
    let config = folder.join("idleproof.toml");
    fs::write(&config, configuration(folder)).unwrap();
    let publication = lake.join("publications/00000000000000000001.json");
    match window {
        None => fs::remove_dir_all(lake.join("publications")).unwrap(),
        Some((start_ms, end_ms)) => {
            let text = fs::read_to_string(&publication).unwrap();
            let mut value: Value = serde_json::from_str(&text).unwrap();
            value["window_start_ms"] = start_ms.into();
            value["window_end_ms"] = end_ms.into();
            fs::write(&publication, value.to_string()).unwrap();
        }
    }
    config
}

/// This week's Monday.
fn monday_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let days = now.as_millis() as i64 / DAY_MS;
    ((days + 3) / 7 * 7 - 3) * DAY_MS
}

fn weekly(config: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let config = config.to_string_lossy();
    let args = ["report", "--config", &config, "--week", "last"];
    let output = idleproof(&[&args, more].concat());
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn written(folder: &Path) -> usize {
    fs::read_dir(folder.join("report")).map_or(0, |entries| {
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    })
}

#[test]
fn the_weekly_job_before_its_first_week_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let config = shifted(folder.path(), None);
    let (code, out, said) = weekly(&config, &["--to-output"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    assert!(
        said.contains("no report: the lake has no publication yet"),
        "{said}"
    );
    assert_eq!(weekly(&config, &["-o", "json"]).0, Some(2));

    let folder = tempfile::tempdir().unwrap();
    let from = 1_577_836_800_000; // 2020-01-01
    let config = shifted(folder.path(), Some((from, from + 14 * DAY_MS)));
    let (code, out, said) = weekly(&config, &["--to-output"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    for part in [
        "no report: ",
        "2020-01-01 to 2020-01-15",
        "idleproof run --no-ingest --to 20",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(written(folder.path()), 0);
    // Who asks by hand is told by the exit code too.
    let (code, _, said) = weekly(&config, &["-o", "json"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("2020-01-01 to 2020-01-15"), "{said}");
}

#[test]
fn a_part_of_the_week_is_reported_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let monday = monday_ms();
    // The first run came on Wednesday and saw four days, two of them of the last week.
    let config = shifted(
        folder.path(),
        Some((monday - 2 * DAY_MS, monday + 2 * DAY_MS)),
    );
    let (code, out, said) = weekly(&config, &["--to-output"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("with 2 of its 7 days"), "{said}");
    let page = Path::new(out.trim());
    assert!(page.exists(), "{out}");
    // Whoever reads the page alone is told as well, and so is a program.
    for name in ["report.html", "report.md", "report.json"] {
        let told = fs::read_to_string(page.with_file_name(name)).unwrap();
        assert!(told.contains("Not a whole week"), "{name}");
        assert!(told.contains("with 2 of its 7 days"), "{name}");
    }
    let (code, out, said) = weekly(&config, &["-o", "digest"]);
    assert!(
        code == Some(0) && out.contains("Not a whole week"),
        "{said}"
    );
    // A window that ends within the week is that week's, and not whole.
    let folder = tempfile::tempdir().unwrap();
    let config = shifted(folder.path(), Some((monday - 10 * DAY_MS, monday - DAY_MS)));
    let (code, _, said) = weekly(&config, &["--to-output"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("with 6 of its 7 days"), "{said}");
}
