use rust_decimal::Decimal;

use super::*;
use crate::detect::economics::prices::NodeFacts;
use crate::model::canonical::to_canonical;

const H100: &str = "aws|us-east-1|p5.4xlarge|H100-SXM-80|on-demand";

fn llama_8b() -> WorkloadFacts {
    WorkloadFacts {
        cluster: "prod-a".to_owned(),
        namespace: "chat".to_owned(),
        workload_kind: "deployment.apps".to_owned(),
        workload_name: "llama-8b".to_owned(),
        workload_class: "serving".to_owned(),
        model: Some("meta-llama/Meta-Llama-3.1-8B".to_owned()),
        model_raw: Some("meta-llama/Llama-3.1-8B-Instruct".to_owned()),
        max_model_len: Some(8192),
        tensor_parallel: Some(1),
        gpu_product: Some("H100-SXM-80".to_owned()),
        gpu_milli_per_replica: 1000,
        replicas: Some(1),
        floor_replicas: 1,
        price_key: Some(H100.to_owned()),
        ..WorkloadFacts::default()
    }
}

/// Demand of that many requests a second, 800 tokens in and 200 out.
fn demand_of(workload: &WorkloadFacts, requests_per_second: f64) -> Demand {
    let peak = (requests_per_second * 300.0).round() as i64;
    Demand {
        cluster: workload.cluster.clone(),
        namespace: workload.namespace.clone(),
        workload_kind: workload.workload_kind.clone(),
        workload_name: workload.workload_name.clone(),
        days_seen: 14,
        known_ms: 1,
        requests: peak * 1000,
        isl_tokens: 800,
        isl_net_tokens: 800,
        osl_tokens: 200,
        peak_requests_5m: peak,
        peak_prompt_net_tokens_5m: peak * 800,
        peak_output_tokens_5m: peak * 200,
        ..Demand::default()
    }
}

fn rows(workload: &WorkloadFacts, demand: &Demand) -> Placements {
    place(
        std::slice::from_ref(workload),
        std::slice::from_ref(demand),
        &[],
        &PriceBook::default(),
        SizingParams::default(),
        KnownSpeed::default(),
    )
    .unwrap()
}

fn row<'a>(placements: &'a Placements, product: &str) -> &'a Placement {
    placements
        .rows
        .iter()
        .find(|row| {
            row.gpu_product.as_deref() == Some(product)
                && matches!(row.candidate_kind, "same-tier" | "other-tier")
        })
        .unwrap_or_else(|| panic!("no candidate {product}"))
}

/// Dollars an hour at the peak.
fn cost(placements: &Placements, row: &Placement) -> Decimal {
    let key = row.price_key.as_deref().unwrap();
    let price = placements
        .prices
        .iter()
        .find(|price| price.price_key() == key)
        .and_then(|price| price.usd_per_gpu_hour())
        .unwrap_or_else(|| {
            let facts = NodeFacts::from_key(key).unwrap();
            let row = PriceBook::default().price(&facts, None).unwrap();
            row.usd_per_gpu_hour().unwrap()
        });
    price * Decimal::from(row.replicas_at_peak.unwrap() * row.gpu_milli_per_replica / 1000)
}

#[test]
fn a_lightly_used_8b_fits_cheaper_tiers() {
    let workload = llama_8b();
    let placements = rows(&workload, &demand_of(&workload, 0.2));
    let today = row(&placements, "H100-SXM-80");
    assert_eq!(
        (today.candidate_kind, today.verdict),
        ("same-tier", Verdict::Feasible)
    );
    assert_eq!(today.replicas_at_peak, Some(1));
    for product in ["L40S-48", "A10G-24", "RTXPRO6000-96"] {
        let candidate = row(&placements, product);
        assert_eq!(
            candidate.verdict,
            Verdict::Feasible,
            "{product}: {}",
            candidate.why
        );
        assert_eq!(candidate.candidate_kind, "other-tier");
        assert_eq!(candidate.confidence, "medium");
        assert!(
            cost(&placements, candidate) < cost(&placements, today),
            "{product}"
        );
        assert!(candidate.itl_ms.unwrap() > today.itl_ms.unwrap());
    }
    let l40s = row(&placements, "L40S-48");
    assert_eq!(l40s.candidate, "L40S-48 x1");
    assert_eq!(
        l40s.price_key.as_deref(),
        Some("aws|us-east-1|g6e.xlarge|L40S-48|on-demand")
    );
    // One L4 takes 63 ms a token at best, which its band puts outside the limit; several of them
    // are no saving over an L40S.
    let l4 = row(&placements, "L4-24");
    assert!(cost(&placements, l4) > cost(&placements, row(&placements, "L40S-48")));
}

#[test]
fn a_saturated_8b_is_where_it_belongs() {
    let workload = llama_8b();
    let probe = rows(&workload, &demand_of(&workload, 1.0));
    let today = row(&probe, "H100-SXM-80");
    let per_request = 800.0 * 1000.0 / today.prefill_milli_tokens_per_second.unwrap() as f64
        + 200.0 * 1000.0 / today.decode_milli_tokens_per_second.unwrap() as f64;
    let workload = WorkloadFacts {
        replicas: Some(10),
        ..workload
    };
    // Ten replicas at 89 hundredths of what their headroom allows.
    let placements = rows(
        &workload,
        &demand_of(&workload, 10.0 * 0.89 * 0.75 / per_request),
    );
    let today = row(&placements, "H100-SXM-80");
    assert_eq!(today.replicas_at_peak, Some(9));
    for product in ["L4-24", "A10G-24", "A100-SXM-80"] {
        let candidates = placements.rows.iter().filter(|row| {
            row.gpu_product.as_deref() == Some(product) && row.verdict == Verdict::Feasible
        });
        for candidate in candidates {
            assert!(
                cost(&placements, candidate) > cost(&placements, today),
                "{product} x{:?}: {}",
                candidate.replicas_at_peak,
                cost(&placements, candidate)
            );
        }
    }
}

#[test]
fn a_70b_is_placed_only_where_it_fits() {
    let workload = WorkloadFacts {
        model: Some("meta-llama/Llama-3.3-70B-Instruct".to_owned()),
        model_raw: None,
        gpu_milli_per_replica: 4000,
        tensor_parallel: Some(4),
        price_key: Some("aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand".to_owned()),
        ..llama_8b()
    };
    let placements = rows(&workload, &demand_of(&workload, 0.1));
    assert_eq!(row(&placements, "H100-SXM-80").verdict, Verdict::Feasible);
    // Not on one, and AWS sells no two.
    let l40s = row(&placements, "L40S-48");
    assert!(l40s.gpu_milli_per_replica >= 4000, "{}", l40s.candidate);
    let l4 = row(&placements, "L4-24");
    assert!(l4.verdict != Verdict::Feasible, "{}", l4.why);
    let t4 = row(&placements, "T4-16");
    assert_eq!(t4.verdict, Verdict::Infeasible);
    assert!(t4.why.contains("bf16"), "{}", t4.why);
    let a100 = row(&placements, "A100-SXM-80");
    assert!(a100.gpu_milli_per_replica >= 2000);
}

#[test]
fn what_is_not_known_is_not_judged() {
    let only = |workload: &WorkloadFacts, demand: &Demand| {
        let placements = rows(workload, demand);
        assert_eq!(placements.rows.len(), 1);
        assert_eq!(placements.rows[0].verdict, Verdict::Unknown);
        assert_eq!(placements.rows[0].confidence, "low");
        assert_eq!(placements.rows[0].replicas_at_peak, None);
        placements.rows[0].why.clone()
    };
    let known = llama_8b();
    let asked = demand_of(&known, 1.0);
    let unresolved = WorkloadFacts {
        model: None,
        model_raw: Some("acme/secret".to_owned()),
        ..known.clone()
    };
    assert!(only(&unresolved, &asked).contains("acme/secret"));
    let role = WorkloadFacts {
        role: Some("decode".to_owned()),
        ..known.clone()
    };
    assert!(only(&role, &asked).contains("decode worker"));
    let packed = WorkloadFacts {
        quantisation: Some("gguf".to_owned()),
        ..known.clone()
    };
    assert!(only(&packed, &asked).contains("gguf"));
    let bound = Demand {
        peak_lower_bound: true,
        ..asked.clone()
    };
    assert!(only(&known, &bound).contains("lower bound"));
    let lengths = Demand {
        isl_tokens: 0,
        ..asked.clone()
    };
    assert!(only(&known, &lengths).contains("lengths"));
}

#[test]
fn no_demand_and_no_serving_have_no_candidates() {
    let workload = llama_8b();
    let none = Demand {
        requests: 0,
        ..demand_of(&workload, 0.0)
    };
    assert!(rows(&workload, &none).rows.is_empty());
    let training = WorkloadFacts {
        workload_class: "training".to_owned(),
        ..llama_8b()
    };
    assert!(rows(&training, &demand_of(&training, 1.0)).rows.is_empty());
    let other = WorkloadFacts {
        namespace: "other".to_owned(),
        ..llama_8b()
    };
    assert!(rows(&workload, &demand_of(&other, 1.0)).rows.is_empty());
}

#[test]
fn unmeasured_architectures_stay_unknown_and_unpriced_ones_are_left_out() {
    let workload = WorkloadFacts {
        price_key: Some("azure|eastus2|Standard_ND96isr_H100_v5|H100-SXM-80|".to_owned()),
        ..llama_8b()
    };
    let placements = rows(&workload, &demand_of(&workload, 0.2));
    let amd = row(&placements, "MI300X-192");
    assert_eq!(amd.verdict, Verdict::Unknown);
    assert!(amd.why.contains("AMD"));
    assert!(
        placements
            .rows
            .iter()
            .all(|row| row.gpu_product.as_deref() != Some("L4-24"))
    );
    // Without a provider there is nothing to move to.
    let nowhere = WorkloadFacts {
        price_key: Some("||||".to_owned()),
        ..llama_8b()
    };
    let placements = rows(&nowhere, &demand_of(&nowhere, 0.2));
    assert!(
        placements
            .rows
            .iter()
            .all(|row| row.candidate_kind != "other-tier")
    );
}

#[test]
fn a_mig_instance_is_sized_and_any_other_fraction_is_not() {
    let holding = |gpu_milli| WorkloadFacts {
        gpu_milli_per_replica: gpu_milli,
        ..llama_8b()
    };
    let odd = holding(400);
    let placements = rows(&odd, &demand_of(&odd, 0.2));
    let today = row(&placements, "H100-SXM-80");
    assert_eq!(
        (today.verdict, today.candidate.as_str()),
        (Verdict::Unknown, "H100-SXM-80 x400m")
    );
    assert_eq!(row(&placements, "L40S-48").verdict, Verdict::Feasible);
    // Half a card is the one profile with half of its memory.
    let half = holding(500);
    let placements = rows(&half, &demand_of(&half, 0.2));
    let today = row(&placements, "H100-SXM-80");
    assert_eq!(today.verdict, Verdict::Feasible, "{}", today.why);
    assert!(today.why.contains("H100-SXM-80 3g.40gb"), "{}", today.why);
    assert_eq!(today.band_percent, 60);
}

fn kinds<'a>(placements: &'a Placements, kind: &str) -> Vec<&'a Placement> {
    placements
        .rows
        .iter()
        .filter(|row| row.candidate_kind == kind)
        .collect()
}

#[test]
fn slices_and_other_counts_of_todays_gpu_are_candidates() {
    let workload = llama_8b();
    let placements = rows(&workload, &demand_of(&workload, 0.2));
    let slices = kinds(&placements, "mig-slice");
    let verdict = |name: &str| {
        slices
            .iter()
            .find(|row| row.candidate == name)
            .unwrap()
            .verdict
    };
    // 16 GB of weights do not fit an eighth of the memory; half of the card carries a trickle.
    assert_eq!(verdict("H100-SXM-80 1g.10gb"), Verdict::Infeasible);
    assert_eq!(verdict("H100-SXM-80 3g.40gb"), Verdict::Feasible);
    // A node of one GPU has no second one to join.
    assert!(kinds(&placements, "other-parallelism").is_empty());
    let eight = WorkloadFacts {
        price_key: Some("aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand".to_owned()),
        ..llama_8b()
    };
    let placements = rows(&eight, &demand_of(&eight, 0.2));
    let counts: Vec<i64> = kinds(&placements, "other-parallelism")
        .iter()
        .map(|row| row.gpu_milli_per_replica)
        .collect();
    assert_eq!(counts, [2000, 4000, 8000]);
    // One light model alone frees no card.
    assert!(kinds(&placements, "consolidation").is_empty());
}

#[test]
fn two_light_models_of_a_pool_share_a_card_and_pay_for_all_of_it() {
    let named = |name: &str| WorkloadFacts {
        workload_name: name.to_owned(),
        // A provider without cheaper tiers, so that the card is the best there is.
        price_key: Some("own|cellar|dgx|H100-SXM-80|".to_owned()),
        ..llama_8b()
    };
    let (one, two) = (named("one"), named("two"));
    let demands = [demand_of(&one, 0.1), demand_of(&two, 0.1)];
    let sheet = super::super::prices::PriceSheet::parse(
        "own.csv",
        "gpu_product,unit,list\nH100-SXM-80,gpu_hour,3\n",
    )
    .unwrap();
    let book = PriceBook::new(vec![sheet], 0);
    let place_all = |workloads: &[WorkloadFacts]| {
        let params = SizingParams::default();
        place(
            workloads,
            &demands,
            &[],
            &book,
            params,
            KnownSpeed::default(),
        )
        .unwrap()
    };
    let placements = place_all(&[one.clone(), two.clone()]);
    let joined = kinds(&placements, "consolidation");
    assert_eq!(joined.len(), 2, "{joined:?}");
    let charged: i64 = joined.iter().map(|row| row.gpu_milli_per_replica).sum();
    assert_eq!(charged, 1000);
    assert!(
        joined[0].why.contains("two it fills 1 of the 2 GPUs"),
        "{}",
        joined[0].why
    );
    // Replicas that a budget keeps apart do not meet on a card.
    let apart = WorkloadFacts {
        floor_replicas: 2,
        ..two
    };
    assert!(kinds(&place_all(&[one, apart]), "consolidation").is_empty());
}

#[test]
fn evidence_outranks_the_model_and_is_carried_to_other_tiers() {
    use crate::detect::economics::measured::Measurement;
    use crate::detect::economics::speed::{OwnHours, SpeedPoint};
    let workload = llama_8b();
    let demand = demand_of(&workload, 0.2);
    let plain = rows(&workload, &demand);
    let today = |placements: &Placements| row(placements, "H100-SXM-80").clone();
    let modelled = today(&plain).itl_ms.unwrap() as f64 / 1e3;
    let shape = demand.shape();
    let hours: Vec<SpeedPoint> = (1..=20)
        .map(|batch| SpeedPoint {
            batch: f64::from(batch),
            itl_seconds: modelled * 2.0 + 0.0001 * f64::from(batch),
            ttft_seconds: None,
            shape,
        })
        .collect();
    let own = OwnHours {
        cluster: workload.cluster.clone(),
        namespace: workload.namespace.clone(),
        workload_kind: workload.workload_kind.clone(),
        workload_name: workload.workload_name.clone(),
        points: hours,
    };
    let measured = Measurement {
        model: "meta-llama/Meta-Llama-3.1-8B".to_owned(),
        gpu_product: "L40S-48".to_owned(),
        gpus: 1,
        quantisation: None,
        name: "load.json".to_owned(),
        points: vec![SpeedPoint {
            batch: 1.0,
            itl_seconds: 0.021,
            ttft_seconds: None,
            shape,
        }],
    };
    let known = KnownSpeed {
        own_hours: std::slice::from_ref(&own),
        measured: std::slice::from_ref(&measured),
    };
    let placements = place(
        std::slice::from_ref(&workload),
        std::slice::from_ref(&demand),
        &[],
        &PriceBook::default(),
        SizingParams::default(),
        known,
    )
    .unwrap();
    let here = today(&placements);
    assert_eq!((here.evidence, here.band_percent), (Evidence::OwnHours, 15));
    let ratio = here.itl_ms.unwrap() as f64 / 1e3 / modelled;
    assert!((1.8..2.3).contains(&ratio), "{ratio}");
    let measured = row(&placements, "L40S-48");
    assert_eq!(
        (measured.evidence, measured.itl_ms),
        (Evidence::Measured, Some(21))
    );
    let carried = row(&placements, "A10G-24");
    assert_eq!(
        (carried.evidence, carried.band_percent),
        (Evidence::Residual, 60)
    );
    assert!(
        carried
            .itl_ms
            .is_none_or(|ms| ms > row(&plain, "A10G-24").itl_ms.unwrap() * 3 / 2)
    );
}

#[test]
fn the_quantisation_served_is_the_quantisation_placed() {
    let fp8 = WorkloadFacts {
        model_raw: Some("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8".to_owned()),
        ..llama_8b()
    };
    let demand = demand_of(&fp8, 0.2);
    let bf16 = rows(&llama_8b(), &demand);
    let fp8 = rows(&fp8, &demand);
    assert!(row(&fp8, "L4-24").itl_ms.unwrap() < 50);
    // At 16 bits one L4 is too slow with its band, and only several would do.
    let l4 = row(&bf16, "L4-24");
    assert!(l4.gpu_milli_per_replica > 1000 || l4.itl_ms.is_none_or(|ms| ms > 50));
    assert_eq!(row(&fp8, "T4-16").verdict, Verdict::Infeasible);
}

#[test]
fn the_floor_and_diluted_prefixes_raise_replicas() {
    let workload = WorkloadFacts {
        floor_replicas: 2,
        ..llama_8b()
    };
    let placements = rows(&workload, &demand_of(&workload, 0.2));
    assert_eq!(row(&placements, "H100-SXM-80").replicas_at_peak, Some(2));
    assert_eq!(row(&placements, "L40S-48").replicas_at_peak, Some(2));

    let cached = |workload: &WorkloadFacts| {
        let mut demand = demand_of(workload, 20.0);
        demand.isl_tokens = 8000;
        rows(workload, &demand)
    };
    let spread = WorkloadFacts {
        replicas: Some(1000),
        ..llama_8b()
    };
    let (one, many) = (cached(&llama_8b()), cached(&spread));
    let l40s = |placements: &Placements| row(placements, "L40S-48").replicas_at_peak.unwrap();
    assert!(l40s(&one) > l40s(&many), "{} {}", l40s(&one), l40s(&many));
}

#[test]
fn limits_come_from_config_then_annotation_then_the_default() {
    let annotated = WorkloadFacts {
        slo_ttft_p95_ms: Some(900),
        slo_itl_p95_ms: Some(15),
        ..llama_8b()
    };
    let rule = |namespace: Option<&str>, workload: Option<&str>, itl| SloRule {
        namespace: namespace.map(str::to_owned),
        workload: workload.map(str::to_owned),
        itl_p95_ms: Some(itl),
        ..SloRule::default()
    };
    let rules = [
        rule(Some("chat"), None, 60),
        rule(Some("chat"), Some("llama-8b"), 30),
        rule(Some("other"), None, 1),
    ];
    let slo = resolve_slo(&annotated, &rules);
    assert_eq!(
        (slo.limits.itl_ms, slo.limits.ttft_ms, slo.assumed),
        (30, 900, false)
    );
    let slo = resolve_slo(&llama_8b(), &rules);
    assert_eq!((slo.limits.ttft_ms, slo.assumed), (2000, true));
    let absurd = WorkloadFacts {
        slo_itl_p95_ms: Some(-5),
        ..llama_8b()
    };
    assert_eq!(resolve_slo(&absurd, &[]).limits, DEFAULT_LIMITS);

    // A declared limit that a tier cannot meet rules it out; confidence is high where declared.
    let placements = rows(&annotated, &demand_of(&annotated, 0.2));
    let l4 = row(&placements, "L4-24");
    assert_ne!(l4.verdict, Verdict::Feasible);
    assert!(l4.why.contains("900 / 15 ms"), "{}", l4.why);
    let today = row(&placements, "H100-SXM-80");
    assert_eq!((today.slo_source, today.confidence), ("declared", "high"));
}

#[test]
fn a_declared_time_to_the_first_token_alone_rules_a_tier_out() {
    let served = WorkloadFacts {
        model_raw: Some("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8".to_owned()),
        ..llama_8b()
    };
    let demand = demand_of(&served, 0.2);
    let strict = WorkloadFacts {
        slo_ttft_p95_ms: Some(60),
        ..served.clone()
    };
    let carried_by_one_l4 = |placements: &Placements| {
        placements.rows.iter().any(|row| {
            row.gpu_product.as_deref() == Some("L4-24")
                && row.gpu_milli_per_replica == 1000
                && row.verdict == Verdict::Feasible
        })
    };
    assert!(carried_by_one_l4(&rows(&served, &demand)));
    let placements = rows(&strict, &demand);
    assert!(!carried_by_one_l4(&placements));
    // The other limit is the default's, so it stays assumed.
    let today = row(&placements, "H100-SXM-80");
    assert_eq!(today.slo_source, "assumed");
    assert_eq!(today.slo_ttft_p95_ms, Some(60));
}

#[test]
fn rows_are_sorted_and_replay_to_the_same_bytes() {
    let workload = llama_8b();
    let demand = demand_of(&workload, 3.0);
    let first = rows(&workload, &demand);
    assert_eq!(first, rows(&workload, &demand));
    assert!(first.rows.is_sorted_by_key(|row| row.candidate.clone()));
    assert!(first.prices.is_sorted_by_key(PriceRow::price_key));
    let json: serde_json::Value = serde_json::from_str(&demand.to_json()).unwrap();
    assert_eq!(to_canonical(&json).unwrap(), demand.to_json());
}

#[test]
fn absurd_demand_does_not_wrap() {
    let workload = llama_8b();
    let mut demand = demand_of(&workload, 1.0);
    demand.peak_output_tokens_5m = i64::MAX;
    demand.peak_prompt_net_tokens_5m = i64::MAX;
    demand.isl_tokens = i64::MAX;
    demand.osl_tokens = i64::MAX;
    for row in rows(&workload, &demand).rows {
        assert!(row.replicas_at_peak.is_none_or(|count| count >= 1));
    }
}
