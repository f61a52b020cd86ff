# make demo   the main job: real processes, real federated rounds, on this machine
# make test   the tests
# Each does all its own set-up, in .venv, pinned by constraints.txt. Needed first: Python 3.11+, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := client server privacy simulations protos tests benchmarks examples
DEMO_ARGS ?=

.PHONY: help demo test test-long check protos format clean node-example \
	check-format check-lint check-mypy check-pyright check-imports check-protos check-buf

help:
	@sed -n '1,3p' Makefile
	@echo "make test-long   soak, fuzz and chaos runs; make check   gates; make protos   generate the wire; make node-example   its packages"

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tacit needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[simulation]'
	@touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/tacit demo $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest -m "not long" -n auto --maxprocesses 4 --dist loadfile

test-long: $(VENV)/.dev
	$(BIN)/pytest -m "long" --timeout=3600

check: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j4 -Otarget check-mypy check-pyright check-format check-lint \
		check-imports check-protos check-buf

check-format:
	$(BIN)/ruff format --check --quiet $(SOURCES)
check-lint:
	$(BIN)/ruff check --quiet $(SOURCES)
check-mypy:
	$(BIN)/mypy
check-pyright:
	$(BIN)/basedpyright --level error
check-imports:
	$(BIN)/lint-imports --no-cache > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
check-protos:
	$(BIN)/python protos/generate.py --check
check-buf:
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos

protos: $(VENV)/.dev
	$(BIN)/python protos/generate.py

node-example:
	npm ci --prefix examples/node --no-audit --no-fund --ignore-scripts

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
