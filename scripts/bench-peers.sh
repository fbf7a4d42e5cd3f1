#!/usr/bin/env bash
# Measures Tidemill beside BullMQ and Celery, and for webhooks in beside fastify with the official stripe package and BullMQ: one Redis
# (AOF everysec) for all, the systems taking turns, medians of 5 rounds or more.
# Installs what is missing into target/bench/peers; a peer whose language is not there is left out, and that is said.
# Usage: scripts/bench-peers.sh [--rounds N] [--jobs N] [--celery-jobs N] [--ingress-jobs N] [--deliveries N]
# Results: target/bench/peers.jsonl, the bar's ratios as JSON in target/bench/peers-bar.jsonl, and tables on standard output.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5
jobs=30000
celery_jobs=5000
deliveries=20000
# Requests to the peer; ours gets four times as many, so that both take about as long.
ingress_jobs=15000
while [ "$#" -gt 0 ]; do
    case "$1" in
        --rounds) rounds="$2"; shift 2 ;;
        --jobs) jobs="$2"; shift 2 ;;
        --ingress-jobs) ingress_jobs="$2"; shift 2 ;;
        --celery-jobs) celery_jobs="$2"; shift 2 ;;
        --deliveries) deliveries="$2"; shift 2 ;;
        *) sed -n '2,7s/^# //p' "$0" >&2; exit 2 ;;
    esac
done

need() {
    command -v "$1" >/dev/null 2>&1 || { echo "bench-peers.sh: $1 is missing; install it (Debian: apt-get install $2)" >&2; exit 1; }
}
need cargo rustup
need redis-server redis-server
need redis-cli redis-tools

cargo build --release --locked -p tidemill-bench
bench="${CARGO_TARGET_DIR:-target}/release/tidemill-bench"
out="target/bench"
peers="$out/peers"
mkdir -p "$peers"

bullmq=""
if command -v npm >/dev/null 2>&1; then
    cp bench/peers/package.json bench/peers/bullmq.mjs bench/peers/fastify-stripe.mjs bench/peers/webhooks.mjs "$peers/"
    (cd "$peers" && npm install --no-package-lock --no-audit --no-fund --silent) && bullmq=yes
fi
[ -n "$bullmq" ] || echo "bench-peers.sh: without BullMQ: npm is missing or could not install it" >&2

celery=""
if command -v python3 >/dev/null 2>&1; then
    cp bench/peers/celery_bench.py "$peers/"
    { [ -x "$peers/python/bin/pip" ] || python3 -m venv --clear "$peers/python"; } &&
        "$peers/python/bin/pip" install --quiet --disable-pip-version-check -r bench/peers/requirements.txt && celery=yes
fi
[ -n "$celery" ] || echo "bench-peers.sh: without Celery: python3 with venv and pip is missing or could not install it" >&2

# One server for all. The port was free a moment ago; when somebody else takes it first, the next one is tried.
folder="$(mktemp -d)"
server=""
receiver=""
cleanup() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT
for port in $(seq 21379 21399); do
    redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" --appendonly yes --appendfsync everysec \
        >"$folder/output" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        if redis-cli -p "$port" info server 2>/dev/null | grep -q "^process_id:$server"; then break 2; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    kill "$server" 2>/dev/null || true
    server=""
done
[ -n "$server" ] || { echo "bench-peers.sh: no Redis could be started:" >&2; cat "$folder/output" >&2; exit 1; }
url="redis://127.0.0.1:$port"

# Between the systems the server is empty again, and its append-only file small.
fresh() {
    redis-cli -p "$port" flushall >/dev/null
    redis-cli -p "$port" bgrewriteaof >/dev/null
    while redis-cli -p "$port" info persistence | grep -Eq '^aof_rewrite_(in_progress|scheduled):1'; do sleep 0.1; done
}

# The peer's receiver; Tidemill's own runs start the same program.
"$bench" receive >"$folder/receiver" &
receiver=$!
until [ -s "$folder/receiver" ]; do
    kill -0 "$receiver" 2>/dev/null || { echo "bench-peers.sh: no receiver could be started" >&2; exit 1; }
    sleep 0.1
done
receiver_url="http://$(head -n 1 "$folder/receiver")"

results="$out/peers.jsonl"
: >"$results"
for round in $(seq "$rounds"); do
    echo "bench-peers.sh: round $round of $rounds" >&2
    fresh && "$bench" enqueue-bulk --store "$url" --jobs "$jobs" --json >>"$results"
    fresh && "$bench" drain --store "$url" --jobs "$jobs" --systems tidemill --json >>"$results"
    if [ -n "$bullmq" ]; then
        fresh && node "$peers/bullmq.mjs" "$url" "$jobs" >>"$results"
    fi
    fresh && "$bench" ingress --store "$url" --jobs "$((4 * ingress_jobs))" --json >>"$results"
    "$bench" ingress --store sqlite --jobs "$((4 * ingress_jobs))" --json >>"$results"
    if [ -n "$bullmq" ]; then
        fresh && "$bench" ingress --store "$url" --jobs "$ingress_jobs" --json \
            --peer "node $peers/fastify-stripe.mjs" --system fastify-stripe-bullmq >>"$results"
    fi
    fresh && "$bench" drain --store "$url" --jobs 7000 --systems tidemill,apalis-redis,apalis-redis-tuned --json >>"$results"
    "$bench" fanout --store sqlite --jobs "$deliveries" --only-rate --json >>"$results"
    fresh && "$bench" fanout --store "$url" --jobs "$deliveries" --only-rate --json >>"$results"
    if [ -n "$bullmq" ]; then
        fresh && node -e 'fetch(process.argv[1]).catch(() => process.exit(1))' "$receiver_url/reset" &&
            node "$peers/webhooks.mjs" "$url" "$receiver_url" "$deliveries" >>"$results"
    fi
    if [ -n "$celery" ]; then
        fresh && "$bench" drain --store "$url" --jobs "$celery_jobs" --systems tidemill --json >>"$results"
        fresh && "$peers/python/bin/python" "$peers/celery_bench.py" "$url" "$celery_jobs" >>"$results"
    fi
done

"$bench" report "$results" --json >"$out/peers-bar.jsonl"
"$bench" report "$results"
echo "bench-peers.sh: lines in $results, the bar in $out/peers-bar.jsonl" >&2
