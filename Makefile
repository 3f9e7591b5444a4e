# Two commands do everything on a fresh machine that has Python 3.11, 3.12 or 3.13 and make:
#   make train   the main job on the phantom cohort
#   make test    every test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One more than there are cores: some tests wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: help install train test docs lint format types wheel

help:
	@echo "make install   the tested versions into $(VENV); then: source $(VENV)/bin/activate"
	@echo "make train     train partial_superclass on the phantom cohort (ARGS='...' adds overrides)"
	@echo "make test      run the tests in WORKERS processes              (ARGS='...' adds options)"
	@echo "make docs      build the documentation into site/"
	@echo "make lint      ruff and mypy;  make format  rewrites;  make wheel  builds dist/*.whl"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt --editable '.[dev]'
	@# Compiled on all cores, but for what is seldom imported; pip would do it on one.
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/|/transformers/models/' $(VENV)/lib neoseg || true
	@touch $@

train: $(INSTALLED)
	$(BIN)/python -m neoseg.train +experiment=partial_superclass $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 5 --dist worksteal $(ARGS)

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel
