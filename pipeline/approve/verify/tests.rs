use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::approve::{ManifestInput, PipelineKey, RecommendationEntry, statement_bytes};
use crate::model::time::TimeWindow;

struct Signed {
    folder: tempfile::TempDir,
    key: PipelineKey,
    bytes: Vec<u8>,
}

impl Signed {
    fn path(&self) -> PathBuf {
        self.folder.path().join("manifest.dsse.json")
    }
}

fn input(report: &[u8]) -> ManifestInput {
    ManifestInput {
        run_id: "2026-11-23-0001".into(),
        publication: 7,
        created_ms: 1_795_000_000_000,
        window: TimeWindow::new(0, 86_400_000),
        tables: BTreeMap::from([("ledger".into(), 4)]),
        digests: BTreeMap::from([(
            "queries/detectors/dark-capacity.sql".into(),
            "ab".repeat(32),
        )]),
        tool_version: "0.1.0".into(),
        subjects: vec![Subject {
            name: "report.html".into(),
            sha256: sha256_hex(report),
        }],
        recommendations: vec![RecommendationEntry {
            content: serde_json::json!({
                "recommendation_id": "r1",
                "finding_id": "f1",
                "net_monthly_usd": "1210.00",
            }),
            evidence_sha256: "ef".repeat(32),
            ticket: None,
        }],
        checkpoint: None,
    }
}

fn signed() -> Signed {
    let folder = tempfile::tempdir().unwrap();
    let report = b"<html>report</html>";
    std::fs::write(folder.path().join("report.html"), report).unwrap();
    let (key, created) = PipelineKey::open_or_create(&folder.path().join("key")).unwrap();
    assert!(created);
    let payload = statement_bytes(&input(report)).unwrap();
    let bytes = Envelope::sign(&payload, &key).unwrap().to_bytes().unwrap();
    std::fs::write(folder.path().join("manifest.dsse.json"), &bytes).unwrap();
    Signed { folder, key, bytes }
}

#[test]
fn what_was_signed_verifies_with_the_public_half_alone() {
    let signed = signed();
    let key = VerifyingKey::open(&signed.folder.path().join("key.pub")).unwrap();
    let manifest = verify_manifest_file(&signed.path(), &key).unwrap();
    assert_eq!(
        manifest.checks,
        vec![("report.html".to_owned(), SubjectCheck::Matches)]
    );
    assert_eq!(
        manifest.predicate["recommendations"][0]["net_monthly_usd"],
        "1210.00"
    );
    // Equal content, equal key: equal bytes.
    let payload = statement_bytes(&input(b"<html>report</html>")).unwrap();
    let again = Envelope::sign(&payload, &signed.key)
        .unwrap()
        .to_bytes()
        .unwrap();
    assert_eq!(again, signed.bytes);
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let signed = signed();
    let key = signed.key.verifying_key();
    for index in 0..signed.bytes.len() {
        // One bit a byte, each bit in turn: a whole sweep costs minutes without optimisation.
        let bit = index % 8;
        let mut bytes = signed.bytes.clone();
        bytes[index] ^= 1 << bit;
        let error = verify_envelope(&signed.path(), &bytes, &key)
            .expect_err(&format!("bit {bit} of byte {index} was flipped"));
        assert!(error.is_rejection(), "{error}");
    }
    for length in 0..signed.bytes.len() {
        assert!(verify_envelope(&signed.path(), &signed.bytes[..length], &key).is_err());
    }
}

#[test]
fn another_key_is_refused_even_under_the_first_ones_name() {
    let signed = signed();
    let other_path = signed.folder.path().join("other");
    let (other, _) = PipelineKey::open_or_create(&other_path).unwrap();
    let error = verify_envelope(&signed.path(), &signed.bytes, &other.verifying_key()).unwrap_err();
    assert!(error.to_string().contains("the key given is"), "{error}");

    let mut envelope: Envelope = serde_json::from_slice(&signed.bytes).unwrap();
    envelope.signatures[0].keyid = other.verifying_key().fingerprint();
    let bytes = envelope.to_bytes().unwrap();
    let error = verify_envelope(&signed.path(), &bytes, &other.verifying_key()).unwrap_err();
    assert!(error.to_string().contains("does not match"), "{error}");
}

#[test]
fn a_changed_report_is_named() {
    let signed = signed();
    std::fs::write(
        signed.folder.path().join("report.html"),
        b"<html>other</html>",
    )
    .unwrap();
    let error = verify_manifest_file(&signed.path(), &signed.key.verifying_key()).unwrap_err();
    assert!(
        error.is_rejection() && error.to_string().contains("report.html"),
        "{error}"
    );
}

#[test]
fn a_subject_may_not_lead_out_of_the_folder() {
    let signed = signed();
    let mut input = input(b"");
    input.subjects[0].name = "../key".into();
    let payload = statement_bytes(&input).unwrap();
    let bytes = Envelope::sign(&payload, &signed.key)
        .unwrap()
        .to_bytes()
        .unwrap();
    std::fs::write(signed.path(), bytes).unwrap();
    let error = verify_manifest_file(&signed.path(), &signed.key.verifying_key()).unwrap_err();
    assert!(error.to_string().contains("no plain file name"), "{error}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let signed = signed();
    let path: &Path = &signed.folder.path().join("key");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = PipelineKey::open_or_create(path).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
