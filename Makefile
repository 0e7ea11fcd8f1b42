# `make demo`: the main job on the bundled zoo. `make test`: the tests. Both set up everything.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test frontier bench lint

demo: .venv/ready
	$(BIN)/hydraopt demo -o demo --overwrite

test: .venv/ready lint
	$(BIN)/python -m pytest -m ""

# storage against quality for HydraOpt's K: results/frontier/{frontier.png,frontier.md,results.json}
frontier: .venv/ready
	$(BIN)/python -m hydraopt.zoo.frontier -o results/frontier --overwrite

# decode, prefill and switch against the alternatives; memory of merging
bench: .venv/ready
	$(BIN)/python tests/benchmarks/decode_and_swap.py
	$(BIN)/python tests/benchmarks/decode_and_swap.py --targets layers
	$(BIN)/python tests/benchmarks/merge_memory.py

lint: .venv/ready
	$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[all]'
	touch $@
