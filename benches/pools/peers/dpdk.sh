#!/usr/bin/env bash
# dpdk.sh TABLE OPERATIONS: compiles dpdk.c where it has changed, and runs it. Takes a compiler, pkg-config and DPDK
# (Debian: apt install gcc pkg-config libdpdk-dev; or what PKG_CONFIG_PATH leads to).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
built=${CARGO_TARGET_DIR:-$here/../target}/peers
if [ ! "$built/dpdk" -nt "$here/dpdk.c" ]; then
  pkg-config --exists libdpdk || { echo "dpdk.sh: there is no DPDK: apt install pkg-config libdpdk-dev" >&2; exit 1; }
  mkdir -p "$built"
  # shellcheck disable=SC2046 # flags are words
  cc -O3 -march=native $(pkg-config --cflags libdpdk) -march=native -o "$built/dpdk" "$here/dpdk.c" \
    $(pkg-config --libs libdpdk)
fi
exec "$built/dpdk" "$@"
