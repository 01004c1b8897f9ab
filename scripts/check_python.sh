#!/usr/bin/env bash
# For `make setup`: is this a Python that .venv can be made with, on a system that the locks are for?
#
#   scripts/check_python.sh python3
set -euo pipefail
python=$1

fail() {
    echo "make: $*" >&2
    exit 1
}

# `python -m venv --clear` would empty the folder that the link leads to.
[ ! -L .venv ] || fail ".venv is a link to $(readlink .venv), expected a folder of its own or" \
    "none; remove the link: rm .venv"
command -v "$python" >/dev/null || fail "there is no $python; install Python 3.11, 3.12 or 3.13"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
    3.11 | 3.12 | 3.13) ;;
    *) fail "$python is Python $version, expected 3.11, 3.12 or 3.13; install one of them and name" \
        "it: make ${MAKECMDGOALS:-setup} PYTHON=python3.13" ;;
esac
system=$("$python" -c 'import platform; print(platform.system(), platform.machine())')
case $system in
    'Linux x86_64' | 'Linux aarch64' | 'Darwin arm64') ;;
    *) fail "$python runs on $system, expected Linux x86_64, Linux aarch64 or Darwin arm64 (macOS);" \
        "torch has no wheels for others" ;;
esac
"$python" -c 'import ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
