"""The photos and the weights that the book works on: found in a folder, fetched, or drawn.

The order is always the same (see README, *Photos and weights*): a folder that is already there, then a
download, then, in the profiles that allow it, photos drawn by this module and a VGG without weights. What
was used is described in words, so that a page can say it.

Photos are decoded once. The decoded pixels lie in ``runs/cache`` and every chapter maps them from there.
"""

import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import urllib.parse
import zipfile
import zlib
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from tqdm import tqdm

from paths import PROJECT, BookError, runs_folder, write_atomically

CLASSES = ("cat", "dog")  # label 0 and label 1 throughout the book
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # decided by content, whatever the file is called
MAX_PIXELS = 50_000_000  # larger images would take gigabytes of memory to decode
MAX_UNPACKED = 4_000_000_000  # bytes; the whole collection has 0.9 GB
TIMEOUT = 20  # seconds without an answer after which a download is given up
MIN_SIDE = 8  # pixels; nothing can be seen in less
NEAR_DUPLICATE_BITS = 12  # of 256; see near_duplicates

# Microsoft publishes the whole collection; Google a part of it that is enough for a quick run. No checksum of
# Google's file is published, so its exact size and the checksums inside the zip are verified instead.
DOWNLOADS = {
    "all": {
        "url": "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
        "kagglecatsanddogs_5340.zip",
        "hash": "sha256:b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
        "bytes": 824_887_076,
    },
    "part": {
        "url": "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
        "hash": None,
        "bytes": 68_606_236,
    },
}
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
WEIGHTS = {  # the files that keras.applications itself downloads, with Keras's own checksums
    "vgg16": ("vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:6d6bbae143d832006294945121d1f1fc"),
    "vgg19": ("vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:253f8cb515780f3b799900260a226db6"),
}


# --- where things lie ------------------------------------------------------------------------------------------


def data_folders():
    """Folders in which photos and weights are looked for, in order: ``$BOOK_DATA``, then ``data/``."""
    folders = [PROJECT / "data"]
    if os.environ.get("BOOK_DATA"):
        given = Path(os.environ["BOOK_DATA"]).expanduser()
        given = given if given.is_absolute() else PROJECT / given
        if not given.is_dir():
            raise BookError(
                f"BOOK_DATA points to {given}, which is not a folder.\n"
                "Point it to the folder that holds cats_vs_dogs/ and weights/, or unset it."
            )
        folders.insert(0, given)
    return folders


# --- downloads -------------------------------------------------------------------------------------------------


def fetch(url, target, known_hash=None, size=None, attempts=2):
    """Download ``url`` to the file ``target`` and return the path.

    The file appears under its name only once it is complete and verified; a broken download is removed and
    tried again, ``attempts`` times in all.

    Raises:
        BookError: no network, an interrupted transfer, or a file of the wrong size or checksum.
    """
    import pooch  # imported here: only a download needs it
    from pooch.hashes import hash_matches

    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    for attempt in range(1, attempts + 1):
        print(f"Fetching {url}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            part = Path(folder) / target.name
            try:
                download(url, part, None)
                got = part.stat().st_size
                if size is not None and got != size:
                    raise ValueError(f"it has {got:,} bytes instead of {size:,}")
                if known_hash and not hash_matches(part, known_hash):
                    raise ValueError("its checksum is wrong")
                part.replace(target)
                return target
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                reason = error
        print(f"  attempt {attempt} of {attempts} failed: {reason}", file=sys.stderr)
    host = urllib.parse.urlsplit(url).netloc
    raise BookError(
        f"Could not download {url}\n  {reason}\n"
        f"Check that this machine reaches {host}, or fetch the file by other means (see data/README.md)."
    )


def unpack(archive, folder):
    """Unpack the zip file ``archive`` into ``folder``, which appears only when all of it is there.

    Raises:
        BookError: not a zip, a damaged one, or one with a member that would land outside ``folder``.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
        inside = Path(scratch) / "content"
        try:
            with zipfile.ZipFile(archive) as content:
                size = sum(member.file_size for member in content.infolist())
                if size > MAX_UNPACKED:
                    raise BookError(f"{archive} would unpack to {size:,} bytes, which no collection of these photos has. Delete it.")
                for member in tqdm(content.infolist(), desc="Unpacking", unit=" files", disable=None):
                    if not (inside / member.filename).resolve().is_relative_to(inside.resolve()):
                        raise BookError(f"{archive} holds {member.filename!r}, which would land outside {folder}.")
                    if stat.S_ISLNK(member.external_attr >> 16):
                        raise BookError(f"{archive} holds {member.filename!r}, a link to another place. Delete the file.")
                    content.extract(member, inside)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotADirectoryError, IsADirectoryError) as error:
            raise BookError(f"{archive} is damaged ({error}). Delete it and run again.") from error
        inside.replace(folder)


# --- photos: finding them --------------------------------------------------------------------------------------


def class_of(path):
    """Label of a photo by its folder (``Cat/``, ``dogs/``) or its name (``dog.7.jpg``); None if neither tells."""
    for word, pattern in ((path.parent.name, r"(cat|dog)s?$"), (path.name, r"(cat|dog)s?[._-]")):
        found = re.match(pattern, word.lower())
        if found:
            return CLASSES.index(found[1])
    return None


def list_photos(root):
    """Files below ``root`` as two lists: ``(label, path)`` in natural order, and ``(path, reason)`` left out."""
    used, left_out = [], []
    for path in sorted(root.rglob("*"), key=lambda p: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", str(p))]):
        if path.name.startswith(".") or path.name.upper().startswith("README") or path.is_dir():
            if path.is_dir() and path.suffix.lower() in SUFFIXES:
                left_out.append((path, "a folder, not a photo"))
        elif path.suffix.lower() not in SUFFIXES:
            left_out.append((path, "not an image file"))
        elif class_of(path) is None:
            left_out.append((path, "neither its folder nor its name says cat or dog"))
        else:
            used.append((class_of(path), path))
    return used, left_out


def find_photos():
    """The first of the data folders that has a ``cats_vs_dogs`` folder, or None."""
    for folder in data_folders():
        if (folder / "cats_vs_dogs").is_dir():
            return folder / "cats_vs_dogs"
    return None


def fetch_photos(which):
    """Download and unpack the photos into ``data/cats_vs_dogs``. ``which``: "all" (787 MB) or "part" (69 MB)."""
    item = DOWNLOADS[which]
    archive = PROJECT / "data" / item["url"].rsplit("/", 1)[1]
    if not archive.exists():
        fetch(item["url"], archive, item["hash"], item["bytes"])
    unpack(archive, PROJECT / "data" / "cats_vs_dogs")
    archive.unlink()
    return PROJECT / "data" / "cats_vs_dogs"


# --- photos: reading them --------------------------------------------------------------------------------------


def read_photo(path, image_size):
    """Decode one photo.

    Args:
        path: an image file; what it is is decided by its content, not by its name.
        image_size: height and width of the result, in pixels.

    Returns:
        uint8 array (image_size, image_size, 3), RGB. The photo is squeezed to a square, as the report's loader
        did; nothing is cut off.

    Raises:
        ValueError: the file is empty, damaged, too large, too small or no image; the message says which.
    """
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels are too many")
            if min(image.size) < MIN_SIDE:
                raise ValueError(f"{image.width} × {image.height} pixels are too few")
            image.draft("RGB", (2 * image_size, 2 * image_size))  # JPEG only: decodes straight to a smaller size
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip it to white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except ValueError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files: OSError, SyntaxError, struct.error, …
        raise ValueError(f"damaged ({error})") from error


def draw_photo(label, index, image_size):
    """Draw the head of a cat (label 0) or a dog (label 1): uint8 array (image_size, image_size, 3).

    The same ``label`` and ``index`` give the same picture. Cats get pointed ears and whiskers, dogs hanging ears
    and a long muzzle; colours, place, size and background vary, so that there is something to learn.
    """
    rng = np.random.default_rng([label, index])
    side = 128
    back = rng.integers(40, 220, 3)
    image = Image.new("RGB", (side, side), tuple(int(c) for c in back))
    pen = ImageDraw.Draw(image)
    for _ in range(6):  # clutter
        x, y, r = rng.integers(0, side), rng.integers(0, side), rng.integers(8, 40)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(c) for c in rng.integers(30, 230, 3)))
    fur = rng.choice([[70, 60, 55], [200, 170, 120], [150, 100, 60], [225, 220, 210], [120, 120, 125]])
    fur = np.clip(fur + rng.integers(-20, 20, 3), 0, 255)
    coat, dark = tuple(int(c) for c in fur), tuple(int(c) for c in fur * 0.55)
    x, y, r = rng.integers(45, 83), rng.integers(50, 80), rng.integers(24, 38)
    if label == 0:
        for s in (-1, 1):
            pen.polygon([(x + s * r, y - r * 1.45), (x + s * r * 0.95, y - r * 0.1), (x + s * r * 0.1, y - r * 0.8)], fill=dark)
        pen.ellipse((x - r, y - r, x + r, y + r * 0.9), fill=coat)
        for s in (-1, 1):
            for lift in (-3, 2, 7):
                pen.line([(x + s * r * 0.3, y + r * 0.35), (x + s * r * 1.3, y + r * 0.2 + lift)], fill=(240, 240, 240))
    else:
        pen.ellipse((x - r * 0.9, y - r, x + r * 0.9, y + r), fill=coat)
        for s in (-1, 1):
            a, b = x + s * r * 0.7, x + s * r * 1.3
            pen.ellipse((min(a, b), y - r * 0.8, max(a, b), y + r * 0.8), fill=dark)
        pen.ellipse((x - r * 0.45, y + r * 0.1, x + r * 0.45, y + r * 1.3), fill=coat, outline=dark)
    for s in (-1, 1):
        e = r * 0.16
        pen.ellipse((x + s * r * 0.4 - e, y - r * 0.2 - e, x + s * r * 0.4 + e, y - r * 0.2 + e), fill=(25, 30, 20))
    pen.ellipse((x - r * 0.16, y + r * 0.25, x + r * 0.16, y + r * 0.5), fill=(40, 25, 30))
    image = image.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR, fillcolor=tuple(int(c) for c in back))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32) + rng.normal(0, 10, (side, side, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))


def near_duplicates(images, bits=NEAR_DUPLICATE_BITS):
    """Group photos that show the same picture.

    Each photo is shrunk to 17 × 16 grey pixels; whether the right neighbour of a pixel is brighter gives one
    bit (a "difference hash", 256 bits). Two photos that differ in at most ``bits`` of them are one group.

    Args:
        images: uint8 (n, height, width, 3).

    Returns:
        int array (n,): photos of the same group have the same number.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    small = [np.asarray(Image.fromarray(i).convert("L").resize((17, 16), Image.Resampling.BOX), np.int16) for i in images]
    signs = np.where(np.diff(np.stack(small), axis=2) > 0, 1, -1).reshape(len(images), -1).astype(np.float32)
    rows, columns = [], []
    for start in range(0, len(signs), 2000):  # in blocks: all pairs of 25,000 photos would take 2.5 GB
        row, column = np.nonzero(signs[start : start + 2000] @ signs.T >= signs.shape[1] - 2 * bits)
        rows.append(row + start)
        columns.append(column)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    graph = csr_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(images), len(images)))
    return connected_components(graph, directed=False)[1]


@dataclass(frozen=True)
class Photos:
    """A collection of photos, decoded.

    Attributes:
        images: uint8 (n, image_size, image_size, 3), RGB.
        labels: uint8 (n,), 0 = cat, 1 = dog.
        names: n file names, relative to the folder of the photos.
        groups: int (n,); near-duplicates share a number.
        source: where they come from, in words.
        digest: 16 hexadecimal digits that change when a photo, its label or the size changes.
        left_out: ``(name, reason)`` of the files that could not be used.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple
    groups: np.ndarray
    source: str
    digest: str
    left_out: tuple


def load_photos(profile, image_size, drawn_per_class=None):
    """All photos that this run works on, found, fetched or drawn, decoded and cached.

    Args:
        profile: "report" takes real photos only; "quick" draws some when none can be had; "test" always draws.
        image_size: height and width in pixels.
        drawn_per_class: how many of each class to draw, where they are drawn; by default what the profile needs.

    Raises:
        BookError: no usable photos, or (report) none at all and no way to fetch them.
    """
    drawn_per_class = drawn_per_class or (60 if profile == "test" else 320)
    root = None if profile == "test" else find_photos()
    may_fetch = profile != "test" and os.environ.get("BOOK_DOWNLOAD") != "0"
    if root is None and may_fetch:
        try:
            root = fetch_photos("all" if profile == "report" else "part")
        except BookError as error:
            if profile != "report":
                print(f"{error}\nGoing on with drawn photos.", file=sys.stderr)
            else:
                raise BookError(
                    f"The report profile needs the real photos, and there are none.\n{error}\n"
                    "Either let this machine download them, or put them in data/cats_vs_dogs (any layout that "
                    "data/README.md lists) or in the folder that BOOK_DATA names."
                ) from error
    if root is None and profile == "report":
        raise BookError("The report profile needs the real photos: run make book PROFILE=report, which fetches them.")
    return _drawn_photos(image_size, drawn_per_class) if root is None else _folder_photos(root, image_size)


def _drawn_photos(image_size, per_class):
    key = hashlib.sha256(f"drawn {image_size} {per_class}".encode()).hexdigest()[:16]
    items = [(label, index) for label in range(2) for index in range(per_class)]
    return Photos(
        images=np.stack([draw_photo(label, index, image_size) for label, index in items]),
        labels=np.array([label for label, _ in items], np.uint8),
        names=tuple(f"{CLASSES[label]}.{index} (drawn)" for label, index in items),
        groups=np.arange(len(items)),
        source=f"{len(items):,} pictures drawn by the project, not photos",
        digest=key,
        left_out=(),
    )


def _folder_photos(root, image_size):
    files, left_out = list_photos(root)
    if not files:
        raise BookError(
            f"No photos of cats and dogs in {root}.\n"
            "Put them there in one of the layouts that data/README.md lists, or delete the folder to have them fetched."
        )
    stats = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for _, p in files if p.exists()]
    key = hashlib.sha256(json.dumps([str(root), image_size, stats]).encode()).hexdigest()[:16]
    cache = runs_folder() / "cache"
    pixels, facts = cache / f"photos-{key}.npy", cache / f"photos-{key}.json"
    if not (pixels.exists() and facts.exists()):
        cache.mkdir(parents=True, exist_ok=True)
        _decode(root, files, left_out, image_size, pixels, facts)
    known = json.loads(facts.read_text(encoding="utf-8"))
    images = np.load(pixels, mmap_mode="r")
    return Photos(
        images=images,
        labels=np.array(known["labels"], np.uint8),
        names=tuple(known["names"]),
        groups=np.array(known["groups"]),
        source=f"{len(images):,} photos of the Asirra (Dogs vs. Cats) collection",
        digest=known["digest"],
        left_out=tuple(tuple(item) for item in known["left_out"]),
    )


def _decode(root, files, left_out, image_size, pixels, facts):
    """Decode ``files`` into the two cache files, pixels last: a run that is killed here starts over."""

    def read(item):
        label, path = item
        try:
            return label, path, read_photo(path, image_size), hashlib.sha256(path.read_bytes()).digest()
        except (ValueError, OSError) as error:
            return label, path, None, str(error)

    labels, names, images, digest = [], [], [], hashlib.sha256(f"{image_size}".encode())
    with ThreadPool(os.cpu_count()) as pool:
        results = pool.imap(read, files, chunksize=16)
        for label, path, image, detail in tqdm(results, "Decoding photos", len(files), unit=" photos", mininterval=2):
            if image is None:
                left_out.append((path, detail))
                continue
            labels.append(label)
            names.append(path.relative_to(root).as_posix())
            images.append(image)
            digest.update(bytes([label]) + detail)
    if not images:
        raise BookError(f"None of the {len(files):,} image files in {root} can be read. The first: {left_out[-1][1]}.")
    images = np.stack(images)
    known = {
        "digest": digest.hexdigest()[:16],
        "labels": labels,
        "names": names,
        "groups": near_duplicates(images).tolist(),
        "left_out": [(path.relative_to(root).as_posix(), reason) for path, reason in left_out],
    }
    write_atomically(facts, json.dumps(known).encode())
    write_atomically(pixels, lambda file: np.save(file, images))


# --- photos: dividing them -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One part of a split. ``images``: uint8 (n, size, size, 3); ``labels``: uint8 (n,); ``names``: n file names."""

    images: np.ndarray
    labels: np.ndarray
    names: tuple


@dataclass(frozen=True)
class Split:
    """Training, validation and test photos; ``digest`` says which photos went where (16 hexadecimal digits)."""

    train: Part
    validation: Part
    test: Part
    digest: str


def split(photos, seed, train_size, validation_size, test_size):
    """Divide photos at random into training, validation and test parts.

    Near-duplicates stay together, so that no test photo has a twin among the training photos.

    Args:
        photos: a ``Photos`` collection.
        seed: decides who goes where; the same seed gives the same split.
        train_size, validation_size, test_size: photos of each class; what is over is not used.

    Raises:
        BookError: a class has too few photos.
    """
    rng = np.random.default_rng(seed)
    sizes = (train_size, validation_size, test_size)
    counts = np.bincount(photos.labels, minlength=2)
    if counts.min() < sum(sizes):
        raise BookError(
            f"The split needs {sum(sizes):,} photos of each class ({train_size:,} for training, {validation_size:,} for "
            f"validation, {test_size:,} for the test); found {counts[0]:,} of cats and {counts[1]:,} of dogs "
            f"({len(photos.left_out):,} files left out).\nAdd photos (data/README.md), or lower the sizes in the profile."
        )
    parts = ([], [], [])
    # Room for photos of each class in each part; the last place is for photos that are not used.
    free = np.array([[*sizes, count - sum(sizes)] for count in counts])
    order = np.argsort(photos.groups, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(photos.groups[order])) + 1)
    shuffled = [groups[i] for i in rng.permutation(len(groups))]
    for group in sorted(shuffled, key=len, reverse=True):  # large groups while there is room
        needs = np.bincount(photos.labels[group], minlength=2)[:, None]
        room = np.where((free >= needs).all(axis=0), (free * (needs > 0)).sum(axis=0), 0)
        if not room.any():
            raise BookError("Too many near-duplicates among the photos to divide them. Add other photos.")
        place = rng.choice(4, p=room / room.sum())
        free[:, place] -= needs[:, 0]
        if place < 3:
            parts[place].extend(group)
    chosen = [rng.permutation(part) for part in parts]
    digest = hashlib.sha256(photos.digest.encode())
    for part in chosen:
        digest.update(part.astype("<i8").tobytes())
    made = [Part(photos.images[part], photos.labels[part], tuple(photos.names[i] for i in part)) for part in chosen]
    return Split(*made, digest=digest.hexdigest()[:16])


# --- weights ---------------------------------------------------------------------------------------------------


def find_weights(name, profile):
    """File with the ImageNet weights of "vgg16" or "vgg19" (no classifier on top), or None: use an untrained network.

    Raises:
        BookError: the report profile, and there is no such file and no way to fetch it.
    """
    if profile == "test":
        return None
    for folder in data_folders():
        for path in (folder / "weights" / f"{name}_notop.weights.h5", folder / "weights" / WEIGHTS[name][0].split("/")[1]):
            if path.is_file():
                return path
    kept = Path.home() / ".keras" / "models" / WEIGHTS[name][0].split("/")[1]  # where Keras keeps its own downloads
    if kept.is_file():
        return kept
    if os.environ.get("BOOK_DOWNLOAD") != "0":
        path, checksum = WEIGHTS[name]
        try:
            return fetch(WEIGHTS_URL + path, PROJECT / "data" / "weights" / path.split("/")[1], checksum)
        except BookError as error:
            if profile == "report":
                raise BookError(
                    f"The report profile needs the ImageNet weights of {name.upper()}, and there are none.\n{error}\n"
                    f"Or put {name}_notop.weights.h5 in data/weights, or in the weights folder below BOOK_DATA."
                ) from error
            print(f"{error}\nGoing on with an untrained {name.upper()}.", file=sys.stderr)
    if profile == "report":
        raise BookError(f"The report profile needs the ImageNet weights of {name.upper()}: run make book PROFILE=report.")
    return None
