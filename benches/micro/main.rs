//! Micro-benchmarks of what every connection and every request goes through. `benches/README.md` says how to run and compare them.

mod authorize;
mod exchange;
mod handshake;
mod headers;
mod pki;
mod revocation;
mod tokens;

use divan::AllocProfiler;
use mimalloc::MiMalloc;

/// The allocator of the program, with every allocation counted.
#[global_allocator]
static ALLOCATOR: AllocProfiler<MiMalloc> = AllocProfiler::new(MiMalloc);

fn main() {
    divan::main();
}

/// True where figures are wanted (`cargo bench`) and not one quick run of each (`cargo test`, `cargo bench -- --test`).
fn is_measuring() -> bool {
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    given("--bench") && !given("--test")
}
