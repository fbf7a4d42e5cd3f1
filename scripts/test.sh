#!/usr/bin/env bash
# Installs what the tests need where it is missing, then runs every test. The one place that knows what that is.
# Usage: scripts/test.sh [arguments for cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."

# Command to look for, and the Debian package that brings it. Later stores add their servers here.
needs=(
    "cc gcc"
    "ld binutils"
    # The tests start servers of their own on free ports; one that the package may start on the usual port is not used.
    "redis-server redis-server"
)

missing=()
for need in "${needs[@]}"; do
    read -r command package <<<"$need"
    command -v "$command" >/dev/null 2>&1 || missing+=("$package")
done
# The C library's headers have no command of their own.
if [ ! -e /usr/include/stdio.h ] && [ "$(uname -s)" = Linux ]; then missing+=("libc6-dev"); fi

if [ "${#missing[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "test.sh: missing: ${missing[*]} (Debian's names). Install them and run this again." >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "test.sh: missing: ${missing[*]}. Install them as root (apt-get install ${missing[*]}) and run this again." >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    echo "test.sh: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "test.sh: cargo is missing. Install Rust 1.94 or newer (https://rustup.rs) and run this again." >&2
    exit 1
fi

# The listener's tests hold some thousands of sockets open at once.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

exec cargo test --workspace --locked "$@"
