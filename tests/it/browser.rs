//! The pages in a real browser: Debian's Chromium at desktop and phone width, light and dark, with the
//! rules of axe for accessibility; the sample's report and one whose every name is an attack.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS};
use idleproof::model::zone::Zone;
use idleproof::report::{
    BillData, BlindCost, BlindSpot, ChangeData, ClassTotal, Comparison, Contradiction, DayClasses,
    DecidedData, EventData, FindingData, MemoryData, MoverData, PoolData, PriceRow,
    RecommendationData, Renderer, ReportData, ReportView, SectionsData, SliceData, Stage,
    TierFitData, UnitCostData, UseData, WeekData, WorkloadRow,
};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::sample::{root, run, text};
use crate::stores::peers;

/// Whether all that it takes is installed; its absence is an error where CI promises it.
fn installed() -> bool {
    let modules = peers().join("npm/node_modules/axe-core");
    let found = modules.exists()
        && crate::approve_cli::has_chromium()
        && Command::new("node").arg("--version").output().is_ok();
    let why = "node or axe-core is not installed";
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "{why}"
    );
    if !found {
        println!("skipped: {why}");
    }
    found
}

/// A finding whose every text is `name`.
fn finding(name: &str, number: i64) -> FindingData {
    let usd = Some(Decimal::from(1000 + number));
    FindingData {
        id: format!("{number:016x}"),
        handle: format!("dark-capacity/{name}/{number}"),
        detector: "dark-capacity 1.0.0".into(),
        order: 20,
        title: format!("{name} on 2 × H100 had no work"),
        status: "alarm".into(),
        reason: name.into(),
        confidence: "high".into(),
        confidence_because: vec![name.into()],
        accepted: None,
        coverage: Some("0.984".parse().unwrap()),
        waste_gpu_ms: 672 * HOUR_MS,
        gross_window_usd: usd,
        net_window_usd: usd,
        net_monthly_usd: usd,
        net_p10_usd: Some(Decimal::from(900)),
        net_p90_usd: Some(Decimal::from(9000)),
        priority_usd: usd,
        realisable_monthly_usd: usd,
        realisable_after: Some(name.into()),
        price_basis: "list".into(),
        remedy: name.into(),
        evidence: vec![(name.into(), name.into())],
        recommendation: Some(RecommendationData {
            id: format!("{number:016x}"),
            action: "scale-to-zero".into(),
            changes: vec![ChangeData {
                object: name.into(),
                field: "/spec/replicas".into(),
                current: name.into(),
                proposed: "0".into(),
                patch: format!("[{{\"value\":{name:?}}}]"),
                inverse: "[]".into(),
                managed_by: Some(name.into()),
                observed_at: None,
                warnings: vec![name.into()],
                verify: vec![name.into()],
            }],
            not_possible: None,
            limits: vec![("max replicas".into(), 0)],
            expires: Some("2026-11-28".into()),
            risk: "low".into(),
            disruption: name.into(),
        }),
    }
}

/// Sections in which every name that comes from outside is `name`.
fn sections(name: &str) -> SectionsData {
    let usd = Some(Decimal::from(1234));
    let week = |back: i64| WeekData {
        week_start_ms: (20_014 - 7 * back) * DAY_MS,
        class: "dark".into(),
        ms: 168 * HOUR_MS,
        cost_usd: usd,
    };
    SectionsData {
        slices: vec![SliceData {
            dimension: "team".into(),
            slice: name.into(),
            ms: 448 * HOUR_MS,
            unknown_ms: 0,
            unpriced_ms: 0,
            cost_usd: usd,
            waste_usd: usd,
        }],
        unit_costs: vec![UnitCostData {
            cluster: name.into(),
            model: name.into(),
            tokens: Some(1_234_567),
            held_usd: usd,
            allocation_usd: usd,
            usage_usd: usd,
        }],
        weeks: vec![week(1), week(2)],
        week_days: vec![(20_000 * DAY_MS, 7), (20_007 * DAY_MS, 7)],
        movers: vec![MoverData {
            what: name.into(),
            before_ms: HOUR_MS,
            after_ms: 2 * HOUR_MS,
            before_usd: Decimal::ONE,
            after_usd: Decimal::TWO,
            before_waste_usd: Decimal::ZERO,
            after_waste_usd: Decimal::ONE,
        }],
        tier_fit: vec![TierFitData {
            workload: name.into(),
            today: name.into(),
            verdict: name.into(),
            today_replicas: Some(2),
            today_usd: usd,
            today_itl_ms: Some(20),
            cheapest: Some(name.into()),
            cheapest_replicas: Some(1),
            cheapest_usd: usd,
            cheapest_itl_ms: Some(40),
            confidence: Some(name.into()),
        }],
        memory: vec![MemoryData {
            workload: name.into(),
            gpu_product: Some(name.into()),
            gpus: 2,
            total_mib: Some(81_559),
            used_mib: Some(73_400),
            dram_ppm_sum: Some(4_000_000),
            dram_samples: Some(20),
            busiest_ppm: Some(610_000),
            kv_ppm: Some(250_000),
            weights_mib: Some(15_317),
        }],
        uses: vec![UseData {
            workload: name.into(),
            engine: Some(name.into()),
            gpu_product: Some(name.into()),
            gpu_milli_per_replica: Some(1000),
            replicas: Some(2),
            cost_usd: usd,
            tokens: Some(1_000_000),
            cores_milli: Some(3_000),
            pod_gpu_milli: Some(1000),
            ..UseData::default()
        }],
        events: vec![EventData {
            workload: name.into(),
            seen_ms: 20_003 * DAY_MS,
            what: name.into(),
            before: Some(name.into()),
            after: Some(name.into()),
            actor: Some(name.into()),
            gpu_milli_added: Some(2000),
            cost_usd: usd,
        }],
        events_all: 1,
        bill: vec![BillData {
            bill: name.into(),
            provider: name.into(),
            sku: name.into(),
            billed_usd: Decimal::TEN,
            matched_usd: Decimal::ONE,
            residual_usd: Decimal::from(9),
        }],
        contradictions: vec![Contradiction {
            cluster: name.into(),
            scope: name.into(),
            check: name.into(),
            things: 1,
            example: name.into(),
        }],
    }
}

/// A report in which every name that comes from outside is `name`.
fn report(name: &str, findings: i64) -> ReportData {
    ReportData {
        run_id: name.into(),
        publication: 3,
        code_version: "0.1.0".into(),
        created_ms: 14 * DAY_MS,
        window: TimeWindow::new(20_000 * DAY_MS, 20_014 * DAY_MS),
        zone: Zone::UTC,
        price_basis: "list".into(),
        clusters: vec![name.into(), "prod-b".into()],
        gpus: 4,
        classes: ["serving", "dark", "unknown"]
            .map(|class| ClassTotal {
                class: class.into(),
                ms: 448 * HOUR_MS,
                cost_usd: Some(Decimal::from(1234)),
                unpriced_ms: 0,
            })
            .into(),
        days: (0..14)
            .map(|day| DayClasses {
                date: format!("2024-10-{:02}", day + 4),
                closed: day < 13,
                classes: vec![
                    ("serving".into(), 48 * HOUR_MS),
                    ("dark".into(), 48 * HOUR_MS),
                ],
            })
            .collect(),
        findings: (0..findings).map(|number| finding(name, number)).collect(),
        workloads: vec![WorkloadRow {
            cluster: name.into(),
            namespace: name.into(),
            kind: "deployment.apps".into(),
            name: name.into(),
            model: Some(name.into()),
            gpu_product: Some(name.into()),
            team: Some(name.into()),
            ms_by_class: BTreeMap::from([("serving".into(), 448 * HOUR_MS)]),
            cost_usd: Some(Decimal::from(1234)),
        }],
        blind_spots: vec![BlindSpot {
            what: name.into(),
            why: name.into(),
            gpu_hours: "448.0".into(),
        }],
        blindness: vec![BlindCost {
            cluster: name.into(),
            line: name.into(),
            remedy: name.into(),
            gpu_hours: "448.0".into(),
            cost: "$1,234".into(),
        }],
        prices: vec![PriceRow {
            key: name.into(),
            usd_per_gpu_hour: None,
            rung: "list".into(),
            provenance: name.into(),
        }],
        sections: sections(name),
        pools: vec![PoolData {
            cluster: name.into(),
            key: name.into(),
            nodes: 2,
            gpus: 16,
            gpus_per_node: Some(8),
            least_free_ms: 9 * HOUR_MS,
            free_ms: 168 * 11 * HOUR_MS,
            hours: 168,
            commitment: Some(name.into()),
            empty: vec![(name.into(), 20_000 * DAY_MS); 12],
            ..PoolData::default()
        }],
        digests: BTreeMap::from([(name.to_owned(), "0".repeat(64))]),
        capacity_ms: 3 * 448 * HOUR_MS,
    }
}

/// What people decided on, in a state that is `name`.
fn decided(name: &str) -> Vec<DecidedData> {
    let one = |number: i64, reached: Stage| DecidedData {
        finding_id: format!("decided-{number}"),
        reached,
        state: name.into(),
        predicted_monthly_usd: Some(Decimal::from(700 * number)),
        realised_monthly_usd: Some(Decimal::from(500)),
    };
    vec![one(1, Stage::Realised), one(2, Stage::Approved)]
}

/// Opens pages and fails with all that is wrong with them.
fn look(pages: &[(&str, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = pages
        .iter()
        .map(|(name, page)| {
            let file = folder.path().join(name);
            fs::write(&file, page).unwrap();
            file
        })
        .collect();
    let output = Command::new("node")
        .arg(root().join("tests/peers/browser.mjs"))
        .arg(peers().join("npm/node_modules"))
        .args(&files)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults: Vec<String> = serde_json::from_value(seen["faults"].clone()).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Four looks at each page, and each printed.
    let looks = seen["measured"].as_array().unwrap().len();
    assert_eq!(looks, 5 * pages.len(), "{seen}");
}

#[test]
fn the_samples_pages_read_well_in_a_real_browser() {
    if !installed() {
        return;
    }
    let page = |name: &str| fs::read_to_string(run().report.join(name)).unwrap();
    look(&[
        ("report.html", page("report.html")),
        ("digest.html", page("digest.html")),
    ]);
}

#[test]
fn pages_read_well_in_a_real_browser_whatever_the_names_are() {
    if !installed() {
        return;
    }
    let renderer = Renderer::new(None).unwrap();
    let long = "x".repeat(10_000);
    let hostile = format!(
        "<script>alert(1)</script><img src=x onerror=alert(2)>|`a`\u{202e}[l](javascript:alert(3))\"' {long}"
    );
    let data = report(&hostile, 3);
    let mut view = ReportView::new(&data, Some(&decided(&hostile)));
    view.notes.push(hostile.clone());
    let both = Comparison::new(&report("quiet", 1), &data);
    look(&[
        ("report.html", renderer.html(&view).unwrap()),
        ("digest.html", renderer.digest_html(&view).unwrap()),
        ("compare.html", renderer.compare_html(&both).unwrap()),
    ]);
}

#[test]
fn a_report_of_two_thousand_findings_is_one_small_page() {
    let mut data = report("a name of usual length", 2_000);
    // And as many workloads, each with its row in every section.
    data.workloads = vec![data.workloads[0].clone(); 2_000];
    let sections = &mut data.sections;
    sections.uses = vec![sections.uses[0].clone(); 2_000];
    sections.memory = vec![sections.memory[0].clone(); 2_000];
    sections.tier_fit = vec![sections.tier_fit[0].clone(); 2_000];
    sections.unit_costs = vec![sections.unit_costs[0].clone(); 2_000];
    sections.events = vec![sections.events[0].clone(); 25];
    let page = Renderer::new(None)
        .unwrap()
        .html(&ReportView::new(&data, None))
        .unwrap();
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}
