# Two commands do all the set-up: `make run` and `make test`.
# Nothing is installed outside .venv; the small model goes to your cache folder.

PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done))
BIN := .venv/bin
# Tests wait about as long as they work: one process more than two cores can run.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install --require-hashes -r
MYSELF := $(PIP) install --no-deps --no-build-isolation -e .

.PHONY: run test fuzz lint format lock bench clean

run: .venv/.run
	@$(BIN)/rlmwatch model fetch || echo "rlmwatch goes on without the small model." >&2
	@exec $(BIN)/rlmwatch run sample_workspace

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Hostile texts for every parser, new ones each time, for so many minutes in all.
fuzz: .venv/.dev
	FUZZ_MINUTES=$(or $(MINUTES),60) $(BIN)/python -m pytest tests/fuzz $(PYTEST_ARGS)

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.dev
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

# Writes requirements/*.txt again from pyproject.toml. uv is not part of the project: it gets a venv of its own.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip -q install uv
	for file in run dev; do \
		groups="--extra local --extra documents --group build"; \
		test $$file = run || groups="$$groups --extra cluster --group dev -c requirements/run.txt"; \
		.venv-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header --no-annotate $$groups pyproject.toml -o requirements/$$file.txt || exit 1; \
	done
	rm -rf .venv-lock

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "rlmwatch needs Python 3.11 or newer; none was found." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python requirements/run.txt pyproject.toml
	$(INSTALL) requirements/run.txt
	$(MYSELF)
	@touch $@

.venv/.dev: .venv/bin/python requirements/dev.txt pyproject.toml
	$(INSTALL) requirements/dev.txt
	$(MYSELF)
	@touch $@ .venv/.run

clean:
	rm -rf .venv .venv-lock .hypothesis .mypy_cache .ruff_cache .import_linter_cache
