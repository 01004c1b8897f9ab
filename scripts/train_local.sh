#!/usr/bin/env bash
# `make train`: the container's job without Docker, in a copy of the /opt/ml tree under local/.
# With the word `best`, `make best`: the best recipe for a budget of time, in such a tree, too.
#   RID=DIR ROOFLINE=DIR AIRS=DIR   data as downloaded; OWN=DIR one's own (docs/datasets.md)
#   without any                     synthetic data, written once
#   MODEL=PATH                      the model to start from: a model folder or a model.tar.gz
#   SET="key=value ..."             hyperparameters
#   HOURS=H                         of `make best`: the budget
# Every choice of data and settings has a tree of its own, so that runs can be compared and the same
# call resumes where the last one ended. local/latest is a link to the newest tree. A call that comes
# to nothing leaves none.
set -euo pipefail
cd "$(dirname "$0")/.."
command=${1:-train}
python=.venv/bin/python
sample=local/ml
max_name_chars=60
read -r -d '' -a settings <<<"${SET:-}" || true # of several lines, too

# The path of a folder or file without links, also of one that is not there: local/latest is another
# tree as soon as this one begins.
absolute() {
    local folder=$1 name=
    [ -d "$folder" ] || { folder=$(dirname "$1") && name=/$(basename "$1"); }
    if [ -d "$folder" ]; then
        printf '%s%s\n' "$(cd "$folder" && pwd -P)" "$name"
    else
        case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$PWD" "$1" ;; esac
    fi
}

# What a model is called after: the run's tree, where it lies in one.
model_name() {
    local name
    name=$(basename "$1" .tar.gz)
    [ "$name" != model ] || name=$(basename "$(dirname "$1")")
    printf '%s' "$name"
}

# Earlier versions named trees with a sum of each path. One that is there resumes.
earlier_tree() {
    local dir sum readable name=''
    command -v realpath >/dev/null && command -v sha256sum >/dev/null || return 0
    for dir in ${paths[@]+"${paths[@]}"}; do
        sum=$(realpath -m "$dir" | sha256sum)
        name+=-$(basename "$dir")-${sum:0:4}
    done
    [ "${#settings[@]}" -eq 0 ] || name+=$(printf -- '-%s' "${settings[@]}")
    readable=$(printf '%s' "$name" | tr -c 'A-Za-z0-9._=-' '-')
    if [ "$readable" != "$name" ] || [ "${#readable}" -gt 100 ]; then
        sum=$(printf '%s' "$name" | sha256sum)
        readable=${readable:0:100}-${sum:0:8}
    fi
    [ ! -d "local/ml$readable" ] || printf '%s' "local/ml$readable"
}

# Sets tree: the one that was made for the same, else a new one. run.txt says what a tree is for,
# since a name that people can read does not tell all choices apart.
choose_tree() {
    local name=$1 number=1
    mkdir -p local/runs
    tree=local/runs/$name
    until mkdir "$tree" 2>/dev/null && printf '%s\n' "$request" >"$tree/run.txt"; do
        if [ ! -e "$tree" ]; then
            printf 'make %s: %s cannot be made; make local/ writable\n' "$command" "$tree" >&2
            exit 2
        fi
        [ "$(cat "$tree/run.txt" 2>/dev/null)" != "$request" ] || break
        number=$((number + 1))
        tree=local/runs/$name-$number
    done
}

# The same, under a name that tells as much of the choices as a folder can show.
take_tree() {
    local readable
    readable=$(printf '%s' "${name#-}" | tr -c 'A-Za-z0-9._-' '-' | cut -c "1-$max_name_chars")
    choose_tree "$(printf '%s' "$readable" | sed -E 's/-+/-/g; s/[-.]+$//')"
}

name=
paths=() # of data and model, as given
arguments=()
request=
if [ "$command" = best ]; then
    name=-best
    request=$'best\n'
    if [ -n "${MODEL:-}" ]; then
        printf 'make best: MODEL=%s: its stages start from each other; leave it out, or use make train\n' "$MODEL" >&2
        exit 2
    fi
fi
for dataset in rid roofline airs own; do
    variable=$(printf '%s' "$dataset" | tr '[:lower:]' '[:upper:]')
    dir=${!variable:-}
    [ -n "$dir" ] || continue
    arguments+=("--$dataset" "$dir")
    paths+=("$dir")
    name+=-$(basename "$(absolute "$dir")")
    request+="$dataset $(absolute "$dir")"$'\n'
done
with_sample=
if [ "${#arguments[@]}" -eq 0 ]; then
    with_sample=yes
    name+=-sample
    request+=$'sample\n'
fi
if [ "$command" = best ] && [ -n "${HOURS:-}" ]; then
    arguments+=(--hours "$HOURS")
    name+=-$HOURS-hours
    request+="hours $HOURS"$'\n'
fi
if [ -n "${MODEL:-}" ]; then
    model=$(absolute "$MODEL")
    [ ! -e "$model/model/model.safetensors" ] || model=$model/model # a run's own folder
    arguments+=(--initial-model "$model")
    paths+=("$MODEL")
    name+=-from-$(model_name "$model")
    request+="model $model"$'\n'
fi
if [ "${#settings[@]}" -gt 0 ]; then
    while IFS= read -r setting; do
        name+=-$setting
        request+="$setting"$'\n'
    done < <(printf '%s\n' "${settings[@]}" | LC_ALL=C sort -s -t= -k1,1)
    for setting in "${settings[@]}"; do arguments+=(--set "$setting"); done
fi
request=${request%$'\n'}

# For the log and model.json, as an image has it.
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
export ROOF_MODEL_REVISION=${ROOF_MODEL_REVISION:-$revision}

if [ "${#arguments[@]}" -gt 0 ]; then
    # Before anything is drawn or made: what is wrong with the call is known at once.
    "$python" -m app "$command" --dry-run --base-dir local/none "${arguments[@]}"
fi
if [ "$command" = best ]; then
    take_tree
    exec "$python" -m app best --base-dir "$tree" ${arguments[@]+"${arguments[@]}"} --newest local/latest
fi
# make-sample writes this file last: where it exists, the sample is complete.
if [ -n "$with_sample" ] && [ ! -e "$sample/input/config/resourceconfig.json" ]; then
    "$python" -m app make-sample --base-dir "$sample"
fi

tree=$sample
if [ "${#arguments[@]}" -gt 0 ]; then
    tree=$(earlier_tree)
    if [ -z "$tree" ]; then
        take_tree
    fi
    if [ -n "$with_sample" ]; then
        # The sample's own settings hold, except those that SET names.
        mkdir -p "$tree/input/config"
        cp "$sample/input/config/hyperparameters.json" "$tree/input/config/"
        data=$sample/input/data
        arguments=(--rid "$data/rid" --roofline "$data/roofline" --airs "$data/airs" "${arguments[@]}")
    fi
fi

exec "$python" -m app train --base-dir "$tree" ${arguments[@]+"${arguments[@]}"} --newest local/latest
