# Two commands for a fresh machine with Python >= 3.11: `make demo` and `make test`. Everything is set up in .venv, once.
# Another interpreter: make demo PYTHON=/path/to/python3.12

PYTHON ?= python3
VENV := .venv/bin
THREADS ?= 1

.PHONY: help demo test slow lint format bench schema architectures wheel wheel-test installed site clean
# Every target installs into the same .venv, so targets run one after the other, under `make -j` too.
.NOTPARALLEL:

help:
	@echo "make demo     train and try intent and slots on the embedded data (a few minutes)"
	@echo "make test     the fast tests"
	@echo "make slow     the slow tests"
	@echo "make lint     ruff, mypy, import-linter"
	@echo "make format   format and fix with ruff"
	@echo "make bench    every benchmark, and a table of their results"
	@echo "make schema   write the JSON schemas of the configs anew"
	@echo "make architectures    write the table of docs/attach.md anew: architectures on which attach passes its self-check"
	@echo "make wheel    build dist/*.whl and dist/*.tar.gz"
	@echo "make wheel-test    install the wheel into a clean environment and try it"
	@echo "make installed     install the wheel with every Python that is here, run the demo, print import time and size"
	@echo "make site     build the documentation into build/site"
	@echo "make clean    remove .venv, caches and builds (runs/ stays)"

demo: .venv/.demo
	@$(VENV)/trunkline demo

# A worker for each core with one thread each: workers that all use every core would get in each other's way. One that has nothing
# left takes over tests of another. Python may write its caches, which images of containers often forbid: tests start many processes,
# each of which would compile all files again.
test: .venv/.dev
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$(THREADS) HF_HUB_OFFLINE=1 $(VENV)/python -m pytest -q -n logical --maxprocesses 8 --dist worksteal

slow: .venv/.dev
	@HF_HUB_OFFLINE=1 $(VENV)/python -m pytest -q -m slow

lint: .venv/.dev
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

format: .venv/.dev
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

bench: .venv/.dev
	@$(VENV)/python benchmarks/run_all.py

schema: .venv/.dev
	@$(VENV)/python -m trunkline.cli.schemas

architectures: .venv/.dev
	@HF_HUB_OFFLINE=1 $(VENV)/python benchmarks/attach_architectures.py

wheel: .venv/.dev
	@rm -rf dist
	@$(VENV)/python -m hatchling build -t sdist -t wheel
	@ls -l dist

wheel-test: .venv/.dev
	@HF_HUB_OFFLINE=1 $(VENV)/python -m pytest -q -m slow tests/test_wheel.py

installed: wheel
	@HF_HUB_OFFLINE=1 $(VENV)/python release/installed.py

# Material tells of a version of MkDocs that is not asked for here.
site: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps .venv/.demo and .venv/.dev say that a set-up ended well; they are gone while one is under way. A .venv that a
# set-up left unfinished, or that was made in another folder (a copied or moved checkout), is made anew.
.venv/.demo: EXTRAS := minilm,serve
.venv/.dev: EXTRAS := minilm,serve,dev
.venv/.docs: EXTRAS := minilm,serve,dev,docs
.venv/.demo .venv/.dev .venv/.docs: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Trunkline needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1 || true); name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@set -e; \
	if [ -e .venv/.unfinished ] || [ ! -x $(VENV)/python ] || [ "$$(cat .venv/.place 2>/dev/null || pwd -P)" != "$$(pwd -P)" ]; then \
	  echo "setting up .venv (once; later runs reuse it)"; \
	  rm -rf .venv; mkdir .venv; touch .venv/.unfinished; pwd -P > .venv/.place; "$(PYTHON)" -m venv .venv; \
	fi; \
	touch .venv/.unfinished; rm -f .venv/.demo .venv/.dev .venv/.docs; \
	$(VENV)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'; \
	rm .venv/.unfinished; touch .venv/.demo $@
