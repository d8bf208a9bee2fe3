# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamp is newer than what it was made from, so a second call installs nothing.
STAMP := $(VENV)/.installed

# Workers of `make test`: one for each core of the machines that CI has.
WORKERS ?= 2

.PHONY: demo test test-all lint clean test-airflow train embedded chaos benchmarks ray-data-sweep

SECONDS ?= 600

demo: $(STAMP)
	$(BIN)/bottega run examples/shapes.yaml
	$(BIN)/bottega sheet out/shapes-demo

# tests/conftest.py says which tests stay together on a worker, and in which order.
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

test: $(STAMP) $(BIN)/promtool lint
	$(PYTEST) -m 'not slow' --durations 10

test-all: $(STAMP) $(BIN)/promtool lint
	$(PYTEST) --durations 50

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

# What docs/performance.md says of pools on GPUs, measured again, the most important first: 70
# minutes on a machine that does nothing else. What fails does not keep the rest from running.
benchmarks: $(STAMP)
	-$(BIN)/python benchmarks/pools_on_gpus.py moving
	-$(BIN)/python benchmarks/ray_data.py moving --two-pass
	-$(BIN)/python benchmarks/pools_on_gpus.py sd-8
	-$(BIN)/python benchmarks/pools_on_gpus.py sdxl-16 --splits 1
	-$(BIN)/python benchmarks/authors_way.py
	-$(BIN)/python benchmarks/object_store.py
	-$(BIN)/python benchmarks/pools_on_gpus.py sdxl-8 --splits 1
	-$(BIN)/python benchmarks/pools_on_gpus.py sd-16 --splits 1
	-$(BIN)/python benchmarks/driver.py
	-$(BIN)/python benchmarks/simulator.py
	-$(BIN)/python benchmarks/driver_memory.py
	-$(BIN)/python benchmarks/plan_check.py
	-$(BIN)/python benchmarks/tasks.py
	$(BIN)/python benchmarks/figures.py

# Which settings of Ray Data are best: `make benchmarks` runs the three that this finds. 15 minutes.
ray-data-sweep: $(STAMP)
	$(BIN)/python benchmarks/ray_data.py moving --sweep

# Kill actors, nodes and drivers during a job, for so long, and compare every byte.
chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS)

# A real Prometheus for the tests of the metrics.
$(BIN)/promtool: | $(STAMP)
	tests/cluster/get_prometheus.sh $(BIN)

# The exported DAG in a real Airflow, in an environment of its own. Three minutes, and the installation.
AIRFLOW := .airflow/bin/airflow
test-airflow: $(STAMP) $(AIRFLOW)
	$(BIN)/python -m tests.airflow $(AIRFLOW)

$(AIRFLOW):
	test -x .airflow/bin/python || $(PYTHON) -m venv .airflow
	.airflow/bin/python -m pip install --quiet 'apache-airflow==3.3.2' apache-airflow-providers-standard

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) .airflow out
