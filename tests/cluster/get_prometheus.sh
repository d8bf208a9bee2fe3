#!/usr/bin/env bash
# Put prometheus and promtool into a folder, for the tests of the metrics: those that are installed,
# or else Debian's, of which only the two programs are taken. Nothing is installed, no service starts.
set -euo pipefail
target=$(realpath "$1")
if command -v prometheus promtool > /dev/null; then
    ln -sf "$(command -v prometheus)" "$(command -v promtool)" "$target/"
    exit
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if ! command -v apt-get > /dev/null; then
    echo "the tests of the metrics need prometheus and promtool on the PATH: install Prometheus" >&2
    exit 1
fi
apt-get download prometheus 2> /dev/null || { apt-get -qq update && apt-get download prometheus; }
dpkg-deb -x prometheus_*.deb .
install usr/bin/prometheus usr/bin/promtool "$target/"
