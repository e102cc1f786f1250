#!/usr/bin/env bash
# Makes debian:bookworm-slim and python:3.12-slim-bookworm where no registry can be reached: the first from the
# distribution's packages (debootstrap, as root), the second from that and a CPython 3.12 of this machine. Where that CPython asks for
# a newer glibc than bookworm's, both are made of this machine's own release of Debian, under the same names.
#   docker/base-images.sh [FOLDER]    FOLDER holds bin/python3.12; $CPYTHON or the python3.12 found here if absent
# Does nothing for an image that is there already; DISTILLERY_REBUILD=1 makes both again.
set -euo pipefail
cd "$(dirname "$0")"

DEBIAN=debian:bookworm-slim
PYTHON=python:3.12-slim-bookworm
BOOKWORM_GLIBC=2.36

say() { echo "base-images: $*" >&2; }
give_up() {
    say "$*"
    exit 1
}
. ./apt.sh
# shellcheck source=/dev/null
if [ -r /etc/os-release ]; then . /etc/os-release; fi
is_wanted() { [ -n "${DISTILLERY_REBUILD:-}" ] || ! docker image inspect "$1" >/dev/null 2>&1; }

find_cpython() {
    local folder
    for folder in "${1:-}" "${CPYTHON:-}" "$(python3.12 -c 'import sys; print(sys.base_prefix)' 2>/dev/null)" "$HOME"/.pyenv/versions/3.12.*; do
        [ -n "$folder" ] && [ -x "$folder/bin/python3.12" ] && [ "$folder" != /usr ] && realpath "$folder" && return
    done
    give_up "no CPython 3.12 found: name the folder that holds its bin/python3.12 (built with --enable-shared or not)"
}

# The newest glibc that a CPython asks for.
find_glibc() {
    find "$1/bin/python3.12" "$1/lib" -type f \( -name python3.12 -o -name '*.so*' \) -not -path '*/site-packages/*' \
        -exec grep --text --only-matching --no-filename 'GLIBC_2\.[0-9]*' {} + | sort --unique --version-sort | tail -n 1 | cut -d_ -f2
}

# The release of Debian whose glibc carries a CPython.
choose_suite() {
    local needed
    needed=$(find_glibc "$1")
    if printf '%s\n' "$needed" "$BOOKWORM_GLIBC" | sort --check=quiet --version-sort; then
        echo bookworm
    elif [ "${ID:-}" = debian ] && [ "${VERSION_ID:-0}" -gt 12 ]; then
        say "$1 asks for glibc $needed, bookworm has $BOOKWORM_GLIBC: images are made of $VERSION_CODENAME"
        echo "$VERSION_CODENAME"
    else
        give_up "$1 asks for glibc $needed, bookworm has $BOOKWORM_GLIBC: name the folder of a CPython 3.12 that was built for an older one"
    fi
}

make_debian() {
    local suite=$1 mirror root
    [ "$(id -u)" = 0 ] || give_up "$DEBIAN is made by debootstrap, which needs root"
    command -v debootstrap >/dev/null || { run_apt update && run_apt install --yes --no-install-recommends debootstrap; }
    mirror=${DEBIAN_MIRROR:-$(find_mirror)}
    [ -n "$mirror" ] || give_up "apt knows no mirror of Debian here: set DEBIAN_MIRROR to one"
    root=$(mktemp -d)
    trap 'rm -rf "$root"' RETURN
    say "$DEBIAN: debootstrap of $suite"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$root.log" || { tail -n 20 "$root.log" >&2; exit 1; }
    rm -rf "$root.log" "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/log/*
    tar --numeric-owner --one-file-system -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$DEBIAN" >/dev/null
}

# What python.org's own image leaves out too; site-packages stays out, pip comes from CPython's own ensurepip.
copy_cpython() {
    tar -C "$1" -c --exclude='*/test' --exclude='*/tests' --exclude='*/idlelib' --exclude='*/tkinter' --exclude='*/turtledemo' \
        --exclude='config-3.12-*' --exclude='*.a' --exclude=__pycache__ --exclude='lib/python3.12/site-packages/*' --exclude='_tkinter*' \
        bin/python3.12 include lib | tar -C "$2" -x
}

make_python() {
    local cpython=$1 stage
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' RETURN
    say "$PYTHON: $("$cpython/bin/python3.12" --version)"
    copy_cpython "$cpython" "$stage"
    docker build --quiet --tag "$PYTHON" --build-context cpython="$stage" --file python.Dockerfile . >/dev/null
}

if is_wanted "$DEBIAN" || is_wanted "$PYTHON"; then
    cpython=$(find_cpython "${1:-}")
    suite=$(choose_suite "$cpython")
    if is_wanted "$DEBIAN"; then make_debian "$suite"; fi
    if is_wanted "$PYTHON"; then make_python "$cpython"; fi
fi
for image in "$DEBIAN" "$PYTHON"; do say "$image $(docker image inspect --format '{{.Size}}' "$image" | numfmt --to=iec)"; done
