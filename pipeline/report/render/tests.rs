use std::collections::BTreeMap;

use super::*;
use crate::model::time::{DAY_MS, HOUR_MS, TimeWindow};
use crate::model::zone::Zone;
use crate::report::{
    BillData, BlindCost, BlindSpot, ChangeData, ClassTotal, Contradiction, DayClasses, EventData,
    FindingData, GovernanceView, MemoryData, MoverData, OutcomeView, PoolData, PriceRow,
    RecommendationData, ReportData, ScoreView, SectionsData, SliceData, TierFitData, UnitCostData,
    UseData, WeekData, WorkloadRow,
};

const HOSTILE: &str = "<script>alert(1)</script>|`x`\u{202e}[a](javascript:b)\n# h";

pub(crate) fn data(name: &str) -> ReportData {
    let finding = |status: &str, usd: &str| FindingData {
        id: format!("0123{status}"),
        handle: format!("dark-capacity/prod-a/{name}/deployment.apps/llama"),
        detector: "dark-capacity".into(),
        order: 20,
        title: format!("{name} on 2 × H100 had no work"),
        status: status.into(),
        reason: "No request in 14 days".into(),
        confidence: "high".into(),
        confidence_because: vec![name.into()],
        accepted: None,
        coverage: Some("0.984".parse().unwrap()),
        waste_gpu_ms: 672 * HOUR_MS,
        gross_window_usd: Some(usd.parse().unwrap()),
        net_window_usd: Some(usd.parse().unwrap()),
        net_monthly_usd: Some(usd.parse().unwrap()),
        net_p10_usd: Some("100".parse().unwrap()),
        net_p90_usd: Some("9000".parse().unwrap()),
        priority_usd: Some(usd.parse().unwrap()),
        realisable_monthly_usd: Some(usd.parse().unwrap()),
        realisable_after: Some(name.into()),
        price_basis: "list".into(),
        remedy: "Scale it to zero.".into(),
        evidence: vec![(name.into(), name.into())],
        recommendation: Some(RecommendationData {
            id: "r".into(),
            action: "scale-to-zero".into(),
            changes: vec![ChangeData {
                object: name.into(),
                field: "/spec/replicas".into(),
                current: name.into(),
                proposed: "0".into(),
                patch: format!(r#"[{{"op":"replace","path":"/spec/replicas","value":"{name}"}}]"#),
                inverse: "[]".into(),
                managed_by: Some(name.into()),
                observed_at: Some("2026-11-14T00:00:00Z".into()),
                warnings: vec![name.into()],
                verify: vec![name.into()],
            }],
            not_possible: None,
            limits: vec![("max replicas".into(), 0)],
            expires: Some("2026-11-28".into()),
            risk: "low".into(),
            disruption: name.into(),
        }),
    };
    ReportData {
        run_id: "run-1".into(),
        publication: 3,
        code_version: "0.1.0".into(),
        created_ms: 14 * DAY_MS,
        window: TimeWindow::new(0, 14 * DAY_MS),
        zone: Zone::UTC,
        price_basis: "list".into(),
        clusters: vec!["prod-a".into(), name.into()],
        gpus: 4,
        classes: vec![
            ClassTotal {
                class: "dark".into(),
                ms: 672 * HOUR_MS,
                cost_usd: Some("4623.36".parse().unwrap()),
                unpriced_ms: 0,
            },
            ClassTotal {
                class: "unknown".into(),
                ms: 672 * HOUR_MS,
                cost_usd: None,
                unpriced_ms: 672 * HOUR_MS,
            },
        ],
        days: vec![
            DayClasses {
                date: "1970-01-01".into(),
                closed: true,
                classes: vec![
                    ("dark".into(), 48 * HOUR_MS),
                    ("unknown".into(), 48 * HOUR_MS),
                ],
            },
            DayClasses {
                date: "1970-01-02".into(),
                closed: false,
                classes: vec![("serving".into(), 24 * HOUR_MS)],
            },
        ],
        findings: vec![
            finding("alarm", "1000"),
            finding("undetermined", "0"),
            finding("alarm", "4623.36"),
        ],
        workloads: vec![WorkloadRow {
            cluster: "prod-a".into(),
            namespace: name.into(),
            kind: "deployment.apps".into(),
            name: name.into(),
            model: Some(name.into()),
            gpu_product: None,
            team: None,
            ms_by_class: BTreeMap::from([("dark".to_owned(), 672 * HOUR_MS)]),
            cost_usd: None,
        }],
        blindness: vec![BlindCost {
            cluster: name.into(),
            line: "gpu-activity".into(),
            remedy: name.into(),
            gpu_hours: "6.0".into(),
            cost: "$42".into(),
        }],
        blind_spots: vec![BlindSpot {
            what: name.into(),
            why: "the exporter was down".into(),
            gpu_hours: "672.0".into(),
        }],
        prices: vec![PriceRow {
            key: "aws|us-east-1|p5.4xlarge|H100-SXM-80|".into(),
            usd_per_gpu_hour: Some("6.88".parse().unwrap()),
            rung: "catalogue".into(),
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
            usd_per_gpu_hour: Some("6.88".parse().unwrap()),
            commitment: Some(name.into()),
            commitment_end_ms: Some(400 * DAY_MS),
            reserved_nodes: 1,
            empty: vec![(name.into(), DAY_MS)],
        }],
        digests: BTreeMap::from([(name.to_owned(), "ab".repeat(32))]),
        capacity_ms: 1344 * HOUR_MS,
    }
}

fn sections(name: &str) -> SectionsData {
    let usd = |text: &str| Some(text.parse().unwrap());
    let week = |start_ms: i64, cost: &str| WeekData {
        week_start_ms: start_ms,
        class: "dark".into(),
        ms: 168 * HOUR_MS,
        cost_usd: usd(cost),
    };
    SectionsData {
        slices: vec![SliceData {
            dimension: "team".into(),
            slice: name.into(),
            ms: 1344 * HOUR_MS,
            unknown_ms: 672 * HOUR_MS,
            unpriced_ms: 672 * HOUR_MS,
            cost_usd: usd("4623.36"),
            waste_usd: usd("2311.68"),
        }],
        unit_costs: vec![UnitCostData {
            cluster: "prod-a".into(),
            model: name.into(),
            tokens: Some(1_234_567_890),
            held_usd: usd("4623.36"),
            allocation_usd: usd("3.7449"),
            usage_usd: None,
        }],
        weeks: vec![week(0, "2100.10"), week(7 * DAY_MS, "2523.26")],
        week_days: vec![(0, 7), (7 * DAY_MS, 7)],
        movers: vec![MoverData {
            what: name.into(),
            before_ms: 168 * HOUR_MS,
            after_ms: 168 * HOUR_MS,
            before_usd: "2100.10".parse().unwrap(),
            after_usd: "2523.26".parse().unwrap(),
            before_waste_usd: "2100.10".parse().unwrap(),
            after_waste_usd: "2523.26".parse().unwrap(),
        }],
        tier_fit: vec![TierFitData {
            workload: name.into(),
            today: "H100-SXM-80 x1".into(),
            verdict: "feasible".into(),
            today_replicas: Some(2),
            today_usd: usd("10044.80"),
            today_itl_ms: Some(17),
            cheapest: Some("L40S-48 x1".into()),
            cheapest_replicas: Some(3),
            cheapest_usd: usd("4075.59"),
            cheapest_itl_ms: Some(48),
            confidence: Some("medium".into()),
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
            kv_ppm: Some(500_000),
            weights_mib: Some(15_317),
        }],
        uses: vec![UseData {
            workload: name.into(),
            engine: Some(name.into()),
            gpu_product: Some(name.into()),
            gpu_milli_per_replica: Some(2000),
            replicas: Some(3),
            held_ms: 672 * HOUR_MS,
            cost_usd: usd("4623.36"),
            waste_usd: usd("2311.68"),
            tokens: Some(1_234_567_890),
            activity_ppm_sum: Some(3_330_000),
            activity_samples: Some(10),
            arithmetic_ppm: Some(77_000),
            cores_milli: Some(3_400),
            pod_gpu_milli: Some(2_000),
            cfs_periods: Some(1_000),
            cfs_throttled_periods: Some(271),
            ..UseData::default()
        }],
        events: vec![EventData {
            workload: name.into(),
            seen_ms: DAY_MS,
            what: name.into(),
            before: Some(name.into()),
            after: Some(name.into()),
            actor: Some(name.into()),
            gpu_milli_added: Some(3_500),
            cost_usd: usd("321.40"),
        }],
        events_all: 913,
        bill: vec![BillData {
            bill: name.into(),
            provider: name.into(),
            sku: name.into(),
            billed_usd: "7777".parse().unwrap(),
            matched_usd: "7000".parse().unwrap(),
            residual_usd: "777".parse().unwrap(),
        }],
        contradictions: vec![Contradiction {
            cluster: name.into(),
            scope: name.into(),
            check: name.into(),
            things: 8_642,
            example: name.into(),
        }],
    }
}

fn rendered(name: &str) -> (String, String) {
    let view = ReportView::new(&data(name), None);
    let renderer = Renderer::new(None).unwrap();
    (
        renderer.html(&view).unwrap(),
        renderer.markdown(&view).unwrap(),
    )
}

#[test]
fn both_renderings_say_the_same_numbers() {
    let (html, markdown) = rendered("chat");
    for number in [
        "$4,623",
        "$5,623",
        "1,344",
        "50.0 %",
        "98.4 %",
        "$100 to $9,000",
        "$6.8800",
        "1234.6 M",
        "$3.745",
        "+$423",
        "$10,045",
        "3 × L40S-48 x1",
        "48 ms",
        "$40,179",
        "from 1971-02-05",
        "33.3 %",
        "7.7 %",
        "27.1 %",
        "43.3 GiB",
        "+3.5",
        "+$321",
        "913 changes of scale",
        "$7,777",
        "8642",
        "log not read",
    ] {
        assert!(html.contains(number), "{number} is not in the HTML");
        assert!(markdown.contains(number), "{number} is not in the Markdown");
    }
    assert!(
        html.contains("equal to the millisecond") && markdown.contains("equal to the millisecond")
    );
}

#[test]
fn findings_come_ranked_and_undetermined_ones_apart() {
    let view = ReportView::new(&data("chat"), None);
    let money: Vec<&str> = view
        .findings
        .iter()
        .map(|f| f.net_monthly.as_str())
        .collect();
    assert_eq!(money, ["$4,623", "$1,000"]);
    assert_eq!(view.undetermined.len(), 1);
    assert_eq!(view.headline.unpriced_gpu_hours.as_deref(), Some("672.0"));
}

#[test]
fn a_ledger_that_does_not_balance_says_so() {
    let mut data = data("chat");
    data.capacity_ms += 1000;
    let view = ReportView::new(&data, None);
    let html = Renderer::new(None).unwrap().html(&view).unwrap();
    assert!(html.contains("no number here should be used"));
}

#[test]
fn what_became_of_changes_stands_beside_what_was_predicted() {
    let mut view = ReportView::new(&data("chat"), None);
    view.governance = Some(GovernanceView {
        checkpoint: "log.test\n3\nabc\n".into(),
        funnel: vec![("applied".into(), 1)],
        break_glass: Vec::new(),
        outcomes: vec![OutcomeView {
            recommendation: "r1".into(),
            subject: "prod-a/chat/deployment.apps/llm".into(),
            state: "regressed".into(),
            predicted: "$600.00 ($500.00 to $700.00)".into(),
            realised: "$-30.00 ($-60.00 to $-1.00)".into(),
            seen: "applied by <script>alert(1)</script>|x".into(),
        }],
        scores: vec![ScoreView {
            detector: "surplus-replicas".into(),
            outcomes: 1,
            inside: 0,
            predicted: "$600.00".into(),
            realised: "$-30.00".into(),
            band: "300 %".into(),
        }],
        predicted_total: "$600.00".into(),
        realised_total: "$-30.00".into(),
    });
    let renderer = Renderer::new(None).unwrap();
    let html = renderer.html(&view).unwrap();
    let markdown = renderer.markdown(&view).unwrap();
    for word in ["1 applied", "regressed", "$600.00", "300 %", "$-30.00"] {
        assert!(html.contains(word), "{word} is not in the HTML");
        let plain = markdown.replace('\\', "");
        assert!(plain.contains(word), "{word} is not in the Markdown");
    }
    assert!(!html.contains("<script>alert") && !markdown.contains("<script"));
    let row = markdown.lines().find(|line| line.contains("regressed"));
    let cells = row.unwrap().replace("\\|", "").matches('|').count();
    assert_eq!(cells, 6, "{row:?}");
}

#[test]
fn hostile_names_are_text_everywhere() {
    let (html, markdown) = rendered(HOSTILE);
    assert!(!html.contains("<script"), "a script tag got through");
    assert!(!html.contains('\u{202e}') && !markdown.contains('\u{202e}'));
    let unescaped = markdown.replace("\\]", "").replace("\\[", "");
    assert!(!markdown.contains("<script") && !unescaped.contains("](javascript"));
    for line in markdown
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("alert"))
    {
        let cells = line.replace("\\|", "").matches('|').count();
        assert!(
            [3, 4, 5, 6, 7, 8, 9, 12].contains(&cells),
            "a label broke a table row: {line}"
        );
    }
    let long = "a".repeat(10_000);
    let (html, _) = rendered(&long);
    assert!(!html.contains(&"a".repeat(TEXT_CHARS_MAX + 1)));
}

#[test]
fn the_page_carries_the_digest_of_its_own_style() {
    let (html, _) = rendered("chat");
    let css = html
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(css));
    // As all text of a page: a browser reads the signs again.
    let escaped = digest.replace('/', "&#x2f;");
    assert!(html.contains(&format!("'sha256-{escaped}'")), "{escaped}");
    assert!(!html.contains(" style=") && !html.contains("<script"));
}

#[test]
fn a_users_template_takes_the_place_of_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.md.j2"), "{{ report.gpus }} GPUs").unwrap();
    let view = ReportView::new(&data("chat"), None);
    let renderer = Renderer::new(Some(folder.path())).unwrap();
    assert_eq!(renderer.markdown(&view).unwrap(), "4 GPUs");
    assert!(renderer.html(&view).unwrap().starts_with("<!doctype html>"));
    std::fs::write(folder.path().join("report.md.j2"), "{{ report.nothing }}").unwrap();
    let error = Renderer::new(Some(folder.path()))
        .unwrap()
        .markdown(&view)
        .unwrap_err();
    assert!(error.to_string().contains("report.md.j2"), "{error}");
}

#[test]
fn the_digests_tell_the_funnel_and_the_zone() {
    let renderer = Renderer::new(None).unwrap();
    let mut berlin = data("chat");
    berlin.zone = Zone::parse("Europe/Berlin").unwrap();
    let unread = ReportView::new(&berlin, None);
    let chat = renderer.digest_markdown(&unread).unwrap();
    let funnel = chat
        .lines()
        .find(|line| line.contains("From finding"))
        .unwrap();
    assert!(
        funnel.contains("identified 1 ($1,000) → proposed 1 ($1,000); decisions were not read"),
        "{funnel}"
    );
    assert!(
        chat.contains(&format!("• The window is {}\n", unread.window)),
        "{chat}"
    );
    assert!(unread.window.contains("CET"), "{}", unread.window);
    let mail = renderer.digest_html(&unread).unwrap();
    assert!(
        mail.contains(&unread.window) && mail.contains(&unread.created),
        "{mail}"
    );
    assert!(!mail.contains("realised"));
    let read = ReportView::new(&berlin, Some(&[]));
    let chat = renderer.digest_markdown(&read).unwrap();
    assert!(
        chat.contains(
            "→ approved 0 ($0.00) → exported 0 ($0.00) → applied 0 ($0.00) → realised 0 ($0.00)\n"
        ),
        "{chat}"
    );
    let mail = renderer.digest_html(&read).unwrap();
    assert!(
        mail.contains("<td>realised, 0 findings, measured</td><td align=\"right\">$0.00</td>"),
        "{mail}"
    );
    // What a chat takes of a message, with names as long as they come.
    let long = ReportView::new(&data(&"x".repeat(10_000)), None);
    let lines = renderer.digest_markdown(&long).unwrap();
    let funnel = lines
        .lines()
        .find(|line| line.contains("From finding"))
        .unwrap();
    assert!(funnel.len() < 400);
}
