# The commands of this repository. Each makes the virtual environment that it needs, and makes it
# again when pyproject.toml or constraints.txt has changed. A machine needs Python 3.11 or later, with venv.
#
#   make demo SECONDS=20       bound the demonstration; NAME=… chooses another one
#   make test ARGS="-k late"   more arguments for pytest

PYTHON ?= python3
ARGS ?=
NAME ?=
SECONDS ?=

# `make test` is meant for a machine of two cores; as some tests wait for the disk or a process, it runs three workers.
WORKERS ?= 3

TEST := .venv/test/bin
DEMO := .venv/demo/bin
PIP := -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet -c constraints.txt --build-constraint constraints.txt
SOURCES := $(shell find src -type f -not -name '*.py[co]')

.PHONY: help demo test torture check bench clean
.DEFAULT_GOAL := help

help: ## show these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: .venv/demo/ready ## run the packaged demonstration in a fresh environment
	$(DEMO)/thalweg demo $(NAME) $(if $(SECONDS),--seconds $(SECONDS))

test: .venv/test/ready ## run the tests (under 15 minutes on two cores)
	$(TEST)/pytest -n $(WORKERS) $(ARGS)

torture: .venv/test/ready ## run the tests in their long form (hours)
	THALWEG_TORTURE=1 $(TEST)/pytest -n $(WORKERS) --timeout=36000 $(ARGS)

check: .venv/test/ready ## format, lint, house rules, links, import contracts, types, doctests (under a minute)
	$(TEST)/ruff format --check .
	$(TEST)/ruff check .
	$(TEST)/python tools/check_house.py
	$(TEST)/python tools/check_links.py
	$(TEST)/python tools/write_reference.py --check
	$(TEST)/lint-imports --no-logo --cache-dir .venv/import_linter_cache
	$(TEST)/mypy
	$(TEST)/pytest -q --doctest-modules src tools

bench: .venv/test/ready ## run the benchmarks
	$(TEST)/python -m benchmarks $(ARGS)

clean: ## remove what these commands have made
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Development works on the sources in place. The demonstration installs the package as a user would,
# without development tools: so it shows that the wheel is whole.
.venv/test/ready: pyproject.toml constraints.txt
	$(call environment,.venv/test)
	$(TEST)/python $(INSTALL) --editable . --group check
	@touch $@

.venv/demo/ready: pyproject.toml constraints.txt README.md LICENSE NOTICE $(SOURCES)
	$(call environment,.venv/demo)
	$(DEMO)/python $(INSTALL) .
	@touch $@

# The pip of an older Python does not know dependency groups: the environment gets the pinned one first.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is not Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf $(1)
	$(PYTHON) -m venv $(1)
	$(1)/bin/python $(PIP) install --quiet --upgrade -c constraints.txt pip
endef
