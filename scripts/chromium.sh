#!/usr/bin/env bash
# Installs Chromium, which the tests of the live page drive, on Debian as root; does nothing where it is there.
set -euo pipefail

say() { echo "chromium: $*" >&2; }
. "$(dirname "$0")/../docker/apt.sh"

command -v chromium >/dev/null && exit 0
[ "$(id -u)" = 0 ] || { say "installing it needs root"; exit 1; }
run_apt update
run_apt install --yes --no-install-recommends chromium
