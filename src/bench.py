"""Time the book's way of training against the usual one, on this machine and the same photos: `make bench`.

(a)  one epoch of the small CNN as the book trains it: photos decoded once, bfloat16 where it is fast
(a') the same with Keras's defaults (float32) and every photo read from disk and scaled by the loader in every epoch,
     as ImageDataGenerator does; once more with XLA, which Keras 3 used by default until it learnt to leave it off on
     machines without an accelerator
(b)  20 epochs of training block 5 of VGG19 as the book does it: blocks 1-4 run once over 5 augmented views
(b') the same with the whole VGG19 run end to end in every epoch, Keras's defaults
(c)  40 steps of gradient ascent for 64 filters of block5_conv1 at 128 x 128 pixels, all filters in one batch
(c') the same one filter after another, each compiled for itself, as the usual tutorials do

Compiling is left out of (a) and (b): each is warmed up with a step that is not timed. It belongs to (c), since the usual
way compiles for every filter. What takes long is timed over fewer steps, photos or filters and scaled; the script says
over how many.
"""

import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import assets
import helpers
from paths import BookError

SIZE, BATCH, EPOCHS, VIEWS = 150, 20, 20, 5
TIMED = 200  # photos over which (b) and (b') are timed


class FromDisk(keras.utils.PyDataset):
    """Batches read and decoded from image files each time, as ImageDataGenerator.flow_from_directory does."""

    def __init__(self, files, labels):
        super().__init__()
        self.files, self.labels = files, labels

    def __len__(self):
        return len(self.files) // BATCH

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        images = [keras.utils.img_to_array(keras.utils.load_img(f, target_size=(SIZE, SIZE))) for f in self.files[part]]
        return np.stack(images) / 255, self.labels[part]


def compile_model(model, jit="auto"):
    model.compile(keras.optimizers.RMSprop(1e-5), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=jit)


def seconds(model, batches):
    """Seconds for training on all batches but the first, which compiles, scaled to all of them."""
    batches = iter(batches)
    model.train_on_batch(*next(batches))
    started, count = time.perf_counter(), 0
    for count, batch in enumerate(batches, 1):
        model.train_on_batch(*batch)
    return (time.perf_counter() - started) * (count + 1) / count


def in_batches(images, labels):
    return [(images[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, len(labels) - BATCH + 1, BATCH)]


def small_cnn_epoch(batches, jit="auto", scaled_by_loader=False):
    model = helpers.small_cnn(SIZE)
    if scaled_by_loader:
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *(x for x in model.layers if not isinstance(x, keras.layers.Rescaling))])
        assert len(model.layers) == len(helpers.small_cnn(SIZE).layers) - 1
    compile_model(model, jit)
    return seconds(model, batches)


def head():
    layers = keras.layers
    return [layers.Flatten(), layers.Dense(256, "relu"), layers.Dropout(0.5), layers.Dense(1, "sigmoid", dtype="float32")]


def block5_ours(images, labels, total):
    """Seconds for the pass over the views and for 20 epochs on the maps, scaled to ``total`` photos: a pair."""
    base, _ = helpers.vgg("vgg19", "quick", SIZE)
    lower = keras.Model(base.input, base.get_layer("block4_pool").output)
    frozen, augment = helpers.forward(lower), helpers.augmentation(0)
    frozen(images[:50].astype(np.float32))
    started = time.perf_counter()
    batches = [augment(images[i : i + 50].astype(np.float32), training=True) for i in range(0, TIMED, 50)]
    maps = np.concatenate([frozen(helpers.scale(keras.ops.convert_to_numpy(b), "vgg")) for b in batches]).astype(np.float16)[None]
    once = (time.perf_counter() - started) * VIEWS * total / TIMED
    start = x = keras.Input(maps.shape[2:])
    for layer in [base.get_layer(f"block5_{name}") for name in ("conv1", "conv2", "conv3", "conv4", "pool")] + head():
        x = layer(x)
    model = keras.Model(start, x)
    compile_model(model)
    views = helpers.Views(maps, labels[:TIMED], BATCH, 0)
    return once, seconds(model, (views[i] for i in range(len(views)))) * EPOCHS * total / TIMED


def block5_usual(images, labels, total):
    base, _ = helpers.vgg("vgg19", "quick", SIZE)
    for layer in base.layers:
        layer.trainable = layer.name.startswith("block5")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), helpers.augmentation(0), base, *head()])
    compile_model(model)
    batches = in_batches(helpers.scale(images[:TIMED], "vgg"), labels[:TIMED])
    return seconds(model, batches) * EPOCHS * total / TIMED


def ascent(filters, steps, together):
    """Seconds per filter and 40 steps, compiling included once per compiled function."""
    base, _ = helpers.vgg("vgg19", "quick", 128)
    network = keras.Model(base.input, base.get_layer("block5_conv1").output)
    start = np.random.default_rng(0).uniform(-10, 10, (1, 128, 128, 3)).astype(np.float32)
    seconds = 0.0
    for group in [filters] if together else [[f] for f in filters]:
        gradient, images, times = helpers.gradient_of(network, helpers.channel_means), np.repeat(start, len(group), axis=0), []
        for _ in range(steps + 1):
            started = time.perf_counter()
            direction, _ = gradient(images, np.array(group))
            images = images + direction / (np.sqrt(np.mean(direction**2, axis=(1, 2, 3), keepdims=True)) + 1e-5)
            times.append(time.perf_counter() - started)
        seconds += times[0] + np.mean(times[1:]) * 40  # the first one compiles
    return seconds / len(filters)


def main():
    photos = assets.load_photos("quick", SIZE, drawn_per_class=1000)
    chosen = np.random.default_rng(0).permutation(len(photos.labels))[:2000]
    images, labels = photos.images[chosen], photos.labels[chosen, None].astype(np.float32)
    total, root = len(chosen), assets.find_photos()
    print(f"{helpers.processor()[0]}; {total:,} of {photos.source}")
    with tempfile.TemporaryDirectory() as folder:
        if root is None:  # drawn pictures: the usual way needs them as files
            files = [Path(folder) / f"{i}.jpg" for i in range(total)]
            for file, image in zip(files, images):
                Image.fromarray(image).save(file, quality=90)
        else:
            files = [root / photos.names[i] for i in chosen]
        keras.config.set_dtype_policy("float32")
        disk = FromDisk(files, labels)
        usual = small_cnn_epoch((disk[i] for i in range(len(disk))), scaled_by_loader=True)
        with_xla = small_cnn_epoch((disk[i] for i in range(len(disk))), jit=True, scaled_by_loader=True)
    print(f"(a') small CNN, one epoch, the usual way:           {usual:7.1f} s", flush=True)
    print(f"     the same with XLA:                             {with_xla:7.1f} s", flush=True)
    usual5 = block5_usual(images, labels, total)
    print(f"(b') block 5, {EPOCHS} epochs, the usual way:           {usual5:7.1f} s (scaled from {TIMED} photos)", flush=True)
    fast = "mixed_bfloat16" if helpers.processor()[1] or helpers.accelerator() else "float32"
    for policy in dict.fromkeys(["float32", fast]):
        keras.config.set_dtype_policy(policy)
        epoch = small_cnn_epoch(in_batches(images, labels))
        once, training = block5_ours(images, labels, total)
        print(f"(a)  small CNN, one epoch, {policy + ':':24} {epoch:7.1f} s, ratio {usual / epoch:.2f} (to XLA {with_xla / epoch:.2f})")
        print(f"(b)  block 5, {EPOCHS} epochs, {policy + ':':24} {once + training:7.1f} s, ratio {usual5 / (once + training):.2f}")
        print(f"     of this the pass over {VIEWS} views {once:.1f} s (scaled from {TIMED} photos)", flush=True)
    few = [0, 2, 3, 4]
    keras.config.set_dtype_policy("float32")
    one_by_one = ascent(few, 5, together=False) * 64
    print(f"(c') ascent of 64 filters, the usual way:           {one_by_one:7.1f} s (scaled from {len(few)} filters, 5 steps)", flush=True)
    for policy in dict.fromkeys(["float32", fast]):
        keras.config.set_dtype_policy(policy)
        at_once = ascent(list(range(64)), 3, together=True) * 64
        print(f"(c)  ascent of 64 filters, {policy + ':':24} {at_once:7.1f} s, ratio {one_by_one / at_once:.2f} (scaled from 3 steps)", flush=True)
    print(f"ratio filter_ascent {one_by_one / at_once:.2f}")
    print(f"ratio small_cnn_epoch {usual / epoch:.2f}")
    print(f"ratio block5_training {usual5 / (once + training):.2f}")


if __name__ == "__main__":
    try:
        main()
    except BookError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
