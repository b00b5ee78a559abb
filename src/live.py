"""The live figures of the pages: their scripts from ``live/``, and networks, photos and answers of the edition as scripts that hold data.

``write`` puts all of it into the folder ``live/`` of the built pages. What an edition lacks is left out, and so are the figures that need it:
their still pictures stay. ``python src/live.py collect`` gathers what the edition's runs do not hold: the six photos, twenty hard ones, and
the first layers of VGG19; ``python src/live.py compiled`` writes down of which source ``nn.wasm`` was compiled.
"""

import base64
import gzip
import hashlib
import io
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
from PIL import Image

import assets
import cast
import outcomes
from paths import EDITION, PROJECT, BookError, say, shown, write_atomically

SOURCES = PROJECT / "live"
COLLECTED = EDITION / "live.npz"
COMPILED = ("nn.c", "nn.flags", "requirements.txt", "nn.wasm")  # what `make live` reads, and what comes of it
VGG_LAYERS = ("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "block3_conv1")
MEAN_COLOUR = (123.68, 116.779, 103.939)  # of ImageNet: red, green, blue; subtracted by VGG's preprocessing
EPSILON = 1e-3  # Keras adds it to the variance in batch normalisation
HARD = 20  # photos to be guessed

# What the script of each figure asks for besides itself. `networks` stands for those that its place on a page names.
NEEDS = {
    "kernel": ["photos"], "descend": [], "augment": ["photos"], "field": ["photos", "layers"], "threshold": ["answers"], "compare": ["answers"],
    "try": ["photos", "networks"], "maps": ["photos", "layers", "networks"], "ascent": ["vgg19"], "beat": ["hard"],
}  # fmt: skip
SMALL_LAYERS = [  # of the small network: name, window, stride, channels
    [f"{kind} {i}", k, stride, channels]
    for i, channels in enumerate((32, 64, 128, 128), 1)
    for kind, k, stride in (("conv", 3, 1), ("pool", 2, 2))
]
DEFAULT_NETWORKS = {"try": ["small_cnn", "residual"], "maps": ["small_cnn"]}


# --- networks: a list of layers and a list of tensors, as live/engine.js has them -------------------------------------


def small_cnn(weights, size):
    """The small network as data for the engine.

    Args:
        weights: what ``model.get_weights()`` gives for ``helpers.small_cnn``, float32.
        size: height and width of its photos, in pixels.

    Returns:
        dict: ``size``, ``scale``, ``shift``, ``layers``, and ``tensors``, a list of (array, "f32", "f16" or "i8").
    """
    layers, tensors = [], []
    *convolutions, wide, wide_bias, last, last_bias = weights
    for kernel, bias in zip(convolutions[::2], convolutions[1::2]):
        number = len(layers) // 2 + 1
        layers.append(
            {
                "kind": "conv",
                "name": f"conv {number}",
                "weights": _put(tensors, kernel),
                "bias": _put(tensors, bias),
                "relu": True,
            }
        )
        layers.append({"kind": "maxpool", "name": f"pool {number}"})
    layers.append(
        {"kind": "dense", "weights": _put(tensors, wide, "i8"), "bias": _put(tensors, wide_bias), "relu": True}
    )
    layers.append({"kind": "dense", "weights": _put(tensors, last), "bias": _put(tensors, last_bias)})
    return {
        "size": size,
        "scale": [1 / 255] * 3,
        "shift": [0] * 3,
        "layers": [*layers, {"kind": "sigmoid"}],
        "tensors": tensors,
    }


def residual(weights, size):
    """The residual network as data for the engine; arguments and result like ``small_cnn``'s.

    How many stages and further pairs it has shows in the order of its weights: a stage ends with the 1 × 1 convolution of its shortcut.
    """
    layers, tensors, weights = [], [], list(weights)

    def layer(kind, **more):
        layers.append({"kind": kind, **more})
        return len(layers)  # the number of its result; 0 is the image

    def normalise():
        gamma, beta, mean, variance = (weights.pop(0).astype(np.float64) for _ in range(4))
        factor = gamma / np.sqrt(variance + EPSILON)
        return layer("affine", factor=_put(tensors, factor), shift=_put(tensors, beta - mean * factor), relu=True)

    def separable():
        normalise()
        layer("depthwise", weights=_put(tensors, weights.pop(0)[..., 0]), same=True)
        return layer("conv", weights=_put(tensors, weights.pop(0)))

    x = layer("conv", weights=_put(tensors, weights.pop(0)), stride=2, same=True)
    while weights[4].ndim == 4:  # behind the last normalisation stands the dense layer
        separable()
        y = separable()
        if weights[0].ndim == 4:
            y = layer("maxpool", k=3, stride=2, same=True)
            short = layer("conv", weights=_put(tensors, weights.pop(0)), stride=2, same=True, of=[x])
            x = layer("add", of=[y, short])
        else:
            x = layer("add", of=[y, x])
    normalise()
    layer("mean")
    layer("dense", weights=_put(tensors, weights[0]), bias=_put(tensors, weights[1]))
    layer("sigmoid")
    return {"size": size, "scale": [1 / 127.5] * 3, "shift": [-1] * 3, "layers": layers, "tensors": tensors}


def vgg19(weights, size=128):
    """The first layers of VGG19, of which a filter's mean can be climbed. The first kernel stays float32: it meets the largest numbers.

    Args:
        weights: kernels and biases of ``VGG_LAYERS``, in turn.
        size: height and width of the picture that grows.
    """
    layers, tensors = [], []
    for i, name in enumerate(VGG_LAYERS):
        kernel, bias = np.float32(weights[2 * i]), weights[2 * i + 1]
        if i == 0:
            kernel = kernel[:, :, ::-1]  # VGG has blue first, the page red
        elif name.endswith("conv1"):
            layers.append({"kind": "maxpool"})
        layers.append(
            {
                "kind": "conv",
                "name": name,
                "weights": _put(tensors, kernel, "f16" if i else "f32"),
                "bias": _put(tensors, bias),
                "same": True,
                "relu": True,
            }
        )
    return {"size": size, "scale": [1] * 3, "shift": [-x for x in MEAN_COLOUR], "layers": layers, "tensors": tensors}


BUILDERS = {"small_cnn": small_cnn, "small_cnn_augmented": small_cnn, "residual": residual}  # by experiment


def _put(tensors, array, kind="f16"):
    """Add a tensor to a list and return its place. Vectors, biases above all, stay float32; one kernel alone has no 8 bits."""
    array = np.asarray(array)
    if array.ndim == 1:
        kind = "f32"
    elif kind == "i8" and array.shape[-1] == 1:
        kind = "f16"
    tensors.append((array, kind))
    return len(tensors) - 1


def packed(network):
    """A network with its tensors as JSON can hold them: a table of where each one lies, and all of them, gzip in base64."""
    table, content = [], bytearray()

    def append(array):
        content.extend(b"\0" * (-len(content) % 4))
        first = len(content)
        content.extend(np.ascontiguousarray(array).tobytes())
        return first

    for array, kind in network["tensors"]:
        if kind == "i8":
            whole, step = (outcomes.pack_weights([array], bits=8)[0][key] for key in ("int8", "step"))
            table.append([list(array.shape), kind, append(whole), array.size, append(step.astype("<f4"))])
        else:
            table.append(
                [list(array.shape), kind, append(array.astype({"f16": "<f2", "f32": "<f4"}[kind])), array.size]
            )
    return {**network, "tensors": table, "bytes": base64.b64encode(gzip.compress(content, mtime=0)).decode()}


# --- photos and answers ------------------------------------------------------------------------------------------------


def drawn_photos():
    """Six pictures that the project draws, where there are no photos of the edition."""
    photos = []
    for label, index in ((0, 3), (1, 4), (0, 7), (1, 8), (0, 12), (1, 13)):
        data = io.BytesIO()
        Image.fromarray(assets.draw_photo(label, index, 180)).save(data, "JPEG", quality=88)
        photos.append(_as_text(data.getvalue(), f"{assets.CLASSES[label]}.{index}.jpg", label))
    return photos


def _as_text(content, name, label, alt=None):
    kind = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}.get(content[:2], "image/webp")
    alt = alt or f"{name.rsplit('.', 1)[0]}, a photo of a {assets.CLASSES[label]}"
    return {
        "name": name,
        "label": int(label),
        "type": kind,
        "alt": alt,
        "bytes": base64.b64encode(content).decode(),
    }


def read_answers(profile):
    """What a run's records say about each test photo.

    Returns:
        (names, labels, runs): of the test set that most trainings share, names of the photos, without folder and suffix, and labels (n,);
        and a list of (experiment, seed, probabilities (n,)). ([], [], []) if there are no records.
    """
    sets = {}
    for (experiment, seed), table in cast.answers(profile).groupby(["experiment", "seed"], sort=False):
        table = table.sort_values("photo")
        photos, labels = tuple(table["photo"]), table["label"].to_numpy(int)
        sets.setdefault(photos, (labels, []))[1].append((experiment, int(seed), table["probability"].to_numpy(float)))
    if not sets:
        return [], [], []
    photos = max(sets, key=lambda photos: len(sets[photos][1]))
    labels, runs = sets[photos]
    return [assets.base_name(photo, label) for photo, label in zip(photos, labels)], labels, runs


def as_answers(names, labels, runs):
    """Answers for the figures: probabilities as two bytes each, photo by photo in the order of ``names``."""
    text = [base64.b64encode(np.round(p * 65535).astype("<u2").tobytes()).decode() for *_, p in runs]
    listed = [{"name": experiment, "seed": seed, "p": p} for (experiment, seed, _), p in zip(runs, text)]
    return {"photos": names, "labels": "".join(map(str, labels)), "runs": listed}


def hard_photos(labels, runs, count=HARD):
    """Places of the photos to be guessed: of each class those that the fewest experiments get right, but at least one in most of its seeds.

    Photos that no experiment gets right are left out: some of them are labelled wrongly.
    """
    by_experiment = {}
    for experiment, _, p in runs:
        by_experiment.setdefault(experiment, []).append((p > 0.5) == (labels == 1))
    shares = np.array([np.mean(right, axis=0) for right in by_experiment.values()])
    order = np.argsort(shares.mean(axis=0), kind="stable")
    able = [i for i in order if shares[:, i].max() > 0.5]
    return sorted(i for label in (0, 1) for i in [i for i in able if labels[i] == label][: count // 2])


def scores(chosen, labels, runs):
    """How many of the chosen photos each experiment gets right, the mean over its seeds: a list of {name, right, seeds}, best last."""
    found = {}
    for experiment, _, p in runs:
        found.setdefault(experiment, []).append(int(np.sum(((p > 0.5) == (labels == 1))[chosen])))
    listed = [{"name": name, "right": float(np.mean(right)), "seeds": len(right)} for name, right in found.items()]
    return sorted(listed, key=lambda entry: entry["right"])


# --- what the edition's runs do not hold -------------------------------------------------------------------------------


def collect():
    """Write ``edition/live.npz``: files of the six photos, of the hard ones, and VGG19's first layers as float16.

    Raises:
        BookError: the edition has no six yet, or photos or weights cannot be found.
    """
    root, chosen = assets.find_photos(), cast.six("edition")
    if root is None:
        raise BookError(
            "The live figures' photos are taken from the photos, and none are found. Set BOOK_DATA (data/README.md)."
        )
    if not chosen:
        raise BookError("The edition has no six photos yet: put a full run into it first (make edition).")
    files = {assets.base_name(path.name, label): (label, path) for label, path in assets.list_photos(root)[0]}
    six = [assets.base_name(entry["photo"], entry["label"]) for entry in chosen]
    if missing := [name for name in six if name not in files]:
        raise BookError(f"{root} has no {', '.join(missing)}.")
    names, labels, runs = read_answers("edition")
    doubtful = {name for part in cast.audited(SimpleNamespace(names=names, labels=labels)) for name in part}
    free = [i for i, name in enumerate(names) if name in files and name not in six and name not in doubtful]
    hard = [names[free[i]] for i in hard_photos(labels[free], [(e, s, p[free]) for e, s, p in runs])]
    from helpers import vgg  # only here: it brings Keras, which the pages do not need

    network = vgg("vgg19", "report", None)[0]
    weights = [array for name in VGG_LAYERS for array in network.get_layer(name).get_weights()]
    outcome = {
        "six": [_file(name, *files[name]) for name in six],
        "hard": [_file(name, *files[name], smaller=420) for name in hard],
        "vgg19": [weights[0], *outcomes.pack_weights(weights[1:])],
    }
    outcomes.save(COLLECTED, outcome, {"key": "", "six": six, "hard": hard})
    size = COLLECTED.stat().st_size / 2**20
    print(f"{shown(COLLECTED)}: six photos, {len(hard)} hard ones, VGG19 to {VGG_LAYERS[-1]}; {size:.1f} MiB.")


def _file(name, label, path, smaller=None):
    """A photo's file as an outcome holds it: as it is, or as a smaller WebP of so many pixels at most."""
    content = path.read_bytes()
    if smaller:
        with Image.open(path) as image:
            image = image.convert("RGB")
            image.thumbnail((smaller, smaller))
            data = io.BytesIO()
            image.save(data, "WEBP", quality=82)
            content = data.getvalue()
    return {"name": name, "label": label, "file": np.frombuffer(content, np.uint8)}


# --- all that the pages load -------------------------------------------------------------------------------------------


def sources(profile):
    """The files of networks and photos that ``data_for`` reads, as far as they are there."""
    networks = [cast.folder_of(profile) / "outcomes" / f"{experiment}-seed0.npz" for experiment in BUILDERS]
    return [path for path in (*networks, COLLECTED) if path.exists()]


def data_for(profile):
    """What the figures of a run's pages can load, by name: a dict of what JSON can hold. What a run lacks is not there.

    Networks and answers are the run's own; photos, and VGG19's layers, are the edition's, but for the profile "test".
    """
    data = {"layers": {"size": 150, "layers": SMALL_LAYERS}}
    for experiment, builder in BUILDERS.items():
        path = cast.folder_of(profile) / "outcomes" / f"{experiment}-seed0.npz"
        if path.exists():
            outcome, about = outcomes.load(path)
            if "weights" in outcome:
                data[experiment] = packed(
                    builder(outcomes.unpack_weights(outcome["weights"]), about["data"]["image_size"])
                )
    names, labels, runs = read_answers(profile)
    if runs:
        data["answers"] = as_answers(names, labels, runs)
    collected = outcomes.load(COLLECTED)[0] if COLLECTED.exists() and profile != "test" else {}
    said = {assets.base_name(entry["photo"], entry["label"]): entry["alt"] for entry in cast.six("edition")}
    six = [
        _as_text(p["file"].tobytes(), f"{p['name']}.jpg", p["label"], said.get(p["name"]))
        for p in collected.get("six", [])
    ]
    data["photos"] = six or drawn_photos()
    if collected:
        data["vgg19"] = packed(vgg19(outcomes.unpack_weights(collected["vgg19"])))
    hard = [photo for photo in collected.get("hard", []) if photo["name"] in names]
    if hard:
        photos = [
            _as_text(p["file"].tobytes(), f"{p['name']}.webp", p["label"], alt="the photo to be guessed") for p in hard
        ]
        data["hard"] = {"photos": photos, "scores": scores([names.index(p["name"]) for p in hard], labels, runs)}
    return data


def slim(script):
    """A script without lines that are only a comment, and without indentation. The text to be read is in ``live/``."""
    return (
        "\n".join(line.strip() for line in script.splitlines() if line.strip() and not line.strip().startswith("//"))
        + "\n"
    )


def write(html, data):
    """Write scripts and data into the folder ``live/`` of the pages.

    Args:
        html: the folder of the built pages.
        data: what ``data_for`` gives.

    Returns:
        {name: file name}; the name ``page`` is the script that a page with a live figure loads.
    """
    wasm = base64.b64encode((SOURCES / "nn.wasm").read_bytes()).decode()
    engine = f'(() => {{\nconst WASM = "{wasm}";\n{slim((SOURCES / "engine.js").read_text(encoding="utf-8"))}}})();\n'
    content = {"style.css": (SOURCES / "live.css").read_text(encoding="utf-8"), "engine.js": engine}
    content |= {
        path.name: slim(path.read_text(encoding="utf-8")) for path in sorted((SOURCES / "figures").glob("*.js"))
    }
    content |= {
        f"{name}.js": f"LIVE.data({json.dumps(name)}, {json.dumps(value, ensure_ascii=False)});\n"
        for name, value in data.items()
    }
    files = {name.rpartition(".")[0]: _hashed(name, text) for name, text in content.items()}
    table = {name: [file, len(content[original].encode())] for (name, file), original in zip(files.items(), content)}
    page = f"const FILES = {json.dumps(table)};\n" + slim((SOURCES / "page.js").read_text(encoding="utf-8"))
    files["page"] = _hashed("page.js", page)
    for name, text in zip(files.values(), [*content.values(), page]):
        write_atomically(html / "live" / name, text.encode())
    return files


def _hashed(name, text):
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(text.encode()).hexdigest()[:10]}.{suffix}"


# --- the compiled source -----------------------------------------------------------------------------------------------


def digests():
    """What ``live/nn.sha256`` says if ``nn.wasm`` is that of its source: a line a file, as ``sha256sum`` writes them."""
    return "".join(f"{hashlib.sha256((SOURCES / name).read_bytes()).hexdigest()}  {name}\n" for name in COMPILED)


def main(arguments):
    if arguments == ["collect"]:
        collect()
    elif arguments == ["compiled"]:
        write_atomically(SOURCES / "nn.sha256", digests().encode())
        say(
            f"{shown(SOURCES / 'nn.wasm')} has {math.ceil((SOURCES / 'nn.wasm').stat().st_size / 1000)} kB; its source is written down in nn.sha256."
        )
    else:
        raise BookError("Usage: python src/live.py collect, or python src/live.py compiled")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BookError as error:
        sys.exit(str(error))
