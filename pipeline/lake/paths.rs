//! Owns every object key of the lake: the only code that forms or parses one.
//!
//! ```text
//! lake.json                                     format marker, and the probe for put-if-absent
//! tables/<table>/_delta_log/…                   a Delta table
//! tables/<table>/date=…/source=…/w<from>-<to>-<content>.parquet      raw, one window
//! tables/<table>/date=…/source=…/c<from>-<to>-<content>.parquet      raw, several, compacted
//! tables/<table>/date=…/cluster=…/<content>.parquet                  derived
//! tables/<table>/run_id=…/cluster=…/<content>.parquet                by run
//! leases/<name>/<number>.json
//! publications/<number>.json
//! evidence/sha256/<aa>/<hex>
//! log/…                                         the audit log, see approve/log.rs
//! ```
//!
//! Data files are named by their content, so equal rows make equal names and nothing is ever
//! written over. Numbers are padded, so that listing sorts them.

use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;

use super::files::PartitionKey;
use super::schema::TableSpec;

pub(crate) const FORMAT_MARKER: &str = "lake.json";

/// `tables/<table>`, the root of a Delta table.
pub(crate) fn table_root(table: &str) -> String {
    format!("tables/{table}")
}

/// The folder of a lease's numbers.
pub(crate) fn lease_folder(name: &str) -> String {
    format!("leases/{}", segment(name))
}

pub(crate) fn lease(name: &str, number: u64) -> String {
    format!("{}/{number:020}.json", lease_folder(name))
}

pub(crate) const PUBLICATIONS: &str = "publications";

pub(crate) fn publication(number: u64) -> String {
    format!("{PUBLICATIONS}/{number:020}.json")
}

/// The number in the last segment of a lease's or publication's key.
pub(crate) fn number_of(key: &str) -> Option<u64> {
    let digits = key.rsplit('/').next()?.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The audit log: what lies below it is `approve`'s to name.
pub(crate) const AUDIT_LOG: &str = "log";

pub(crate) const EVIDENCE: &str = "evidence";

/// `None` unless `sha256` is 64 lower-case hexadecimal digits: it comes from outside.
pub(crate) fn evidence(sha256: &str) -> Option<String> {
    let is_digest = sha256.len() == 64
        && sha256
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_digest.then(|| format!("evidence/sha256/{}/{sha256}", &sha256[..2]))
}

/// Where a data file lies below its table's root.
pub(crate) fn data_file(
    spec: &TableSpec,
    partition: &PartitionKey,
    window: Option<TimeWindow>,
    content: &str,
) -> String {
    let [first, second] = spec.partition_columns();
    let window = window.map_or_else(String::new, |w| format!("w{}-{}-", w.start_ms, w.end_ms));
    format!(
        "{}={}/{}={}/{window}{content}.parquet",
        first.name,
        segment(&partition.first),
        second.name,
        segment(&partition.second),
    )
}

/// Where a data file of several windows lies; `span` reaches from the first to the last of them.
pub(crate) fn compacted_file(
    spec: &TableSpec,
    partition: &PartitionKey,
    span: TimeWindow,
    content: &str,
) -> String {
    let [first, second] = spec.partition_columns();
    format!(
        "{}={}/{}={}/c{}-{}-{content}.parquet",
        first.name,
        segment(&partition.first),
        second.name,
        segment(&partition.second),
        span.start_ms,
        span.end_ms,
    )
}

/// Whether a raw file's name says that it holds several windows.
pub(crate) fn is_compacted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with('c') && window_of(path).is_some()
}

/// The digest of the content in a data file's name; `None` for names that the lake does not give.
pub(crate) fn content_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
    let content = name.rsplit('-').next()?;
    let is_digest = content.len() >= 32 && content.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then_some(content)
}

/// The ingest window in a raw file's name; of a compacted one, the span of its windows.
pub(crate) fn window_of(path: &str) -> Option<TimeWindow> {
    let name = path.rsplit('/').next()?;
    let name = name.strip_prefix('w').or_else(|| name.strip_prefix('c'))?;
    let mut parts = name.splitn(3, '-');
    let start_ms = parts.next()?.parse().ok()?;
    let end_ms = parts.next()?.parse().ok()?;
    parts.next()?;
    Some(TimeWindow::new(start_ms, end_ms))
}

/// A value as one path segment. Delta and stores escape differently, so what would need escaping
/// is named by its digest: the true value stands in the log, never in the path.
pub(crate) fn segment(value: &str) -> String {
    let plain = !value.is_empty()
        && value.len() <= 128
        && !value.starts_with('.')
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if plain {
        value.to_owned()
    } else {
        format!("x-{}", &sha256_hex(value.as_bytes())[..24])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::schema;

    #[test]
    fn a_window_survives_its_file_name() {
        let spec = schema::table("gpu_samples").unwrap();
        let window = TimeWindow::new(1_793_491_200_000, 1_793_577_600_000);
        let key = PartitionKey::new("2026-11-01", "prom-a");
        let path = data_file(spec, &key, Some(window), "abc");
        assert_eq!(
            path,
            "date=2026-11-01/source=prom-a/w1793491200000-1793577600000-abc.parquet"
        );
        assert_eq!(window_of(&path), Some(window));
        assert_eq!(window_of("date=2026-11-01/cluster=a/abc.parquet"), None);
        let several = compacted_file(spec, &key, window, "abc");
        assert_eq!(window_of(&several), Some(window));
        assert!(is_compacted(&several) && !is_compacted(&path));
        assert!(!is_compacted("date=2026-11-01/cluster=a/c1bc.parquet"));
        let digest = "c".repeat(40);
        let named = data_file(spec, &key, Some(window), &digest);
        assert_eq!(content_of(&named), Some(digest.as_str()));
        assert_eq!(content_of("date=2026-11-01/source=a/part-0.parquet"), None);
    }

    #[test]
    fn hostile_names_stay_one_segment() {
        for name in ["../../etc", "a/b", "", ".", "%2e%2e", "é", &"x".repeat(300)] {
            let safe = segment(name);
            assert!(
                safe.starts_with("x-") && !safe.contains('/'),
                "{name} -> {safe}"
            );
        }
        assert_eq!(segment("prod-a.1_b"), "prod-a.1_b");
        assert_ne!(segment("a/b"), segment("a b"));
    }

    #[test]
    fn numbers_sort_and_parse_back() {
        assert_eq!(number_of(&publication(7)), Some(7));
        assert!(publication(9) < publication(10));
        assert_eq!(number_of("publications/7.json"), None);
        assert_eq!(number_of("publications/notes.txt"), None);
    }

    #[test]
    fn only_digests_are_evidence() {
        let digest = sha256_hex(b"x");
        assert_eq!(
            evidence(&digest).unwrap(),
            format!("evidence/sha256/{}/{digest}", &digest[..2])
        );
        assert_eq!(evidence("../secret"), None);
        assert_eq!(evidence(&digest.to_uppercase()), None);
    }
}
