use std::collections::BTreeMap;

use super::*;
use crate::catalogue::{models, products};
use crate::detect::economics::fit::{Misfit, fit};

const MEASURED: &str = include_str!("../../../../tests/fixtures/economics/measured_points.csv");

fn served(name: &str, quantisation: Quantisation) -> Served<'static> {
    Served {
        model: models().resolve(name).unwrap(),
        quantisation,
        kv_value_bytes: 2.0,
        max_model_len: 8192,
    }
}

fn on(name: &str, quantisation: Quantisation, product: &str, gpus: u32) -> Estimator {
    let product = products().get(product).unwrap();
    Estimator::new(&served(name, quantisation), product, gpus, 1.0).unwrap()
}

fn shape(prompt: f64, output: f64) -> Shape {
    Shape {
        prompt_tokens: prompt,
        uncached_prompt_tokens: prompt,
        output_tokens: output,
    }
}

#[test]
fn the_floors_of_an_8b_at_batch_one() {
    let itl_ms = |product: &str, q| {
        on("llama-3.1-8b", q, product, 1).step_seconds(1.0, &shape(128.0, 128.0)) * 1e3
    };
    let bf16 = |product: &str| itl_ms(product, Quantisation::Bf16);
    assert!((50.0..66.0).contains(&bf16("L4-24")), "{}", bf16("L4-24"));
    // Measured: 30.7 ms.
    assert!(
        (27.0..34.0).contains(&bf16("A10G-24")),
        "{}",
        bf16("A10G-24")
    );
    assert!(
        (18.0..24.0).contains(&bf16("L40S-48")),
        "{}",
        bf16("L40S-48")
    );
    assert!(
        (9.0..13.0).contains(&bf16("A100-SXM-80")),
        "{}",
        bf16("A100-SXM-80")
    );
    assert!(
        (6.5..9.0).contains(&bf16("H100-SXM-80")),
        "{}",
        bf16("H100-SXM-80")
    );
    let fp8 = itl_ms("L4-24", Quantisation::Fp8);
    assert!((0.45..0.7).contains(&(fp8 / bf16("L4-24"))), "{fp8}");
    // Half the bytes without FP8 units still saves bandwidth.
    assert!(itl_ms("A100-SXM-80", Quantisation::Fp8) < bf16("A100-SXM-80"));
}

#[test]
fn more_load_is_slower_and_more_gpus_are_faster() {
    let h100 = on("llama-3.1-8b", Quantisation::Bf16, "H100-SXM-80", 1);
    let mix = shape(1000.0, 200.0);
    let mut last = h100.at_batch(1.0, &mix);
    for batch in [2.0, 8.0, 32.0, 128.0, 256.0] {
        let next = h100.at_batch(batch, &mix);
        assert!(next.itl_seconds > last.itl_seconds);
        assert!(next.ttft_seconds > last.ttft_seconds);
        assert!(next.requests_per_second > last.requests_per_second);
        last = next;
    }
    let step = |gpus| {
        on(
            "llama-3.3-70b-instruct",
            Quantisation::Fp8,
            "H100-SXM-80",
            gpus,
        )
        .step_seconds(8.0, &mix)
    };
    assert!(step(2) > step(4) && step(4) > step(8));
}

#[test]
fn the_fixed_point_obeys_littles_law() {
    let h100 = on("llama-3.1-8b", Quantisation::Bf16, "H100-SXM-80", 1);
    let mix = shape(500.0, 250.0);
    let at = h100.at_rate(10.0, &mix, 256.0).unwrap();
    let decoding = at.requests_per_second * mix.output_tokens * at.itl_seconds;
    assert!((decoding / at.batch - 1.0).abs() < 1e-6);
    assert!((at.requests_per_second / 10.0 - 1.0).abs() < 1e-6);
    assert!(h100.at_rate(1e6, &mix, 256.0).is_none());
}

#[test]
fn the_linear_load_is_one_at_capacity() {
    let h100 = on("llama-3.1-8b", Quantisation::Bf16, "H100-SXM-80", 1);
    for (prompt, output) in [(100.0, 1000.0), (1000.0, 200.0), (6000.0, 50.0)] {
        let mix = shape(prompt, output);
        let limits = Limits {
            ttft_ms: 2000,
            itl_ms: 40,
        };
        let Some(capacity) = h100.capacity(&mix, limits, 200) else {
            panic!("{prompt}")
        };
        let rate = capacity.at.requests_per_second;
        let load = rate * prompt / capacity.prefill_tokens_per_second
            + rate * output / capacity.decode_tokens_per_second;
        assert!((load - 1.0).abs() < 1e-6, "{load}");
        assert!(capacity.at.itl_seconds <= 0.040 && capacity.at.ttft_seconds <= 2.0);
    }
}

#[test]
fn limits_below_the_floor_have_no_capacity() {
    let l4 = on("llama-3.1-8b", Quantisation::Bf16, "L4-24", 1);
    let mix = shape(500.0, 200.0);
    assert!(
        l4.capacity(
            &mix,
            Limits {
                ttft_ms: 2000,
                itl_ms: 50
            },
            64
        )
        .is_none()
    );
    assert!(
        l4.capacity(
            &mix,
            Limits {
                ttft_ms: 2000,
                itl_ms: 100
            },
            64
        )
        .is_some()
    );
    assert!(
        l4.capacity(
            &mix,
            Limits {
                ttft_ms: 1,
                itl_ms: 100
            },
            64
        )
        .is_none()
    );
    assert!(
        l4.capacity(
            &mix,
            Limits {
                ttft_ms: 2000,
                itl_ms: 100
            },
            0
        )
        .is_none()
    );
}

#[test]
fn what_was_never_measured_has_no_estimate() {
    let none = |name: &str, q, product: &str| {
        let product = products().get(product).unwrap();
        Estimator::new(&served(name, q), product, 1, 1.0).unwrap_err()
    };
    let bf16 = Quantisation::Bf16;
    assert!(matches!(
        none("llama-3.1-8b", bf16, "MI300X-192"),
        NoEstimate::Vendor { .. }
    ));
    assert!(matches!(
        none("llama-3.1-8b", bf16, "GAUDI3-128"),
        NoEstimate::Vendor { .. }
    ));
    assert!(matches!(
        none("llama-3.1-8b", Quantisation::GgufQ4, "L4-24"),
        NoEstimate::Kernel { .. }
    ));
    assert!(matches!(
        none("bge-m3", Quantisation::Fp16, "L4-24"),
        NoEstimate::NotGenerating { .. }
    ));
    let served = served("llama-3.1-8b", bf16);
    let misfit = fit(&served, products().get("T4-16").unwrap(), 1).unwrap_err();
    assert!(matches!(misfit, Misfit::Type { .. }));
}

/// Predicted over measured inter-token time of every fixture point, by (product, model).
fn ratios() -> BTreeMap<(String, String), Vec<f64>> {
    let mut ratios: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for record in csv::Reader::from_reader(MEASURED.as_bytes()).records() {
        let record = record.unwrap();
        let number = |at: usize| record[at].parse::<f64>().unwrap();
        let quantisation = Quantisation::parse(&record[1]).unwrap();
        let served = Served {
            // TensorRT-LLM keeps keys and values of quantised models in FP8, the others at 16 bits.
            kv_value_bytes: if quantisation.is_quantised() && &record[3] == "trtllm" {
                1.0
            } else {
                2.0
            },
            ..served(&record[0], quantisation)
        };
        let product = products().get(&record[2]).unwrap();
        let estimator = Estimator::new(&served, product, number(4) as u32, 1.0).unwrap();
        let predicted = estimator.itl_seconds(number(7), &shape(number(5), number(6))) * 1e3;
        ratios
            .entry((product.key.clone(), served.model.id.clone()))
            .or_default()
            .push(predicted / number(9));
    }
    ratios
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn dense_estimates_agree_with_measurements() {
    let mut dense = Vec::new();
    let mut points: BTreeMap<String, usize> = BTreeMap::new();
    for ((product, model), ratios) in ratios() {
        let errors: Vec<f64> = ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        let within = |band: f64| {
            ratios
                .iter()
                .filter(|ratio| **ratio * (1.0 + band) >= 1.0)
                .count() as f64
                / ratios.len() as f64
        };
        println!(
            "{product} {model}: {} points, median error {:.1} %, median ratio {:.2}, {:.0} % not slower than the band",
            ratios.len(),
            median(errors.clone()) * 100.0,
            median(ratios.clone()),
            within(0.3) * 100.0
        );
        let is_dense = !models().get(&model).unwrap().is_mixture_of_experts();
        if is_dense {
            // The pessimistic end must cover what was measured.
            assert!(within(0.3) >= 0.9, "{product} {model}");
            dense.extend(errors);
            *points.entry(product).or_default() += ratios.len();
        } else {
            assert!(within(0.6) >= 0.9, "{product} {model}");
        }
    }
    println!(
        "dense: {} points, median error {:.1} %",
        dense.len(),
        median(dense.clone()) * 100.0
    );
    assert!(median(dense) < 0.20);
    let calibrated: Vec<&str> = points
        .iter()
        .filter(|(_, count)| **count >= 30)
        .map(|(product, _)| product.as_str())
        .collect();
    assert_eq!(calibrated, CALIBRATED_PRODUCTS);
}

#[test]
fn the_version_names_formula_and_catalogue() {
    assert_eq!(version().len(), FORMULA.len() + 13);
    assert_eq!(version(), version());
}
