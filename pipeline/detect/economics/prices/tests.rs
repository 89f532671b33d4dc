use super::*;
use crate::model::time::parse_ms;

fn facts(instance_type: &str, product: &str, region: &str) -> NodeFacts {
    NodeFacts {
        provider: "aws".to_owned(),
        region: region.to_owned(),
        instance_type: instance_type.to_owned(),
        gpu_product: product.to_owned(),
        capacity_type: "on-demand".to_owned(),
    }
}

fn book(sheet: &str) -> PriceBook {
    PriceBook::new(
        vec![PriceSheet::parse("prices.csv", sheet).unwrap()],
        parse_ms("2026-11-01").unwrap(),
    )
}

/// A price as rows carry it.
fn usd(text: &str) -> Option<Decimal> {
    let price = text.parse();
    assert!(price.is_ok(), "{text}");
    price.ok()
}

#[test]
fn every_rung_of_the_ladder() {
    let none = PriceBook::default();
    let exact = none
        .price(&facts("p5.48xlarge", "H100-SXM-80", "us-east-1"), Some(8))
        .unwrap();
    assert_eq!((exact.rung, exact.band_percent), (Rung::Catalogue, 0));
    assert_eq!(exact.usd_per_gpu_hour(), usd("6.88"));
    assert!(
        exact.provenance.contains("karpenter"),
        "{}",
        exact.provenance
    );
    assert_eq!(exact.price_date.as_deref(), Some("2026-07-20"));

    let far = none
        .price(&facts("p5.48xlarge", "H100-SXM-80", "eu-west-1"), None)
        .unwrap();
    assert_eq!((far.rung, far.band_percent), (Rung::OtherRegion, 20));
    assert_eq!(far.usd_per_gpu_hour(), usd("6.88"));

    let gpu = none
        .price(&facts("p5.new", "H100-SXM-80", "us-east-1"), None)
        .unwrap();
    assert_eq!((gpu.rung, gpu.band_percent), (Rung::ProviderGpu, 40));

    let unknown = none
        .price(&facts("p9.large", "", "us-east-1"), None)
        .unwrap();
    assert_eq!(
        (unknown.rung, unknown.usd_per_gpu_hour()),
        (Rung::Unknown, None)
    );
    // A type without a price falls to the next rung, never to zero.
    let blank = none
        .price(&facts("p5e.48xlarge", "H200-SXM-141", "us-east-1"), None)
        .unwrap();
    assert_eq!(blank.rung, Rung::ProviderGpu);

    let sheet =
        book("provider,instance_type,unit,list,contracted\naws,p5.48xlarge,node_hour,55.04,40\n");
    let row = sheet
        .price(&facts("p5.48xlarge", "H100-SXM-80", "us-east-1"), Some(8))
        .unwrap();
    assert_eq!(row.rung, Rung::Sheet);
    assert_eq!(row.list_usd_per_gpu_hour, usd("6.88"));
    assert_eq!(row.contracted_usd_per_gpu_hour, usd("5"));
    assert_eq!(row.usd_per_gpu_hour(), usd("5"));
    assert_eq!(row.provenance, "prices.csv, line 2");
}

#[test]
fn spot_is_never_priced_at_the_on_demand_rate() {
    let spot = |instance: &str, product: &str, provider: &str| NodeFacts {
        provider: provider.to_owned(),
        capacity_type: "spot".to_owned(),
        ..facts(instance, product, "us-central1")
    };
    let none = PriceBook::default();
    let gcp = none
        .price(&spot("g2-standard-4", "L4-24", "gcp"), None)
        .unwrap();
    assert_eq!(gcp.usd_per_gpu_hour(), usd("0.23"));
    let aws = none
        .price(&spot("p5.48xlarge", "H100-SXM-80", "aws"), None)
        .unwrap();
    assert_eq!(aws.rung, Rung::Unknown);
}

#[test]
fn the_most_specific_valid_row_wins() {
    let sheet = book(
        "provider,region,instance_type,gpu_product,unit,list,valid_from,valid_to\n\
         aws,,,H100-SXM-80,gpu_hour,4,,\n\
         aws,us-east-1,,H100-SXM-80,gpu_hour,3,,\n\
         aws,us-east-1,p5.48xlarge,H100-SXM-80,gpu_hour,2,2025-01-01,2026-01-01\n",
    );
    let price = |region: &str| {
        let facts = facts("p5.48xlarge", "H100-SXM-80", region);
        sheet.price(&facts, Some(8)).unwrap().usd_per_gpu_hour()
    };
    assert_eq!(price("us-east-1"), usd("3"));
    assert_eq!(price("eu-west-1"), usd("4"));
}

#[test]
fn a_tie_names_both_lines() {
    let sheet = book(
        "provider,region,gpu_product,unit,list\naws,us-east-1,,gpu_hour,3\naws,,H100-SXM-80,gpu_hour,4\n",
    );
    let error = sheet
        .price(&facts("p5.48xlarge", "H100-SXM-80", "us-east-1"), Some(8))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 2") && error.contains("line 3"),
        "{error}"
    );
    // The tie concerns those facts only.
    assert!(
        sheet
            .price(&facts("p5.48xlarge", "H100-SXM-80", "eu-west-1"), Some(8))
            .is_ok()
    );
}

#[test]
fn units_and_currencies_convert() {
    let month = book("provider,unit,list\naws,node_month,5840\n");
    let row = month
        .price(&facts("own", "H100-SXM-80", ""), Some(8))
        .unwrap();
    assert_eq!(row.usd_per_gpu_hour(), usd("1"));
    let error = month
        .price(&facts("own", "H100-SXM-80", ""), None)
        .unwrap_err();
    assert!(matches!(error, SheetError::NoGpuCount { .. }), "{error}");

    let euros = book(
        "provider,unit,list,currency,valid_from\naws,gpu_hour,2,EUR,\n,usd_rate,1.1,EUR,2026-01-01\n,usd_rate,1.2,EUR,2026-10-01\n,usd_rate,9,EUR,2027-01-01\n",
    );
    let row = euros.price(&facts("own", "H100-SXM-80", ""), None).unwrap();
    assert_eq!(row.usd_per_gpu_hour(), usd("2.4"));
    let none = book("provider,unit,list,currency\naws,gpu_hour,2,EUR\n");
    let error = none
        .price(&facts("own", "H100-SXM-80", ""), None)
        .unwrap_err();
    assert!(matches!(error, SheetError::NoRate { .. }), "{error}");
}

#[test]
fn bad_sheets_say_where_and_what() {
    let error = |text: &str| PriceSheet::parse("p.csv", text).unwrap_err().to_string();
    assert!(error("provider,unit,price\n").contains("unknown column \"price\""));
    assert!(error("provider,list\n").contains("no column unit"));
    assert!(error("unit,list\nnode_hour,1\nweek,1\n").contains("line 3"));
    assert!(error("unit,list\ngpu_hour,1e400\n").contains("list is no price"));
    assert!(error("unit,list\ngpu_hour,-1\n").contains("list is no price"));
    assert!(error("unit,list\ngpu_hour,\n").contains("no price"));
    assert!(error("unit,list,valid_from\ngpu_hour,1,soon\n").contains("no date"));
    assert!(error("unit,list,node_selector\ngpu_hour,1,a=b\n").contains("node_selector"));
    assert!(error("unit,list\ngpu_hour,1,2\n").contains("line 2"));
}

#[test]
fn candidates_are_what_the_same_provider_sells() {
    let today = facts("p5.48xlarge", "H100-SXM-80", "us-east-1");
    let none = PriceBook::default();
    let l4 = none.candidate(&today, "L4-24", 1).unwrap().unwrap();
    assert_eq!(l4.price_key(), "aws|us-east-1|g6.xlarge|L4-24|on-demand");
    assert_eq!(l4.usd_per_gpu_hour(), usd("0.8048"));
    let two = none.candidate(&today, "L4-24", 2).unwrap().unwrap();
    assert_eq!(two.facts.instance_type, "g6.12xlarge");
    // AWS sells no A10, and Azure's price is no alternative.
    assert!(none.candidate(&today, "A10-24", 1).unwrap().is_none());
    assert!(none.candidate(&today, "L4-24", 16).unwrap().is_none());
    // A sheet's price for the candidate beats the catalogue's, and owned machines have only that.
    let sheet =
        book("provider,gpu_product,unit,list\naws,L4-24,gpu_hour,0.5\nmine,L40S-48,gpu_hour,0.9\n");
    let l4 = sheet.candidate(&today, "L4-24", 1).unwrap().unwrap();
    assert_eq!((l4.rung, l4.usd_per_gpu_hour()), (Rung::Sheet, usd("0.5")));
    let own = NodeFacts {
        provider: "mine".to_owned(),
        ..facts("", "H100-SXM-80", "dc1")
    };
    let l40s = sheet.candidate(&own, "L40S-48", 1).unwrap().unwrap();
    assert_eq!(l40s.price_key(), "mine|dc1||L40S-48|on-demand");
}

#[test]
fn keys_round_trip_and_cannot_be_forged() {
    let facts = facts("p5.48xlarge", "H100-SXM-80", "us-east-1");
    assert_eq!(NodeFacts::from_key(&facts.key()), Some(facts));
    assert_eq!(price_key("", "", "", "", ""), "||||");
    assert_eq!(price_key("a|b", "", "", "", "").matches('|').count(), 4);
    assert_eq!(NodeFacts::from_key("a|b"), None);
}

#[test]
fn a_commitment_and_its_end_come_with_the_price() {
    let text = "provider,instance_type,unit,effective,commitment_id,commitment_end\n\
        aws,p5.48xlarge,node_hour,40,ri-17,2027-03-31\n";
    let book = PriceBook::new(
        vec![PriceSheet::parse("s.csv", text).unwrap()],
        parse_ms("2026-11-01").unwrap(),
    );
    let facts = NodeFacts {
        provider: "aws".to_owned(),
        instance_type: "p5.48xlarge".to_owned(),
        ..NodeFacts::default()
    };
    let row = book.price(&facts, Some(8)).unwrap();
    let commitment = row.commitment.unwrap();
    assert_eq!(commitment.id, "ri-17");
    assert_eq!(
        commitment.end_ms,
        crate::model::time::parse_ms("2027-03-31")
    );
}

#[test]
fn selectors_that_stand_for_a_fact_select_and_others_are_refused() {
    let sheet = |selector: &str| {
        let text = format!("node_selector,unit,list\n{selector},gpu_hour,2\n");
        PriceSheet::parse("s.csv", &text)
    };
    let book = PriceBook::new(
        vec![sheet("nvidia.com/gpu.product=NVIDIA-L40S;karpenter.sh/capacity-type=spot").unwrap()],
        parse_ms("2026-11-01").unwrap(),
    );
    let facts = |capacity: &str| NodeFacts {
        provider: "own".to_owned(),
        gpu_product: "L40S-48".to_owned(),
        capacity_type: capacity.to_owned(),
        ..NodeFacts::default()
    };
    assert_eq!(
        book.price(&facts("spot"), Some(4)).unwrap().rung,
        Rung::Sheet
    );
    assert_eq!(
        book.price(&facts("on-demand"), Some(4)).unwrap().rung,
        Rung::Unknown
    );
    for wrong in ["pool=blue", "nvidia.com/gpu.product=Abacus", "nonsense"] {
        let error = sheet(wrong).unwrap_err().to_string();
        assert!(error.contains("node_selector"), "{error}");
    }
}

#[test]
fn a_price_far_off_the_catalogue_names_both() {
    let priced = |usd: &str| {
        let text = format!("gpu_product,unit,list\nH100-SXM-80,gpu_hour,{usd}\n");
        let book = PriceBook::new(vec![PriceSheet::parse("s.csv", &text).unwrap()], 0);
        let facts = NodeFacts {
            provider: "aws".to_owned(),
            gpu_product: "H100-SXM-80".to_owned(),
            ..NodeFacts::default()
        };
        outlier(&book.price(&facts, Some(8)).unwrap())
    };
    assert_eq!(priced("2.10"), None);
    assert_eq!(priced("12"), None);
    // A node's price as a GPU's, and a price that lost its decimal point.
    let node = priced("55.04").unwrap().to_string();
    assert!(
        node.contains("s.csv, line 2") && node.contains("55.04") && node.contains("2.95"),
        "{node}"
    );
    assert!(priced("0.0067").is_some());
}

#[test]
fn the_missing_sheet_has_exactly_the_rows_that_are_lacking() {
    let book = PriceBook::default();
    let facts = |provider: &str, region: &str, instance: &str, product: &str| NodeFacts {
        provider: provider.to_owned(),
        region: region.to_owned(),
        instance_type: instance.to_owned(),
        gpu_product: product.to_owned(),
        capacity_type: "on-demand".to_owned(),
    };
    let rows: Vec<PriceRow> = [
        facts("aws", "us-east-1", "g6.xlarge", "L4-24"),
        facts("aws", "eu-west-1", "g6.xlarge", "L4-24"),
        facts("own", "cellar", "dgx,1", "H100-SXM-80"),
    ]
    .iter()
    .map(|facts| book.price(facts, Some(8)).unwrap())
    .collect();
    let text = missing_sheet(&rows);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.contains("aws,eu-west-1,g6.xlarge") && text.contains("\"dgx,1\""),
        "{text}"
    );
    // Filled in, it is a sheet.
    let filled = text.replace(",node_hour,,", ",node_hour,9,");
    let book = PriceBook::new(vec![PriceSheet::parse("filled.csv", &filled).unwrap()], 0);
    let row = book
        .price(&facts("own", "cellar", "dgx,1", "H100-SXM-80"), Some(8))
        .unwrap();
    assert_eq!(row.rung, Rung::Sheet);
}
