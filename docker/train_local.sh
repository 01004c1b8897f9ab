#!/usr/bin/env bash
# `make train`: the container's job without Docker, in a copy of the /opt/ml tree under local/.
#   RID=DIR                  data in RID's layout; without it a synthetic sample, written once
#   SET="key=value ..."      hyperparameters
# Every setting has a tree of its own, so that runs can be compared and the same call goes on where
# the last one ended.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
base_dir=local/ml
sample=$base_dir/input/data/rid
read -r -a settings <<<"${SET:-}"
rid=${RID:-}

name=
if [ -n "$rid" ]; then
    # Two folders may share a name: without the sum the second would go on with the first one's model.
    sum=$(realpath -m "$rid" | sha256sum)
    name=-$(basename "$rid")-${sum:0:4}
else
    # The last file that make-sample writes: where it is, all is.
    [ -e "$base_dir/input/config/resourceconfig.json" ] ||
        "$python" -m app make-sample --base-dir "$base_dir"
fi
if [ "${#settings[@]}" -gt 0 ]; then
    rid=${rid:-$sample}
    name+=$(printf -- '-%s' "${settings[@]}")
fi
base_dir+=$(printf '%s' "$name" | tr -c 'A-Za-z0-9._=-' '-')
if [ "$rid" = "$sample" ]; then
    # The sample's own settings hold but for those that SET names.
    mkdir -p "$base_dir/input/config"
    cp local/ml/input/config/hyperparameters.json "$base_dir/input/config/"
fi

arguments=(--base-dir "$base_dir")
if [ -n "$rid" ]; then arguments+=(--rid "$rid"); fi
for setting in ${settings[@]+"${settings[@]}"}; do arguments+=(--set "$setting"); done
exec "$python" -m app train "${arguments[@]}"
