# The front door of the book; the pipeline itself is the Snakefile. `make help` lists the targets.
PROFILE  ?= quick
EXECUTOR ?= local
PYTHON   ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
              $$p -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
# A backend once installed stays the default of this folder.
BACKEND  ?= $(or $(KERAS_BACKEND),$(shell cat .venv/backend 2>/dev/null),tensorflow)
RUN      := .venv/bin/python

# Packages of somebody's other projects are not this book's. src/install.py sees to pip's settings, src/pipeline.py to the rest.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP MPLBACKEND
export PYTHONNOUSERSITE := 1
export KERAS_BACKEND := $(BACKEND)

ZIG      ?= python3
yes       = $(filter-out 0 no false,$(1))
INSTALL   = $(or $(PYTHON),$(wildcard $(RUN)),none) -I src/install.py --backend $(BACKEND) $(if $(call yes,$(GPU)),--gpu) $(if $(call yes,$(SYSTEM_PACKAGES)),--system)
BOOK      = $(RUN) src/pipeline.py book --profile $(PROFILE) $(if $(filter-out local,$(EXECUTOR)),--executor $(EXECUTOR)) $(if $(JOBS),--jobs $(JOBS))
BUNDLING  = $(if $(PYTHON_VERSION),--python $(PYTHON_VERSION)) $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(PIECE),--piece $(PIECE)) \
            $(if $(BUNDLE),--to "$(BUNDLE)") $(if $(WITHOUT),--without "$(WITHOUT)") $(if $(call yes,$(GPU)),--gpu)

.DEFAULT_GOAL := help
.PHONY: help install book html edition compare slides recipes live test test-faults test-cluster test-bundle bundle bench requirements clean python installed installed-test

help:           ## list the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\): .*## /  \1\t/p; s/^\([a-z-]*\):  *## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16 | sort -u
	@echo "Settings (make book PROFILE=report):"
	@echo "  PROFILE       quick (minutes, the default), report (full size, hours on a CPU), test (seconds, drawn photos)"
	@echo "  BACKEND       tensorflow, jax or torch; only that one is installed (now: $(BACKEND))"
	@echo "  GPU           1: install CUDA for the backend, on Linux with an NVIDIA card (torch has it in any case)"
	@echo "  SYSTEM_PACKAGES  1: make .venv on top of what this machine has installed, its own CUDA build of JAX, say"
	@echo "  EXECUTOR      local (the default) or slurm: every training and chapter becomes a job of the cluster"
	@echo "  JOBS          how many jobs the cluster is given at a time"
	@echo "  BOOK_DATA     a folder that holds cats_vs_dogs/ and weights/; without it: data/, then a download"
	@echo "  OWN           a folder of your own photos, a sub-folder for each class, for the chapter on photos of your own"
	@echo "  BOOK_MEMORY   GiB of memory that a run may use (default: what is free); with less, fewer chapters run side by side"
	@echo "  PYTHON        a Python 3.11 to 3.13 (now: $(or $(PYTHON),none found))"
	@echo "  ZIG           of make live: a Python that has live/requirements.txt (now: $(ZIG))"
	@echo "Settings of make bundle (make bundle BACKEND=jax PYTHON_VERSION=3.12; more: $(RUN) src/bundle.py --help):"
	@echo "  PYTHON_VERSION, PLATFORM  of the other machine, 3.12 and linux_aarch64, say (default: as this one)"
	@echo "  BUNDLE        the folder to write (default: _build/bundle)"
	@echo "  PIECE         MiB of a piece at most (default: 25)"
	@echo "  WITHOUT       packages that the other machine has, for SYSTEM_PACKAGES=1 there: \"jax jaxlib scipy\""

install: installed  ## make .venv and install what the book needs; every target below does so itself

book: installed  ## execute the chapters that need it and build the pages
	@$(BOOK)

html: installed  ## build the pages of the edition, the committed full-size results; nothing is executed
	@$(RUN) src/pipeline.py html

edition: installed  ## put what PROFILE=report has finished into edition/
	@$(RUN) src/pipeline.py promote

compare: installed  ## each experiment of your full run beside the edition's, and what chance does not explain
	@$(RUN) src/pipeline.py compare

slides: installed  ## make the chapters' slides anew from the pages that are built, and name them
	@$(RUN) src/pipeline.py slides

recipes: installed  ## compare recipes on validation photos (hours; writes edition/recipes.json)
	@$(RUN) src/recipes.py

bundle: installed  ## pack project, packages, photos and weights for a machine without a network
	@$(RUN) src/bundle.py --backend $(BACKEND) $(BUNDLING)

test: installed-test  ## run all tests, the whole book in the test profile and a browser among them
	@$(RUN) -m pytest --numprocesses 2

test-faults: installed-test  ## kill a run twenty times, starve it, start it twice (half an hour)
	@$(RUN) -m pytest -m faults

test-cluster: installed-test  ## run the test profile on a SLURM cluster of one node, started here (needs slurmctld, slurmd, munge)
	@$(RUN) -m pytest -m cluster

test-bundle: installed-test  ## from the pieces of a bundle to the book's pages, without a network (Linux)
	@$(RUN) -m pytest -m bundle

bench: installed  ## time the book's way of training against the usual one
	@$(RUN) src/bench.py

requirements: python  ## pin requirements*.in and the backends anew, with hashes (needs uv)
	@$(PYTHON) -I src/install.py --lock

live: installed  ## compile live/nn.c for the live figures (needs ZIG: a Python with live/requirements.txt)
	cd live && $(ZIG) -m ziglang cc @nn.flags -o nn.wasm nn.c
	@$(RUN) src/live.py compiled

clean:  ## delete what runs have made (runs/, _build/), keep data/ and .venv/
	rm -rf runs _build

# What is installed is judged by the content of the locks, in src/install.py, which takes a tenth of a second when all is there.
installed: python
	@$(INSTALL)

installed-test: python
	@$(INSTALL) --test

python:
	@test -n "$(or $(PYTHON),$(wildcard $(RUN)))" || { echo "The book needs Python 3.11, 3.12 or 3.13, and none is on the PATH. Install one, or name it: make book PYTHON=/path/to/python3.11"; exit 1; }
