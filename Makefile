# Every target sets up what it needs first; `make demo` or `make test` on a fresh clone is enough.
# Needs make, Python 3.11 or newer with pip and venv, and gcc for the crash tests.

VENV := .venv
BIN := $(VENV)/bin
# Touched after an installation; older than what it was made from means stale.
STAMP := $(VENV)/.installed
# The first interpreter that is new enough; name another one with `make PYTHON=...`. The distribution's comes first: it is
# optimised by profile, a build of one's own mostly is not, and then everything takes twice as long.
PYTHON ?= $(firstword $(foreach p,/usr/bin/python3.11 python3.11 python3 python3.12 python3.13 python3.14,\
	$(shell $(p) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/dev.txt
# Only the full set of tests needs Ray, which is large.
RAY := $(VENV)/.ray
# One more than there are cores: many tests wait for a lease, a timer or the disk.
WORKERS ?= 3
# Where `make test` has nothing to run, and where faults are beside other tests: collecting the rest takes long.
FAULTS := tests/chaos tests/crash tests/docs tests/examples tests/golden tests/power
FAULTS_TOO := tests/api tests/postgres tests/simulation tests/storage tests/surfaces
PYTEST = -n $(WORKERS) --dist worksteal --durations 10 $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cluster compiled test test-faults test-full check bench pins format docs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP) ## make .venv with everything pinned; does nothing when it is fresh

$(STAMP): pyproject.toml requirements/dev.txt
	$(if $(PYTHON),,$(error onward needs Python 3.11 or newer and found none; name one with: make PYTHON=/path/to/python))
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

$(RAY): $(STAMP)
	@$(PIP) ray
	@touch $@

demo: setup ## kill a scraper of every Italian venue again and again (COUNTRY=US: 12,579 venues)
	@$(BIN)/python examples/venues/demo.py $(ARGS)

demo-cluster: setup ## the same by three workers: one of them is killed, and the database too
	@$(BIN)/python examples/venues/cluster.py $(ARGS)

# Thousands of processes run this code in the tests. Where none of them may write what it has compiled, each would compile
# all of it again: two thirds of the time of a short command.
compiled: setup
	@$(BIN)/python -m compileall -q src tests examples tools

test: WORKERS = 4
test: compiled ## everything but what the next two and `check` run: at most 5 minutes on 2 cores
	$(BIN)/pytest -q -m "not full and not faults and not documents" $(FAULTS:%=--ignore %) $(PYTEST)

test-faults: compiled ## programs, workers and servers that are killed again and again: at most 10 minutes on 2 cores
	$(BIN)/pytest -q -m "faults and not full" $(FAULTS) $(FAULTS_TOO) $(PYTEST)

test-full: compiled $(RAY) ## all of all, a line each; hours on 2 cores
	$(BIN)/pytest -v $(PYTEST)

bench: setup ## measure against the targets and their floors
	@$(BIN)/python benchmarks/run.py $(ARGS)

# Independent of each other, so two at a time, the longest first; one failure does not hide the next.
CHECKS := check-pyright check-docs check-mypy check-layers check-generated check-lint check-format
.PHONY: $(CHECKS)

check: setup ## format, lint, types, layers, docs: at most 90 seconds on 2 cores
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target $(CHECKS)

check-format: setup
	$(BIN)/ruff format --check --output-format concise .
check-lint: setup
	$(BIN)/ruff check .
check-layers: setup
	$(BIN)/lint-imports --no-logo
check-mypy: setup
	$(BIN)/mypy
check-pyright: setup
	$(BIN)/pyright
check-generated: setup
	$(BIN)/python tools/generated.py --check
check-docs: compiled
	$(BIN)/pytest -q -p no:cacheprovider -m documents tests/docs

format: setup ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## write the generated pages of docs/reference
	$(BIN)/python tools/generated.py

pins: ## resolve the newest versions into requirements/dev.txt
	@tools/pins.sh $(PYTHON)
