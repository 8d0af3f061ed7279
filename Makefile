# Every target sets up .venv by itself: what the demo and the dashboard need, or all that the tests need too.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
VERL := .venv-verl
RELEASE := .venv-release
BIN := $(VENV)/bin
CORE := $(VENV)/.core
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(PIP_ARGS) -c constraints.txt

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-all test-faults test-trl test-verl test-release test-wheel test-browser dashboard sample-logs \
	certify pictures commands pages docs check format bench clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(CORE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "entropylab needs Python >= 3.11: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e '.[app]'
	@touch $@

$(READY): $(CORE)
	$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(CORE) ## train baseline, Clip-Cov and KL-Cov in minutes, then compare them
	$(BIN)/entropylab demo --out runs/demo

test: $(READY) ## run the quick tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser and not cuda and not long and not release"

test-all: $(READY) ## run every test: the long ones and every variant of the others, those in Chromium too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not cuda and not release"

test-faults: $(READY) ## kill, fill, flip and cut the recorder hundreds of times (minutes)
	$(BIN)/python -m pytest tests/faults -n 2 -m "faults or not faults"

test-trl: $(READY) ## run the TRL tests on several versions of TRL (an environment for each)
	$(BIN)/python tests/trainers/trl_matrix.py

test-verl: $(VERL)/.ready ## run the verl plug-in inside the real verl, its queue included
	RAY_worker_niceness=0 PYTHONPATH=. $(VERL)/bin/python -m pytest tests/trainers/verl tests/trainers/recipes \
		tests/cli/test_doctor_trainers.py -W ignore

$(VERL)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) torch==2.13.0
	$(VERL)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
		packaging==25.0 numpy==2.4.6 'ray[default]==2.60.0' tensordict==0.10.0 omegaconf==2.4.0 \
		transformers==5.23.0 codetiming==1.4.0 hydra-core torchdata uvicorn fastapi accelerate datasets peft \
		tensorboard pylatexenc pybind11 pyzmq msgspec psutil dill cachetools nvtx pandas pyarrow scipy statsmodels \
		rich typer pytest
	$(VERL)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps \
		verl==0.9.1 TransferQueue==0.1.11 -e .
	@touch $@

test-release: $(RELEASE)/.typing ## install wheel and sdist into empty environments and test them there (tens of minutes)
	$(RELEASE)/bin/python -m pytest tests/release -m release --confcutdir tests/release -p no:cacheprovider -rA

test-wheel: $(RELEASE)/.ready ## the first minute of it: what is in the wheel, and its core in an empty environment
	$(RELEASE)/bin/python -m pytest tests/release -m wheel --confcutdir tests/release -p no:cacheprovider

$(RELEASE)/.ready: Makefile
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
		pytest==9.2.0 build==1.6.1 hatchling==1.33.0 uv==0.13.9
	@touch $@

$(RELEASE)/.typing: $(RELEASE)/.ready
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
		mypy==2.4.1 'pyright[nodejs]==1.1.414'
	@touch $@

test-browser: $(READY) ## run the tests that need Chromium
	$(BIN)/python -m pytest -n 2 -m "browser and not long"

dashboard: $(CORE) ## open the dashboard on runs/ and sample_logs/
	$(BIN)/entropylab dashboard

sample-logs: $(CORE) ## train the runs of sample_logs/ again
	$(BIN)/python -m entropylab.lab.samples --out sample_logs --jobs 2

certify: $(READY) ## simulate coverage and size of the analysis into docs/certification.md (minutes)
	$(BIN)/python docs/certify.py

pictures: $(READY) ## draw the pictures of the docs from sample_logs/ (those of the dashboard need Chromium)
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/heads.py
	$(BIN)/python docs/scale.py
	$(BIN)/python docs/screenshots.py

commands: $(READY) ## write docs/commands.md from the help of every command
	$(BIN)/python docs/commands.py

pages: commands ## write every generated page of the reference: commands, methods, columns, API, benchmarks
	$(BIN)/python docs/generate/method_page.py
	$(BIN)/python docs/generate/column_page.py
	$(BIN)/python docs/generate/api_pages.py
	$(BIN)/python docs/generate/benchmark_page.py

$(DOCS): $(CORE)
	$(INSTALL) -e '.[docs]'
	@touch $@

docs: $(DOCS) ## build the docs site into build/site, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	$(BIN)/python docs/check_site.py build/site

check: $(READY) ## format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports .importlinter

format: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## run the benchmarks
	$(BIN)/python benchmarks/run_all.py

clean: ## remove what the targets above made
	rm -rf $(VENV) $(VERL) $(RELEASE) runs build dist .pytest_cache .mypy_cache .ruff_cache
