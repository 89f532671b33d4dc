//! Prices, fit and estimates together, as a run uses them: a sheet in, candidates with prices out.

use idleproof::catalogue::{models, products};
use idleproof::detect::economics::placements::{
    Demand, KnownSpeed, SizingParams, SloRule, Verdict, WorkloadFacts, place,
};
use idleproof::detect::economics::prices::{NodeFacts, PriceBook, PriceSheet, Rung};

const DAY_MS: i64 = 86_400_000;

fn chat() -> (WorkloadFacts, Demand) {
    let model = models()
        .resolve("hf://meta-llama/Llama-3.1-8B-Instruct")
        .unwrap();
    let product = products()
        .resolve_label("NVIDIA-H100-80GB-HBM3")
        .unwrap()
        .product;
    let workload = WorkloadFacts {
        cluster: "prod-a".to_owned(),
        namespace: "chat".to_owned(),
        workload_kind: "deployment.apps".to_owned(),
        workload_name: "llama-8b".to_owned(),
        workload_class: "serving".to_owned(),
        model: Some(model.id.clone()),
        max_model_len: Some(16_384),
        gpu_product: Some(product.key.clone()),
        gpu_milli_per_replica: 1000,
        replicas: Some(2),
        floor_replicas: 1,
        price_key: Some("aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand".to_owned()),
        ..WorkloadFacts::default()
    };
    let demand = Demand {
        cluster: workload.cluster.clone(),
        namespace: workload.namespace.clone(),
        workload_kind: workload.workload_kind.clone(),
        workload_name: workload.workload_name.clone(),
        days_seen: 14,
        known_ms: 14 * DAY_MS,
        requests: 100_000,
        isl_tokens: 600,
        isl_net_tokens: 500,
        osl_tokens: 250,
        peak_requests_5m: 150,
        peak_prompt_net_tokens_5m: 75_000,
        peak_output_tokens_5m: 37_500,
        ..Demand::default()
    };
    (workload, demand)
}

#[test]
fn a_sheet_prices_today_and_the_catalogue_the_alternatives() {
    let sheet = PriceSheet::parse(
        "prices.csv",
        "provider,instance_type,unit,list,contracted\naws,p5.48xlarge,node_hour,55.04,32\n",
    )
    .unwrap();
    let book = PriceBook::new(vec![sheet], 20_000 * DAY_MS);
    let (workload, demand) = chat();
    let facts = NodeFacts::from_key(workload.price_key.as_deref().unwrap()).unwrap();
    let today = book.price(&facts, Some(8)).unwrap();
    assert_eq!(today.rung, Rung::Sheet);
    assert_eq!(today.usd_per_gpu_hour(), Some("4".parse().unwrap()));

    let slo = SloRule {
        namespace: Some("chat".to_owned()),
        ttft_p95_ms: Some(1500),
        itl_p95_ms: Some(60),
        ..SloRule::default()
    };
    let placements = place(
        &[workload],
        &[demand],
        &[slo],
        &book,
        SizingParams::default(),
        KnownSpeed::default(),
    )
    .unwrap();
    let l40s = placements
        .rows
        .iter()
        .find(|row| row.gpu_product.as_deref() == Some("L40S-48"))
        .unwrap();
    assert_eq!(
        (l40s.verdict, l40s.slo_source),
        (Verdict::Feasible, "declared")
    );
    assert!(l40s.ttft_ms.unwrap() < 1500 && l40s.itl_ms.unwrap() < 60);
    // Every candidate with a price key has that price's row, with its source.
    for row in placements
        .rows
        .iter()
        .filter(|row| row.candidate_kind == "other-tier")
    {
        let price = placements
            .prices
            .iter()
            .find(|price| Some(price.price_key()) == row.price_key)
            .unwrap();
        assert!(price.usd_per_gpu_hour().is_some());
        assert!(
            price.provenance.starts_with("catalogue: aws"),
            "{}",
            price.provenance
        );
    }
}
