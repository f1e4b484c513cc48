# Everything runs in .venv, which the first target that needs it makes: Python 3.11 is all that must be there.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
EXTRAS ?= dev,examples,proto
# The name holds the checkout's path and the extras: in a copied or moved checkout, .venv is made anew; when others are
# wanted, it is filled up.
INSTALLED := .venv/.installed-$(shell (pwd -P; echo $(EXTRAS)) | cksum | cut -d' ' -f1)
PROTO := src/asyncray/proto/__init__.py
ARGS ?=
SEEDS ?= 1000

# The first Python on the path that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help
help:
	@echo 'make demo      a tour of asyncray on this machine'
	@echo 'make test      the tests, on all cores; ARGS="-k arena" picks some, ARGS="-n 0" runs them one by one'
	@echo 'make chaos     workers are killed at random under load; CHAOS_SECONDS=30'
	@echo 'make soak      objects of all sizes on two nodes with small stores, while workers die; SOAK_SECONDS=600'
	@echo 'make seeds     random programs on simulated clusters, and planted bugs; SEEDS=1000'
	@echo 'make lint      formatting, lint, types, generated code'
	@echo 'make format    rewrites the sources as the linter wants them'
	@echo 'make proto     generates $(PROTO)'
	@echo 'make bench     asyncray microbenchmark; ARGS="--filter put" picks some'
	@echo 'make compare   the same work on asyncray and on its peers'
	@echo 'make clean     removes .venv, caches and builds'

.PHONY: demo
demo: venv
	@$(BIN)/python -m asyncray demo $(ARGS)

.PHONY: test
test: venv
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

.PHONY: chaos
chaos: venv
	@$(BIN)/python -m pytest tests/chaos -s $(ARGS)

.PHONY: soak
soak: venv
	@$(BIN)/python -m pytest tests/soak -s $(ARGS)

# All four run, whichever fails.
# The normal tests run fifty of these, and the quickest of the planted bugs that the simulator must catch.
.PHONY: seeds
seeds: venv
	@$(BIN)/python -m pytest -n auto --dist worksteal tests/planted tests/sim/test_random_programs.py \
		--sim-seeds $(SEEDS) --tb=line $(ARGS)

.PHONY: lint
lint: venv
	@status=0; \
	$(BIN)/ruff format --check || status=1; \
	$(BIN)/ruff check || status=1; \
	$(BIN)/mypy || status=1; \
	$(MAKE) --no-print-directory proto-check || status=1; \
	exit $$status

.PHONY: format
format: venv
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

.PHONY: bench
bench: venv
	@$(BIN)/python -m asyncray microbenchmark $(ARGS)

.PHONY: compare
compare: venv
	@$(BIN)/python benchmarks/compare.py $(ARGS)

.PHONY: clean
clean:
	@flock Makefile rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- generated code

# Writes the module generated from proto/asyncray.proto to the file $(1).
define generate
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	{ $(BIN)/python -m grpc_tools.protoc --proto_path=proto \
		--plugin=protoc-gen-python_betterproto=$(BIN)/protoc-gen-python_betterproto \
		--python_betterproto_out="$$scratch" asyncray.proto 2>"$$scratch/log" \
		|| { cat "$$scratch/log" >&2; exit 1; }; } && \
	{ echo '# Made by `make proto` from proto/asyncray.proto: change that file, then run it again.'; \
		cat "$$scratch/asyncray/__init__.py"; } > "$$scratch/generated.py" && \
	$(1)
endef

.PHONY: proto
proto: venv
	$(call generate,mv "$$scratch/generated.py" $(PROTO))

.PHONY: proto-check
proto-check: venv
	$(call generate,{ cmp --silent "$$scratch/generated.py" $(PROTO) \
		|| { echo '$(PROTO) is not what proto/asyncray.proto generates: run make proto' >&2; exit 1; }; })

# ---- the virtual environment

# The lock lets one make install while others wait, and then find that nothing is left to do.
.PHONY: venv
venv:
	@flock Makefile $(MAKE) --silent --no-print-directory $(INSTALLED)

$(INSTALLED): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo 'asyncray needs Python 3.11 or newer on the path' >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo 'The venv module of $(PYTHON) is missing: apt-get install python3-venv' >&2; exit 1; fi
	@echo 'Installing asyncray and its tools into .venv ...'
	@{ grep -qF " $$(pwd -P)/.venv" .venv/pyvenv.cfg && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@
