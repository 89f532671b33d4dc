use super::*;
use crate::catalogue::{models, products};
use crate::detect::economics::calibration::{Point, read_points};
use crate::detect::economics::fit::{MAX_SEQUENCES, Misfit, fit};

const MEASURED: &str = include_str!("../../../../tests/fixtures/economics/measured_points.csv");

fn served(name: &str, quantisation: Quantisation) -> Served<'static> {
    Served {
        model: models().resolve(name).unwrap(),
        quantisation,
        kv_value_bytes: 2.0,
        max_model_len: 8192,
        max_num_seqs: MAX_SEQUENCES,
        engine: Engine::Vllm,
    }
}

fn whole(product: &str) -> Device {
    Device::whole(products().get(product).unwrap())
}

fn on(name: &str, quantisation: Quantisation, product: &str, gpus: u32) -> Estimator {
    Estimator::new(&served(name, quantisation), &whole(product), gpus).unwrap()
}

fn shape(prompt: f64, output: f64) -> Shape {
    Shape {
        prompt_tokens: prompt,
        uncached_prompt_tokens: prompt,
        output_tokens: output,
    }
}

#[test]
fn no_factor_reads_weights_faster_than_memory_gives_them() {
    let a10g = on("llama-3.1-8b", Quantisation::Bf16, "A10G-24", 1);
    // 15 GB at 600 GB/s: a step reads all weights but the table of input embeddings.
    let floor_ms = (8.03 - 0.525) * 2.0 / 600.0 * 1e3;
    let fast_ms = a10g
        .scaled(0.1, 0.1)
        .step_seconds(1.0, &shape(128.0, 128.0))
        * 1e3;
    assert!(
        (fast_ms / floor_ms - 1.0).abs() < 0.01,
        "{fast_ms} {floor_ms}"
    );
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
        (27.0..34.5).contains(&bf16("A10G-24")),
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
        Estimator::new(&served(name, q), &whole(product), 1).unwrap_err()
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
    let misfit = fit(&served, &whole("T4-16"), 1).unwrap_err();
    assert!(matches!(misfit, Misfit::Type { .. }));
}

fn points(experts: bool) -> Vec<Point> {
    let mut points = read_points(MEASURED).unwrap();
    points.retain(|point| point.model.is_mixture_of_experts() == experts);
    points
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Predicted over measured, and the share of points that the band holds.
fn ratios(points: &[Point], band: i64) -> (Vec<f64>, f64) {
    let ratios: Vec<f64> = points.iter().map(|p| p.itl_ratio(None).unwrap()).collect();
    let band = band as f64 / 100.0;
    let inside = ratios
        .iter()
        .filter(|ratio| (1.0 - band..=1.0 + band).contains(&(1.0 / **ratio)))
        .count();
    let share = inside as f64 / ratios.len() as f64;
    (ratios, share)
}

fn errors(ratios: &[f64]) -> Vec<f64> {
    ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect()
}

#[test]
fn dense_estimates_agree_with_measurements() {
    let dense = points(false);
    assert_eq!(dense.len(), 486);
    let (all, inside) = ratios(&dense, CALIBRATED_BAND);
    assert!(median(errors(&all)) < 0.08, "{}", median(errors(&all)));
    assert!(inside >= 0.95, "{inside}");
    // Each GPU and each model by itself, so that a large cell cannot hide a small one.
    for product in CALIBRATED_PRODUCTS {
        for model in ["Meta-Llama-3.1-8B", "Meta-Llama-3.1-70B"] {
            let cell: Vec<Point> = dense
                .iter()
                .filter(|p| p.product.key == *product && p.model.id.ends_with(model))
                .cloned()
                .collect();
            if cell.is_empty() {
                continue;
            }
            assert!(cell.len() >= 30);
            let (ratios, inside) = ratios(&cell, CALIBRATED_BAND);
            assert!(median(errors(&ratios)) < 0.15, "{product} {model}");
            assert!(inside >= 0.9, "{product} {model}: {inside}");
        }
    }
}

#[test]
fn the_wide_band_holds_mixtures_of_experts() {
    let experts = points(true);
    let (all, inside) = ratios(&experts, WIDE_BAND);
    assert!(median(errors(&all)) < 0.25, "{}", median(errors(&all)));
    assert!(inside >= 0.9, "{inside}");
}

#[test]
fn the_scalars_in_use_are_the_fitted_ones_rounded() {
    let dense = points(false);
    // Every third point is enough to see a constant that nobody fitted.
    let some: Vec<&Point> = dense.iter().step_by(3).collect();
    let fitted = crate::detect::economics::calibration::fit_scalars(&some).unwrap();
    for (used, fitted, slack) in [
        (DENSE.layer_seconds, fitted.layer_seconds, 4e-6),
        (
            DENSE.tensorrt_step_seconds,
            fitted.tensorrt_step_seconds,
            0.4e-3,
        ),
        (DENSE.vllm_step_seconds, fitted.vllm_step_seconds, 0.5e-3),
        (DENSE.request_seconds, fitted.request_seconds, 10e-6),
        (DENSE.prefill_stall, fitted.prefill_stall, 0.1),
    ] {
        assert!((used - fitted).abs() <= slack, "{used} against {fitted}");
    }
}

#[test]
fn a_slice_is_slower_than_its_card_and_a_band_is_wider() {
    let card = products().get("H100-SXM-80").unwrap();
    let half = Device::slice(card, "3g.40gb").unwrap();
    let seventh = Device::slice(card, "1g.10gb").unwrap();
    let small = served("qwen3-1.7b", Quantisation::Bf16);
    let mix = shape(500.0, 200.0);
    let itl = |device: &Device| {
        Estimator::new(&small, device, 1)
            .unwrap()
            .itl_seconds(4.0, &mix)
    };
    let whole = Device::whole(card);
    assert!(itl(&whole) < itl(&half) && itl(&half) < itl(&seventh));
    assert_eq!(band_percent(&whole, small.model), CALIBRATED_BAND);
    assert_eq!(band_percent(&half, small.model), WIDE_BAND);
}

#[test]
fn the_version_names_formula_and_catalogue() {
    assert_eq!(version().len(), FORMULA.len() + 13);
    assert_eq!(version(), version());
}
