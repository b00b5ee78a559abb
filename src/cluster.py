"""Jobs of a cluster: what Snakemake is told of it, what the jobs say, and none left behind by a run that was killed."""

import getpass
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from importlib.metadata import distributions
from pathlib import Path

from paths import PROJECT, BookError, runs_folder

PATIENCE = 90  # seconds for cancelled jobs to end, and for the controller of the cluster to answer
PLUGIN = "snakemake-executor-plugin-"


def prefix():
    """What the names of this project's jobs begin with. The folder of its runs is in it, so that two projects leave each other's alone."""
    return "book-" + hashlib.sha256(str(runs_folder()).encode()).hexdigest()[:12]


def arguments(executor, profile):
    """What Snakemake is told so that it gives its jobs to ``executor``: what this module knows, ``profiles/<executor>/``, ``$EXECUTOR_OPTIONS``.

    Raises:
        BookError: the executor is not installed, the cluster cannot be reached from here, or JOBS is no number.
    """
    if importlib.util.find_spec(PLUGIN.replace("-", "_") + executor.replace("-", "_")) is None:
        there = sorted(d.name.removeprefix(PLUGIN) for d in distributions() if (d.name or "").startswith(PLUGIN))
        there = [name for name in there if not name.endswith("-jobstep")]  # what a job of slurm uses within itself
        raise BookError(
            f"There is no executor {executor!r}. Installed: local, {', '.join(there)}. Snakemake has more (https://snakemake.github.io/"
            f"snakemake-plugin-catalog); one is installed with .venv/bin/python -m pip install {PLUGIN}{executor}."
        )
    jobs = os.environ.get("JOBS") or "20"
    if not jobs.isdecimal() or int(jobs) < 1:
        raise BookError(f"JOBS is {jobs!r}. It must be a number, how many jobs the cluster is given at a time.")
    made = ["--executor", executor, "--jobs", jobs]
    if (PROJECT / "profiles" / executor / "config.yaml").is_file():
        made += ["--profile", PROJECT / "profiles" / executor]
    if executor == "slurm":
        if not (shutil.which("sbatch") and shutil.which("squeue")):
            raise BookError("EXECUTOR=slurm needs the commands sbatch and squeue, and they are not here. Run it where you submit jobs.")
        answer = _ask("sinfo", "--noheader")
        if answer.returncode:
            raise BookError(f"The cluster does not answer: {answer.stderr.strip()}")
        made += ["--slurm-jobname-prefix", prefix(), "--slurm-logdir", runs_folder() / profile / "jobs" / "slurm"]
        # sacct is often installed and of no use: it asks a database that many clusters do not keep.
        made += ["--slurm-status-command", "sacct" if _ask("sacct", "-n", "-X").returncode == 0 else "squeue"]
    return made + shlex.split(os.environ.get("EXECUTOR_OPTIONS", ""))


def _ask(*command):
    try:
        return subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _jobs():
    """Numbers of this project's jobs that wait or run.

    Raises:
        BookError: the cluster does not answer.
    """
    answer = _ask("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i %j")
    if answer.returncode:
        raise BookError(f"squeue does not say which jobs there are: {answer.stderr.strip()}. Run again when the cluster answers.")
    lines = [line.split(None, 1) for line in answer.stdout.splitlines()]
    return [number for number, name in lines if name.startswith(prefix() + "_")]


def started(executor):
    """Note that jobs may be with a cluster from now on; ``cancel_left_behind`` reads it after a kill."""
    (runs_folder() / ".cluster").write_text(executor)


def cancel_left_behind():
    """End the jobs of a run that was killed, so that none of them writes what the next run writes. Returns how many there were.

    Raises:
        BookError: the cluster does not answer, or does not end them.
    """
    note = runs_folder() / ".cluster"
    if not note.exists():
        return 0
    found = 0
    if note.read_text() == "slurm":
        if not shutil.which("squeue"):
            raise BookError(
                f"A run with EXECUTOR=slurm was killed, and its jobs may still write to {runs_folder()}. Run again where squeue is, which cancels "
                f"them; or, if you know that there are none, delete {note}."
            )
        deadline, seen, looks = time.monotonic() + PATIENCE, set(), 0
        while looks < 2:  # the second time for a job that was just being submitted
            left = _jobs()
            if left:
                if time.monotonic() > deadline:
                    raise BookError(f"Jobs of an earlier run do not end: {' '.join(left)}. Ask the cluster's people, then run again.")
                _ask("scancel", *left)
            seen, looks = seen | set(left), 0 if left else looks + 1
            time.sleep(1)
        found = len(seen)
    note.unlink()
    return found


class Relay:
    """While the block runs, shows the marked lines of all files in ``folder`` as they are written. The jobs write there what they say."""

    def __init__(self, folder, mark, show):
        self.folder, self.mark, self.show = Path(folder), mark, show
        self.read, self.ended = {}, threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        for path in self.folder.rglob("*.log"):
            path.unlink(missing_ok=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()
        self._look()

    def _follow(self):
        while not self.ended.wait(1):
            self._look()

    def _look(self):
        for path in sorted(self.folder.glob("*/*.log")):
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    start = self.read.get(path, 0)
                    start = start if start <= size else 0  # written anew
                    file.seek(start)
                    text = file.read()
            except OSError:
                continue
            whole = text.rpartition(b"\n")[0]
            self.read[path] = start + (len(whole) + 1 if whole else 0)
            for line in whole.decode("utf-8", "replace").splitlines():
                if line.startswith(self.mark):
                    self.show(line.removeprefix(self.mark))


def failures(log):
    """What Snakemake's log says of the jobs that failed, in words: which, why, and where to read on; "" if it names none."""
    found = {}
    for block in re.split(r"\n(?=Error in |\[)", log.read_text(encoding="utf-8", errors="replace")):
        if not block.startswith("Error in "):
            continue
        output = re.search(r"^ +output: .*?([^/\s]+)\.(?:npz|ipynb|html|json)\b", block, flags=re.M)
        name = output[1] if output else block.splitlines()[0]
        message = re.search(r"^ +message: (.*(?:\n(?! +\w+: ).*)*)", block, flags=re.M)
        reason = re.sub(r"\s*sbatch call:.*", "", message[1], flags=re.S) if message else ""
        reason = re.sub(r"SLURM sbatch failed\. The error message was '(.*)'\.?", r"the cluster refused the job: \1", reason, flags=re.S)
        reason = re.sub(r"SLURM-job '\d+' failed, SLURM status is: '(\w+)'", r"the job's end: \1", reason)
        reason = re.sub(r"\s*(Detailed failure reason unavailable|For further error details).*", "", reason, flags=re.S)
        logs = re.search(r"^ +log: (.*?)( \(check .*)?$", block, flags=re.M)
        logs = [path for path in (logs[1].split(", ") if logs else []) if Path(path).is_file() and Path(path).stat().st_size]
        found.setdefault(" ".join(reason.split()).rstrip("."), {})[name] = logs[0] if logs else None
    lines = []
    for reason, names in found.items():
        lines.append(f"Failed: {', '.join(sorted(names))}" + (f" ({reason})" if reason else "") + ".")
        lines += [f"    {name}: {path}" for name, path in sorted(names.items()) if path]
    return "\n".join(lines)
