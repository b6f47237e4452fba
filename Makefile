# Two commands: `make demo` shows the product on real data, `make test` checks all of it. Both need Python >= 3.10 and a
# package registry, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
DEMO_HOME := $(CURDIR)/.demo/bentoml
# Two workers suit the smallest machine that we support; `make test WORKERS=8` on a larger one.
WORKERS ?= 2

.PHONY: demo test test-image bench screenshots lint types format clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.examples: $(BIN)/python pyproject.toml
	@echo "Installing the package and what the example needs (xgboost, scikit-learn, pandas): about 150 MB"
	$(BIN)/python -m pip install --progress-bar on --editable '.[examples]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "Installing the package and what its tests need: about 300 MB"
	$(BIN)/python -m pip install --progress-bar on --editable '.[dev]'
	@touch $@ $(VENV)/.examples

demo: $(VENV)/.examples
	cd examples/credit_risk && BENTOML_HOME=$(DEMO_HOME) ../../$(BIN)/python train.py
	@echo
	@echo "Serving it. When it is ready, open http://localhost:$(PORT) or, in another terminal:"
	@echo
	@cat examples/credit_risk/request.txt | sed 's/localhost:3000/localhost:$(PORT)/'
	@echo
	cd examples/credit_risk && BENTOML_HOME=$(DEMO_HOME) ../../$(BIN)/bentoml serve service:svc --port $(PORT)

test: $(VENV)/.dev lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

# A container image of the example, for real: needs root, buildah and debootstrap (Debian's packages), and some minutes.
test-image: $(VENV)/.dev
	$(BIN)/python -m pytest -m image $(PYTEST_ARGS)

$(VENV)/.bench: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --progress-bar on --editable '.[bench]'
	@touch $@

# Needs wrk and h2load (Debian: wrk, nghttp2-client). Takes about half an hour, most of it under load.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/batching.py
	$(BIN)/python benchmarks/plot.py

# Needs Chromium. Writes the pictures of the Swagger UI in docs/images.
screenshots: $(VENV)/.dev
	$(BIN)/python scripts/screenshots.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .coverage*
