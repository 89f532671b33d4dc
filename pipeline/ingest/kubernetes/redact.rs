//! Owns redaction: what a cluster keeps secret never reaches the lake. Pure.

use std::borrow::Cow;

use serde_json::Value;

/// What stands for a value that was taken out.
const REDACTED: &str = "<redacted>";

/// Environment variables whose values say which model runs how; all other values are taken out.
const KEPT_ENV: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "DATA_PARALLEL_SIZE",
    "DP_SIZE",
    "DP_SIZE_LOCAL",
    "DTYPE",
    "DYN_COMPONENT",
    "DYN_MODEL_NAME",
    "DYN_NAMESPACE",
    "EP_SIZE",
    "GPU_MEMORY_UTILIZATION",
    "HF_MODEL_ID",
    "INFERENCE_POOL_NAME",
    "LWS_GROUP_SIZE",
    "MAX_MODEL_LEN",
    "MODEL",
    "MODEL_ID",
    "MODEL_NAME",
    "MODEL_PATH",
    "NIM_MODEL_NAME",
    "NIM_MODEL_PROFILE",
    "NIM_SERVED_MODEL_NAME",
    "NIM_TENSOR_PARALLEL_SIZE",
    "NUM_SHARD",
    "NVIDIA_VISIBLE_DEVICES",
    "OPTION_TENSOR_PARALLEL_DEGREE",
    "PIPELINE_PARALLEL_SIZE",
    "PP_SIZE",
    "QUANTIZATION",
    "SERVED_MODEL_NAME",
    "TENSOR_PARALLEL_DEGREE",
    "TENSOR_PARALLEL_SIZE",
    "TP_SIZE",
    "VLLM_ADDITIONAL_ARGS",
    "VLLM_ARGS",
    "WORLD_SIZE",
];

/// Words of a command-line flag whose value is a secret.
const SECRET_WORDS: &[&str] = &[
    "apikey",
    "credential",
    "credentials",
    "passwd",
    "password",
    "secret",
    "token",
];

/// Parts of a key of a scaler's trigger whose value is a secret, or holds one.
const SECRET_PARTS: &[&str] = &[
    "accesskey",
    "apikey",
    "auth",
    "cert",
    "connection",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "sas",
    "secret",
    "token",
];

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes secrets out of an object; false if the object is one and must not be kept at all.
pub(super) fn redact(kind: &str, object: &mut Value) -> bool {
    if kind == "Secret" {
        return false;
    }
    if kind == "ConfigMap" {
        for part in ["data", "binaryData"] {
            if let Some(Value::Object(data)) = object.get_mut(part) {
                data.values_mut().for_each(|value| *value = REDACTED.into());
            }
        }
    }
    walk(object);
    true
}

/// Pod templates stand anywhere in custom resources, so every level is looked at.
fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(annotations)) = map.get_mut("annotations") {
                annotations.remove(LAST_APPLIED);
            }
            for (name, inner) in map.iter_mut() {
                match name.as_str() {
                    "env" | "envs" | "environment" | "environmentVariables" => env(inner),
                    "args" | "command" => arguments(inner),
                    "triggers" => triggers(inner),
                    _ => walk(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}

/// A scaler's triggers: each has free-form `metadata`, in which some write what belongs in a
/// `TriggerAuthentication`.
fn triggers(value: &mut Value) {
    for trigger in value.as_array_mut().into_iter().flatten() {
        if let Some(Value::Object(metadata)) = trigger.get_mut("metadata") {
            for (key, said) in metadata.iter_mut() {
                // `…FromEnv` names a variable; its value is not here.
                let lower = key.to_ascii_lowercase();
                let names_one = SECRET_PARTS.iter().any(|part| lower.contains(part));
                if names_one && !lower.ends_with("fromenv") {
                    *said = REDACTED.into();
                } else if let Value::String(text) = said
                    && let Cow::Owned(clean) = without_userinfo(text)
                {
                    *text = clean;
                }
            }
        }
        walk(trigger);
    }
}

/// A text whose URLs have lost the user and password that stood in them.
fn without_userinfo(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after
            .find(|c: char| c.is_whitespace() || "/?#\"'".contains(c))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        out.push_str(before);
        out.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => out.extend([REDACTED, "@", host]),
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    if out == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(out)
    }
}

fn env(value: &mut Value) {
    match value {
        Value::Array(items) => {
            for item in items {
                let kept = item
                    .get("name")
                    .and_then(Value::as_str)
                    .is_some_and(is_kept);
                if let Some(said) = item.get_mut("value") {
                    env_value(said, kept);
                }
            }
        }
        Value::Object(map) => {
            for (name, said) in map.iter_mut() {
                let kept = is_kept(name);
                env_value(said, kept);
            }
        }
        _ => {}
    }
}

fn is_kept(name: &str) -> bool {
    KEPT_ENV.binary_search(&name).is_ok()
}

fn env_value(value: &mut Value, kept: bool) {
    match value {
        Value::String(text) if kept => *text = command_line(text),
        Value::Null => {}
        _ if kept => {}
        other => *other = REDACTED.into(),
    }
}

fn arguments(value: &mut Value) {
    match value {
        Value::String(text) => *text = command_line(text),
        Value::Array(items) => {
            let mut secret_follows = false;
            for item in items {
                let Value::String(text) = item else {
                    continue;
                };
                if std::mem::take(&mut secret_follows) && !text.starts_with('-') {
                    REDACTED.clone_into(text);
                } else if text.contains(char::is_whitespace) && !text.starts_with('-') {
                    // A command of a shell, perhaps with assignments before it; a flag's value may
                    // hold spaces and goes whole.
                    *text = command_line(text);
                } else if let Some((flag, _)) = text.split_once('=').filter(|(f, _)| is_secret(f)) {
                    *text = format!("{flag}={REDACTED}");
                } else if text.contains(char::is_whitespace) {
                    *text = command_line(text);
                } else {
                    secret_follows = is_secret(text);
                    if let Cow::Owned(clean) = without_userinfo(text) {
                        *text = clean;
                    }
                }
            }
        }
        _ => {}
    }
}

/// A whole command in one string, as after `sh -c`. Words without secrets keep their spacing.
fn command_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut secret_follows = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        let flag = word.split_once('=').filter(|(flag, _)| is_secret(flag));
        if word.is_empty() {
            out.push_str(piece);
            continue;
        } else if let Some((flag, _)) = flag {
            out.push_str(flag);
            out.push('=');
            out.push_str(REDACTED);
        } else if secret_follows && !word.starts_with('-') {
            out.push_str(REDACTED);
        } else {
            out.push_str(&without_userinfo(word));
        }
        secret_follows = flag.is_none() && is_secret(word);
        out.push_str(space);
    }
    out
}

/// Whether a flag (or a variable set in front of a command) names a secret. `--max-num-tokens` and
/// `--tokenizer` do not: whole words count.
fn is_secret(flag: &str) -> bool {
    let is_flag = flag.starts_with('-');
    let variable = !flag.is_empty()
        && flag
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !is_flag && !variable {
        return false;
    }
    let lower = flag.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(['-', '_', '.']).collect();
    words.iter().any(|word| SECRET_WORDS.contains(word))
        || words
            .windows(2)
            .any(|pair| pair[1] == "key" && ["api", "access", "auth"].contains(&pair[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_is_sorted_for_binary_search() {
        assert!(KEPT_ENV.is_sorted());
    }

    #[test]
    fn environment_values_go_unless_they_name_the_model() {
        let mut pod = json!({
            "metadata": {"annotations": {LAST_APPLIED: "{\"password\":1}", "a": "b"}},
            "spec": {"template": {"spec": {"containers": [{
                "env": [
                    {"name": "HF_TOKEN", "value": "hf_abc"},
                    {"name": "MODEL_ID", "value": "meta/llama"},
                    {"name": "VLLM_ADDITIONAL_ARGS", "value": "--api-key k1 --max-model-len 8"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "environmentVariables": [
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": "k6"},
                    {"name": "NUM_SHARD", "value": "4"},
                ],
                "args": ["--model", "x", "--api-key", "k2", "--hf-token=k3", "--tokenizer", "t",
                    "--max-num-batched-tokens", "8192"],
                "command": ["sh", "-c", "HF_TOKEN=k4 vllm serve m  --api-key k5 --port 1"],
            }]}}},
        });
        assert!(redact("Deployment", &mut pod));
        let text = pod.to_string();
        for secret in ["hf_abc", "k1", "k2", "k3", "k4", "k5", "k6", "password"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let main = &pod["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(main["env"][1]["value"], "meta/llama");
        assert_eq!(
            main["env"][2]["value"],
            "--api-key <redacted> --max-model-len 8"
        );
        assert_eq!(main["env"][3]["valueFrom"]["secretKeyRef"]["key"], "k");
        assert_eq!(main["environmentVariables"][1]["value"], "4");
        assert_eq!(main["args"][6], "t");
        assert_eq!(main["args"][8], "8192");
        assert_eq!(
            main["command"][2],
            "HF_TOKEN=<redacted> vllm serve m  --api-key <redacted> --port 1"
        );
        assert_eq!(pod["metadata"]["annotations"], json!({"a": "b"}));
    }

    #[test]
    fn a_triggers_metadata_keeps_what_it_asks_and_no_secret() {
        let mut scaled = json!({"spec": {"triggers": [
            {"type": "rabbitmq", "metadata": {
                "host": "amqp://user:k1@mq.svc:5672/v", "queueName": "q", "value": "5"}},
            {"type": "azure-servicebus", "metadata": {
                "connection": "Endpoint=sb://x/;SharedAccessKey=k2", "connectionFromEnv": "CONN"}},
            {"type": "prometheus", "authenticationRef": {"name": "t"}, "metadata": {
                "serverAddress": "http://u:k3@prometheus:9090/a@b", "threshold": "4",
                "query": "sum(rate(vllm:generation_tokens_total[2m]))"}},
        ]}});
        assert!(redact("ScaledObject", &mut scaled));
        let text = scaled.to_string();
        for secret in ["k1", "k2", "k3", "user"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let of = |at: usize, key: &str| scaled["spec"]["triggers"][at]["metadata"][key].clone();
        assert_eq!(of(0, "host"), "amqp://<redacted>@mq.svc:5672/v");
        assert_eq!(of(0, "queueName"), "q");
        assert_eq!(of(1, "connectionFromEnv"), "CONN");
        assert_eq!(
            of(2, "serverAddress"),
            "http://<redacted>@prometheus:9090/a@b"
        );
        assert_eq!(
            of(2, "query"),
            "sum(rate(vllm:generation_tokens_total[2m]))"
        );
        let mut args = json!({"args": ["--db", "postgres://u:k4@db/x", "--url=http://h/p"]});
        walk(&mut args);
        assert_eq!(args["args"][1], "postgres://<redacted>@db/x");
        assert_eq!(args["args"][2], "--url=http://h/p");
    }

    #[test]
    fn secrets_are_refused_and_config_maps_keep_their_keys_only() {
        assert!(!redact("Secret", &mut json!({"data": {"a": "b"}})));
        let mut map = json!({"data": {"config.yaml": "token: x"}});
        assert!(redact("ConfigMap", &mut map));
        assert_eq!(map, json!({"data": {"config.yaml": REDACTED}}));
    }
}
