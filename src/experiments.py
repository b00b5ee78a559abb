"""Experiments, records and claims: what chapters share that needs no network library. ``helpers`` passes all of it on to the chapters.

An experiment is found by its key (``chapters.outcome_key``) or computed and kept; a record is what later pages read of a chapter.
"""

import csv
import io
import json
import linecache
import os
import time
from dataclasses import replace

import joblib
import numpy as np

import assets
import chapters
import outcomes
from machine import provenance
from paths import PROJECT, BookError, decides_nothing, runs_folder, write_atomically

# --- experiments: found, or computed here ----------------------------------------------------------------------


@decides_nothing
def run(experiments, profile, seeds=(0,)):
    """The outcomes of a chapter's experiments: taken from where they lie, or computed here and kept.

    Args:
        experiments: {name: {"function": …, "data": {"image_size": …, …}, "seeds": […], and arguments}}. The function is called with ``parts``
            (an ``assets.Split``) if there is ``data``, with ``seed`` if there are seeds, and with the arguments. It takes nothing else from
            the page, so that it can also run alone, on another machine.
        profile: which photos and weights may be used.
        seeds: for experiments that name none of their own; None: chance has no part.

    Returns:
        {name: {seed: outcome}}, or {name: outcome} for an experiment without seeds.
    """
    results = {}
    for experiment in chapters.expand(experiments, seeds):
        result = outcome_of(experiment, profile)
        if experiment.seed is None:
            results[experiment.name] = result
        else:
            results.setdefault(experiment.name, {})[experiment.seed] = result
    return results


@decides_nothing
def outcome_of(experiment, profile):
    """The outcome of one ``chapters.Experiment``: found by its key in ``runs/`` or ``edition/``, else computed and written."""
    function = experiment.function
    if isinstance(function, str):  # the function of a chapter, "train" or "training.train"
        chapter, _, name = function.rpartition(".")
        chapter = chapter or experiment.chapter
        function = chapters.definitions(chapter, only_functions=True, profile=profile)[name]
    own, data = _module_of(function), assets.stock(profile)
    key = chapters.outcome_key(replace(experiment, function=function.__name__, profile=profile), data, own)
    path = outcomes.find(experiment.run, key, profile)
    if path is None:
        given = {} if experiment.seed is None else {"seed": experiment.seed}
        if experiment.data:
            sizes = {k: v for k, v in experiment.data.items() if k != "image_size"}
            given["parts"] = assets.split(assets.load_photos(profile, experiment.data["image_size"]), experiment.seed or 0, **sizes)
        started, spent = time.monotonic(), time.process_time()
        result = function(**given, **experiment.arguments)
        about = {"key": key, "experiment": experiment.name, "seed": experiment.seed, "chapter": experiment.chapter, "profile": profile}
        about |= {"arguments": experiment.arguments, "data": experiment.data, "photos": data["photos"][0]}
        path = outcomes.path_of(experiment.run, profile)
        about["seconds"] = round(time.monotonic() - started, 1)
        about["processor_seconds"] = round(time.process_time() - spent, 1)  # of all cores together, whatever else the machine was doing
        outcomes.save(path, result, {**about, **provenance()})
        outcomes.keep(path, profile, key)
    return outcomes.load(path)[0]


@decides_nothing
def _module_of(function):
    """What the notebook or chapter that defines a function defines: the cells of all its functions and classes, imports of its names."""
    cells, imports = {}, []
    for name, value in function.__globals__.items():
        code = getattr(getattr(value, "__wrapped__", value), "__code__", None)  # of what lru_cache wraps, too
        if code is None and isinstance(value, type):  # a class stands where its methods stand
            code = next((m.__code__ for m in vars(value).values() if hasattr(m, "__code__")), None)
        if code is not None and getattr(value, "__module__", None) == function.__module__:
            cells[code.co_filename] = "".join(linecache.getlines(code.co_filename))
        elif type(value).__name__ == "module":
            imports.append(f"import {value.__name__} as {name}")
        elif getattr(value, "__module__", None) and hasattr(value, "__name__"):  # a value has the module of its class
            imports.append(f"from {value.__module__} import {getattr(value, '__name__', name)} as {name}")
    return chapters.Module(function.__module__, *(i for i in imports if i.isascii() and "<" not in i and "-" not in i), *cells.values())


@decides_nothing
def load_outcomes(name, profile):
    """The outcomes of another chapter's experiment, {seed: outcome}; the pipeline sees to it that they are there first.

    Raises:
        BookError: it has not been computed.
    """
    found = {}
    for experiment in chapters.all_experiments(profile).values():
        if experiment.name == name:
            path = outcomes.find(experiment.run, chapters.outcome_key(experiment, assets.stock(profile)), profile)
            if path is None:
                raise BookError(f"The experiment {experiment.run} has not been computed. Run make book, or the chapter {experiment.chapter}.")
            found[experiment.seed] = outcomes.load(path)[0]
    return found


@decides_nothing
def cached(function):
    """Decorator: keep what a function returns on disk, and return it the next time without running the function.

    For what is computed on a page and is too large, or too small, to be an experiment. The key is the function's own code, all that this uses,
    and its arguments; so call it with keyword arguments, and hand it all that it depends on.
    """
    own = _module_of(function)
    used = chapters.closure({(own.name, function.__name__)}, own)
    key = chapters.digest(sorted(d.code for d in used.values() if d.counts))

    def compute(key, arguments):  # an edit of these two lines discards what is stored
        return function(**arguments)

    compute.__module__, compute.__qualname__, compute.__name__ = "book", function.__name__, function.__name__
    stored = joblib.Memory(runs_folder() / "cache" / "computed", verbose=0).cache(compute)
    return lambda **arguments: stored(key, arguments)


# --- records ---------------------------------------------------------------------------------------------------


@decides_nothing
def results_folder(profile):
    """Folder of a profile's records, ``runs/<profile>/results``; made if it is not there."""
    folder = runs_folder() / profile / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@decides_nothing
def save_records(chapter, profile, results, **more):
    """Write the records of a training chapter: for each seed ``results/<chapter>-seed<k>.json``, and ``.csv`` with each test photo.

    Args:
        chapter, profile: which run this is.
        results: {experiment: {seed: outcome}}, as ``run`` returns it; what has no epochs has no ``epochs``, ``best_epoch``, ``history``.
        more: what else the numbers depend on (weights in words, …), for the provenance.

    Returns:
        {experiment: {seed: entry of the record}}, accuracies from 0 to 1.
    """
    entries = {name: {} for name in results}
    told = ("train_size", "epochs", "best_epoch", "trainable_parameters", "history")
    for seed in sorted({seed for by_seed in results.values() for seed in by_seed}):
        experiments, rows = [], [["experiment", "photo", "label", "probability"]]
        for name, result in ((name, by_seed[seed]) for name, by_seed in results.items() if seed in by_seed):
            test, about = result["test"], outcomes.about(outcomes.path_of(f"{name}-seed{seed}", profile))
            probability = np.clip(test["probability"].astype(np.float64), 1e-7, 1 - 1e-7)
            truth = test["labels"].astype(np.float64)
            entries[name][seed] = {
                "name": name,
                "accuracy": float(np.mean((probability > 0.5) == (truth == 1))),
                "loss": float(-np.mean(truth * np.log(probability) + (1 - truth) * np.log(1 - probability))),
                "test_size": len(truth),
                **{k: result[k] for k in told if k in result},
                "seconds": result.get("seconds", about["seconds"]),  # of the training alone, where its function says it
                **{k: about.get(k) for k in ("processor_seconds", "device", "backend", "precision")},
            }
            experiments.append(entries[name][seed])
            rows += [[name, photo, int(t), f"{p:.6f}"] for photo, t, p in zip(test["names"], truth, test["probability"])]
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(rows)
        write_atomically(results_folder(profile) / f"{chapter}-seed{seed}.csv", table.getvalue().encode())
        more_about = provenance(photos=assets.stock(profile)["photos"][0], **more)
        save_result(f"{chapter}-seed{seed}", profile, chapter=chapter, seed=seed, experiments=experiments, provenance=more_about)
    return entries


@decides_nothing
def save_result(name, profile, **content):
    """Write ``results/<name>.json``: what later pages quote from a chapter."""
    text = json.dumps({"profile": profile, **content}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(results_folder(profile) / f"{name}.json", text.encode())


@decides_nothing
def needs(*patterns, profile):
    """Say that a chapter reads records of others: the pipeline executes these first. Here it sees to it that they are there.

    Args:
        patterns: names of records, with ``*`` for any letters: "noise", "training-seed*"; "*" alone for all chapters.

    Returns:
        Paths of the records, in the order of the chapters.

    Raises:
        BookError: a record is missing.
    """
    paths = [results_folder(profile) / f"{name}.json" for pattern in patterns for name in chapters.matching_records(pattern, profile)]
    if missing := [path for path in paths if not path.exists()]:
        raise BookError(f"{missing[0]} is missing: a chapter that this one reads has not been executed. Run: make book PROFILE={profile}")
    return paths


@decides_nothing
def load_records(pattern, profile):
    """The records of other chapters whose names fit a pattern, such as ``*-seed*``: a list of dicts, by chapter and seed."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in needs(pattern, profile=profile)]


@decides_nothing
def committed(name):
    """A file of the project that no run makes, such as ``edition/audit.csv``: its path, or None if there is none.

    Named where it is read, in a plain text: so an edit of the file executes the chapter anew.
    """
    path = PROJECT / name
    return path if path.is_file() else None


# --- claims ----------------------------------------------------------------------------------------------------


@decides_nothing
def claim(text, holds):
    """State a finding: in words, and as the comparison that makes it true.

    ``holds`` is what a small function of plain numbers returns, which stands in the chapter and has two examples in its docstring, one that
    gives True and one that gives False: so a test sees that the claim can fail.

    Raises:
        BookError: the claim is false in a run with the profile report, or ``holds`` is neither true nor false.
    """
    if not isinstance(holds, bool | np.bool_):
        raise BookError(f"The claim {text!r} is neither true nor false but {holds!r}. Hand over a comparison.")
    chapter, profile = os.environ.get("BOOK_CHAPTER"), os.environ.get("BOOK_PROFILE")  # of the run; none where a chapter is opened alone
    if profile == "report" and not holds:
        raise BookError(f"The chapter {chapter} claims: {text!r}. In this run it does not hold. Look at the numbers, then mend the text or the code.")
    print(f"{'holds' if holds else 'does not hold in this run'}: {text}")
    if chapter:
        path = results_folder(profile) / f"{chapter}.claims.json"
        stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_atomically(path, (json.dumps({**stated, text: bool(holds)}, indent=1, ensure_ascii=False) + "\n").encode())


@decides_nothing
def load_claims(profile):
    """What the chapters claim, and whether it held: {chapter: {text: bool}}, in reading order."""
    paths = {chapter: results_folder(profile) / f"{chapter}.claims.json" for chapter in chapters.chapters()}
    return {chapter: json.loads(path.read_text(encoding="utf-8")) for chapter, path in paths.items() if path.exists()}
