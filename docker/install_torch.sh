#!/usr/bin/env bash
# Installs torch and torchvision as locked, for the images and for .venv.
#
#   docker/install_torch.sh LOCK INDEX_URL PYTHON PIP...
#
#   LOCK        locks/torch.lock, which has the hashes of the default index's wheels
#   INDEX_URL   PyTorch's index to take both from; empty: pip's default index
#   PYTHON      the interpreter to install for
#   PIP...      the command that installs for it: pip install, with options or without
set -euo pipefail
lock=$1 url=$2 python=$3
shift 3

if [ -z "$url" ]; then
    exec "$@" --no-deps --require-hashes -r "$lock"
fi
# The lock has no hashes for wheels of other indexes, so there the version alone is pinned, and
# wheels with CUDA name the libraries that they need themselves. The rest is in runtime.lock.
wanted=$(mktemp -d)
trap 'rm -rf "$wanted"' EXIT
grep -oE '^(torch|torchvision)==[^ ]+' "$lock" >"$wanted/torch.txt"
"$@" --no-deps --index-url "$url" -r "$wanted/torch.txt"
"$python" - >"$wanted/cuda.txt" <<'PYTHON'
from importlib.metadata import requires

for line in requires("torch") or []:
    if line.startswith(("cuda", "nvidia", "triton")):
        print(line)
PYTHON
[ ! -s "$wanted/cuda.txt" ] || "$@" --index-url "$url" -r "$wanted/cuda.txt"
