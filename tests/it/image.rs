//! The image without an engine that builds it: its recipe held against habits, the program started in a
//! root that has the copied files alone, and the bill of materials against the lock file and its schema.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::sample::{root, text};

const USER: u32 = 65532;
/// Where the program itself stands in the image.
const PROGRAM: &str = "/usr/bin/idleproof";

/// The instructions of the recipe, continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let recipe = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let plain: Vec<&str> = recipe.lines().filter(|l| !l.starts_with('#')).collect();
    plain
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn of<'a>(all: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    let found = all.iter().filter(|(name, _)| name == word);
    found.map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn the_recipe_pins_its_base_runs_no_shell_and_ends_as_a_user() {
    let all = instructions();
    let known = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "ENTRYPOINT",
        "CMD",
    ];
    // ADD would fetch, ARG and SHELL would let a caller change what is built.
    for (word, rest) in &all {
        assert!(known.contains(&word.as_str()), "{word} {rest}");
    }
    let bases = of(&all, "FROM");
    let base = bases[0].split(' ').next().unwrap();
    let (base, digest) = base.split_once("@sha256:").unwrap();
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()));
    let (name, tag) = base.split_once(':').unwrap();
    assert_eq!(name, "rust");
    // To the minor version of both, and not older than the crate asks for.
    let manifest: toml::Value =
        toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let least = manifest["package"]["rust-version"].as_str().unwrap();
    let (rust, alpine) = tag.split_once("-alpine").unwrap();
    let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    assert!(minor(rust) >= minor(least), "{rust} before {least}");
    assert!(minor(alpine) > 0, "{alpine}");
    assert_eq!(bases[1], "scratch");
    for run in of(&all, "RUN") {
        assert!(!run.contains("curl") && !run.contains("wget"), "{run}");
        assert!(!run.contains("apk add") || run.contains("--no-cache"));
        // What cargo builds is what the lock file says.
        assert!(!run.contains("cargo build") || run.contains("--locked"));
    }
    // Lists are started as they are; words would be given to a shell that is not there.
    for list in [of(&all, "ENTRYPOINT"), of(&all, "CMD")].concat() {
        let words: Vec<String> = serde_json::from_str(list).unwrap();
        assert!(!words.is_empty());
    }
    assert_eq!(of(&all, "USER").last(), Some(&"65532:65532"));
    // A path that the environment names is one that was copied.
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    assert!(of(&all, "ENV").concat().contains(bundle));
    assert!(
        of(&all, "COPY")
            .iter()
            .any(|copied| copied.ends_with(bundle))
    );
}

#[test]
fn hadolint_finds_nothing_in_the_recipe() {
    let program = crate::stores::peers().join("bin/hadolint");
    let Ok(output) = Command::new(program)
        .args(["--no-color", "--failure-threshold", "style"])
        .arg(root().join("deploy/Dockerfile"))
        .output()
    else {
        let why = "hadolint is not installed";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        eprintln!("skipped: {why}");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stdout));
}

/// The libraries that this build of the program loads; the image's own is static and has none.
fn libraries() -> Vec<PathBuf> {
    let output = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_idleproof"))
        .output()
        .unwrap();
    text(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A root with what the recipe copies, and the C library where the program needs one.
fn image(folder: &Path) {
    let at = |path: &str| folder.join(path.trim_start_matches('/'));
    for path in [
        "/usr/bin",
        "/tmp",
        "/spill",
        "/var/lib/idleproof",
        "/etc/idleproof",
        "/sample",
    ] {
        fs::create_dir_all(at(path)).unwrap();
    }
    fs::set_permissions(at("/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_idleproof"), at(PROGRAM)).unwrap();
    for library in libraries() {
        let target = at(&library.to_string_lossy());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
    let config = "[lake]\nurl = \"file:///var/lib/idleproof/lake\"\n[[cluster]]\nname = \"prod-a\"\n\
                  [[source]]\nname = \"objects\"\nkind = \"kubernetes-export\"\ncluster = \"prod-a\"\n\
                  path = \"/sample\"\n[report]\noutput = \"/var/lib/idleproof/out\"\n";
    fs::write(at("/etc/idleproof/idleproof.toml"), config).unwrap();
}

/// The program as the chart's pod has it: the root read-only, a volume and a spill of its own, no network,
/// an environment of what is given alone, a user who stands in no file.
fn started(folder: &Path, volume: &Path, vars: &str, args: &str) -> Output {
    let (root_of, volume) = (folder.display(), volume.display());
    let sample = root().join("sample-data/kubernetes/prod-a");
    let script = format!(
        "set -e; mount --bind {root_of} {root_of}; mount -o remount,bind,ro {root_of}; \
         mount --bind {volume} {root_of}/var/lib/idleproof; \
         mount --bind {} {root_of}/sample; mount -o remount,bind,ro {root_of}/sample; \
         mount -t tmpfs -o mode=1777 tmpfs {root_of}/spill; cd /; \
         exec env -i {vars} \"$(command -v chroot)\" --userspec={USER}:{USER} {root_of} {PROGRAM} {args}",
        sample.display()
    );
    Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", &script])
        .output()
        .unwrap()
}

#[test]
fn the_program_runs_in_a_root_that_has_the_copied_files_alone() {
    let may = Command::new("unshare")
        .args(["--mount", "--net", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !may {
        let why = "this user may not unshare mounts";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    // Whatever is more than the C library would be missing in a static build.
    for library in libraries() {
        let name = library.file_name().unwrap().to_string_lossy().into_owned();
        let of_c = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
        assert!(of_c.iter().any(|part| name.starts_with(part)), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    image(folder.path());
    chown(volume.path(), Some(USER), Some(USER)).unwrap();
    let run = |vars: &str, args: &str| started(folder.path(), volume.path(), vars, args);
    let output = run("", "--version");
    assert!(text(&output.stdout).starts_with("idleproof "), "{output:?}");
    // Without a configuration it says which it looked for, and ends as documented.
    let output = run("", "check config");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let vars = "IDLEPROOF_CONFIG=/etc/idleproof/idleproof.toml TMPDIR=/spill";
    let output = run(vars, "ingest");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("objects:"), "{said}");
    let lake = fs::metadata(volume.path().join("lake")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&lake), USER);
    // Nothing was left in the root: it could not be written.
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    let wrong = run(
        "IDLEPROOF_CONFIG=/etc/idleproof/idleproof.toml",
        "report --out /etc/x",
    );
    assert_ne!(wrong.status.code(), Some(0));
}

#[test]
fn the_bill_of_materials_names_every_crate_and_keeps_to_its_schema() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let made = Command::new("python3")
        .arg(root().join("deploy/sbom.py"))
        .env("CARGO_NET_OFFLINE", "true")
        .output();
    let Some(made) = made.ok().filter(|output| output.status.success()) else {
        let why = "python3 with tomllib, or all targets' crates, are not there";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        eprintln!("skipped: {why}");
        return;
    };
    let bill: Value = serde_json::from_slice(&made.stdout).unwrap();
    let named: BTreeSet<String> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(one["licenses"][0]["expression"].is_string(), "{one}");
            assert_eq!(one["hashes"][0]["content"].as_str().unwrap().len(), 64);
            let word = |key: &str| one[key].as_str().unwrap();
            format!("{} v{}", word("name"), word("version"))
        })
        .collect();
    let tree = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "-e", "normal", "--prefix", "none", "--offline"])
        .args(["--target", "x86_64-unknown-linux-musl", "-f", "{p}"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", text(&tree.stderr));
    let built: BTreeSet<String> = text(&tree.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .filter(|one| !one.starts_with("idleproof "))
        .collect();
    assert!(built.len() > 300, "{}", built.len());
    assert_eq!(named, built);
    let peers = crate::stores::peers().join("bin/python3");
    let probe = Command::new(&peers)
        .args(["-c", "import cyclonedx.validation.json"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no cyclonedx-python-lib"
        );
        eprintln!("skipped: cyclonedx-python-lib is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bill.json");
    let check = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        Command::new(&peers)
            .arg(root().join("tests/peers/bom_schema.py"))
            .arg(&file)
            .output()
            .unwrap()
    };
    let output = check(&made.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut wrong = bill;
    wrong["components"][0]["type"] = "crate".into();
    assert!(!check(wrong.to_string().as_bytes()).status.success());
}
