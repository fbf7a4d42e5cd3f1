#!/usr/bin/env bash
# Signs with the senders' own libraries (npm; PyPI where Python is present) and posts to a running Tidemill, then lets the
# receivers' own libraries verify what it sends.
# Usage: scripts/clients.sh [--optional]   With --optional, a machine without Node or without the packages is no failure.
# TIDEMILL_BIN names a binary that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

optional=${1:-}
missing() {
    echo "clients.sh: $1" >&2
    if [ "$optional" = --optional ]; then echo "clients.sh: SKIPPED, nothing was checked" >&2; exit 0; fi
    exit 1
}

command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || missing "node or npm is missing"
clients=tests/clients
npm install --prefix "$clients" --no-package-lock --no-audit --no-fund --loglevel=error || missing "the packages can't be fetched"

python=""
if command -v python3 >/dev/null 2>&1; then
    if { [ -x "$clients/venv/bin/python" ] || python3 -m venv "$clients/venv"; } &&
        "$clients/venv/bin/python" -m pip install -q --disable-pip-version-check -r "$clients/requirements.txt"; then
        python="$clients/venv/bin/python"
    else
        echo "clients.sh: Python's packages can't be fetched: only Node's libraries are tried" >&2
    fi
fi

binary=${TIDEMILL_BIN:-}
if [ -z "$binary" ]; then
    cargo build --locked -p tidemill-jobs
    binary=${CARGO_TARGET_DIR:-target}/debug/tidemill
fi
node "$clients/run.mjs" "$binary" ${python:+"$python"}
node "$clients/out.mjs" "$binary" ${python:+"$python"}
