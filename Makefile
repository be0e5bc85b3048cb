# Every target makes the virtual environment and installs what it needs first;
# a Python of version 3.11 or later is all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
WORKDIR ?= demo

.PHONY: help demo test lint format notebooks clean

help:
	@echo 'make demo       learn to compress a text classifier, and show it'
	@echo 'make test       run all tests, on two processes'
	@echo 'make lint       check style and format'
	@echo 'make format     mend style and format'
	@echo 'make notebooks  run all notebooks and keep their outputs'
	@echo 'make clean      remove the virtual environment and all caches'

# The mark is written last: an interrupted installation is taken up again.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m experiments.demo --workdir=$(WORKDIR)

# Each process gets neighbours, whose fixtures and programs are made once.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(INSTALLED)
	$(BIN)/python -m experiments.notebooks

clean:
	rm -rf $(VENV) .hypothesis .pytest_cache .ruff_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
