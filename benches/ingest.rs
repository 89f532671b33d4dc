//! What an ingest costs: CPU and wall time per sample, bytes per sample beside the TSDB's, peak
//! memory. Each figure is taken in a process of its own. See `benches/README.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench without its input is no bench, and its figures are printed"
)]

#[path = "fleet/mod.rs"]
mod fleet;
#[path = "fleet/measure.rs"]
mod measure;
#[path = "fleet/replay.rs"]
mod replay;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fleet::{Fleet, Load};
use measure::Figures;

/// A whole fleet that gives more than 20 M samples a day.
const WHOLE: Fleet = Fleet {
    load: Load::Quiet,
    gpus: 180,
    hours: 24,
    whole: true,
};

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !["--bench", "ingest"].contains(word))
        .collect();
    match words.as_slice() {
        [] => fleets(),
        ["large", gpus, hours] => large(
            gpus.parse().expect("a number of GPUs"),
            hours.parse().expect("a number of hours"),
        ),
        ["make", gpus, hours] => make(
            gpus.parse().expect("a number of GPUs"),
            hours.parse().expect("a number of hours"),
        ),
        ["serve", folder] => serve(folder, None),
        ["serve", folder, upstream] => serve(folder, Some(upstream)),
        ["measure", what, place, lake] => {
            println!("{}", measure::run(what, place, Path::new(lake)).line());
        }
        other => panic!("no such bench: {other:?}; see benches/README.md"),
    }
}

fn work() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-ingest");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

fn serve(folder: &str, upstream: Option<&str>) {
    replay::serve(Path::new(folder), upstream, |port| println!("{port}"))
        .expect("loopback is there");
}

/// The blocks of a fleet, made if they are not there; and the bytes of them.
fn blocks(fleet: &Fleet, name: &str) -> (PathBuf, u64) {
    let folder = work().join(name);
    if !folder.join("made").is_file() {
        let written = fleet::block::write(fleet, &folder).expect("blocks can be written");
        println!("{name}: made {written:?}");
        std::fs::write(folder.join("made"), "").expect("blocks can be written");
    }
    let bytes = measure::bytes_below(&folder);
    (folder, bytes)
}

/// Killed when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_server(folder: &Path, upstream: Option<&str>) -> (Running, String) {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this);
    command.args(["ingest", "serve"]).arg(folder).args(upstream);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs again");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output is a pipe");
    BufReader::new(out)
        .read_line(&mut line)
        .expect("it tells its port");
    (Running(child), format!("http://127.0.0.1:{}", line.trim()))
}

/// Prometheus on these blocks, if there is one on the path.
fn start_prometheus(data: &Path) -> Option<(Running, String)> {
    let address = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        probe.local_addr().expect("a port").to_string()
    };
    let config = data.join("prometheus.yml");
    std::fs::write(&config, "scrape_configs: []\n").expect("the folder is writable");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let running = Running(child);
    for _ in 0..300 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if std::net::TcpStream::connect(&address).is_ok() {
            // It listens a moment before it answers.
            std::thread::sleep(std::time::Duration::from_secs(2));
            return Some((running, address));
        }
    }
    None
}

fn measured(what: &str, place: &str) -> Figures {
    let lake = work().join("lake");
    let _ = std::fs::remove_dir_all(&lake);
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new(this)
        .args(["ingest", "measure", what, place])
        .arg(&lake)
        .stderr(Stdio::inherit())
        .output()
        .expect("this program runs again");
    assert!(output.status.success(), "measuring {what} failed");
    let figures = Figures::parse(&String::from_utf8_lossy(&output.stdout)).expect("figures");
    println!("  {what:<22} {}", figures.told());
    figures
}

fn fleets() {
    for load in [Load::Quiet, Load::Noisy] {
        let fleet = Fleet { load, ..WHOLE };
        let name = format!("{load:?}").to_lowercase();
        let (folder, tsdb_bytes) = blocks(&fleet, &name);
        println!(
            "{name} fleet of {} GPUs, {} h; blocks {tsdb_bytes} bytes",
            fleet.gpus, fleet.hours
        );
        let place = folder.to_string_lossy().into_owned();
        let from_blocks = measured("blocks", &place);
        let samples = from_blocks.samples as f64;
        println!(
            "  lake {:.3} bytes a sample, TSDB {:.3}: {:.3}",
            from_blocks.lake_bytes as f64 / samples,
            tsdb_bytes as f64 / samples,
            from_blocks.lake_bytes as f64 / tsdb_bytes as f64
        );
        let answers = folder.join("answers");
        if !answers.is_dir() {
            let Some((_prometheus, address)) = start_prometheus(&folder) else {
                println!("  skipped: prometheus is not installed, so there is no remote read");
                continue;
            };
            measured("live", &format!("http://{address}"));
            let (_server, url) = start_server(&answers, Some(&address));
            measured("record", &url);
        }
        let (_server, url) = start_server(&answers, None);
        let whole = measured("replay", &url);
        let discard = measured("discard", &url);
        let write = measured("write", &url);
        let half = f64::midpoint(discard.cpu_seconds, write.cpu_seconds);
        println!(
            "  replay: wall {:.2} s is {:.2} × half of {:.2} + {:.2} CPU seconds",
            whole.wall_seconds,
            whole.wall_seconds / half,
            discard.cpu_seconds,
            write.cpu_seconds
        );
    }
}

/// Peak memory at a fleet's size: GPUs with ten series each.
/// Blocks of a whole fleet for a server to hold, as a first look meets it.
fn make(gpus: u32, hours: i64) {
    let fleet = Fleet {
        gpus,
        hours,
        ..WHOLE
    };
    let (folder, bytes) = blocks(&fleet, &format!("whole-{gpus}-{hours}"));
    println!("{} ({bytes} bytes)", folder.display());
}

fn large(gpus: u32, hours: i64) {
    let fleet = Fleet {
        load: Load::Noisy,
        gpus,
        hours,
        whole: false,
    };
    let (folder, bytes) = blocks(&fleet, &format!("large-{gpus}-{hours}"));
    println!("{gpus} GPUs, {hours} h, ten series each; blocks {bytes} bytes");
    let figures = measured("blocks", &folder.to_string_lossy());
    println!(
        "  lake {:.3} of the TSDB's bytes",
        figures.lake_bytes as f64 / bytes as f64
    );
}
