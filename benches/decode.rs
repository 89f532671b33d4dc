//! Placeholder until the decoders' benches land.
fn main() {}
