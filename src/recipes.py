"""Choose recipes on validation photos, with seeds that the edition does not use: `make recipes`.

A candidate is a training chapter's own training function with other arguments. What is compared is the best
validation accuracy; no test photo is looked at. Each finished candidate is written to edition/recipes.json at once
and not repeated. The choice itself stands in profiles/report.yml.
"""

import json
import linecache
import sys

import numpy as np

import assets
import notebooks

SEEDS = (100,)
RECORD = assets.PROJECT / "edition" / "recipes.json"

AUGMENTED = (
    "train(name='small_cnn_augmented', augment=True, dropout=0.5, optimizer='adam', learning_rate=learning_rate, "
    "falling=True, epochs=epochs, seed=seed, image_size=image_size, batch_size=batch_size)"
)
UNLOCKED = (
    "fine_tune(name='vgg19', scaling='vgg', views=views, head_epochs=head_epochs, epochs=epochs, "
    "learning_rate=learning_rate, batch_size=batch_size, seed=seed, image_size=image_size, profile=profile)"
)
CANDIDATES = [  # chapter, the training, the arguments that differ from profiles/report.yml
    ("augmentation", AUGMENTED, {"epochs": 60, "learning_rate": 3e-4}),
    ("fine_tuning", UNLOCKED, {"views": 3, "head_epochs": 20}),
]


def definitions(chapter, **values):
    """Run a chapter's code cells up to the one that trains, with other parameters; returns its names."""
    names = {}
    for number, cell in enumerate(notebooks.code_cells(notebooks.read_source(chapter))):
        if "results = {" in cell.source:
            return names
        name = f"<{chapter}, cell {number}>"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)  # helpers.cached reads it
        exec(compile(cell.source, name, "exec"), names)
        if notebooks.is_parameters(cell):
            names.update(values)
    raise assets.BookError(f"The chapter {chapter} has no cell with “results = {{”.")


def main():
    done = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    for seed in SEEDS:
        for chapter, training, changes in CANDIDATES:
            values = {**notebooks.parameters_for(chapter, "report", seed), **changes}
            if any((d["chapter"], d["training"], d["parameters"]) == (chapter, training, values) for d in done):
                continue
            print(f"{chapter}, seed {seed}: {changes}", file=sys.stderr, flush=True)
            result = eval(training, definitions(chapter, **values))
            curve = result["history"]["val_accuracy"]
            entry = {"chapter": chapter, "training": training, "changes": changes, "parameters": values}
            entry |= {"best": max(curve), "best_epoch": result["best_epoch"], "last_five": float(np.mean(curve[-5:]))}
            entry |= {"seconds": result["seconds"], "val_accuracy": [round(v, 4) for v in curve]}
            done.append(entry)
            RECORD.parent.mkdir(exist_ok=True)
            assets.write_atomically(RECORD, (json.dumps(done, indent=1) + "\n").encode())
            print(f"    best on validation {max(curve):.1%} (epoch {result['best_epoch']}), last five {entry['last_five']:.1%}")


if __name__ == "__main__":
    try:
        main()
    except assets.BookError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. Finished candidates are kept; the same command goes on from there.")
