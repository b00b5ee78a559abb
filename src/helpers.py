"""What the chapters share: speed settings, the networks, trainings, and by other modules experiments, records, claims and the look of figures.

What a chapter teaches stands in the chapter; here is the plumbing. ``assets`` finds the photos and weights.
Images are uint8 arrays (n, height, width, 3), RGB, 0–255; label 0 is a cat, label 1 a dog.
"""

import hashlib
import inspect
import io
import itertools
import os
import sys
import time
from contextlib import contextmanager

from machine import backend

os.environ.setdefault("KERAS_BACKEND", backend())  # Keras reads these when it is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: I001 (names in rows)
import numpy as np

import assets
from augment import RandomWarp, ReportRMSprop  # noqa: F401 (for chapters)
from experiments import (  # noqa: F401 (for chapters)
    cached, claim, committed, load_claims, load_outcomes, load_records, needs, results_folder, run, save_records, save_result,
)  # fmt: skip
from figures import (  # noqa: F401 (for chapters)
    BLACK, BLUE, CAT, DOG, GREEN, INK, ORANGE, PAGE, PURPLE, RED, SKY, STONE, YELLOW, plot_curves, show_images, show_photos, use_book_style,
)  # fmt: skip
from machine import accelerator, has_bfloat16, processor, provenance  # noqa: F401 (for chapters)
from outcomes import pack_weights, unpack_weights  # noqa: F401 (for chapters)
from paths import BookError, decides_nothing, runs_folder, write_atomically

# --- speed and repeatability -----------------------------------------------------------------------------------

BACKEND = keras.backend.backend()


@decides_nothing
def setup(seed=0, precision=None):
    """Prepare a chapter: random seed, number format, look of the figures. Prints what it runs on.

    Args:
        seed: seeds Python, NumPy and Keras.
        precision: "float32" or "mixed_bfloat16" (weights float32, arithmetic bfloat16). By default the latter
            where the hardware has it, which halves the time of a convolution.
    """
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision or ("mixed_bfloat16" if has_bfloat16() else "float32"))
    if BACKEND == "tensorflow":  # keep its advice about its own workings off the pages; its errors stay
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
    use_book_style()
    where = accelerator() or "CPU"
    print(f"Keras {keras.__version__} on {BACKEND}, {where}, {keras.config.dtype_policy().name}; seed {seed}")


# --- networks --------------------------------------------------------------------------------------------------


def small_cnn(image_size, dropout=0.0):
    """The report's small network, built layer by layer in the chapter *The small network*.

    Args:
        image_size: height and width of the photos, in pixels.
        dropout: share of the flattened features set to zero in training; the report's baseline has none.

    Returns:
        An uncompiled model: RGB images with values 0–255 to the probability of a dog, (n, 1) float32.
    """
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((image_size, image_size, 3)), layers.Rescaling(1 / 255)]
        + [
            layer
            for channels in (32, 64, 128, 128)
            for layer in (layers.Conv2D(channels, 3, activation="relu"), layers.MaxPooling2D(2))
        ]
        + [layers.Flatten()]
        + ([layers.Dropout(dropout)] if dropout else [])
        + [layers.Dense(512, activation="relu"), layers.Dense(1, activation="sigmoid", dtype="float32")],
        name="small_cnn",
    )


AUGMENTATIONS = {  # the report's five changes, as settings of RandomWarp
    "horizontal flip": {"flip": True},
    "rotation": {"rotation": 40},  # degrees, both ways
    "translation": {"shift": 0.2},  # share of height and of width
    "shear": {"shear": 0.2},
    "zoom": {"zoom": 0.2},
}


def augmentation(seed=0, kinds=tuple(AUGMENTATIONS)):
    """The report's random changes as one layer that acts in training only: one affine warp and a flip, see ``RandomWarp``.

    Rotation by up to 40°, translation by up to 20 % of each side, shear by up to 20 %, zoom by up to 20 %, horizontal flip. What
    comes into view at the border repeats the nearest pixels. Images keep their shape and their range 0–255.

    Args:
        kinds: which of them, names of ``AUGMENTATIONS``.
    """
    settings = {"flip": False, "rotation": 0, "shift": 0, "shear": 0, "zoom": 0}
    for kind in kinds:
        settings |= AUGMENTATIONS[kind]
    return RandomWarp(**settings, seed=seed, name="augmentation")


def vgg(name, profile, image_size):
    """VGG16 or VGG19 without its classifier, with ImageNet weights where there are any.

    Args:
        name: "vgg16" or "vgg19".
        profile: "report" insists on real weights; "test" never looks for them.
        image_size: height and width of the input, in pixels.

    Returns:
        (model, description): the model takes images that went through ``scale(images, "vgg")``; the description
        says in words which weights it has.

    Raises:
        BookError: no weights in the report profile, or a file that does not fit.

    Source: Simonyan and Zisserman, 2015, arXiv:1409.1556; as built by keras.applications.
    """
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
    network = build(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
    path = assets.find_weights(name, profile)
    if path is None:
        return network, f"untrained {name.upper()} (random weights)"
    try:
        network.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds for a file that is cut, damaged or of another network
        raise BookError(
            f"{path} does not hold the weights of {name.upper()} without its classifier ({str(error).splitlines()[0]}).\n"
            "Replace the file, or delete it to have it fetched."
        ) from error
    rounded = sorted({layer.name[5] for layer in network.layers if _is_rounded(layer)})
    detail = f", blocks {rounded[0]}–{rounded[-1]} rounded to 8 bits" if rounded else ""
    return network, f"ImageNet {name.upper()}{detail}"


def _is_rounded(layer):
    """Whether the upper left taps of a wide convolution's kernels take 256 different values at most."""
    return isinstance(layer, keras.layers.Conv2D) and layer.filters >= 256 and len(np.unique(layer.get_weights()[0][0, 0])) <= 256


def round_to_8_bits(network, blocks=(4, 5)):
    """Round the convolution kernels of some VGG blocks to 256 equally spaced values each, in place."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D) and int(layer.name[5]) in blocks:
            kernel, bias = layer.get_weights()
            step = (kernel.max() - kernel.min()) / 255
            layer.set_weights([np.round(kernel / step) * step, bias])


SCALINGS = {  # which of the three parts of VGG's preprocessing each of them has
    "unit": (),
    "vgg": ("range", "mean", "order"),
    "no range": ("mean", "order"),
    "no mean": ("range", "order"),
    "no order": ("range", "mean"),
    "only range": ("range",),
    "only mean": ("mean",),
    "only order": ("order",),
}


def scale(images, scaling):
    """Bring images with values 0–255 into the range that a network expects.

    Args:
        images: RGB, (n, height, width, 3).
        scaling: a name of ``SCALINGS``. "vgg" is what VGG was trained with: the *range* stays 255 wide, the *mean* colour of
            ImageNet is subtracted, and the *order* of the colours is blue, green, red; values from -124 to 151. "unit" has none
            of the three, as the report's section 3.1: red, green, blue from 0 to 1. The others have one or two of them. Without
            the range all is divided by 255, the mean too; without the order each colour keeps its own mean.

    Returns:
        float32, same shape.
    """
    images = np.array(images, np.float32)  # a copy
    if "mean" in SCALINGS[scaling]:
        images -= np.array([123.68, 116.779, 103.939], np.float32)
    if "range" not in SCALINGS[scaling]:
        images /= 255
    return images[..., ::-1].copy() if "order" in SCALINGS[scaling] else images


def frozen_maps(parts, network, scaling, layer, views=0, also=(), label="frozen layers"):
    """What frozen layers make of the photos of a split: computed once, for all seeds and chapters, and kept in ``runs/cache/maps``.

    Args:
        parts: an ``assets.Split``.
        network: a model that has the weights.
        scaling: see ``scale``.
        layer: name of the layer whose output is wanted.
        views: 0 for the training photos as they are; v for v augmented copies of each, which no seed of a training changes.
        also: layers whose output another training asks for; one pass keeps all.
        label: what the progress line calls this.

    Returns:
        dict of float16 arrays: "train" (max(views, 1), n, …), "validation" and "test" (n, …).
    """
    every = {part: getattr(parts, part) for part in ("train", "validation", "test")}
    named = {name: image for part in every.values() for name, image in zip(part.names, part.images)}
    photos, place = [named[name] for name in sorted(named)], {name: row for row, name in enumerate(sorted(named))}
    rows = {part: [place[name] for name in every[part].names] for part in every}
    wanted = {0: [*rows["validation"], *rows["test"]], **{view: rows["train"] for view in range(1, views + 1)}}
    if not views:
        wanted[0] += rows["train"]
    decides = [SCALINGS[scaling], BACKEND, keras.config.dtype_policy().name, [(w.path.split("/")[-2:], w.shape) for w in network.weights]]
    mark = hashlib.sha256(repr(decides).encode() + "".join(map(inspect.getsource, (scale, augmentation, frozen_maps, _view))).encode())
    for array in (*photos, *network.get_weights()):
        mark.update(np.ascontiguousarray(array))
    folder = runs_folder() / "cache" / "maps" / mark.hexdigest()[:16]
    layers = [network.get_layer(name) for name in dict.fromkeys((layer, *also))]
    inside = keras.Model(network.inputs, [each.output for each in layers])
    inside.compile()
    with alone(folder):
        kept = {view: [_rows_on_disk(folder / f"{each.name}.{view}", len(photos), each.output.shape[1:]) for each in layers] for view in wanted}
        missing = {view: sorted(row for row in wanted[view] if not all(done[row] for _, done in kept[view])) for view in wanted}
        line, seen, total = Progress(label), 0, sum(map(len, missing.values()))
        for view in wanted:
            pixels = _view(photos, missing[view], view)
            while batch := list(itertools.islice(pixels, 50)):
                chosen = [row for row, _ in batch]
                outputs = inside.predict_on_batch(scale([image for _, image in batch], scaling))
                for (maps, done), output in zip(kept[view], outputs if isinstance(outputs, list | tuple) else [outputs]):
                    maps[chosen] = np.clip(np.asarray(output).astype(np.float32), -65504, 65504)
                    maps.flush()
                    done[chosen] = True  # after the maps: what is marked is there
                    done.flush()
                seen += len(batch)
                line.say(seen, total, "photos")
    found = {view: np.asarray(kept[view][0][0]) for view in wanted}
    train = np.stack([found[view][rows["train"]] for view in (range(1, views + 1) if views else [0])])
    return {"train": train, **{part: found[0][rows[part]] for part in ("validation", "test")}}


def _view(photos, rows, view):
    """One augmented view of some of the photos, (row, pixels) one by one; view 0: as they are.

    Photos are changed fifty at a time, always the same fifty, so that a view of a photo is the same whichever rows are asked for.
    """
    for start in sorted({row // 50 * 50 for row in rows}):
        block = np.stack(photos[start : start + 50]).astype(np.float32)
        if view:
            block = keras.ops.convert_to_numpy(augmentation(10**6 * view + start)(block, training=True))
        yield from ((row, block[row - start]) for row in rows if start <= row < start + 50)


def _rows_on_disk(path, count, shape):
    """Two files, mapped into memory: float16 (count, *shape), and bool (count,), which of its rows are done."""
    done = path.with_name(f"{path.name}.done.npy")
    if not done.exists():
        np.lib.format.open_memmap(f"{path}.npy", "w+", np.float16, (count, *shape)).flush()
        memory = io.BytesIO()
        np.save(memory, np.zeros(count, bool))
        write_atomically(done, memory.getvalue())
    return np.load(f"{path}.npy", mmap_mode="r+"), np.load(done, mmap_mode="r+")


def vgg_features(images, name, profile):
    """What VGG makes of photos and of their mirror images: each channel of ``block5_pool``, averaged over all positions.

    Computed once for each photo, whichever photos it comes with, and kept in ``runs/cache/features``. VGG has its own preprocessing. Without
    weights Keras's random seed is set to 0 first, so that every call asks the same network.

    Args:
        images: uint8 (n, size, size, 3), RGB.
        name: "vgg16" or "vgg19".
        profile: decides the weights, see ``vgg``.

    Returns:
        float32 (2, n, 512): of the photos, and of their mirror images.
    """
    marks = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images]
    weights, precision = assets.stock(profile)["weights"][name], keras.config.dtype_policy().name
    decides = [name, weights, images.shape[1:], BACKEND, precision, *map(inspect.getsource, (scale, vgg_features))]
    folder = runs_folder() / "cache" / "features" / hashlib.sha256(repr(decides).encode()).hexdigest()[:16]
    row = np.dtype([("photo", "V32"), ("features", np.float32, (2, 512))])
    with alone(folder), open(folder / "rows", "a+b") as file:
        kept = np.fromfile(folder / "rows", row)
        file.truncate(kept.nbytes)  # a kill may have cut the last row
        known = {mark.tobytes() for mark in kept["photo"]}
        missing = {mark: image for mark, image in zip(marks, images) if mark not in known}
        if missing:
            keras.utils.set_random_seed(0)
            step = forward(vgg(name, profile, images.shape[1])[0])
        line, todo = Progress(f"{name}, features"), list(missing)
        for start in range(0, len(todo), 25):
            rows = np.empty(len(todo[start : start + 25]), row)
            photos = np.stack([missing[mark] for mark in todo[start : start + 25]])
            rows["photo"] = np.frombuffer(b"".join(todo[start : start + 25]), "V32")
            for look, view in enumerate((photos, photos[:, :, ::-1])):
                rows["features"][:, look] = step(scale(view, "vgg")).mean(axis=(1, 2))
            file.write(rows.tobytes())
            file.flush()
            line.say(start + len(rows), len(todo), "photos")
        kept = np.fromfile(folder / "rows", row)
    place = {mark.tobytes(): index for index, mark in enumerate(kept["photo"])}
    return np.ascontiguousarray(kept["features"][[place[mark] for mark in marks]].swapaxes(0, 1))


@decides_nothing
@contextmanager
def alone(folder):
    """Work in a folder while no other process does; the lock goes with the process, however that ends."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forward(network):
    """A compiled function from a NumPy batch to ``network``'s output as a float32 NumPy array, without training."""
    if not getattr(network, "compiled", False):
        network.compile()
    return lambda batch: np.asarray(network.predict_on_batch(batch)).astype(np.float32)


def gradient_of(network, objective):
    """A compiled function for the gradient of an objective with respect to images, with Keras's backend.

    Args:
        network: a model; its weights are taken as they are at each call.
        objective: a function (call, images, *rest) to one value per image, (n,), made of ``keras.ops``; ``call`` is
            the network.

    Returns:
        A function of NumPy arrays, (images, *rest) to (gradients like images, values (n,)), both float32.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function
        def compiled(images, *rest):
            with tf.GradientTape() as tape:
                tape.watch(images)
                values = objective(network, images, *rest)
            return tape.gradient(values, images), values

    elif BACKEND == "jax":
        import jax

        def total(images, rest, trained, others):
            values = objective(lambda x: network.stateless_call(trained, others, x)[0], images, *rest)
            return values.sum(), values

        graded = jax.jit(jax.grad(total, has_aux=True))

        def compiled(images, *rest):
            trained, others = network.trainable_variables, network.non_trainable_variables
            return graded(images, rest, [v.value for v in trained], [v.value for v in others])

    else:
        import torch

        def compiled(images, *rest):
            values = objective(network, images.requires_grad_(), *rest)
            return torch.autograd.grad(values.sum(), images)[0], values.detach()

    def gradient(images, *rest):
        tensors = [keras.ops.convert_to_tensor(a) for a in (np.asarray(images, np.float32), *rest)]
        return tuple(keras.ops.convert_to_numpy(result) for result in compiled(*tensors))

    return gradient


def channel_means(call, images, channels):
    """Objective for ``gradient_of``: the mean of one feature map per image, float32 (n,); ``channels`` (n,) says which."""
    maps = keras.ops.cast(call(images), "float32")
    return keras.ops.sum(keras.ops.mean(maps, axis=(1, 2)) * keras.ops.one_hot(channels, maps.shape[-1], dtype="float32"), axis=1)


class Views(keras.utils.PyDataset):
    """Batches from several augmented views of the training set: each epoch takes one view of each photo at random.

    Args:
        maps: (views, n, …); labels: (n,).
    """

    def __init__(self, maps, labels, batch_size, seed):
        super().__init__()
        self.maps, self.labels, self.batch_size = maps, labels, batch_size
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.maps[self.view[chosen], chosen].astype(np.float32), self.labels[chosen]

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.labels))
        self.view = self.rng.integers(len(self.maps), size=len(self.labels))


# --- training: progress, caching, outcome ----------------------------------------------------------------------


@decides_nothing
class Progress(keras.callbacks.Callback):
    """Tells on standard error how far long work has come, at most every ``every`` seconds.

    A callback for ``model.fit`` (one line an epoch), and ``say`` for other loops.
    """

    def __init__(self, label, every=10):
        super().__init__()
        self.label, self.every = label, every
        self.started = self.last = time.monotonic()

    def say(self, done, total, unit, detail=""):
        now = time.monotonic()
        if now - self.last >= self.every or (done == total and now - self.started >= self.every):
            self.last = now
            left = (now - self.started) / done * (total - done)
            print(f"    {self.label}: {done} of {total} {unit}{detail}, about {left:.0f} s left", file=sys.stderr, flush=True)

    def on_train_begin(self, logs=None):
        self.started = self.last = time.monotonic()

    def on_train_end(self, logs=None):
        self.seconds = round(time.monotonic() - self.started, 1)

    def on_epoch_end(self, epoch, logs=None):
        detail = "".join(f", {key} {value:.3f}" for key, value in (logs or {}).items() if key.endswith("accuracy"))
        self.say(epoch + 1, self.params["epochs"], "epochs", detail)


def keep_best():
    """A callback that ends training with the weights of the epoch with the best validation accuracy."""
    return keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=10**6, restore_best_weights=True)


def outcome(model, history, parts, test=None, validation=None, keep_weights=False, bits=16, batch_size=50):
    """What a training leaves behind, once the best epoch's weights are back in the model.

    Args:
        model: the trained model, one probability per photo.
        history: what ``model.fit`` returned.
        parts: the ``assets.Split`` that it was trained on.
        test, validation: what stands for the photos of these parts at the model's input; by default the photos themselves.
        keep_weights: whether something later needs the weights.
        bits: with how many of them kernels are kept, 16 or 8; see ``pack_weights``.

    Returns:
        dict with ``history`` (lists, one number an epoch), ``epochs``, ``best_epoch`` (from 1), ``trainable_parameters``, ``train_size``;
        ``test`` and ``validation``, each a dict of ``names``, ``labels`` (uint8) and ``probability`` (float32, of a dog); and ``weights``,
        for ``unpack_weights``.

    Raises:
        BookError: the training has diverged.
    """
    curves = {key: [float(v) for v in values] for key, values in history.history.items()}
    result = {
        "history": curves,
        "epochs": len(curves["loss"]),
        "best_epoch": int(np.argmax(curves["val_accuracy"])) + 1,
        "trainable_parameters": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        "train_size": len(parts.train.labels),
    }
    for part, inputs in {"test": test, "validation": validation}.items():
        photos = getattr(parts, part)
        answers = np.asarray(model.predict(photos.images if inputs is None else inputs, batch_size=batch_size, verbose=0)).astype(np.float32).ravel()
        if not np.isfinite(answers).all():
            raise BookError("A training has diverged: its answers are not numbers. Try a smaller learning rate.")
        result[part] = {"names": list(photos.names), "labels": np.asarray(photos.labels), "probability": answers}
    return {**result, "weights": pack_weights(model.get_weights(), bits)} if keep_weights else result
