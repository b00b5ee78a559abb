"""The photos and the weights that the book works on: found in a folder, fetched, or drawn; decoded once, and divided.

The order is always the same (see README, *Photos and weights*): a folder that is already there, then a
download, then, in the profiles that allow it, photos drawn by this module and a VGG without weights. What
was used is described in words, so that a page can say it.

Photos are decoded once. The decoded pixels lie in ``runs/cache`` and every chapter maps them from there.
"""

import ast
import hashlib
import inspect
import json
import os
import re
import sys
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter

import found
from fetch import WEIGHTS, fetch_photos, fetch_weights
from found import CLASSES, check_weights
from found import list_photos as list_photos  # for others
from paths import PROJECT, BookError, decides_nothing, runs_folder, shown, write_atomically

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # decided by content, whatever the file is called
MAX_PIXELS = 50_000_000  # larger images would take gigabytes of memory to decode
MIN_SIDE = 8  # pixels; nothing can be seen in less
NEAR_DUPLICATE_BITS = 12  # of 256; see near_duplicates
FINGERPRINT_SIZE = 150  # pixels; near-duplicates are told at this size, whatever size a run works with
TEST_PHOTOS = PROJECT / "data" / "test-photos.txt"


# --- where things lie ------------------------------------------------------------------------------------------


@decides_nothing
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


@decides_nothing
def find_photos():
    """The folder of the photos: in the first of the data folders that has any, or None.

    Raises:
        BookError: BOOK_DATA names a folder with neither photos nor weights in it.
    """
    *given, own = data_folders()
    for folder in given:
        root = found.photo_root(folder)
        if root is not None:
            return root
        if not any(found.weights_file(name, [folder]) for name in WEIGHTS):
            raise BookError(
                f"BOOK_DATA points to {folder}, and neither photos of cats and dogs nor weights of VGG are found there.\n"
                f"There: {found.contents(folder)}.\n{found.tally(found.scan(folder)[1])}"
                "Expected: cats_vs_dogs/, PetImages/ or train/ with the photos, unpacked, or weights/ (data/README.md has the names)."
            )
    return found.photo_root(own) if own.is_dir() else None


@decides_nothing
def downloads_allowed():
    """BOOK_DOWNLOAD=0 forbids them; the jobs of a run have "done" there: what can be fetched was fetched before they began."""
    return os.environ.get("BOOK_DOWNLOAD") not in ("0", "done")


@decides_nothing
def fingerprint(profile):
    """A short text that changes when anything changes, on disk or in the settings, that decides which photos and weights are found.

    Cheap: names, sizes and times are looked at, no file is opened, nothing is written or fetched. Never an error: what is
    wrong, the run says.
    """
    things = [profile, _code_of(draw_photo), sorted(fixed_test_photos())]
    if profile == "test":  # always draws
        return _short_hash(things)
    try:
        root = find_photos()
        photos = [] if root is None else sorted((name, *_stamp(info)) for name, info, _, _ in found.walk(root))
        kept = [_kept_by_keras(name) for name in WEIGHTS]
        weights = [(str(p), *_stamp(p.stat())) for p in [*found.weights_files(data_folders()), *kept] if p.is_file()]
        things += [os.environ.get("BOOK_DOWNLOAD") != "0", str(root), photos, weights]
    except (BookError, OSError) as error:
        things.append(str(error))
    return _short_hash(things)


@decides_nothing
def _stamp(info):
    return (info.st_size, info.st_mtime_ns) if info else ()


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
            image.load()
            turn = _turn(image)
            image = image if turn is None else image.transpose(turn)
            if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip it to white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError("its pixels are too many") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files: OSError, SyntaxError, struct.error, …
        raise ValueError(f"damaged ({error})") from error


def _turn(image):
    """How a photo must be turned to stand upright, by what its camera noted; None: not at all, or the note is damaged."""
    to = Image.Transpose
    turns = {2: to.FLIP_LEFT_RIGHT, 3: to.ROTATE_180, 4: to.FLIP_TOP_BOTTOM, 5: to.TRANSPOSE, 6: to.ROTATE_270, 7: to.TRANSVERSE, 8: to.ROTATE_90}
    try:
        return turns.get(image.getexif().get(0x0112))
    except Exception as error:  # a damaged note is no damage to the photo
        warnings.warn(f"Unreadable EXIF data ({error})", stacklevel=2)
        return None


@decides_nothing
@contextmanager
def _warnings_by_thread():
    """Collect the warnings of Pillow, which do not say which file they are about, by thread: yields ``{thread: [text]}``."""
    heard = {}

    def keep(message, *_, **__):
        heard.setdefault(threading.get_ident(), []).append(" ".join(str(message).split()))

    with warnings.catch_warnings():  # holds for all threads, so it stands around them
        warnings.simplefilter("always")
        warnings.showwarning = keep
        yield heard


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


def _signs(image):
    """Whether each pixel's right neighbour is brighter, in a photo shrunk to 17 × 16 grey pixels: bool (256,)."""
    small = np.asarray(Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.diff(small, axis=1).ravel() > 0


def near_duplicates(images, bits=NEAR_DUPLICATE_BITS):
    """Group photos that show the same picture.

    Each photo is shrunk to 17 × 16 grey pixels; whether the right neighbour of a pixel is brighter gives one
    bit (a "difference hash", 256 bits). Two photos that differ in at most ``bits`` of them are one group.

    Args:
        images: uint8 (n, height, width, 3).

    Returns:
        int array (n,): photos of the same group have the same number.
    """
    return _groups(np.stack([_signs(image) for image in images]), bits)


def _groups(signs, bits=NEAR_DUPLICATE_BITS):
    """``near_duplicates`` by the bits, bool (n, 256)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    signs = np.where(signs, 1, -1).astype(np.float32)
    rows, columns = [], []
    for start in range(0, len(signs), 2000):  # in blocks: all pairs of 25,000 photos would take 2.5 GB
        row, column = np.nonzero(signs[start : start + 2000] @ signs.T >= signs.shape[1] - 2 * bits)
        rows.append(row + start)
        columns.append(column)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    graph = csr_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(signs), len(signs)))
    return connected_components(graph, directed=False)[1]


@dataclass(frozen=True)
class Photos:
    """A collection of photos, decoded.

    Attributes:
        images: uint8 (n, image_size, image_size, 3), RGB.
        labels: uint8 (n,), 0 = cat, 1 = dog.
        names: n file names, relative to the folder of the photos.
        groups: int (n,); near-duplicates share a number, which no image size changes.
        source: where they come from, in words.
        digest: 16 hexadecimal digits that change when a file, its name or its label does: the same on every machine, with
            every decoder and at every image size. (They change with the list of test photos, too.)
        left_out: ``(name, reason)`` of the files that could not be used.
        warnings: ``(name, what Pillow says)`` of files that are used and not quite in order.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple
    groups: np.ndarray
    source: str
    digest: str
    left_out: tuple
    warnings: tuple = ()


@decides_nothing
def load_photos(profile, image_size, drawn_per_class=None):
    """All photos that this run works on, found, fetched or drawn, decoded and cached.

    Args:
        profile: "report" takes real photos only; "quick" draws some when none can be had; "test" always draws.
        image_size: height and width in pixels.
        drawn_per_class: how many of each class to draw, where they are drawn; by default what the profile needs.

    Raises:
        BookError: no usable photos, a BOOK_DATA that is not understood, or (report) no photos and no way to fetch them.
    """
    drawn_per_class = drawn_per_class or (60 if profile == "test" else 320)
    root = None if profile == "test" else find_photos()
    may_fetch = profile != "test" and downloads_allowed()
    if root is None and may_fetch:
        try:
            root = fetch_photos("all" if profile == "report" else "part", PROJECT / "data")
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
        raise BookError(
            "The report profile needs the real photos, and BOOK_DOWNLOAD=0 forbids to fetch them.\n"
            "Put them in data/cats_vs_dogs (data/README.md has the layouts), or let BOOK_DATA name the folder that holds them."
        )
    return _drawn_photos(image_size, drawn_per_class) if root is None else _folder_photos(root, image_size)


def _drawn_photos(image_size, per_class):
    items = [(label, index) for label in range(2) for index in range(per_class)]
    return Photos(
        images=np.stack([draw_photo(label, index, image_size) for label, index in items]),
        labels=np.array([label for label, _ in items], np.uint8),
        names=tuple(f"{CLASSES[label]}.{index} (drawn)" for label, index in items),
        groups=np.arange(len(items)),
        source=f"{len(items):,} pictures drawn by the project, not photos",
        digest=_short_hash([_code_of(draw_photo), per_class, sorted(fixed_test_photos())]),
        left_out=(),
    )


@decides_nothing
def _folder_photos(root, image_size):
    files, left_out = found.scan(root)
    if not files:
        raise BookError(
            f"No photos of cats and dogs in {root}.\n{found.tally(left_out)}"
            "Put them there in one of the layouts that data/README.md lists, or delete the folder to have them fetched."
        )
    facts = _facts(root, files)
    damaged = [(name, facts[name]["reason"]) for name, *_ in files if "reason" in facts[name]]
    used = [(name, label, facts[name]) for name, label, *_ in files if "reason" not in facts[name]]
    if not used:
        raise BookError(f"None of the {len(files):,} image files in {root} can be read (the first: {damaged[0][1]}).\n{found.tally(damaged)}Replace them (data/README.md).")
    digest = _short_hash([[(label, name, fact["sha256"]) for name, label, fact in used], sorted(fixed_test_photos())])
    pixels = runs_folder() / "cache" / f"pixels-{_short_hash([digest, image_size, _decoder()])}.npy"
    if not pixels.exists():
        _decode(root, [name for name, *_ in used], image_size, pixels)
    images = np.load(pixels, mmap_mode="r")
    asirra = sum(bool(re.fullmatch(r"(cat|dog)\.\d+", base_name(name, label))) for name, label, _ in used)
    return Photos(
        images=images,
        labels=np.array([label for _, label, _ in used], np.uint8),
        names=tuple(name for name, *_ in used),
        groups=np.array([fact["group"] for *_, fact in used]),
        source=f"{len(images):,} photos of " + ("the Asirra (Dogs vs. Cats) collection" if 2 * asirra > len(images) else "your own"),
        digest=digest,
        left_out=(*left_out, *damaged),
        warnings=tuple((name, text) for name, _, fact in used for text in fact["warnings"]),
    )


@decides_nothing
def _facts(root, files):
    """What is known of each file, by name: its ``sha256``, ``group`` of near-duplicates and ``warnings``, or the ``reason`` to leave it out.

    They are kept in ``runs/cache``. Only files whose size or time has changed are opened.
    """
    path = runs_folder() / "cache" / f"photos-{_short_hash([str(root), _decoder()])}.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none yet, or it is damaged
        known = {}
    facts = {name: known[name] for name, _, *stamp in files if known.get(name, {}).get("stamp") == stamp}
    fresh = [file for file in files if file[0] not in facts]
    with _warnings_by_thread() as heard:

        def examine(file):
            name, _, *stamp = file
            texts = heard[threading.get_ident()] = []
            try:
                with open(root / name, "rb") as opened:
                    content = hashlib.file_digest(opened, "sha256").hexdigest()
                signs = np.packbits(_signs(read_photo(root / name, FINGERPRINT_SIZE))).tobytes().hex()
                return name, {"stamp": stamp, "sha256": content, "signs": signs, "warnings": sorted(set(texts))}
            except ValueError as error:
                return name, {"stamp": stamp, "reason": str(error)}
            except OSError as error:  # may be mended without a change of the file: asked again the next time
                return name, {"stamp": None, "reason": error.strerror or str(error)}

        facts.update(_in_threads(examine, fresh, "Looking at photos"))
    if fresh or len(known) > len(facts):
        whole = [name for name, *_ in files if "signs" in facts[name]]
        bits = [np.unpackbits(np.frombuffer(bytes.fromhex(facts[name]["signs"]), np.uint8)) for name in whole]
        for name, group in zip(whole, _groups(np.stack(bits)).tolist() if bits else ()):
            facts[name]["group"] = group
        write_atomically(path, json.dumps(facts).encode())
    return facts


@decides_nothing
def _decode(root, names, image_size, target):
    """Write the pixels of photos to a ``.npy`` file, one after the other, so that no machine needs room for all of them."""

    def read(name):
        try:
            return read_photo(root / name, image_size)
        except (ValueError, OSError) as error:
            raise BookError(f"{root / name} has changed while photos were read ({error}). Run again.") from error

    def save(file):
        shape = (len(names), image_size, image_size, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for image in _in_threads(read, names, "Decoding photos"):
            file.write(image.tobytes())

    with _warnings_by_thread():
        write_atomically(target, save)


@decides_nothing
def _in_threads(function, items, label):
    """Results of ``function`` for all items, in order, with a progress bar."""
    from multiprocessing.pool import ThreadPool  # imported here, both: the Snakefile reads this module each time

    from tqdm import tqdm

    if items:
        with ThreadPool(os.cpu_count()) as pool:
            results = pool.imap(function, items, chunksize=16)
            yield from tqdm(results, label, len(items), unit=" photos", mininterval=2)


@decides_nothing
@lru_cache
def _decoder():
    """What decides the pixels besides the file: the code here, and Pillow."""
    return [_code_of(read_photo, _turn, _signs), PIL.__version__]


@decides_nothing
def _code_of(*functions):
    """The code of functions without comments, docstrings and layout."""
    trees = [ast.parse(inspect.getsource(function)) for function in functions]
    for tree in trees:
        if ast.get_docstring(tree.body[0]) is not None:
            del tree.body[0].body[0]
    return "\n".join(ast.unparse(tree) for tree in trees)


def _short_hash(things):
    """16 hexadecimal digits that stand for plain values."""
    return hashlib.sha256(json.dumps(things).encode()).hexdigest()[:16]


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


@lru_cache
def fixed_test_photos():
    """Base names of the book's test photos, such as ``cat.483``: the same for every seed. They are kept in ``data/test-photos.txt``."""
    try:
        lines = TEST_PHOTOS.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BookError(f"{TEST_PHOTOS} is a part of the project and cannot be read ({error.strerror}). Restore it.") from error
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def base_name(name, label):
    """How a photo is called in every layout: ``cat.483`` for ``train/cat.483.jpg`` and for ``PetImages/Cat/483.jpg``."""
    base = re.sub(r"\.[a-z]{3,4}$", "", name.rsplit("/", 1)[-1].lower())
    return f"{CLASSES[label]}.{base}" if base.isdecimal() else base


def split(photos, seed, train_size, validation_size, test_size):
    """Divide photos into training, validation and test parts.

    The test part is the same for every seed and image size: photos that ``data/test-photos.txt`` names, or, where there are
    too few of them, a fixed draw. The seed divides the others at random. Near-duplicates stay together, so that no test
    photo has a twin among the training photos.

    Args:
        photos: a ``Photos`` collection.
        seed: decides which photos train and which validate, and their order.
        train_size, validation_size, test_size: photos of each class; what is over is not used.

    Raises:
        BookError: a class has too few photos.
    """
    labels, groups = photos.labels, photos.groups
    counts = np.bincount(labels, minlength=2)
    if counts.min() < train_size + validation_size + test_size:
        raise BookError(
            f"The split needs {train_size + validation_size + test_size:,} photos of each class ({train_size:,} for training, "
            f"{validation_size:,} for validation, {test_size:,} for the test); found {counts[0]:,} of cats and {counts[1]:,} of "
            f"dogs ({len(photos.left_out):,} files left out).\n{found.tally(photos.left_out)}"
            "Add photos (data/README.md), or lower the sizes in the profile."
        )
    bases = [base_name(name, label) for name, label in zip(photos.names, labels)]
    named = np.array([base in fixed_test_photos() for base in bases])
    if np.bincount(labels[named], minlength=2).min() < test_size:
        named[:] = False
    # A fixed order that knows nothing of positions, so that a photo more or less changes little.
    rank = np.argsort(np.argsort([hashlib.sha256(f"{base} {name}".encode()).hexdigest() for base, name in zip(bases, photos.names)]))
    test, free = [], np.array([test_size, test_size])
    for group in sorted(_members(groups, named if named.any() else ~named), key=lambda group: rank[group].min()):
        needs = np.bincount(labels[group], minlength=2)
        if (needs <= free).all():
            test.extend(group)
            free -= needs
    taken = np.isin(groups, groups[test])  # the test photos, and copies of them that are no test photos
    others = ~taken & ~named  # test photos that this run leaves out train nothing, if that can be
    if np.bincount(labels[others], minlength=2).min() < train_size + validation_size:
        others = ~taken
    # Room for photos of each class in each part; the last place is for photos that are not used.
    spare = np.bincount(labels[others], minlength=2) - train_size - validation_size
    if free.any() or spare.min() < 0:
        raise BookError("Too many near-duplicates among the photos to divide them. Add other photos.")
    free = np.array([[train_size, validation_size, over] for over in spare])
    rng, parts = np.random.default_rng(seed), ([], [], [])
    members = _members(groups, others)
    shuffled = [members[i] for i in rng.permutation(len(members))]
    for group in sorted(shuffled, key=len, reverse=True):  # large groups while there is room
        needs = np.bincount(labels[group], minlength=2)[:, None]
        room = np.where((free >= needs).all(axis=0), (free * (needs > 0)).sum(axis=0), 0)
        if not room.any():
            raise BookError("Too many near-duplicates among the photos to divide them. Add other photos.")
        place = rng.choice(3, p=room / room.sum())
        free[:, place] -= needs[:, 0]
        parts[place].extend(group)
    chosen = [rng.permutation(parts[0]), rng.permutation(parts[1]), np.array(sorted(test, key=lambda i: rank[i]))]
    made = []
    for indices in chosen:
        indices = indices.astype(int)  # of an empty part, too
        made.append(Part(photos.images[indices], labels[indices], tuple(photos.names[i] for i in indices)))
    return Split(*made, digest=_short_hash([photos.digest, *(part.names for part in made)]))


def _members(groups, mask):
    """The indices of each group, as far as ``mask`` allows: a list of int arrays."""
    indices = np.flatnonzero(mask)
    order = indices[np.argsort(groups[indices], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


# --- weights ---------------------------------------------------------------------------------------------------


@decides_nothing
def find_weights(name, profile):
    """File with the ImageNet weights of "vgg16" or "vgg19" (no classifier on top), or None: use an untrained network.

    Raises:
        BookError: the file that is found is not what its name says; or the report profile, and there is no such file and
            no way to fetch it.
    """
    if profile == "test":
        return None
    path = found.weights_file(name, data_folders())
    if path is None and _kept_by_keras(name).is_file():
        path = _kept_by_keras(name)
    if path is not None:
        check_weights(path, name)
        return path
    unused = unused_weights()
    note = f"Not read, because of their names: {', '.join(map(str, unused))}\n" if unused else ""
    if not downloads_allowed():
        reason = "BOOK_DOWNLOAD=0 forbids to fetch them."
    else:
        try:
            return fetch_weights(name, PROJECT / "data")
        except BookError as error:
            reason = str(error)
    if profile == "report":
        raise BookError(
            f"The report profile needs the ImageNet weights of {name.upper()}, and there are none.\n{reason}\n{note}"
            f"Put {name}_notop.weights.h5 in data/weights, or in the weights folder below BOOK_DATA (data/README.md)."
        )
    print(f"No ImageNet weights of {name.upper()}: {reason}\n{note}Going on with an untrained {name.upper()}.", file=sys.stderr)
    return None


@decides_nothing
def unused_weights():
    """Files that lie among the weights, or look like weights, and have no name that is read: a sorted list of paths."""
    names = {file for name in WEIGHTS for file in found.weights_names(name)}
    return [path for path in found.weights_files(data_folders()) if path.name not in names or not path.is_file()]


@decides_nothing
def _kept_by_keras(name):
    """Where Keras keeps its own downloads."""
    return Path.home() / ".keras" / "models" / found.weights_names(name)[1]


# --- both ------------------------------------------------------------------------------------------------------


@decides_nothing
def stock(profile, image_size=150):
    """What this run works on, in a few plain values: known from ``runs/<profile>/data.json`` while nothing on the disk has changed.

    Args:
        image_size: height and width in pixels with which photos are decoded, if they must be.

    Returns:
        dict: ``fingerprint``; ``photos``, [in words, digest]; ``weights``, {name: digest or None}; ``files``, {name: path or None}.
    """
    try:
        known = json.loads((runs_folder() / profile / "data.json").read_text(encoding="utf-8"))
        if known["fingerprint"] == fingerprint(profile):
            return known
    except (OSError, ValueError, KeyError):  # there is none yet, or it is damaged
        pass
    photos = load_photos(profile, image_size)
    files = {name: find_weights(name, profile) for name in WEIGHTS}
    digests = dict.fromkeys(files)
    for name, path in files.items():
        if path:
            with open(path, "rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return {
        "fingerprint": fingerprint(profile),  # anew: files may have been fetched
        "photos": [photos.source, photos.digest],
        "weights": digests,
        "files": {name: path and str(shown(path)) for name, path in files.items()},
    }
