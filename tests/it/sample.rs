//! The main job on the sample, as a user runs it: the binary, its exit codes, what it wrote, and the
//! findings against the truth that the sample's generator states.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One run of the job, shared by the tests of this file: it takes minutes without optimisation.
pub(crate) struct Run {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) report: PathBuf,
    stderr: String,
}

impl Run {
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("idleproof.toml")
    }

    pub(crate) fn findings(&self) -> Vec<Value> {
        serde_json::from_slice(&fs::read(self.report.join("findings.json")).unwrap()).unwrap()
    }
}

pub(crate) fn idleproof(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The sample's configuration with its sources where they are and its outputs in `folder`.
pub(crate) fn configuration(folder: &Path) -> String {
    let sample = root().join("sample-data");
    fs::read_to_string(sample.join("idleproof.toml"))
        .unwrap()
        .replace(
            "\"./prometheus",
            &format!("\"{}/prometheus", sample.display()),
        )
        .replace(
            "\"./kubernetes",
            &format!("\"{}/kubernetes", sample.display()),
        )
        .replace("../target/idleproof-demo", &folder.to_string_lossy())
}

pub(crate) fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("idleproof.toml");
        let governed = crate::approve_cli::govern(folder.path());
        let text_of_config = format!("{}\n{governed}", configuration(folder.path()));
        fs::write(&config, text_of_config).unwrap();
        let output = idleproof(&["run", "--config", &config.to_string_lossy()]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let latest: Value =
            serde_json::from_slice(&fs::read(folder.path().join("report/latest.json")).unwrap())
                .unwrap();
        let report = folder
            .path()
            .join("report")
            .join(latest["path"].as_str().unwrap());
        Run {
            folder,
            report,
            stderr,
        }
    })
}

fn sql(run: &Run, query: &str) -> Vec<Value> {
    let config = run.config();
    let output = idleproof(&[
        "sql",
        query,
        "-o",
        "json",
        "--config",
        &config.to_string_lossy(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn truth() -> Value {
    let file = root().join("sample-data/expected/truth.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap()
}

fn within(value: f64, range: &Value) -> bool {
    number(&range[0]) <= value && value <= number(&range[1])
}

fn key(value: &Value, kind: &str, name: &str) -> String {
    let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}/{}/{}",
        part("cluster"),
        part("namespace"),
        part(kind),
        part(name)
    )
}

#[test]
fn findings_and_dollars_are_the_samples_truth() {
    let run = run();
    let truth = truth();
    let mut alarms: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut unallocated: BTreeMap<String, Value> = BTreeMap::new();
    for finding in run.findings() {
        if finding["status"] != "alarm" {
            continue;
        }
        let detector = finding["detector"].as_str().unwrap().to_owned();
        if detector == "unallocated-capacity" {
            unallocated.insert(finding["handle"].as_str().unwrap().to_owned(), finding);
        } else {
            alarms.insert(
                (key(&finding, "workload_kind", "workload_name"), detector),
                finding,
            );
        }
    }
    let mut wrong = Vec::new();
    let mut judge = |who: &str, expected: &Value, found: Option<&Value>| {
        let Some(found) = found else {
            wrong.push(format!("{who}: {} was not found", expected["detector"]));
            return;
        };
        let hours = number(&found["waste_gpu_ms"]) / 3_600_000.0;
        let dollars = number(&found["net_window_usd"]);
        if !within(hours, &expected["gpu_hours"]) {
            wrong.push(format!(
                "{who}: {hours} GPU-hours are not within {}",
                expected["gpu_hours"]
            ));
        }
        if !within(dollars, &expected["window_usd"]) {
            wrong.push(format!(
                "{who}: ${dollars} are not within {}",
                expected["window_usd"]
            ));
        }
    };
    let mut allowed = Vec::new();
    for workload in truth["workloads"].as_array().unwrap() {
        let who = key(workload, "kind", "name");
        for expected in workload["expected_findings"].as_array().unwrap() {
            let detector = expected["detector"].as_str().unwrap().to_owned();
            judge(&who, expected, alarms.get(&(who.clone(), detector)));
        }
        for detector in workload["allowed_detectors"].as_array().unwrap() {
            allowed.push((who.clone(), detector.as_str().unwrap().to_owned()));
        }
    }
    for expected in truth["unallocated"].as_array().unwrap() {
        let part = |name: &str| expected[name].as_str().unwrap();
        let handle = format!(
            "unallocated-capacity/{}/{}/{}",
            part("cluster"),
            part("instance_type"),
            part("gpu_product")
        );
        let found = unallocated.remove(&handle);
        if found.is_some() || expected["required"] == true {
            judge(&handle, expected, found.as_ref());
        }
    }
    for found in alarms.keys().filter(|found| !allowed.contains(found)) {
        wrong.push(format!("{} must not be found: {}", found.0, found.1));
    }
    wrong.extend(
        unallocated
            .keys()
            .map(|handle| format!("{handle} must not be found")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_workloads_hours_are_the_samples_truth() {
    let rows = sql(
        run(),
        "SELECT cluster, namespace, workload_kind, workload_name, class, SUM(ms) AS ms \
         FROM ledger WHERE date >= '2026-11-09' AND date < '2026-11-23' AND workload_name <> '' \
         GROUP BY cluster, namespace, workload_kind, workload_name, class",
    );
    let mut hours: BTreeMap<(String, String), f64> = BTreeMap::new();
    for row in &rows {
        let who = key(row, "workload_kind", "workload_name");
        let class = row["class"].as_str().unwrap().to_owned();
        *hours.entry((who, class)).or_default() += number(&row["ms"]) / 3_600_000.0;
    }
    let mut wrong = Vec::new();
    for workload in truth()["workloads"].as_array().unwrap() {
        let who = key(workload, "kind", "name");
        for (class, want) in workload["class_hours"].as_object().unwrap() {
            let got = hours
                .get(&(who.clone(), class.clone()))
                .copied()
                .unwrap_or(0.0);
            let want = number(want);
            // A sample says what happened up to one scrape before or after it; of four weeks of
            // daily edges that makes at most an hour or a twentieth.
            if (got - want).abs() > (want * 0.05).max(1.0) {
                wrong.push(format!(
                    "{who}: {got:.2} h {class}, the truth is {want:.2} h"
                ));
            }
        }
        let dark = hours
            .get(&(who.clone(), "dark".to_owned()))
            .copied()
            .unwrap_or(0.0);
        if workload["class_hours"].get("dark").is_none() && dark > 0.0 {
            wrong.push(format!("{who}: {dark:.2} h are called dark, and none were"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_ledger_sums_to_capacity() {
    let run = run();
    let slots = sql(
        run,
        "SELECT cluster, node, slot, hour_ms, SUM(ms) AS ms FROM ledger \
         WHERE date >= '2026-11-09' AND date < '2026-11-23' \
         GROUP BY cluster, node, slot, hour_ms HAVING SUM(ms) > 3600000",
    );
    assert!(
        slots.is_empty(),
        "hours with more than an hour in them: {slots:?}"
    );
    let total = sql(
        run,
        "SELECT SUM(ms) AS ms FROM ledger WHERE date >= '2026-11-09' AND date < '2026-11-23'",
    );
    let split = sql(
        run,
        "SELECT SUM(ms) AS ms FROM v_ledger WHERE date >= '2026-11-09' AND date < '2026-11-23'",
    );
    assert_eq!(
        total, split,
        "splitting by claims lost or made milliseconds"
    );
    let hours = number(&total[0]["ms"]) / 3_600_000.0;
    let capacity = number(&truth()["capacity_gpu_hours"]);
    assert!(
        (hours - capacity).abs() <= capacity * 0.001,
        "{hours} h of {capacity} h"
    );
    let html = fs::read_to_string(run.report.join("report.html")).unwrap();
    assert!(
        html.contains("equal to the millisecond"),
        "the report says that it does not balance"
    );
}

#[test]
fn surplus_and_misplaced_cost_what_their_findings_net() {
    let run = run();
    let ledger = sql(
        run,
        "SELECT COALESCE(SUM(COALESCE(effective_cost_usd, list_cost_usd)), 0) AS usd FROM v_ledger \
         WHERE class IN ('surplus', 'misplaced')",
    );
    let findings = sql(
        run,
        "SELECT COALESCE(SUM(net_window_usd), 0) AS usd FROM v_findings \
         WHERE status = 'alarm' AND detector IN ('surplus-replicas', 'tier-misplacement')",
    );
    let (ledger, findings) = (number(&ledger[0]["usd"]), number(&findings[0]["usd"]));
    assert!(
        findings > 0.0,
        "the sample has surplus and misplaced seconds"
    );
    assert!(
        (ledger - findings).abs() < 0.01,
        "ledger ${ledger}, findings ${findings}"
    );
}

#[test]
fn every_alarm_replays_to_the_same_bytes() {
    let run = run();
    let config = run.config();
    // A replay runs the whole chain, so one finding a detector is asked for.
    let mut asked = BTreeMap::new();
    for finding in run
        .findings()
        .iter()
        .filter(|finding| finding["status"] == "alarm")
    {
        asked
            .entry(finding["detector"].as_str().unwrap().to_owned())
            .or_insert_with(|| finding.clone());
    }
    // What a sample of healthy control planes cannot show (stuck rollouts, duplicates) is not asked for.
    for id in [
        "unallocated-capacity",
        "dark-capacity",
        "cpu-gpu-imbalance",
        "surplus-replicas",
        "tier-misplacement",
    ] {
        assert!(asked.contains_key(id), "{id} finds something in the sample");
    }
    for finding in asked.values() {
        let handle = finding["handle"].as_str().unwrap();
        let output = idleproof(&[
            "explain",
            handle,
            "-o",
            "json",
            "--config",
            &config.to_string_lossy(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("byte for byte"),
            "{}",
            text(&output.stderr)
        );
        let lines = fs::read_to_string(run.report.join("findings.json")).unwrap();
        assert!(
            lines.contains(text(&output.stdout).trim()),
            "{handle} differs from findings.json"
        );
    }
}

#[test]
fn the_manifest_verifies_and_a_flipped_byte_does_not() {
    let run = run();
    let key = run.folder.path().join("pipeline_ed25519.pub");
    let verify = |manifest: &Path| {
        idleproof(&[
            "verify",
            "manifest",
            &manifest.to_string_lossy(),
            "--key",
            &key.to_string_lossy(),
        ])
    };
    let output = verify(&run.report.join("manifest.dsse.json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for name in [
        "report.html",
        "report.md",
        "findings.json",
        "recommendations.json",
    ] {
        assert!(
            text(&output.stdout).contains(&format!("{name}: matches")),
            "{name}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("manifest.dsse.json");
    let bytes = fs::read(run.report.join("manifest.dsse.json")).unwrap();
    for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        fs::write(&copy, flipped).unwrap();
        assert_eq!(
            verify(&copy).status.code(),
            Some(4),
            "byte {place} was flipped"
        );
    }
    fs::write(&copy, &bytes).unwrap();
    fs::write(folder.path().join("report.md"), "another report").unwrap();
    let output = verify(&copy);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stderr).contains("report.md"),
        "{}",
        text(&output.stderr)
    );
}

/// The newest body of an object in the sample's exports.
fn exported(cluster: &str, target: &Value) -> Option<Value> {
    let folder = root().join("sample-data/kubernetes").join(cluster);
    let mut snapshots: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    snapshots.sort();
    let (kind, _) = target["kind"].as_str()?.split_once('.').unwrap_or_default();
    let files = fs::read_dir(snapshots.last()?).unwrap();
    files
        .filter_map(|entry| {
            serde_json::from_slice::<Value>(&fs::read(entry.unwrap().path()).unwrap()).ok()
        })
        .filter_map(|list| list["items"].as_array().cloned())
        .flatten()
        .find(|item| {
            item["kind"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(kind))
                && item["apiVersion"] == target["api_version"]
                && item["metadata"]["name"] == target["name"]
                && item["metadata"]["namespace"] == target["namespace"]
        })
}

#[test]
fn recommendations_are_changes_that_can_be_made_and_taken_back() {
    let run = run();
    let bytes = fs::read(run.report.join("recommendations.json")).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let findings = run.findings();
    let alarms = findings
        .iter()
        .filter(|one| !one["recommendation"].is_null());
    assert_eq!(all.len(), alarms.count());
    let mut made = 0;
    for one in &all {
        let id = one["recommendation_id"].as_str().unwrap();
        let changes = one["changes"].as_array().unwrap();
        assert_eq!(
            changes.is_empty(),
            !one["not_possible"].is_null(),
            "{id} says neither what to change nor why not"
        );
        assert_eq!(one["expires"], "2026-12-07T00:00:00Z", "{id}");
        let mut bodies: BTreeMap<String, (Value, Value)> = BTreeMap::new();
        for change in changes {
            let target = &change["target"];
            let found = exported(one["cluster"].as_str().unwrap(), target);
            let observed =
                found.unwrap_or_else(|| panic!("{id} names {target}, which is not there"));
            let (live, _) = bodies
                .entry(target.to_string())
                .or_insert_with(|| (observed.clone(), observed));
            let patch: json_patch::Patch = serde_json::from_value(change["patch"].clone()).unwrap();
            json_patch::patch(live, &patch).unwrap();
            made += 1;
        }
        for change in changes.iter().rev() {
            let (live, _) = bodies.get_mut(&change["target"].to_string()).unwrap();
            let inverse: json_patch::Patch =
                serde_json::from_value(change["inverse"].clone()).unwrap();
            json_patch::patch(live, &inverse).unwrap();
        }
        for (live, observed) in bodies.values() {
            assert_eq!(live, observed, "{id} is not undone");
        }
    }
    assert!(made >= 5, "only {made} changes could be written");
    // KServe clamps `minReplicas: 0` of its HPA class: the service is stopped by its annotation.
    let eval = all
        .iter()
        .find(|one| one["workload_name"] == "qwen-32b-eval")
        .unwrap();
    assert_eq!(
        eval["changes"][0]["field"],
        "/metadata/annotations/serving.kserve.io~1stop"
    );
    let manifest: Value =
        serde_json::from_slice(&fs::read(run.report.join("manifest.dsse.json")).unwrap()).unwrap();
    let payload = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        manifest["payload"].as_str().unwrap(),
    )
    .unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let bound: BTreeMap<String, Value> = statement["predicate"]["recommendations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["recommendation_id"].to_string(), one.clone()))
        .collect();
    let lines = text(&bytes);
    for one in &all {
        let mut same = bound[&one["recommendation_id"].to_string()].clone();
        let fields = same.as_object_mut().unwrap();
        let sha256 = fields.remove("sha256").unwrap();
        assert!(fields.remove("evidence_sha256").is_some());
        assert_eq!(&same, one);
        let line = idleproof::model::canonical::to_canonical(one).unwrap();
        assert!(lines.contains(&line));
        assert_eq!(
            sha256,
            idleproof::model::canonical::sha256_hex(line.as_bytes())
        );
    }
    let rows = sql(
        run,
        "SELECT recommendation_id, object, not_possible FROM v_recommendations",
    );
    assert_eq!(rows.len(), all.len());
    let html = fs::read_to_string(run.report.join("report.html")).unwrap();
    // Escaped as all that comes from a cluster.
    let html = html.replace("&#x2f;", "/");
    for row in rows.iter().filter(|row| row["not_possible"].is_null()) {
        let object = row["object"].as_str().unwrap();
        assert!(html.contains(object), "the report does not name {object}");
    }
}

#[test]
fn rows_come_in_every_form() {
    let run = run();
    let config = run.config();
    let config = config.to_string_lossy();
    let query = "SELECT class, COUNT(*) AS rows FROM v_ledger GROUP BY class ORDER BY class";
    let output = |format: &str| {
        let output = idleproof(&["sql", query, "-o", format, "--config", &config]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(output("csv").starts_with("class,rows\n"));
    assert!(output("table").starts_with("class"));
    let json: Vec<Value> = serde_json::from_str(&output("json")).unwrap();
    assert_eq!(json.len(), output("ndjson").lines().count());
    let refused = idleproof(&["sql", "DELETE FROM ledger", "--config", &config]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(run.stderr.contains("manifest:"), "{}", run.stderr);
}

/// The envelope against an implementation that is not ours.
#[test]
fn securesystemslib_verifies_the_manifest() {
    let there = Command::new("python3")
        .args(["-c", "import securesystemslib.dsse, cryptography"])
        .output();
    if !there.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "securesystemslib is not installed"
        );
        eprintln!("skipped: Python's securesystemslib is not installed");
        return;
    }
    let run = run();
    let manifest = run.report.join("manifest.dsse.json");
    let key = run.folder.path().join("pipeline_ed25519.pub");
    let verify = |manifest: &Path| {
        Command::new("python3")
            .arg(root().join("tests/dsse_peer.py"))
            .args([manifest, &key])
            .output()
            .unwrap()
    };
    let output = verify(&manifest);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut envelope: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap().replacen('A', "B", 1);
    envelope["payload"] = Value::from(payload);
    let altered = run.folder.path().join("altered.json");
    fs::write(&altered, serde_json::to_vec(&envelope).unwrap()).unwrap();
    assert!(
        !verify(&altered).status.success(),
        "an altered payload was accepted"
    );
}
