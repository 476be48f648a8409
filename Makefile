# Elysia Chat. `make` alone lists the targets.
#
#   make chat ARGS="--port 8080"        arguments for the command
#   make test PYTEST_ARGS="-k splitter" arguments for pytest
#   make chat TORCH_ARGS="--index-url …" where torch comes from, for a build without CUDA
#   make test VENV=other                another environment

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11,$(shell $(name) -c '$(FITS)' 2> /dev/null && echo $(name))) python3)
VENV ?= .venv
ARGS ?=
PYTEST_ARGS ?=
TORCH_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Absolute, so that a relative VENV means the same in every recipe.
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# An environment is complete when its stamp is newer than what decides its content.
PINS := pyproject.toml constraints.txt
CODE := chains configs ingest kb llm training ui voice
BENCHES := $(patsubst benchmarks/%.py,bench-%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@$(if $(BENCHES),echo "  one benchmark: make $(BENCHES)",:)

.PHONY: chat
chat: $(VENV)/.installed ## Install what is needed, then open the page in a browser.
	@$(BIN)/elysia-chat web --open $(ARGS)

.PHONY: terminal
terminal: $(VENV)/.installed ## Install what is needed, then talk in the terminal.
	@$(BIN)/elysia-chat chat $(ARGS)

.PHONY: install
install: $(VENV)/.installed ## Install the application, no more.

.PHONY: xtuner
xtuner: $(VENV)/.installed ## Build XTuner's own environment in the data folder, to train with it.
	@$(BIN)/elysia-chat train xtuner setup $(ARGS)

.PHONY: test
test: $(VENV)/.installed-test ## Run all tests.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: dev
dev: $(VENV)/.installed-dev ## Install the application with all tools for working on it.

.PHONY: format
format: $(VENV)/.installed-dev ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check format and style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Type checker and import linter do not follow an editable installation, so they look at a built copy. Its folder of
# persona data goes: mypy takes it for the module kb/personas.py.
.PHONY: copy
copy: $(VENV)/.installed-dev
	rm -rf build
	$(PIP) install --quiet --no-deps --no-build-isolation --target build/types .
	rm -r build/types/elysia_chat/kb/personas

.PHONY: types
types: copy ## Check the types.
	cd build/types && $(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p elysia_chat

.PHONY: layers
layers: copy ## Check which folder imports which.
	cd build/types && PYTHONPATH=. $(BIN)/lint-imports --no-logo --no-cache --config $(CURDIR)/pyproject.toml

.PHONY: check
check: lint types layers ## Everything that has to pass before a commit is shared.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: bench
bench: $(BENCHES) ## Run all benchmarks.

.PHONY: $(BENCHES)
$(BENCHES): bench-%: $(VENV)/.installed-test
	$(BIN)/python benchmarks/$*.py $(ARGS)

.PHONY: bench-api
bench-api: bench-api_clients ## A hundred clients of the HTTP API for ten minutes.

.PHONY: wheel
wheel: $(VENV)/.installed-dev ## Build the wheel and the source archive into dist/.
	rm -rf build
	$(BIN)/python -m build --no-isolation

.PHONY: clean
clean: ## Remove what was built, but neither the environment nor the data folder.
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis test-artifacts
	find $(CODE) tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove the environment as well.
	rm -rf $(VENV)

$(VENV)/.python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or 3.12." >&2; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "Elysia Chat needs Python 3.11 or 3.12, and $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'). Name another: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first: what comes after it must find the build that was chosen, not choose one.
define install
	$(PIP) install -c constraints.txt $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt "$$(grep '^setuptools==' constraints.txt)"
	$(PIP) install -c constraints.txt --no-build-isolation -e '.$(1)'
	@touch $@
endef

$(VENV)/.installed: $(PINS) | $(VENV)/.python
	$(call install)

$(VENV)/.installed-test: $(PINS) | $(VENV)/.python
	$(call install,[test])
	@touch $(VENV)/.installed

$(VENV)/.installed-dev: $(PINS) | $(VENV)/.python
	$(call install,[dev])
	@touch $(VENV)/.installed $(VENV)/.installed-test
