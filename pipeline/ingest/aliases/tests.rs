//! Tests of the alias file and its reading.

use std::collections::BTreeMap;

use super::*;

#[test]
fn the_builtin_file_is_usable_and_asks_for_no_series_twice() {
    let aliases = Aliases::builtin().unwrap();
    let names = |selector: &[Matcher]| selector[0].clone();
    let mut asked = 0;
    for metric in aliases.by_metric.keys() {
        let hits = aliases
            .selectors()
            .iter()
            .filter(|s| names(s).accepts_value(metric))
            .count();
        assert_eq!(hits, 1, "{metric}");
        asked += hits;
    }
    assert!(asked > 300, "{asked}");
}

#[test]
fn renamed_metrics_share_a_column_and_the_current_name_ranks_first() {
    let aliases = Aliases::builtin().unwrap();
    let of = |name: &str| aliases.meaning(name).unwrap().wide[0].clone();
    let new = of("vllm:kv_cache_usage_perc");
    let old = of("ray_vllm_gpu_cache_usage_perc");
    assert_eq!(new.part, old.part);
    assert!(new.rank < old.rank);
    assert!(aliases.meaning("vllm:no_such_metric").is_none());
}

#[test]
fn a_metric_of_the_users_own_is_asked_for_once_and_changes_the_digest() {
    let builtin = Aliases::builtin().unwrap();
    let own = ["my_metric", "up", "my_metric", "vllm:num_requests_running"].map(String::from);
    let aliases = Aliases::with_metrics(&own).unwrap();
    assert_ne!(aliases.digest(), builtin.digest());
    assert_eq!(aliases.selectors().len(), builtin.selectors().len() + 1);
    for metric in &own {
        let asked = aliases.selectors().iter();
        let asked = asked.filter(|s| s[0].accepts_value(metric)).count();
        assert_eq!(asked, 1, "{metric}");
        let misc = aliases.meaning(metric).unwrap().misc.as_ref().unwrap();
        assert_eq!(&misc.canonical, metric);
    }
    assert!(
        !aliases
            .meaning("vllm:num_requests_running")
            .unwrap()
            .wide
            .is_empty()
    );
    let known = Aliases::with_metrics(&["up".to_owned()]).unwrap();
    assert_eq!(known.digest(), builtin.digest());
}

#[test]
fn filters_accept_lists_prefixes_and_refusals() {
    let raw = BTreeMap::from([
        (
            "resource".to_owned(),
            vec!["cpu".to_owned(), "nvidia_com_*".to_owned()],
        ),
        (
            "container".to_owned(),
            vec!["!".to_owned(), "!POD".to_owned()],
        ),
    ]);
    let filters = LabelFilter::list(&raw);
    assert!(filters[0].accepts("main") && !filters[0].accepts("") && !filters[0].accepts("POD"));
    assert!(filters[1].accepts("nvidia_com_gpu") && !filters[1].accepts("memory"));
    assert!(filters[0].matcher().is_none() && filters[1].matcher().is_some());
}

#[test]
fn a_wrong_column_is_named() {
    let text = BUILTIN.replace("column = \"xid\"", "column = \"xids\"");
    let error = Aliases::parse(&text).unwrap_err().to_string();
    assert!(
        error.contains("dcgm: DCGM_FI_DEV_XID_ERRORS") && error.contains("xids"),
        "{error}"
    );
}
