# Two commands matter: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(CURDIR)/build/toolchain/bin

export PATH := $(TOOLS):$(CURDIR)/$(BIN):$(PATH)
export SOLCX_BINARY_PATH := $(TOOLS)
# Nothing here reports home.
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup prerequisites test-tools demo test test-long check-guards coverage bench-gas bench-circuits bench-onnx bench-truth bench-store bench-node bench-faults soak check format ape screenshots docs cli-docs protocol-docs docs-site abi lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) build/js/libraries/.ready  ## Install the locked dependencies (does nothing when nothing changed)

$(READY): requirements.lock pyproject.toml package-lock.json scripts/solc.cjs oracle/chain/toolchain.py
	@$(MAKE) --no-print-directory prerequisites
	@test -x $(BIN)/uv || { "$(PYTHON)" -m venv $(VENV) && $(BIN)/python -m pip install -q uv==$(UV_VERSION); }
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@$(BIN)/python -m oracle.chain.toolchain
	@touch $@

# What users of the npm package have: the lock files are in tests/js/.
build/js/%/.ready: tests/js/%/package-lock.json | $(READY)
	@mkdir -p $(@D) && cp tests/js/$*/package.json $< $(@D)/
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

prerequisites:
	@scripts/prerequisites.sh "$(PYTHON)"

test-tools:
	@scripts/test_tools.sh

demo: setup  ## The whole path once: model, circuit, devnet, node, request, proof, callback
	@oracle demo

test: setup test-tools  ## Every test, with real proofs and a real devnet; times to build/bench/tests.json
	@python -m scripts.test_times

ape: setup  ## Compile the contracts and run the contract tests with Ape
	@ape compile --force
	@pytest -q -p ape.pytest.plugin tests/contracts/ape

test-long: setup test-tools build/js/hardhat2/.ready build/js/hardhat3/.ready  ## Exhaustive sets whole, and 200,000 random actions against the protocol's model (SEED=n repeats them)
	@python -m scripts.test_times -- --whole
	@python -m tests.model.driver --actions 200000 $(if $(SEED),--seed $(SEED))

check-guards: setup test-tools  ## Take away each guard that the tests stand for and see them fail, to build/bench/guards.json
	@python -m scripts.check_guards $(ARGS)

coverage: setup  ## Lines and branches of the contracts that the tests reach
	@python -m tests.coverage

check: setup  ## Linters, types, import rules, Solidity analysis; warnings are errors
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	npx --no-install solhint --max-warnings 0 'contracts/**/*.sol'
	python scripts/run_slither.py

format: setup  ## Format the Python sources
	ruff format .
	ruff check --fix .

bench-gas: setup  ## Gas of the protocol's transactions on anvil, to build/bench/gas.json
	@python scripts/bench_gas.py

bench-circuits: setup  ## Our circuits against ezkl's calibrated default, to build/bench/circuits.json
	@python -W ignore::FutureWarning -m scripts.bench_circuits $(ARGS)

bench-onnx: setup  ## How many of the onnx package's model tests can be proved, to build/bench/onnx.json
	@python -m scripts.bench_onnx $(ARGS)

bench-truth: setup  ## Attack what the search promises of each model of the list, to build/bench/truth.json
	@python -W ignore::FutureWarning -m scripts.bench_truth $(ARGS)

bench-store: setup  ## Start and status of a node with 1M requests in its store, to build/bench/store.json
	@python -m scripts.bench_store $(ARGS)

bench-node: setup  ## Latency, throughput, catch-up, memory and start of the node, to build/bench/node.json
	@python -m scripts.bench_node $(ARGS)

soak: setup  ## A node under steady load for MINUTES=30: memory and files stay flat, to build/bench/soak.json
	@python -m scripts.soak_node --minutes $(or $(MINUTES),30)

bench-faults: setup  ## A node under every fault at once, to build/bench/faults.json (SEED=n)
	@python -m scripts.bench_faults $(if $(SEED),--seed $(SEED)) $(ARGS)

screenshots: setup test-tools  ## Photograph the live page, beside a devnet and busy, to docs/
	@ORACLE_SCREENSHOTS=$(CURDIR)/docs pytest -q tests/e2e/test_page.py tests/ops/test_page_browser.py

docs: setup  ## Write the tables of docs/operators.md anew from the code
	@python -m scripts.operators_page

abi: setup  ## Regenerate the committed ABIs and JavaScript modules from the contracts
	python scripts/export_abi.py
	python scripts/export_js.py

cli-docs: setup  ## Regenerate docs/cli.md from commands, errors and causes
	python -m scripts.export_cli

protocol-docs: setup  ## Regenerate docs/protocol.md from the contracts' NatSpec
	python -m scripts.export_protocol

docs-site: setup  ## The documents as a site, to build/site; needs no network
	mkdocs build --strict -q

lock: setup  ## Resolve pyproject.toml anew into the lock files
	uv pip compile pyproject.toml --group dev --extra postgres --extra ray --extra train --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --python-version 3.11 -q -o requirements.lock
	uv pip compile pyproject.toml --group build -c requirements.lock --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --python-version 3.11 -q -o requirements-node.lock

clean:  ## Remove everything that can be made again
	rm -rf build .build .venv node_modules .mypy_cache .pytest_cache .ruff_cache
