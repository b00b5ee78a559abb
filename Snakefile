# The graph: photos and weights -> experiments -> chapters -> pages. `make book` calls it; so can you:
#
#     .venv/bin/python -m snakemake --cores 2 --config profile=test        (-n: only say what would be done, and why)
#
# Content decides what is done, never a file's time. Each rule's `key` stands for all that decides its outputs (chapters.py); when
# it is another than at the last run, Snakemake runs the rule ("Params have changed"), and what reads its outputs has another key, too.
# profiles/default/config.yaml tells Snakemake to look at nothing else.
import os
import shlex
import sys

sys.path.insert(0, f"{workflow.basedir}/src")
import assets
import chapters
import environment
import execute
import outcomes
import pages
from paths import BookError, BUILD, EDITION, PROJECT, runs_folder

PROFILE = config.get("profile", "quick")
RUNS = f"{runs_folder()}/{PROFILE}"
PAGES = f"{BUILD}/{PROFILE}/html/index.html"
EDITION_PAGES = f"{BUILD}/edition/html/index.html"
CALL = f"exec {shlex.quote(sys.executable)} {shlex.quote(str(PROJECT / 'src' / 'pipeline.py'))}"
GPUS = int(config.get("gpus", os.environ.get("BOOK_GPUS") or len(environment.cards())))


workdir: runs_folder()


try:
    SETTINGS = chapters.load_profile(PROFILE)
    CHAPTERS = chapters.chapters()
    RUNS_OF_EXPERIMENTS = list(chapters.all_experiments(PROFILE))
    for c in CHAPTERS:
        chapters.needs(c, PROFILE)
        chapters.experiments_read(c, PROFILE)
except BookError as error:
    raise WorkflowError(str(error))

MEMORY = int(SETTINGS["memory"] * 1024)
if GPUS and workflow.is_main_process:
    workflow.register_resource("gpu", GPUS)


def found():
    """What `prepare` found; Snakemake runs it first if that is not known yet."""
    checkpoints.prepare.get()
    return chapters.found_data(PROFILE)


def key(function, *names):
    try:
        return function(*names, found())
    except BookError as error:
        raise WorkflowError(str(error))


def everything(wildcards=None):
    """All that the pages show."""
    found()
    return (
        [f"{RUNS}/notebooks/{c}.ipynb" for c in CHAPTERS]
        + [f"{RUNS}/results/{c}.json" for c in CHAPTERS]
        + [f"{RUNS}/outcomes/{run}.npz" for run in RUNS_OF_EXPERIMENTS]
    )


rule all:
    input:
        everything,
        PAGES,
        EDITION_PAGES if EDITION.exists() and PROFILE != "test" else [],


checkpoint prepare:
    output:
        f"{RUNS}/data.json",
    params:
        key=assets.fingerprint(PROFILE),
    shell:
        "{CALL} prepare --profile {PROFILE}"


rule experiment:
    output:
        RUNS + "/outcomes/{run}.npz",
    params:
        key=lambda w: key(lambda d: chapters.outcome_key(chapters.all_experiments(PROFILE)[w.run], d)),
    wildcard_constraints:
        run="[a-z0-9_]+(-seed[0-9]+)?",
    threads: workflow.cores if SETTINGS.get("whole_machine") and not GPUS else 1
    resources:
        mem_mb=MEMORY,
        gpu=1 if GPUS else 0,
    priority: 1  # chapters wait for these
    message:
        "{wildcards.run}"
    shell:
        "{CALL} train {wildcards.run} --profile {PROFILE}"


rule chapter:
    input:
        lambda w: [f"{RUNS}/outcomes/{run}.npz" for run in chapters.runs_needed(w.chapter, PROFILE)],
        lambda w: [f"{RUNS}/results/{c}.json" for c in chapters.needs(w.chapter, PROFILE)],
    output:
        notebook=RUNS + "/notebooks/{chapter}.ipynb",
        record=RUNS + "/results/{chapter}.json",
    params:
        key=lambda w: key(lambda d: chapters.chapter_key(w.chapter, PROFILE, d)),
    resources:
        mem_mb=MEMORY,
    message:
        "{wildcards.chapter}"
    shell:
        "{CALL} execute {wildcards.chapter} --profile {PROFILE}"


rule pages:
    input:
        everything,
    output:
        PAGES,
    params:
        key=lambda w: key(lambda d: pages.key(PROFILE, d)),
    threads: workflow.cores
    shell:
        "{CALL} pages --profile {PROFILE}"


rule edition_pages:
    output:
        EDITION_PAGES,
    params:
        key=lambda w: pages.edition_key(),
    shell:
        "{CALL} edition-pages"
