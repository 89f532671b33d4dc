//! Each rule with a case in which it speaks and one in which it must not.

use super::*;

fn subject() -> Subject {
    Subject {
        object: "scaledobject.keda.sh/chat/llama".to_owned(),
        namespace: "chat".to_owned(),
        names: BTreeSet::from(["llama".to_owned()]),
        pods: BTreeSet::from(["llama-7d9f-abc".to_owned()]),
        models: BTreeSet::from(["meta-llama/Llama-3.1-8B".to_owned()]),
        ..Subject::default()
    }
}

fn prometheus(query: &str) -> Policy {
    Policy {
        min: Some(1),
        triggers: vec![Trigger {
            query: Some(query.to_owned()),
            ignores_nulls: Some(true),
            ..Trigger::of("prometheus")
        }],
        ..Policy::default()
    }
}

fn ids(policy: &Policy) -> Vec<&'static str> {
    lint(&subject(), policy)
        .iter()
        .map(|finding| finding.rule.id())
        .collect()
}

#[test]
fn renamed_metrics_are_named_in_either_spelling() {
    for old in [
        "sum(vllm:gpu_cache_usage_perc{namespace=\"chat\"})",
        "max(vllm_gpu_cache_usage_perc{namespace=\"chat\"})",
        "histogram_quantile(0.9, rate(vllm:time_per_output_token_seconds_bucket{namespace=\"chat\"}[5m]))",
        "sum(inference_pool_average_queue_size{name=\"pool\"})",
    ] {
        assert_eq!(ids(&prometheus(old)), ["renamed-metric"], "{old}");
    }
    for now in [
        "sum(vllm:kv_cache_usage_perc{namespace=\"chat\"})",
        // NIM's own name, without a prefix, is current.
        "sum(gpu_cache_usage_perc{namespace=\"chat\"})",
    ] {
        assert!(ids(&prometheus(now)).is_empty(), "{now}");
    }
}

#[test]
fn a_query_on_everybodys_metric_needs_a_filter() {
    assert_eq!(
        ids(&prometheus("vllm:num_requests_waiting")),
        ["unfiltered-query"]
    );
    assert_eq!(
        ids(&prometheus(
            "sum(vllm:num_requests_waiting{engine=\"0\",pod=~\".*\"})"
        )),
        ["unfiltered-query"]
    );
    assert!(ids(&prometheus("sum(llama_queue_depth)")).is_empty());
    assert!(
        ids(&prometheus(
            "sum(vllm:num_requests_waiting{service=\"llama\"})"
        ))
        .is_empty()
    );
}

#[test]
fn labels_that_no_pod_has_are_found_and_patterns_are_not_guessed() {
    for (query, wrong) in [
        ("x{namespace=\"other\"}", true),
        ("x{namespace=\"chat\"}", false),
        ("x{pod=~\"qwen-.*\"}", true),
        ("x{pod=~\"llama-.*\"}", false),
        ("x{pod=~\"llama-[0-9a-f]+-.*\"}", false),
        ("x{model_name=\"Llama-3.1-8B\"}", true),
        ("x{model_name=\"meta-llama/Llama-3.1-8B\"}", false),
        (
            "vllm:num_requests_waiting{model=\"meta-llama/Llama-3.1-8B\"}",
            true,
        ),
    ] {
        let expected: &[&str] = if wrong { &["label-mismatch"] } else { &[] };
        assert_eq!(ids(&prometheus(query)), expected, "{query}");
    }
    // What is not known of the target is no mismatch.
    let blank = Subject::default();
    let policy = prometheus("x{namespace=\"a\",pod=\"b\",model_name=\"c\"}");
    assert!(lint(&blank, &policy).is_empty());
}

#[test]
fn an_hpa_on_a_namespaces_metric_follows_every_model() {
    let on = |object: &str| Policy {
        min: Some(1),
        triggers: vec![Trigger {
            metric: Some("vllm_num_requests_waiting".to_owned()),
            object: Some(object.to_owned()),
            ..Trigger::of("Object")
        }],
        ..Policy::default()
    };
    assert_eq!(ids(&on("Namespace/chat")), ["unfiltered-query"]);
    assert!(ids(&on("Service/llama")).is_empty());
}

#[test]
fn how_busy_a_gpu_is_is_no_signal() {
    assert_eq!(
        ids(&prometheus("avg(DCGM_FI_DEV_GPU_UTIL{pod=~\"llama-.*\"})")),
        ["gpu-utilisation-target", "mean-of-pods"]
    );
    assert!(ids(&prometheus("sum(DCGM_FI_DEV_FB_USED{pod=~\"llama-.*\"})")).is_empty());
}

#[test]
fn a_target_that_sleeps_needs_a_signal_that_does_not() {
    let sleeping = |query: &str| Policy {
        min: Some(0),
        ..prometheus(query)
    };
    for vanishing in [
        "sum(vllm:num_requests_waiting{namespace=\"chat\"}) or vector(0)",
        "sum(llm_d_epp_flow_control_queue_size{inference_pool=\"p\"})",
        "sum(dynamo_frontend_active_requests{dynamo_namespace=\"chat-g\"})",
    ] {
        let found = lint(&subject(), &sleeping(vanishing));
        assert_eq!(found.len(), 1, "{vanishing}: {found:?}");
        assert_eq!(found[0].rule, Rule::WakeSignalVanishes);
        assert!(found[0].sentence.contains("ignoreNullValues"));
    }
    for surviving in [
        "sum(vllm:num_incoming_requests_total{model=\"m\"})",
        "sum(my_gateway_requests{model=\"m\"})",
        "max(wva_desired_replicas{variant_name=\"llama\"})",
    ] {
        assert!(ids(&sleeping(surviving)).is_empty(), "{surviving}");
    }
    // Awake at one it does not matter, and a queue outside wakes it.
    assert!(
        ids(&prometheus(
            "sum(vllm:num_requests_waiting{namespace=\"chat\"})"
        ))
        .is_empty()
    );
    let mut both = sleeping("sum(vllm:num_requests_waiting{namespace=\"chat\"})");
    both.triggers.push(Trigger::of("kafka"));
    assert!(ids(&both).is_empty());
}

#[test]
fn a_failure_that_is_heard_wakes_by_its_fallback() {
    let mut policy = Policy {
        min: Some(0),
        ..prometheus("sum(vllm:num_requests_waiting{namespace=\"chat\"})")
    };
    policy.triggers[0].ignores_nulls = Some(false);
    assert_eq!(ids(&policy), ["wake-signal-vanishes"]);
    policy.fallback_replicas = Some(1);
    assert!(ids(&policy).is_empty());
}

#[test]
fn rivals_and_blindness_are_told() {
    let mut subject = subject();
    subject.rivals = vec!["hpa/llama".to_owned()];
    subject.empty_answers = Some(12.0);
    let mut policy = prometheus("sum(llama_queue)");
    policy.failing = vec!["Ready: ScaledObjectCheckFailed".to_owned()];
    let found = lint(&subject, &policy);
    let ids: Vec<&str> = found.iter().map(|finding| finding.rule.id()).collect();
    assert_eq!(ids, ["two-scalers", "blind-scaler", "blind-scaler"]);
    let stored: Value = serde_json::from_str(&to_json(&found)).unwrap();
    assert_eq!(stored[0]["object"], "scaledobject.keda.sh/chat/llama");
    assert!(
        stored[1]["reference"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}
