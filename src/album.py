"""Photos of the reader's own: a folder with a sub-folder for each class, looked through, decoded, near-duplicates told.

The folder is the one that the environment variable ``OWN`` names, or one that a notebook names. Photos of the reader's own are in
no key but those of the chapters that ask for them, and never in the edition.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import assets
import found
from paths import PROJECT, BookError, decides_nothing

LEAST = 5  # photos of a class: with fewer nothing can be said
MOST = 2000  # photos in all: each goes through a large network
HEIC = (
    "HEIC, which this book cannot read: save it as a JPEG (an iPhone takes JPEGs with Settings, Camera, Formats, Most Compatible)"
)
BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")  # with which a HEIC file begins, after four bytes


@dataclass(frozen=True)
class Album:
    """Some photos in classes.

    Attributes:
        images: uint8 (n, image_size, image_size, 3), RGB.
        labels: int (n,), places in ``classes``.
        names: n file names, below the folder.
        classes: names of the classes, those of the sub-folders.
        groups: int (n,); near-duplicates share a number.
        source: where they come from, in words.
        left_out: ``(name, reason)`` of the files that could not be used.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple
    classes: tuple
    groups: np.ndarray
    source: str
    left_out: tuple = ()


@decides_nothing
def folder_of(given=""):
    """The folder that ``given`` names, else the one of ``$OWN``: a path, None without either. A relative path is below the project."""
    given = given or os.environ.get("OWN", "")
    return PROJECT / Path(given).expanduser() if given else None  # an absolute path stays what it is


@decides_nothing
def scan(folder):
    """What lies in a folder of one's own.

    Returns:
        classes (names of the sub-folders that hold photos), ``[(name, label)]`` and ``[(name, reason)]`` left out, in natural order.

    Raises:
        BookError: there is no such folder, or it has fewer than two sub-folders with photos.
    """
    if not folder.is_dir():
        raise BookError(f"There is no folder {folder}. OWN (or own_folder in the notebook) names a folder with a sub-folder of photos for each class.")
    used, left_out, taken = [], [], set()
    for name, info, problem, true in found.walk(folder):
        reason = HEIC if name.lower().endswith((".heic", ".heif")) and not problem else found.unfit(name, info, problem)
        if reason == "" and "/" not in name:
            reason = "in no sub-folder, so its class is not known"
        if reason == "" and true in taken:
            reason = "a link to a photo that is read already"
        if reason == "":
            taken.add(true)
            used.append((name, name.split("/")[0]))
        elif reason is not None:
            left_out.append((name.encode(errors="surrogateescape").decode(errors="replace"), reason))
    classes = tuple(sorted({kind for _, kind in used} | {name.split("/")[0] for name, reason in left_out if reason == HEIC and "/" in name}))
    if len(classes) < 2:
        there = f"has one sub-folder with photos, {classes[0]}" if classes else "has no sub-folder with photos"
        raise BookError(
            f"{folder} {there}. Two or more are needed, one for each class, such as mugs/ and cups/.\n"
            f"There: {found.contents(folder)}.\n{found.tally(left_out)}"
        )
    return classes, sorted(((name, classes.index(kind)) for name, kind in used), key=found.natural), sorted(left_out, key=found.natural)


@decides_nothing
def read(path, image_size):
    """One photo, uint8 (image_size, image_size, 3), as ``assets.read_photo`` reads all photos of the book.

    Raises:
        BookError: there is no such file, or it is no photo; the message says why.
    """
    path = PROJECT / Path(path).expanduser()
    if not path.is_file():
        raise BookError(f"There is no file {path}.")
    try:
        return assets.read_photo(path, image_size)
    except (ValueError, OSError) as error:
        raise BookError(f"{path}: {_reason(path, error)}.") from error


def _reason(path, error):
    """Why a file could not be read, in words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    with open(path, "rb") as file:
        return HEIC if file.read(12)[4:] in BRANDS else str(error)


@decides_nothing
def load(folder, image_size):
    """The photos in a folder of one's own, None if neither ``folder`` nor ``$OWN`` names one.

    Args:
        folder: its path, or "" for that of ``$OWN``.
        image_size: height and width in pixels.

    Raises:
        BookError: no such folder, fewer than two classes, a class with fewer than five different photos that can be read, or too many photos.
    """
    root = folder_of(folder)
    if root is None:
        return None
    classes, files, left_out = scan(root)
    if len(files) > MOST:
        raise BookError(f"{root} holds {len(files):,} photos, and this chapter is made for a few: at most {MOST:,}. Name a smaller folder.")
    images, labels, names = [], [], []
    for name, label in files:
        try:
            images.append(assets.read_photo(root / name, image_size))
        except (ValueError, OSError) as error:
            left_out.append((name, _reason(root / name, error)))
            continue
        labels.append(label)
        names.append(name)
    images, labels = np.stack(images) if images else np.empty(0), np.array(labels, int)
    groups = assets.near_duplicates(images) if len(images) else labels
    for label, kind in enumerate(classes):
        count, different = int((labels == label).sum()), len(np.unique(groups[labels == label]))
        if different < LEAST:
            copies = f", which show {different} different pictures" if different < count else ""
            raise BookError(
                f"{root / kind} has {count} photos that can be read{copies}; every class needs {LEAST} at least, better twenty.\n"
                f"{found.tally(left_out)}Add photos, or take the sub-folder out."
            )
    source = f"{len(names)} photos of your own: " + ", ".join(f"{(labels == i).sum()} of {kind}" for i, kind in enumerate(classes))
    return Album(images, labels, tuple(names), classes, groups, source, tuple(left_out))


# --- for the pipeline ------------------------------------------------------------------------------------------


@decides_nothing
def digest():
    """16 hexadecimal digits that stand for the content of the folder that ``$OWN`` names; None if it names none.

    Raises:
        BookError: as for ``load``, so that it is told before anything runs.
    """
    root = folder_of()
    if root is None:
        return None
    classes, files, _ = scan(root)
    load("", assets.FINGERPRINT_SIZE)
    marks = [classes]
    for name, label in files:
        with open(root / name, "rb") as file:
            marks.append((name, label, hashlib.file_digest(file, "sha256").hexdigest()))
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16]


@decides_nothing
def fingerprint():
    """A short text that changes when the folder of ``$OWN`` does: names, sizes and times, no file is opened. Never an error."""
    root = folder_of()
    if root is None:
        return ""
    try:
        files = sorted((name, info and (info.st_size, info.st_mtime_ns)) for name, info, *_ in found.walk(root))
    except OSError as error:
        files = str(error)
    return hashlib.sha256(repr((str(root), files)).encode()).hexdigest()[:16]
