# shellcheck shell=bash
# What engine.sh and base-images.sh ask of apt; both source this file.

APT_PATIENCE=${DISTILLERY_APT_SECONDS:-600}

# apt-get, quietly; waits where another apt is at work. DPkg::Lock::Timeout does so for dpkg's locks, not for those of lists and archives.
run_apt() {
    local log end=$((SECONDS + APT_PATIENCE)) told=
    log=$(mktemp)
    # A service manager may be absent or must not be asked: RUNLEVEL=1 keeps packages from starting what they bring.
    until LC_ALL=C DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o "DPkg::Lock::Timeout=$APT_PATIENCE" "$@" >/dev/null 2>"$log"; do
        if ! grep -q "Could not get lock" "$log" || [ "$SECONDS" -ge "$end" ]; then
            cat "$log" >&2
            rm -f "$log"
            return 1
        fi
        [ -n "$told" ] || say "another apt is at work: waiting for it, $APT_PATIENCE s at most (DISTILLERY_APT_SECONDS)"
        told=yes
        sleep 2
    done
    rm -f "$log"
}

# The address of Debian's packages that apt uses here; any suite can be had from it.
find_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' "Codename: ${VERSION_CODENAME:-bookworm}" 'Origin: Debian' 2>/dev/null | head -n 1
}
