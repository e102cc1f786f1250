#!/usr/bin/env bash
# Installs what compiles a package that has no wheel for this Python (CHGNet from 3.13 on), on Debian as root; does nothing where it is there.
set -euo pipefail

say() { echo "compiler: $*" >&2; }
. "$(dirname "$0")/../docker/apt.sh"

"${1:-python3}" "$(dirname "$0")/can_compile.py" 2>/dev/null && exit 0
[ "$(id -u)" = 0 ] || { say "installing it needs root"; exit 1; }
run_apt update
run_apt install --yes --no-install-recommends gcc libc6-dev python3-dev
