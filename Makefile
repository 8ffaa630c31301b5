# Every target sets up what it needs in .venv, from Python 3.11+ alone, and again in seconds when nothing changed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/lock.txt
BENCH_LOCK := requirements/bench.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak check bench lock clean

help: ## what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(VENV)/.ready ## the virtual environment, from the lock file

$(VENV)/.ready: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ringfence needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=python3.11, say."; exit 2; }
	@echo "Setting up $(VENV) from $(LOCK) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.bench: $(VENV)/.ready $(BENCH_LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(BENCH_LOCK)
	@touch $@

demo: setup ## the whole story on the embedded engine
	@$(BIN)/ringfence demo

# Three workers on two cores: much of the time is spent waiting for servers.
test: setup ## every test, servers included, under ten minutes on two cores
	@$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not soak"

soak: setup ## the long forms of the tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m soak

check: setup ## style, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(VENV)/.bench ## speed, as ratios against named peers in the same run
	@$(BIN)/python -m bench

lock: setup ## pin every dependency again, with hashes, naming no registry host
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --all-extras --group dev pyproject.toml -o $(LOCK)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --all-extras --group dev --group bench pyproject.toml -o $(BENCH_LOCK)

clean: ## removes the environment and the demo's folder
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
