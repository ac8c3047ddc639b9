# make demo | test | tour | screenshots | mutants | bench | check | clean. The first three need only make and Python 3.11 or newer:
# they make .venv and install into it by themselves, and again when pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
# The peers that the benchmarks measure against need not be here for anything else.
BENCH := .cache/benchmarks
# Passed on to pytest: make test ARGS="tests/unit -k routing"
ARGS ?=
# What make demo listens on: make demo PORT=8000
export PORT ?= 5050
export UPSTREAM_PORT ?= 5051
export UPSTREAM_CONTROL_PORT ?= 5052
# What it talks to: make demo UPSTREAM=kinto, drf, or json_server (installed into .cache at the first start)
export UPSTREAM ?= example

.PHONY: demo test screenshots soak tour mutants bench check lint format types layers dev clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	@exec $(BIN)/python -m example_app

tour: $(VENV)/installed
	@exec $(BIN)/python -m example_app.tour

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto $(ARGS)

# The pictures in docs/pending-page.md, taken anew (with a Chromium: apt install chromium).
screenshots: $(VENV)/installed-dev
	$(BIN)/python -m tests.browser.screenshots

# Break one rule after the other, and see that a test notices: make mutants ARGS="breaker lease" for those alone.
mutants: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutants $(ARGS)

# The state machine of tests/machine from new seeds: make soak SOAK_SECONDS=3600 SOAK_SEED=1
soak: export SOAK_SECONDS ?= 600
soak: $(VENV)/installed-dev
	$(BIN)/python -m pytest -p no:randomly -o faulthandler_timeout=0 tests/machine/test_machine.py -k soak $(ARGS)

# Speed, against goals and peers, in a few minutes: writes docs/performance.md and README's table. FULL=1: as many rounds of
# what takes long. ARGS="reads flushes" measures those alone, and writes nothing.
bench: $(BENCH)/installed
	$(BENCH)/bin/python -m benchmarks $(if $(FULL),--full) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ARGS),$(ARGS),--write)

# One target a gate: with --keep-going, one that fails does not hide another.
check: lint format types layers

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

format: $(VENV)/installed-dev
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

layers: $(VENV)/installed-dev
	$(BIN)/lint-imports

dev: $(VENV)/installed-dev

clean:
	rm -rf $(VENV) .cache .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache htmlcov dist instance
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, so that the demo does not wait for the tools of the tests. The second covers the first.
$(VENV)/installed: pyproject.toml
	$(call make-venv,$(VENV))
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml
	$(call make-venv,$(VENV))
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/installed $@

$(BENCH)/installed: pyproject.toml benchmarks/requirements.txt
	$(call make-venv,$(BENCH))
	$(BENCH)/bin/python -m pip install --quiet --editable '.[redis]' --requirement benchmarks/requirements.txt
	@touch $@

# PYTHON=... chooses one; otherwise the first that is new enough. A .venv whose Python went away is made anew.
define make-venv
@$(1)/bin/python -m pip --version >/dev/null 2>&1 && exit 0; \
for python in $(if $(PYTHON),$(PYTHON),python3 python3.11 python3.12 python3.13 python3.14 python); do \
  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
    echo "$$python can not make virtual environments: install its venv module (Debian: apt install python3-venv)." >&2; exit 1; }; \
  echo "Making $(1) with $$("$$python" --version), installing ..."; \
  exec "$$python" -m venv --clear $(1); \
done; \
echo "No Python 3.11 or newer found$(if $(PYTHON), as $(PYTHON)). Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1
endef
