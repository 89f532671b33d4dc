//! An acceptance and a rule of one's own, through the binary on the sample's lake: what they change,
//! and that they change nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sample::{configuration, idleproof, run, text};

const OWN: &str = "/*---
id: own-longest-lived
version: 1.0.0
title: Workloads that existed all the time
status: experimental
severity: low
grain: [cluster, namespace, workload_kind, workload_name]
requires: [workload_facts]
order: 95
window: {default: 14d, min: 3d}
params:
  min_days: {type: int, unit: days, default: 14, why: a fortnight}
false_positives: [most of them]
remediation: {text: ask}
---*/
SELECT cluster, namespace, workload_kind, workload_name,
  CAST($window_start_ms AS BIGINT) AS window_start_ms, CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE WHEN existed_ms >= $min_days * 86400000 AND workload_name = 'llama-8b-bulk' THEN 'alarm' ELSE 'ok' END AS status,
  CAST(1.0 AS DOUBLE) AS coverage, 'high' AS confidence, model, gpu_product, team,
  workload_name AS headline, 'it existed all the time' AS because, 'It was there.' AS reason,
  existed_ms, alive_at_end AS alive, CAST(0 AS BIGINT) AS band_percent, 'Ask.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action, CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed, 'low' AS remedy_risk, 'none' AS remedy_disruption,
  existed_ms AS cost_gpu_ms, price_key AS cost_price_key
FROM workload_facts
ORDER BY cluster, namespace, workload_kind, workload_name
";

const MORE: &str = "
[detectors]
folder = \"./own\"

[[accept]]
match = {detector = \"dark-capacity\", namespace = \"ml\"}
reason = \"kept for the launch of reranking\"
by = \"ana@example.com\"
until = \"2026-12-31\"

[[accept]]
match = {namespace = \"legacy\"}
reason = \"was to be gone in October\"
by = \"bo@example.com\"
until = \"2026-11-01\"

[tickets]
\"dark-capacity/prod-a/legacy/deployment.apps/mistral-7b-canary\" = \"https://tracker.example/OPS-123?a=1\"
\"dark-capacity/prod-a/legacy/deployment.apps/gone\" = \"OPS-9\"
";

#[test]
fn an_acceptance_and_a_rule_of_ones_own_change_what_is_asked_and_nothing_else() {
    let whole = run();
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(whole.folder.path().join("lake"))
        .arg(folder.path().join("lake"))
        .status()
        .unwrap();
    assert!(copied.success());
    // The log's checkpoints are signed with the key beside the report: the copy goes on with it.
    for key in ["pipeline_ed25519", "pipeline_ed25519.pub"] {
        fs::copy(whole.folder.path().join(key), folder.path().join(key)).unwrap();
    }
    fs::create_dir(folder.path().join("own")).unwrap();
    fs::write(folder.path().join("own/own-longest-lived.sql"), OWN).unwrap();
    let config = folder.path().join("idleproof.toml");
    fs::write(&config, configuration(folder.path()) + MORE).unwrap();
    let config = config.to_string_lossy();

    let listed = idleproof(&["detectors", "list", "--config", &config]);
    assert!(text(&listed.stdout).contains("own-longest-lived"));
    let output = idleproof(&["run", "--no-ingest", "--config", &config]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("an acceptance by bo@example.com has expired"),
        "{stderr}"
    );
    assert!(
        text(&output.stdout).contains("accepted as waste for now")
            || stderr.contains("accepted as waste for now")
    );

    let latest: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report/latest.json")).unwrap())
            .unwrap();
    let report = folder
        .path()
        .join("report")
        .join(latest["path"].as_str().unwrap());
    let findings: Vec<Value> =
        serde_json::from_slice(&fs::read(report.join("findings.json")).unwrap()).unwrap();
    let one = |handle: &str, findings: &[Value]| -> Value {
        let found = findings.iter().find(|f| f["handle"] == handle);
        found
            .unwrap_or_else(|| panic!("{handle} is missing"))
            .clone()
    };
    let dark = "dark-capacity/prod-b/ml/deployment.apps/bge-rerank";
    let (before, after) = (one(dark, &whole.findings()), one(dark, &findings));
    assert_eq!(
        (&before["state"], &after["state"]),
        (&"open".into(), &"accepted".into())
    );
    assert_eq!(after["status"], "alarm");
    assert_eq!(
        before["net_window_usd"], after["net_window_usd"],
        "it is still waste"
    );
    assert!(after["recommendation"].is_null() && !before["recommendation"].is_null());
    assert!(
        after["accepted"]
            .as_str()
            .unwrap()
            .contains("ana@example.com")
    );
    let expired = "dark-capacity/prod-a/legacy/deployment.apps/mistral-7b-canary";
    assert_eq!(one(expired, &findings)["state"], "open");
    // A ticket stands beside what is approved and changes nothing of it.
    assert!(
        stderr.contains("`dark-capacity/prod-a/legacy/deployment.apps/gone` has the ticket OPS-9"),
        "{stderr}"
    );
    let bound = |report: &Path| -> BTreeMap<String, (Value, Value)> {
        let envelope: Value =
            serde_json::from_slice(&fs::read(report.join("manifest.dsse.json")).unwrap()).unwrap();
        let payload = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            envelope["payload"].as_str().unwrap(),
        )
        .unwrap();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        let all = statement["predicate"]["recommendations"]
            .as_array()
            .unwrap();
        all.iter()
            .map(|r| {
                let handle = r["finding_handle"].as_str().unwrap().to_owned();
                (handle, (r["sha256"].clone(), r["ticket"].clone()))
            })
            .collect()
    };
    let (before, after) = (bound(&whole.report), bound(&report));
    assert_eq!(before[expired], (after[expired].0.clone(), Value::Null));
    assert_eq!(after[expired].1, "https://tracker.example/OPS-123?a=1");
    assert!(!after.contains_key(dark));
    let others = after.iter().filter(|(_, (_, ticket))| !ticket.is_null());
    assert_eq!(others.count(), 1);

    let markdown = fs::read_to_string(report.join("report.md")).unwrap();
    assert!(markdown.contains("## Accepted waste"), "{markdown}");

    let own = "own-longest-lived/prod-a/search/deployment.apps/llama-8b-bulk";
    let found = one(own, &findings);
    assert_eq!(found["status"], "alarm");
    assert!(
        found["net_window_usd"].is_null(),
        "what claims nothing adds no dollars"
    );
    assert!(
        found["evidence"]
            .to_string()
            .contains("cost_usd_not_claimed")
    );
    // Everything else is as it was, to the byte but for the evidence it names.
    for finding in whole.findings() {
        let handle = finding["handle"].as_str().unwrap();
        if handle != dark {
            let again = one(handle, &findings);
            assert_eq!(
                finding["net_window_usd"], again["net_window_usd"],
                "{handle}"
            );
            assert_eq!(finding["state"], again["state"], "{handle}");
        }
    }
    // Both publications side by side: what is accepted now is gone, and says so.
    let number: u64 = latest["path"]
        .as_str()
        .and_then(|path| path.rsplit('/').next()?.parse().ok())
        .unwrap();
    let earlier = (number - 1).to_string();
    let compare = ["report", "--compare", &earlier, "--config", &config];
    let both = idleproof(&[&compare[..], &["-o", "json"]].concat());
    assert_eq!(both.status.code(), Some(0), "{}", text(&both.stderr));
    let both: Value = serde_json::from_slice(&both.stdout).unwrap();
    let gone = both["gone"].as_array().unwrap();
    assert_eq!(gone.len(), 1, "{both}");
    assert_eq!(
        (&gone[0]["handle"], &gone[0]["after"]),
        (&dark.into(), &"accepted".into())
    );
    assert!(
        both["notes"].to_string().contains("The windows overlap"),
        "{both}"
    );
    let appeared = both["appeared"].as_array().unwrap();
    assert!(appeared.iter().any(|row| row["handle"] == own), "{both}");
    let page = idleproof(&[&compare[..], &["-o", "html"]].concat());
    assert!(text(&page.stdout).contains("<h1>What changed</h1>"));

    for handle in [own, dark] {
        let told = idleproof(&["explain", handle, "--config", &config]);
        assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
        assert!(text(&told.stderr).contains("byte for byte"));
        assert!(text(&told.stdout).contains("The formula, with its numbers"));
    }
}
