#!/usr/bin/env bash
# Asks the index whether every package of torch.lock, runtime.lock and dev.lock has a wheel, for each
# system and version of Python that the project supports. Fetches descriptions, and no package.
#
#   scripts/check_locks.sh [VERSION...]     of Python; default: 3.11 3.12 3.13
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${VENV:-.venv}/bin/uv
export UV_NATIVE_TLS=${UV_NATIVE_TLS-true}

# glibc 2.28: Debian 10, Ubuntu 20.04, Red Hat 8 and later. torch's wheels ask for macOS 14.
export MACOSX_DEPLOYMENT_TARGET=14.0
[ $# -gt 0 ] || set -- 3.11 3.12 3.13
failed=
for python in "$@"; do
    for system in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do
        if found=$("$uv" pip compile --quiet --no-deps --no-header --no-annotate --only-binary :all: \
            --python-version "$python" --python-platform "$system" \
            locks/torch.lock locks/runtime.lock locks/dev.lock); then
            printf 'Python %s, %s: %s packages, all with wheels\n' "$python" "$system" \
                "$(printf '%s\n' "$found" | grep -c ==)"
        else
            failed=yes
            printf 'Python %s, %s: see above\n' "$python" "$system" >&2
        fi
    done
done
[ -z "$failed" ]
