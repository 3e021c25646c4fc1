# Everything starts here. Each target makes .venv first when it is missing or out of date; needed: Python 3.11+.
.DEFAULT_GOAL := help
.PHONY: help run test lint audit faults soak simulate bench bench-compare lock wheel clean bootstrap
MAKEFLAGS += --no-print-directory

# Ray would ship the working directory of a driver that uv started, and would send usage figures.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
export RAY_USAGE_STATS_ENABLED := 0

BIN := .venv/bin
ARGS ?=
SEEDS ?= 1000
MINUTES ?= 15

help: ## Show the targets
	@echo 'Usage: make TARGET [ARGS="..."] [PYTHON=/path/to/python3]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '  %-13s %s\n' $$target "$$text"; done

# exec: the shell steps aside, so that a signal from make or from the terminal meets Seatline itself. The launcher
# asks the kernel to send it SIGTERM should make be killed.
run: bootstrap ## Start Seatline with its own Postgres and Valkey; Ctrl-C stops it all (ARGS go to `seatline up`)
	@exec $(BIN)/python -I -S cluster/embedded/launch.py $$PPID 15 - - $(BIN)/seatline up $(ARGS)

test: lint ## Check the code and run all tests (ARGS go to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: bootstrap ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

audit: bootstrap ## Look for known vulnerabilities in requirements.lock (ARGS=--strict fails if nobody can be asked)
	@$(BIN)/python scripts/audit.py $(ARGS)

faults: bootstrap ## Break a running Seatline in 33 ways, for about half an hour (ARGS go to pytest)
	$(BIN)/python -m pytest -m faults tests/faults -s --timeout 900 $(ARGS)

soak: bootstrap ## Random faults under steady load for MINUTES=15 (ARGS go to the soak; try ARGS=--help)
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

simulate: bootstrap ## Simulate with faults: SEEDS=10000 runs in simulated time (ARGS go to the simulator; try ARGS=--help)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

bench: bootstrap ## Compare with what else one could build, in ten minutes; see bench/results (ARGS go to `seatline bench short`)
	@exec $(BIN)/seatline bench short $(ARGS)

bench-compare: bootstrap ## Microbenchmarks beside the baseline of this machine, which the first run makes
	@exec $(BIN)/seatline bench micro --compare $(ARGS)

lock: ## Resolve the dependencies and write requirements.lock (ARGS=--upgrade takes newer versions)
	@scripts/bootstrap --lock $(ARGS)

wheel: bootstrap ## Build what nodes install into dist/: Seatline, and the exact packages that it needs there
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel -d dist
	@cp requirements-nodes.lock dist/

clean: ## Remove the environment, tools and caches; the data in .local stays
	rm -rf .venv .tools dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

bootstrap:
	@scripts/bootstrap
