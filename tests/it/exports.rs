//! Exports of the sample's publication, read as their users' tools read them: sums equal the ledger's,
//! FOCUS's rules hold, every form says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::sample::{idleproof, run, text};

/// Columns that FOCUS 1.4 makes mandatory in cost and usage.
const MANDATORY: &[&str] = &[
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "ListCost",
    "HostProviderName",
    "ServiceProviderName",
    "InvoiceIssuerName",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
];

fn good(args: &[&str]) -> String {
    let config = run().config().to_string_lossy().into_owned();
    let all = [args, &["--config", &config]].concat();
    let output = idleproof(&all);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{all:?}\n{}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn csv_rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            let cells = header.iter().zip(record.iter());
            cells.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        })
        .collect()
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str(text).unwrap()
}

/// GPU-hours and dollars of the window, by class, as SQL tells them.
fn classes() -> BTreeMap<String, (Decimal, Decimal)> {
    let (from, to) = window();
    let query = format!(
        "SELECT class, CAST(SUM(seconds) AS VARCHAR) AS s, CAST(SUM(effective_cost_usd) AS VARCHAR) AS usd \
         FROM v_ledger WHERE final AND hour >= '{from}' AND hour < '{to}' GROUP BY class"
    );
    let rows: Vec<Value> = serde_json::from_str(&good(&["sql", &query, "-o", "json"])).unwrap();
    assert!(rows.len() > 5);
    rows.iter()
        .map(|row| {
            let hours = decimal(row["s"].as_str().unwrap()) / Decimal::from(3600);
            let usd = decimal(row["usd"].as_str().unwrap());
            (row["class"].as_str().unwrap().to_owned(), (hours, usd))
        })
        .collect()
}

fn window() -> (String, String) {
    let text = good(&[
        "sql",
        "SELECT CAST(MIN(window_start) AS VARCHAR) AS a, CAST(MAX(window_end) AS VARCHAR) AS b FROM v_findings",
        "-o",
        "json",
    ]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let at = |name: &str| rows[0][name].as_str().unwrap().to_owned();
    (at("a"), at("b"))
}

fn near(a: Decimal, b: Decimal) -> bool {
    (a - b).abs() < Decimal::new(1, 2)
}

#[test]
fn focus_rows_keep_the_rules_and_add_up_to_the_ledger() {
    let rows = csv_rows(&good(&["export", "focus"]));
    let header: BTreeSet<&str> = rows[0].keys().map(String::as_str).collect();
    for column in MANDATORY {
        assert!(header.contains(column), "{column}");
    }
    let mut sums: BTreeMap<String, (Decimal, Decimal)> = BTreeMap::new();
    for row in &rows {
        // Only a correction has a class; ours are none.
        assert_eq!(row["ChargeClass"], "");
        assert_eq!(
            (
                row["ChargeCategory"].as_str(),
                row["BillingCurrency"].as_str()
            ),
            ("Usage", "USD")
        );
        let at = |name: &str| {
            chrono::DateTime::parse_from_rfc3339(&row[name])
                .unwrap_or_else(|error| panic!("{name} {}: {error}", row[name]))
        };
        assert!(at("ChargePeriodStart") < at("ChargePeriodEnd"));
        assert!(at("BillingPeriodStart") <= at("ChargePeriodStart"));
        assert!(at("ChargePeriodEnd") <= at("BillingPeriodEnd"));
        let quantity = decimal(&row["PricingQuantity"]);
        assert!(quantity > Decimal::ZERO && quantity <= Decimal::from(24 * 16));
        for name in [
            "PricingUnit",
            "ServiceName",
            "ResourceId",
            "SkuId",
            "x_GpuState",
            "ServiceProviderName",
        ] {
            assert_ne!(row[name], "", "{name}");
        }
        let waste = ["surplus", "misplaced", "starved", "dark", "unallocated"]
            .contains(&row["x_GpuState"].as_str());
        assert_eq!(row["x_WasteClass"] == row["x_GpuState"], waste);
        let sum = sums.entry(row["x_GpuState"].clone()).or_default();
        sum.0 += quantity;
        sum.1 += decimal(&row["EffectiveCost"]);
    }
    let ledger = classes();
    assert_eq!(
        sums.keys().collect::<Vec<_>>(),
        ledger.keys().collect::<Vec<_>>()
    );
    for (class, (hours, usd)) in &ledger {
        assert!(near(sums[class].0, *hours), "{class}: {hours}");
        assert!(near(sums[class].1, *usd), "{class}: {usd}");
    }
}

#[test]
fn tables_are_the_same_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["csv", "ndjson", "parquet"] {
        let out = folder.path().to_string_lossy().into_owned();
        let said = good(&["export", "csv", "--out", &out, "--format", format]);
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    for table in ["findings", "recommendations", "ledger"] {
        let rows = csv_rows(&text(&read(&format!("{table}.csv"))));
        let lines = text(&read(&format!("{table}.ndjson")));
        assert!(!rows.is_empty());
        assert_eq!(rows.len(), lines.lines().count(), "{table}");
        let parquet = idleproof::lake::foreign_rows(
            read(&format!("{table}.parquet")).into(),
            &rows[0].keys().map(String::as_str).collect::<Vec<_>>(),
        )
        .unwrap();
        assert_eq!(parquet.columns.len(), rows[0].len(), "{table}");
        assert_eq!(parquet.rows.map(Result::unwrap).count(), rows.len());
    }
}

#[test]
fn gauges_are_the_ledgers() {
    let out = good(&["export", "openmetrics"]);
    assert!(out.ends_with("# EOF\n"), "{out}");
    // All samples of a family with these words in their labels, added up.
    let value = |family: &str, labels: &str| -> Decimal {
        out.lines()
            .filter(|line| line.starts_with(family) && line.contains(labels))
            .map(|line| decimal(line.rsplit(' ').next().unwrap()))
            .sum()
    };
    for (class, (hours, usd)) in classes() {
        let labels = format!("class=\"{class}\"}}");
        assert!(near(value("idleproof_gpu_hours{", &labels), hours));
        assert!(near(value("idleproof_cost_usd{", &labels), usd));
    }
    assert!(value("llm_total_hourly_cost{", "") > Decimal::ZERO);
    assert!(value("llm_cost_per_million_tokens{", "cost_basis") > Decimal::ZERO);
    assert!(value("idleproof_window_end_timestamp_seconds", "") > Decimal::ZERO);
}

#[test]
fn a_publication_is_rendered_again_and_says_the_same() {
    let read = |text: &str| -> Value {
        let mut value: Value = serde_json::from_str(text).unwrap();
        // Decisions are read from the log by the run alone, and the funnel is that of the log by now:
        // other tests decide meanwhile.
        value["governance"] = Value::Null;
        value["funnel"] = Value::Null;
        value
    };
    let published = std::fs::read_to_string(run().report.join("report.json")).unwrap();
    let again = read(&good(&["report", "-o", "json"]));
    assert_eq!(read(&published), again);
    assert!(again["sections"]["slices"].as_array().unwrap().len() == 5);
    let last = again["window_end"].as_str().unwrap();
    let day = chrono::DateTime::parse_from_rfc3339(last).unwrap() - chrono::Duration::hours(1);
    let week = day.format("%G-W%V").to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_string_lossy().into_owned();
    good(&["report", "--week", &week, "--out", &out]);
    let html = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    // Every amount that a program reads stands in both texts.
    let mut amounts = BTreeSet::new();
    amounts_in(&again, &mut amounts);
    assert!(amounts.len() > 40, "{}", amounts.len());
    for amount in &amounts {
        assert!(
            html.contains(amount.as_str()),
            "{amount} is not in the HTML"
        );
        assert!(
            markdown.contains(amount.as_str()),
            "{amount} is not in the Markdown"
        );
    }
    let config = run().config().to_string_lossy().into_owned();
    let none = idleproof(&[
        "report", "--week", "2020-W01", "--out", &out, "--config", &config,
    ]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("no publication has a window"));
}

#[test]
fn a_weekly_report_lies_beside_the_runs_once_and_shows_its_zone() {
    let written = std::fs::read_to_string(run().config()).unwrap();
    let place = run().folder.path();
    let with = |name: &str, zone: &str| {
        let file = place.join(name);
        let text = written
            .replace("timezone = \"UTC\"", &format!("timezone = \"{zone}\""))
            .replace(
                &format!("{}/report", place.display()),
                &format!("{}/weekly", place.display()),
            );
        std::fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    };
    let berlin = with("berlin.toml", "Europe/Berlin");
    let weekly = |more: &[&str]| {
        let args = ["report", "--to-output", "--config", &berlin];
        idleproof(&[&args[..], more].concat())
    };
    let first = weekly(&["--week", "2026-W47", "--last", "14d"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let page = std::path::PathBuf::from(text(&first.stdout).trim());
    let below = page.strip_prefix(place.join("weekly/2026/W47")).unwrap();
    assert!(below.to_string_lossy().starts_with("weekly-"), "{page:?}");
    let html = std::fs::read_to_string(&page).unwrap();
    let edges = "2026-11-09 01:00 CET to 2026-11-23 01:00 CET (14 UTC days)";
    assert!(html.contains(edges));
    assert!(html.contains("Week from (UTC)") && html.contains("id=\"funnel\""));
    // All three say the same, the funnel and what can be handed back with it.
    let markdown = std::fs::read_to_string(page.with_extension("md")).unwrap();
    let json = std::fs::read_to_string(page.with_extension("json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let mut amounts = BTreeSet::new();
    amounts_in(&json["funnel"], &mut amounts);
    amounts_in(&json["returns"], &mut amounts);
    assert!(amounts.len() > 5, "{amounts:?}");
    for amount in &amounts {
        assert!(html.contains(amount.as_str()), "{amount}");
        assert!(markdown.contains(amount.as_str()), "{amount}");
    }
    // It is no publication, and nothing points to it.
    assert!(!place.join("weekly/latest.json").exists());
    let again = weekly(&["--week", "2026-W47"]);
    assert!(text(&again.stdout).contains("is there already and stays as it is"));
    let none = weekly(&["--last", "7d"]);
    assert_eq!(none.status.code(), Some(2));
    let said = text(&none.stderr);
    assert!(
        said.contains("`idleproof run --no-ingest --last 7d` makes one"),
        "{said}"
    );
    let wrong = with("wrong.toml", "Berlin");
    let refused = idleproof(&["check", "config", "--config", &wrong]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("perhaps `Europe/Berlin`"));
}

/// Dollars that stand alone in a cell; sentences are compared by their own tests.
fn amounts_in(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with(['$', '+', '−']) && !text.contains(' ') => {
            into.insert(text.clone());
        }
        Value::Array(all) => all.iter().for_each(|one| amounts_in(one, into)),
        Value::Object(all) => all.values().for_each(|one| amounts_in(one, into)),
        _ => {}
    }
}

#[test]
fn every_question_of_the_cookbook_has_an_answer() {
    let page = std::fs::read_to_string(crate::sample::root().join("docs/sql.md")).unwrap();
    let questions: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .filter_map(|part| part.split("```").next())
        .collect();
    assert_eq!(questions.len(), 20);
    let mut answered = 0;
    for question in questions {
        let rows: Vec<Value> =
            serde_json::from_str(&good(&["sql", question, "-o", "json"])).unwrap();
        answered += usize::from(!rows.is_empty());
    }
    // Few ask for what the sample does not have.
    assert!(answered >= 15, "{answered}");
}

#[test]
fn without_a_terminal_a_query_comes_from_stdin() {
    let config = run().config();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(["sql", "-o", "csv", "--config"])
        .arg(&config)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"select 2 as two;\n").unwrap();
    let answered = child.wait_with_output().unwrap();
    assert_eq!(text(&answered.stdout), "two\n2\n");
}

#[test]
fn a_query_that_nests_without_end_is_refused_at_once() {
    let config = run().config().to_string_lossy().into_owned();
    let calls = format!("SELECT {}1{}", "abs(".repeat(40), ")".repeat(40));
    let chain = format!("SELECT 1{}", " + 1".repeat(20_000));
    for (query, word) in [
        (calls.clone(), "nests too many calls"),
        (format!(".explain {calls}"), "nests too many calls"),
        (chain, "more than 2000 operators"),
    ] {
        let begun = std::time::Instant::now();
        let output = idleproof(&["sql", "--config", &config, &query]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
        // The parser alone would take years for the first.
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let config = run().config();
    for (form, ends) in [
        ("csv", "\n"),
        ("table", "\n"),
        ("ndjson", "\n"),
        ("json", "["),
    ] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_idleproof"))
            .args(["sql", "-o", form, "--config"])
            .arg(&config)
            .arg("select hour, node, class, ms from v_ledger")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // As `head -1` does: some of it is read, and then nobody listens.
        let mut first = [0; 512];
        let mut out = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut out, &mut first).unwrap();
        assert!(text(&first).contains(ends), "{form}");
        drop(out);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(text(&ended.stderr), "", "{form}");
        assert_eq!(ended.status.code(), Some(0), "{form}");
    }
    // Nor is one of stderr, where warnings go.
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(["simulate", "--all", "--config"])
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
