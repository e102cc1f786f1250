# make run    the quickstart: data/quickstart/dataset.h5, report.html and report.json; installs what that needs
# make test   all tests that need no container engine; installs all there is
# make test-containers   tests of the images and of the running factory; needs a container engine and built images (docs/docker.md)
# make test-pythons      what can be tested cheaply on the other Pythons of this machine; with QUICKSTART=1 the quickstart on each, whatever torch weighs
# make check  lint and types
# make mutants MODULE=distillery/planning/gates.py   does a test fail when a line of it is wrong? A module has minutes (docs/testing.md)
# make bench-checks   what the checks refuse of real matter, and what they find of what is damaged, by system (docs/refusals.md); a minute
# make consumers  exports read and trained on by the programs that they are for, each in an environment of its own (docs/trainers.md); needs the quickstart
# make bench  labeller, writer and sources against plain ways, a table of ratios
# make bench-host  µs of processor time an atom by step on a labeller's host, with a teacher whose forward pass costs nothing
# make bench-worth   what students learn from the quickstart, and from what other ways make with as many calls of the teacher (docs/worth.md)
# make kubernetes  deploy/kubernetes/base and models anew, from compose.yaml
# make test-slurm  tests on a real Slurm of four nodes, which apt-get install slurm-wlm brings
# make openapi  docs/openapi/*.json anew, from the apps
# make scale-slurm  as many structures of a million as 45 minutes carry, on a Slurm of four nodes whose jobs come and go
# make bench-growth  seconds to add a tenth to 20,000 structures against making them anew
# make bench-watching  the rate of a run that fifty browsers watch, against one that nobody does
# make scale-plan  plan, judgements and status of 10,000,000 structures that are made up: processor time and memory as they grow; 30 minutes
# make scale  120,000 structures with a teacher that computes nothing: times, sizes and memory; STRUCTURES=2000 takes two minutes
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?= # to every installation, such as --extra-index-url <PyTorch's index of CPU wheels>: on Linux, PyPI's torch is the CUDA build of 3 GB
WORKERS ?= 3 # also on two cores: some tests wait
STRUCTURES ?= 120000
PARALLEL = --dist loadfile --no-loadscope-reorder # a file is one worker's; those that take longest come first
SMALL = rdkit,pymatgen,ase,7net
ALL = $(SMALL),labeller,chgnet,xtb,benchmarks,optimade,mattergen,chemeleon,crystalflow,moldiff,geodiff,training,assess,telemetry,test
QUICKSTART_INSTALLED = $(VENV)/.quickstart
INSTALLED = $(VENV)/.installed
REQUIREMENTS = pyproject.toml constraints.txt $(wildcard */requirements.txt */*/requirements.txt distillery/generators/models/requirements.txt)
INSTALL = $(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

unexport PYTHONDONTWRITEBYTECODE # what is imported is compiled once: pip is told not to compile all there is

.PHONY: run test test-containers test-pythons check mutants consumers bench bench-checks bench-growth bench-watching bench-host bench-worth scale openapi kubernetes test-slurm scale-slurm scale-plan clean

run: $(QUICKSTART_INSTALLED)
	$(VENV)/bin/distillery run recipes/quickstart.yaml

# Each process that tests has a core, not all of them; what asks for more threads all the same does not let them spin while they wait.
export OMP_WAIT_POLICY = PASSIVE
test: export OMP_NUM_THREADS = 1
test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n $(WORKERS) $(PARALLEL) --durations=20 tests/integration tests/contract tests/unit

test-containers: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n 2 $(PARALLEL) tests/containers

test-slurm: $(INSTALLED)
	$(VENV)/bin/python -m pytest tests/slurm

test-pythons: $(INSTALLED)
	$(VENV)/bin/python scripts/test_pythons.py $(if $(QUICKSTART),--quickstart)

check: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

mutants: $(INSTALLED)
	nice $(VENV)/bin/python scripts/mutants.py $(MODULE) $(MUTANTS)

bench-checks: $(INSTALLED)
	nice $(VENV)/bin/python -m tests.bench_checks

consumers: $(INSTALLED)
	nice $(VENV)/bin/python scripts/consumers.py data/quickstart/dataset.h5 $(NAMES)

bench: $(INSTALLED)
	$(VENV)/bin/python -m tests.bench

bench-host: $(INSTALLED)
	$(VENV)/bin/python -m tests.bench_host

bench-worth: $(INSTALLED)
	$(INSTALL) augment-atoms
	nice $(VENV)/bin/python -m tests.worth $(WORTH)

bench-watching: $(INSTALLED)
	$(VENV)/bin/python -m tests.bench_watching

bench-growth: $(INSTALLED)
	$(VENV)/bin/python -m tests.bench_growth

scale: $(INSTALLED)
	$(VENV)/bin/python -m tests.scale --structures $(STRUCTURES)

scale-slurm: $(INSTALLED)
	$(VENV)/bin/python -m tests.slurm.scale

scale-plan: $(INSTALLED)
	$(VENV)/bin/python -m tests.scale_plan

kubernetes: $(INSTALLED)
	$(VENV)/bin/python scripts/kubernetes.py

openapi: $(INSTALLED)
	$(VENV)/bin/python -m tests.openapi

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

define make_environment
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Distillery needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; say make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip # Python 3.11's own takes a third longer
endef

$(QUICKSTART_INSTALLED): $(REQUIREMENTS)
	$(make_environment)
	$(INSTALL) -e '.[$(SMALL)]'
	touch $@

$(INSTALLED): $(REQUIREMENTS)
	$(PYTHON) scripts/can_compile.py
	$(make_environment)
	$(INSTALL) -e '.[$(ALL)]'
	$(INSTALL) --no-deps mattergen # its own pins can't be resolved
	$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(INSTALL) --no-deps orb-models # nor, from Python 3.13 on, these
	touch $(QUICKSTART_INSTALLED) $@
