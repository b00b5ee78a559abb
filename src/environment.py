"""One clean environment for all that the pipeline starts: no personal configuration of Python, Jupyter, matplotlib, … reaches a run."""

import ctypes
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from paths import PROJECT, runs_folder

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


def cards():
    """Numbers of the GPUs that a run may use: those of ``CUDA_VISIBLE_DEVICES``, else all; ``$BOOK_GPUS`` says how many at most."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        found = [str(i) for i in range(len([p for p in Path("/dev").glob("nvidia*") if p.name[6:].isdecimal()]))]
    else:
        found = [c for c in visible.split(",") if c.strip() and c.strip() != "-1"]
    given = os.environ.get("BOOK_GPUS")
    return found if not given else [str(i) for i in range(int(given))] if len(found) < int(given) else found[: int(given)]


@contextmanager
def one_card(wanted):
    """While the block runs, one GPU is this process's own, and its children see no other; without ``wanted`` they see none.

    Where a cluster has given the job its cards, these are taken as they are.
    """
    import fcntl

    if "SLURM_JOB_ID" in os.environ:
        yield
        return
    if not wanted or not cards():
        os.environ["CUDA_VISIBLE_DEVICES"] = "" if not wanted else os.environ.get("CUDA_VISIBLE_DEVICES", "")
        yield
        return
    import time

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
