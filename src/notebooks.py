"""The pipeline: which chapters there are, when one must run, running it, and the edition.

A chapter is one MyST notebook, ``book/chapters/<name>.md``. It is executed with papermill; its page is woven from
the text of the source and the outputs of the run (``pages``). The Snakefile says what depends on what and calls this module:

    python src/notebooks.py book --profile quick             all that follows, as far as it is needed
    python src/notebooks.py prepare --profile quick          find, fetch and decode photos and weights
    python src/notebooks.py execute vgg --profile quick      execute one chapter
    python src/notebooks.py render --profile quick           weave all pages and build the HTML
    python src/notebooks.py promote                          copy what the report profile has finished to edition/
    python src/notebooks.py html                             build the pages of edition/; nothing is executed
"""

import argparse
import ast
import ctypes
import fcntl
import hashlib
import importlib.util
import json
import linecache
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import nbformat
import psutil
import yaml

import assets
from assets import PROJECT, BookError, runs_folder, write_atomically

BOOK = PROJECT / "book"
PER_SEED = ("training", "augmentation", "transfer", "fine_tuning")  # these run once for every seed of the profile
READERS = {  # runs whose networks are too big for the edition, and the chapters that load them
    "transfer-seed0": ("noise", "noise_solutions"),
    "fine_tuning-seed0": ("activations", "activations_solutions"),
}
MARK = "» "  # begins the lines that a chapter's process wants to have shown
BUILD = Path(os.environ.get("BOOK_BUILD") or PROJECT / "_build").resolve()
EDITION = PROJECT / "edition"  # the executed notebooks and records of the report profile, kept in git


# --- what there is ---------------------------------------------------------------------------------------------


def load_profile(name):
    """A file of ``profiles/``: ``seeds``, ``more_seeds`` of some chapters, and the parameters that replace a chapter's own."""
    path = PROJECT / "profiles" / f"{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yml")))
        raise BookError(f"There is no profile {name!r}. Known profiles: {known}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def chapters():
    """Names of the chapters in reading order: the notebooks that ``_toc.yml`` lists."""
    toc = (PROJECT / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"file: chapters/(\w+)", toc)


def runs_of(chapter, profile):
    """Names of a chapter's runs: ``training-seed0``, …, or just ``vgg`` where no seed is involved."""
    if chapter in PER_SEED:
        settings = load_profile(profile)
        return [f"{chapter}-seed{seed}" for seed in settings["seeds"] + settings.get("more_seeds", {}).get(chapter, [])]
    return [chapter]


def shown_run(chapter, profile):
    """The run whose outputs a chapter's page shows: that of the first seed."""
    return runs_of(chapter, profile)[0]


def read_source(chapter):
    """The source notebook of a chapter, as an nbformat notebook."""
    import jupytext

    path = BOOK / "chapters" / f"{chapter}.md"
    if not path.is_file():
        raise BookError(f"There is no chapter {chapter!r}: {path} is missing.")
    return jupytext.read(path)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def parameters_of(notebook):
    """Names and default values in the notebook's parameters cell, ``{}`` without one."""
    source = "\n".join(cell.source for cell in code_cells(notebook) if is_parameters(cell))
    return {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(source).body if isinstance(n, ast.Assign)}


def parameters_for(chapter, profile, seed=None):
    """The values with which a chapter runs.

    Raises:
        BookError: the profile sets something that the chapter does not have.
    """
    declared = parameters_of(read_source(chapter))
    settings = load_profile(profile)
    own = settings["chapters"].get(chapter) or {}
    unknown = sorted(set(own) - set(declared))
    if unknown:
        raise BookError(f"profiles/{profile}.yml sets {', '.join(unknown)} for {chapter}, which has no such parameter.")
    shared = {"profile": profile, **settings["shared"], **({} if seed is None else {"seed": seed})}
    return {**{k: v for k, v in shared.items() if k in declared}, **own}


def definitions(chapter, **values):
    """The names that a chapter defines, without what it computes: for solutions and for the choice of recipes.

    Runs the chapter's parameters with other values, its setting up (the next code cell), and the functions and classes
    of all later cells.

    Returns:
        dict of names; it is the global namespace of the chapter's functions.
    """
    names = {}
    for number, cell in enumerate(code_cells(read_source(chapter))):
        name = f"<{chapter}, cell {number}>"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)  # helpers.cached reads it
        tree = ast.parse(cell.source)
        if number > 1:
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        exec(compile(tree, name, "exec"), names)
        if is_parameters(cell):
            names.update(values)
    return names


# --- when to run -----------------------------------------------------------------------------------------------


def bare_code(source):
    """Python without comments, docstrings and layout: edits of those repeat nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def cell_code(cell):
    """What a code cell does: its bare code, and the semicolon at its end that keeps a notebook from showing a value."""
    return bare_code(cell.source) + (";" if re.search(r";\s*(#.*)?$", cell.source.rstrip()) else "")


def words(tree):
    """All names in a piece of code, those of attributes included."""
    return {n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute)}


@lru_cache  # once for all chapters, not once for each
def parts_of(*sources):
    """What modules define, {name: [(code, the names in it), …]}, and their other statements, imports left out."""
    defined, always = defaultdict(list), []
    for node in (node for source in sources for node in ast.parse(bare_code(source)).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = {node.name}
        elif isinstance(node, ast.Assign):
            names = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            continue
        else:
            always.append(ast.unparse(node))
            continue
        for name in names:
            defined[name].append((ast.unparse(node), words(node)))
    return defined, always


def used_code(source):
    """What a chapter's code uses of helpers and assets: the definitions that it names, and what these name in turn."""
    defined, always = parts_of(*((PROJECT / "src" / f"{m}.py").read_text(encoding="utf-8") for m in ("helpers", "assets")))
    used, ahead = set(), words(ast.parse(source))
    while ahead := {w for w in ahead if w in defined and w not in used}:
        used |= ahead
        ahead = {word for w in ahead for _, names in defined[w] for word in names}
    return always + [code for w in sorted(used) for code, _ in defined[w]]


def run_key(chapter, profile, seed=None):
    """Hash of all that decides a run's outputs: code cells and what they use, parameters, photos, weights, backend."""
    try:
        cells = "\n".join(cell_code(cell) for cell in code_cells(read_source(chapter)) if not is_parameters(cell))
        decides = [cells, parameters_for(chapter, profile, seed)]
    except (SyntaxError, ValueError) as error:
        raise BookError(
            f"book/chapters/{chapter}.md has a slip in a code cell: {getattr(error, 'text', None) or ''}".rstrip()
            + f" ({getattr(error, 'msg', error)}). A parameters cell holds plain values only. Mend the cell and run again."
        ) from error
    found = json.loads((runs_folder() / profile / "data.json").read_text(encoding="utf-8"))
    if "helpers" in cells or "assets" in cells:
        decides += used_code(cells)
        decides.append(os.environ.get("KERAS_BACKEND", "tensorflow"))
    if "load_photos" in cells:
        decides.append(found["photos"])
    if "vgg(" in cells:
        decides.append(found["weights"])
    decides += [run_key(other, profile) for other in re.findall(r"definitions\('(\w+)'", cells)]  # a solution and its chapter
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def drop_stale(profile):
    """Delete the runs whose key is no longer that of the sources, so that they are made again.

    Raises:
        BookError: a slip in a chapter's code, told before anything runs.
    """
    folder = runs_folder() / profile
    for chapter in chapters():
        for run in runs_of(chapter, profile):
            key = run_key(chapter, profile, int(run.split("-seed")[1]) if chapter in PER_SEED else None)
            record = folder / "results" / f"{run}.json"
            if record.exists() and json.loads(record.read_text(encoding="utf-8")).get("run", {}).get("key") != key:
                (folder / "notebooks" / f"{run}.ipynb").unlink(missing_ok=True)
                record.unlink()


def prepare(profile):
    """Find, fetch and decode what the chapters need, say what was found, and write it to ``runs/<profile>/data.json``."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if importlib.util.find_spec(backend) is None:
        raise BookError(
            f"KERAS_BACKEND is {backend}, and this package is not installed in {sys.prefix}.\n"
            f"Install it there (requirements-gpu.txt for a GPU; {sys.executable} -m pip install {backend} for a CPU), or unset it."
        )
    size = load_profile(profile)["shared"]["image_size"]
    photos = assets.load_photos(profile, size)
    print(f"Photos:  {photos.source}" + (f"; {len(photos.left_out)} files left out" if photos.left_out else ""))
    for name, reason in photos.left_out[:10]:
        print(f"         left out: {name} ({reason})")
    if len(photos.left_out) > 10:
        listing = runs_folder() / profile / "left-out.txt"
        write_atomically(listing, "".join(f"{name}\t{reason}\n" for name, reason in photos.left_out).encode())
        print(f"         … and {len(photos.left_out) - 10} more, all of them in {os.path.relpath(listing)}")
    shared = load_profile(profile)["shared"]
    assets.split(photos, 0, shared["train_size"], shared["validation_size"], shared["test_size"])  # enough of them?
    weights = {}
    for name in ("vgg16", "vgg19"):
        path = assets.find_weights(name, profile)
        if path:
            with open(path, "rb") as file:
                weights[name] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        else:
            weights[name] = None
        print(f"Weights: {name.upper()} " + (f"from {os.path.relpath(path)}" if path else "untrained"))
    found = {"photos": [photos.source, photos.digest], "weights": weights, "drawn": "drawn" in photos.source}
    target = runs_folder() / profile / "data.json"
    content = json.dumps(found, indent=1).encode()
    if not target.exists() or target.read_bytes() != content:
        write_atomically(target, content)


def free_memory():
    """GiB of memory that a run may use: BOOK_MEMORY, or what is free on this machine and in its container.

    Raises:
        BookError: BOOK_MEMORY is not a number.
    """
    if given := os.environ.get("BOOK_MEMORY"):
        try:
            return float(given)
        except ValueError as error:
            raise BookError(f"BOOK_MEMORY is {given!r}. It must be a number, the GiB of memory that a run may use, or unset.") from error
    free, limit = psutil.virtual_memory().available, Path("/sys/fs/cgroup/memory.max")  # a container's limit, "max" if none
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text))
    return free / 2**30


def chapters_at_once(profile):
    """How many chapters may run side by side: one a core, as far as memory goes. Warns if it is short for one."""
    from joblib import cpu_count

    free, needed = free_memory(), load_profile(profile)["memory"]
    if free < needed:
        say(f"Memory:  {free:.1f} GiB may be used; the profile {profile} needs about {needed} GiB. If a chapter is ended for want of memory,\n"
            "         close other programs and run again: finished chapters are kept.")
    return max(1, min(cpu_count(), int(free // needed)))


# --- running ---------------------------------------------------------------------------------------------------


def execute(chapter, profile, seed=None):
    """Execute one chapter into ``runs/<profile>/notebooks/``, with its record beside it in ``results/``.

    Raises:
        BookError: the chapter failed; the message holds its own error and where the half-run notebook lies.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    name = chapter if seed is None else f"{chapter}-seed{seed}"
    folder = runs_folder() / profile
    target, record, broken = folder / "notebooks" / f"{name}.ipynb", folder / "results" / f"{name}.json", folder / "failed" / f"{name}.ipynb"
    source, key = read_source(chapter), run_key(chapter, profile, seed)
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    broken.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # what is there afterwards was written by this run
    nbformat.write(source, broken)
    values = parameters_for(chapter, profile, seed)
    os.environ["BOOK_DOWNLOAD"] = "0"  # what can be fetched was fetched by prepare
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT / "src"), os.environ.get("PYTHONPATH")]))
    runs = [run for c in chapters() for run in runs_of(c, profile)]
    say(f"  [{runs.index(name) + 1 if name in runs else '-'}/{len(runs)}] {name} …")
    log, computed = broken.with_suffix(".log"), broken.with_suffix(".computed")
    computed.unlink(missing_ok=True)
    os.environ["BOOK_COMPUTED"] = str(computed)  # helpers.cached writes it
    started = time.monotonic()
    try:
        with quiet_children(log) as progress:
            papermill.execute_notebook(
                broken, broken, values, kernel_name="python3", progress_bar=False, stderr_file=progress, cwd=PROJECT
            )
    except DeadKernelError as error:
        raise BookError(f"The kernel of the chapter {chapter} died, perhaps for want of memory. Its last words: {log}") from error
    except PapermillExecutionError as error:
        trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
        if error.ename == "BookError":
            raise BookError(error.evalue) from error
        raise BookError(f"The chapter {chapter} failed in its cell {error.exec_count}:\n{trace}\nAs far as it came: {broken}") from error
    seconds = round(time.monotonic() - started, 1)
    notebook = normalise(nbformat.read(broken, as_version=4))
    content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"profile": profile}
    stored = [json.loads(line) for line in computed.read_text(encoding="utf-8").splitlines()] if computed.exists() else []
    content["run"] = {"chapter": chapter, "seed": seed, "seconds": seconds, "revision": revision(), "computed": stored, "key": key}
    write_atomically(record, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(target, nbformat.writes(notebook).encode())
    broken.unlink()
    log.unlink(missing_ok=True)
    computed.unlink(missing_ok=True)
    say(f"      {name} done in {seconds:.0f} s")


@contextmanager
def quiet_children(log):
    """Send what child processes write to standard error into the file ``log``: libraries chat there.

    Yields a file that passes on to the real standard error only the chapters' own progress, four spaces indented.
    """
    terminal = os.dup(2)
    mark = os.environ.get("BOOK_RELAY", "")
    with open(log, "w", encoding="utf-8") as file, os.fdopen(terminal, "w", encoding="utf-8") as shown:

        class Progress:
            def write(self, text):
                shown.writelines(f"{mark}{line}\n" for line in text.splitlines() if line.startswith("    "))
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
    """The executed notebook without anything that differs between two equal runs: times, ids, standard error."""
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    injected = {}
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            injected = dict(line.split(" = ", 1) for line in cell.source.splitlines() if " = " in line)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("tags", "mystnb")}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            if is_parameters(cell):
                cell.source = with_values(cell.source, injected)
    return notebook


def with_values(source, values):
    """A parameters cell with other values; its comments stay."""
    for name, value in values.items():
        source = re.sub(rf"^{name} = [^#\n]*?(\s*#.*)?$", lambda m: f"{name} = {value}{m[1] or ''}", source, flags=re.M)
    return source


def revision():
    """The git revision of the project, with a plus sign if files differ from it; None outside a git checkout."""
    try:
        run = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=PROJECT, capture_output=True, text=True)
    except OSError:
        return None
    return run.stdout.strip() or None


# --- the edition: what a full run has made, kept in git -----------------------------------------------------------


def promote():
    """Copy what the report profile has finished to ``edition/``: notebooks, records, tables of test photos, the small CNN.

    Notebooks of further seeds go without their figures.

    Raises:
        BookError: nothing is finished.
    """
    folder, done, missing = runs_folder() / "report", [], []
    for chapter in chapters():
        for run in runs_of(chapter, "report"):
            notebook, record = folder / "notebooks" / f"{run}.ipynb", folder / "results" / f"{run}.json"
            (done if notebook.exists() and record.exists() else missing).append(run)
    if not done:
        raise BookError("The report profile has finished no chapter yet. Run: make book PROFILE=report")
    import pages  # imported late: it imports this module

    public, shown = pages.repository(), {shown_run(chapter, "report") for chapter in chapters()}
    for run in done:
        notebook = pages.standalone(nbformat.read(folder / "notebooks" / f"{run}.ipynb", as_version=4), public)
        for cell in code_cells(notebook) if run not in shown else []:  # no page shows the figures of further seeds
            cell.outputs = [o for o in cell.outputs if not any(kind.startswith("image/") for kind in o.get("data", {}))]
        write_atomically(EDITION / "notebooks" / f"{run}.ipynb", nbformat.writes(notebook).encode())
        for source in sorted((folder / "results").glob(f"{run}.*")):
            if source.suffix in (".json", ".csv", ".webp"):
                write_atomically(EDITION / "results" / source.name, source.read_bytes())
    for more in ("small_cnn_augmented-seed0.keras", "noise.filters.csv"):  # the table of noise grows before its chapter is done
        if (folder / "results" / more).exists():
            write_atomically(EDITION / "results" / more, (folder / "results" / more).read_bytes())
    write_atomically(EDITION / "data.json", (folder / "data.json").read_bytes())
    size = sum(p.stat().st_size for p in (EDITION / "notebooks").glob("*.ipynb")) / 2**20
    print(f"edition/ now holds {len(done)} runs of the report profile; their notebooks have {size:.1f} MiB.")
    if missing:
        print(f"Not finished yet: {', '.join(missing)}.")


def restore():
    """Give the report profile the runs of ``edition/`` that still fit, so that a machine without ``runs/`` repeats none.

    A run whose network a chapter that is still to run will load is not among them: the edition does not hold that network.
    """
    import pages

    folder, restored, absent = runs_folder() / "report", [], set()
    for chapter in chapters():
        for run in runs_of(chapter, "report"):
            record = EDITION / "results" / f"{run}.json"
            if (folder / "results" / record.name).exists():
                continue
            known = json.loads(record.read_text(encoding="utf-8"))["run"] if record.exists() else {}
            if known and known.get("key") == run_key(chapter, "report", known["seed"]):
                restored.append(run)
            else:
                absent.add(run)
    restored = [run for run in restored if not absent.intersection(READERS.get(run, ()))]
    now = time.time()  # one time for all: a chapter older than what it reads would run again
    for run in restored:
        files = sorted((EDITION / "results").glob(f"{run}.*"))
        if run == "augmentation-seed0":
            files += sorted((EDITION / "results").glob("*.keras"))
        contents = {folder / "results" / source.name: source.read_bytes() for source in files}
        notebook = pages.without_help(nbformat.read(EDITION / "notebooks" / f"{run}.ipynb", as_version=4))
        contents[folder / "notebooks" / f"{run}.ipynb"] = nbformat.writes(notebook).encode()
        for path, content in contents.items():
            write_atomically(path, content)
            os.utime(path, (now, now))
    if restored:
        print(f"Taken from edition/, where nothing has changed since: {', '.join(restored)}.")


# --- all of it -------------------------------------------------------------------------------------------------


def book(profile):
    """Prepare, execute what must be executed, render what must be rendered, and say which page to open.

    Raises:
        BookError: another run is under way, a chapter failed, or the pages could not be built.
    """
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BookError(f"Another run is under way in {folder}. Wait until it has ended, or stop it.") from error
        prepare(profile)
        drop_stale(profile)
        if profile == "report":
            restore()
        failed = snakemake(profile, chapters_at_once(profile), folder / profile / "pipeline.log")
    if failed:
        raise BookError(f"The book is not finished; what is finished is kept.\n{failed}")
    import pages  # imported late: it imports this module

    if EDITION.exists() and profile != "test":
        try:
            print(f"\nThe edition, with the results at full size:  {os.path.relpath(pages.html())}")
        except BookError as error:
            print(f"\nThe pages of the edition were not built. {error}")
    page = BUILD / profile / "html" / "index.html"
    print(f"\nOpen {os.path.relpath(page)} in a browser: your own run.")


def snakemake(profile, cores, log):
    """Run the Snakefile; show the chapters' lines, keep Snakemake's own in ``log``. Returns what to say of a failure."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--config", f"profile={profile}", "--keep-going"]
    command += ["--snakefile", PROJECT / "Snakefile", "--directory", runs_folder()]  # what it notes down lies in runs/
    command += ["--nolock", "--rerun-incomplete"]  # the lock is ours: it ends with this process, however that ends
    shown = False
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, "BOOK_RELAY": MARK}, text=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        ) as process,
    ):  # fmt: skip
        try:
            for line in process.stdout:
                file.write(line.removeprefix(MARK))
                file.flush()
                if line.startswith(MARK):
                    shown = True
                    print(line.removeprefix(MARK), end="", flush=True)
        except KeyboardInterrupt:  # Ctrl-C reaches Snakemake too, which stops the chapter and clears up
            process.wait()
            raise
    if process.returncode == 0:
        return None
    return f"All messages: {log}" if shown else "".join(log.read_text(encoding="utf-8").splitlines(True)[-15:])


def say(text):
    """Print to standard error; below ``snakemake`` each line is marked, so that it reaches the terminal."""
    mark = os.environ.get("BOOK_RELAY", "")
    print("\n".join(mark + line for line in text.splitlines()), file=sys.stderr, flush=True)


# --- command line ----------------------------------------------------------------------------------------------


def die_with_parent():
    """Have the kernel of Linux end this process when the one that started it is killed, so that none is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("book", "prepare", "execute", "render", "promote", "html"))
    parser.add_argument("chapter", nargs="?", help="for execute: the name of a chapter")
    parser.add_argument("--profile", default="quick", help="a file of profiles/ (default: quick)")
    parser.add_argument("--seed", type=int, help="for execute: the seed of a training chapter")
    options = parser.parse_args()
    try:
        if options.step == "book":
            book(options.profile)
        elif options.step == "prepare":
            prepare(options.profile)
        elif options.step == "execute":
            die_with_parent()
            execute(options.chapter, options.profile, options.seed)
        elif options.step == "promote":
            promote()
        else:
            import pages

            if options.step == "render":
                pages.render(options.profile)
            else:
                print(f"Open {os.path.relpath(pages.html())} in a browser.")
    except BookError as error:
        say(f"\n{error}\n")
        sys.exit(1)
    except OSError as error:
        say(f"\n{error.filename or runs_folder()}: {error.strerror or error}. Make room or permit access, then run again.\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("" if os.environ.get("BOOK_RELAY") else "\nStopped. What is finished is kept; the same command goes on from there.")


if __name__ == "__main__":
    main()
