//! Private keys where they live: mounted by a kubelet and exchanged while others read, typed open at a
//! terminal, and gone from memory when a signature is made.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use idleproof::approve::{Kind, Log, PipelineKey, sign_decision};
use idleproof::lake::StoreOptions;
use idleproof::lake::bucket::Bucket;
use serde_json::json;
use ssh_key::{LineEnding, PrivateKey};

use crate::approve_world::{NOW, ORIGIN, World, person, recommendation};

/// Whom the pods of most images run as, and the group of an `fsGroup`.
const POD_USER: u32 = 65_532;
const FS_GROUP: u32 = 2_000;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A Secret's volume as a kubelet writes it: a folder named by its time, the link `..data` to it that is
/// exchanged by one rename, and a link for every file through that.
struct Volume {
    place: PathBuf,
    count: u32,
}

impl Volume {
    fn new(place: PathBuf) -> Self {
        std::fs::create_dir(&place).unwrap();
        mode(&place, 0o755);
        Self { place, count: 0 }
    }

    fn write(&mut self, key: &PrivateKey, file_mode: u32) {
        self.count += 1;
        let name = format!(
            "..2026_11_27_10_00_{:02}.{:09}",
            self.count % 60,
            self.count
        );
        let folder = self.place.join(&name);
        std::fs::create_dir(&folder).unwrap();
        mode(&folder, 0o755);
        let file = folder.join("pipeline_ed25519");
        std::fs::write(&file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
        chown(&file, Some(0), Some(FS_GROUP)).unwrap();
        mode(&file, file_mode);
        let old = std::fs::read_link(self.place.join("..data")).ok();
        symlink(&name, self.place.join("..data_tmp")).unwrap();
        std::fs::rename(self.place.join("..data_tmp"), self.place.join("..data")).unwrap();
        let outside = self.place.join("pipeline_ed25519");
        if old.is_none() {
            symlink("..data/pipeline_ed25519", outside).unwrap();
        }
        if let Some(old) = old {
            std::fs::remove_dir_all(self.place.join(old)).unwrap();
        }
    }
}

/// The program run as a pod would run it: another user, the volume's group beside its own.
fn as_pod(program: &std::fs::File, args: &[&str]) -> std::process::Output {
    // Opened by root: the user need not be able to walk to where it was built.
    Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .args(args)
        .env("HOME", "/nonexistent")
        .uid(POD_USER)
        .gid(FS_GROUP)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_secret_as_a_kubelet_mounts_it_is_read_and_rotated_while_others_read() {
    let folder = tempfile::tempdir().unwrap();
    if std::fs::metadata(folder.path()).unwrap().uid() != 0 {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "only root can lay out what a kubelet lays out"
        );
        println!("skipped: only root can lay out what a kubelet lays out");
        return;
    }
    mode(folder.path(), 0o755);
    // A log to cosign: it says with which key.
    let (own, _) = PipelineKey::open_or_create(&folder.path().join("own")).unwrap();
    let place = folder.path().join("log");
    let bucket = Bucket::open(place.to_str().unwrap(), &StoreOptions::default()).unwrap();
    let log = Log::new(bucket, vec![own.verifying_key()]);
    let run = vec![(Kind::Run, json!({"run_id": "run-1"}))];
    log.append(&own, None, ORIGIN, run, NOW).await.unwrap();
    let readable = Command::new("chmod")
        .arg("-R")
        .arg("a+rX")
        .arg(&place)
        .status()
        .unwrap();
    assert!(readable.success());

    let program = std::fs::File::open(env!("CARGO_BIN_EXE_idleproof")).unwrap();
    let mut volume = Volume::new(folder.path().join("secret"));
    let key = volume.place.join("pipeline_ed25519");
    let (place, public) = (
        place.to_string_lossy().into_owned(),
        folder.path().join("own.pub").to_string_lossy().into_owned(),
    );
    let cosigner = format!("w.test={}", key.display());
    let args = [
        "verify", "log", &place, "--key", &public, "--cosign", &cosigner,
    ];
    let keys = [person(), person()];
    volume.write(&keys[0], 0o440);
    let first = as_pod(&program, &args);
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(0), "{said}");
    let first = String::from_utf8(first.stdout).unwrap();
    assert!(first.contains("\u{2014} w.test "), "{first}");

    // Exchanged again and again while the program reads: always one key or the other, whole.
    let done = AtomicBool::new(false);
    let mut seen = std::collections::BTreeSet::new();
    let key_id = |note: &str| {
        let line = note.lines().find(|line| line.contains("w.test")).unwrap();
        line.split_whitespace().nth(2).unwrap()[..6].to_owned()
    };
    let rotations = std::thread::scope(|scope| {
        let kubelet = scope.spawn(|| {
            let mut rotations = 0_u32;
            while !done.load(Ordering::Relaxed) {
                rotations += 1;
                volume.write(&keys[(rotations % 2) as usize], 0o440);
                std::thread::sleep(std::time::Duration::from_millis(7));
            }
            rotations
        });
        let outputs: Vec<_> = (0..12).map(|_| as_pod(&program, &args)).collect();
        done.store(true, Ordering::Relaxed);
        for output in outputs {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{said}");
            seen.insert(key_id(&String::from_utf8(output.stdout).unwrap()));
        }
        kubelet.join().unwrap()
    });
    println!(
        "{rotations} rotations under 12 runs, {} keys seen",
        seen.len()
    );
    assert!(rotations > 1 && seen.len() <= 2, "{seen:?}");
    // The next run after a rotation has the new key.
    let mut last = Vec::new();
    for key in &keys {
        volume.write(key, 0o440);
        let output = as_pod(&program, &args);
        last.push(key_id(&String::from_utf8(output.stdout).unwrap()));
    }
    assert_ne!(last[0], last[1]);
    // Modes that a Secret without `defaultMode` would have are refused, with what to do.
    volume.write(&keys[0], 0o644);
    let output = as_pod(&program, &args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(said.contains("defaultMode 0400"), "{said}");
    // Nothing was written into the volume.
    let names = std::fs::read_dir(&volume.place).unwrap().count();
    assert_eq!(names, 3, "..data, its folder, and the link to the key");
}

#[test]
fn a_link_that_leads_nowhere_is_no_place_for_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline_ed25519");
    symlink("..data/pipeline_ed25519", &path).unwrap();
    let error = PipelineKey::open_or_create(&path).unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

const AT_A_TERMINAL: &str = r#"
import os, pty, sys, termios, time
typed, args = sys.argv[1], sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(args[0], args)
seen, told = b"", False
while True:
    try:
        part = os.read(fd, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if not told and b"Passphrase of" in seen:
        # Typed when nothing is shown any more: the prompt comes a moment before.
        while termios.tcgetattr(fd)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(fd, typed.encode() + b"\n")
        told = True
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn a_passphrase_is_asked_for_at_a_terminal_and_never_shown() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "python3 is not installed"
        );
        println!("skipped: python3 is not installed");
        return;
    }
    let world = World::new();
    let at = |name: &str| {
        world
            .folder
            .path()
            .join(name)
            .to_string_lossy()
            .into_owned()
    };
    std::fs::write(
        at("m.json"),
        world.manifest(&[recommendation("r1", "prod-a", "120.00", 1)]),
    )
    .unwrap();
    let locked = person()
        .encrypt(&mut ssh_key::rand_core::OsRng, "open sesame")
        .unwrap();
    std::fs::write(
        at("locked"),
        locked.to_openssh(LineEnding::LF).unwrap().as_bytes(),
    )
    .unwrap();
    mode(Path::new(&at("locked")), 0o600);
    let sign = |typed: &str, out: &str| {
        let output = Command::new("python3")
            .args(["-c", AT_A_TERMINAL, typed, env!("CARGO_BIN_EXE_idleproof")])
            .args(["approve", "r1", "--manifest", &at("m.json")])
            .args([
                "--pipeline-key",
                &at("pipeline.pub"),
                "--key",
                &at("locked"),
            ])
            .args(["--out", &at(out)])
            .output()
            .unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        println!("{seen}");
        assert!(seen.contains("Passphrase of"), "{seen}");
        assert!(!seen.contains(typed), "{seen}");
        output.status.code()
    };
    assert_eq!(sign("open sesame", "out"), Some(0));
    let sig = std::fs::read_dir(at("out"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "sig"))
        .unwrap();
    let signature = std::fs::read_to_string(&sig).unwrap();
    assert!(signature.starts_with("-----BEGIN SSH SIGNATURE-----"));
    assert_ne!(sign("let me in", "none"), Some(0));
    assert!(!Path::new(&at("none")).exists());
}

// ---- memory --------------------------------------------------------------------------------------------

const MASK: u8 = 0x5a;
const SEARCHER: &str = "IDLEPROOF_SEARCHES_ITSELF";

/// What is looked for, never spelt out in the memory that is searched.
struct Needle(Vec<u8>);

impl Needle {
    fn of(bytes: &[u8]) -> String {
        let masked: Vec<u8> = bytes.iter().map(|byte| byte ^ MASK).collect();
        hex::encode(masked)
    }

    fn read(text: &str) -> Self {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        Self((0..text.len()).step_by(2).map(byte).collect())
    }

    fn unmasked(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte ^ MASK).collect()
    }

    /// How often it stands in what this process may write to.
    fn found(&self) -> usize {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut count = 0;
        let mut buffer = vec![0_u8; 1 << 20];
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (from, to) = line
                .split_whitespace()
                .next()
                .unwrap()
                .split_once('-')
                .unwrap();
            let [mut from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let own = buffer.as_ptr() as u64;
            while from < to {
                let size = usize::try_from((to - from).min(buffer.len() as u64)).unwrap();
                memory.seek(SeekFrom::Start(from)).unwrap();
                if memory.read_exact(&mut buffer[..size]).is_err() {
                    break;
                }
                for at in 0..size.saturating_sub(self.0.len()) {
                    // What this search copied into its own buffer is no further place.
                    let place = from + at as u64;
                    let is_own = (own..own + buffer.len() as u64).contains(&place);
                    if buffer[at] == self.0[0] ^ MASK
                        && !is_own
                        && self
                            .0
                            .iter()
                            .zip(&buffer[at..])
                            .all(|(a, b)| a ^ MASK == *b)
                    {
                        count += 1;
                    }
                }
                // Overlapping, so that what lies across two reads is seen.
                from += if size == buffer.len() {
                    (size - 256) as u64
                } else {
                    size as u64
                };
            }
        }
        buffer.fill(0);
        count
    }
}

/// In a process of its own, as small as can be: signs, and looks for the key.
fn searches_itself(given: &str) {
    let given: serde_json::Value = serde_json::from_str(given).unwrap();
    let text = |name: &str| given[name].as_str().unwrap().to_owned();
    let (seed, phrase, line) = (
        Needle::read(&text("seed")),
        Needle::read(&text("phrase")),
        Needle::read(&text("line")),
    );
    // The search finds what is there.
    let held = String::from_utf8(phrase.unmasked()).unwrap();
    assert!(phrase.found() > 0, "the search is blind");
    let held = zeroize::Zeroizing::new(held);
    drop(held);
    assert_eq!(phrase.found(), 0, "the test's own copy is gone");
    let ask = |_: &str| Ok(String::from_utf8(phrase.unmasked()).unwrap());
    sign_decision(b"x", Path::new(&text("open")), None, &ask).unwrap();
    assert_eq!(seed.found(), 0, "a key that signed is still in memory");
    assert_eq!(
        line.found(),
        0,
        "the file of a key that signed is still in memory"
    );
    let (key, _) = PipelineKey::open_or_create(Path::new(&text("open"))).unwrap();
    assert!(seed.found() > 0, "a key that is held is in memory");
    drop(key);
    // Moving a key leaves what the compiler pleases on the stack: of what was held for long, the file is
    // looked for.
    assert_eq!(
        line.found(),
        0,
        "the file of a pipeline's key is still in memory"
    );
    // The key crate leaves copies of what it decrypts on the stack (as of 0.6.7), so of this one only what
    // was typed is looked for.
    sign_decision(b"x", Path::new(&text("locked")), None, &ask).unwrap();
    assert_eq!(phrase.found(), 0, "a passphrase is still in memory");
}

#[test]
fn attack_private_key_left_in_memory() {
    if let Ok(given) = std::env::var(SEARCHER) {
        return searches_itself(&given);
    }
    let folder = tempfile::tempdir().unwrap();
    let key = person();
    let text = key.to_openssh(LineEnding::LF).unwrap();
    let locked = key
        .encrypt(
            &mut ssh_key::rand_core::OsRng,
            "a long passphrase, open sesame",
        )
        .unwrap()
        .to_openssh(LineEnding::LF)
        .unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        mode(&path, 0o600);
        path.to_string_lossy().into_owned()
    };
    let given = json!({
        "open": write("open", &text),
        "locked": write("locked", &locked),
        "seed": Needle::of(&key.key_data().ed25519().unwrap().private.to_bytes()),
        "phrase": Needle::of(b"a long passphrase, open sesame"),
        // The line with the private half.
        "line": Needle::of(text.lines().nth(4).unwrap().as_bytes()),
    });
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "approve_keys::attack_private_key_left_in_memory",
            "--nocapture",
        ])
        .env(SEARCHER, given.to_string())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
