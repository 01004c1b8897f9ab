#!/usr/bin/env bash
# Renews locks/ from pyproject.toml: dev.lock, and for the image torch.lock and runtime.lock.
# Versions already locked are kept where they still fit; any option goes to pip-compile, so
# `make lock UPGRADE=1` (= --upgrade) moves all of them and `--upgrade-package NAME` one.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin

# The header names this instead of a command line with a machine's paths and indexes in it.
export CUSTOM_COMPILE_COMMAND="make lock"
# --allow-unsafe: torch needs setuptools, which pip-compile leaves out otherwise.
common=(--quiet --generate-hashes --strip-extras --allow-unsafe
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host)

"$bin/pip-compile" "${common[@]}" "$@" --extra dev --extra onnx --output-file locks/dev.lock pyproject.toml

# Started from dev.lock, so that versions and hashes are dev.lock's: the image ships the tested packages.
image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
cp locks/dev.lock "$image/all.lock"
"$bin/pip-compile" "${common[@]}" --extra image --output-file "$image/all.lock" pyproject.toml

# torch.lock: what the default index's torch brings and PyTorch's CPU index does without.
awk -v torch=locks/torch.lock -v runtime=locks/runtime.lock '
    /^#/ && !seen { header = header $0 "\n"; next }
    !seen { seen = 1; printf "%s", header >torch; printf "%s", header >runtime }
    /^[a-z0-9]/ { out = /^(torch|torchvision|triton|nvidia-.*|cuda-.*)==/ && !/^nvidia-ml-py==/ ? torch : runtime }
    { print >out }
' "$image/all.lock"
