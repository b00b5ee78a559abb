"""The edition: what a full-size run has made, kept in git. Promoting a run to it, and comparing a run with it."""

import json

import nbformat
import numpy as np
import pandas as pd

import cast
import chapters
import execute
import live
import outcomes
import pages
from paths import EDITION, BookError, runs_folder, write_atomically


def promote(profile="report"):
    """Copy what a profile has finished to ``edition/``: notebooks, records, answers, outcomes; and choose the six photos that pages show.

    Nothing that shows somebody's own photos: what ran with a folder ``$OWN`` does not fit an edition without one.

    Raises:
        BookError: nothing is finished.
    """
    folder, data = runs_folder() / profile, {**chapters.found_data(profile), "album": None}
    done, missing = [], []
    for chapter in chapters.chapters():
        fits = execute.key_of(folder / "results" / f"{chapter}.json") == chapters.chapter_key(chapter, profile, data)
        (done if fits and (folder / "notebooks" / f"{chapter}.ipynb").exists() else missing).append(chapter)
    kept = []
    for run, experiment in chapters.all_experiments(profile).items():
        path = outcomes.path_of(run, profile)
        if outcomes.about(path).get("key") == chapters.outcome_key(experiment, data):
            write_atomically(EDITION / "outcomes" / path.name, path.read_bytes())
            kept.append(run)
        else:
            missing.append(run)
    if not done and not kept:
        raise BookError(f"The profile {profile} has finished nothing yet. Run: make book PROFILE={profile}")
    for chapter in done:
        notebook = nbformat.read(folder / "notebooks" / f"{chapter}.ipynb", as_version=4)
        write_atomically(EDITION / "notebooks" / f"{chapter}.ipynb", nbformat.writes(pages.standalone(notebook)).encode())
        for source in execute.files_of(chapter, folder / "results"):
            write_atomically(EDITION / "results" / source.name, source.read_bytes())
    write_atomically(EDITION / "data.json", json.dumps(data, indent=1).encode())
    if cast.ladder_of(profile)[0] in done:
        cast.write_six(profile, EDITION)
        try:
            live.collect()
        except BookError as error:
            print(f"The live figures keep the photos that they had. {error}")
    size = sum(p.stat().st_size for p in EDITION.rglob("*") if p.is_file()) / 2**20
    print(f"edition/ has been given {len(done)} chapters and {len(kept)} experiments of the profile {profile}; it has {size:.1f} MiB.")
    if missing:
        own = " (or run with photos of your own, which are not for the edition)" if chapters.found_data(profile).get("album") else ""
        print(f"Not finished yet: {', '.join(missing)}{own}.")


def accuracies(paths):
    """Test accuracies in records: a table with the columns experiment, seed, accuracy, test_size."""
    rows = [
        {"experiment": e["name"], "seed": record["seed"], "accuracy": e["accuracy"], "test_size": e["test_size"]}
        for record in (json.loads(p.read_text(encoding="utf-8")) for p in paths if p.exists())
        for e in record["experiments"]
    ]
    return pd.DataFrame(rows, columns=["experiment", "seed", "accuracy", "test_size"])


def compare(profile):
    """Print each experiment's accuracy beside the edition's mean and range, and say which lie outside what chance allows.

    A run's mean over its seeds is compared with the edition's. Chance allows 2 standard errors of the difference: those of the seeds (the
    standard deviation over the edition's seeds) and those of the photos (binomial, in both tests).

    Raises:
        BookError: the profile has no records.
    """
    folder = runs_folder() / profile / "results"  # in it may be records of chapters that are gone
    ours = accuracies(folder / f"{name}.json" for name in chapters.matching_records("*-seed*", profile))
    theirs = accuracies(sorted((EDITION / "results").glob("*-seed*.json")))
    if ours.empty:
        raise BookError(f"The profile {profile} has no records of trainings yet. Run: make book PROFILE={profile}")
    print(f"{'experiment':34} {'this run':>9} {'seeds':>6}   {'edition':>8} {'from':>7} {'to':>7} {'seeds':>6}")
    outside = []
    for name, group in ours.groupby("experiment", sort=False):
        mean, known = group.accuracy.mean(), theirs[theirs.experiment == name]
        line = f"{name:34} {mean:9.1%} {len(group):6}"
        if known.empty:
            print(f"{line}   not in the edition")
            continue
        spread = known.accuracy.std(ddof=1) if len(known) > 1 else 0.0
        centre = known.accuracy.mean()
        photos = centre * (1 - centre) * (1 / group.test_size.iloc[0] + 1 / known.test_size.iloc[0])
        allowed = 2 * float(np.sqrt(spread**2 * (1 / len(group) + 1 / len(known)) + photos))
        far = abs(mean - centre) > allowed
        outside += [name] if far else []
        print(f"{line}   {centre:8.1%} {known.accuracy.min():7.1%} {known.accuracy.max():7.1%} {len(known):6}" + (f"   more than {allowed:.1%} apart" if far else ""))
    print("\nOutside what chance allows: " + (", ".join(outside) if outside else "none") + ".")
    if profile != "report":
        print(f"The profile {profile} is smaller than the edition's, so lower accuracies are to be expected.")
