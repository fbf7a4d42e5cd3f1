#!/usr/bin/env bash
# The long form of the fault harness: real processes under faults, judged from outside, until the time is over.
# Usage: scripts/faults.sh --minutes N [--store sqlite|redis] [--scenario NAME] [--seed S]
# Sums are kept in docs/reliability/faults.json and shown in docs/reliability.md; the folder of a run that was not valid
# stays below target/faults. Needs redis-server for Redis, and root for the full disk (a small tmpfs).
set -euo pipefail
cd "$(dirname "$0")/.."

args=("$@")
case " $* " in
*" --minutes "*) ;;
*)
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
    ;;
esac
# `both` is what happens when nothing is said.
for i in "${!args[@]}"; do
    if [ "${args[$i]}" = --store ] && [ "${args[$((i + 1))]:-}" = both ]; then unset "args[$i]" "args[$((i + 1))]"; fi
done
case " $* " in
*" --seed "*) ;;
*) args+=(--seed "$(date +%s)") ;;
esac

cargo build --release --locked -p tidemill-faults
exec target/release/tidemill-faults soak --dir target/faults \
    --book docs/reliability/faults.json --page docs/reliability.md "${args[@]}"
