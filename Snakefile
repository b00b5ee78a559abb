# The pipeline: chapters -> executed chapters (papermill) -> pages (jupyter-book). `make book` calls it.
#
# Sources are inputs as ancient(): a newer file alone repeats nothing. What repeats a run is a change of what decides
# its outputs (notebooks.run_key): notebooks.drop_stale deletes such a run before this file is read. A finished run is
# never repeated after a kill.
import sys

sys.path.insert(0, f"{workflow.basedir}/src")
import notebooks
import pages

PROFILE = config.get("profile", "quick")
RUNS = f"{notebooks.runs_folder()}/{PROFILE}"
PAGES = f"{notebooks.BUILD}/{PROFILE}/html/index.html"
CHAPTERS = notebooks.chapters()
NEEDS = {  # chapters that read other chapters' results
    "results": notebooks.PER_SEED,
    "activations": ("augmentation", "fine_tuning"),
    "noise": ("transfer",),
    "filters": ("noise",),
    "augmentation_solutions": ("augmentation",),
    "noise_solutions": ("transfer", "noise"),
    "results_solutions": notebooks.PER_SEED,
    "activations_solutions": ("augmentation", "fine_tuning"),
    "edition_solutions": ("training",),
    "edition": [c for c in CHAPTERS if c != "edition"],
}


def records(chapter):
    return [f"{RUNS}/results/{run}.json" for run in notebooks.runs_of(chapter, PROFILE)]


wildcard_constraints:
    chapter="[a-z_]+",
    seed=r"\d+",


rule pages:
    input:
        [f"{RUNS}/notebooks/{run}.ipynb" for c in CHAPTERS for run in notebooks.runs_of(c, PROFILE)],
        [str(p) for p in sorted(notebooks.BOOK.rglob("*")) if p.is_file() and ".ipynb_checkpoints" not in p.parts],
        notebooks.PROJECT / "_config.yml",
        notebooks.PROJECT / "_toc.yml",
    output:
        PAGES,
    params:
        banner=pages.banner(PROFILE),
    threads: workflow.cores
    shell:
        "exec {sys.executable:q} {notebooks.__file__:q} render --profile {PROFILE}"


def cores(wildcards):
    """At full size, what computes for long runs alone: two trainings at once are slower. Short runs mostly import and compile."""
    long = PROFILE == "report" and wildcards.chapter in (*notebooks.PER_SEED, "filters", "noise", "film")
    return workflow.cores if long else 1


rule chapter:
    input:
        source=ancient(f"{notebooks.BOOK}/chapters/{{chapter}}.md"),
        needs=lambda w: [r for c in NEEDS.get(w.chapter, ()) for r in records(c)],
    output:
        notebook=RUNS + "/notebooks/{chapter}.ipynb",
        record=RUNS + "/results/{chapter}.json",
    threads: cores
    message:
        "{wildcards.chapter}"
    shell:
        "exec {sys.executable:q} {notebooks.__file__:q} execute {wildcards.chapter} --profile {PROFILE}"


rule chapter_with_seed:
    input:
        source=ancient(f"{notebooks.BOOK}/chapters/{{chapter}}.md"),
    output:
        notebook=RUNS + "/notebooks/{chapter}-seed{seed}.ipynb",
        record=RUNS + "/results/{chapter}-seed{seed}.json",
    threads: cores
    message:
        "{wildcards.chapter}, seed {wildcards.seed}"
    priority: 1  # others wait for these
    shell:
        "exec {sys.executable:q} {notebooks.__file__:q} execute {wildcards.chapter} --profile {PROFILE} --seed {wildcards.seed}"
