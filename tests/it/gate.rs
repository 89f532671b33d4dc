//! `gate` on the sample, as a pipeline runs it: folders, git and diffs, what it says in each form, what ends a
//! pipeline, and refusals that name what is missing.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sample::{idleproof, root, run, text};

fn gate(args: &[&str]) -> (Option<i32>, String, String) {
    let config = run().config();
    let config = config.to_string_lossy();
    let all: Vec<&str> = ["gate", "--config", &config]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let output = idleproof(&all);
    let code = output.status.code();
    (code, text(&output.stdout), text(&output.stderr))
}

/// An object as the sample's last snapshot has it, without what a server fills in.
fn object(list: &str, namespace: &str, name: &str) -> Value {
    let file = root()
        .join("sample-data/kubernetes/prod-a/2026-11-22T12-00-00Z")
        .join(list);
    let all: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let items = all["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|one| one["metadata"]["namespace"] == namespace && one["metadata"]["name"] == name);
    let mut body = found.unwrap().clone();
    for field in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ] {
        body["metadata"].as_object_mut().unwrap().remove(field);
    }
    body.as_object_mut().unwrap().remove("status");
    if body["apiVersion"].is_null() {
        body["apiVersion"] = json!("apps/v1");
    }
    body
}

fn deployment(namespace: &str, name: &str) -> Value {
    object("deployments.json", namespace, name)
}

fn router() -> Value {
    object("horizontalpodautoscalers.json", "chat", "qwen-7b-router")
}

struct Sides {
    _folder: tempfile::TempDir,
    before: PathBuf,
    after: PathBuf,
}

impl Sides {
    /// One file a side, with these objects.
    fn new(before: &[Value], after: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let side = |name: &str, all: &[Value]| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            let documents: Vec<String> = all
                .iter()
                .map(|one| format!("# m\n---\n{one:#}\n"))
                .collect();
            fs::write(path.join("all.yaml"), documents.concat()).unwrap();
            path
        };
        let (before, after) = (side("before", before), side("after", after));
        Self {
            _folder: folder,
            before,
            after,
        }
    }

    fn args(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        [
            "--before",
            &path(&self.before),
            "--after",
            &path(&self.after),
            "--cluster",
            "prod-a",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn gate(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let args = self.args();
        let all: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        gate(&all)
    }

    fn json(&self) -> Value {
        let (code, stdout, stderr) = self.gate(&["-o", "json"]);
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    let rows = report["rows"].as_array().unwrap();
    rows.iter()
        .find(|row| row["workload_name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

fn usd(value: &Value) -> f64 {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .parse()
        .unwrap()
}

/// The effect on a detector's finding, if the gate says one.
fn effect<'r>(row: &'r Value, detector: &str) -> Option<&'r str> {
    let findings = row["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|one| one["detector"] == detector)
        .and_then(|one| one["effect"].as_str())
}

#[test]
fn a_smaller_minimum_shrinks_or_closes_the_surplus_by_a_replay() {
    let with = |min: i64| {
        let mut after = router();
        after["spec"]["minReplicas"] = json!(min);
        Sides::new(&[router()], &[after]).json()
    };
    // One replica serves the peak: two leave surplus, one does not.
    let (two, one) = (with(2), with(1));
    let (two, one) = (row(&two, "qwen-7b-router"), row(&one, "qwen-7b-router"));
    assert_eq!(effect(two, "surplus-replicas"), Some("shrinks"), "{two:#}");
    assert_eq!(effect(one, "surplus-replicas"), Some("closes"), "{one:#}");
    // 336 hours at four replicas cost 1,081.65 dollars, as `simulate` has it.
    let month = 1081.65 / 336.0 * 730.0;
    assert!(
        (usd(&two["before"]["usd_month"]) - month).abs() < 1.0,
        "{two:#}"
    );
    assert!(
        (usd(&two["after"]["usd_month"]) - month / 2.0).abs() < 1.0,
        "{two:#}"
    );
    assert!(
        (usd(&one["difference"]["usd_month"]) + month * 0.75).abs() < 1.0,
        "{one:#}"
    );
    for row in [two, one] {
        assert_eq!(row["slo"]["verdict"], "feasible", "{row:#}");
        assert_eq!(row["fit"]["verdict"], "fits");
        assert_eq!(row["price_rung"], "catalogue");
        let difference = &row["difference"];
        assert!(usd(&difference["p10_usd_month"]) <= usd(&difference["usd_month"]));
        assert!(usd(&difference["p90_usd_month"]) >= usd(&difference["usd_month"]));
    }
    assert_eq!(two["after"]["min_replicas"], 2);
    // Raised instead, what is added is a finding with its dollars.
    let more = with(6);
    let more = row(&more, "qwen-7b-router");
    assert_eq!(effect(more, "surplus-replicas"), Some("grows"), "{more:#}");
    assert!(
        (usd(&more["findings"][0]["added_usd_month"]) - month / 2.0).abs() < 2.0,
        "{more:#}"
    );
}

#[test]
fn placements_are_judged_by_the_estimator_and_end_a_pipeline_where_they_do_not_hold() {
    let selected = |mut body: Value, machine: &str| {
        body["spec"]["template"]["spec"]["nodeSelector"] =
            json!({"node.kubernetes.io/instance-type": machine});
        body
    };
    let (bulk, summary) = (
        deployment("search", "llama-8b-bulk"),
        deployment("docs", "summarizer-14b"),
    );
    let sides = Sides::new(
        &[bulk.clone(), summary.clone()],
        &[selected(bulk, "g6e.xlarge"), selected(summary, "g6.xlarge")],
    );
    let report = sides.json();
    // A 14B model in 16 bits has no room on 24 GB; the saturated one holds no SLO on one L40S a replica.
    let small = row(&report, "summarizer-14b");
    assert_eq!(small["fit"]["verdict"], "does-not-fit", "{small:#}");
    assert_eq!(small["after"]["gpu_product"], "L4-24");
    let bulk = row(&report, "llama-8b-bulk");
    assert_eq!(bulk["fit"]["verdict"], "fits", "{bulk:#}");
    assert_eq!(bulk["slo"]["verdict"], "infeasible", "{bulk:#}");
    assert_eq!(bulk["slo_before"], "feasible", "{bulk:#}");
    let latency = |side: &str| bulk[side]["itl_p95_ms"].as_i64().unwrap();
    assert!(latency("after") > latency("before"), "{bulk:#}");
    assert_eq!(report["totals"]["infeasible"], 2);
    let (code, _, _) = sides.gate(&["--fail-on", "infeasible"]);
    assert_eq!(code, Some(3));
    // The way back adds nothing that is infeasible.
    let back = Sides {
        before: sides.after.clone(),
        after: sides.before.clone(),
        _folder: tempfile::tempdir().unwrap(),
    };
    let (code, stdout, _) = back.gate(&["--fail-on", "infeasible"]);
    assert_eq!(code, Some(0), "{stdout}");
}

#[test]
fn what_a_resource_declares_of_itself_is_its_size() {
    let body = object("inferenceservices.json", "research", "qwen-32b-eval");
    let mut after = body.clone();
    after["spec"]["predictor"]["minReplicas"] = json!(2);
    after["spec"]["predictor"]["maxReplicas"] = json!(2);
    let report = Sides::new(&[body], &[after]).json();
    let one = row(&report, "qwen-32b-eval");
    // Nobody asks it anything: twice as much of it is dark.
    assert_eq!(effect(one, "dark-capacity"), Some("grows"), "{one:#}");
    let month = 6.88 * 730.0;
    assert!(
        (usd(&one["difference"]["usd_month"]) - month).abs() < 1.0,
        "{one:#}"
    );
}

#[test]
fn more_than_demand_needs_is_a_finding_with_its_dollars() {
    let body = deployment("chat", "llama-8b-assist");
    let mut after = body.clone();
    after["spec"]["replicas"] = json!(3);
    let sides = Sides::new(&[body], &[after]);
    let report = sides.json();
    let one = row(&report, "llama-8b-assist");
    assert_eq!(effect(one, "surplus-replicas"), Some("opens"), "{one:#}");
    let added = usd(&report["totals"]["findings_added_usd_month"]);
    assert!(
        (added - usd(&one["difference"]["usd_month"])).abs() < 2.0,
        "{report:#}"
    );
    let whole = added.floor();
    for (limit, code) in [(whole, 3), (whole + 2.0, 0)] {
        let limit = format!("findings={limit}");
        assert_eq!(sides.gate(&["--fail-on", &limit]).0, Some(code), "{limit}");
    }
}

#[test]
fn a_workload_without_history_is_judged_by_fit_and_price_and_says_so() {
    let mut new = deployment("chat", "llama-8b-assist");
    new["metadata"] = json!({"name": "llama-new", "namespace": "chat"});
    new["spec"]["replicas"] = json!(2);
    new["spec"]["selector"] = json!({"matchLabels": {"app": "llama-new"}});
    new["spec"]["template"]["metadata"]["labels"] = json!({"app": "llama-new"});
    let old = deployment("legacy", "mistral-7b-canary");
    let report = Sides::new(&[old], &[new]).json();
    let new = row(&report, "llama-new");
    assert_eq!(
        (&new["change"], &new["has_history"]),
        (&json!("added"), &json!(false))
    );
    assert_eq!(new["fit"]["verdict"], "fits", "{new:#}");
    assert_eq!(new["slo"]["verdict"], "unknown");
    assert!(
        new["slo"]["why"]
            .as_str()
            .unwrap()
            .contains("fit and price"),
        "{new:#}"
    );
    // Two of a p5.4xlarge at the price that the workload beside it has.
    assert!(
        (usd(&new["difference"]["usd_month"]) - 2.0 * 6.88 * 730.0).abs() < 1.0,
        "{new:#}"
    );
    // What goes away takes its findings with it.
    let gone = row(&report, "mistral-7b-canary");
    assert_eq!(gone["change"], "removed");
    assert_eq!(effect(gone, "dark-capacity"), Some("closes"), "{gone:#}");
    assert!(usd(&gone["difference"]["usd_month"]) < -1000.0);
}

#[test]
fn a_signal_that_nobody_recorded_is_unknown_and_its_lint_a_finding() {
    let mut after = router();
    after["spec"]["metrics"] = json!([{"type": "Pods", "pods": {"metric": {"name": "DCGM_FI_DEV_GPU_UTIL"},
        "target": {"type": "AverageValue", "averageValue": "80"}}}]);
    let sides = Sides::new(&[router()], &[after]);
    let report = sides.json();
    let one = row(&report, "qwen-7b-router");
    assert_eq!(one["slo"]["verdict"], "unknown");
    assert_eq!(one["difference"], Value::Null);
    assert!(
        one["slo"]["why"]
            .as_str()
            .unwrap()
            .contains("never recorded"),
        "{one:#}"
    );
    assert!(
        one["dollars_from"]
            .as_str()
            .unwrap()
            .contains("at its maximum"),
        "{one:#}"
    );
    assert_eq!(effect(one, "scaling-signal-lint"), Some("opens"));
    assert!(one.to_string().contains("gpu-utilisation-target"));
    assert_eq!(sides.gate(&["--fail-on", "findings"]).0, Some(3));
    assert_eq!(sides.gate(&["--fail-on", "findings=1000"]).0, Some(0));
}

/// Rules of SARIF 2.1.0 (OASIS) that hold for what a gate writes: required properties, allowed words, and
/// references that lead somewhere.
fn check_sarif(all: &Value) -> usize {
    assert_eq!(all["version"], "2.1.0");
    assert!(all["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let known = |value: &Value, names: &[&str]| {
        for name in value.as_object().unwrap().keys() {
            assert!(
                names.contains(&name.as_str()),
                "{name} is no property of {names:?}"
            );
        }
    };
    known(all, &["$schema", "version", "runs"]);
    let mut count = 0;
    for run in all["runs"].as_array().unwrap() {
        known(run, &["tool", "columnKind", "results", "properties"]);
        let driver = &run["tool"]["driver"];
        known(driver, &["name", "version", "semanticVersion", "rules"]);
        let rules = driver["rules"].as_array().unwrap();
        for rule in rules {
            known(rule, &["id", "shortDescription", "defaultConfiguration"]);
            assert!(rule["shortDescription"]["text"].is_string());
            let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
            assert!(["none", "note", "warning", "error"].contains(&level));
        }
        for result in run["results"].as_array().unwrap() {
            known(
                result,
                &[
                    "ruleId",
                    "ruleIndex",
                    "level",
                    "message",
                    "locations",
                    "partialFingerprints",
                ],
            );
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(
                ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap())
            );
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            for location in result["locations"].as_array().unwrap() {
                known(location, &["physicalLocation", "logicalLocations"]);
                let physical = &location["physicalLocation"];
                let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/%".contains(c);
                assert!(!uri.is_empty() && uri.chars().all(is_plain), "{uri}");
                assert!(physical["region"]["startLine"].as_u64().unwrap() >= 1);
            }
            for print in result["partialFingerprints"].as_object().unwrap().values() {
                assert!(print.is_string());
            }
            count += 1;
        }
    }
    count
}

#[test]
fn every_form_is_the_same_twice_and_hostile_names_mean_nothing() {
    let mut evil = deployment("chat", "llama-8b-assist");
    evil["metadata"] =
        json!({"name": "x|<img src=a>@team \u{1b}[31m `y` [z](http://e)", "namespace": "chat"});
    let mut after = router();
    after["spec"]["minReplicas"] = json!(1);
    let sides = Sides::new(&[router()], &[after, evil]);
    for form in ["table", "markdown", "json", "sarif"] {
        let (code, one, stderr) = sides.gate(&["-o", form]);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(sides.gate(&["-o", form]).1, one, "{form}");
        assert!(
            !one.contains('\u{1b}') && !stderr.contains('\u{1b}'),
            "{form}: {one}"
        );
        if form == "markdown" {
            for word in ["<img", "@team", "](", "`y`", "http://"] {
                assert!(!one.contains(word), "{word}: {one}");
            }
            assert_eq!(
                one.lines().filter(|line| line.starts_with("| ")).count(),
                1 + 2,
                "{one}"
            );
            assert!(
                one.starts_with("**idleproof gate**: 2 workloads change; "),
                "{one}"
            );
        }
        if form == "sarif" {
            let all: Value = serde_json::from_str(&one).unwrap();
            assert!(check_sarif(&all) >= 3);
            let closed = &all["runs"][0]["results"];
            let closed = closed
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["ruleId"] == "finding-closed");
            let region = &closed.unwrap()["locations"][0]["physicalLocation"]["region"];
            // A comment and a mark stand before it.
            assert_eq!(region["startLine"], 3, "{all:#}");
        }
    }
}

#[test]
fn a_diff_is_found_in_the_newest_snapshot_or_refused() {
    let diff = |line: &str| {
        format!(
            "diff -u -N /tmp/LIVE-1/x /tmp/MERGED-2/x\n--- /tmp/LIVE-1/autoscaling.v2.HorizontalPodAutoscaler.chat.qwen-7b-router\t2026-11-28\n+++ /tmp/MERGED-2/autoscaling.v2.HorizontalPodAutoscaler.chat.qwen-7b-router\t2026-11-28\n@@ -16,6 +16,6 @@\n         averageValue: \"8\"\n         type: AverageValue\n     type: Pods\n-  {line}\n+  minReplicas: 1\n   scaleTargetRef:\n     apiVersion: apps/v1\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubectl.diff");
    let path = file.to_string_lossy().into_owned();
    fs::write(&file, diff("minReplicas: 4")).unwrap();
    let (code, stdout, stderr) = gate(&["--diff", &path, "--cluster", "prod-a", "-o", "json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let one = row(&report, "qwen-7b-router");
    assert_eq!(one["before"]["min_replicas"], 4);
    assert_eq!(effect(one, "surplus-replicas"), Some("closes"), "{one:#}");
    // What a failed command wrote instead of a diff is no change that is fine.
    fs::write(&file, "error: the server could not find the resource\n").unwrap();
    let (code, _, stderr) = gate(&["--diff", &path, "--cluster", "prod-a"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no line of a diff"), "{stderr}");
    // Another state of the cluster than the lake's.
    fs::write(&file, diff("minReplicas: 3")).unwrap();
    let (code, _, stderr) = gate(&["--diff", &path, "--cluster", "prod-a"]);
    assert_eq!(code, Some(2));
    for word in [
        "horizontalpodautoscaler.autoscaling/chat/qwen-7b-router",
        "minReplicas: 3",
        "--before",
    ] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

#[test]
fn a_kind_that_nobody_reads_is_named_and_not_called_harmless() {
    let farm = json!({
        "apiVersion": "acme.io/v1", "kind": "ModelFarm",
        "metadata": {"name": "x", "namespace": "chat"}, "spec": {"replicas": 3},
    });
    let (code, stdout, stderr) = Sides::new(&[], &[farm]).gate(&["-o", "markdown"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("No change to what is read: "), "{stdout}");
    assert!(stdout.contains("modelfarm.acme.io/chat/x"), "{stdout}");
}

/// Runs git there, as somebody.
pub(crate) fn git(folder: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "init.defaultBranch=main",
            "-C",
        ])
        .arg(folder)
        .args(args)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
}

#[test]
fn two_revisions_of_a_repository_are_compared_without_a_checkout() {
    if Command::new("git").arg("--version").output().is_err() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "git is not installed"
        );
        println!("skipped: git is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(at, &["init", "-q"]);
    fs::create_dir_all(at.join("chat")).unwrap();
    // A template that is the same at both ends is passed over.
    fs::write(at.join("chat/template.yaml"), "name: {{ .Values.x }}\n").unwrap();
    fs::write(
        at.join("chat/hpa.yaml"),
        format!("# the router\n{:#}\n", router()),
    )
    .unwrap();
    git(at, &["add", "."]);
    git(at, &["commit", "-qm", "a"]);
    let mut after = router();
    after["spec"]["minReplicas"] = json!(1);
    fs::write(
        at.join("chat/hpa.yaml"),
        format!("# the router\n{after:#}\n"),
    )
    .unwrap();
    git(at, &["commit", "-qam", "b"]);
    fs::remove_dir_all(at.join("chat")).unwrap();
    let repository = at.to_string_lossy().into_owned();
    let ask = |range: &str, more: &[&str]| {
        let mut args = vec![
            "--git",
            range,
            "--repository",
            &repository,
            "--cluster",
            "prod-a",
            "-o",
            "json",
        ];
        args.extend(more);
        gate(&args)
    };
    for range in ["HEAD~1..HEAD", "HEAD~1...main"] {
        let (code, stdout, stderr) = ask(range, &["--path", "chat"]);
        assert_eq!(code, Some(0), "{stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let one = row(&report, "qwen-7b-router");
        assert_eq!(
            (&one["file"], &one["line"]),
            (&json!("chat/hpa.yaml"), &json!(2))
        );
        assert!(
            report["notes"].to_string().contains("chat/template.yaml"),
            "{report:#}"
        );
    }
    for (range, more, word) in [
        ("--upload-pack=x..HEAD", &[][..], "does not begin with `-`"),
        ("HEAD", &[], "HEAD"),
        ("nosuch..HEAD", &[], "no revision `nosuch`"),
        ("HEAD~1:chat..HEAD", &[], "no such characters"),
        ("HEAD~1..HEAD", &["--path", "../x"], "--path"),
        ("HEAD~1..HEAD", &["--path", "empty"], "empty"),
    ] {
        let mut args = vec![format!("--git={range}")];
        args.extend(["--repository", &repository, "--cluster", "prod-a"].map(str::to_owned));
        args.extend(more.iter().map(|one| (*one).to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, stdout, stderr) = gate(&args);
        assert_eq!(code, Some(2), "{range}: {stdout}{stderr}");
        assert!(stderr.contains(word), "{range}: {stderr}");
    }
}

#[test]
fn the_repositorys_own_manifests_change_nothing_that_serves() {
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("none.yaml"), "# nothing yet\n").unwrap();
    let empty = empty.path().to_string_lossy().into_owned();
    let own = root()
        .join("deploy/manifests")
        .to_string_lossy()
        .into_owned();
    let args = [
        "--before",
        &empty,
        "--after",
        &own,
        "--cluster",
        "prod-a",
        "--fail-on",
        "findings",
        "--fail-on",
        "infeasible",
    ];
    let (code, stdout, stderr) = gate(&args);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("No change to what serves: "), "{stdout}");
    // The chart is a template: it is named, with what to do.
    let chart = root().join("deploy").to_string_lossy().into_owned();
    let (code, _, stderr) = gate(&["--before", &empty, "--after", &chart, "--cluster", "prod-a"]);
    assert_eq!(code, Some(2));
    for word in ["helm/idleproof/templates/", "not rendered", "helm template"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let sides = Sides::new(&[router()], &[router()]);
    let (before, after) = (
        sides.before.to_string_lossy(),
        sides.after.to_string_lossy(),
    );
    let nowhere = sides.before.join("nowhere");
    let nowhere = nowhere.to_string_lossy();
    fs::write(sides.before.join("odd.yaml"), "a: [\n").unwrap();
    for (args, word) in [
        (
            vec!["--before", &*after, "--after", &after],
            "prod-a, prod-b",
        ),
        (
            vec!["--before", &after, "--after", &after, "--cluster", "x"],
            "there is no cluster `x`",
        ),
        (
            vec![
                "--before",
                &nowhere,
                "--after",
                &after,
                "--cluster",
                "prod-a",
            ],
            "nowhere",
        ),
        (
            vec![
                "--before",
                &before,
                "--after",
                &after,
                "--cluster",
                "prod-a",
            ],
            "`odd.yaml`, line 1",
        ),
        (vec!["--before", &before], "--after"),
        (vec!["--cluster", "prod-a"], "--git"),
    ] {
        let (code, stdout, stderr) = gate(&args);
        assert_eq!(code, Some(2), "{args:?}: {stdout}");
        assert!(stderr.contains(word), "{args:?} lacks {word}: {stderr}");
    }
    let (code, stdout, _) = gate(&["--before", &after, "--after", &after, "--cluster", "prod-a"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("both sides hold the same objects"),
        "{stdout}"
    );
}
