# Two commands for a newcomer: `make demo` and `make test`. Both make .venv with what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Child processes of tests work elsewhere, and are measured too.
export COVERAGE_FILE := $(CURDIR)/.coverage
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.hypothesis

.PHONY: demo test interop check coverage bench soak clean format

# One stamp an extra: installed again only when the requirements change.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]' --config-settings editable_mode=compat
	touch $@

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --config-settings editable_mode=compat
	touch $@

demo: $(VENV)/.installed
	$(BIN)/xmppbytes demo

test: $(VENV)/.installed-test
	$(BIN)/python -m tools.trial tests

# The real peers: Debian's prosody and ejabberd, slixmpp from PyPI and others (see CONTRIBUTING.md).
interop: $(VENV)/.installed-test $(VENV)/.installed-interop
	XMPPBYTES_INTEROP=1 tests/interop/labns.sh $(BIN)/python -m tools.trial tests.interop

check: $(VENV)/.installed-test $(VENV)/.installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) coverage

coverage: $(VENV)/.installed-test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m tools.trial tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95

format: $(VENV)/.installed-check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

soak: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks soak

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .hypothesis .coverage* .mypy_cache .ruff_cache
