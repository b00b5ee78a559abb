"""Choose the recipes of the networks trained from scratch, on validation photos, several trainings side by side.

    python src/recipes_search.py pack FILE             photos and the chapter's functions in one file, no test photo
    python src/recipes_search.py run FILE OUT          train the candidates; each result is written when it is there
    python src/recipes_search.py timing FILE OUT       seconds per epoch of one network, and what a GPU spends them on
    python src/recipes_search.py collect OUT...        put results into edition/recipes-residual.json

The trainings are those of the chapter *A network of our own*; seeds are 100 and up, which the edition does not use.
``run`` needs Keras, NumPy and Pillow only, so that FILE and ``src`` can go to a GPU without the book. It ends at its
time limit (``--seconds``); what is finished by then is kept, and the same command goes on with the rest. Several
workers share a GPU best under NVIDIA's multi-process service.

A loss that is not a number ends its training and leaves no result. With JAX 0.11.2 on an H100 in bfloat16 that happened
from the first epoch on in some trainings and not in others of the same program, so it came with the kernels that XLA
had chosen. Where programs compiled once were shared through a cache, so was the bad choice. The one run in float32 was
sound.
"""

import argparse
import ast
import fcntl
import io
import json
import subprocess
import sys
import time
import types
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RECORD = HERE.parent / "edition" / "recipes-residual.json"
BUNDLED_SIZE = 180  # pixels: the largest that a candidate asks for

# --- candidates ------------------------------------------------------------------------------------------------

MILD = {
    "rotation": 25,
    "shift": 0.1,
    "shear": 0.1,
    "zoom": (0.65, 1.1),
    "brightness": 0.1,
    "contrast": 0.2,
    "saturation": 0.2,
}
MEDIUM = MILD | {"zoom": (0.5, 1.1), "roam": True}
STRONG = MILD | {"zoom": (0.4, 1.1), "roam": True, "brightness": 0.2, "contrast": 0.3, "saturation": 0.3}
PLAIN = {
    "image_size": 180,
    "epochs": 100,
    "batch_size": 40,
    "repeats": (0, 0, 0, 0, 0),
    "changes": MILD,
    "weight_decay": 0.05,
}
DEEP = PLAIN | {"repeats": (0, 0, 1, 1, 0)}
ROUNDS = {
    "small": [
        ("small_cnn_augmented_report", 100, {"epochs": 400}),
        ("small_cnn_augmented_report_keras3", 100, {"epochs": 400}),
        ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 3e-4}),
        ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 1e-3}),
        ("small_cnn_augmented_rmsprop", 100, {"epochs": 100}),
        ("small_cnn_modern", 100, {"epochs": 150, "batch_size": 40, "changes": MILD, "weight_decay": 0.05}),
    ],
    "residual": [
        ("residual", 100, DEEP | {"changes": STRONG, "epochs": 150}),
        ("residual", 100, PLAIN),
        ("residual", 100, DEEP | {"changes": MEDIUM}),
        ("residual", 100, DEEP | {"weight_decay": 0.3}),
        ("residual", 100, DEEP | {"mixup": 0.2}),
        ("residual", 100, DEEP | {"image_size": 160, "epochs": 80}),
    ],
    "next": [  # not run yet
        ("residual", 100, DEEP | {"changes": STRONG, "weight_decay": 0.3, "epochs": 170}),
        ("residual", 101, DEEP | {"changes": STRONG, "weight_decay": 0.3, "epochs": 170}),
        ("residual", 100, DEEP | {"changes": STRONG, "weight_decay": 1.0, "epochs": 170}),
        ("residual", 100, DEEP | {"changes": STRONG, "weight_decay": 0.3, "epochs": 220, "image_size": 160}),
        ("residual", 100, DEEP | {"changes": STRONG, "weight_decay": 0.3, "epochs": 170, "dropout": 0.2}),
        ("residual", 100, DEEP | {"changes": STRONG, "weight_decay": 0.3, "epochs": 170, "learning_rate": 4e-3}),
        ("small_cnn_modern", 100, {"epochs": 150, "batch_size": 40, "changes": STRONG, "weight_decay": 0.3}),
        ("small_cnn_augmented", 100, {"epochs": 150, "learning_rate": 1e-4}),
    ],
    "tiny": [
        ("residual", 100, DEEP | {"mixup": 0.2, "epochs": 2, "image_size": 32}),
        ("small_cnn_augmented_report", 100, {"epochs": 2, "image_size": 48}),
        ("small_cnn_modern", 101, {"epochs": 1, "batch_size": 40, "changes": STRONG, "image_size": 48}),
    ],
}
SMALL = {  # optimiser, first learning rate, whether it falls along a cosine wave, dropout
    "small_cnn_augmented": ("Adam", 3e-4, True, 0.5),
    "small_cnn_augmented_rmsprop": ("RMSprop", 1e-4, False, 0.0),
    "small_cnn_augmented_report": ("ReportRMSprop", 1e-5, False, 0.0),
    "small_cnn_augmented_report_keras3": ("RMSprop", 1e-5, False, 0.0),
}

# --- photos and functions, in one file -------------------------------------------------------------------------


def definitions(source, *names):
    """Functions, classes and CONSTANTS of Python source, all or those named, as source."""

    def name(node):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            return node.targets[0].id
        return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else None

    nodes = [node for node in ast.parse(source).body if name(node) and (not names or name(node) in names)]
    return "\n\n\n".join(ast.get_source_segment(source, node) for node in nodes)


def pack(file):
    """Write training and validation photos, decoded to 180 pixels, and the functions that train on them."""
    import jupytext
    from PIL import Image

    import assets

    photos = assets.load_photos("report", 150)
    first = assets.split(photos, 100, 1000, 500, 500)
    test, training = set(first.test.names), set(first.train.names)
    root, facts = assets.find_photos(), []
    chapter = jupytext.read(HERE.parent / "book" / "chapters" / "residual.md")
    cells = [definitions(cell.source) for cell in chapter.cells if cell.cell_type == "code"]
    small = definitions((HERE / "helpers.py").read_text(encoding="utf-8"), "small_cnn")
    with zipfile.ZipFile(file, "w") as archive:
        for name, label, group in zip(photos.names, photos.labels, photos.groups):
            if name in test:
                continue
            stored = io.BytesIO()
            Image.fromarray(assets.read_photo(root / name, BUNDLED_SIZE)).save(stored, "WEBP", quality=86)
            archive.writestr(f"photos/{len(facts):04}.webp", stored.getvalue())
            facts.append({"label": int(label), "group": int(group), "training": name in training})
        archive.writestr("photos.json", json.dumps(facts))
        archive.writestr(
            "chapter.py",
            "\n\n\n".join(["import keras\nimport numpy as np\n\nimport augment", *filter(None, cells), small]),
        )
    print(f"{len(facts):,} photos, {Path(file).stat().st_size / 2**20:.1f} MiB")


class Bundle:
    """What ``pack`` wrote: ``chapter``, a module, and photos at any size up to 180 pixels, divided by seed."""

    def __init__(self, file):
        from PIL import Image

        with zipfile.ZipFile(file) as archive:
            self.facts = json.loads(archive.read("photos.json"))
            self.chapter = types.ModuleType("chapter")
            exec(compile(archive.read("chapter.py"), "chapter.py", "exec"), vars(self.chapter))
            names = sorted(n for n in archive.namelist() if n.startswith("photos/"))
            self.photos = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        self.labels = np.array([fact["label"] for fact in self.facts], np.uint8)
        self.sizes = {}

    def images(self, size):
        if size not in self.sizes:
            from PIL import Image

            resized = (
                photo.resize((size, size), Image.Resampling.BOX if size < 64 else Image.Resampling.BICUBIC)
                for photo in self.photos
            )
            self.sizes = {
                size: np.stack([np.asarray(photo.convert("RGB")) for photo in resized])
            }  # one at a time: memory
        return self.sizes[size]

    def parts(self, seed, size):
        """Training (two thirds) and validation photos. Seed 100: the first edition's; else by seed, near-duplicates together."""
        training = np.array([fact["training"] for fact in self.facts])
        if seed != 100:
            rng, groups = np.random.default_rng(seed), np.array([fact["group"] for fact in self.facts])
            training = np.ones(len(groups), bool)
            for group in rng.permutation(np.unique(groups)):
                members = groups == group
                taken = np.bincount(self.labels[~training], minlength=2) + np.bincount(
                    self.labels[members], minlength=2
                )
                if (taken <= len(groups) // 6).all():
                    training[members] = False
        rng, images = np.random.default_rng(seed), self.images(size)
        train, validation = rng.permutation(np.flatnonzero(training)), np.flatnonzero(~training)
        return types.SimpleNamespace(
            train=types.SimpleNamespace(images=images[train], labels=self.labels[train]),
            validation=types.SimpleNamespace(images=images[validation], labels=self.labels[validation]),
        )


# --- one training ----------------------------------------------------------------------------------------------


def fit_small(network, parts, seed, optimizer, learning_rate, falling, epochs, batch_size=20, callbacks=()):
    """Train the small network with the report's changes of the photos; arguments and result as for ``fit_modern``."""
    import keras

    import augment

    steps = epochs * -(-len(parts.train.labels) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps) if falling else learning_rate
    model = keras.Sequential(
        [keras.Input(network.input_shape[1:], dtype="uint8"), augment.RandomWarp(seed=seed), network]
    )
    model.compile(
        optimizer={
            "Adam": keras.optimizers.Adam,
            "RMSprop": keras.optimizers.RMSprop,
            "ReportRMSprop": augment.ReportRMSprop,
        }[optimizer](rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=10**6, restore_best_weights=True)
    return model.fit(
        parts.train.images, parts.train.labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[best, *callbacks],
        validation_data=(parts.validation.images, parts.validation.labels), validation_batch_size=100,
    ).history  # fmt: skip


def train(bundle, experiment, seed, arguments, clock):
    """Train one candidate: (network, parts, history). ``clock``: a callback."""
    import keras

    keras.utils.set_random_seed(seed)
    c, rest = bundle.chapter, dict(arguments)
    size = rest.pop("image_size", 150)
    parts = bundle.parts(seed, size)
    if experiment in ("residual", "small_cnn_modern"):
        shape = {key: rest.pop(key) for key in ("channels", "repeats", "dropout") if key in rest}
        network = c.residual_network(size, **shape) if experiment == "residual" else c.small_cnn(size, 0.5)
        mixup, kept = rest.pop("mixup", 0), c.training_model
        if mixup:
            c.training_model = lambda network, changes, seed: mixing_model(kept(network, changes, seed), mixup, seed)
        history = c.fit_modern(network, parts, seed, callbacks=[clock], **rest)
        c.training_model = kept
    else:
        optimizer, rate, falling, dropout = SMALL[experiment]
        network = c.small_cnn(size, rest.pop("dropout", dropout))
        settings = {"optimizer": optimizer, "learning_rate": rate, "falling": falling} | rest
        history = fit_small(network, parts, seed, callbacks=[clock], **settings)
    return network, parts, history


def mixing_model(model, mixup, seed):
    """``model`` trained on blends: each changed photo with another of its batch, and the labels alike.

    Source: Zhang et al., 2018, arXiv:1710.09412; ``mixup`` is the parameter of the beta distribution.
    """
    import keras
    from keras import ops

    class Mixing(keras.Model):
        def call(self, images, training=False):
            images = self.changes(images, training=training)
            if training:
                self.share = keras.random.beta((ops.shape(images)[0], 1), mixup, mixup, seed=self.generator)
                images = self.blend(images, self.share[:, :, None, None])
            return self.network(images, training=training)

        def blend(self, first, share):
            return share * first + (1 - share) * ops.flip(first, axis=0)  # the last of the batch with the first

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if training:
                y = self.blend(ops.reshape(ops.cast(y, "float32"), (-1, 1)), self.share)
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    mixing = Mixing()
    mixing.changes, mixing.network = model.layers
    mixing.generator = keras.random.SeedGenerator(seed + 1)
    return mixing


def make_clock(deadline):
    """A callback that notes when each epoch ended and stops a training at the deadline (seconds since 1970)."""
    import keras

    class Clock(keras.callbacks.Callback):
        started, ends, late = time.time(), [], False

        def on_epoch_end(self, epoch, logs=None):
            self.ends = [*self.ends, time.time()]
            if not np.isfinite(logs["loss"]):
                self.model.stop_training = True
            elif time.time() > deadline and epoch + 1 < self.params["epochs"]:
                self.model.stop_training = self.late = True

    return Clock()


def one_candidate(bundle, experiment, seed, arguments, deadline):
    """Train and describe one candidate; ``complete`` is false where the deadline cut it short."""
    import keras

    clock = make_clock(deadline)
    network, parts, history = train(bundle, experiment, seed, arguments, clock)
    if not np.isfinite(history["loss"][-1]):
        raise ArithmeticError(f"the loss became {history['loss'][-1]} in epoch {len(history['loss'])}")
    right = parts.validation.labels
    straight, mirrored = bundle.chapter.answers(network, parts.validation.images)
    p = np.clip((straight + mirrored) / 2, 1e-7, 1 - 1e-7)
    curve = [float(v) for v in history["val_accuracy"]]
    entry = {
        "experiment": experiment,
        "seed": seed,
        "changes": arguments,
        "epochs": len(curve),
        "complete": not clock.late,
    }
    entry |= {"best": max(curve), "best_epoch": int(np.argmax(curve)) + 1, "last_five": float(np.mean(curve[-5:]))}
    entry |= {"straight": float(np.mean((straight > 0.5) == right)), "mirrored": float(np.mean((p > 0.5) == right))}
    entry |= {
        "mirrored_log_loss": float(-np.mean(np.log(np.where(right, p, 1 - p)))),
        "parameters": network.count_params(),
    }
    entry |= {
        "seconds": round(clock.ends[-1] - clock.started, 1),
        "seconds_to_first_epoch": round(clock.ends[0] - clock.started, 1),
    }
    entry |= {"seconds_per_epoch": round(float(np.median(np.diff(clock.ends))), 3) if len(clock.ends) > 1 else None}
    entry |= {"device": device(), "backend": keras.backend.backend(), "precision": keras.config.dtype_policy().name}
    entry |= {"train_accuracy_last": float(history["accuracy"][-1]), "val_accuracy": [round(v, 4) for v in curve]}
    return entry


def device():
    import keras

    if keras.backend.backend() != "jax":
        return "CPU"
    import jax

    return jax.devices()[0].device_kind


def prepare(shifted):
    """Settings of Keras: the number format halves time and memory."""
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    if shifted:
        shift_depthwise()


def shift_depthwise():
    """JAX: a depthwise 3 × 3 convolution as the same sum of nine shifted products, which XLA compiles in half the time."""
    import jax.numpy as jnp
    from keras.src.backend.jax import nn

    def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        height, width = inputs.shape[1:3]
        padded = jnp.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(padded[:, i : i + height, j : j + width] * kernel[i, j, :, 0] for i in range(3) for j in range(3))

    nn.depthwise_conv = depthwise_conv


# --- many trainings --------------------------------------------------------------------------------------------


def key_of(experiment, seed, arguments):
    return json.dumps([experiment, seed, arguments], sort_keys=True, default=list)


def finished(folders):
    """Results in the folders, complete ones."""
    files = [Path(folder) / "results.jsonl" for folder in folders]
    entries = [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]
    return [entry for entry in entries if entry["complete"]]


def work(options):
    """Take candidates nobody else has taken, train them, write each result at once."""
    prepare(options.shifted)
    bundle, pace = Bundle(options.file), 0.0  # pace: seconds per epoch of the last candidate
    known = {key_of(e["experiment"], e["seed"], e["changes"]) for e in finished([options.out, *options.known])}
    for index, candidate in enumerate(ROUNDS[options.round]):
        if key_of(*candidate) in known or time.time() + 20 + pace * candidate[2]["epochs"] > options.deadline:
            continue
        try:
            (Path(options.claims) / str(index)).touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            entry = one_candidate(bundle, *candidate, options.deadline)
        except Exception as error:  # one that fails must not take the others along
            print(f"failed {candidate}: {error!r}"[:1000], flush=True)
            continue
        pace = entry["seconds"] / entry["epochs"]
        with open(Path(options.out) / "results.jsonl", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(entry) + "\n")
        print(json.dumps({k: v for k, v in entry.items() if k != "val_accuracy"}), flush=True)


def run(options):
    """Start workers and wait for them; none goes on much beyond the time limit."""
    options.deadline = time.time() + options.seconds
    claims = Path(options.out) / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    for claim in claims.iterdir():  # left by a run that was killed
        claim.unlink()
    arguments = [
        options.file,
        options.out,
        "--round",
        options.round,
        "--deadline",
        str(options.deadline),
        "--claims",
        str(claims),
    ]
    arguments += [f"--known={folder}" for folder in options.known] + ["--shifted"] * options.shifted
    children = [subprocess.Popen([sys.executable, __file__, "work", *arguments]) for _ in range(options.workers)]
    for child in children:
        try:
            child.wait(max(1, options.deadline + 25 - time.time()))
        except subprocess.TimeoutExpired:
            child.kill()
    for claim in claims.iterdir():
        claim.unlink()
    claims.rmdir()


def timing(options):
    """Seconds per epoch of a round's first candidate; with JAX also what a GPU spends one on."""
    import keras

    prepare(options.shifted)
    bundle = Bundle(options.file)
    experiment, seed, arguments = ROUNDS[options.round][0]
    traced = keras.backend.backend() == "jax"
    if traced:
        import jax

    class Timer(keras.callbacks.Callback):
        ends = [time.time()]

        def on_epoch_end(self, epoch, logs=None):
            self.ends.append(time.time())
            if epoch == 6 and traced:
                jax.profiler.start_trace(options.out)
            elif epoch == 7:
                self.model.stop_training = True
                if traced:
                    jax.profiler.stop_trace()

    timer = Timer()
    train(bundle, experiment, seed, arguments | {"epochs": 8}, timer)
    times = np.diff(timer.ends)
    print(f"{experiment}: first epoch with compiling {times[0]:.1f} s, then {np.round(times[1:7], 3)} s")
    if traced:
        busiest(options.out)


def busiest(folder):
    """Print what the GPU spent a traced epoch on."""
    from collections import Counter

    import jax

    file = next(Path(folder).rglob("*.xplane.pb"))
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            if "GPU" not in plane.name or "Stream" not in line.name:
                continue
            spent, count = Counter(), Counter()
            for event in line.events:
                spent[event.name[:60]] += event.duration_ns / 1e6
                count[event.name[:60]] += 1
            print(f"{line.name}: {sum(spent.values()):.0f} ms in {sum(count.values())} events")
            for name, milliseconds in spent.most_common(18):
                print(f"   {milliseconds:8.1f} ms {count[name]:6d} {name}")


def collect(options):
    """Merge results into the record, the best first within each experiment."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    found = {key_of(e["experiment"], e["seed"], e["changes"]): e for e in known + finished(options.folders)}
    order = sorted(found.values(), key=lambda e: (e["experiment"], -e["last_five"]))
    RECORD.write_text("[\n" + ",\n".join(json.dumps(e) for e in order) + "\n]\n", encoding="utf-8")
    for e in order:
        print(
            f"{e['experiment']:34} {e['seed']} best {e['best']:.3f} last {e['last_five']:.4f} mirrored {e['mirrored']:.3f}  {e['changes']}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("pack").add_argument("file")
    for verb in ("run", "work", "timing"):
        sub = verbs.add_parser(verb)
        sub.add_argument("file")
        sub.add_argument("out")
        sub.add_argument("--round", default="next", choices=ROUNDS)
        sub.add_argument("--seconds", type=float, default=10**6, help="time limit")
        sub.add_argument("--workers", type=int, default=1, help="trainings side by side")
        sub.add_argument("--known", action="append", default=[], help="a folder with earlier results")
        sub.add_argument(
            "--shifted", action="store_true", help="JAX: compile depthwise convolutions as shifted products"
        )
        sub.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
        sub.add_argument("--claims", help=argparse.SUPPRESS)
    verbs.add_parser("collect").add_argument("folders", nargs="+")
    options = parser.parse_args()
    {"pack": lambda options: pack(options.file), "run": run, "work": work, "timing": timing, "collect": collect}[
        options.verb
    ](options)


if __name__ == "__main__":
    main()
