use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Date32Array, Int64Array, StringArray};
use rust_decimal::Decimal;

use super::*;
use crate::detect::economics::placements::{Evidence, Verdict};
use crate::detect::economics::prices::{NodeFacts, Rung};
use crate::detect::findings::stored_usd;
use crate::exit::Exit;
use crate::lake::columns::{int, text};
use crate::lake::{SessionLimits, schema, session_config};
use crate::model::time::{DAY_MS, HOUR_MS};

const H100: &str = "aws|us-east-1|p5.4xlarge|H100-SXM-80|";
const L40S: &str = "aws|us-east-1|g6e.xlarge|L40S-48|";
pub(super) const DAYS: i64 = 4;

pub(super) fn usd(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn price(key: &str, effective: Option<&str>, list: &str) -> PriceRow {
    PriceRow {
        facts: NodeFacts::from_key(key).unwrap(),
        gpus_per_node: Some(1),
        list_usd_per_gpu_hour: Some(usd(list)),
        contracted_usd_per_gpu_hour: None,
        effective_usd_per_gpu_hour: effective.map(usd),
        rung: Rung::Catalogue,
        band_percent: 20,
        provenance: "test".to_owned(),
        price_date: None,
        commitment: None,
    }
}

fn placement(candidate_kind: &'static str, key: &str, replicas: i64) -> Placement {
    Placement {
        cluster: "a".to_owned(),
        namespace: "chat".to_owned(),
        workload_kind: "deployment.apps".to_owned(),
        workload_name: "llm".to_owned(),
        candidate: key.to_owned(),
        candidate_kind,
        gpu_product: key.split('|').nth(3).map(str::to_owned),
        price_key: Some(key.to_owned()),
        gpu_milli_per_replica: 1000,
        verdict: Verdict::Feasible,
        why: String::new(),
        prefill_milli_tokens_per_second: None,
        decode_milli_tokens_per_second: None,
        max_concurrency: None,
        headroom_ppm: None,
        replicas_at_peak: Some(replicas),
        floor_replicas: Some(1),
        ttft_ms: None,
        itl_ms: None,
        slo_ttft_p95_ms: None,
        slo_itl_p95_ms: None,
        slo_source: "assumed",
        band_percent: 30,
        evidence: Evidence::Model,
        confidence: "medium",
        demand_json: "{}".to_owned(),
        estimator_version: "1".to_owned(),
    }
}

pub(super) fn inputs() -> DetectInputs {
    DetectInputs {
        window: TimeWindow::new(0, DAYS * DAY_MS),
        run_id: "r1".to_owned(),
        params: BTreeMap::new(),
        prices: vec![price(H100, Some("6.88"), "9"), price(L40S, None, "1.861")],
        placements: vec![
            placement("same-tier", H100, 4),
            placement("other-tier", L40S, 5),
            // Dearer at the peak than today's tier would be: no candidate.
            Placement {
                candidate: "many".to_owned(),
                ..placement("other-tier", L40S, 50)
            },
        ],
        first_seen: BTreeMap::new(),
        accepted: Vec::new(),
        bands: BTreeMap::new(),
    }
}

/// Replicas held in an hour of the day: 86 hours a day.
fn held(hour: i64) -> i64 {
    match hour % 24 {
        0..8 => 1,
        8..14 => 3,
        _ => 6,
    }
}

pub(super) struct Slot {
    pub(super) hour: i64,
    gpu: i64,
    pub(super) class: &'static str,
    pub(super) ms: i64,
    is_final: bool,
}

/// Six slots: one replica each while held, the rest unallocated; the last hour is not closed.
pub(super) fn slots() -> Vec<Slot> {
    let mut slots = Vec::new();
    for hour in 0..=DAYS * 24 {
        for slot in 0..6 {
            let is_final = hour < DAYS * 24;
            let mut add = |class, ms| {
                slots.push(Slot {
                    hour,
                    gpu: slot,
                    class,
                    ms,
                    is_final,
                });
            };
            if slot >= held(hour) {
                add("unallocated", HOUR_MS);
            } else {
                // Odd milliseconds, so that shares do not come out even.
                let lull = 1_000_003 * (slot + 1) % 3_000_017;
                add("lull", lull);
                add("serving", HOUR_MS - lull);
            }
        }
    }
    slots
}

pub(super) fn ledger() -> RecordBatch {
    let slots = slots();
    let words = |pick: &dyn Fn(&Slot) -> Option<&'static str>| -> ArrayRef {
        Arc::new(slots.iter().map(pick).collect::<StringArray>())
    };
    let numbers = |pick: &dyn Fn(&Slot) -> i64| -> ArrayRef {
        Arc::new(
            slots
                .iter()
                .map(|slot| Some(pick(slot)))
                .collect::<Int64Array>(),
        )
    };
    let holder = |name: &'static str| {
        words(&move |slot: &Slot| {
            Some(if slot.class == "unallocated" {
                ""
            } else {
                name
            })
        })
    };
    let none = words(&|_| None);
    let days: Date32Array = slots
        .iter()
        .map(|slot| Some((slot.hour / 24) as i32))
        .collect();
    let is_final: BooleanArray = slots.iter().map(|slot| Some(slot.is_final)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(days),
        words(&|_| Some("a")),
        words(&|_| Some("n1")),
        numbers(&|slot| slot.gpu),
        words(&|_| Some("whole")),
        numbers(&|slot| slot.hour * HOUR_MS),
        holder("chat"),
        holder("deployment.apps"),
        holder("llm"),
        words(&|slot| Some(slot.class)),
        numbers(&|slot| slot.ms),
        Arc::clone(&none),
        words(&|_| Some("H100-SXM-80")),
        words(&|_| Some("p5.4xlarge")),
        words(&|_| Some(H100)),
        Arc::clone(&none),
        Arc::clone(&none),
        none,
        Arc::new(is_final),
    ];
    RecordBatch::try_new(schema::table("ledger").unwrap().table_schema(), columns).unwrap()
}

pub(super) fn session() -> SessionContext {
    let session = SessionContext::new_with_config(session_config(SessionLimits::default()));
    for spec in crate::lake::schema::TABLES {
        let none = RecordBatch::new_empty(spec.table_schema());
        register(&session, spec.name, vec![none]).unwrap();
    }
    register(&session, "ledger", vec![ledger()]).unwrap();
    session
}

const REST: &str = "$window_start_ms AS window_start_ms, $window_end_ms AS window_end_ms, \
    'alarm' AS status, CAST(0.5 AS DOUBLE) AS coverage, 'medium' AS confidence, 'm' AS model, \
    'H100-SXM-80' AS gpu_product, CAST(NULL AS TEXT) AS team, \
    'llm on H100' AS headline, 'nobody needs it' AS because, 'Seen.' AS reason, \
    $window_end_ms - $window_start_ms AS existed_ms, CAST(1 AS BIGINT) AS alive, \
    CAST(10 AS BIGINT) AS band_percent, 'Do it.' AS remedy, 'tier' AS remedy_action, \
    '3' AS remedy_current, '1' AS remedy_proposed, \
    'low' AS remedy_risk, 'none' AS remedy_disruption, CAST(SUM(ms) AS BIGINT) AS ev_held_ms, \
    CAST(NULL AS BIGINT) AS ev_unseen";

fn head(id: &str, order: i64) -> String {
    format!(
        "/*---\nid: {id}\nversion: 1.0.0\ntitle: t\nstatus: stable\nseverity: warning\n\
         grain: [cluster, namespace, workload_kind, workload_name]\nrequires: [ledger]\n\
         claims: [serving, lull]\norder: {order}\nwindow: {{default: 14d, min: 3d}}\n\
         params:\n  share: {{type: int, unit: x, default: 1, why: because}}\n\
         false_positives: [x]\nremediation: {{a: b}}\n---*/\n"
    )
}

/// A detector of every workload of the ledger with the given claims.
fn detector(id: &str, order: i64, freed: &str, added: &str) -> Detector {
    let text = format!(
        "{}SELECT cluster, namespace, workload_kind, workload_name, {REST} FROM ledger \
         WHERE final AND workload_name <> '' AND $share > 0 \
         GROUP BY cluster, namespace, workload_kind, workload_name \
         ORDER BY cluster, namespace, workload_kind, workload_name",
        head(id, order)
    );
    let claims = format!(
        "WITH held AS (SELECT c.*, SUM(ms) OVER (PARTITION BY c.hour_ms) AS all_ms \
         FROM claimable c WHERE c.workload_name <> '') \
         SELECT h.cluster, h.namespace, h.workload_kind, h.workload_name, h.instance_type, \
         h.gpu_product, h.price_key, h.hour_ms, h.class, CAST({freed} AS BIGINT) AS ms_freed, \
         CAST(CASE WHEN h.class = 'serving' THEN {added} ELSE 0 END AS BIGINT) AS ms_added, \
         'L40S-48' AS product_added, '{L40S}' AS price_key_added \
         FROM held h INNER JOIN found f ON f.workload_name = h.workload_name \
         ORDER BY h.hour_ms, h.class"
    );
    Detector::parse(&format!("detectors/{id}.sql"), &text, Some(&claims)).unwrap()
}

/// Of six replicas 2.4 are surplus, of three 2, of one none: 36 hours a day; the
/// lulls first, so that serving is left to move.
pub(super) fn worked_example() -> QuerySet {
    let excess =
        "CASE WHEN all_ms = 21600000 THEN 8640000 WHEN all_ms = 10800000 THEN 7200000 ELSE 0 END";
    let freed = format!(
        "CASE WHEN class = 'lull' THEN CASE WHEN ms < {excess} THEN ms ELSE {excess} END \
         WHEN all_ms - ms < {excess} THEN {excess} - (all_ms - ms) ELSE 0 END"
    );
    QuerySet::of_detectors(vec![
        detector("tier-misplacement", 50, "ms", "7200000"),
        detector("surplus-replicas", 30, &freed, "0"),
    ])
    .unwrap()
}

#[tokio::test]
async fn the_worked_example_through_sql() {
    let detection = detect(&session(), &worked_example(), &inputs())
        .await
        .unwrap();
    let [surplus, tier] = detection.findings.as_slice() else {
        panic!("{detection:?}")
    };
    assert_eq!(
        surplus.handle,
        "surplus-replicas/a/chat/deployment.apps/llm"
    );
    assert_eq!(surplus.waste_gpu_ms, DAYS * 36 * HOUR_MS);
    assert_eq!(
        (tier.waste_gpu_ms, tier.ms_added),
        (DAYS * 50 * HOUR_MS, DAYS * 48 * HOUR_MS)
    );
    let net = surplus.net_window_usd.unwrap() + tier.net_window_usd.unwrap();
    let daily = usd("86") * usd("6.88") - usd("48") * usd("1.861");
    assert_eq!(stored_usd(net), stored_usd(daily * Decimal::from(DAYS)));

    // Alone, the tier would free all 86 hours; what surplus takes of that is overlap.
    let alone = usd("86") * usd("6.88") - usd("48") * usd("1.861");
    assert_eq!(
        stored_usd(tier.gross_window_usd.unwrap()),
        stored_usd(alone * Decimal::from(DAYS))
    );
    let proposed = tier.recommendation.as_ref().unwrap();
    let earlier = surplus.recommendation.as_ref().unwrap();
    assert_eq!(proposed.assumes, vec![earlier.recommendation_id.clone()]);
    assert_eq!(earlier.assumes, Vec::<String>::new());
    assert_eq!(proposed.alone_monthly_usd, tier.gross_monthly_usd);

    // 20 % of the price; nothing is added, so the detector's own band widens nothing.
    let month = surplus.net_monthly_usd.unwrap();
    assert_eq!(
        stored_usd(month),
        stored_usd(usd("36") * usd("6.88") * usd("730") / usd("24"))
    );
    assert_eq!(
        stored_usd(surplus.net_p10_usd.unwrap()),
        stored_usd(month * usd("0.8"))
    );
    assert_eq!(
        surplus.title,
        "llm on H100 costs $7,534/month more than it should: nobody needs it"
    );
    assert_eq!(
        surplus.evidence[1],
        ("unseen".to_owned(), "unknown".to_owned())
    );
    assert_eq!(tier.price_basis, "effective (catalogue), list (catalogue)");
}

#[tokio::test]
async fn a_finding_that_saves_nothing_is_withdrawn_before_the_next() {
    // Needs as many dear hours as it frees cheap ones.
    let mut inputs = inputs();
    inputs.prices[1] = price(L40S, Some("100"), "100");
    let queries = QuerySet::of_detectors(vec![
        detector("dear", 10, "ms", "3600000"),
        detector("later", 20, "ms", "0"),
    ])
    .unwrap();
    let detection = detect(&session(), &queries, &inputs).await.unwrap();
    let [dear, later] = detection.findings.as_slice() else {
        panic!("{detection:?}")
    };
    assert_eq!((dear.status.as_str(), dear.net_window_usd), ("ok", None));
    assert!(dear.reason.contains("net \u{2264} 0"), "{}", dear.reason);
    assert_eq!(dear.recommendation, None);
    assert_eq!(later.waste_gpu_ms, DAYS * 86 * HOUR_MS);
    assert!(
        detection
            .claims
            .iter()
            .all(|claim| claim.detector == "later")
    );
}

#[tokio::test]
async fn claims_beyond_the_ledger_name_the_detector() {
    let queries = QuerySet::of_detectors(vec![detector("greedy", 10, "ms + 1", "0")]).unwrap();
    let error = detect(&session(), &queries, &inputs()).await.unwrap_err();
    assert!(error.to_string().contains("`greedy`"), "{error}");
    assert_eq!(error.exit(), Exit::Usage);

    let mut wrong = inputs();
    wrong.params.insert("gready".to_owned(), Params::default());
    let error = detect(&session(), &queries, &wrong).await.unwrap_err();
    assert!(error.to_string().contains("greedy"), "{error}");
    let mut wrong = inputs();
    wrong
        .params
        .insert("greedy".to_owned(), Params::default().with_int("shore", 1));
    let error = detect(&session(), &queries, &wrong).await.unwrap_err();
    assert!(error.to_string().contains("share"), "{error}");
}

#[tokio::test]
async fn candidates_are_cheaper_than_today_and_ranked() {
    let session = session();
    detect(&session, &worked_example(), &inputs())
        .await
        .unwrap();
    let rows = session
        .table("candidates")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(int(&rows[0], "rank").unwrap().value(0), 1);
    assert_eq!(text(&rows[0], "candidate").unwrap().value(0), L40S);
}
