# Everything a person can do here. Each target sets up what it needs by itself, in .venv, from constraints.txt.
# Needs python3 >= 3.11 with venv, make, and a package index that pip can reach.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
CORE := -e core -e adapters
ALL := $(CORE) -e provider_airflow -e dagster_integration -e kedro_hook
SUITE := -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-gpu faults lint format bench docs lock clean

help: ## what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## the example, end to end: a real site, a job on a host behind SSH, memory and lineage
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/site_embeddings/demo.py

test: $(VENV)/.test ## lint, then every test
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest $(SUITE)

test-fast: $(VENV)/.test ## the tests that need no server and no long wait
	$(BIN)/python -m pytest $(SUITE) -x tests/core tests/adapters --deselect tests/core/dispatch

test-gpu: ## jobs on this machine's own GPUs, with torch where there is one; no network needed (docs/gpus.md)
	@DRAWBAR_TEST_GPU=1 PYTHONPATH=core $$(test -x $(BIN)/pytest && echo $(BIN)/python || echo $(PYTHON)) -m pytest \
		-c /dev/null --rootdir=. --import-mode=importlib -p no:cacheprovider -rs tests/gpu

faults: $(VENV)/.test ## kill, stop and cut off clients and hosts at random moments, for a quarter of an hour
	DRAWBAR_FAULT_ROUNDS=$${DRAWBAR_FAULT_ROUNDS:-40} $(BIN)/python -m pytest $(SUITE) tests/faults

lint: $(VENV)/.test ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.test ## rewrite the code in the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## the figures, each beside its peer in the same run
	$(BIN)/python -W ignore tests/benchmarks/bench.py

docs: $(VENV)/.test ## run every piece of code in README and docs
	$(BIN)/python -m pytest tests/docs

lock: $(VENV)/.uv ## choose the versions in constraints.txt anew
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-emit-index-url --no-annotate --no-header \
		--no-emit-package drawbar --no-emit-package drawbar-adapters \
		--group pyproject.toml:test --group pyproject.toml:lint --group pyproject.toml:bench \
		$(wildcard */pyproject.toml) -o constraints.txt
	@echo "uv==$$($(UV) --version | cut -d ' ' -f 2)" >> constraints.txt

clean: ## remove what was set up and made here
	rm -rf $(VENV) .drawbar build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.uv:
	@test -n "$(PYTHON)" || { echo "drawbar needs Python 3.11 or later with its venv module."; \
		echo "  found: $$(python3 --version 2>&1)"; \
		echo "  do: install one (on Debian: apt-get install python3-venv), or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@touch $@

$(VENV)/.demo: $(VENV)/.uv constraints.txt pyproject.toml core/pyproject.toml adapters/pyproject.toml
	@echo "setting up $(VENV) …"
	@$(UV) pip install --quiet --python $(BIN)/python -c constraints.txt $(CORE) --group example
	@touch $@

$(VENV)/.test: $(VENV)/.uv constraints.txt $(wildcard pyproject.toml */pyproject.toml)
	@echo "setting up $(VENV) …"
	@$(UV) pip install --quiet --python $(BIN)/python -c constraints.txt $(ALL) --group test --group lint
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.test
	@$(UV) pip install --quiet --python $(BIN)/python -c constraints.txt --group bench
	@touch $@
