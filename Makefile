# make run    the quickstart: data/quickstart/dataset.h5, report.html and report.json
# make test   all tests that need no container engine
# make test-containers   tests of the images and of the running factory; needs a container engine and built images (docs/docker.md)
# make check  lint and types
# make bench  labeller, writer and sources against plain ways, a table of ratios
# make openapi  docs/openapi/*.json anew, from the apps
# make scale  120,000 structures with a teacher that computes nothing: times, sizes and memory; STRUCTURES=2000 takes two minutes
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
STRUCTURES ?= 120000
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder # a file is one worker's; those that take longest come first
EXTRAS = rdkit,pymatgen,ase,benchmarks,labeller,mattergen,crystalflow,moldiff,geodiff,training,test
INSTALLED = $(VENV)/.installed

unexport PYTHONDONTWRITEBYTECODE # what is imported is compiled once: pip is told not to compile all there is

.PHONY: run test test-containers check bench scale openapi clean

run: $(INSTALLED)
	$(VENV)/bin/distillery run recipes/quickstart.yaml

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(PARALLEL) tests/integration tests/contract tests/unit

test-containers: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(PARALLEL) tests/containers

check: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(INSTALLED)
	$(VENV)/bin/python -m tests.bench

scale: $(INSTALLED)
	$(VENV)/bin/python -m tests.scale --structures $(STRUCTURES)

openapi: $(INSTALLED)
	$(VENV)/bin/python -m tests.openapi

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt $(wildcard */requirements.txt */*/requirements.txt distillery/generators/models/requirements.txt)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Distillery needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; say make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip # Python 3.11's own takes a third longer
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-deps mattergen # its own pins can't be resolved
	touch $(INSTALLED)
