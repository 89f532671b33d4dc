//! Owns what is known of signals by name: which were renamed, which every model shares, which say
//! how busy a GPU is, and which survive the last pod. Names are compared with `:` and `_` alike:
//! adapters and gateways rewrite one as the other.

/// Metrics that changed their name, and what replaced them; none where nothing did.
const RENAMED: &[(&str, Option<&str>, &str)] = &[
    (
        "vllm_gpu_cache_usage_perc",
        Some("vllm:kv_cache_usage_perc"),
        "hidden in vLLM 0.11 and gone in 0.12",
    ),
    (
        "vllm_time_per_output_token_seconds",
        Some("vllm:inter_token_latency_seconds"),
        "deprecated in vLLM 0.11, hidden in 0.12 and gone by 0.30",
    ),
    (
        "vllm_num_requests_swapped",
        None,
        "a metric of vLLM's first engine only",
    ),
    (
        "vllm_cpu_cache_usage_perc",
        None,
        "a metric of vLLM's first engine only",
    ),
    (
        "vllm_avg_prompt_throughput_toks_per_s",
        Some("rate(vllm:prompt_tokens_total)"),
        "a metric of vLLM's first engine only",
    ),
    (
        "vllm_avg_generation_throughput_toks_per_s",
        Some("rate(vllm:generation_tokens_total)"),
        "a metric of vLLM's first engine only",
    ),
    (
        "sglang_time_per_output_token_seconds",
        Some("sglang:inter_token_latency_seconds"),
        "renamed by SGLang",
    ),
];

/// Prefixes that changed, and what replaced them.
const RENAMED_PREFIXES: &[(&str, &str)] = &[
    ("inference_objective_", "llm_d_epp_"),
    ("inference_pool_", "llm_d_epp_"),
    ("inference_extension_", "llm_d_epp_"),
    ("inference_model_", "llm_d_epp_"),
    ("llm_d_inference_scheduler_", "llm_d_epp_"),
];

/// Families that every model of a cluster writes into.
const SHARED: &[&str] = &[
    "vllm_",
    "ray_vllm_",
    "sglang_",
    "trtllm_",
    "nv_inference_",
    "nv_trt_llm_",
    "tgi_",
    "lmdeploy_",
    "llamacpp_",
    "llm_d_epp_",
    "inference_pool_",
    "inference_objective_",
    "inference_extension_",
    "llm_d_inference_scheduler_",
    "dynamo_",
    "wva_",
    "ray_serve_",
    "DCGM_",
    "num_requests_",
    "gpu_cache_usage_perc",
];

/// How busy a GPU is, by whoever measures it.
const GPU_BUSY: &[&str] = &[
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_SM_ACTIVE",
    "nv_gpu_utilization",
    "runai_gpu_utilization",
    "gpu_gfx_activity",
    "amd_gpu_gfx_activity",
    "habanalabs_utilization",
    "container_accelerator_duty_cycle",
    "kubernetes.io|container|accelerator|duty_cycle",
    "duty_cycle",
    "gpu_utilization",
    "nvidia_gpu_duty_cycle",
];

/// What becomes of a signal once the last pod is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survival {
    /// It is measured before the pods.
    Wakes,
    /// It is gone, and why.
    Vanishes(&'static str),
    Unknown,
}

fn flat(metric: &str) -> String {
    let flat = metric.replace(':', "_");
    for ending in ["_bucket", "_sum", "_count"] {
        if let Some(bare) = flat.strip_suffix(ending) {
            return bare.to_owned();
        }
    }
    flat
}

/// What a query on a metric that was renamed says wrong.
pub(super) fn renamed(metric: &str) -> Option<String> {
    let flat = flat(metric);
    if let Some((_, now, why)) = RENAMED.iter().find(|(old, _, _)| *old == flat) {
        return Some(match now {
            Some(now) => format!("{metric} is {why}; its name now is {now}"),
            None => format!("{metric} is {why}; nothing replaces it"),
        });
    }
    RENAMED_PREFIXES
        .iter()
        .find(|(old, _)| flat.starts_with(old))
        .map(|(old, now)| {
            format!("{metric} is of the family {old}*, which llm-d's router now writes as {now}*")
        })
}

pub(super) fn is_shared(metric: &str) -> bool {
    let flat = flat(metric);
    SHARED.iter().any(|prefix| flat.starts_with(prefix))
}

pub(super) fn is_vllm(metric: &str) -> bool {
    // The router's own counter is no series of an engine.
    let flat = flat(metric);
    flat.starts_with("vllm_") && flat != ROUTER
}

/// What production-stack's router counts before any engine sees it.
const ROUTER: &str = "vllm_num_incoming_requests_total";

pub(super) fn is_gpu_utilisation(metric: &str) -> bool {
    GPU_BUSY
        .iter()
        .any(|name| metric.eq_ignore_ascii_case(name))
        || metric.starts_with("runai_gpu_utilization")
}

/// What becomes of a metric, and of what kind of trigger it is.
pub(super) fn survival(kind: &str, metric: &str) -> Survival {
    if kind == "knative" {
        return match metric {
            "concurrency" | "rps" => Survival::Wakes,
            _ => Survival::Vanishes("is measured on the pods themselves"),
        };
    }
    let flat = flat(metric);
    if flat == ROUTER || flat == "wva_desired_replicas" {
        return Survival::Wakes;
    }
    if flat.starts_with("llm_d_epp_")
        || RENAMED_PREFIXES
            .iter()
            .any(|(old, _)| flat.starts_with(old))
    {
        return Survival::Vanishes("is emitted only once a backend has been ready");
    }
    if flat.starts_with("dynamo_") {
        return Survival::Vanishes(
            "stops when the last worker goes: the frontend then answers 404 and counts no demand",
        );
    }
    if flat.starts_with("ray_serve_") {
        return Survival::Unknown;
    }
    if is_shared(metric) || is_gpu_utilisation(metric) {
        return Survival::Vanishes("is written by the pods themselves");
    }
    // What KEDA asks queues and clouds for is not written by the pods.
    if kind == "prometheus" || matches!(kind, "Pods" | "Object" | "External" | "PodMetric") {
        return Survival::Unknown;
    }
    survival_of_kind(kind, None)
}

/// What becomes of a trigger of a kind that names no metric.
pub(super) fn survival_of_kind(kind: &str, server: Option<&str>) -> Survival {
    match kind {
        "external" | "external-push" => {
            if server.is_some_and(|server| server.contains("kaito")) {
                Survival::Vanishes("is scraped from the pods")
            } else {
                Survival::Unknown
            }
        }
        "prometheus" | "metrics-api" | "unknown" | "Pods" | "Object" | "External" => {
            Survival::Unknown
        }
        _ => Survival::Wakes,
    }
}
