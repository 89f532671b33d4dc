//! What became of exported changes, end to end by the binary: later snapshots of the sample in which one
//! change was applied and another applied and taken back, by whom; the log, the lake and the report.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::approve_cli::good;

/// A copy of the run's folder, so that later snapshots and another run change nothing for other tests.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            if path.file_name().unwrap() != "chromium" {
                copy(&path, &target);
            }
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A snapshot of the cluster as the sample saw it last, with some objects changed, at a time from now.
struct Later<'a> {
    sample: PathBuf,
    source: PathBuf,
    config: &'a str,
    begun_ms: i64,
}

impl Later<'_> {
    fn snapshot(&self, hours: i64, change: &dyn Fn(&str, &mut Value)) {
        let at_ms = self.begun_ms + hours * 3_600_000;
        let name = idleproof::model::time::format_ms(at_ms);
        let name = format!(
            "{}Z",
            name.split(['.', 'Z']).next().unwrap().replace(':', "-")
        );
        let folder = self.source.join(name);
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(&self.sample).unwrap() {
            let path = entry.unwrap().path();
            let mut list: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            for item in list["items"].as_array_mut().unwrap() {
                let kind = item["kind"]
                    .as_str()
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                let kind = if kind.is_empty() {
                    path.file_stem()
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .trim_end_matches('s')
                        .to_owned()
                } else {
                    kind
                };
                change(&kind, item);
            }
            fs::write(folder.join(path.file_name().unwrap()), list.to_string()).unwrap();
        }
        good(&["ingest", "--source", "objects-a", "--config", self.config]);
    }
}

/// Writes an object as a hand would: the values, a newer version, and the hand's entry.
fn written(object: &mut Value, patch: &Value, hand: &str, version: &str, at_ms: i64) {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(object, &patch).unwrap();
    let mut fields = json!({});
    for op in patch.0 {
        if matches!(op, json_patch::PatchOperation::Test(_)) {
            continue;
        }
        let path = op.path().to_string();
        let path = path.strip_suffix("/-").unwrap_or(&path).to_owned();
        let mut here = &mut fields;
        for part in path.split('/').skip(1) {
            // An element of a list: whoever wrote it owns the list here.
            if part.parse::<usize>().is_ok() {
                break;
            }
            let part = part.replace("~1", "/").replace("~0", "~");
            here = &mut here[format!("f:{part}")];
        }
        if here.is_null() {
            *here = json!({});
        }
    }
    object["metadata"]["resourceVersion"] = version.into();
    object["metadata"]["managedFields"] = json!([{
        "manager": hand, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields,
        "time": idleproof::model::time::format_ms(at_ms / 1000 * 1000),
    }]);
}

pub(crate) fn what_became_of_it(folder: &Path) {
    let plan = fs::read_to_string(folder.join("patches/plan.json")).unwrap();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    // Of one cluster, changes of different objects.
    let mut seen = BTreeSet::new();
    let items: Vec<&Value> = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["cluster"] == "prod-a")
        .filter(|item| {
            let changes = item["changes"].as_array().unwrap();
            !changes.is_empty() && changes.iter().all(|c| seen.insert(c["target"].to_string()))
        })
        .collect();
    println!(
        "{} exported items of prod-a with objects of their own",
        items.len()
    );
    let [back, stays, ..] = items.as_slice() else {
        panic!("the sample exports too little of prod-a: {plan}")
    };
    let id = |item: &Value| item["recommendation_id"].as_str().unwrap().to_owned();

    let place = tempfile::tempdir().unwrap();
    copy(folder, place.path());
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/kubernetes/prod-a");
    let source = place.path().join("later/prod-a");
    let text = fs::read_to_string(folder.join("idleproof.toml")).unwrap();
    let text = text
        .replace(
            &folder.to_string_lossy().into_owned(),
            &place.path().to_string_lossy(),
        )
        .replace(
            &sample.to_string_lossy().into_owned(),
            &source.to_string_lossy(),
        );
    let config = place.path().join("idleproof.toml");
    fs::write(&config, text).unwrap();
    let config = config.to_string_lossy().into_owned();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let later = Later {
        sample: sample.join("2026-11-22T12-00-00Z"),
        source,
        config: &config,
        begun_ms: i64::try_from(since.unwrap().as_millis()).unwrap(),
    };
    let hour = 3_600_000;
    let at = |hours: i64| later.begun_ms + hours * hour - hour / 2;
    let is = |change: &Value, kind: &str, object: &Value| {
        let target = &change["target"];
        let name = target["kind"].as_str().unwrap();
        name.split('.').next() == Some(kind)
            && target["name"] == object["metadata"]["name"]
            && target["namespace"] == object["metadata"]["namespace"]
    };
    let write =
        |item: &Value, side: &str, kind: &str, object: &mut Value, by: (&str, &str, i64)| {
            for change in item["changes"].as_array().unwrap() {
                if is(change, kind, object) {
                    written(object, &change[side], by.0, by.1, by.2);
                }
            }
        };

    // An hour later GitOps has applied both.
    later.snapshot(1, &|kind, object| {
        for item in [back, stays] {
            write(
                item,
                "patch",
                kind,
                object,
                ("argocd-application-controller", "90001", at(1)),
            );
        }
    });
    let said = good(&["decisions", "outcomes", "--config", &config]);
    let line = |said: &str, id: &str| {
        let found = said.lines().find(|line| line.starts_with(id));
        found.unwrap_or_else(|| panic!("{id}\n{said}")).to_owned()
    };
    for item in [back, stays] {
        let line = line(&said, &id(item));
        assert!(
            line.contains("  applied ") && line.contains("by argocd-application-controller"),
            "{line}"
        );
        assert!(line.contains("realised not yet known"), "{line}");
    }
    let others = said.lines().filter(|line| line.contains("not_applied"));
    println!("{} others are not applied", others.count());

    // Two hours later somebody has taken one back by hand.
    later.snapshot(2, &|kind, object| {
        write(
            stays,
            "patch",
            kind,
            object,
            ("argocd-application-controller", "90001", at(1)),
        );
        write(
            back,
            "patch",
            kind,
            object,
            ("argocd-application-controller", "90001", at(1)),
        );
        write(
            back,
            "inverse",
            kind,
            object,
            ("kubectl-edit", "90002", at(2)),
        );
    });
    let said = good(&["decisions", "outcomes", "--config", &config]);
    let reverted = line(&said, &id(back));
    assert!(
        reverted.contains("  reverted ")
            && reverted.contains("by argocd-application-controller, ended")
            && reverted.contains("by kubectl-edit"),
        "{reverted}"
    );
    assert!(line(&said, &id(stays)).contains("  applied "), "{said}");

    // The next night's run has it in the lake and in the report.
    let to = ["--from", "2026-11-20", "--to", "2026-11-22"];
    good(&[&["run", "--no-ingest", "--config", &config][..], &to].concat());
    let query = "SELECT recommendation_id, state, applied_by, ended_by, predicted_monthly_usd, realised_monthly_usd FROM v_outcomes ORDER BY 1";
    let rows = good(&["sql", query, "-o", "json", "--config", &config]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let row = |item: &Value| {
        let found = rows
            .iter()
            .find(|row| row["recommendation_id"] == id(item).as_str());
        found.unwrap_or_else(|| panic!("{rows:?}"))
    };
    assert_eq!(row(back)["state"], "reverted");
    assert_eq!(row(back)["ended_by"], "kubectl-edit");
    assert_eq!(row(stays)["state"], "applied");
    assert_eq!(row(stays)["applied_by"], "argocd-application-controller");
    assert!(
        row(stays)["realised_monthly_usd"].is_null(),
        "no two weeks have passed"
    );
    let latest = fs::read(place.path().join("report/latest.json")).unwrap();
    let latest: Value = serde_json::from_slice(&latest).unwrap();
    let report = place
        .path()
        .join("report")
        .join(latest["path"].as_str().unwrap());
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    for word in ["1 applied", "1 reverted", "kubectl-edit", "not yet known"] {
        assert!(page.contains(word), "{word}");
    }
    // In the funnel each stands once, where it came to; what was taken back has left it.
    let json = fs::read(report.join("report.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let of = |list: &str, key: &str, name: &str| {
        let rows = json["funnel"][list].as_array().unwrap();
        let found = rows.iter().find(|row| row[key] == name);
        found.map_or(String::new(), |row| row["count"].as_str().unwrap().into())
    };
    let reached =
        ["approved", "exported", "applied", "realised"].map(|name| of("stages", "stage", name));
    assert_eq!(reached, ["10", "10", "1", "0"], "{}", json["funnel"]);
    let left = ["reverted", "rejected"].map(|name| of("left", "state", name));
    assert_eq!(left, ["1", "1"], "{}", json["funnel"]);
    // The log holds each state once, and verifies.
    let log = place.path().join("lake/log").to_string_lossy().into_owned();
    let key = place
        .path()
        .join("pipeline_ed25519.pub")
        .to_string_lossy()
        .into_owned();
    let said = good(&["verify", "log", &log, "--key", &key]);
    assert!(
        said.contains("outcome ") && said.contains("nothing is altered"),
        "{said}"
    );
}
