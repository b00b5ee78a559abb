"""The outcome of one experiment and seed: one file, written whole, found again by its key in ``runs/`` or in ``edition/``.

An outcome is a dict with texts as keys and plain values, arrays, or lists of arrays. The file is NumPy's ``.npz``, without pickles: each array
under a number, all else as one JSON text, so that it can be committed and read on any machine.
"""

import io
import json
import os
import zipfile

import numpy as np

from paths import EDITION, BookError, runs_folder, write_atomically


def path_of(run, profile):
    """Where the outcome of a run, such as ``small_cnn-seed0``, lies in a profile's own folder."""
    return runs_folder() / profile / "outcomes" / f"{run}.npz"


def save(path, outcome, about):
    """Write an outcome. ``about``: what it is and where it comes from; ``key`` must be in it.

    Raises:
        BookError: a value that cannot be stored.
    """
    arrays = []

    def plain(value):
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise BookError(f"{path.name}: an outcome holds numbers, texts, lists, dicts and arrays of numbers.")
            arrays.append(value)
            return {"array": len(arrays) - 1}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise BookError(f"{path.name}: an outcome cannot hold a {type(value).__name__}.")

    text = json.dumps({"about": about, "outcome": plain(outcome)}, ensure_ascii=False)
    memory = io.BytesIO()
    np.savez_compressed(memory, text=np.frombuffer(text.encode(), np.uint8), **{f"array{i}": a for i, a in enumerate(arrays)})
    write_atomically(path, memory.getvalue())


def load(path):
    """Read an outcome: (outcome, about).

    Raises:
        BookError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = json.loads(file["text"].tobytes())

            def full(value):
                if isinstance(value, dict):
                    return file[f"array{value['array']}"] if value.keys() == {"array"} else {k: full(v) for k, v in value.items()}
                return [full(v) for v in value] if isinstance(value, list) else value

            return full(content["outcome"]), content["about"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BookError(f"{path} is damaged ({error}). Delete it and run again.") from error


def about(path):
    """What ``save`` was told of an outcome, without its arrays; ``{}`` if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(file["text"].tobytes())["about"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def pack_weights(arrays, bits=16):
    """The weights of a network, small enough for an outcome that is committed.

    Args:
        arrays: what ``model.get_weights()`` gives, float32.
        bits: 16: kernels (arrays of two axes or more) as float16. 8: kernels as whole numbers from -127 to 127, times one float32 step for
            each output channel (the last axis); those with a single output channel as float16. All else, biases above all, stays float32.

    Returns:
        list for ``unpack_weights``, one entry an array: an array, or a dict of ``int8`` and ``step``.

    Source: Jacob et al., 2018, arXiv:1712.05877; one step per channel as in Krishnamoorthi, 2018, arXiv:1806.08342.
    """
    packed = []
    for array in map(np.asarray, arrays):
        if array.ndim < 2:
            packed.append(array)
        elif bits == 16 or array.shape[-1] == 1:
            packed.append(array.astype(np.float16))
        else:
            largest = np.abs(array).max(tuple(range(array.ndim - 1)))
            step = np.where(largest, largest, 1).astype(np.float32) / np.float32(127)
            packed.append({"int8": np.round(array / step).astype(np.int8), "step": step})
    return packed


def unpack_weights(packed):
    """What ``pack_weights`` has packed, as a list of float32 arrays for ``model.set_weights``."""
    return [np.float32(w["int8"]) * w["step"] if isinstance(w, dict) else np.float32(w) for w in packed]


def find(run, key, profile):
    """The file of the outcome with this key: the profile's own, else one computed before or the edition's, which is copied; else None."""
    own = path_of(run, profile)
    if about(own).get("key") == key:
        return own
    for other in (kept_folder(profile) / "outcomes" / f"{run}.{key}.npz", EDITION / "outcomes" / f"{run}.npz"):
        if about(other).get("key") == key:
            write_atomically(own, other.read_bytes())
            return own
    return None


def kept_folder(profile):
    """Where second names of finished files lie. Snakemake deletes the outputs of a job before it runs, and of one that a kill left in doubt."""
    return runs_folder() / profile / "kept"


def keep(path, profile, key=None):
    """Give a finished file of ``runs/<profile>/`` a second name, under which Snakemake does not find it.

    With its ``key`` in the name an outcome stays there for good: an edit that is taken back costs nothing.
    """
    second = kept_folder(profile) / path.relative_to(runs_folder() / profile)
    second = second.with_name(f"{second.stem}.{key}{second.suffix}") if key else second
    part = second.with_name(f".{second.name}.{os.getpid()}.part")
    try:
        second.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        os.link(path, part)
        part.replace(second)
        part.unlink(missing_ok=True)  # two names of one file are not replaced
    except OSError:  # a disk on which a file has one name only
        write_atomically(second, path.read_bytes())
