//! Rows expected exactly, of real captured pages and of series made to break naive pivots.

use datafusion::arrow::array::{Array, AsArray, ListArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};

use super::*;
use crate::ingest::prometheus::{Bucket, HistogramSample, STALE_NAN_BITS, Sample};

const MINUTE: i64 = 60_000;
const WINDOW: TimeWindow = TimeWindow::new(0, 86_400_000);

/// The exposition format as far as the captured pages use it.
fn page(text: &str, target: &[(&str, &str)], ts_ms: i64) -> Vec<SeriesSamples> {
    let mut all = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, rest) = match line.find('{') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => line.split_once(' ').unwrap(),
        };
        let mut labels = vec![("__name__".to_owned(), name.to_owned())];
        labels.extend(
            target
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let mut rest = rest;
        if line.contains('{') {
            while !rest.starts_with('}') {
                let (key, after) = rest.split_once("=\"").unwrap();
                let (value, after) = after.split_once('"').unwrap();
                labels.retain(|(known, _)| known != key);
                labels.push((key.to_owned(), value.to_owned()));
                rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            }
            rest = &rest[1..];
        }
        let mut numbers = rest.split_whitespace();
        let value = numbers.next().unwrap().parse().unwrap();
        let ts_ms = numbers
            .next()
            .map_or(ts_ms, |own| own.parse::<i64>().unwrap() % 86_400_000);
        all.push(SeriesSamples {
            labels: Labels::new(labels),
            samples: vec![Sample { ts_ms, value }],
            histograms: Vec::new(),
        });
    }
    all
}

fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesSamples {
    let name = ("__name__", name);
    let owned = labels
        .iter()
        .chain([&name])
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    SeriesSamples {
        labels: owned.collect(),
        samples: samples
            .iter()
            .map(|&(ts_ms, value)| Sample { ts_ms, value })
            .collect(),
        histograms: Vec::new(),
    }
}

fn pivot(all: impl IntoIterator<Item = SeriesSamples>) -> Pivoted {
    let aliases = Aliases::builtin().unwrap();
    let options = PivotOptions::default();
    let mut pivot = WindowPivot::new(&aliases, "c", WINDOW, &options);
    for one in all {
        pivot.add(one).unwrap();
    }
    pivot.finish().unwrap()
}

/// Rows as `column=value` of what is not NULL, `cluster` left out.
fn rows(pivoted: &Pivoted, table: &str) -> Vec<String> {
    let table = pivoted.tables.iter().find(|t| t.table == table).unwrap();
    let mut lines = Vec::new();
    for batch in &table.batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema.fields().iter().zip(batch.columns()).skip(1);
            let cells: Vec<String> = cells
                .filter(|(_, column)| column.is_valid(row))
                .map(|(field, column)| {
                    let value = match field.data_type() {
                        DataType::Dictionary(..) => {
                            let texts = cast(column, &DataType::Utf8).unwrap();
                            texts.as_string::<i32>().value(row).to_owned()
                        }
                        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                        DataType::Int64 => {
                            column.as_primitive::<Int64Type>().value(row).to_string()
                        }
                        DataType::Float64 => {
                            column.as_primitive::<Float64Type>().value(row).to_string()
                        }
                        DataType::Boolean => column.as_boolean().value(row).to_string(),
                        DataType::Timestamp(..) => {
                            let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
                            (us / 1000).to_string()
                        }
                        _ => {
                            let list = column.as_any().downcast_ref::<ListArray>().unwrap();
                            let list = list.value(row);
                            format!("{:?}", list.as_primitive::<Float64Type>().values().to_vec())
                        }
                    };
                    format!("{}={value}", field.name())
                })
                .collect();
            lines.push(cells.join(" "));
        }
    }
    lines
}

fn counts(pivoted: &Pivoted) -> Vec<usize> {
    pivoted
        .tables
        .iter()
        .map(crate::ingest::rows::TableBatches::rows)
        .collect()
}

const TARGET: [(&str, &str); 2] = [("job", "j"), ("instance", "i:9400")];

#[test]
fn a_real_t4_page_is_one_row_a_gpu() {
    let text = include_str!("../../../tests/fixtures/metrics/dcgm_metrics.prom");
    let pivoted = pivot(page(text, &TARGET, 5 * MINUTE));
    let same = "target=j/i:9400 ts=300000";
    assert_eq!(
        rows(&pivoted, "gpu_samples"),
        [
            format!(
                "node=424773df46e0 gpu=0 uuid=GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e \
                 model_name=Tesla T4 {same} util_percent=0 fb_used_mib=0 fb_free_mib=15109 \
                 power_watts=8.969 energy_mj=128996013 temperature_celsius=25 xid=0"
            ),
            format!(
                "node=551bdf382151 gpu=0 uuid=GPU-9ef1b6d0-3643-5dd7-b823-c0ec20dcf2d5 \
                 model_name=Tesla T4 {same} fb_reserved_mib=15109"
            ),
            format!(
                "node=ip-11111 gpu=0 uuid=GPU-abc model_name=NVIDIA A10G {same} \
                 dram_active=0.000003"
            ),
        ]
    );
    assert_eq!(
        rows(&pivoted, "gpu_pod_spans"),
        [
            "node=ip-11111 gpu=0 uuid=GPU-abc namespace=ray-llm pod=ray-1111111 \
          container=ray-worker first_ts=300000 last_ts=300000 samples=1"
        ]
    );
    // Families without a GPU are dummies: three of them are selected, none becomes a row.
    assert_eq!(pivoted.stats.series_rejected, 3);
}

#[test]
fn a_real_vllm_page_is_one_row_with_its_histograms() {
    let text = include_str!("../../../tests/fixtures/metrics/vllm_v0_metrics.prom");
    let target = [
        ("job", "vllm"),
        ("instance", "p:8000"),
        ("namespace", "chat"),
        ("pod", "p"),
    ];
    let pivoted = pivot(page(text, &target, MINUTE));
    let rows = rows(&pivoted, "serving_samples");
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert!(
        rows[0].starts_with(
            "namespace=chat pod=p target=vllm/p:8000 engine=vllm model_name=facebook/opt-125m \
             ts=60000 requests_running=0 requests_waiting=0 kv_usage_ratio=0 requests_total=1 \
             prompt_tokens_total=5 generation_tokens_total=7 preemptions_total=0 kv_blocks=7281 \
             kv_block_tokens=16 ttft_le_seconds=[0.001, 0.005, 0.01,"
        ),
        "{}",
        rows[0]
    );
    assert!(
        rows[0].contains("ttft_sum_seconds=0.31326723098754883 "),
        "{}",
        rows[0]
    );
    assert!(
        rows[0].contains(", inf] itl_bucket_counts=["),
        "{}",
        rows[0]
    );
    assert!(rows[0].ends_with("output_len_sum_tokens=7"), "{}", rows[0]);
    assert_eq!(counts(&pivoted)[5..], [0, 0]);
}

#[test]
fn real_nim_sglang_and_triton_pages_give_canonical_columns() {
    let nim = include_str!("../../../tests/fixtures/metrics/nim_metrics.prom");
    let nim = rows(&pivot(page(nim, &TARGET, 0)), "serving_samples");
    assert_eq!(nim.len(), 1);
    assert!(
        nim[0].contains(
            "engine=nim model_name=meta/llama-3.1-8b-instruct ts=0 requests_running=1 \
             requests_waiting=0 kv_usage_ratio=0.0002848191398461977 requests_total=5 \
             prompt_tokens_total=109 generation_tokens_total=174 ttft_le_seconds=[0.001,"
        ),
        "{}",
        nim[0]
    );

    let sglang = include_str!("../../../tests/fixtures/metrics/sglang_docs_capture.prom");
    let sglang = rows(&pivot(page(sglang, &TARGET, 0)), "serving_samples");
    assert_eq!(sglang.len(), 1);
    assert!(
        sglang[0].contains("requests_waiting=2826 kv_usage_ratio=0.28 "),
        "{}",
        sglang[0]
    );
    assert!(
        sglang[0].contains("generation_tokens_total=7557572 "),
        "{}",
        sglang[0]
    );

    let triton = include_str!("../../../tests/fixtures/metrics/triton_trtllm_README_excerpt.prom");
    let triton = rows(&pivot(page(triton, &TARGET, 0)), "serving_samples");
    assert_eq!(
        triton,
        [
            "namespace= pod= target=j/i:9400 engine=triton model_name=tensorrt_llm ts=0 \
          requests_running=1 requests_waiting=1 kv_usage_ratio=0.4875 kv_blocks=6239 \
          kv_block_tokens=64"
        ]
    );
}

#[test]
fn unprefixed_names_without_the_rest_of_a_nim_are_nobodys() {
    let lone = series("num_requests_running", &TARGET, &[(0, 1.0)]);
    assert_eq!(counts(&pivot([lone])), [0; 7]);
}

#[test]
fn a_real_kubelet_page_gives_containers_and_no_pod_totals() {
    let text = include_str!("../../../tests/fixtures/metrics/cadvisor_excerpt.prom");
    let target = [("job", "kubelet"), ("instance", "n:10250"), ("node", "n")];
    let rows = rows(&pivot(page(text, &target, 0)), "container_samples");
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!(
        rows[1],
        format!(
            "namespace=kube-system pod=etcd-datagen-1-35 container=etcd node=n \
             target=kubelet/n:10250 ts={} cpu_seconds_total=2.628368 \
             cpu_pressure_waiting_seconds_total=0.136001 memory_working_set_bytes=44290048",
            1_782_468_870_634_i64 % 86_400_000
        )
    );
}

#[test]
fn a_real_kube_state_metrics_page_gives_scalers_and_narrow_series() {
    let text = include_str!("../../../tests/fixtures/metrics/ksm_excerpt.prom");
    let target = [("job", "ksm"), ("instance", "k:8080")];
    let pivoted = pivot(page(text, &target, MINUTE));
    assert_eq!(
        rows(&pivoted, "scaler_samples"),
        [
            "namespace=scraper scaler_kind=horizontalpodautoscaler.autoscaling scaler_name=e2e-hpa \
          target=ksm/k:8080 ts=60000 current_replicas=1 desired_replicas=0 min_replicas=1 \
          max_replicas=10 active=0"
        ]
    );
    let owners: Vec<String> = rows(&pivoted, "series")
        .into_iter()
        .filter(|row| row.contains("metric=kube_pod_owner") && row.contains("etcd"))
        .collect();
    assert_eq!(owners.len(), 1, "{owners:#?}");
    assert!(
        owners[0].contains("\"pod\":\"etcd-datagen-1-35\""),
        "{}",
        owners[0]
    );
    assert!(
        owners[0].ends_with("samples=1 ended_stale=false"),
        "{}",
        owners[0]
    );
    assert_eq!(counts(&pivoted)[5], counts(&pivoted)[6]);
}

#[test]
fn a_stale_marker_at_the_new_pods_first_sample_is_no_row_of_its_own() {
    let gpu = [
        ("job", "d"),
        ("instance", "n:9400"),
        ("gpu", "0"),
        ("UUID", "G"),
        ("hostname", "n"),
    ];
    let with = |pod: &'static str| {
        [
            &gpu[..],
            &[("exported_pod", pod), ("exported_namespace", "a")],
        ]
        .concat()
    };
    let stale = f64::from_bits(STALE_NAN_BITS);
    let pivoted = pivot([
        series(
            "DCGM_FI_DEV_GPU_UTIL",
            &with("old"),
            &[(0, 1.0), (30_000, 2.0), (60_000, stale)],
        ),
        series(
            "DCGM_FI_DEV_GPU_UTIL",
            &with("new"),
            &[(60_000, 3.0), (300_000, 4.0)],
        ),
    ]);
    let row = |ts: i64, util: i64| {
        format!(
            "node=n gpu=0 uuid=G target=d/n:9400 ts={ts} scrape_interval_ms=30000 util_percent={util}"
        )
    };
    assert_eq!(
        rows(&pivoted, "gpu_samples"),
        [row(0, 1), row(30_000, 2), row(60_000, 3), row(300_000, 4)]
    );
    let span = |pod: &str, first: i64, last: i64, n: i64| {
        format!(
            "node=n gpu=0 uuid=G namespace=a pod={pod} first_ts={first} last_ts={last} samples={n}"
        )
    };
    assert_eq!(
        rows(&pivoted, "gpu_pod_spans"),
        [
            span("new", 60_000, 60_000, 1),
            span("new", 300_000, 300_000, 1),
            span("old", 0, 30_000, 2)
        ]
    );
    assert_eq!(pivoted.stats.stale_markers, 1);
    assert_eq!(pivoted.stats.samples, 4);
}

#[test]
fn a_time_sliced_gpu_is_one_row_and_a_span_for_each_pod() {
    let of = |pod| {
        let labels = [
            ("job", "d"),
            ("instance", "10.0.0.7:9400"),
            ("gpu", "0"),
            ("UUID", "G"),
            ("Hostname", "dcgm-exporter-x7"),
            ("pod", pod),
            ("namespace", "a"),
        ];
        series("DCGM_FI_DEV_GPU_UTIL", &labels, &[(0, 7.0)])
    };
    // One copy is the exporter itself; its name is also its host name, so the instance names the node.
    let pivoted = pivot([of("p1"), of("p2"), of("dcgm-exporter-x7")]);
    assert_eq!(
        rows(&pivoted, "gpu_samples"),
        ["node=10.0.0.7 gpu=0 uuid=G target=d/10.0.0.7:9400 ts=0 util_percent=7"]
    );
    let spans = rows(&pivoted, "gpu_pod_spans");
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert!(spans[0].contains("pod=p1") && spans[1].contains("pod=p2"));
}

#[test]
fn sentinels_and_nan_are_missing_and_never_zero() {
    let gpu = [("gpu", "0"), ("UUID", "G"), ("hostname", "n")];
    let pivoted = pivot([
        series(
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
            &gpu,
            &[(0, 9.223372036854776e18), (1, 0.5)],
        ),
        series("DCGM_FI_DEV_POWER_USAGE", &gpu, &[(0, f64::NAN), (1, 70.0)]),
        series("DCGM_FI_DEV_FB_USED", &gpu, &[(0, 2147483632.0), (1, 1.0)]),
    ]);
    let rows = rows(&pivoted, "gpu_samples");
    assert_eq!(
        rows[0],
        "node=n gpu=0 uuid=G target=/ ts=0 scrape_interval_ms=1"
    );
    assert!(
        rows[1].ends_with("gr_engine_active=0.5 fb_used_mib=1 power_watts=70"),
        "{}",
        rows[1]
    );
    assert_eq!(pivoted.stats.values_rejected, 3);
}

#[test]
fn counters_add_up_over_reasons_and_ranks_do_not() {
    let at = [
        ("job", "s"),
        ("instance", "i"),
        ("model_name", "m"),
        ("pod", "p"),
    ];
    let of = |name, extra: &[(&'static str, &'static str)], v| {
        series(name, &[&at[..], extra].concat(), &[(0, v)])
    };
    let sglang = pivot([
        of("sglang:num_running_reqs", &[("tp_rank", "0")], 4.0),
        of("sglang:num_running_reqs", &[("tp_rank", "1")], 4.0),
        of("sglang:num_running_reqs", &[("priority", "9")], 3.0),
        of(
            "sglang:realtime_tokens_total",
            &[("mode", "prefill_cache"), ("tp_rank", "0")],
            10.0,
        ),
        of(
            "sglang:realtime_tokens_total",
            &[("mode", "prefill_cache"), ("tp_rank", "1")],
            10.0,
        ),
        of(
            "sglang:realtime_tokens_total",
            &[("mode", "prefill_compute"), ("tp_rank", "0")],
            5.0,
        ),
        of("sglang:prompt_tokens_total", &[], 1.0),
    ]);
    assert_eq!(
        rows(&sglang, "serving_samples"),
        [
            "namespace= pod=p target=s/i engine=sglang model_name=m ts=0 requests_running=4 \
          prompt_tokens_total=15 prefix_hit_tokens_total=10 prefix_query_tokens_total=15"
        ]
    );
    let vllm = pivot([
        of(
            "vllm:request_success_total",
            &[("finished_reason", "stop")],
            2.0,
        ),
        of(
            "vllm:request_success_total",
            &[("finished_reason", "length")],
            3.0,
        ),
        of("vllm:gpu_cache_usage_perc", &[], 0.9),
        of("vllm:kv_cache_usage_perc", &[], 0.4),
        of("vllm:engine_sleep_state", &[("sleep_state", "awake")], 0.0),
        of(
            "vllm:engine_sleep_state",
            &[("sleep_state", "discard_all")],
            1.0,
        ),
    ]);
    assert_eq!(
        rows(&vllm, "serving_samples"),
        [
            "namespace= pod=p target=s/i engine=vllm model_name=m ts=0 kv_usage_ratio=0.4 \
          requests_total=5 awake=0"
        ]
    );
}

#[test]
fn a_runtime_gives_way_to_the_engine_in_its_pod() {
    let at = |instance| {
        [
            ("job", "s"),
            ("instance", instance),
            ("namespace", "a"),
            ("pod", "p"),
        ]
    };
    let pivoted = pivot([
        series(
            "dynamo_component_requests_total",
            &at("i:9090"),
            &[(0, 5.0)],
        ),
        series("vllm:prompt_tokens_total", &at("i:8000"), &[(0, 9.0)]),
    ]);
    let rows = rows(&pivoted, "serving_samples");
    assert_eq!(rows.len(), 1);
    assert!(rows[0].contains("engine=vllm"), "{}", rows[0]);
}

#[test]
fn one_prometheus_of_a_pair_and_one_job_of_an_instance_is_kept() {
    let gpu = [
        ("instance", "n:1"),
        ("gpu", "0"),
        ("UUID", "G"),
        ("hostname", "n"),
    ];
    let of = |job, replica, samples: &[(i64, f64)]| {
        let labels = [&gpu[..], &[("job", job), ("prometheus_replica", replica)]].concat();
        series("DCGM_FI_DEV_GPU_UTIL", &labels, samples)
    };
    let pivoted = pivot([
        of("a", "r0", &[(0, 1.0), (30, 1.0)]),
        of("a", "r1", &[(7, 1.0), (37, 1.0), (67, 1.0)]),
        of("b", "r1", &[(8, 1.0)]),
    ]);
    let rows = rows(&pivoted, "gpu_samples");
    assert_eq!(rows.len(), 3, "{rows:#?}");
    assert!(
        rows.iter().all(|row| row.contains("target=a/n:1")),
        "{rows:#?}"
    );
    assert_eq!(pivoted.stats.series_duplicate, 2);
}

#[test]
fn old_names_are_stored_once_under_the_current_one() {
    let old = include_str!("../../../tests/fixtures/metrics/queue_avg_size_metrics.prom");
    let new = include_str!("../../../tests/fixtures/metrics/llm_d_queue_avg_size_metrics.prom");
    let both = pivot(
        page(old, &TARGET, 0)
            .into_iter()
            .chain(page(new, &TARGET, 0)),
    );
    let alone = pivot(page(old, &TARGET, 0));
    assert_eq!(rows(&both, "series"), rows(&alone, "series"));
    let series = rows(&alone, "series");
    assert_eq!(series.len(), 1);
    assert!(
        series[0].starts_with("metric=llm_d_epp_average_queue_size "),
        "{}",
        series[0]
    );
}

#[test]
fn exported_labels_of_kube_state_metrics_win_and_fingerprints_are_stable() {
    let labels = [
        ("job", "k"),
        ("instance", "i"),
        ("namespace", "monitoring"),
        ("pod", "ksm-0"),
        ("exported_namespace", "chat"),
        ("exported_pod", "p"),
        ("phase", "Running"),
    ];
    let stale = f64::from_bits(STALE_NAN_BITS);
    let pivoted = pivot([series(
        "kube_pod_status_phase",
        &labels,
        &[(0, 1.0), (30, stale)],
    )]);
    assert_eq!(
        rows(&pivoted, "series"),
        ["metric=kube_pod_status_phase series_fp=FP labels_json={\"instance\":\"i\",\"job\":\"k\",\
          \"namespace\":\"chat\",\"phase\":\"Running\",\"pod\":\"p\"} first_ts=0 last_ts=0 \
          samples=1 ended_stale=true"
            .replace("FP", &fingerprint(&pivoted))]
    );
    let again = pivot([series("kube_pod_status_phase", &labels, &[(60, 1.0)])]);
    assert_eq!(fingerprint(&pivoted), fingerprint(&again));
}

fn fingerprint(pivoted: &Pivoted) -> String {
    let row = rows(pivoted, "series").remove(0);
    let (_, rest) = row.split_once("series_fp=").unwrap();
    rest.split_once(' ').unwrap().0.to_owned()
}

#[test]
fn native_histograms_become_cumulative_counts() {
    let bucket = |lower, upper, count| Bucket {
        lower,
        upper,
        count,
    };
    let mut ttft = series("vllm:time_to_first_token_seconds", &[("pod", "p")], &[]);
    ttft.histograms = vec![HistogramSample {
        ts_ms: 0,
        schema: 0,
        count: 6.0,
        sum: 4.5,
        buckets: vec![bucket(0.5, 1.0, 2.0), bucket(1.0, 2.0, 3.0)],
    }];
    assert_eq!(
        rows(&pivot([ttft]), "serving_samples"),
        [
            "namespace= pod=p target=/ engine=vllm ts=0 ttft_le_seconds=[1.0, 2.0, inf] \
          ttft_bucket_counts=[2.0, 5.0, 6.0] ttft_sum_seconds=4.5"
        ]
    );
}

#[test]
fn hostile_labels_and_times_outside_the_window_leave_no_rows() {
    let long = "x".repeat(5_000);
    let pivoted = pivot([
        series("up", &[("job", &long)], &[(0, 1.0)]),
        series("up", &[("job", "j")], &[(-1, 1.0), (WINDOW.end_ms, 1.0)]),
    ]);
    assert_eq!(counts(&pivoted), [0; 7]);
    assert_eq!(pivoted.stats.series_rejected, 1);
}

#[test]
fn the_order_of_arrival_does_not_change_the_content() {
    let text = include_str!("../../../tests/fixtures/metrics/ksm_excerpt.prom");
    let digest = |pivoted: &Pivoted| crate::ingest::content_digest(&pivoted.tables);
    let mut all = page(text, &TARGET, 0);
    let forward = pivot(all.clone());
    all.reverse();
    let backward = pivot(all);
    for table in RAW_SAMPLE_TABLES {
        assert_eq!(rows(&forward, table), rows(&backward, table));
    }
    assert_eq!(digest(&forward), digest(&backward));
}

/// Narrow rows as `metric {labels} value`.
fn narrow(pivoted: &Pivoted) -> Vec<String> {
    let mut labels = std::collections::BTreeMap::new();
    for row in rows(pivoted, "series") {
        let (metric, rest) = row.split_once(" series_fp=").unwrap();
        let (fingerprint, rest) = rest.split_once(" labels_json=").unwrap();
        let (json, _) = rest.split_once(" first_ts=").unwrap();
        let metric = metric.strip_prefix("metric=").unwrap();
        labels.insert(fingerprint.to_owned(), format!("{metric} {json}"));
    }
    let mut lines: Vec<String> = rows(pivoted, "misc_samples")
        .iter()
        .map(|row| {
            let (_, rest) = row.split_once(" series_fp=").unwrap();
            let (fingerprint, rest) = rest.split_once(' ').unwrap();
            let (_, value) = rest.split_once("value=").unwrap();
            format!("{} {value}", labels[fingerprint])
        })
        .collect();
    lines.sort();
    lines
}

/// What a script that shares no code with the pivot made of the same page.
macro_rules! expected {
    ($name:literal) => {
        include_str!(concat!(
            "../../../tests/fixtures/metrics/rows/",
            $name,
            ".txt"
        ))
        .lines()
        .collect::<Vec<_>>()
    };
}

macro_rules! captured {
    ($name:literal, $target:expr) => {
        page(
            include_str!(concat!("../../../tests/fixtures/metrics/", $name, ".prom")),
            $target,
            0,
        )
    };
}

#[test]
fn captured_engine_pages_are_these_rows_and_no_others() {
    let serving = |all| {
        let pivoted = pivot(all);
        assert_eq!(counts(&pivoted)[5..], [0, 0]);
        rows(&pivoted, "serving_samples")
    };
    let got = serving(captured!("vllm_v0_metrics", &TARGET));
    assert_eq!(got, expected!("vllm_v0_metrics"));
    let got = serving(captured!("vllm_v0_kubeai_mock", &TARGET));
    assert_eq!(got, expected!("vllm_v0_kubeai_mock"));
    let got = serving(captured!("nim_metrics", &TARGET));
    assert_eq!(got, expected!("nim_metrics"));
    let got = serving(captured!("sglang_docs_capture", &TARGET));
    assert_eq!(got, expected!("sglang_docs_capture"));
}

#[test]
fn captured_narrow_pages_are_these_series_and_no_others() {
    let of = |all| narrow(&pivot(all));
    assert_eq!(of(captured!("ksm_excerpt", &[])), expected!("ksm_excerpt"));
    let node = of(captured!("node_exporter_excerpt", &[]));
    assert_eq!(node, expected!("node_exporter_excerpt"));
    let llm_d = [
        captured!("llm_d_kv_cache_avg_metrics", &[]),
        captured!("llm_d_output_tokens_metric", &[]),
        captured!("llm_d_queue_avg_size_metrics", &[]),
        captured!("llm_d_request_total_metric", &[]),
        captured!("llm_d_request_ttft_seconds_metric", &[]),
        captured!("llm_d_running_requests_metrics", &[]),
        captured!("llm_d_scheduler_attempts_multiple_endpoints_metrics", &[]),
    ];
    assert_eq!(of(llm_d.concat()), expected!("llm_d"));
    // The deprecated twins beside the current names add nothing.
    let twins = [
        captured!("kv_cache_avg_metrics", &[]),
        captured!("queue_avg_size_metrics", &[]),
    ];
    assert_eq!(
        of([twins.concat(), llm_d.concat()].concat()),
        expected!("llm_d")
    );
}

#[test]
fn containers_outside_of_pods_are_no_rows() {
    let pivoted = pivot(captured!("cadvisor_golden_excerpt", &TARGET));
    assert_eq!(pivoted.stats.series, 8);
    assert_eq!(counts(&pivoted), [0; 7]);
}
