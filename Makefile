# make run   set up, run the quick configuration, show the report's path and a table of results
# make test  set up, run the tests
VENV := .venv
DOCS := build/docs-venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -m "not slow and not slurm and not faults"
HALF := tests/e2e/test_checkpoint_runs.py
CONFIG ?= config/quick.yaml
# The interpreter for .venv: PYTHON if it is given, else the first of these that serves. The lock has wheels for 3.11 to
# 3.13; on 3.14 pip compiles one package, which needs a C compiler and Python.h.
SERVES = import os, shutil, sys, sysconfig; v = sys.version_info[:2]; \
  header = os.path.join(sysconfig.get_path("include"), "Python.h"); \
  compiler = shutil.which(os.environ.get("CC", "cc")) and os.path.exists(header); \
  sys.exit(not ((3, 11) <= v <= (3, 13) or (v == (3, 14) and bool(compiler))))
FIND_PYTHON = for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14); do \
    if command -v "$$python" >/dev/null && "$$python" -c '$(SERVES)'; then echo "$$python"; exit; fi; done
# HASHES=1: only files of PyPI whose SHA-256 is known
LOCKED = $(if $(HASHES),--require-hashes --index-url https://pypi.org/simple -r requirements-hashes.lock,-r requirements.lock)
export PYTHONPATH := workflow/scripts

.PHONY: run text checkpoint test test-slow test-slurm test-kill test-faults fuzz coverage mutants lint audit docs notebook bench setup show clean help
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## a virtual environment in .venv with every pinned dependency

$(READY): requirements.lock requirements-hashes.lock
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, or 3.14 with a C compiler and its headers; none was found." \
	    "Name one: make PYTHON=python3.13" >&2; exit 1; }; \
	  echo "== setting up $(VENV) with $$($$python --version): some 100 packages, a few minutes the first time"; \
	  test -x $(BIN)/python || $$python -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(LOCKED)
	@touch $(READY)
	@echo "== set up"

run: setup  ## the quick configuration, from the corpus to the report (CONFIG=… for another overlay)
	@$(BIN)/python -m blackholes.config --check $(CONFIG)
	@echo "== running snakemake --cores all --configfile $(CONFIG)"
	@BLACKHOLES_SHOWS_LATER=yes $(BIN)/snakemake --cores all --configfile $(CONFIG)
	@$(BIN)/python -m blackholes.show --configfile $(CONFIG)

text: setup  ## train on a text of your own: make text FILE=my_text.txt (STEPS=1000, ENCODING=cp1252)
	@test -n "$(FILE)" || { echo "which text? make text FILE=my_text.txt" >&2; exit 2; }
	@$(BIN)/python -m blackholes.own text "$(FILE)" $(if $(STEPS),--steps $(STEPS)) $(if $(ENCODING),--encoding $(ENCODING))

checkpoint: setup  ## analyse a finished model: make checkpoint MODEL=folder, file, or owner/name of the hub (TENSOR=name)
	@test -n "$(MODEL)" || { echo "which model? make checkpoint MODEL=folder, file, or owner/name" >&2; exit 2; }
	@$(BIN)/python -m blackholes.own checkpoint "$(MODEL)" $(if $(TENSOR),--tensor "$(TENSOR)")

show: setup  ## the table of results again (CONFIG=… as for run)
	@$(BIN)/python -m blackholes.show --configfile $(CONFIG)

test: setup  ## the tests, but for those that take minutes or need a cluster
	@echo "== testing, in two halves side by side"
	@own=$$(mktemp -d); said=$$own/said; export FINISHED_RUN=$${FINISHED_RUN:-$$own}; \
	  $(PYTEST) tests/e2e $(HALF:%=--ignore=%) >$$said 2>&1 & other=$$!; \
	  $(PYTEST) tests/unit tests/gpu $(HALF); one=$$?; echo "== the half beside it"; \
	  wait $$other; other=$$?; cat $$said; rm -r $$own; exit $$((one + other))

test-slow: setup test-slurm  ## all tests but test-faults; those that need hardware which is missing say so and are skipped
	@$(BIN)/python -m pytest -m "not slurm and not faults"

test-slurm: setup  ## the tests on a SLURM of their own (root, Debian's packages; where these lack, a line says so)
	@why=$$(PYTHONPATH=tests $(BIN)/python -m slurm.cluster) && if test -n "$$why"; \
	  then echo "== no tests on SLURM: $$why"; else $(BIN)/python -m pytest tests/slurm; fi

test-kill: setup  ## ten times in a row: a training run is killed at ten random moments and ends with the same bytes
	@for round in 1 2 3 4 5 6 7 8 9 10; do echo "== round $$round of 10"; \
	  $(BIN)/python -m pytest -q -rP tests/unit/test_resume.py::test_ten_kills_at_random_moments || exit 1; done

test-faults: setup  ## kills, full disks, damaged files and the like over the whole workflow; FAULTS_SEED=… repeats (15 minutes)
	@$(BIN)/python -m pytest -q -m faults tests/faults

fuzz: setup  ## mutated files for every reader, for ten minutes (FUZZ_SECONDS=…)
	@$(BIN)/python tests/fuzz/run.py

docs: $(DOCS)/.ready  ## the documents as a site in build/docs: no warning, no broken link
	@$(DOCS)/bin/zensical build --clean --strict

notebook: $(DOCS)/.ready  ## run the example notebook on results (RESULTS=… for others than results/quick)
	@own=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  PYTHONPATH=$(abspath workflow/scripts):$$own PATH=$(abspath $(DOCS))/bin:$$PATH \
	  RESULTS=$(abspath $(or $(RESULTS),results/quick)) \
	  $(DOCS)/bin/jupyter execute --output=$(abspath build/example) docs/example.ipynb

$(DOCS)/.ready: $(READY) requirements-docs.txt
	@$(BIN)/python -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

bench: setup  ## ours beside the notebooks' methods and the usual libraries, in one run (half an hour)
	@$(BIN)/python benchmarks/training.py
	@$(BIN)/python benchmarks/training.py --side-by-side
	@$(BIN)/python benchmarks/arms.py
	@$(BIN)/python benchmarks/arms.py --engine torch
	@$(BIN)/python benchmarks/distances.py
	@$(BIN)/python benchmarks/graphs.py
	@$(BIN)/python benchmarks/forces.py
	@$(BIN)/python benchmarks/lineage.py
	@$(BIN)/python benchmarks/euclidean.py
	@$(BIN)/python benchmarks/checkpoint.py
	@$(BIN)/python benchmarks/snowballs.py
	@$(BIN)/python benchmarks/jobs.py
	@$(BIN)/python benchmarks/thimble.py
	@$(BIN)/python benchmarks/lattice.py
	@$(BIN)/python benchmarks/checks.py

coverage: setup  ## branch coverage of the unit tests: a table, and htmlcov/
	@$(BIN)/python -m pytest -q -m "not slow and not slurm and not faults" tests/unit --cov --cov-report=term --cov-report=html

mutants: setup  ## how many small changes of the code the unit tests notice (an hour; tests/mutants/README.md)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0
	@$(BIN)/python tests/mutants/mutate.py

lint: setup  ## ruff, snakefmt, snakemake --lint, who imports whom, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/python tests/lint_rules.py
	@$(BIN)/lint-imports
	@$(BIN)/mypy

audit: setup  ## known vulnerabilities of the pinned dependencies (asks PyPI)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@$(BIN)/pip-audit --disable-pip --require-hashes -r requirements-hashes.lock

clean:  ## remove what was made: results, logs, caches (the environment stays)
	rm -rf results .snakemake .pytest_cache .ruff_cache .hypothesis .mypy_cache .import_linter_cache htmlcov .coverage* build
