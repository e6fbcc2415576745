#!/usr/bin/env bash
# Loads two sidecars around one hop with wrk (HTTP/1.1) and then h2load (HTTP/2), SECONDS_EACH each, and prints requests, errors
# and the resident memory of both sidecars before, in the middle and after. Exits with 1 where any request failed or where the
# memory of either grew by more than MAX_GROWTH_KIB from the end of a warm-up, which has had both loads, to the end: the two
# loads need different amounts, and passing from one to the other is no growth.
#
#   benches/soak.sh                     30 s each
#   SECONDS_EACH=600 benches/soak.sh
#
# Needs wrk, h2load (nghttp2-client), nginx (the service) and curl.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-30}
max_growth_kib=${MAX_GROWTH_KIB:-16384}
connections=${CONNECTIONS:-64}

for program in wrk h2load nginx curl; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "soak: $program is not installed" >&2; exit 2; }
done
if [ -z "${MANTLET_BIN:-}" ]; then
    cargo build --release --locked --quiet --bin mantlet
    MANTLET_BIN=${CARGO_TARGET_DIR:-target}/release/mantlet
fi

at=$(mktemp -d)
started=()
cleanup() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$at"
}
trap cleanup EXIT

# The service: nginx on a Unix socket, which closes each connection after its default of 1000 requests.
cat >"$at/nginx.conf" <<CONF
daemon off; master_process off; pid $at/nginx.pid; error_log $at/nginx.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $at/b; proxy_temp_path $at/p; fastcgi_temp_path $at/f; uwsgi_temp_path $at/u; scgi_temp_path $at/s;
    server { listen unix:$at/app.sock; location / { return 200 "$(printf 'x%.0s' {1..128})"; } }
}
CONF
PATH=$PATH:/usr/sbin nginx -e "$at/nginx.log" -p "$at" -c "$at/nginx.conf" &
started+=($!)

"$MANTLET_BIN" ca init --dir "$at/ca" --trust-domain soak.internal >/dev/null
for name in caller callee; do
    "$MANTLET_BIN" ca issue --dir "$at/ca" --name "$name" --dns "$name" --out "$at" >/dev/null
done
"$MANTLET_BIN" ca crl --dir "$at/ca" --out "$at/ca.crl" >/dev/null

# Writes the configuration NAME.toml with the listener given on standard input, starts it, and sets `pid` and `address`.
sidecar() {
    cat - >"$at/$1.toml" <<CONF
[identity]
certificate = "$at/$1.pem"
private_key = "$at/$1.key"
[trust]
anchors = ["$at/ca/ca.pem"]
[revocation]
sources = ["$at/ca.crl"]
[log]
format = "json"
[[$2]]
name = "soak"
listen = "127.0.0.1:0"
$3
CONF
    # Made here, because the process in the background may be slower than the first look at it.
    : >"$at/$1.log"
    "$MANTLET_BIN" run "$at/$1.toml" 2>>"$at/$1.log" &
    pid=$!
    started+=("$pid")
    until grep -q '"message":"started"' "$at/$1.log"; do
        kill -0 "$pid" 2>/dev/null || { cat "$at/$1.log" >&2; exit 2; }
        sleep 0.05
    done
    address=$(grep '"listener":"soak"' "$at/$1.log" | grep -o '127\.0\.0\.1:[0-9]*' | head -n 1)
}
sidecar callee inbound "forward_to = \"unix:$at/app.sock\"
allow = [\"spiffe://soak.internal/caller\"]"
callee=$pid
sidecar caller outbound "connect_to = \"$address\"
expect = [\"spiffe://soak.internal/callee\"]"
caller=$pid
url=http://$address/
curl --silent --show-error --fail --max-time 10 --output "$at/answer" "$url"

resident() {
    awk '/^VmRSS:/ { print $2; found = 1 } END { exit !found }' "/proc/$1/status" 2>/dev/null ||
        { echo "FAILED: sidecar $1 has ended" >&2; exit 1; }
}
failed=0
fail() { echo "FAILED: $*"; failed=1; }

# Runs a load generator and prints the memory at its three times; leaves its report in $at/report.
load() {
    local before middle after
    before="$(resident "$caller") $(resident "$callee")"
    "$@" >"$at/report" 2>&1 &
    local generator=$!
    started+=("$generator")
    sleep "$((seconds / 2))"
    middle="$(resident "$caller") $(resident "$callee")"
    wait "$generator" || fail "the load generator: $(cat "$at/report")"
    after="$(resident "$caller") $(resident "$callee")"
    printf '  resident KiB, outbound and inbound: before %s, middle %s, after %s\n' "$before" "$middle" "$after"
}

wrk -t2 -c"$connections" -d5s "$url" >/dev/null
h2load -D 5 -c8 -m32 "$url" >/dev/null
read -r caller_warm callee_warm <<<"$(resident "$caller") $(resident "$callee")"

echo "wrk, HTTP/1.1, $connections connections, $seconds s"
load wrk -t2 -c"$connections" -d"${seconds}s" --timeout 10s "$url"
grep -E 'requests in|Requests/sec' "$at/report" | sed 's/^ */  /'
if grep -E 'Socket errors|Non-2xx' "$at/report"; then fail "wrk saw errors"; else echo "  0 errors"; fi

echo "h2load, HTTP/2, 8 connections of 32 streams, $seconds s"
load h2load -D "$seconds" -c8 -m32 "$url"
grep -E '^finished|^requests:|^status codes:' "$at/report" | sed 's/^/  /'
grep -Eq '^requests: .* 0 failed, 0 errored, 0 timeout' "$at/report" || fail "h2load saw failures"
grep -Eq '^status codes: [1-9][0-9]* 2xx, 0 3xx, 0 4xx, 0 5xx' "$at/report" || fail "h2load saw other statuses"

for name in caller callee; do
    trouble=0
    grep -E '"level":"(WARN|ERROR)"' "$at/$name.log" || trouble=$?
    # 1 means that nothing was found; 2 that the log could not be read, which is no proof of anything.
    [ "$trouble" -eq 1 ] || fail "the $name's sidecar told of trouble, or its log is gone"
done
grown=$(($(resident "$caller") - caller_warm))
grown_callee=$(($(resident "$callee") - callee_warm))
echo "growth since the warm-up: outbound $grown KiB, inbound $grown_callee KiB (at most $max_growth_kib)"
[ "$grown" -le "$max_growth_kib" ] || fail "the outbound sidecar's memory grew"
[ "$grown_callee" -le "$max_growth_kib" ] || fail "the inbound sidecar's memory grew"
exit "$failed"
