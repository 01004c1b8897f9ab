#!/usr/bin/env bash
# Makes .venv with the packages of training, prediction and serving, by their locks.
#
#   scripts/install.sh PYTHON       the interpreter that .venv is made with
#
# TORCH_INDEX_URL names the index that torch and torchvision come from; empty, it is pip's default
# index. If it is not set, Linux machines without an NVIDIA GPU take PyTorch's CPU index, as the CPU
# image does: its wheels are a fraction of the size, and as fast there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
scripts/check_python.sh "$python"

if [ -n "${TORCH_INDEX_URL+set}" ]; then
    url=$TORCH_INDEX_URL
elif [ "$(uname -s)" != Linux ] || [ -e /dev/nvidiactl ] || nvidia-smi -L >/dev/null 2>&1; then
    url=
else
    url=$(PYTHON=$python docker/torch_index.sh Dockerfile.cpu)
fi

"$python" -m venv --clear .venv
# pip would compile 14,000 modules for half a minute. A job imports a sixth of them, which Python
# compiles on import; the environment may keep it from storing that, and each start would compile.
install=(.venv/bin/python -m pip --disable-pip-version-check install --no-compile)
docker/install_torch.sh locks/torch.lock "$url" .venv/bin/python "${install[@]}"
"${install[@]}" --no-deps --require-hashes -r locks/runtime.lock
env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c 'import app.training.train, app.report.report'
