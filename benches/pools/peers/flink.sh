#!/usr/bin/env bash
# flink.sh TABLE OPERATIONS: runs FlinkPool.java with the jars of Flink that interop/flink brings, and so a JDK.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${FLINK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay-flink}/flink-2.3.0
[ -e "$jars/complete" ] || "$here"/../../../interop/flink/peer/run.sh install >&2
exec java --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED -XX:+UseParallelGC \
  "-Dlog4j.configurationFile=$here/../../../interop/flink/peer/log4j2.properties" -cp "$jars/*" \
  "$here/FlinkPool.java" "$@"
