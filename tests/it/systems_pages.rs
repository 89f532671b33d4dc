//! A page for each serving system, held to the registry; those with a manifest of upstream show how each change
//! of it is written. `INSTA_UPDATE=always` writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use idleproof::inventory::remedy::{Answer, Remedy, Wish};
use idleproof::inventory::{remedies, system_pages, systems_page};

use crate::systems::{MANIFESTS, documents, id_of, inputs, of_kind};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Kinds of manifests whose system is not called as they are.
const TITLES: &[(&str, &str)] = &[
    (
        "Deployment",
        "Deployment, StatefulSet, Job and what looks like them",
    ),
    ("InferenceService", "KServe InferenceService"),
    ("LLMInferenceService", "KServe LLMInferenceService"),
    ("DynamoGraphDeployment", "NVIDIA Dynamo"),
    ("Workspace", "KAITO"),
    ("InferenceSet", "KAITO"),
    ("LeaderWorkerSet", "LeaderWorkerSet and DisaggregatedSet"),
    ("DisaggregatedSet", "LeaderWorkerSet and DisaggregatedSet"),
    ("RayService", "RayService, RayCluster and RayJob"),
    ("NIMService", "NVIDIA NIM"),
];

/// How each change of a manifest is written.
fn example(remedy: &Remedy) -> String {
    let action = format!("{:?}", remedy.action).to_lowercase();
    let mut text = format!("\n**{action}**");
    match &remedy.answer {
        Answer::Change(change) => {
            let _ = writeln!(
                text,
                " on {} `{}`:\n",
                change.target.kind, change.target.name
            );
            text.push_str("```json\n");
            for line in serde_json::to_value(&change.patch)
                .unwrap()
                .as_array()
                .unwrap()
            {
                let _ = writeln!(text, "{line}");
            }
            text.push_str("```\n");
        }
        Answer::NotPossible { because } => {
            let _ = writeln!(text, ": not possible, because {because}.");
        }
    }
    for (at, warning) in remedy.warnings.iter().enumerate() {
        let before = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{before}- {warning}");
    }
    text
}

fn examples() -> BTreeMap<&'static str, String> {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, kind, beside) in MANIFESTS {
        let mut bodies = documents(name);
        bodies.extend(beside.iter().flat_map(|name| documents(name)));
        let wish = Wish::survey("NVIDIA-L40S");
        let found = remedies(&inputs(&bodies), &id_of(of_kind(&bodies, kind)), &wish);
        let (_, title) = TITLES.iter().find(|(of, _)| of == kind).unwrap();
        let text = all.entry(title).or_default();
        let _ = writeln!(
            text,
            "\n## How one is changed: {kind}\n\nThe changes of `tests/fixtures/k8s/{name}`; the inverse of each is made with it."
        );
        text.extend(found.iter().map(example));
    }
    all
}

#[test]
fn every_system_has_its_page() {
    let mut examples = examples();
    let mut pages = vec![(docs().join("systems.md"), systems_page())];
    for (file, title, text) in system_pages() {
        let more = examples.remove(title).unwrap_or_default();
        pages.push((docs().join("systems").join(file), text + &more));
    }
    assert!(examples.is_empty(), "{:?}", examples.keys());
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        fs::create_dir_all(docs().join("systems")).unwrap();
        for (path, text) in &pages {
            fs::write(path, text).unwrap();
        }
    }
    for (path, text) in &pages {
        let written = fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == *text,
            "{} is not what the registry says; INSTA_UPDATE=always writes it:\n{text}",
            path.display()
        );
    }
    // No page is left of a system that is gone.
    let files = fs::read_dir(docs().join("systems")).unwrap().count();
    assert_eq!(files, pages.len() - 1);
}
