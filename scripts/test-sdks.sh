#!/usr/bin/env bash
# SageMaker's SDKs for the tests that deploy the image with them, each in an environment of its own:
# .venv-sdk2 and .venv-sdk3. Of SDK 3 only the core, which has its local mode; its other parts bring
# torch and MLflow.
#
#   scripts/test-sdks.sh          makes both; does nothing where they are up to date
#   scripts/test-sdks.sh lock     renews scripts/test-sdk2.lock and -sdk3.lock, with the newest versions
#
# Needs .venv (make setup).
set -euo pipefail
cd "$(dirname "$0")/.."

for name in sdk2 sdk3; do
    lock=scripts/test-$name.lock
    dir=.venv-$name
    if [ "${1:-}" = lock ]; then
        case $name in sdk2) package='sagemaker>=2.250,<3' ;; sdk3) package='sagemaker-core>=2' ;; esac
        printf '%s\n' "$package" |
            UV_NATIVE_TLS=true .venv/bin/uv pip compile --quiet --upgrade --universal \
                --python-version 3.11 --generate-hashes \
                --custom-compile-command 'scripts/test-sdks.sh lock' \
                --no-emit-index-url --no-emit-find-links --output-file "$lock" -
        continue
    fi
    # The copy is written last, so an interrupted install is started again from nothing.
    cmp -s "$lock" "$dir/.complete" && continue
    .venv/bin/python -m venv --clear "$dir"
    "$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
    cp "$lock" "$dir/.complete"
done
