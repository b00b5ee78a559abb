"""Choose recipes on validation photos, with seeds that the edition does not use: `make recipes`.

A candidate is a training chapter's own training function with other arguments. What is compared is the best
validation accuracy; no test photo is looked at. Each finished candidate is written to edition/recipes.json at once
and not repeated. The choice itself stands in profiles/report.yml.
"""

import json
import sys

import joblib
import numpy as np

import assets
import notebooks

SEEDS = (100,)
RECORD = assets.PROJECT / "edition" / "recipes.json"


def small_cnn_augmented(c):
    """Train as the chapter does; ``c`` holds the names that the chapter's cells define."""
    shared = {name: c[name] for name in ("seed", "image_size", "batch_size", "dropout", "learning_rate", "epochs")}
    return c["train"](name="small_cnn_augmented", augment=True, optimizer="adam", falling=True, **shared)


def vgg19_frozen(c):
    shared = {name: c[name] for name in ("seed", "image_size", "profile")}
    c["maps"] = {"vgg19_frozen": c["block5_maps"](name="vgg19", scaling="vgg", rounded=False, views=0, which=("train", "validation", "test"), **shared)}
    shared = {name: c[name] for name in ("seed", "epochs", "learning_rate", "batch_size", "head_units")}
    return c["train_head"](experiment="vgg19_frozen", digest=joblib.hash(c["maps"]), **shared)


def vgg19_unfrozen(c):
    names = ("views", "head_epochs", "epochs", "learning_rate", "batch_size", "seed", "image_size", "profile")
    return c["fine_tune"](name="vgg19", scaling="vgg", **{name: c[name] for name in names})


CANDIDATES = [  # training, its chapter, what differs from profiles/report.yml and the chapter's own parameters
    (small_cnn_augmented, "augmentation", {"epochs": 60, "learning_rate": 3e-4, "dropout": 0.5}),
    (vgg19_unfrozen, "fine_tuning", {"views": 3, "head_epochs": 20, "epochs": 18}),
    (vgg19_frozen, "transfer", {"epochs": 30, "head_units": 256}),
    (vgg19_frozen, "transfer", {"epochs": 30, "head_units": 512}),
    (small_cnn_augmented, "augmentation", {"epochs": 150, "learning_rate": 3e-4, "dropout": 0.5}),
]


def main():
    done = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    for seed in SEEDS:
        for training, chapter, changes in CANDIDATES:
            entry = {"experiment": training.__name__, "seed": seed, "changes": changes}
            if any({k: d[k] for k in entry} == entry for d in done):
                continue
            print(f"{training.__name__}, seed {seed}: {changes}", file=sys.stderr, flush=True)
            result = training(notebooks.definitions(chapter, **{**notebooks.parameters_for(chapter, "report", seed), **changes}))
            curve = result["history"]["val_accuracy"]
            entry |= {"best": max(curve), "best_epoch": result["best_epoch"], "last_five": float(np.mean(curve[-5:]))}
            entry |= {"seconds": result["seconds"], "val_accuracy": [round(v, 4) for v in curve]}
            done.append(entry)
            assets.write_atomically(RECORD, (json.dumps(done, indent=1) + "\n").encode())
            print(f"    best on validation {max(curve):.1%} (epoch {result['best_epoch']}), last five {entry['last_five']:.1%}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except assets.BookError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. Finished candidates are kept; the same command goes on from there.")
