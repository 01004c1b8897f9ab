#!/usr/bin/env bash
# Where torch comes from if TORCH_INDEX_URL is not set: the index of wheels that a Dockerfile names,
# or nothing, which is pip's default index, if that one does not answer. For images and for .venv.
#
#   docker/torch_index.sh Dockerfile.cpu
set -euo pipefail
url=$(sed -n 's/^ARG TORCH_INDEX_URL=\(..*\)$/\1/p' "$1")
[ -n "$url" ] || exit 0
# Any answer counts, even a refusal: only an index that does not answer is replaced.
if "${PYTHON:-python3}" - "$url" <<'PYTHON'; then
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(f"{sys.argv[1]}/torch/", timeout=20).close()
except urllib.error.HTTPError:
    pass
except (OSError, ValueError):
    sys.exit(1)
PYTHON
    printf '%s\n' "$url"
else
    echo "make: $url does not answer; torch comes from pip's default index: larger, no slower" >&2
fi
