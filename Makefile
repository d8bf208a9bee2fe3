# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamp is newer than what it was made from, so a second call installs nothing.
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean train embedded chaos

SECONDS ?= 600

demo: $(STAMP)
	$(BIN)/bottega run examples/shapes.yaml
	$(BIN)/bottega sheet out/shapes-demo

test: $(STAMP) lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The recipe of the embedded models; a run that was stopped continues.
train: $(STAMP)
	$(BIN)/python -m actors.models.shapes.training

# What docs/embedded.md says, measured again.
embedded: $(STAMP)
	$(BIN)/python benchmarks/embedded.py

# Kill actors, nodes and drivers during a job, for so long, and compare every byte.
chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) out
