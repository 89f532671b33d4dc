use std::path::Path;

use super::*;

const GOOD: &str = r#"
[lake]
url = "lake"
[[cluster]]
name = "prod-a"
provider = "aws"
region = "us-east-1"
[[source]]
kind = "tsdb"
cluster = "prod-a"
url = "./blocks"
[[slo]]
match = {namespace = "chat"}
ttft_p95_ms = 1500
itl_p95_ms = 60
[params.dark-capacity]
min_dark_hours = 12
"#;

fn refusal(text: &str) -> String {
    Config::parse(Path::new("conf/idleproof.toml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = Config::parse(Path::new("conf/idleproof.toml"), GOOD).unwrap();
    assert_eq!(config.lake_url(), "conf/lake");
    assert_eq!(config.file.sources[0].name(0), "tsdb-prod-a-0");
    assert_eq!(config.resolve("/abs"), Path::new("/abs"));
    assert_eq!(config.resolve("file:///abs"), Path::new("/abs"));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = refusal(&GOOD.replace("region =", "reggion ="));
    assert!(
        text.contains("conf/idleproof.toml") && text.contains("reggion"),
        "{text}"
    );
    assert!(text.contains("line 7"), "{text}");
}

#[test]
fn a_source_of_no_cluster_is_refused() {
    let text = refusal(&GOOD.replace("cluster = \"prod-a\"", "cluster = \"prod-b\""));
    assert!(
        text.contains("prod-b") && text.contains("[[cluster]]"),
        "{text}"
    );
}

#[test]
fn retention_keeps_what_a_run_needs() {
    let keep = |keys: &str| GOOD.replace("url = \"lake\"", &format!("url = \"lake\"\n{keys}"));
    let text = refusal(&keep("raw_days = 7"));
    assert!(text.contains("raw_days must be 30"), "{text}");
    let config = Config::parse(Path::new("x.toml"), &keep("raw_days = 35")).unwrap();
    assert_eq!(config.file.lake.raw_days, Some(35));
    assert_eq!(config.file.lake.publication_days, None);
}

#[test]
fn floats_of_a_lake_are_decimals_or_doubles() {
    let with = |keys: &str| GOOD.replace("url = \"lake\"", &format!("url = \"lake\"\n{keys}"));
    let options = |keys: &str| {
        let config = Config::parse(Path::new("x.toml"), &with(keys)).unwrap();
        config.lake_options()
    };
    assert!(options("").is_empty() && options("floats = \"decimal\"").is_empty());
    assert_eq!(options("floats = \"double\"")["floats"], "double");
    assert!(refusal(&with("floats = \"half\"")).contains("half"));
}

#[test]
fn windows_must_divide_the_day() {
    let text = refusal(&GOOD.replace("url = \"./blocks\"", "url = \"./blocks\"\nwindow_hours = 5"));
    assert!(text.contains("window_hours = 5"), "{text}");
}

#[test]
fn a_cluster_name_may_not_shape_object_keys() {
    let text = refusal(&GOOD.replace("\"prod-a\"", "\"../x\""));
    assert!(text.contains("object keys"), "{text}");
}

#[test]
fn store_options_are_text_and_their_files_relative() {
    let text = GOOD.replace(
        "url = \"lake\"",
        "url = \"s3://bucket/lake\"\noptions = { allow_http = true, ca_file = \"ca.pem\", connect_timeout = \"5s\" }",
    );
    let config = Config::parse(Path::new("conf/idleproof.toml"), &text).unwrap();
    let options = config.lake_options();
    assert_eq!(options["allow_http"], "true");
    assert_eq!(options["ca_file"], "conf/ca.pem");
    assert_eq!(options["connect_timeout"], "5s");
    assert_eq!(config.lake_url(), "s3://bucket/lake");
    let text = text.replace("allow_http = true", "allow_http = [true]");
    assert!(refusal(&text).contains("allow_http"));
}

const MANY: &str = r#"
[lake]
url = "lake"
[[cluster]]
name = "prod-a"
[[cluster]]
name = "prod-b"
[[source]]
name = "central"
kind = "prometheus"
mode = "range"
cluster_label = "cluster"
clusters = { "eks-1" = "prod-a", "eks-2" = "prod-b" }
matchers = ['{env="prod"}']
metrics = ["my_metric", "job:rate5m"]
url = "http://prometheus:9090"
"#;

#[test]
fn one_back_end_is_one_source_a_cluster() {
    let config = Config::parse(Path::new("idleproof.toml"), MANY).unwrap();
    let source = &config.file.sources[0];
    assert_eq!(source.mode, SourceMode::Range);
    let logical: Vec<_> = source
        .logical(0)
        .into_iter()
        .map(|one| (one.name, one.cluster, one.label.unwrap().1))
        .collect();
    let of = |name: &str, cluster: &str, value: &str| {
        (name.to_owned(), cluster.to_owned(), value.to_owned())
    };
    assert_eq!(
        logical,
        [
            of("central-eks-1", "prod-a", "eks-1"),
            of("central-eks-2", "prod-b", "eks-2")
        ]
    );
}

#[test]
fn a_selection_that_means_nothing_is_refused() {
    for (from, to, says) in [
        (
            "cluster_label = \"cluster\"",
            "cluster = \"prod-a\"",
            "needs cluster_label",
        ),
        ("mode = \"range\"", "cluster = \"prod-a\"", "not both"),
        (
            "clusters = { \"eks-1\" = \"prod-a\", \"eks-2\" = \"prod-b\" }",
            "",
            "needs clusters",
        ),
        ("\"eks-2\" = \"prod-b\"", "\"eks-2\" = \"prod-c\"", "prod-c"),
        ("\"eks-2\" =", "\"\" =", "empty"),
        ("= \"cluster\"", "= \"clu-ster\"", "no name of a label"),
        ("\"my_metric\"", "\"my metric\"", "no name of a metric"),
        ("mode = \"range\"", "mode = \"guess\"", "remote-read"),
        ("kind = \"prometheus\"", "kind = \"tsdb\"", "mode is for"),
        (
            "kind = \"prometheus\"\nmode = \"range\"",
            "kind = \"kubernetes\"",
            "sources of samples",
        ),
    ] {
        let text = MANY.replace(from, to);
        assert_ne!(text, MANY, "{from}");
        let said = refusal(&text);
        assert!(said.contains(says), "{says}: {said}");
    }
    let two = MANY.to_owned()
        + "[[source]]\nname = \"central-eks-1\"\nkind = \"tsdb\"\ncluster = \"prod-a\"\nurl = \"x\"\n";
    assert!(refusal(&two).contains("central-eks-1"));
}

#[test]
fn blocks_lie_in_folders_or_buckets_and_are_chosen_by_tenant_or_label() {
    let text = GOOD.replace(
        "url = \"./blocks\"",
        "url = \"s3://b/p\"\ntenants = [\"a\"]\nexternal_labels = { cluster = \"eu\" }",
    );
    let config = Config::parse(Path::new("conf/idleproof.toml"), &text).unwrap();
    let source = &config.file.sources[0];
    assert_eq!(config.place("s3://b/p"), "s3://b/p");
    assert_eq!(config.place("./blocks"), "conf/./blocks");
    assert_eq!(config.place("file:///abs"), "/abs");
    assert_eq!(source.tenants, ["a"]);
    assert_eq!(source.external_labels.as_ref().unwrap()["cluster"], "eu");
    for tenant in ["../b", "", "..", "a/b"] {
        let text = text.replace("[\"a\"]", &format!("[{tenant:?}]"));
        assert!(refusal(&text).contains("name of a folder"), "{tenant}");
    }
    let text = text.replace("kind = \"tsdb\"", "kind = \"prometheus\"");
    assert!(refusal(&text).contains("kind = \"tsdb\""));
}

/// The refusal of a Prometheus source with these lines.
fn source_refusal(lines: &str) -> String {
    let source = format!("kind = \"prometheus\"\n{lines}");
    let text = GOOD.replace("kind = \"tsdb\"", &source);
    match Config::parse(Path::new("conf/idleproof.toml"), &text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn secrets_in_the_file_are_refused_with_the_key_that_takes_a_file() {
    for (lines, says) in [
        ("bearer_token = \"hunter2\"", "bearer_token_file"),
        (
            "basic_auth = { username = \"u\", password = \"hunter2\" }",
            "password_file",
        ),
        (
            "authorization = { credentials = \"hunter2\" }",
            "credentials_file",
        ),
        (
            "oauth2 = { client_id = \"c\", client_secret = \"hunter2\", token_url = \"http://t\" }",
            "client_secret_file",
        ),
        ("sigv4 = { secret_key = \"hunter2\" }", "secret_key_file"),
        ("tls_config = { key = \"hunter2\" }", "key_file"),
        ("headers = { X-Api-Key = \"hunter2\" }", "files"),
        (
            "http_headers = { X-A = { secrets = [\"hunter2\"] } }",
            "files",
        ),
        ("proxy_url = \"http://u:hunter2@proxy\"", "proxy_url"),
        // A key that is not known is shown by the parser, its value is not.
        ("pasword = \"hunter2\"", "pasword"),
    ] {
        let text = source_refusal(lines);
        assert!(text.contains(says), "{lines}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_source_authenticates_in_one_way() {
    let two = "bearer_token_file = \"t\"\nsigv4 = { region = \"r\" }";
    let text = source_refusal(two);
    assert!(
        text.contains("bearer_token_file and sigv4") && text.contains("keep one"),
        "{text}"
    );
    for (lines, says) in [
        ("basic_auth = { password_file = \"p\" }", "username"),
        ("azuread = {}", "managed_identity"),
        ("sigv4 = { access_key_file = \"a\" }", "together"),
        ("tls_config = { cert_file = \"c\" }", "together"),
        ("connections = 5", "connections"),
        ("connections = 0", "connections"),
        (
            "http_headers = { X-A = { values = [\"a\"], files = [\"b\"] } }",
            "one value",
        ),
        (
            "proxy_url = \"http://p\"\ntls_config = { server_name = \"s\" }",
            "server_name",
        ),
    ] {
        let text = source_refusal(lines);
        assert!(text.contains(says), "{lines}: {text}");
    }
    for good in [
        "basic_auth = { username = \"u\", password_file = \"p\" }",
        "authorization = { type = \"Token\", credentials_file = \"c\" }",
        "google_iam = {}",
        "sigv4 = { region = \"r\", role_arn = \"a\" }",
        "azuread = { managed_identity = {} }",
        "tenant = \"t\"\nconnections = 4\nhttp_headers = { X-A = { files = [\"f\"] } }",
    ] {
        assert_eq!(source_refusal(good), "", "{good}");
    }
}

#[test]
fn an_acceptance_names_what_why_who_and_until_when() {
    let with = |accept: &str| {
        let text = format!("[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n{accept}");
        Config::parse(Path::new("idleproof.toml"), &text)
    };
    let whole = "[[accept]]\nmatch = {namespace = \"chat\"}\nreason = \"launch\"\nby = \"ana\"\nuntil = \"2027-01-31\"\n";
    let config = with(whole).unwrap();
    assert_eq!(config.file.accepts[0].until_ms(), Some(1_801_353_600_000));
    for (broken, told) in [
        (
            whole.replace("match = {namespace = \"chat\"}\n", ""),
            "matches nothing",
        ),
        (whole.replace("\"ana\"", "\" \""), "a person in `by`"),
        (whole.replace("2027-01-31", "never"), "no UTC day"),
        (whole.replace("namespace =", "name_space ="), "name_space"),
    ] {
        let error = with(&broken).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_ticket_is_one_short_line() {
    let with = |ticket: &str| {
        let text = format!(
            "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n[tickets]\nIP-2345 = {ticket}\n"
        );
        Config::parse(Path::new("idleproof.toml"), &text)
    };
    let known = with("\"https://tracker.example/OPS-123\"").unwrap();
    assert_eq!(
        known.file.tickets["IP-2345"],
        "https://tracker.example/OPS-123"
    );
    let long = format!("\"{}\"", "x".repeat(201));
    for broken in ["\" \"", "\"a\\nb\"", long.as_str()] {
        let error = with(broken).unwrap_err().to_string();
        assert!(error.contains("[tickets] IP-2345"), "{error}");
    }
}

#[test]
fn an_objective_is_one_limit_or_both() {
    let with = |limits: &str| {
        let text = format!(
            "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n[[slo]]\nmatch = {{}}\n{limits}"
        );
        Config::parse(Path::new("idleproof.toml"), &text)
    };
    let alone = with("ttft_p95_ms = 800\n").unwrap();
    let slo = &alone.file.slos[0];
    assert_eq!((slo.ttft_p95_ms, slo.itl_p95_ms), (Some(800), None));
    assert!(with("itl_p95_ms = 50\n").is_ok());
    for broken in [
        "",
        "ttft_p95_ms = 0\n",
        "ttft_p95_ms = 800\nitl_p95_ms = -1\n",
    ] {
        let error = with(broken).unwrap_err().to_string();
        assert!(error.contains("[[slo]] number 1"), "{error}");
    }
}

#[test]
fn an_upstream_names_two_workloads_of_a_cluster() {
    let with = |upstream: &str| {
        let text = format!("[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n{upstream}");
        Config::parse(Path::new("idleproof.toml"), &text)
    };
    let whole = "[[upstream]]\ncluster = \"c\"\nworkload = \"agents/planner\"\nserves = \"chat/llama-8b\"\n";
    let config = with(whole).unwrap();
    let [caller, serves] = config.file.upstreams[0].ends().unwrap();
    assert_eq!(caller, ("agents".to_owned(), "planner".to_owned()));
    assert_eq!(serves, ("chat".to_owned(), "llama-8b".to_owned()));
    for (broken, told) in [
        (
            whole.replace("\"c\"\nw", "\"d\"\nw"),
            "there is no [[cluster]] d",
        ),
        (whole.replace("agents/planner", "planner"), "namespace/name"),
        (
            whole.replace("chat/llama-8b", "chat/deployment/llama-8b"),
            "namespace/name",
        ),
    ] {
        let error = with(&broken).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}
