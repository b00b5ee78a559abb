"""One piece of work: execute a chapter with papermill, or compute one experiment; written whole, found again by its key."""

import gc
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import chapters
import environment
import outcomes
from paths import EDITION, PROJECT, BookError, runs_folder, say, write_atomically

PROGRESS = re.compile(r"    \S.*: \d+ of \d+ \w+|  \S+ …$|      \S+ done in \d+ s$")  # a line of helpers.Progress or of compute


def forbid_downloads():
    """What can be fetched was fetched by ``prepare``. (Not "0": that is a person's setting, of which ``assets.fingerprint`` takes note.)"""
    if os.environ.get("BOOK_DOWNLOAD") != "0":
        os.environ["BOOK_DOWNLOAD"] = "done"


def train(experiments, profile):
    """Compute some experiments of one chapter, one after the other, unless their outcomes are found in ``runs/`` or ``edition/``.

    Args:
        experiments: ``chapters.Experiment`` objects.

    Raises:
        BookError: some failed and the others were computed; the message names the logs.
    """
    data, failures = chapters.found_data(profile), []

    def missing(experiments):
        return [e for e in experiments if not outcomes.find(e.run, chapters.outcome_key(e, data), profile)]

    forbid_downloads()
    with environment.one_card(True):
        while experiments := missing(experiments):
            status, words, log = _computed(experiments, profile)
            if not status:
                break
            failed, *experiments = missing(experiments)  # the process ends with the first that fails
            os.replace(log, log := log.with_name(f"{failed.run}.log"))
            died = f" It was ended by signal {-status}, perhaps for want of memory." if status < 0 else ""
            failures.append(f"The experiment {failed.run} of the chapter {failed.chapter} failed.{died}\n{words}\nAll of it: {log}")
    if failures:
        raise BookError("\n\n".join(failures))


def _computed(experiments, profile):
    """Have a process of its own compute experiments, so that a crash is told: (exit status, why it failed, its log)."""
    log = runs_folder() / profile / "failed" / f"{experiments[0].run}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    code = f"import sys, execute; execute.compute({experiments[0].chapter!r}, {[e.run for e in experiments]!r}, {profile!r})"
    last = ""
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT, text=True, stdout=file, stderr=subprocess.PIPE, preexec_fn=environment.die_with_parent
        )
        for line in process.stderr:
            file.write(line)
            file.flush()
            if PROGRESS.match(line):
                say(line.rstrip())
            last = line.strip() or last
        status = process.wait()
    text = log.read_text(encoding="utf-8")
    trace = text[text.rfind("Traceback (most recent call last)") :].strip() if "Traceback (most" in text else text[-3000:].strip()
    if not status:
        log.unlink()
    return status, last.removeprefix("paths.BookError: ") if "BookError: " in last else trace, log


def compute(chapter, runs, profile):
    """Compute experiments in this process, one after the other; ``train`` starts one for them."""
    import experiments
    import helpers

    for experiment in (e for e in chapters.experiments_of(chapter, profile) if e.run in runs):
        print(f"  {experiment.run} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        helpers.setup(experiment.seed or 0)
        experiments.outcome_of(experiment, profile)
        gc.collect()  # models refer to themselves and would pile up
        print(f"      {experiment.run} done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def execute(chapter, profile):
    """Execute one chapter into ``runs/<profile>/notebooks/``, with its record beside it in ``results/``.

    Raises:
        BookError: the chapter failed; the message holds its own error and where the half-run notebook lies.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    key = chapters.chapter_key(chapter, profile, chapters.found_data(profile))
    folder = runs_folder() / profile
    target, record, broken = folder / "notebooks" / f"{chapter}.ipynb", folder / "results" / f"{chapter}.json", folder / "failed" / f"{chapter}.ipynb"
    if target.exists() and key_of(record) == key or any(restore(chapter, key, folder, kept) for kept in (outcomes.kept_folder(profile), EDITION)):
        return
    source = chapters.read_source(chapter)
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    broken.parent.mkdir(parents=True, exist_ok=True)
    for old in (record, record.with_suffix(".claims.json")):  # what is there afterwards was written by this run
        old.unlink(missing_ok=True)
    nbformat.write(source, broken)
    forbid_downloads()
    os.environ |= {"BOOK_CHAPTER": chapter, "BOOK_PROFILE": profile}  # for helpers.claim
    names = chapters.chapters()
    say(f"  [{names.index(chapter) + 1}/{len(names)}] {chapter} …")
    log = broken.with_suffix(".log")
    started = time.monotonic()
    try:
        with environment.one_card(False), quiet_children(log) as progress:
            papermill.execute_notebook(
                broken, broken, chapters.parameters_for(chapter, profile), kernel_name="python3", progress_bar=False,
                stderr_file=progress, cwd=PROJECT,
            )  # fmt: skip
    except DeadKernelError as error:
        raise BookError(f"The kernel of the chapter {chapter} died, perhaps for want of memory. Its last words: {log}") from error
    except PapermillExecutionError as error:
        if error.ename == "BookError":
            raise BookError(error.evalue) from error
        trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
        raise BookError(f"The chapter {chapter} failed in its cell {error.exec_count}:\n{trace}\nAs far as it came: {broken}") from error
    seconds = round(time.monotonic() - started, 1)
    notebook = normalise(nbformat.read(broken, as_version=4))
    check_figures(chapter, notebook)
    content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"profile": profile}
    content["run"] = {"chapter": chapter, "seconds": seconds, "revision": revision(), "key": key}
    write_atomically(target, nbformat.writes(notebook).encode())
    write_atomically(record, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    for path in (target, *files_of(chapter, record.parent)):
        outcomes.keep(path, profile)
    broken.unlink()
    log.unlink(missing_ok=True)
    say(f"      {chapter} done in {seconds:.0f} s")


def key_of(record):
    """The key with which a chapter ran, from its record; None without one."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))["run"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def files_of(chapter, folder):
    """The files in a folder of records that a chapter wrote: ``noise.json``, ``noise.block3_conv1.webp``, ``training-seed0.csv``, …"""
    return sorted(p for p in folder.glob(f"{chapter}*") if re.match(r"(-seed\d+)?\.", p.name[len(chapter) :]))


def restore(chapter, key, folder, kept):
    """Take a chapter's run from ``edition/``, or from what a killed run had finished, if its key is this one. Returns whether it was."""
    import nbformat

    source = kept / "notebooks" / f"{chapter}.ipynb"
    if key_of(kept / "results" / f"{chapter}.json") != key or not source.exists():
        return False
    notebook = without_help(nbformat.read(source, as_version=4))
    write_atomically(folder / "notebooks" / source.name, nbformat.writes(notebook).encode())
    for source in files_of(chapter, kept / "results"):
        write_atomically(folder / "results" / source.name, source.read_bytes())
    say(f"  {chapter}: taken from {kept.name}/, where nothing has changed since")
    return True


def without_help(notebook):
    """The notebook without the cell that ``standalone`` adds."""
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != "alone"]
    return notebook


@contextmanager
def quiet_children(log):
    """Send what child processes write to standard error into the file ``log``: libraries chat there.

    Yields a file that passes on to the real standard error only the chapters' own progress.
    """
    terminal = os.dup(2)
    mark = os.environ.get("BOOK_RELAY", "")
    with open(log, "w", encoding="utf-8") as file, os.fdopen(terminal, "w", encoding="utf-8", errors="replace") as shown:

        class Progress:
            def write(self, text):
                shown.writelines(f"{mark}{line}\n" for line in text.splitlines() if PROGRESS.match(line))
                shown.flush()
                file.write(text)

            def flush(self):
                shown.flush()

        os.dup2(file.fileno(), 2)
        try:
            yield Progress()
        finally:
            os.dup2(terminal, 2)


def normalise(notebook):
    """The executed notebook without anything that differs between two equal runs: times, ids, standard error, pieces of a stream."""
    import nbformat

    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    injected = {}
    for cell in notebook.cells:
        if chapters.has_tag(cell, "injected-parameters"):
            injected = dict(line.split(" = ", 1) for line in cell.source.splitlines() if " = " in line)
    notebook.cells = [c for c in notebook.cells if not chapters.has_tag(c, "injected-parameters")]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags", "mystnb")})
        if cell.cell_type == "code":
            outputs = []
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    continue
                if outputs and output.output_type == "stream" and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text  # a busy machine sends one print in two pieces
                else:
                    outputs.append(output)
            cell.outputs = outputs
            if chapters.has_tag(cell, "parameters"):
                cell.source = with_values(cell.source, injected)
    return notebook


def with_values(source, values):
    """A parameters cell with other values; its comments stay, each in the column in which it began, or after the value."""

    def replaced(line):
        found = re.match(r"(\w+) = ([^#\n]*?)(\s*)(#.*)?$", line)
        if not found or found[1] not in values:
            return line
        start = f"{found[1]} = {values[found[1]]}"
        return f"{start:{len(line) - len(found[4]) - 2}}  {found[4]}" if found[4] else start

    return "\n".join(replaced(line) for line in source.split("\n"))


def check_figures(chapter, notebook):
    """Every cell that announces a figure has one.

    Raises:
        BookError: one has none, so that the page would lack it.
    """
    for cell in chapters.code_cells(notebook):
        if "figure" in cell.metadata.get("mystnb", {}) and not any(o.get("data") for o in cell.outputs):
            name = cell.metadata["mystnb"]["figure"].get("name", "without a name")
            raise BookError(f"The chapter {chapter} announces the figure {name}, and its cell made none:\n{cell.source[:300]}")


def revision():
    """The git revision of the project, with a plus sign if files differ from it; None outside a git checkout."""
    try:
        run = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=PROJECT, capture_output=True, text=True)
    except OSError:
        return None
    return run.stdout.strip() or None
