# One line each; every target first brings .venv up to date with python3 and pip alone.
PYTHON ?= python3
# More workers than cores: much of a test's time is waiting for processes.
WORKERS ?= 3
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup runtime demo dev test explore lint check-generated contracts release-contracts
FAULTS ?=
GROWTH ?=
.PHONY: bench soak bench-growth abuse mutants faults faults-full lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: ## make .venv with everything: run, test, lint, build the contract
	@$(PYTHON) tools/bootstrap.py dev

runtime: ## make .venv with only what demo and dev need
	@$(PYTHON) tools/bootstrap.py runtime

demo: runtime ## 200 orders from OMS to delivered while things go wrong on purpose, with proofs
	@$(BIN)/crossdock demo

dev: runtime ## hub, NATS, sandboxes and adapters in this terminal until Ctrl-C
	@$(BIN)/crossdock dev

test: setup ## every test, in parallel (WORKERS=3)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

explore: setup ## the property tests once more, with examples drawn anew
	$(BIN)/pytest -n $(WORKERS) -m hypothesis --hypothesis-profile explore

lint: setup ## style, types, contract lint, committed stubs current
	$(BIN)/python tools/lint.py

check-generated: setup ## the committed stubs and image are what proto/ gives
	$(BIN)/python tools/contracts.py check

contracts: setup ## regenerate stubs and image, lint, compare with the last release
	$(BIN)/python tools/contracts.py all

release-contracts: contracts ## make the present contracts the released ones
	$(BIN)/python tools/contracts.py release

bench: setup ## measure, each figure as a ratio to a floor taken in the same run
	$(BIN)/python -m tests.load.bench

soak: setup ## ten minutes of scans as fast as the hub takes them: rate, memory, CPU
	$(BIN)/python -m tests.load.bench --soak --case sustained

bench-growth: setup ## measure with 1,000,000 shipments stored; GROWTH="--shipments 20000"
	$(BIN)/python -m tests.load.growth $(GROWTH)

faults: setup ## every fault test over real processes with reduced counts; FAULTS="--only G1"
	$(BIN)/python -m tests.faults.run --again $(FAULTS)

faults-full: setup ## the same with the counts of docs/guarantees.md; goes on where it stopped
	$(BIN)/python -m tests.faults.run --full $(FAULTS)

abuse: setup ## malformed, rule-breaking and oversized calls to every method, full counts
	$(BIN)/python -m tests.abuse.full

mutants: setup ## seeded faults of the reliability code, and the share that the tests notice
	$(BIN)/python -m tests.mutants.run

lock: setup ## choose versions anew and write the lock files
	$(BIN)/python tools/lock.py

clean: ## remove .venv, tools, caches and output
	rm -rf .venv .tools third_party out .mypy_cache .ruff_cache .pytest_cache .hypothesis
