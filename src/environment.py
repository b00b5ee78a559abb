"""One clean environment for all that the pipeline starts: no personal configuration of Python, Jupyter, matplotlib, … reaches a run."""

import ctypes
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from paths import PROJECT, BookError, runs_folder

# What checks web addresses in JSON for jsonschema, which nbformat imports: a second at every start, and no notebook asks for it.
sys.modules.setdefault("rfc3987_syntax", None)

# Settings of people and of clusters that change what a run does. What the book itself understands is kept: BOOK_…, KERAS_BACKEND.
PERSONAL = (
    "PYTHON", "IPYTHON", "IPY_", "JUPYTER", "NBCONVERT", "PAPERMILL", "MPL", "MATPLOTLIB", "KERAS_", "TF_USE_LEGACY", "TF_KERAS", "TF_CPP",
    "TF_XLA", "JAX_ENABLE", "JAX_DISABLE", "JAX_NUMPY", "JAX_DEFAULT", "JAX_DEBUG", "SNAKEMAKE", "PIP_", "XDG_", "SPHINX", "GIT_", "LC_",
    "LANG", "PYDEVD", "DJANGO", "NUMBA", "PANDAS",
)  # fmt: skip
KEPT = ("KERAS_BACKEND",)


def clean():
    """The environment of a run: this one without personal settings; caches and settings of libraries lie in ``runs/``."""
    made = {k: v for k, v in os.environ.items() if k in KEPT or not k.upper().startswith(PERSONAL)}
    home = runs_folder() / "cache" / "home"
    folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "KERAS_HOME",
               "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")  # fmt: skip
    return {
        **made,
        **{name: str(home / name.lower()) for name in folders},
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(PROJECT / "src"),
        "LC_ALL": "C.UTF-8",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BOOK_ENVIRONMENT": str(PROJECT),
    }


def enter():
    """Start this program again in the clean environment, unless it is in it. To be called before anything else is imported."""
    if os.environ.get("BOOK_ENVIRONMENT") != str(PROJECT):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean())


def die_with_parent():
    """Have the kernel of Linux end this process when the one that started it is killed, so that none is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


def free_memory():
    """GiB of memory that a run may use: BOOK_MEMORY, or what is free on this machine and in its container.

    Raises:
        BookError: BOOK_MEMORY is not a number.
    """
    import psutil

    if given := os.environ.get("BOOK_MEMORY"):
        try:
            return float(given)
        except ValueError as error:
            raise BookError(f"BOOK_MEMORY is {given!r}. It must be a number, the GiB of memory that a run may use, or unset.") from error
    free, limit = psutil.virtual_memory().available, Path("/sys/fs/cgroup/memory.max")  # a container's limit, "max" if none
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text))
    return free / 2**30


def cards_wanted():
    """BOOK_GPUS: how many GPUs of this machine a run may use; on a cluster each training asks for one unless it is 0. None if it is not set.

    Raises:
        BookError: it is not a number.
    """
    given = os.environ.get("BOOK_GPUS", "").strip()
    if given and not given.isdecimal():
        raise BookError(f"BOOK_GPUS is {given!r}. It must be a number, how many GPUs a run may use (on a cluster: 1, each training asks for one), or unset.")
    return int(given) if given else None


def cards():
    """The GPUs of this machine that a run may use: those of ``CUDA_VISIBLE_DEVICES``, else all; as many as ``$BOOK_GPUS`` says."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        found = [str(i) for i in range(len([p for p in Path("/dev").glob("nvidia*") if p.name[6:].isdecimal()]))]
        found = found or ["0"] * Path("/dev/dxg").exists()  # Windows' subsystem for Linux
    else:
        found = [c.strip() for c in visible.split(",") if c.strip() not in ("", "-1", "NoDevFiles")]
    wanted = cards_wanted()
    if wanted is None:
        return found
    return found[:wanted] if len(found) >= wanted else [str(i) for i in range(wanted)]  # a machine that hides its cards, and tests


@contextmanager
def one_card(wanted):
    """While the block runs, one GPU is this process's own, and its children see no other; without ``wanted`` they see none.

    ``$BOOK_CARDS``, which the Snakefile sets in the job of a cluster: "given", the cluster has chosen; "none", the job asked for none.
    """
    import fcntl
    import time

    mode = os.environ.get("BOOK_CARDS", "chosen")
    if mode == "given" and wanted:
        yield
        return
    if mode == "none" or not wanted or not cards():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield
        return
    files = {card: open(runs_folder() / f".card-{card}", "w") for card in cards()}
    try:
        while True:
            for card, file in files.items():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = card
                os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
                os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
                yield
                return
            time.sleep(1)
    finally:
        for file in files.values():
            file.close()
