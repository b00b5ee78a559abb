"""Choose recipes on validation photos, with seeds that the edition does not use: `make recipes`.

A candidate is an experiment of a chapter with other arguments, or another size of the photos. What is compared are the last epochs' and the best
validation accuracy; no test photo is looked at. Each finished candidate is written to edition/recipes.json at once and not repeated. The choice itself stands
in profiles/report.yml.

Another machine, one with a GPU, say, can take a part of the work: run `make recipes` there (`make bundle` brings the book), and bring what it
has found home with `python src/recipes.py --add ITS/recipes.json`.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

MILD = {
    "rotation": 25,
    "shift": 0.1,
    "shear": 0.1,
    "zoom": [0.65, 1.1],
    "brightness": 0.1,
    "contrast": 0.2,
    "saturation": 0.2,
}
MEDIUM = {**MILD, "zoom": [0.5, 1.1], "roam": True}
STRONG = {**MILD, "zoom": [0.4, 1.1], "roam": True, "brightness": 0.2, "contrast": 0.3, "saturation": 0.3}
PLAIN = {
    "image_size": 180,
    "epochs": 100,
    "batch_size": 40,
    "pairs": [0, 0, 0, 0, 0],
    "changes": MILD,
    "weight_decay": 0.05,
}
DEEP = {**PLAIN, "pairs": [0, 0, 1, 1, 0]}

CANDIDATES = [  # experiment, seed (from 100 up: the edition's own begin at 0), and what differs from its chapter in profiles/report.yml
    ("small_cnn_augmented", 100, {"epochs": 60, "learning_rate": 3e-4, "dropout": 0.5}),
    ("vgg19_unfrozen", 100, {"views": 3, "head_epochs": 20, "epochs": 18}),
    ("vgg19_frozen", 100, {"epochs": 30, "head_units": 256}),
    ("vgg19_frozen", 100, {"epochs": 30, "head_units": 512}),
    ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 3e-4, "dropout": 0.5}),
    ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 3e-4}),
    ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 1e-3}),
    ("small_cnn_augmented_rmsprop", 100, {"epochs": 100}),
    ("small_cnn_augmented_report", 100, {"epochs": 400}),
    ("small_cnn_augmented_report_keras3", 100, {"epochs": 400}),
    (
        "small_cnn_modern",
        100,
        {"image_size": 150, "epochs": 150, "batch_size": 40, "changes": MILD, "weight_decay": 0.05},
    ),
    ("residual", 100, PLAIN),
    ("residual", 100, {**DEEP, "changes": MEDIUM}),
    ("residual", 100, {**DEEP, "weight_decay": 0.3}),
    ("residual", 100, {**DEEP, "image_size": 160, "epochs": 80}),
    ("residual", 100, {**DEEP, "changes": STRONG, "epochs": 150}),
]  # blends of two photos (mixup 0.2) were tried, too; that code is gone


def key_of(entry):
    """What was tried, as a text."""
    return json.dumps([entry["experiment"], entry["seed"], entry["changes"]], sort_keys=True)


def read(record):
    """The entries of a file of results; [] if there is none."""
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else []


def write(record, entries):
    """Write entries, one a line, the best first within each experiment; of two for the same candidate the later one."""
    from paths import write_atomically

    kept = sorted({key_of(e): e for e in entries}.values(), key=lambda e: (e["experiment"], -e["last_five"]))
    write_atomically(record, ("[\n" + ",\n".join(json.dumps(e) for e in kept) + "\n]\n").encode())
    return kept


def changed(experiment, changes):
    """An ``Experiment`` with other arguments, and with photos of another size where ``image_size`` is among the changes."""
    data = {name: changes.get(name, value) for name, value in (experiment.data or {}).items()}
    arguments = {name: value for name, value in changes.items() if name not in data}
    return replace(experiment, data=data, arguments={**experiment.arguments, **arguments})


def try_all(profile, record):
    """Compute the candidates that the file ``record`` does not have, and write each to it."""
    import numpy as np

    import chapters
    import helpers
    import outcomes
    from experiments import outcome_of

    entries = read(record)
    known = {e.name: e for e in chapters.all_experiments(profile).values()}
    for name, seed, changes in CANDIDATES:
        entry = {"experiment": name, "seed": seed, "changes": changes}
        if key_of(entry) in map(key_of, entries):
            continue
        print(f"{name}, seed {seed}: {changes}", file=sys.stderr, flush=True)
        helpers.setup(seed)
        own = f"{name}_recipe_{chapters.digest(changes)[:6]}"  # the name of its file
        result = outcome_of(replace(changed(known[name], changes), name=own, seed=seed), profile)
        about = outcomes.about(outcomes.path_of(f"{own}-seed{seed}", profile))
        curve = result["history"]["val_accuracy"]
        entry |= {
            "epochs": len(curve),
            "best": max(curve),
            "best_epoch": result["best_epoch"],
            "last_five": float(np.mean(curve[-5:])),
        }
        if twice := result.get("validation_mirrored"):
            entry["mirrored"] = float(np.mean((twice["probability"] > 0.5) == (twice["labels"] == 1)))
        entry |= {key: about[key] for key in ("seconds", "device", "backend", "precision")}
        entries = write(record, [*entries, {**entry, "val_accuracy": [round(v, 4) for v in curve]}])
        print(
            f"    best on validation {max(curve):.1%} (epoch {result['best_epoch']}), last five {entry['last_five']:.1%}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--profile",
        default="report",
        help="a file of profiles/ that holds what the candidates do not change (default: report)",
    )
    parser.add_argument(
        "--add",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="take over what another machine has found, and compute nothing",
    )
    options = parser.parse_args()
    from paths import EDITION, BookError, runs_folder

    record = (
        EDITION / "recipes.json" if options.profile == "report" else runs_folder() / options.profile / "recipes.json"
    )
    try:
        if options.add:
            write(record, [entry for file in (record, *options.add) for entry in read(file)])
        else:
            try_all(options.profile, record)
    except BookError as error:
        sys.exit(str(error))
    print(f"{len(read(record))} candidates: {record}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. Finished candidates are kept; the same command goes on from there.")
