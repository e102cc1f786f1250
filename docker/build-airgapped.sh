#!/usr/bin/env bash
# Builds the images where no container registry can be reached: base images from the distribution and a local CPython,
# packages through this machine's pip settings and CA bundle, which do not stay in the images. The images are the same otherwise.
#   docker/build-airgapped.sh [SERVICE…]
# Without names it builds all but the generative models, which join where DISTILLERY_UPSTREAM holds their code (compose.upstream.yaml).
# DISTILLERY_PIP_CONF, DISTILLERY_CA_BUNDLE and DISTILLERY_WHEELS, where set, are taken instead of what is found here.
set -euo pipefail
cd "$(dirname "$0")/.."

find_ca_bundle() {
    local file
    for file in "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        [ -n "$file" ] && [ -s "$file" ] && echo "$file" && return
    done
    echo "build-airgapped: no CA bundle found: name one in DISTILLERY_CA_BUNDLE" >&2
    exit 1
}

docker/base-images.sh
settings=$(mktemp -d)
trap 'rm -rf "$settings"' EXIT
python3 docker/pip_settings.py >"$settings/pip.conf"
export DISTILLERY_PIP_CONF=${DISTILLERY_PIP_CONF:-$settings/pip.conf}
DISTILLERY_CA_BUNDLE=${DISTILLERY_CA_BUNDLE:-$(find_ca_bundle)}
export DISTILLERY_CA_BUNDLE
if [ -n "${DISTILLERY_UPSTREAM:-}" ]; then
    docker compose -f compose.yaml -f compose.upstream.yaml --profile "*" build "$@"
else
    docker compose --profile benchmarks --profile optimade build "$@"
fi
