"""Choose recipes on validation photos, with seeds that the edition does not use: `make recipes`.

A candidate is an experiment of a chapter with other arguments. What is compared is the best validation accuracy; no
test photo is looked at. Each finished candidate is written to edition/recipes.json at once and not repeated. The
choice itself stands in profiles/report.yml.
"""

import argparse
import json
import sys
from dataclasses import replace

SEEDS = (100,)  # from 100 up: the edition's own begin at 0

CANDIDATES = [  # experiment, and what differs from its chapter in profiles/report.yml
    ("small_cnn_augmented", {"epochs": 60, "learning_rate": 3e-4, "dropout": 0.5}),
    ("vgg19_unfrozen", {"views": 3, "head_epochs": 20, "epochs": 18}),
    ("vgg19_frozen", {"epochs": 30, "head_units": 256}),
    ("vgg19_frozen", {"epochs": 30, "head_units": 512}),
    ("small_cnn_augmented", {"epochs": 150, "learning_rate": 3e-4, "dropout": 0.5}),
]


def try_all(profile, record):
    """Compute the candidates that the file ``record`` does not have, and write each to it."""
    import numpy as np

    import chapters
    import helpers
    import outcomes
    from experiments import outcome_of
    from paths import write_atomically

    done = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    known = {e.name: e for e in chapters.all_experiments(profile).values()}
    for seed in SEEDS:
        for name, changes in CANDIDATES:
            entry = {"experiment": name, "seed": seed, "changes": changes}
            if any({k: d[k] for k in entry} == entry for d in done):
                continue
            print(f"{name}, seed {seed}: {changes}", file=sys.stderr, flush=True)
            helpers.setup(seed)
            own = f"{name}_recipe_{chapters.digest(changes)[:6]}"  # the name of its file
            result = outcome_of(replace(known[name], name=own, seed=seed, arguments={**known[name].arguments, **changes}), profile)
            curve = result["history"]["val_accuracy"]
            entry |= {"best": max(curve), "best_epoch": result["best_epoch"], "last_five": float(np.mean(curve[-5:]))}
            entry |= {"seconds": outcomes.about(outcomes.path_of(f"{own}-seed{seed}", profile))["seconds"], "val_accuracy": [round(v, 4) for v in curve]}
            done.append(entry)
            write_atomically(record, (json.dumps(done, indent=1) + "\n").encode())
            print(f"    best on validation {max(curve):.1%} (epoch {result['best_epoch']}), last five {entry['last_five']:.1%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="report", help="a file of profiles/ that holds what the candidates do not change (default: report)")
    options = parser.parse_args()
    from paths import EDITION, BookError, runs_folder

    record = EDITION / "recipes.json" if options.profile == "report" else runs_folder() / options.profile / "recipes.json"
    try:
        try_all(options.profile, record)
    except BookError as error:
        sys.exit(str(error))
    print(f"All candidates have been tried: {record}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. Finished candidates are kept; the same command goes on from there.")
