#!/usr/bin/env bash
# Says what is meant by words of the form NAME=VALUE that a call of make has and no target reads.
#   scripts/explain_words.sh NAME...
set -euo pipefail

known=(RID ROOFLINE AIRS OWN MODEL SET HOURS DOCS UPGRADE PYTHON)

explain() {
    local name=$1 upper word
    upper=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]') # bash 3.2, of macOS, has no ${name^^}
    for word in "${known[@]}"; do
        if [ "$upper" = "$word" ]; then
            printf '%s: did you mean %s=...? ' "$name" "$word"
            return
        fi
    done
    case $upper in
        DATA | DATASET | DATASETS | DIR | PHOTOS | IMAGES)
            printf '%s: name the dataset: RID=DIR ROOFLINE=DIR AIRS=DIR OWN=DIR. ' "$name" ;;
        *) printf '%s: unknown; settings stand in SET: SET="%s=... ...". ' "$name" "$name" ;;
    esac
}

for name in "$@"; do explain "$name"; done
printf 'make alone lists all that there is'
