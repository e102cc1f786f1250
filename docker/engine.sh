#!/usr/bin/env bash
# Brings a Docker engine where none runs, on Debian 12 or 13 as root; does nothing where one answers. Says what is missing elsewhere.
# Trixie has Engine 26. Bookworm's own engine (20.10) has no named build contexts, so there Docker's packages come from trixie as well,
# beside bookworm's runc and libc.
set -euo pipefail

LOG=${DISTILLERY_ENGINE_LOG:-/var/log/dockerd.log}
ROOT=${DISTILLERY_ENGINE_ROOT:-/var/lib/docker}
SYSTEM=${DISTILLERY_OS_RELEASE:-/etc/os-release}
DOCKER=(docker.io docker-cli docker-compose docker-buildx containerd)

say() { echo "engine: $*" >&2; }
give_up() {
    say "$*"
    exit 1
}
. "$(dirname "$0")/apt.sh"

require_tools() {
    docker compose version >/dev/null 2>&1 || give_up "an engine answers, but 'docker compose' is missing: install Docker Compose 2.24 or later"
    docker buildx version >/dev/null 2>&1 || give_up "an engine answers, but 'docker buildx' is missing: install buildx 0.11 or later"
    say "$(docker version --format 'Engine {{.Server.Version}}'), Compose $(docker compose version --short), $(docker buildx version | cut -d' ' -f2)"
}

require_debian_as_root() {
    local advice="install Docker Engine 25 or later with Compose and buildx, and start it"
    # shellcheck source=/dev/null
    if [ -r "$SYSTEM" ]; then . "$SYSTEM"; fi
    case "${ID:-} ${VERSION_ID:-}" in
        "debian 12" | "debian 13") ;;
        *) give_up "no engine answers, and this script knows Debian 12 and 13 only; here is ${PRETTY_NAME:-an unknown system}: $advice" ;;
    esac
    [ "$(id -u)" = 0 ] || give_up "no engine answers, and installing one needs root: $advice, or run this as root"
}

# Packages of trixie for bookworm, at a priority that replaces nothing else.
add_trixie() {
    local mirror
    mirror=$(find_mirror)
    [ -n "$mirror" ] || give_up "apt has no source for bookworm: add one to /etc/apt/sources.list"
    cat >/etc/apt/sources.list.d/distillery-engine.sources <<-SOURCE
		Types: deb
		URIs: $mirror
		Suites: trixie
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	SOURCE
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' >/etc/apt/preferences.d/distillery-engine
    run_apt update
}

install_packages() {
    run_apt update
    if [ "$VERSION_ID" = 12 ]; then
        add_trixie
        DOCKER=("${DOCKER[@]/%//trixie}")
    fi
    run_apt install --yes --no-install-recommends "${DOCKER[@]}" runc iptables ca-certificates
}

start_daemon() {
    rm -f /var/run/docker.pid /run/docker/containerd/containerd.pid
    setsid --fork dockerd --data-root "$ROOT" >>"$LOG" 2>&1 </dev/null
    for _ in $(seq 60); do
        docker info >/dev/null 2>&1 && return
        sleep 1
    done
    tail -n 20 "$LOG" >&2
    give_up "dockerd does not answer after 60 s; its log is $LOG"
}

if ! docker info >/dev/null 2>&1; then
    require_debian_as_root
    command -v dockerd >/dev/null || install_packages
    start_daemon
fi
require_tools
