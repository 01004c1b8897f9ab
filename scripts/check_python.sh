#!/usr/bin/env bash
# For `make setup`: is this the Python that .venv is made with, and can it make one?
#
#   scripts/check_python.sh python3
set -euo pipefail
python=$1

fail() {
    echo "make: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "there is no $python; install Python 3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] ||
    fail "$python is Python $version, expected 3.11; install Python 3.11 and name it:" \
        "make ${MAKECMDGOALS:-setup} PYTHON=python3.11"
"$python" -c 'import ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
