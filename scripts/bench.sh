#!/usr/bin/env bash
# Runs every scenario on both stores, about 15 minutes on two quiet cores, and writes docs/performance.md and its plot.
# Lines of scripts/bench-peers.sh (target/bench/peers.jsonl) are put in as well, when they are there.
# Usage: scripts/bench.sh [--quick] [--report-only]
#   --quick        a tenth of the jobs, into target/bench/quick only: to see that everything runs
#   --report-only  writes the page again from the lines of the last run
set -euo pipefail
cd "$(dirname "$0")/.."

quick=""
report_only=""
for word in "$@"; do
    case "$word" in
        --quick) quick=yes ;;
        --report-only) report_only=yes ;;
        *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
    esac
done
command -v redis-server >/dev/null 2>&1 || { echo "bench.sh: redis-server is missing (Debian: apt-get install redis-server)" >&2; exit 1; }

cargo build --release --locked -p tidemill-bench
bench="${CARGO_TARGET_DIR:-target}/release/tidemill-bench"
out="target/bench"
mkdir -p "$out/quick"
results="$out/results.jsonl"
[ -z "$quick" ] || results="$out/quick/results.jsonl"

# A number of jobs, or a tenth of it.
n() { if [ -n "$quick" ]; then echo $(($1 / 10)); else echo "$1"; fi; }
failed=()
run() {
    echo "bench.sh: ${SECONDS}s: $*" >&2
    "$bench" "$@" --json | tee -a "$results.part" >&2 || failed+=("$*")
}

if [ -z "$report_only" ]; then
    : >"$results.part"
    for store in redis sqlite; do
        run enqueue-bulk --store "$store" --jobs "$(n 100000)" --rounds 5
        run enqueue-single --store "$store" --jobs "$(n 50000)"
        run drain --store "$store" --jobs "$(n 100000)" --rounds 5
        run drain --store "$store" --jobs "$(n 1000000)" --systems tidemill
        run steady --store "$store" --seconds "$(n 30)"
        run recover --store "$store" --rounds 5
        run ingress --store "$store" --jobs "$(n 150000)"
        run fanout --store "$store" --jobs "$(n 20000)" --many "$(n 10000)"
        run schedule-storm --store "$store" --jobs "$(n 100000)"
        run curve --store "$store" --jobs "$(n 1000000)"
    done
    run backlog --store redis --jobs "$(n 1000000)"
    run backlog --store sqlite --jobs "$(n 1000000)"
    run backlog --store sqlite --jobs "$(n 10000000)"
    run apalis-findings
    mv "$results.part" "$results"
fi
# What did not work is no result, and a page without it would look whole.
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'bench.sh: failed: %s\n' "${failed[@]}" >&2
    echo "bench.sh: the page was not written; add these runs' lines to $results and use --report-only" >&2
    exit 1
fi

if [ -n "$quick" ]; then
    "$bench" report "$results" --plot "$out/quick/performance.svg"
    exit 0
fi
lines=("$results")
[ ! -s "$out/peers.jsonl" ] || lines+=("$out/peers.jsonl")
"$bench" report "${lines[@]}" --page docs/performance.md --plot docs/performance.svg
echo "bench.sh: ${SECONDS}s: wrote docs/performance.md and docs/performance.svg" >&2
