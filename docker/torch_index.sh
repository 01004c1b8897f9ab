#!/usr/bin/env bash
# For `make image`: where TORCH_INDEX_URL is not set and the index of wheels that a Dockerfile takes
# torch from does not answer, the build argument that takes it from pip's default index instead.
#
#   docker/torch_index.sh Dockerfile.cpu
set -euo pipefail
url=$(sed -n 's/^ARG TORCH_INDEX_URL=\(..*\)$/\1/p' "$1")
[ -n "$url" ] || exit 0
# Any answer counts, even a refusal: only an index that does not answer is replaced.
python3 - "$url" <<'PYTHON' && exit 0
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
echo "make image: $url does not answer; torch comes from pip's default index: a larger image, no slower" >&2
echo '--build-arg TORCH_INDEX_URL='
