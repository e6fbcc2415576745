# Shortcuts; `just` lists them.

# List the shortcuts
default:
    @just --list

# The flea market: real sidecars, the request, the attacks
demo *args:
    cargo run --release -p flea-market -- {{args}}

# All tests
test:
    cargo test --workspace --locked

# mantlet beside other proxies on this machine
compare *args:
    cargo build --release --locked
    cargo run --release -p compare -- {{args}}

# The micro-benchmarks, or those whose name matches
bench *args:
    cargo bench --bench micro -- {{args}}

# Format, lints and documentation, as the checks on a clean checkout have them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items

# Everything that has to hold on a clean checkout
all:
    .ci/run
