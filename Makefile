# Newcomers need two of these: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
PYTEST_FLAGS ?=

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip -c constraints.txt
	$(VENV)/bin/pip install --quiet -c constraints.txt "torch==2.13.0"
	$(VENV)/bin/pip install --quiet -c constraints.txt --editable ".[test,lint]"
	$(VENV)/bin/python -m filters.compile_kernels
	touch $@

.PHONY: install demo test boundscheck lint clean

install: $(VENV)/installed  ## Make .venv from the constraints file

demo: install  ## Curate the example corpus, train on it, say where to look
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
