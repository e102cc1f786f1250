#!/usr/bin/env bash
# Installs Slurm for `make test-slurm` from Debian's packages, unless it is there; as root. Its own services stay off.
set -euo pipefail
say() { echo "docker/slurm.sh: $*" >&2; }
# shellcheck source=apt.sh
. "$(dirname "$0")/apt.sh"
command -v slurmctld munged >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "no Slurm here, and no way to install it: tests/slurm is skipped"
    exit 0
fi
run_apt update
run_apt install --yes --no-install-recommends slurm-wlm munge
