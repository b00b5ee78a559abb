"""What lies in a folder: photos told by layout and name, links followed once, bins passed over; and weights, opened and checked.

Nothing here decides which folder is looked into: that is done in ``assets``.
"""

import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from fetch import WEIGHTS
from paths import BookError, decides_nothing

CLASSES = ("cat", "dog")  # label 0 and label 1 throughout the book
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif")

# Folders that systems and programs keep for themselves: hidden ones, bins, thumbnails, what a check of the disk saved.
PRIVATE = re.compile(
    r"[.$@#~].*|__macosx|__pycache__|recycle[rd]?([ ._-].*)?|trash(es|can)?([ ._-].*)?|lost\+found|found\.\d{3}"
    r"|system volume information|network trash folder|temporary items",
    re.IGNORECASE,
)
CLASS_WORD = re.compile(r"(?<![^\W\d_])(cat|dog)s?(?![^\W\d_])", re.IGNORECASE)  # no letter before or after it

# The 3 × 3 convolutions of VGG's five blocks: how many there are, and the channels that they put out.
VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VGG_CHANNELS = (64, 128, 256, 512, 512)


# --- walking through a folder ----------------------------------------------------------------------------------


@decides_nothing
def walk(root):
    """Every file below ``root``, in no particular order.

    Links to folders are followed, unless they lead back to a folder above them or to one that was read already.
    Nothing in hidden folders and bins is read.

    Yields:
        ``(name, info, problem, true)``: the path below root, with slashes; what ``os.stat`` says of a file, or None; where
        there is nothing to read, in words why; the path without links. Links come after all that is no link.
    """
    ahead, folder_links, file_links, seen = [(str(root), "")], [], [], set()
    while ahead or folder_links:
        is_link = not ahead  # links last, so that a photo keeps the name that it has without them
        folder, prefix = folder_links.pop(0) if is_link else ahead.pop()
        true = os.path.realpath(folder)
        above = (os.path.realpath(place) + "/" for place in (os.path.dirname(folder), root))
        if is_link and any(place.startswith(true.rstrip("/") + "/") for place in above):
            yield prefix, None, "a link to a folder that holds it, not followed", true
            continue
        if true in seen:
            yield prefix, None, "a link to a folder that is read already", true
            continue
        seen.add(true)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield prefix or "./", None, f"a folder that cannot be read ({error.strerror})", true
            continue
        for entry in entries:
            name = prefix + entry.name
            try:
                if not entry.is_dir():
                    if entry.is_symlink():
                        file_links.append((name, entry.stat(), "", os.path.realpath(entry.path)))
                    else:
                        yield name, entry.stat(), "", f"{true}/{entry.name}"
                elif PRIVATE.fullmatch(entry.name):
                    count = sum(len(files) for _, _, files in os.walk(entry.path))
                    yield f"{name}/", None, f"hidden, a bin or the like: not read ({count:,} file{'s' * (count != 1)} in it)", true
                else:
                    (folder_links if entry.is_symlink() else ahead).append((entry.path, f"{name}/"))
                    if entry.name.lower().endswith(SUFFIXES):
                        yield name, None, "a folder, not a photo", true
            except OSError as error:
                what = "a link that leads nowhere" if entry.is_symlink() else "not readable"
                yield name, None, f"{what} ({error.strerror})", true
    yield from file_links


# --- photos ----------------------------------------------------------------------------------------------------


@lru_cache(10_000)
def classes_in(text):
    """The labels whose words, "cat(s)" or "dog(s)", stand in a name: in ``train_cats`` and ``CatImages``, not in ``category``."""
    return {CLASSES.index(word.lower()) for word in CLASS_WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))}


@decides_nothing
def class_of(name):
    """Label of a photo by the name of its folder or its own: ``(label, "")``, or ``(None, why not)``.

    ``name``: the path below the root of the photos. Folders further up decide only where these two say nothing.
    """
    *folders, file = name.split("/")
    own, near, *far = classes_in(file), *(classes_in(folder) for folder in reversed(folders)), set()
    if len(own) == len(near) == 1 and own != near:
        return None, f"its folder says {CLASSES[min(near)]}, its name says {CLASSES[min(own)]}"
    for labels in (near, own, *far):
        if len(labels) == 1:
            return min(labels), ""
    if own:
        return None, "its name says both cat and dog"
    if near or any(far):
        return None, "its folder is named after both cat and dog, and its name after neither"
    return None, "neither its folder nor its name says cat or dog"


@decides_nothing
def unfit(name, info, problem):
    """Why a file that ``walk`` yields can be no photo: in words, "" if it can be one, None if it is not worth a word."""
    file = name.rsplit("/", 1)[-1]
    if problem:
        return problem
    if file.upper().startswith("README") or file.lower().endswith((".h5", ".hdf5", ".keras")):  # notes, weights
        return None
    if not file.strip().lower().endswith(SUFFIXES):
        return None if file.startswith(".") else f"its name does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    if file.startswith("."):
        return "a hidden file"
    if not stat.S_ISREG(info.st_mode):
        return "not a file that can be read from its beginning to its end"
    return "its name is not UTF-8; rename it" if any("\ud800" <= letter <= "\udfff" for letter in name) else ""


@decides_nothing
def fate_of(name, info, problem):
    """What becomes of a file that ``walk`` yields: ``(label, "")``, ``(None, why it is left out)``, or None: not worth a word."""
    reason = unfit(name, info, problem)
    return reason if reason is None else (None, reason) if reason else class_of(name)


@decides_nothing
def scan(root):
    """The photos below ``root`` and what is left out, both in natural order (``cat.9`` before ``cat.10``).

    Returns:
        ``[(name, label, size in bytes, time of change in ns)]`` and ``[(name, reason)]``; names are paths below root.
    """
    used, left_out, taken = [], [], set()
    for name, info, problem, true in walk(root):
        fate = fate_of(name, info, problem)
        if fate is None:
            continue
        label, reason = fate
        if label is not None and true in taken:
            label, reason = None, "a link to a photo that is read already"
        if label is None:
            left_out.append((name.encode(errors="surrogateescape").decode(errors="replace"), reason))
        else:
            taken.add(true)
            used.append((name, label, info.st_size, info.st_mtime_ns))
    return sorted(used, key=natural), sorted(left_out, key=natural)


@decides_nothing
def list_photos(root):
    """Files below ``root`` as two lists: ``(label, path)`` in natural order, and ``(path, reason)`` left out."""
    used, left_out = scan(root)
    return [(label, Path(root) / name) for name, label, *_ in used], [(Path(root) / name, reason) for name, reason in left_out]


def natural(item):
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", item[0])]


@decides_nothing
def photo_root(folder):
    """The folder of the photos in a data folder: its ``cats_vs_dogs``, or itself where it holds photos; None if neither."""
    if (folder / "cats_vs_dogs").is_dir():
        return folder / "cats_vs_dogs"
    fates = (fate_of(name, info, problem) for name, info, problem, _ in walk(folder))
    return folder if any(fate and fate[0] is not None for fate in fates) else None


@decides_nothing
def tally(left_out, most=6):
    """Left-out files counted by reason, one reason a line, the most frequent first; "" if there are none."""
    reasons = {}
    for name, reason in left_out:
        reasons.setdefault(reason, []).append(name)
    lines = [f"  left out: {names[0]}{f' and {len(names) - 1:,} more' * (len(names) > 1)} ({reason})"
             for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1]))]  # fmt: skip
    more = [f"  and files with {len(lines) - most} more reasons"] if len(lines) > most else []
    return "".join(f"{line}\n" for line in lines[:most] + more)


@decides_nothing
def contents(folder, most=8):
    """What lies in a folder, in words."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder))
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "") if names else "nothing"


# --- weights ---------------------------------------------------------------------------------------------------


@decides_nothing
def weights_names(name):
    """The two names under which the weights of "vgg16" or "vgg19" are looked for."""
    return f"{name}_notop.weights.h5", WEIGHTS[name][0].split("/")[1]


def _weights_places(folders):
    """Where weights may lie in data folders: in ``weights/``, in the folder itself, and in ``weights/`` beside the photos."""
    for folder in folders:
        yield from (folder / "weights", folder)
        if folder.name == "cats_vs_dogs":
            yield folder.parent / "weights"


@decides_nothing
def weights_file(name, folders):
    """The first file in data folders that has a name of the weights of "vgg16" or "vgg19", or None."""
    places = [place / file for place in _weights_places(folders) for file in weights_names(name)]
    return next((path for path in places if path.is_file()), None)


@decides_nothing
def weights_files(folders):
    """All that lies where weights may lie and looks like some: a sorted list."""
    files = {path for place in _weights_places(folders) if place.is_dir() for path in place.iterdir()}
    return sorted(path for path in files if re.search(r"\.(h5|hdf5|keras)|vgg", path.name, re.IGNORECASE))


@decides_nothing
def check_weights(path, name):
    """Open a file and see whether it holds the weights of "vgg16" or "vgg19" without the classifier.

    Both of Keras's layouts are known: that of ``….weights.h5``, and the older one of all other ``….h5``.

    Raises:
        BookError: it does not; the message says what it is instead, and what to do.
    """
    problem = _problem_of_weights(Path(path), name)
    if problem:
        raise BookError(
            f"{path} does not hold the weights of {name.upper()} without its classifier: {problem}.\n"
            "Replace the file, or delete it to have it fetched."
        )


@decides_nothing
def vgg_shapes(name):
    """Shapes of the kernels and biases of VGG without its classifier, in order."""
    shapes, channels = [], 3
    for count, out in zip(VGG_CONVOLUTIONS[name], VGG_CHANNELS):
        for _ in range(count):
            shapes += [(3, 3, channels, out), (out,)]
            channels = out
    return shapes


def _problem_of_weights(path, name):
    """What is wrong with a file of weights, in words; "" if nothing is."""
    import h5py  # imported here: the Snakefile reads this module each time, and opens no weights

    try:
        with open(path, "rb") as file:
            start = file.read(512)
        if not start:
            return "it is empty"
        if start.startswith(b"version https://git-lfs"):
            return "it is a Git LFS pointer, a short text in the place of the file; `git lfs pull` fetches the file itself"
        if re.match(rb"(\xef\xbb\xbf)?\s*<", start):
            return "it is a web page, as a proxy or a sign-in page sends it in place of a download"
        if start.startswith((b"PK", b"\x1f\x8b")):
            return "it is an archive (.zip, .keras or .gz)"
        if not start.startswith(b"\x89HDF\r\n\x1a\n"):
            return "it is no HDF5 file"
        with h5py.File(path) as file:
            arrays, older = _arrays(file)
            found = [array.shape for array in arrays]
            problem = _problem_of_shapes(found, name)
            if not problem and older == str(path).endswith(".weights.h5"):  # Keras tells the layout by the name
                right = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5" if older else f"{name}_notop.weights.h5"
                problem = f"its layout and its name do not belong together; rename it to {right}"
            return problem or next(("it holds numbers that are not finite" for a in arrays if not _finite(a)), "")
    except OSError as error:
        return "it is cut short" if "truncated" in str(error) else f"it cannot be read ({error.strerror or error})"
    except Exception as error:  # h5py raises many kinds for damaged files: KeyError, RuntimeError, ValueError, …
        return f"it is damaged ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"


def _arrays(file):
    """The arrays of the layers in an HDF5 file, in order, and whether it has Keras's older layout."""
    import h5py

    def listed(group, key):  # long lists are kept in pieces: key0, key1, …
        pieces = [key] if key in group.attrs else sorted((k for k in group.attrs if re.fullmatch(rf"{key}\d+", k)), key=lambda k: natural([k]))
        return [item.decode() if isinstance(item, bytes) else str(item) for piece in pieces for item in group.attrs[piece]]

    older = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
    layers = listed(older, "layer_names")
    if layers:
        return [older[layer][weight] for layer in layers for weight in listed(older[layer], "weight_names")], True
    if "layers" in file:
        groups = [file["layers"][layer] for layer in sorted(file["layers"], key=lambda layer: natural([layer]))]
        return [group["vars"][key] for group in groups if "vars" in group for key in sorted(group["vars"], key=int)], False
    arrays = []
    file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
    return arrays, True


def _problem_of_shapes(found, name):
    """How the shapes of a file's arrays differ from those of VGG, in words; "" if they do not."""
    for known in VGG_CONVOLUTIONS:
        expected = vgg_shapes(known)
        if found[: len(expected)] == expected and all(len(shape) < 4 for shape in found[len(expected) :]):
            whole = len(found) > len(expected)
            if known == name:
                return "it holds the classifier as well (names of files without it have `notop` in them)" if whole else ""
            return f"it holds the weights of {known.upper()}" + " with its classifier" * whole
    if not found:
        return "there are no weights of layers in it"
    return f"it holds another network ({len(found)} arrays, the first of shape {' × '.join(map(str, found[0]))})"


def _finite(array):
    import numpy as np

    return np.issubdtype(array.dtype, np.floating) and bool(np.isfinite(array[()]).all())
