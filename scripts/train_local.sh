#!/usr/bin/env bash
# `make train`: the container's job without Docker, in a copy of the /opt/ml tree under local/.
#   RID=DIR ROOFLINE=DIR AIRS=DIR   data as downloaded; OWN=DIR one's own (docs/datasets.md)
#   without any                     synthetic data, written once
#   MODEL=PATH                      the model to start from: a model folder or a model.tar.gz
#   SET="key=value ..."             hyperparameters
# Every choice of data and settings has a tree of its own, so that runs can be compared and the same
# call resumes where the last one ended.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
base_dir=local/ml
sample=$base_dir/input/data
read -r -d '' -a settings <<<"${SET:-}" || true # of several lines, too

# Two folders may share a name: without the sum the second would resume with the first one's model.
name_of() {
    local sum
    sum=$(realpath -m "$1" | sha256sum)
    printf -- '-%s-%s' "$(basename "$1")" "${sum:0:4}"
}

name=
datasets=()
for dataset in rid roofline airs own; do
    variable=${dataset^^}
    dir=${!variable:-}
    [ -n "$dir" ] || continue
    datasets+=("--$dataset" "$dir")
    name+=$(name_of "$dir")
done
if [ "${#datasets[@]}" -eq 0 ]; then
    # make-sample writes this file last: where it exists, the sample is complete.
    [ -e "$base_dir/input/config/resourceconfig.json" ] ||
        "$python" -m app make-sample --base-dir "$base_dir"
fi
if [ -n "${MODEL:-}" ]; then
    initial_model=(--initial-model "$MODEL")
    name+=$(name_of "$MODEL")
fi
if [ "${#settings[@]}" -gt 0 ]; then
    name+=$(printf -- '-%s' "${settings[@]}")
fi
if [ -n "$name" ] && [ "${#datasets[@]}" -eq 0 ]; then
    datasets=(--rid "$sample/rid" --roofline "$sample/roofline" --airs "$sample/airs")
    own_settings=local/ml/input/config/hyperparameters.json
fi
# A folder's name has at most 255 bytes. One that was shortened, or lost characters, tells runs apart
# by the sum of what it was made of.
readable=$(printf '%s' "$name" | tr -c 'A-Za-z0-9._=-' '-')
if [ "$readable" != "$name" ] || [ "${#readable}" -gt 100 ]; then
    sum=$(printf '%s' "$name" | sha256sum)
    readable=${readable:0:100}-${sum:0:8}
fi
base_dir+=$readable
if [ -n "${own_settings:-}" ]; then
    # The sample's own settings hold, except those that SET names.
    mkdir -p "$base_dir/input/config"
    cp "$own_settings" "$base_dir/input/config/"
fi

# For the log and model.json, as an image has it.
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
export ROOF_MODEL_REVISION=${ROOF_MODEL_REVISION:-$revision}
arguments=(--base-dir "$base_dir" ${datasets[@]+"${datasets[@]}"} ${initial_model[@]+"${initial_model[@]}"})
for setting in ${settings[@]+"${settings[@]}"}; do arguments+=(--set "$setting"); done
exec "$python" -m app train "${arguments[@]}"
