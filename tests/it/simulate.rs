//! `simulate` on the sample, as a user runs it: the present spec against what was observed, other specs
//! beside it, and refusals that name what is missing.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::sample::{idleproof, run, text};

fn simulate(args: &[&str]) -> (Option<i32>, String, String) {
    let config = run().config();
    let config = config.to_string_lossy();
    let all: Vec<&str> = ["simulate", "--config", &config]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let output = idleproof(&all);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn rows(args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let (code, stdout, stderr) = simulate(&args);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// The row of one replay of one workload.
fn row<'r>(rows: &'r [Value], name: &str, what: &str) -> &'r Value {
    rows.iter()
        .find(|row| row["workload_name"] == name && row["run"] == what)
        .unwrap_or_else(|| panic!("no {what} of {name}"))
}

fn hours(row: &Value, column: &str) -> f64 {
    row[column].as_f64().unwrap()
}

fn usd(row: &Value) -> f64 {
    row["cost_usd"].as_str().unwrap().parse().unwrap()
}

fn refused(args: &[&str], words: &[&str]) {
    let (code, stdout, stderr) = simulate(args);
    assert_eq!(code, Some(2), "{args:?}\n{stdout}\n{stderr}");
    assert_eq!(stdout, "");
    for word in words {
        assert!(stderr.contains(word), "{args:?} lacks {word:?}:\n{stderr}");
    }
}

fn manifest(name: &str, body: &str) -> String {
    let path: PathBuf = run().folder.path().join(name);
    fs::write(&path, body).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn the_present_specs_come_to_the_replicas_that_were_observed() {
    let rows = rows(&["--all"]);
    // Four of an HPA that its minimum holds, two of one in another cluster, one of KEDA, a fixed one.
    for (name, scaler) in [
        ("qwen-7b-router", "HPA 4..6"),
        ("product-qa", "HPA 2..4"),
        ("mistral-7b-help", "HPA 1..2"),
        ("llama-8b-bulk", "KEDA 1..2"),
        ("llama-8b-assist", "fixed 1"),
    ] {
        let (observed, present) = (row(&rows, name, "observed"), row(&rows, name, "present"));
        assert_eq!(present["scaler"], scaler);
        let (was, is) = (
            hours(observed, "replica_hours"),
            hours(present, "replica_hours"),
        );
        assert!((is / was - 1.0).abs() <= 0.05, "{name}: {was} and {is}");
        // The error that is printed is that of the two rows.
        let told = hours(present, "replay_error_percent");
        assert!(
            (told - (is / was - 1.0) * 100.0).abs() < 0.02,
            "{name}: {told}"
        );
    }
    // It slept in between: the scaler's own metric tells of the time when nobody was there to count.
    let asleep = row(&rows, "gemma-2b", "present");
    assert_eq!(asleep["scaler"], "KEDA 0..2");
    assert!(hours(asleep, "known_hours") > 300.0, "{asleep}");
    assert!(hours(asleep, "replica_hours") < 20.0, "{asleep}");
    assert!(
        hours(asleep, "replay_error_percent").abs() < 10.0,
        "{asleep}"
    );
    assert_eq!(asleep["startup_from"], "its own pods");
    assert_eq!(asleep["startup_seconds"], 340);
    // A day without scrapes in the other cluster is unknown on both sides.
    for what in ["observed", "present"] {
        let blind = row(&rows, "product-qa", what);
        assert!(
            (23.0..25.0).contains(&hours(blind, "unknown_hours")),
            "{blind}"
        );
        assert!(
            (311.0..313.0).contains(&hours(blind, "known_hours")),
            "{blind}"
        );
    }
}

#[test]
fn another_spec_stands_beside_the_present_one_with_its_dollars() {
    // One replica serves the peak, as the sample's truth says of it.
    let rows = rows(&["--workload", "chat/qwen-7b-router", "--min", "1"]);
    let (observed, proposed) = (
        row(&rows, "qwen-7b-router", "observed"),
        row(&rows, "qwen-7b-router", "proposed"),
    );
    assert_eq!(rows.len(), 3);
    assert_eq!(hours(observed, "gpu_hours"), 1344.0);
    assert!((usd(observed) - 1081.65).abs() < 0.05, "{observed}");
    assert_eq!(hours(proposed, "gpu_hours"), 336.0);
    assert!((usd(proposed) - 1081.65 / 4.0).abs() < 0.05, "{proposed}");
    assert_eq!(proposed["slo_minutes_missed"], 0);
    // What is saturated misses its SLO with nobody there, and only then.
    let rows = self::rows(&["--workload", "search/llama-8b-bulk", "--replicas", "0"]);
    let nobody = row(&rows, "llama-8b-bulk", "proposed");
    assert_eq!(nobody["slo_minutes_missed"], 14 * 24 * 60);
    assert_eq!(usd(nobody), 0.0);
    let lost = nobody["unserved_requests"].as_f64().unwrap();
    assert!(
        lost > 0.99 * nobody["requests"].as_f64().unwrap(),
        "{nobody}"
    );
}

#[test]
fn specs_come_from_manifests_of_every_kind() {
    let scaled = manifest(
        "scaled.yaml",
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec:\n  scaleTargetRef: {name: summarizer-14b}\n  minReplicaCount: 0\n  maxReplicaCount: 2\n  triggers:\n  - type: cron\n    metadata: {timezone: UTC, start: 50 5 * * *, end: 0 20 * * *, desiredReplicas: '1'}\n",
    );
    let rows = rows(&["--workload", "docs/summarizer-14b", "--spec", &scaled]);
    let proposed = row(&rows, "summarizer-14b", "proposed");
    // From 05:50 to 20:00 and a cooldown, fourteen days long: its nights are dark.
    let held = hours(proposed, "gpu_hours");
    assert!((14.0 * 14.1..14.0 * 14.4).contains(&held), "{proposed}");
    // A count belongs to the bucket of the later scrape, so the evening's last may come after the end.
    let missed = proposed["slo_minutes_missed"].as_i64().unwrap();
    assert!(missed <= 14, "{proposed}");
    let knative = manifest(
        "knative.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: other}\n---\napiVersion: serving.knative.dev/v1\nkind: Service\nspec:\n  template:\n    metadata:\n      annotations: {autoscaling.knative.dev/target: '10'}\n    spec: {containerConcurrency: 10}\n",
    );
    let rows = self::rows(&[
        "--workload",
        "docs/summarizer-14b",
        "--spec",
        &knative,
        "--last",
        "3d",
    ]);
    let woken = row(&rows, "summarizer-14b", "proposed");
    assert_eq!(woken["scaler"], "Knative 0..");
    assert!(
        hours(woken, "gpu_hours") < hours(row(&rows, "summarizer-14b", "observed"), "gpu_hours")
    );
    // Who comes first in the morning waits for a start.
    assert!(woken["late_requests"].as_i64().unwrap() > 0, "{woken}");
    let fixed = manifest(
        "fixed.json",
        "{\"kind\": \"Deployment\", \"spec\": {\"replicas\": 2}}",
    );
    let rows = self::rows(&["--workload", "docs/summarizer-14b", "--spec", &fixed]);
    assert_eq!(
        hours(row(&rows, "summarizer-14b", "proposed"), "replica_hours"),
        672.0
    );
}

#[test]
fn a_weekly_schedule_is_judged_over_the_week_that_it_has_not_seen() {
    let found = rows(&["--workload", "docs/summarizer-14b", "--schedule"]);
    let proposed = row(&found, "summarizer-14b", "proposed");
    assert_eq!(hours(proposed, "known_hours"), 168.0, "{proposed}");
    let text = proposed["schedule"].as_str().unwrap();
    assert!(
        text.starts_with("replicas by the week (UTC): 1 at any time"),
        "{text}"
    );
    refused(
        &[
            "--workload",
            "docs/summarizer-14b",
            "--schedule",
            "--last",
            "8d",
        ],
        &["two weeks or more"],
    );
}

#[test]
fn hours_show_replicas_over_time_and_runs_repeat_to_the_byte() {
    let args = [
        "--workload",
        "docs/summarizer-14b",
        "--replicas",
        "2",
        "--hourly",
        "-o",
        "csv",
    ];
    let (code, once, stderr) = simulate(&args);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(once.lines().count(), 1 + 3 * 14 * 24);
    assert!(once.starts_with("cluster,namespace,"), "{once}");
    assert_eq!(simulate(&args).1, once);
    assert!(
        stderr.contains("replaying the present spec gives +0.0 %"),
        "{stderr}"
    );
}

#[test]
fn what_cannot_be_replayed_is_refused_and_named() {
    let router = ["--workload", "chat/qwen-7b-router"];
    let with = |more: &[&'static str]| -> Vec<String> {
        router
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let refuse = |args: Vec<String>, words: &[&str]| {
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    let spec = |name: &str, body: &str| {
        let path = manifest(name, body);
        let mut args = with(&["--spec"]);
        args.push(path);
        args
    };
    refuse(
        spec("cronjob.yaml", "kind: CronJob\n"),
        &["`CronJob`", "ScaledObject"],
    );
    refuse(spec("bad.yaml", "a: [\n"), &["neither YAML nor JSON"]);
    refuse(
        spec(
            "gpu.yaml",
            "kind: HorizontalPodAutoscaler\nspec:\n  maxReplicas: 4\n  metrics:\n  - type: Pods\n    pods:\n      metric: {name: DCGM_FI_DEV_GPU_UTIL}\n      target: {type: AverageValue, averageValue: '60'}\n",
        ),
        &["`DCGM_FI_DEV_GPU_UTIL` was never recorded"],
    );
    refuse(
        spec(
            "two.yaml",
            "kind: HorizontalPodAutoscaler\n---\nkind: ScaledObject\n",
        ),
        &["2 documents that scale something"],
    );
    refuse(
        with(&["--target", "queue_of_tomorrow=5"]),
        &["`queue_of_tomorrow` was never recorded"],
    );
    refuse(
        with(&["--min", "7"]),
        &["the most replicas", "at least the minimum"],
    );
    refuse(
        with(&["--from", "2026-11-20", "--to", "2026-11-20"]),
        &["the span is empty"],
    );
    refuse(
        with(&["--from", "2026-01-01", "--to", "2026-01-08"]),
        &["no workload with GPUs"],
    );
    refused(
        &["--workload", "train/lora-7b-run42"],
        &["holds no demand of `prod-b/train/job.batch/lora-7b-run42`"],
    );
    refused(
        &["--workload", "nobody"],
        &["`nobody`", "idleproof inventory"],
    );
    refused(&[], &["--workload"]);
    refused(&["--all", "--spec", "x.yaml"], &["--spec"]);
}
