# The commands of this project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.9 python3.10 python3.13; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
CODE := mmgr workers tests benchmarks
RUN_DIR := run

.DEFAULT_GOAL := help
.PHONY: help venv run test check format lint types unit bench bench-docs system-packages clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

venv: $(VENV)/.run ## make the virtual environment with what the program needs

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.9 found; install one (EL 8: dnf install python39) or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) can't make a virtual environment (Debian: apt-get install python3-venv)" >&2; \
	    [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || exit 1; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -qq --retries 5 --upgrade 'pip>=21.3'

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -qq --retries 5 --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -qq --retries 5 --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install -qq --retries 5 --editable '.[test,check]'
	@touch $@

run: $(VENV)/.run ## run milter manager here, in the foreground, on run/milter-manager.sock
	@mkdir -p $(RUN_DIR)
	@if [ "$$(id -u)" -eq 0 ]; then chown nobody $(RUN_DIR); fi
	@exec $(BIN)/milter-manager --samples --no-daemon $$([ "$$(id -u)" -ne 0 ] || echo -u nobody) -s unix:$(RUN_DIR)/milter-manager.sock \
	    --control-spec unix:$(RUN_DIR)/control.sock

check: format lint types unit ## format, lint, types, unit and architecture tests (under a minute)

format: $(VENV)/.check
	$(BIN)/ruff format --check $(CODE)

lint: $(VENV)/.check
	$(BIN)/ruff check $(CODE)

types: $(VENV)/.check
	$(BIN)/mypy

unit: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/unit tests/architecture

test: system-packages $(VENV)/.test ## the whole suite; as root on Debian it installs Postfix and real milters first
	$(BIN)/python -m pytest

bench: system-packages $(VENV)/.test ## ratios beside Postfix alone (BENCH=quick: under 2 minutes; BENCH=full: every combination)
	$(BIN)/python -m benchmarks

bench-docs: system-packages $(VENV)/.test ## the same, and put the figures into docs/performance.md
	$(BIN)/python -m benchmarks --publish

system-packages:
	@tests/support/install-system-packages

clean: ## remove what make and the tests made
	rm -rf $(VENV) $(RUN_DIR) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
