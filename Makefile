# `make run` and `make test` do everything on a machine with Python 3.9 to 3.11, pip and make.

SHELL := /bin/sh
VENV := .venv
PYTHON ?= $(shell for name in python3.11 python3.10 python3.9 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null \
	&& { command -v $$name; break; }; done)
# With GPU=1, the CUDA libraries that TensorFlow needs.
REQUIREMENTS := requirements$(if $(GPU),-gpu).txt
INSTALLED := $(VENV)/.installed$(if $(GPU),-gpu)
DEVELOPED := $(VENV)/.developed
RUN_DIR ?= runs/digits

# Modules of the API reference.
DOCUMENTED = vitgan_tf vitgan_tf.losses vitgan_tf.augment vitgan_tf.registries vitgan_tf.errors \
	$(subst /,.,$(patsubst %/__init__.py,%,$(wildcard vitgan_tf/*/__init__.py)))
API_DIR ?= runs/api

PYTEST = $(VENV)/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGUMENTS)

.PHONY: run demo shipped quick test coverage lint types api golden golden-record venv clean

# Trains on the embedded digits; leaves samples, metrics and a SavedModel, and a grid made from it.
run: $(INSTALLED)
	$(VENV)/bin/python experiments/run.py --dataset=digits --model_dir=$(RUN_DIR)
	$(VENV)/bin/python tools/generate.py --model=$(RUN_DIR)/saved_model --output=$(RUN_DIR)/digits.png

# Opens a page to play with the digits.
demo: $(INSTALLED)
	$(VENV)/bin/python tools/view.py --model=digits --open

# Makes the generator that comes with the package anew: trains it, and exports its weights.
shipped: $(INSTALLED)
	$(VENV)/bin/python experiments/run.py --dataset=digits --model_dir=runs/shipped
	rm -rf vitgan_tf/trained/shipped/digits
	$(VENV)/bin/python tools/export.py --model=runs/shipped --format=npz --output=vitgan_tf/trained/shipped/digits

# Before each commit, in at most 90 seconds on two cores: lint, types and the unit tier.
quick: lint types
	$(PYTEST) -m "not slow and not fuzz"

# Everything. Two processes, with whole files each: most of the time is tracing, which takes one core.
test: lint types
	$(PYTEST)

# Branch coverage of the unit tier.
coverage: $(DEVELOPED)
	$(PYTEST) -m "not slow and not fuzz" --cov --cov-report=term

# The golden run, compared with tests/golden/golden.json; `make golden-record REASON="..."` makes that file anew.
golden: $(DEVELOPED)
	$(VENV)/bin/python tests/golden/golden_run.py

golden-record: $(DEVELOPED)
	@test -n "$(REASON)" || { echo "say which change moves the numbers: make golden-record REASON=..." >&2; exit 1; }
	$(VENV)/bin/python tests/golden/golden_run.py --record="$(REASON)"

lint: $(DEVELOPED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# On Python 3.11 alone: the stubs that mypy reads are those of its packages.
types: $(DEVELOPED)
	@if $(VENV)/bin/python -c 'import mypy' 2> /dev/null; then $(VENV)/bin/python -m mypy; \
	else echo "types are checked on Python 3.11"; fi

# API reference from the docstrings, as HTML. Warnings are errors, but for pdoc's own about the fields of a NamedTuple.
api: $(DEVELOPED)
	PDOC_ALLOW_EXEC=1 TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -W error::UserWarning \
		-W "ignore:Error parsing type annotation ForwardRef:UserWarning" \
		-m pdoc --docformat google --output-directory $(API_DIR) $(DOCUMENTED)

venv: $(DEVELOPED)

$(INSTALLED): $(REQUIREMENTS) setup.cfg pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' || \
	{ echo "vitgan_tf needs Python 3.9, 3.10 or 3.11: install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement $(REQUIREMENTS)
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPED): $(INSTALLED) requirements-dev.txt
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .coverage* *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
