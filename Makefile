# `make run` and `make test` do everything on a machine with Python 3.9 to 3.11, pip and make.

SHELL := /bin/sh
VENV := .venv
PYTHON ?= $(shell for name in python3.11 python3.10 python3.9 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null \
	&& { command -v $$name; break; }; done)
INSTALLED := $(VENV)/.installed
RUN_DIR ?= runs/digits

.PHONY: run test lint venv clean

# Trains on the embedded digits; leaves samples, metrics and a SavedModel, and a grid made from it.
run: $(INSTALLED)
	$(VENV)/bin/python experiments/run.py --dataset=digits --model_dir=$(RUN_DIR)
	$(VENV)/bin/python tools/generate.py --model=$(RUN_DIR)/saved_model --output=$(RUN_DIR)/digits.png

# Two processes, with whole files each: most of the time is tracing, which takes one core.
test: $(INSTALLED)
	$(VENV)/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

venv: $(INSTALLED)

$(INSTALLED): requirements.txt setup.cfg pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' || \
	{ echo "vitgan_tf needs Python 3.9, 3.10 or 3.11: install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
