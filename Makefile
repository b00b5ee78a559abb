# The front door of the book; the pipeline itself is the Snakefile. `make help` lists the targets.
PROFILE ?= quick
PYTHON  ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
             $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
RUN     := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help book html edition slides recipes test test-faults bench requirements clean

help:           ## list the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\): .*## /  \1\t/p; s/^\([a-z-]*\):  *## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16 | sort -u
	@echo "Settings (make book PROFILE=report):"
	@echo "  PROFILE       quick (minutes, the default), report (full size, hours on a CPU), test (seconds, drawn photos)"
	@echo "  BOOK_DATA     a folder that holds cats_vs_dogs/ and weights/; without it: data/, then a download"
	@echo "  BOOK_MEMORY   GiB of memory that a run may use (default: what is free); with less, fewer chapters run side by side"
	@echo "  KERAS_BACKEND tensorflow (the default) or jax"
	@echo "  PYTHON        a Python 3.11 to 3.13 (now: $(or $(PYTHON),none found))"

book: .venv/.installed  ## execute the chapters that need it and build the pages
	@$(RUN) src/notebooks.py book --profile $(PROFILE)

html: .venv/.installed  ## build the pages of the edition, the committed full-size results; nothing is executed
	@$(RUN) src/notebooks.py html

edition: .venv/.installed  ## put what PROFILE=report has finished into edition/
	@$(RUN) src/notebooks.py promote

slides: .venv/.installed  ## make the chapters' slides anew from the pages that are built, and name them
	@$(RUN) src/slides.py

recipes: .venv/.installed  ## compare recipes on validation photos (hours; writes edition/recipes.json)
	@$(RUN) src/recipes.py

test: .venv/.installed-test  ## run all tests, the whole book in the test profile and a browser among them
	@$(RUN) -m pytest --numprocesses 2

test-faults: .venv/.installed-test  ## kill a run twenty times, starve it, start it twice (half an hour)
	@$(RUN) -m pytest -m faults

bench: .venv/.installed  ## time the book's way of training against the usual one
	@$(RUN) src/bench.py

requirements:  ## pin requirements*.in anew, with hashes (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes -q --upgrade --custom-compile-command "make requirements" requirements.in -o requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes -q --upgrade --custom-compile-command "make requirements" requirements-test.in -o requirements-test.txt

clean:  ## delete what runs have made (runs/, _build/), keep data/ and .venv/
	rm -rf runs _build

.venv/.installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "The book needs Python 3.11, 3.12 or 3.13, and none is on the PATH. Install one, or name it: make book PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@echo "Installing the packages of requirements.txt into .venv (about 1.5 GB, some minutes) …"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/.installed-test: .venv/.installed requirements-test.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $@
