use super::*;

fn row() -> FoundRow {
    FoundRow {
        grain: vec!["a".to_owned(), "p5".to_owned(), "H100-SXM-80".to_owned()],
        cluster: "a".to_owned(),
        namespace: String::new(),
        workload_kind: String::new(),
        workload_name: String::new(),
        window_start_ms: 0,
        window_end_ms: 14 * DAY_MS,
        status: "alarm".to_owned(),
        coverage: Some(0.25),
        confidence: "high".to_owned(),
        model: None,
        gpu_product: Some("H100-SXM-80".to_owned()),
        team: None,
        headline: "2 × H100-SXM-80".to_owned(),
        because: Some("nobody asked for them".to_owned()),
        reason: "Nobody asked.".to_owned(),
        existed_ms: 14 * DAY_MS,
        alive: true,
        band_percent: 0,
        remedy_text: "Return them.".to_owned(),
        remedy: Some(Remedy {
            action: "return-capacity".to_owned(),
            current: Some("2".to_owned()),
            proposed: Some("0".to_owned()),
            gpu_milli: None,
            replicas: None,
            risk: "low".to_owned(),
            disruption: "none".to_owned(),
        }),
        evidence: vec![
            ("b".to_owned(), "1".to_owned()),
            ("a".to_owned(), "2".to_owned()),
        ],
        shown: None,
    }
}

fn worth(freed_usd: Option<&str>) -> Worth {
    Worth {
        ms_freed: 10 * HOUR_MS,
        freed_usd: freed_usd.map(|usd| usd.parse().unwrap()),
        added_usd: Some(Decimal::ZERO),
        basis: "list (sheet)".to_owned(),
        ..Worth::default()
    }
}

fn detector() -> Detector {
    let text = "/*---\nid: idle\nversion: 2.1.0\ntitle: t\nstatus: stable\nseverity: warning\n\
        grain: [cluster, instance_type, gpu_product]\nrequires: [ledger]\norder: 10\n\
        window: {default: 14d, min: 3d}\nfalse_positives: []\nremediation: {}\n---*/\n\
        SELECT 1 AS a ORDER BY a";
    Detector::parse("detectors/idle.sql", text, None).unwrap()
}

fn finding(row: FoundRow, worth: Option<Worth>) -> Finding {
    let detector = detector();
    Finding::new(Valued {
        detector: &detector,
        row,
        net: worth.clone(),
        gross: worth,
        days: Some(Vec::new()),
        shown_usd: None,
        first_seen_ms: None,
        assumes: Vec::new(),
        realised: None,
        acceptances: &[],
        band_percent: 100,
    })
    .unwrap()
}

#[test]
fn a_saving_that_makes_the_bill_grow_says_so_first() {
    let detector = detector();
    let reason = |usd: &str| {
        let worth = Some(worth(Some("3360")));
        let finding = Finding::new(Valued {
            detector: &detector,
            row: row(),
            net: worth.clone(),
            gross: worth,
            days: Some(Vec::new()),
            shown_usd: None,
            first_seen_ms: None,
            assumes: Vec::new(),
            realised: Some(Realised {
                usd: Some(usd.parse().unwrap()),
                ..Realised::default()
            }),
            acceptances: &[],
            band_percent: 100,
        })
        .unwrap();
        (finding.reason, finding.realisable_monthly_usd.unwrap())
    };
    let (said, usd) = reason("-336");
    assert!(usd < Decimal::ZERO);
    assert!(
        said.contains("makes the bill grow by $730 a month"),
        "{said}"
    );
    assert!(!reason("0").0.contains("bill"));
}

#[test]
fn identity_is_detector_major_version_and_grain() {
    let id = finding_id("idle", "2", &row().grain);
    assert_eq!(id, &sha256_hex(b"idle\n2\na\np5\nH100-SXM-80")[..16]);
    let found = finding(row(), Some(worth(Some("3360"))));
    assert_eq!(found.finding_id, id);
    assert_eq!(found.handle, "idle/a/p5/H100-SXM-80");
    let proposed = found.recommendation.as_ref().unwrap();
    let text = format!("{id}\nreturn-capacity");
    assert_eq!(
        proposed.recommendation_id,
        &sha256_hex(text.as_bytes())[..16]
    );
}

#[test]
fn a_title_says_what_is_known() {
    let title = |row, usd| finding(row, Some(worth(usd))).title;
    assert_eq!(
        title(row(), Some("3360")),
        "2 × H100-SXM-80 costs $7,300/month more than it should: nobody asked for them"
    );
    assert_eq!(
        title(row(), None),
        "2 × H100-SXM-80 wastes 10.0 GPU-hours of unknown price: nobody asked for them"
    );
    let gone = finding(
        FoundRow {
            alive: false,
            ..row()
        },
        Some(worth(Some("1234567.5"))),
    );
    assert!(
        gone.title
            .contains("cost $1,234,568 more than it should before it went"),
        "{}",
        gone.title
    );
    assert_eq!(
        (gone.state, gone.net_monthly_usd),
        ("gone", Some(Decimal::ZERO))
    );
    assert_eq!(gone.recommendation, None);
    let young = finding(
        FoundRow {
            existed_ms: 2 * DAY_MS,
            ..row()
        },
        Some(worth(Some("0.2"))),
    );
    assert_eq!(young.net_monthly_usd, None);
    assert!(
        young
            .title
            .contains("cost less than $1 more than it should in 48.0 hours"),
        "{}",
        young.title
    );
    let unpriced = finding(row(), None);
    assert_eq!(unpriced.title, "2 × H100-SXM-80: nobody asked for them");
    assert_eq!(
        (unpriced.status.as_str(), unpriced.net_window_usd),
        ("alarm", None)
    );
}

#[test]
fn what_is_not_an_alarm_has_no_dollars() {
    let found = finding(
        FoundRow {
            status: "undetermined".to_owned(),
            ..row()
        },
        Some(worth(Some("5"))),
    );
    assert_eq!(
        (
            found.waste_gpu_ms,
            found.net_window_usd,
            found.gross_window_usd
        ),
        (0, None, None)
    );
    assert_eq!(found.recommendation, None);
    let withdrawn = finding(row(), Some(worth(Some("-1"))));
    assert_eq!(
        (withdrawn.status.as_str(), withdrawn.waste_gpu_ms),
        ("ok", 0)
    );
}

#[test]
fn canonical_bytes_have_no_floats_and_six_decimals() {
    let text = finding(row(), Some(worth(Some("0.0000005"))))
        .canonical()
        .unwrap();
    assert!(text.contains(r#""net_window_usd":"0.000001""#), "{text}");
    assert!(text.contains(r#""coverage":"0.25""#), "{text}");
    assert!(
        text.contains(r#""evidence":[["b","1"],["a","2"]]"#),
        "{text}"
    );
}

#[test]
fn what_is_accepted_stays_an_alarm_and_asks_for_nothing() {
    let detector = detector();
    let list = [Acceptance {
        cluster: Some("a".to_owned()),
        reason: "fail-over of the other region".to_owned(),
        by: "ana@example.com".to_owned(),
        until_ms: 14 * DAY_MS + 1,
        ..Acceptance::default()
    }];
    let found = |until_ms| {
        let mut list = list.clone();
        list[0].until_ms = until_ms;
        let worth = Some(worth(Some("3360")));
        Finding::new(Valued {
            detector: &detector,
            row: row(),
            net: worth.clone(),
            gross: worth,
            days: Some(Vec::new()),
            shown_usd: None,
            first_seen_ms: None,
            assumes: Vec::new(),
            realised: None,
            acceptances: &list,
            band_percent: 100,
        })
        .unwrap()
    };
    let accepted = found(14 * DAY_MS + 1);
    assert_eq!(
        (accepted.status.as_str(), accepted.state),
        ("alarm", "accepted")
    );
    assert_eq!(accepted.recommendation, None);
    assert!(accepted.net_window_usd.is_some(), "it is still waste");
    assert!(accepted.accepted.unwrap().contains("ana@example.com"));
    // Its day has come: it is open again.
    let open = found(14 * DAY_MS);
    assert_eq!((open.state, open.accepted), ("open", None));
    assert!(open.recommendation.is_some());
}

#[test]
fn what_claims_nothing_shows_its_cost_and_adds_no_dollars() {
    let detector = detector();
    let shown = Finding::new(Valued {
        detector: &detector,
        row: row(),
        net: None,
        gross: None,
        days: Some(Vec::new()),
        shown_usd: Some(("1234.5".parse().unwrap(), "list (catalogue)".to_owned())),
        first_seen_ms: None,
        assumes: Vec::new(),
        realised: None,
        acceptances: &[],
        band_percent: 100,
    })
    .unwrap();
    assert_eq!((shown.net_window_usd, shown.priority_usd), (None, None));
    assert_eq!(shown.price_basis, "none");
    let cost = ("cost_usd_not_claimed".to_owned(), "1234.50".to_owned());
    assert!(shown.evidence.contains(&cost), "{:?}", shown.evidence);
}
