# Everything a person or CI types. `make` alone prints this help.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
UV = $(shell scripts/find_uv.sh)
RUN = .venv/bin
SRC = src tests bench scripts
export MLFLOW_MODEL_CATALOG_URI =

.PHONY: help setup lock java check format test seeds prove demo bench clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## make the pinned environment in .venv (finds or installs uv)

.venv/.installed: requirements.lock pyproject.toml
	@scripts/setup.sh
	@touch $@

lock: ## pin all dependencies anew in requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		pyproject.toml --all-extras -o requirements.lock

java:
	@scripts/find_java.sh > /dev/null

check: setup ## format, lint, types, imports, generated files
	$(RUN)/ruff format --check $(SRC)
	$(RUN)/ruff check $(SRC)
	$(RUN)/pyright
	$(RUN)/lint-imports
	$(RUN)/deptry src
	$(RUN)/python scripts/build_price_book.py --check
	$(RUN)/python scripts/document_settings.py --check
	$(RUN)/spendgate dashboard build --check

format: setup ## format and mend what can be mended
	$(RUN)/ruff format $(SRC)
	$(RUN)/ruff check --fix $(SRC)

test: setup java ## every test, from nothing but git, make and Python 3.11 (WORKERS=1 for one process)
	@export JAVA_HOME="$$(scripts/find_java.sh)"; \
	$(RUN)/python -m pytest -n "$${WORKERS:-2}" --dist loadfile --cov=spendgate.domain --cov-branch --cov-report=term

seeds: setup ## the simulation: SEEDS=100000 from START on; one again, SEED=42; BROKEN=1; STORE=memory|sqlite|postgres
	@$(RUN)/python -m tests.simulation.seeds $${SEED:+--seed "$$SEED"} --seeds "$${SEEDS:-10000}" \
		--start "$${START:-0}" --store "$${STORE:-memory}" $${BROKEN:+--broken}

prove: setup ## gates killed and stopped on SQLite and Postgres, then the sums (PROVE_SECONDS, STORE, PROVE_LEDGER=URL)
	@$(RUN)/spendgate prove --home "$${PROVE_HOME:-.spendgate/prove}" --store "$${STORE:-both}" \
		--seconds "$${PROVE_SECONDS:-25}" --processes "$${PROVE_PROCESSES:-3}" \
		--clients "$${PROVE_CLIENTS:-8}" $${PROVE_LEDGER:+--ledger "$$PROVE_LEDGER"}

demo: setup java ## a crowd of agents against nested budgets, and the proof (DEMO_HOME, TRACE=FILE)
	@export JAVA_HOME="$$(scripts/find_java.sh)"; \
	$(RUN)/spendgate demo --home "$${DEMO_HOME:-.spendgate/demo}" $${TRACE:+--trace "$$TRACE"}

bench: setup java ## benchmarks: machine, counts, ratios
	@export JAVA_HOME="$$(scripts/find_java.sh)"; \
	$(RUN)/python -m bench

clean: ## remove what was built, but not .venv
	rm -rf .spendgate .cache dist build .pytest_cache .ruff_cache .hypothesis .coverage
