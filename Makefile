# Two commands do all the set-up: `make run` and `make test`; `make help` lists the others.
# Nothing is installed outside .venv; the small model goes to your cache folder.

PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done))
# Another one for another Python: make unit PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
BIN := $(VENV)/bin
# Tests wait about as long as they work: two processes a core, on two cores.
WORKERS ?= 4
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install --require-hashes -r
MYSELF := $(PIP) install --no-deps --no-build-isolation -e .
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Those that run in pytest's own process, where coverage can be measured.
IN_PROCESS := tests/unit tests/saves tests/machines tests/behaviour

.PHONY: help run test unit coverage fuzz soak lint format schemas lock bench pictures wheel man clean

help: ## lists these
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10 | sed 's/^/  make /'

run: $(VENV)/.run ## sets up .venv, fetches the small local model, answers sample_workspace and goes on watching
	@$(BIN)/rlmwatch model fetch || echo "rlmwatch goes on without the small model." >&2
	@exec $(BIN)/rlmwatch run sample_workspace

test: lint ## sets up .venv, runs lint, types, import rules and all tests
	$(PYTEST) $(PYTEST_ARGS)

unit: $(VENV)/.dev ## runs the fast tests alone
	$(PYTEST) tests/unit $(PYTEST_ARGS)

coverage: $(VENV)/.dev ## runs the tests of one process, and shows which lines none of them reached
	$(PYTEST) $(IN_PROCESS) --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

fuzz: $(VENV)/.dev ## tries new hostile texts on every parser, for MINUTES (60) in all
	FUZZ_MINUTES=$(or $(MINUTES),60) $(BIN)/python -m pytest tests/fuzz $(PYTEST_ARGS)

soak: $(VENV)/.dev ## runs saves under kills and every fault, for MINUTES (30) or HOURS; says what was lost, double or grew
	$(BIN)/python tests/soak/soak.py $(if $(HOURS),--hours $(HOURS),--minutes $(or $(MINUTES),30))

lint: $(VENV)/.dev ## runs ruff, mypy and the import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## formats, and fixes what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schemas: $(VENV)/.dev ## writes docs/schemas anew from the types that `--json` prints
	$(BIN)/python -m rlmwatch.cli.schemas docs/schemas

bench: $(VENV)/.dev ## runs the benchmarks
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

pictures: $(VENV)/.dev ## draws the README's pictures from the real program; needs tmux
	$(BIN)/python docs/pictures/make.py

wheel: $(VENV)/.dev ## builds dist/rlmwatch-….whl, for `uv tool install` and `pipx install`
	$(PIP) wheel --no-deps --no-build-isolation -w dist .

man: $(VENV)/.dev ## writes man pages of all verbs into dist/man
	$(BIN)/python tools/man.py dist/man

lock: $(BIN)/python ## writes requirements/*.txt again from pyproject.toml
	$(PIP) install uv
	for file in run dev; do \
		groups="--extra local --extra documents --group build"; \
		test $$file = run || groups="$$groups --extra cluster --extra desktop --extra images --extra metrics --extra otel --group dev -c requirements/run.txt"; \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header --no-annotate $$groups pyproject.toml -o requirements/$$file.txt || exit 1; \
	done

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "rlmwatch needs Python 3.11 or newer; none was found." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements/run.txt pyproject.toml
	$(INSTALL) requirements/run.txt
	$(MYSELF)
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.txt pyproject.toml
	$(INSTALL) requirements/dev.txt
	$(MYSELF)
	@touch $@ $(VENV)/.run

clean: ## removes what the commands above have made here
	rm -rf .venv .venv-* dist .coverage .hypothesis .mypy_cache .ruff_cache .import_linter_cache
