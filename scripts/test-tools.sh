#!/usr/bin/env bash
# The tools that tests of build_and_push.sh need beside a Docker engine, all in .venv-push/: the aws
# command, a registry, and bcrypt for its password file. Nothing is installed on the system, where
# Debian's package would start a registry that listens to the network.
#
#   scripts/test-tools.sh          makes .venv-push; does nothing where it is up to date
#   scripts/test-tools.sh lock     renews scripts/test-tools.lock, with the newest versions
#
# Needs .venv (make setup), and apt-get for the registry.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=scripts/test-tools.lock
dir=.venv-push

if [ "${1:-}" = lock ]; then
    # Version 1 of the aws command is a package; version 2 is not.
    printf '%s\n' 'awscli<2' bcrypt |
        UV_NATIVE_TLS=true .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
            --generate-hashes --custom-compile-command 'scripts/test-tools.sh lock' \
            --no-emit-index-url --no-emit-find-links --output-file "$lock" -
    exit
fi

# The copy is written last, so an interrupted install is started again from nothing.
cmp -s "$lock" "$dir/.complete" && exit

command -v apt-get >/dev/null || {
    echo 'test-tools: no apt-get here, expected Debian or Ubuntu, whose docker-registry is used' >&2
    exit 1
}
.venv/bin/python -m venv --clear "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
[ "$(id -u)" != 0 ] || apt-get -qq update
(
    cd "$dir"
    apt-get -qq -o APT::Sandbox::User=root download docker-registry
    dpkg-deb --fsys-tarfile docker-registry_*.deb | tar -x --strip-components 3 -C bin ./usr/bin
    rm docker-registry_*.deb
)
cp "$lock" "$dir/.complete"
