# make demo | make test | make setup | make lint | make bench | make bench-peers | make battery | make orders | make work-precision
# make curriculum
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint bench bench-peers battery orders work-precision curriculum clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[diffusion,dev]"
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

test: setup
	$(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: setup
	$(BIN)/python benchmarks/table.py

bench-peers: .venv-peers/ready bench

.venv-peers/ready: benchmarks/peers/requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-peers-mnist/ready: benchmarks/peers/mnist-requirements.txt
	test -x .venv-peers-mnist/bin/python || $(PYTHON) -m venv .venv-peers-mnist
	.venv-peers-mnist/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

battery: setup
	$(BIN)/python benchmarks/battery.py

orders: setup
	$(BIN)/python benchmarks/orders.py
	$(BIN)/python benchmarks/sampler_orders.py

work-precision: setup
	$(BIN)/python benchmarks/work_precision.py

curriculum: setup
	$(BIN)/python -m examples.curriculum

clean:
	rm -rf .venv .venv-peers .venv-peers-mnist out
