# Everything runs in .venv, which needs python3.11 or later, make and a package index, and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Python keeps the bytecode of tests, which takes seconds to make, also where it is told not to.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := databases mlflow oidc postgres demo polars
IMAGES := $(shell sed -n -E 's/^(FROM|    image:) ([a-z]+\/?[a-z]*:[^ @]+)@.*/\2/p' Dockerfile docker-compose.yml 2>/dev/null | sort -u)
LOCK ?= --upgrade
# A zone with half an hour of offset, west of UTC: code that reads the machine's zone by mistake fails.
TESTED_IN ?= America/St_Johns
# One worker more than the cores of a small machine: tests also wait, for servers, other processes and time limits.
WORKERS ?= 3
CHECKED := $(wildcard featurestore definitions tests benchmarks docs/shop hatch_build.py mkdocs_hooks.py)

# The first of these that runs and is new enough; a pyenv shim on the PATH may not run.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: help setup demo test all-tests lint format types imports docs quick coverage bench lock digests clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1 \t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(STAMP)  ## make .venv from requirements.lock; does nothing when it is up to date
	@:

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "no Python 3.11 or later with venv found: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ]; then "$(PYTHON)" -m venv $(VENV); fi
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock >$(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q featurestore
	@touch $@

demo: setup  ## a year of New York flights, from raw tables to a served prediction
	$(BIN)/featurestore demo

test: setup lint  ## every check and every test, in the zone TESTED_IN
	+$(MAKE) --no-print-directory --jobs 2 all-tests types imports docs

all-tests: setup
	TZ=$(TESTED_IN) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

format: setup  ## format code as `make lint` requires
	$(BIN)/ruff check --fix-only --quiet $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

types: setup
	$(BIN)/mypy --strict

imports: setup
	$(BIN)/lint-imports --no-cache

docs: setup  ## the documentation site, into build/site; a broken link or a missing docstring target fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

quick: setup  ## the fast tests only; they hardly wait
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

coverage: setup  ## run every test and report which lines and branches ran, also in the processes that tests start; also if a test fails; ONLY="-m 'not slow'" is passed on
	rm -f .coverage .coverage.*
	@failed=0; TZ=$(TESTED_IN) $(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal $(ONLY) || failed=$$?; \
		$(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$failed

bench: setup  ## the benchmarks; BENCH="..." is passed on
	$(BIN)/python -m benchmarks $(BENCH)

lock: setup  ## resolve requirements.lock again from pyproject.toml, with hashes; LOCK= keeps the versions that are in it
	$(BIN)/uv pip compile --quiet $(LOCK) --universal --python-version 3.11 --no-header --no-annotate \
		--generate-hashes $(EXTRAS:%=--extra %) --group dev --output-file requirements.lock pyproject.toml

digests:  ## print the images of Dockerfile and docker-compose.yml with the digests that their tags have now; needs docker
	@for image in $(IMAGES); do \
		echo "$$image@$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $$image)"; done

clean:  ## remove what the targets above made; data in .featurestore is kept
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find featurestore definitions tests -name __pycache__ -type d -prune -exec rm -rf {} +
