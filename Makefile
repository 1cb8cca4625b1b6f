# Newcomers need two of these: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
PYTEST_FLAGS ?=

# pip compiles modules on one core; this takes all, and leaves out other packages' tests.
COMPILE := $(VENV)/bin/python -m compileall -q -j 0 -x '/tests?/|/testing/' $(VENV)/lib
PIP_INSTALL := PYTHONWARNINGS=ignore $(VENV)/bin/pip install --quiet --no-compile -c constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) "torch==2.13.0"
	$(PIP_INSTALL) --editable .
	$(COMPILE)
	$(VENV)/bin/python -m filters.compile_kernels
	touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(PIP_INSTALL) --editable ".[test,lint]"
	$(COMPILE)
	touch $@

.PHONY: install demo test boundscheck lint clean

install: $(VENV)/installed-tests  ## Make .venv from the constraints file

demo: $(VENV)/installed  ## Curate the example corpus, train on it, say where to look
	$(VENV)/bin/python examples/quickstart/demo.py

test: install  ## The whole test suite
	$(VENV)/bin/pytest -n 2 $(PYTEST_FLAGS)

boundscheck: install  ## The kernels' tests with every read of an array checked
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.numba_boundscheck $(VENV)/bin/pytest -n 2 tests/filters

lint: install  ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

clean:
	rm -rf $(VENV) runs
