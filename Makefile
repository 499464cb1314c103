# `make demo` and `make test` each work alone on a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
# One thread for each of the two test processes: the suites share the cores.
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# The tests start many processes: they keep what they compile, whatever the environment.
KEPT := PYTHONDONTWRITEBYTECODE=

.PHONY: help demo test lint format docs check versions wheel try-wheel hooks clean

help:
	@echo "make demo    forgetting on real digits, with and without RGO (under a minute)"
	@echo "make test    the test suite"
	@echo "make check   what CI runs: lint, types, tests, docs"
	@echo "make lint | format | docs | clean"
	@echo "make versions [SESSION=oldest-3.12]   the tests with other versions, by nox"
	@echo "make wheel | try-wheel                build it | try it where nothing else is"
	@echo "make hooks                            lint before each commit, by pre-commit"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rgo needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[bench]'
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[all]'
	@touch $@ $(VENV)/.bench

demo: $(VENV)/.bench
	$(BIN)/rgo-bench demo

test: $(VENV)/.all
	$(THREADS) $(KEPT) $(BIN)/python -m pytest -n 2

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/outside/user_file.py tests/outside/wrong_uses.py

format: $(VENV)/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.all
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

check: lint docs test

# All of them, or one: SESSION=oldest-3.12.
versions: $(VENV)/.all
	$(BIN)/nox -f tests/noxfile.py $(if $(SESSION),--session $(SESSION))

wheel: | $(BIN)/python
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

# In an environment of its own; -I keeps the checkout off the path.
try-wheel: wheel
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt "$$(ls dist/rgo-*.whl)[bench,jax]"
	$(VENV)-wheel/bin/python -I tests/outside/user_file.py --installed
	$(VENV)-wheel/bin/rgo-bench list > /dev/null

hooks: $(VENV)/.all
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV) $(VENV)-wheel .nox dist docs/_build .mypy_cache .pytest_cache .ruff_cache
