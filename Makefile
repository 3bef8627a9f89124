# Everything a fresh clone needs is Python 3.11 or newer; each target sets up what it needs.
# On Windows without make, README.md shows the same in PowerShell.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
WORKERS ?= 2
# More for the command: make demo ARGS=--serve, make test PYTEST_ARGS='-k config'
ARGS        ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lint types floors kill-matrix bench docs constraints clean

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## .venv with everything in it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "watchrender needs Python 3.11 or newer; $(PYTHON) is not. Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@extras=media,test; \
	node -e 'process.exit(process.versions.node.split(".")[0] >= 18 ? 0 : 1)' 2>/dev/null || extras=$$extras,node; \
	echo "Installing watchrender with the extras $$extras into $(VENV)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$$extras]"
	@touch $@

demo: setup ## A hot folder, sample jobs and a simulated After Effects, in a temporary folder
	$(BIN)/watchrender demo $(ARGS)

test: setup ## All tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

check: lint types floors test ## What CI runs: format, lint, types, floors, tests

lint: setup ## Format and lint, changing nothing
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet

types: setup ## mypy --strict, as each of the three systems sees the code
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

floors: setup ## Who may import whom
	$(BIN)/lint-imports

format: setup ## Format, and mend what can be mended by itself
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

kill-matrix: setup ## End the service at every effect on disk, restart it, and look; rewrites docs/reliability.md
	rm -rf build/harm
	WATCHRENDER_TEST_MATRIX=whole $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -v \
	  tests/test_kill_matrix.py tests/test_random_kills.py tests/test_storage_harm.py $(PYTEST_ARGS); \
	found=$$?; $(BIN)/python docs/reliability.py; exit $$found

bench: setup ## All benchmarks; rewrites docs/performance.md
	$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## Write what is derived from the code
	$(BIN)/python docs/generate.py

constraints: ## Newest versions into constraints.txt
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --disable-pip-version-check '.[media,notify,node,test]'
	{ grep '^#' constraints.txt; \
	  { grep -E '^(colorama|tzdata|win32-setctime)==' constraints.txt; \
	    build/constraints/bin/python -m pip freeze --exclude watchrender; } | sort -fu; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/constraints

clean: ## Remove everything that was made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
