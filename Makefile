# Two commands on a fresh machine: `make run` and `make test`. Each creates what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
SWEEP ?= sweeps/substitutive.yaml

.PHONY: run test slow browser ui lint types checks clean

run: .venv/.installed
	$(BIN)/procray sweep $(SWEEP)

test: .venv/.installed-dev
	$(BIN)/python -m pytest

slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m "slow and not browser"

browser: .venv/.installed-dev
	$(BIN)/python -m pytest -m browser

ui: .venv/.installed
	$(BIN)/procray ui $(SWEEP)

lint: .venv/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/.installed-dev
	$(BIN)/mypy

checks: lint types test

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "procray needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
