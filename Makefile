# make demo: set up and run the main job.  make test: the same set-up, all tests.  The rest: see CONTRIBUTING.md.
PYTHON ?= python3
SIZE ?= 1000
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip --disable-pip-version-check install --quiet
KERNELS := $(wildcard pipefunc_c/_kernels/*.pyx pipefunc_c/_kernels/*.pxd)
DEBUG_TREE := build/debug

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo test test-long test-debug test-portable lint format bench asv docs clean

# Without it a test skips what its optional component is missing for; with it such a test fails.
ifdef PIPEFUNC_C_REQUIRE_ALL
TEST_EXTRAS := $(STAMPS)/bench $(STAMPS)/notebook
endif

demo: $(STAMPS)/plot
	$(BIN)/python examples/quickstart.py $(SIZE)

test: $(STAMPS)/plot $(STAMPS)/test $(TEST_EXTRAS)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not long" $(PYTEST_ARGS)

# The rest: executors of other packages, browsers, notebooks, type checkers.
test-long: $(STAMPS)/plot $(STAMPS)/test $(TEST_EXTRAS)
	$(BIN)/python -m pytest -n $(WORKERS) -m long tests $(PYTEST_ARGS)

# The kernels with bounds, None and initialisation checks, in a tree of their own: the normal build stays as it is.
test-debug: $(STAMPS)/plot $(STAMPS)/test
	rm -rf $(DEBUG_TREE)
	mkdir -p $(DEBUG_TREE)
	cp -R setup.py pyproject.toml README.md LICENSE pipefunc_c tests $(DEBUG_TREE)
	find $(DEBUG_TREE) -name '*.so' -delete
	cd $(DEBUG_TREE) && PIPEFUNC_C_DEBUG=1 $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace
	cd $(DEBUG_TREE) && PYTHONPATH=. PIPEFUNC_C_DEBUG=1 $(CURDIR)/$(BIN)/python -m pytest -n $(WORKERS) -W error tests/kernels $(PYTEST_ARGS)

# With the means of other systems in the place of those that only Linux has: no fork here, no memory files.
test-portable: $(STAMPS)/plot $(STAMPS)/test
	PIPEFUNC_C_PORTABLE=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not long" tests/parallel tests/map/test_pool_*.py \
		tests/map/test_crash_resume.py tests/map/test_resume.py tests/map/test_async_cancel.py \
		tests/map/test_easy_to_get_wrong.py tests/storage/test_home.py tests/storage/test_run_lock.py \
		tests/test_platform.py $(PYTEST_ARGS)

lint: $(STAMPS)/plot $(STAMPS)/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint pipefunc_c
	$(BIN)/mypy
	$(BIN)/codespell pipefunc_c tests benchmarks docs examples scripts *.md *.toml

format: $(STAMPS)/lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMPS)/bench
	$(BIN)/python benchmarks/compare.py

asv: $(STAMPS)/bench
	cd benchmarks && ../$(BIN)/asv machine --yes
	cd benchmarks && ../$(BIN)/asv run --quick --show-stderr --python=same

docs: $(STAMPS)/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html

clean:
	rm -rf build dist docs/_build *.egg-info $(STAMPS)/kernels
	rm -f pipefunc_c/_kernels/*.so

# One stamp per step: a step runs again only when what it depends on changed.
$(STAMPS)/venv: scripts/check_system.sh
	sh scripts/check_system.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --group build
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/kernels: $(STAMPS)/venv setup.py pyproject.toml $(KERNELS)
	$(PIP) --no-build-isolation --editable .
	touch $@

$(STAMPS)/plot $(STAMPS)/notebook $(STAMPS)/test $(STAMPS)/bench $(STAMPS)/docs: pyproject.toml | $(STAMPS)/kernels
	$(PIP) --no-build-isolation --editable ".[$(@F)]"
	touch $@

$(STAMPS)/lint: pyproject.toml | $(STAMPS)/kernels
	$(PIP) --group lint
	touch $@
