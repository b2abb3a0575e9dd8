#!/usr/bin/env bash
# run.sh serve|consume [OPTIONS]: one end of a connection in Flink's own network stack; README.md lists the options.
# `run.sh install` gets what that needs, and does no more: a JDK by apt if there is none, Flink's jars by pip (330 MB,
# of which 210 are kept in $FLINK_CACHE, ~/.cache/forebay-flink unless set), and compiles this folder.
set -euo pipefail
version=2.3.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FLINK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay-flink}
jars=$cache/flink-$version

# need COMMAND PACKAGE: installs Debian's PACKAGE if COMMAND is missing.
need() {
  command -v "$1" >/dev/null && return
  echo "+ $1 is missing: installing $2" >&2
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$2" >&2
}

install() {
  need javac default-jdk-headless
  need python3 python3
  need openssl openssl
  python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip
  [ -e "$jars/complete" ] || {
    echo "+ getting Flink $version's jars" >&2
    rm -rf "$cache/wheel" "$jars"
    mkdir -p "$jars"
    python3 -m pip download --quiet --no-deps --dest "$cache/wheel" "apache-flink-libraries==$version" >&2
    python3 - "$cache/wheel" "$jars" <<'PYTHON'
import pathlib, re, sys, tarfile, zipfile
wheel, jars = map(pathlib.Path, sys.argv[1:])
for path in wheel.iterdir():
    archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else tarfile.open(path)
    names, read = (archive.namelist(), archive.read) if hasattr(archive, "namelist") else (
        archive.getnames(), lambda name: archive.extractfile(name).read())
    for name in names:
        if re.search(r"/lib/(flink-dist|log4j)[^/]*\.jar$", name):
            (jars / name.rsplit("/", 1)[1]).write_bytes(read(name))
assert list(jars.glob("flink-dist*")), "no flink-dist jar in what pip has got"
PYTHON
    rm -rf "$cache/wheel"
    touch "$jars/complete"
  }
  classpath=$(printf '%s:' "$jars"/*.jar)
  [ -e "$built/complete" ] || {
    rm -rf "$cache"/interop-*
    mkdir -p "$built/classes"
    javac -nowarn -d "$built/classes" -cp "$classpath" "$here"/src/peer/*.java >&2
    jar --create --file "$built/peer.jar" -C "$built/classes" .
    # What was loaded is stored, so that later starts take a second less; it is fine to go without.
    echo | java -XX:+UseSerialGC -XX:ArchiveClassesAtExit="$built/peer.jsa" "${flags[@]}" \
      -cp "$built/peer.jar:$classpath" peer.Peer serve --partition blocking --records 9 >/dev/null 2>&1 || true
    touch "$built/complete"
  }
}

mkdir -p "$cache"
built=$cache/interop-$(cat "$here"/src/peer/*.java | sha256sum | cut -c1-16)
# PEER_JAVA_OPTS: for a quick start unless set; to measure, set it to what a TaskManager has.
flags=(${PEER_JAVA_OPTS--XX:+UseSerialGC -XX:TieredStopAtLevel=1} -Xshare:auto -Xlog:disable -Xlog:all=off
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED
  --add-opens=java.base/java.util=ALL-UNNAMED "-Dlog4j.configurationFile=$here/log4j2.properties")
exec 9>"$cache/lock"
flock 9
install
exec 9>&-
[ "${1:-}" = install ] && exit
exec java "${flags[@]}" -XX:SharedArchiveFile="$built/peer.jsa" -cp "$built/peer.jar:$classpath" peer.Peer "$@"
