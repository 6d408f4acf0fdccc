# The commands of this project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.9 python3.10 python3.13; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
CODE := mmgr workers tests benchmarks packaging
RUN_DIR := run

.DEFAULT_GOAL := help
.PHONY: help venv run test check format lint types unit bench bench-docs system-packages clean
.PHONY: wheels srpm rpm install uninstall man build/rpm/sources

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

# What "check" has run already is not run again by "make check test".
TESTS := $(if $(filter check,$(MAKECMDGOALS)),tests/integration tests/interop tests/packaging,)

test: system-packages $(VENV)/.test ## the whole suite; as root on Debian it installs Postfix and real milters first
	$(BIN)/python -m pytest $(TESTS)

bench: system-packages $(VENV)/.test ## ratios beside Postfix alone (BENCH=quick: under 2 minutes; BENCH=full: every combination)
	$(BIN)/python -m benchmarks

bench-docs: system-packages $(VENV)/.test ## the same, and put the figures into docs/performance.md
	$(BIN)/python -m benchmarks --publish

# ---- packages, see docs/packaging.md

WHEELS := build/wheels
RPM_TOP := build/rpm
# which releases of EL `make rpm` builds for, where it does not run on one
EL ?= 8 9
# Pythons that byte code is made for, where it does not run on EL; the package serves all of its Pythons without, too
COMPILE_PYTHONS ?= $(foreach v,3.12 3.11 3.9,$(shell python$(v) -c 'import sys; print(sys.executable)' 2>/dev/null))
RPM_FLAGS := --define "_topdir $(CURDIR)/$(RPM_TOP)"
FOREIGN_FLAGS = --nodeps --define "rhel $$el" --define "dist .el$$el" --define "build_python $(PYTHON)" \
    --define "compile_pythons $(COMPILE_PYTHONS)"
RPM_BUILD = if [ -e /etc/redhat-release ]; then rpmbuild $(RPM_FLAGS) $(1) $(RPM_TOP)/SPECS/milter-manager.spec; \
    else for el in $(EL); do rpmbuild $(RPM_FLAGS) $(FOREIGN_FLAGS) $(1) $(RPM_TOP)/SPECS/milter-manager.spec || exit 1; done; fi

wheels: ## fetch the pinned run-time packages (needs PyPI unless they are in build/wheels)
	@$(PYTHON) -B packaging/wheels.py check $(WHEELS) 2>/dev/null || { \
	    $(MAKE) --no-print-directory $(BIN)/python && $(BIN)/python -B packaging/wheels.py fetch $(WHEELS); }

$(RPM_TOP)/sources: wheels
	@command -v rpmbuild >/dev/null || { echo "there is no rpmbuild (EL: dnf install rpm-build, Debian: apt-get install rpm)" >&2; exit 1; }
	@mkdir -p $(RPM_TOP)/SOURCES && cp -p $(WHEELS)/*.whl $(RPM_TOP)/SOURCES/
	@$(PYTHON) -B packaging/source_archive.py $(RPM_TOP)

srpm: $(RPM_TOP)/sources ## the source RPM, in build/rpm/SRPMS; it builds offline
	@$(call RPM_BUILD,-bs --quiet)
	@ls $(RPM_TOP)/SRPMS/*.src.rpm

rpm: $(RPM_TOP)/sources ## the RPM, in build/rpm/RPMS (EL=8 or EL=9 for one release alone)
	@$(call RPM_BUILD,-bb --quiet)
	@ls $(RPM_TOP)/RPMS/*/*.rpm

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
ENVIRONMENT_FILE ?= $(SYSCONFDIR)/$(if $(wildcard /etc/debian_version),default,sysconfig)/milter-manager
PLACES = --destdir "$(DESTDIR)" --prefix $(PREFIX) --sysconfdir $(SYSCONFDIR) --environment-file $(ENVIRONMENT_FILE) \
    $(if $(UNIT_PREFIX),--unit-prefix $(UNIT_PREFIX))
NEWER_SYSTEMD = $(shell systemctl --version 2>/dev/null | awk 'NR == 1 && $$2 >= 247 {print "--newer-systemd"}')

# UNIT_PREFIX: where units go if systemd reads none below PREFIX, as with PREFIX=/opt/milter-manager UNIT_PREFIX=/usr/local
install: ## install below PREFIX (/usr/local); DESTDIR= stages it, PYTHON_ENV=DIR runs it from a virtual environment
ifeq ($(PYTHON_ENV),)
	@$(MAKE) --no-print-directory wheels
	$(PYTHON) -B packaging/lay_out.py install --record $(PLACES) $(NEWER_SYSTEMD) --wheels $(WHEELS) \
	    $(foreach p,$(wildcard /usr/bin/python3.9 /usr/bin/python3.11 /usr/bin/python3.12),--compile-with $(p))
else
	$(PYTHON) -B packaging/lay_out.py install --record $(PLACES) $(NEWER_SYSTEMD) --env $(PYTHON_ENV)
endif
	@echo "next: systemd-sysusers && systemd-tmpfiles --create milter-manager.conf && $(PREFIX)/libexec/milter-manager/join-groups"
	@echo "      systemctl daemon-reload && systemctl enable --now milter-manager"

uninstall: ## remove what `make install` put there, except configuration that was edited
	$(PYTHON) -B packaging/lay_out.py uninstall $(PLACES)

man: $(VENV)/.run ## write the manual pages in docs/man anew from what --help says
	$(BIN)/python -B packaging/manual.py

system-packages:
	@tests/support/install-system-packages

clean: ## remove what make and the tests made
	rm -rf $(VENV) $(RUN_DIR) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
