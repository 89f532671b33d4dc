# Names for the commands of .ci/run; `just --list` shows them.

# Format the code
fmt:
    cargo fmt

# What CI demands before any test
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# All tests
test:
    cargo test

# The tests of one detector or rollup, on both engines
detector ID:
    cargo test --test detectors -- {{ID}}

# The main job on the sample
demo:
    cargo run -- run --config sample-data/idleproof.toml

# Accept changed golden outputs; read the diff afterwards
bless:
    INSTA_UPDATE=always cargo test

# Decoding and block reading
bench:
    cargo bench

# Rustdoc with warnings denied
docs:
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps

# Make the sample again from its seed
sample:
    python3 sample-data/generate.py

# Everything that CI does
ci:
    bash .ci/run

# Render the chart's defaults into deploy/manifests
manifests:
    python3 tests/peers/chart.py deploy/helm/idleproof idleproof idleproof > deploy/manifests/idleproof.yaml
