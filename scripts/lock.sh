#!/usr/bin/env bash
# Renews locks/ from pyproject.toml, each for all systems and versions of Python, and asks whether
# those of the project have wheels of every package (scripts/check_locks.sh).
#
#   torch.lock    torch, torchvision, and the libraries of CUDA that the default index's wheels need
#   runtime.lock  every other package of training, prediction and serving: `make train` installs both
#   image.lock    packages that only the images have beside
#   dev.lock      packages that tests, checks and this script need beside, those of `export --onnx` too
#
# Versions already locked are kept where they still fit; any option goes to uv, so
# `make lock UPGRADE=1` (= --upgrade) moves all of them and `--upgrade-package NAME` one.
# uv reads no settings of pip's: UV_DEFAULT_INDEX names another index.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${VENV:-.venv}/bin/uv

# The system's certificates, to which a company's own may have been added, as pip does.
export UV_NATIVE_TLS=${UV_NATIVE_TLS-true}
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

# The header names `make lock` instead of a command line with a machine's paths and indexes in it.
# One version for all versions of Python, so that what is tested on one is what runs on another.
compile() {
    "$uv" pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
        --generate-hashes --custom-compile-command 'make lock' \
        --no-emit-index-url --no-emit-find-links --output-file "$@" pyproject.toml
}

# All versions are decided together; the parts then start from them.
cat locks/*.lock >"$parts/all"
compile "$parts/all" --extra image --extra dev --extra onnx "$@"
for part in base image dev; do cp "$parts/all" "$parts/$part"; done
compile "$parts/base"
compile "$parts/image" --extra image
compile "$parts/dev" --extra dev --extra onnx

# Entries of one file that another does not have: a package, or a package on further systems.
beside() {
    awk '
        function is_entry() { return /^[A-Za-z0-9]/ }
        NR == FNR { if (is_entry()) known[$0]; next }
        /^#/ && !seen { print; next }
        is_entry() { seen = 1; shown = !($0 in known) }
        shown { print }
    ' "$2" "$1"
}
beside "$parts/image" "$parts/base" >locks/image.lock
beside "$parts/dev" "$parts/base" >locks/dev.lock

# torch.lock: what the default index's torch brings and PyTorch's CPU index does without.
awk -v torch=locks/torch.lock -v runtime=locks/runtime.lock '
    /^#/ && !seen { header = header $0 "\n"; next }
    !seen { seen = 1; printf "%s", header >torch; printf "%s", header >runtime }
    /^[A-Za-z0-9]/ { out = /^(torch|torchvision|triton|nvidia-.*|cuda-.*)==/ && !/^nvidia-ml-py==/ ? torch : runtime }
    { print >out }
' "$parts/base"

scripts/check_locks.sh
