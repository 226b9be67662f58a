# Every target makes what it needs: a virtual environment in $(VENV), with the extras that it uses.
# Stamps named after the extras and pyproject.toml's checksum make the second call quick.

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= auto
PROFILE ?= ci

BIN    := $(VENV)/bin
KEY    := $(shell cksum < pyproject.toml | cut -d' ' -f1)
PYVER  := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
MADE   := $(VENV)/.made-by-$(PYVER)
comma  := ,
with    = $(VENV)/.has-$(1)-$(KEY)
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --hypothesis-profile=$(PROFILE)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The workers share the cores among themselves; a thread pool in each would only get in the way.
test quick parity: export OMP_NUM_THREADS := 1
test quick parity: export OPENBLAS_NUM_THREADS := 1

# Byte code is kept, whatever the environment says: each worker would compile all assertions again, for seconds.
quick: export PYTHONDONTWRITEBYTECODE :=

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help venv demo examples test quick fuzz lint format types parity bench docs-table size wheel clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit("Wengert needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.has-%-$(KEY): | $(MADE)
	$(BIN)/python -m pip install --quiet --editable '.[$(subst +,$(comma),$*)]'
	@touch $@

venv: $(call with,dev)  ## everything a developer needs, in $(VENV)

demo: $(call with,data+plot+train)  ## train a convolutional network on handwritten digits
	$(BIN)/python -m wengert.demo

examples: $(call with,data+audio+video)  ## train all examples in full, and print what they reach
	$(BIN)/python tools/examples.py

test: $(call with,test)  ## all tests, the examples of the docstrings, the code of the README
	$(PYTEST)

quick: $(call with,test)  ## the tests not marked slow: under a minute on two cores
	$(PYTEST) -m 'not slow'

fuzz: $(call with,test)  ## random programs, compiled and not, for MINUTES (10) from seed START on
	$(BIN)/python -m wengert.testing.fuzz --minutes $(or $(MINUTES),10) --start $(or $(START),2000)

lint: $(call with,lint)  ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(call with,lint)  ## ruff: mend format and what can be mended by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(call with,lint+test)  ## pyright: basic on src, strict on graph, ops, transform
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python --project pyright.strict.json

parity: $(call with,test+parity)  ## the same results as torch (installs it)
	$(PYTEST) tests/parity

bench: $(call with,bench)  ## eager and compiled speed beside torch and JAX; writes docs/benchmarks.md
	$(BIN)/python benchmarks/eager.py
	$(BIN)/python -m benchmarks.compiled --write

docs-table: $(call with,test)  ## write docs/derivatives.md: ops and the checks they passed
	$(BIN)/python -m wengert.testing.table > docs/derivatives.md.new
	mv docs/derivatives.md.new docs/derivatives.md

size:  ## lines of files and functions; fails where there are too many
	@$(PYTHON) tools/size.py

wheel: $(call with,test)  ## build the wheel, and import what is in it
	rm -rf $(VENV)/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(VENV)/wheel .
	$(BIN)/python -m pip install --quiet --no-deps --target $(VENV)/wheel/unpacked $(VENV)/wheel/*.whl
	cd $(VENV)/wheel/unpacked && test -f wengert/py.typed && $(abspath $(BIN))/python -c 'import wengert; print(wengert.__file__)'

clean:  ## remove the environment and all that was built
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
