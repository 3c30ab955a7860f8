# Everything happens inside this folder: the environment, pip's cache and all temporary files.
PYTHON ?= python3
BIN := .venv/bin
export TMPDIR := $(CURDIR)/.tmp
export PIP_CACHE_DIR := $(CURDIR)/.tmp/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-browser check format bench clean
help:
	@echo "make demo    set up and run the main job on the built-in penguins"
	@echo "make test    set up and run the whole test suite"
	@echo "make test-browser   the lab page in Chromium; pictures of it in artefacts/lab"
	@echo "make check   formatter, linter, type checker, import contracts"
	@echo "make bench   how fast, against every peer; takes 105 minutes"

.venv/run: pyproject.toml constraints.txt
	@mkdir -p $(TMPDIR)
	$(PYTHON) -c 'import sys; sys.exit("polylogit needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/run
	@mkdir -p demo
	$(BIN)/polylogit fit penguins --target species --model demo/penguins.safetensors
	$(BIN)/polylogit predict demo/penguins.safetensors penguins --output demo/predictions.csv
	@head -n 4 demo/predictions.csv
	$(BIN)/polylogit evaluate demo/penguins.safetensors penguins --target species

test: .venv/dev
	@mkdir -p $(TMPDIR)
	$(BIN)/python -m pytest

# Chromium and Korean letters come from Debian, the accessibility rules (axe) from npm; all else is
# in constraints.txt.
AXE := .tmp/axe/node_modules/axe-core/axe.min.js
$(AXE):
	npm install --silent --no-save --ignore-scripts --prefix .tmp/axe axe-core@4.14.1

test-browser: .venv/dev $(AXE)
	test -x /usr/bin/chromium && fc-list | grep -q 'Noto Sans CJK' || \
	  (apt-get -qq update && apt-get -qq install -y chromium fonts-noto-cjk)
	$(BIN)/python -m pytest -m browser tests/browser

check: .venv/dev
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

.venv-peers/ready: benchmarks/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet -r benchmarks/peers.txt
	@touch $@

.venv/bench: .venv/dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench: .venv/bench .venv-peers/ready
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.chart

clean:
	rm -rf .venv .venv-peers .tmp demo build src/*.egg-info
