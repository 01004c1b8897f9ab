# Needs Python 3.11 to 3.13, make and bash; make 3.81 and bash 3.2 will do, which macOS has. `image`
# and `image-test` need a Docker engine with BuildKit.
# Everything is installed into .venv and written into local/; both are git-ignored.

SHELL := /bin/bash
# make 3.81 does not know these, so no recipe relies on them.
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
python := .venv/bin/python
# Shell words: cores that may be used. nproc is not everywhere.
cores = $$($(python) -c 'from app.resources.cores import num_cores; print(num_cores())')
shell_scripts = $(wildcard *.sh scripts/*.sh docker/*.sh) .ci/run .ci/docker-up docker/train

# Where torch and the images' base come from: where the environment names them, else as the
# Dockerfiles say. TORCH_INDEX_URL set but empty is pip's default index, which also stands in for one
# that is not set and does not answer.
build_args := $(foreach name,TORCH_INDEX_URL BASE_IMAGE,$(if $(filter undefined,$(origin $(name))),,--build-arg $(name)=$($(name))))

# Words of the call that no target reads would be a wish that nobody hears: rid=DIR, epochs=3. Those
# in the environment are not looked at.
words := RID ROOFLINE AIRS OWN MODEL SET HOURS DOCS UPGRADE PYTHON TORCH_INDEX_URL BASE_IMAGE REVISION \
    MAKEFLAGS MAKEOVERRIDES SHELL
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq ($(filter-out $(words),$(given)),)
$(error $(shell scripts/explain_words.sh $(filter-out $(words),$(given))))
endif

.PHONY: help setup train best phases test check lock image image-cpu image-gpu image-test bench clean

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.complete-dev  ## Make .venv with every package that training, tests and checks need

# Each file is written last, so an interrupted install is started again.
.venv/.complete: locks/torch.lock locks/runtime.lock
	MAKECMDGOALS='$(MAKECMDGOALS)' scripts/install.sh $(PYTHON)
	@touch $@

.venv/.complete-dev: .venv/.complete locks/dev.lock
	$(python) -m pip --disable-pip-version-check install --no-compile --no-deps \
	    --require-hashes -r locks/dev.lock
	@touch $@

# make exports these variables to the script as they were given.
train: .venv/.complete  ## Train on a synthetic sample; RID=DIR ROOFLINE=DIR AIRS=DIR OWN=DIR: on these; MODEL=PATH: from that one; SET="key=value ..."
	@scripts/train_local.sh

best: .venv/.complete  ## Train the best recipe for 1.5 hours, in stages, and score it; RID= ... OWN=, SET= as for train; HOURS=0.25: for less
	@scripts/train_local.sh best

phases: .venv/.complete  ## Train on ten samples, then on more, up to all data; writes local/phases; RID=, SET= as for train; DOCS=1: docs/phases.md, too
	$(python) -m app phases --base-dir local/phases $(if $(DOCS),--docs docs/phases.md) \
	    $(if $(RID),--rid "$(RID)") $(if $(ROOFLINE),--roofline "$(ROOFLINE)") $(if $(AIRS),--airs "$(AIRS)") $(if $(OWN),--own "$(OWN)") \
	    $(foreach setting,$(SET),--set "$(setting)")

# A file's tests stay together, for the fixtures they share. One more than there are cores, since
# tests wait for other processes and the disk. Some train networks, of 1 GB each: more than four at
# once would not fit where there are many cores. Compiled modules are kept, whatever the environment
# says: tests start a hundred processes that import them.
test: setup  ## Run every test that needs no Docker and no GPU
	env -u PYTHONDONTWRITEBYTECODE $(python) -m pytest --numprocesses $$(($(cores) + 1)) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: setup  ## Formatting, lint, types, import order, shell scripts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	PATH="$$PWD/.venv/bin:$$PATH" shellcheck $(shell_scripts)

lock: setup  ## Renew locks/ from pyproject.toml; UPGRADE=1: with the newest versions
	scripts/lock.sh $(if $(UPGRADE),--upgrade)

image: image-cpu image-gpu  ## Build roof-model:cpu and roof-model:gpu (TORCH_INDEX_URL, BASE_IMAGE: docs/images.md)

image-cpu image-gpu: image-%:
	DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build -f Dockerfile.$* -t roof-model:$* \
	    --build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)" \
	    $(build_args) $(if $(filter undefined,$(origin TORCH_INDEX_URL)),--build-arg TORCH_INDEX_URL="$$(docker/torch_index.sh Dockerfile.$*)") .

# Each process of the tests has a core for its containers.
image-test: setup  ## Run the tests of the built images
	$(python) -m pytest -m docker --numprocesses $(cores) --maxprocesses 4 --dist loadfile tests/container

# What trains networks to compare what they learn takes hours, and what asks for a model has to be
# told which: these are run by name.
benchmarks = $(filter-out __init__ ablation calibration fine_tune quality real, $(basename $(notdir $(wildcard bench/*.py))))

bench: setup  ## Run the benchmarks that take minutes
	@for name in $(benchmarks); do echo "== $$name"; $(python) -m "bench.$$name" || exit; done

clean:  ## Remove .venv and caches; local/ with its models stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
