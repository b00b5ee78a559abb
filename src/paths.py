"""Where things lie, the one kind of error that a reader can mend, and writing a file whole or not at all."""

import os
import sys
from contextlib import suppress
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BOOK = PROJECT / "book"
EDITION = PROJECT / "edition"  # what a full-size run has made, kept in git
BUILD = Path(os.environ.get("BOOK_BUILD") or PROJECT / "_build").resolve()


class BookError(Exception):
    """Something that the reader can mend. The message says what, which file, and what to do."""


def runs_folder():
    """Folder for everything that a run writes: ``$BOOK_RUNS``, or ``runs/`` in the project."""
    return Path(os.environ.get("BOOK_RUNS") or PROJECT / "runs").resolve()


def write_atomically(path, content):
    """Write a file so that it is there whole or not at all. ``content``: bytes, or a function that takes a file.

    Raises:
        BookError: the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the new name could come to the disk before the content
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise BookError(f"Could not write {path}: {error.strerror or error}. Make room or permit writing, then run again.") from error


def shown(path):
    """A path as it is told to people: relative to the project where it lies below it."""
    path = Path(path)
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path


def say(text):
    """Print to standard error; below Snakemake each line carries the mark ``$BOOK_RELAY``, so that it reaches the terminal."""
    mark = os.environ.get("BOOK_RELAY", "")
    print("\n".join(mark + line for line in text.splitlines()), file=sys.stderr, flush=True)


def decides_nothing(definition):
    """Decorator: an edit of this function or class repeats no training. It finds things, or tells how far the work has come."""
    return definition
