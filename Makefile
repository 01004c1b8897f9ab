# Needs make, bash and Python 3.11; `image` and `image-test` need a Docker engine with BuildKit.
# Everything is installed into .venv and written into local/; both are git-ignored.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
IMAGE ?= roof-model:cpu
python := .venv/bin/python
shell_scripts := .ci/run .ci/docker-up docker/train docker/lock.sh docker/train_local.sh

# Which wheel index torch comes from in the image. Unset: the Dockerfile's default; set but empty:
# pip's default index. See Dockerfile.cpu.
torch_index := $(if $(filter undefined,$(origin TORCH_INDEX_URL)),,--build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL))

.PHONY: help setup train test check lock image image-test bench clean

help:  ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: .venv/.complete  ## Make .venv with every package of locks/dev.lock (downloads 3 GB the first time)

# The file is written last, so an interrupted install is started again from nothing.
.venv/.complete: locks/dev.lock
	@command -v $(PYTHON) >/dev/null || { echo 'make: there is no $(PYTHON); install Python 3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit(f"make: $(PYTHON) is Python {v[0]}.{v[1]}, expected 3.11; install Python 3.11 and name it: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(python) -m pip install --disable-pip-version-check --no-deps --require-hashes -r locks/dev.lock
	@touch $@

# make exports these variables to the script as they were given.
train: setup  ## Train on a synthetic sample; RID=DIR ROOFLINE=DIR AIRS=DIR: on these; SET="key=value ..."
	@docker/train_local.sh

test: setup  ## Run every test that needs no Docker and no GPU
	$(python) -m pytest

check: setup  ## Formatting, lint, types, import order, shell scripts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/shellcheck $(shell_scripts)

lock: setup  ## Make locks/ anew from pyproject.toml; UPGRADE=1: with the newest versions
	docker/lock.sh $(if $(UPGRADE),--upgrade)

image:  ## Build roof-model:cpu; TORCH_INDEX_URL= takes torch from pip's default index
	DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build -f Dockerfile.cpu -t $(IMAGE) \
	    --build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)" $(torch_index) .

image-test: setup  ## Run the tests of the built image
	ROOF_IMAGE=$(IMAGE) $(python) -m pytest -m docker tests/container

bench: setup  ## Run the benchmarks
	@for script in bench/*.py; do echo "== $$script"; $(python) "$$script"; done

clean:  ## Remove .venv and caches; local/ with its models stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
