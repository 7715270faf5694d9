# `make demo` and `make test` work on a fresh machine: each makes the environment it needs.

VENV ?= .venv
CARD_VENV ?= .venv-card
DEMO ?= demo
DEMO_MINUTES ?= 5
PYTEST_ARGS ?=

PIP_FLAGS := --quiet --quiet --disable-pip-version-check --no-input
PACKAGING := setup.cfg setup.py pyproject.toml
# Two processes: tracing takes most of the time, on one core. PYTEST_ARGS=-n0 makes it one.
PYTEST := -m pytest -n 2

# The first of these that runs and is Python 3.$(1) to 3.$(2): a name on the path may be an empty shim.
find-python = $(shell for name in $(3); do \
	$$name -c 'import sys; sys.exit(not (3, $(1)) <= sys.version_info[:2] <= (3, $(2)))' \
	>/dev/null 2>&1 </dev/null && echo $$name && break; done)
PYTHON ?= $(call find-python,10,13,python3.11 python3.12 python3.13 python3.10 python3)
CARD_PYTHON ?= $(call find-python,11,11,python3.11 python3)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-card lint format clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## Fit a detector on the embedded sample data, evaluate it, leave images to look at
	@$(VENV)/bin/ssae-tf sample-data --out $(DEMO)/data --overwrite >/dev/null
	@$(VENV)/bin/ssae-tf preview --category tile --preset quick --data $(DEMO)/data --out $(DEMO) >/dev/null
	@$(VENV)/bin/ssae-tf fit --category tile --data $(DEMO)/data --out $(DEMO)/run --overwrite \
		--preset quick --minutes $(DEMO_MINUTES)
	@$(VENV)/bin/ssae-tf predict $(DEMO)/run $(DEMO)/data/tile/test/crack --out $(DEMO)/found \
		--quiet >$(DEMO)/found.jsonl
	@echo "To look at: $(DEMO)/preview.png    what training sees"
	@echo "            $(DEMO)/run/sheets/    best, median and worst images of each kind"
	@echo "            $(DEMO)/found/         maps, masks and overlays of the cracks"

test: $(VENV)/.test ## Run the tests; with line coverage: PYTEST_ARGS=--cov
	@$(VENV)/bin/python $(PYTEST) $(PYTEST_ARGS)

test-card: $(CARD_VENV)/.test ## The same with TensorFlow 2.15.1, Keras 2.15 and tensorflow-addons 0.23
	@$(CARD_VENV)/bin/python $(PYTEST) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check style, formatting and types
	@status=0; \
	$(VENV)/bin/ruff check || status=1; \
	$(VENV)/bin/ruff format --check || status=1; \
	$(VENV)/bin/mypy || status=1; \
	exit $$status

format: $(VENV)/.dev ## Format the code and mend what can be mended
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

clean: ## Remove the environments, builds, caches and the demo
	rm -rf $(VENV) $(CARD_VENV) $(DEMO) build dist *.egg-info htmlcov .coverage
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A file in the environment marks each step that went through, so that a half-made one is made again.
# Without ensurepip (Debian has it in a package of its own) virtualenv or the system's pip will do.
define make-venv
	@test -n "$(2)" || { echo "No suitable Python found; give one: make $(3)=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(1) with $(2)"
	@rm -rf "$(1)"
	@$(2) -m venv "$(1)" >/dev/null 2>&1 \
		|| $(2) -m virtualenv --quiet --clear "$(1)" 2>/dev/null \
		|| { $(2) -m venv --clear --without-pip "$(1)" 2>/dev/null \
			&& $(2) -m pip --python "$(1)/bin/python" install $(PIP_FLAGS) pip; } \
		|| { echo "$(2) can't make an environment: it lacks venv or pip (Debian: apt install python3-venv)" >&2; exit 1; }
	@"$(1)/bin/python" -m pip install $(PIP_FLAGS) "pip>=23.1"
	@touch "$(1)/.made"
endef

$(VENV)/.made:
	$(call make-venv,$(VENV),$(PYTHON),PYTHON)

$(CARD_VENV)/.made:
	$(call make-venv,$(CARD_VENV),$(CARD_PYTHON),CARD_PYTHON)

$(VENV)/.run: $(VENV)/.made $(PACKAGING)
	@echo "Installing ssae-tf and TensorFlow in $(VENV): a few minutes"
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.made $(PACKAGING)
	@echo "Installing ssae-tf, TensorFlow and the test tools in $(VENV): a few minutes"
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(VENV)/.made $(PACKAGING)
	@echo "Installing ssae-tf, TensorFlow and the development tools in $(VENV): a few minutes"
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@ $(VENV)/.test $(VENV)/.run

$(CARD_VENV)/.test: $(CARD_VENV)/.made $(PACKAGING) constraints/card.txt
	@echo "Installing ssae-tf, TensorFlow 2.15.1 and the test tools in $(CARD_VENV): a few minutes"
	@$(CARD_VENV)/bin/python -m pip install $(PIP_FLAGS) --constraint constraints/card.txt \
		--editable '.[test]' tensorflow tensorflow-addons
	@touch $@
