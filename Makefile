# Every target makes the virtual environment and installs what it needs first;
# a Python of version 3.11 or later is all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PARITY := $(VENV)/.parity
# On Linux x86 the package index has only builds of PyTorch for GPUs, several GB
# with what they need. They work, too; a build for CPUs is taken from wherever
# pip is pointed to one (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL).
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
WORKDIR ?= demo

.PHONY: help demo test test-all lint format notebooks clean

help:
	@echo 'make demo       learn to compress a text classifier, and show it'
	@echo 'make test       run the tests that are quick, on two processes'
	@echo 'make test-all   run the others: slow ones, and those beside PyTorch'
	@echo 'make lint       check style, format and types'
	@echo 'make format     mend style and format'
	@echo 'make notebooks  run all notebooks and keep their outputs'
	@echo 'make clean      remove the virtual environment and all caches'

# The mark is written last: an interrupted installation is taken up again.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(PARITY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[parity]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m experiments.demo --workdir=$(WORKDIR)

# Each process gets neighbours, whose fixtures and programs are made once.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not torch'

# With `make test`, each test once.
test-all: $(PARITY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow or torch'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(INSTALLED)
	$(BIN)/python -m experiments.notebooks

clean:
	rm -rf $(VENV) .hypothesis .pytest_cache .ruff_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
