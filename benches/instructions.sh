#!/usr/bin/env bash
# Prints how many instructions one iteration of one micro-benchmark takes, as valgrind's callgrind counts them. A busy machine makes
# an iteration slower and leaves this number as it is, within a fraction of a percent.
#
#   benches/instructions.sh exchange::inbound::Http2
#   ITERATIONS=2000 benches/instructions.sh authorize::exact_allowed::1000
#
# The benchmark runs twice, with few and with more iterations, so that what is done once cancels out. What is made anew for each
# iteration, such as a connection for a handshake, counts. Leaves the profile of the second run for callgrind_annotate.
set -euo pipefail
cd "$(dirname "$0")/.."

benchmark=${1:?which benchmark, such as exchange::inbound::Http2; "cargo bench --bench micro -- --list" shows them}
iterations=${ITERATIONS:-200}
few=20

command -v valgrind >/dev/null || { echo "instructions: valgrind is not installed" >&2; exit 2; }
cargo bench --bench micro --locked --quiet --no-run
profile=${CARGO_TARGET_DIR:-target}/callgrind.out
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# Sets `collected` to the instructions of a run with this many iterations.
count() {
    local valgrind="valgrind --tool=callgrind --callgrind-out-file=$profile"
    cargo bench --bench micro --locked --quiet --config "target.'cfg(all())'.runner = '$valgrind'" -- \
        --exact "micro::$benchmark" --sample-count 1 --sample-size "$1" --min-time 0 >"$said" 2>&1 ||
        { cat "$said" >&2; exit 1; }
    grep -q '╰─' "$said" || { echo "instructions: there is no benchmark $benchmark" >&2; exit 2; }
    collected=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$said")
}
count "$few"
before=$collected
count "$((few + iterations))"

printf '%s: %s instructions\n' "$benchmark" "$(((collected - before) / iterations))"
printf 'where they are: callgrind_annotate --inclusive=yes %s\n' "$profile"
