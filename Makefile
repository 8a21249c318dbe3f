# make demo   set up, condense the embedded digits, draw the tables and figures (minutes)
# make demo-all   the other tables of the paper as well
# make status   how far the grid is; of another config: make status CONFIG=config/demo.yaml;
#               WATCH=1 looks again every few seconds, JSON=1 is for programs
# make test   set up and run the tests
# make test-slurm   run the tests on a SLURM that they bring up, as root on Debian or Ubuntu
# make dist   build the sdist and the wheel
# make docs   build the documentation in build/site
# make check  linters and type checker;  make benchmark  time it beside the plain loop
# make gpu-check   is the GPU's path right, and how fast? In parts of 8 minutes, call it again
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export OMP_NUM_THREADS ?= 1

.PHONY: demo demo-all status test test-slurm check docs dist benchmark gpu-check setup lock clean

DEMO := snakemake --configfile config/demo.yaml --cores $(CORES)
FIGURES := results/demo/figures/figure1_condensed_sets.png results/demo/figures/figure2_accuracy.png

demo: $(READY)
	$(DEMO) table1 $(FIGURES)
	@cat results/demo/tables/table1.md
	@echo "Tables and figures: results/demo/tables, results/demo/figures. 'make demo-all' adds the others."

demo-all: $(READY)
	$(DEMO) all
	@cat results/demo/tables/*.md

status: $(READY)
	@python -m workflow_scripts.status $(if $(JSON),--json) $(if $(CONFIG),"$(CONFIG)") \
	  $(if $(WATCH),--watch)

test: $(READY)
	pytest -n $(CORES) --dist loadfile

# Where there can be no SLURM, it says so and why, and the rest of CI goes on.
test-slurm: $(READY)
	@why=$$(python tests/slurm/cluster.py) && if [ -z "$$why" ]; then pytest tests/slurm; \
	  else echo "make test-slurm: the tests on SLURM did NOT run: $$why"; fi

check: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint
	codespell

# In strict mode: a link that leads nowhere ends it.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo "build/site/index.html; with a search: python -m http.server --directory build/site"

# An sdist, and a wheel that is built from it alone, in dist/.
dist: $(READY)
	rm -rf build/bdist* build/lib dist dclib.egg-info
	python -c "import setuptools.build_meta as b; b.build_sdist('dist')"
	pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz

# MNIST has to be in $$DCLIB_DATA_DIR or data/, or a network to download it.
benchmark: $(READY)
	OMP_NUM_THREADS=$(CORES) PYTHONPATH=.:tests python benchmarks/speed.py

gpu-check: $(READY)
	PYTHONPATH=.:tests python benchmarks/gpu_check.py

setup: $(READY)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is $$($(PYTHON) --version), Python 3.11 or later is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

# Renew requirements.lock from the ranges in pyproject.toml, in an environment of its own.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet ".[workflow,dev,docs]"
	build/lock/bin/python -m pip freeze --exclude dclib \
	  | sed -E 's/^((nvidia|cuda|triton)[^ ]*)$$/\1 ; sys_platform == "linux"/' > requirements.lock

clean:
	rm -rf results/demo .snakemake build
