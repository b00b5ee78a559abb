# The graph: photos and weights -> experiments -> chapters -> pages. `make book` calls it; so can you:
#
#     .venv/bin/python -m snakemake --cores 2 --config profile=test        (-n: only say what would be done, and why)
#
# Content decides what is done, never a file's time. Each rule's `key` stands for all that decides its outputs (chapters.py); when
# it is another than at the last run, Snakemake runs the rule ("Params have changed"), and what reads its outputs has another key, too.
# profiles/default/config.yaml tells Snakemake to look at nothing else.
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.io import IOFile

sys.path.insert(0, f"{workflow.basedir}/src")
import album
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
HERE = workflow.resource_settings.nodes is None and not workflow.remote_exec  # neither a run that gives its jobs to a cluster, nor such a job
CALL = f"exec {shlex.quote(sys.executable)} {shlex.quote(str(PROJECT / 'src' / 'pipeline.py'))}"


workdir: runs_folder()


try:
    SETTINGS = chapters.load_profile(PROFILE)
    GPUS = len(environment.cards()) if HERE else environment.cards_wanted() or 0  # a cluster's cards are not seen from here
    GPUS = int(config.get("gpus", GPUS))
    FREE = int(environment.free_memory() * 1024)
    CHAPTERS = chapters.chapters()
    RUNS_OF_EXPERIMENTS = list(chapters.all_experiments(PROFILE))
    if workflow.is_main_process:
        chapters.check(PROFILE)
except BookError as error:
    raise WorkflowError(str(error))

MEMORY = int(SETTINGS["memory"] * 1024)
if workflow.is_main_process:  # what all jobs together may take; --resources counts more
    given = dict(workflow.resource_settings.resources)
    if HERE and GPUS and "gpu" not in given:
        workflow.register_resource("gpu", GPUS)
    if HERE and "mem_mb" not in given:
        workflow.register_resource("mem_mb", max(FREE, MEMORY))
if workflow.remote_exec:  # what this job says goes to a file, from which the run that submitted it shows the lines that matter
    CALL = f"BOOK_CARDS={'given' if GPUS else 'none'} {CALL}"
    SAID = " 2> {log:q}"
else:
    SAID = ""


def cores(on_a_cluster, here=1):
    """Cores of a job: the profile's on a cluster, and never more than there are for this run."""
    return min(here if HERE else on_a_cluster, workflow.resource_settings.cores or on_a_cluster)


def found():
    """What `prepare` found; Snakemake runs it first if that is not known yet. (A job of a cluster starts when it is.)"""
    if workflow.is_main_process:
        checkpoints.prepare.get()
    return chapters.found_data(PROFILE)


def key(function):
    """``function`` of what was found, with a slip in the book told in its own words."""
    try:
        return function(found())
    except BookError as error:
        raise WorkflowError(str(error))


def out_of_step(data):
    """Finished work whose own key is another than it should be, and pages of which Snakemake's notes in runs/ are lost: its notes alone decide nothing."""
    wanted = {f"{RUNS}/outcomes/{run}.npz": chapters.outcome_key(e, data) for run, e in chapters.all_experiments(PROFILE).items()}
    wanted |= {f"{RUNS}/results/{c}.json": chapters.chapter_key(c, PROFILE, data) for c in CHAPTERS}
    known = {path: execute.key_of(Path(path)) if path.endswith(".json") else outcomes.about(path).get("key") for path in wanted}
    lost = {path for path in (PAGES, EDITION_PAGES) if workflow.persistence.params(IOFile(path)) is None}
    return {path for path in lost | {path for path, key in wanted.items() if known[path] != key} if os.path.exists(path)}


def everything(wildcards=None):
    """All that the pages show."""
    found()
    if workflow.is_main_process:
        workflow.dag.forcefiles.update(key(out_of_step))
    return (
        [f"{RUNS}/notebooks/{c}.ipynb" for c in CHAPTERS]
        + [f"{RUNS}/results/{c}.json" for c in CHAPTERS]
        + [f"{RUNS}/outcomes/{run}.npz" for run in RUNS_OF_EXPERIMENTS]
    )


onsuccess:
    for folder in ("notebooks", "results"):
        shutil.rmtree(outcomes.kept_folder(PROFILE) / folder, ignore_errors=True)


localrules:
    all,
    prepare,  # it may need a network, which a cluster's nodes often do not have
    pages,
    edition_pages,


rule all:
    input:
        everything,
        PAGES,
        EDITION_PAGES if EDITION.exists() and PROFILE != "test" else [],


checkpoint prepare:
    output:
        f"{RUNS}/data.json",
    params:
        key=assets.fingerprint(PROFILE) + album.fingerprint(),
    shell:
        "{CALL} prepare --profile {PROFILE}"


def jobs_of_experiments():
    """{name of the job: its experiments}: one experiment and seed, or, where the profile says that they are short, all of a chapter."""
    jobs = {}
    for run, experiment in chapters.all_experiments(PROFILE).items():
        jobs.setdefault(experiment.chapter if SETTINGS.get("short_experiments") else run, []).append(run)
    return jobs


def read_by(runs):
    """The outcomes of other jobs that these runs of experiments read."""
    read = {other for run in runs for other in chapters.outcomes_read(chapters.all_experiments(PROFILE)[run])}
    return [f"{RUNS}/outcomes/{run}.npz" for run in sorted(read - set(runs))]


for JOB, OWN in jobs_of_experiments().items():

    rule:
        name:
            f"experiment_{re.sub(r'[^a-z0-9]', '_', JOB.lower())}"
        input:
            ancient(f"{RUNS}/data.json"),
            lambda w, own=OWN: read_by(own),
        output:
            [f"{RUNS}/outcomes/{run}.npz" for run in OWN],
        params:
            key=lambda w, own=OWN: key(lambda d: [chapters.outcome_key(chapters.all_experiments(PROFILE)[run], d) for run in own]),
            runs=OWN,
            chapter=chapters.all_experiments(PROFILE)[OWN[0]].chapter,
        log:
            f"{RUNS}/jobs/experiment/{JOB}.log",
        threads: cores(SETTINGS.get("cores", 1), here=sys.maxsize if SETTINGS.get("whole_machine") and not GPUS else 1)
        resources:
            mem_mb=MEMORY,
            gpu=1 if GPUS else 0,
        priority: 1  # chapters wait for these
        message:
            JOB
        shell:
            "{CALL} train {params.runs} --chapter {params.chapter} --profile {PROFILE}" + SAID


rule chapter:
    input:
        ancient(f"{RUNS}/data.json"),
        lambda w: [f"{RUNS}/outcomes/{run}.npz" for run in chapters.runs_needed(w.chapter, PROFILE)],
        lambda w: [f"{RUNS}/results/{c}.json" for c in chapters.needs(w.chapter, PROFILE)],
    output:
        notebook=RUNS + "/notebooks/{chapter}.ipynb",
        record=RUNS + "/results/{chapter}.json",
    params:
        key=lambda w: key(lambda d: chapters.chapter_key(w.chapter, PROFILE, d)),
    log:
        RUNS + "/jobs/chapter/{chapter}.log",
    threads: cores(SETTINGS.get("cores", 1))
    resources:
        mem_mb=MEMORY,
    message:
        "{wildcards.chapter}"
    shell:
        "{CALL} execute {wildcards.chapter} --profile {PROFILE}" + SAID


rule pages:
    input:
        everything,
    output:
        PAGES,
    params:
        key=lambda w: key(lambda d: pages.key(PROFILE, d)),
    threads: cores(1, here=sys.maxsize)
    shell:
        "{CALL} pages --profile {PROFILE}"


rule edition_pages:
    output:
        EDITION_PAGES,
    params:
        key=lambda w: pages.edition_key(),
    shell:
        "{CALL} edition-pages"
