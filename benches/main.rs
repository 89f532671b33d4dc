//! One program for all benches: linking it with optimisation over all crates takes minutes, so it is
//! linked once. The first word chooses; `benches/README.md` says what each measures.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "benches print their figures"
)]

mod decode;
mod detect;
mod detect_fleet;
#[path = "../pipeline/ingest/prometheus/chunks/encode.rs"]
mod encode;
mod estimator;
mod ingest;
mod inventory;
mod simulate;

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    match words.next().as_deref() {
        Some("decode") => decode::main(),
        Some("detect") => detect::main(),
        Some("estimator") => estimator::main(),
        Some("ingest") => ingest::main(),
        Some("inventory") => inventory::main(),
        Some("simulate") => simulate::main(),
        _ => {
            eprintln!(
                "name a bench: cargo bench -- decode|detect|estimator|ingest|inventory|simulate (benches/README.md)"
            );
            std::process::exit(2);
        }
    }
}
