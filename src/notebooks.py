"""From sources to pages: which chapters there are, when one must run, running it, and weaving text with outputs.

A chapter is one MyST notebook, ``book/chapters/<name>.md``. It is executed with papermill; its page is woven from
the text of the source and the outputs of the run. The Snakefile says what depends on what and calls this module:

    python src/notebooks.py book --profile quick             all that follows, as far as it is needed
    python src/notebooks.py prepare --profile quick          find, fetch and decode photos and weights
    python src/notebooks.py execute vgg --profile quick      execute one chapter
    python src/notebooks.py render --profile quick           weave all pages and build the HTML
"""

import argparse
import ast
import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import yaml

import assets
from assets import PROJECT, BookError, runs_folder, write_atomically

BOOK = PROJECT / "book"
PER_SEED = ("training", "augmentation", "transfer", "fine_tuning")  # these run once for every seed of the profile
MARK = "» "  # begins the lines that a chapter's process wants to have shown
# What the theme puts on every page and the book does not use: thebe, a way to run cells on another host, whose script
# stands there twice and so fails; and a preloading of fonts that browsers refuse for pages opened from a disk.
UNUSED = re.compile(
    r'\s*<script>const THEBE_JS_URL[^<]*</script>|\s*<script[^>]*sphinx-thebe[^>]*></script>'
    r'|\s*<link[^>]*sphinx-thebe[^>]*>|\s*<link rel="preload" as="font"[^>]*>'
)
BUILD = Path(os.environ.get("BOOK_BUILD") or PROJECT / "_build").resolve()


# --- what there is ---------------------------------------------------------------------------------------------


def load_profile(name):
    """A file of ``profiles/``: ``seeds`` and, per chapter, the parameters that replace the chapter's own."""
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
        return [f"{chapter}-seed{seed}" for seed in load_profile(profile)["seeds"]]
    return [chapter]


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


# --- when to run -----------------------------------------------------------------------------------------------


def bare_code(source):
    """Python without comments, docstrings and layout: edits of those repeat nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def run_key(chapter, profile, seed=None):
    """Hash of all that decides a run's outputs: code cells, parameters, modules, photos, weights, Keras's backend."""
    try:
        cells = "\n".join(bare_code(cell.source) for cell in code_cells(read_source(chapter)) if not is_parameters(cell))
        decides = [cells, parameters_for(chapter, profile, seed)]
    except (SyntaxError, ValueError) as error:
        raise BookError(
            f"book/chapters/{chapter}.md has a slip in a code cell: {getattr(error, 'text', None) or ''}".rstrip()
            + f" ({getattr(error, 'msg', error)}). A parameters cell holds plain values only. Mend the cell and run again."
        ) from error
    found = json.loads((runs_folder() / profile / "data.json").read_text(encoding="utf-8"))
    if "helpers" in cells or "assets" in cells:
        decides += [bare_code((PROJECT / "src" / f"{m}.py").read_text(encoding="utf-8")) for m in ("helpers", "assets")]
        decides.append(os.environ.get("KERAS_BACKEND", "tensorflow"))
    if "load_photos" in cells:
        decides.append(found["photos"])
    if "vgg(" in cells:
        decides.append(found["weights"])
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


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
        weights[name] = [path.stat().st_size, path.stat().st_mtime_ns] if path else None
        print(f"Weights: {name.upper()} " + (f"from {os.path.relpath(path)}" if path else "untrained"))
    found = {"photos": [photos.source, photos.digest], "weights": weights, "drawn": "drawn" in photos.source}
    target = runs_folder() / profile / "data.json"
    content = json.dumps(found, indent=1).encode()
    if not target.exists() or target.read_bytes() != content:
        write_atomically(target, content)


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
    source = read_source(chapter)
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    broken.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # what is there afterwards was written by this run
    nbformat.write(source, broken)
    values = parameters_for(chapter, profile, seed)
    os.environ["BOOK_DOWNLOAD"] = "0"  # what can be fetched was fetched by prepare
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT / "src"), os.environ.get("PYTHONPATH")]))
    runs = [run for c in chapters() for run in runs_of(c, profile)]
    say(f"  [{runs.index(name) + 1 if name in runs else '-'}/{len(runs)}] {name} …")
    log = broken.with_suffix(".log")
    started = time.monotonic()
    try:
        with quiet_children(log) as progress:
            papermill.execute_notebook(
                broken, broken, values, kernel_name="python3", progress_bar=False, stderr_file=progress, cwd=PROJECT
            )
    except DeadKernelError as error:
        raise BookError(f"The kernel of the chapter {chapter} died, perhaps for want of memory. Its last words: {log}") from error
    except PapermillExecutionError as error:
        trace = "\n".join(error.traceback)
        if error.ename == "BookError":
            raise BookError(error.evalue) from error
        raise BookError(f"The chapter {chapter} failed in its cell {error.exec_count}:\n{trace}\nAs far as it came: {broken}") from error
    seconds = round(time.monotonic() - started, 1)
    notebook = normalise(nbformat.read(broken, as_version=4))
    content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"profile": profile}
    content["run"] = {"chapter": chapter, "seed": seed, "seconds": seconds, "revision": revision()}
    write_atomically(record, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(target, nbformat.writes(notebook).encode())
    broken.unlink()
    log.unlink(missing_ok=True)
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


# --- rendering -------------------------------------------------------------------------------------------------


def weave(source, executed, name):
    """A page: text, tags and captions of the source, outputs of the run.

    Raises:
        BookError: the code cells differ, so the outputs belong to other code.
    """
    ours, theirs = code_cells(source), code_cells(executed)
    same = len(ours) == len(theirs) and all(
        parameters_of(nb_of(a)).keys() == parameters_of(nb_of(b)).keys() if is_parameters(a) else a.source == b.source
        for a, b in zip(ours, theirs)
    )
    if not same:
        raise BookError(f"The code of the chapter {name} has changed since it was executed. Execute it again.")
    for cell, run in zip(ours, theirs):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        if is_parameters(cell):
            cell.source = run.source
    for number, cell in enumerate(source.cells):
        cell.id = f"cell-{number}"
    source.metadata["kernelspec"] = executed.metadata["kernelspec"]
    return source


def nb_of(cell):
    return nbformat.v4.new_notebook(cells=[cell])


def render(profile):
    """Weave every chapter with its run and build the HTML into ``_build/<profile>/html``."""
    say("  building the pages …")
    stage, out = BUILD / profile / "stage", BUILD / profile
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(BOOK, stage, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "chapters"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(PROJECT / name, stage / name)
    for chapter in chapters():
        run = runs_of(chapter, profile)[0]
        executed = nbformat.read(runs_folder() / profile / "notebooks" / f"{run}.ipynb", as_version=4)
        page = stage / "chapters" / f"{chapter}.ipynb"
        page.parent.mkdir(exist_ok=True)
        nbformat.write(weave(read_source(chapter), executed, chapter), page)
    config = yaml.safe_load((stage / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["html_theme_options"] = {
        **config["sphinx"]["config"].get("html_theme_options", {}), "announcement": banner(profile)
    }
    (stage / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    log = out / "html.log"
    with open(log, "w", encoding="utf-8") as file:
        command = [Path(sys.executable).with_name("jupyter-book"), "build", stage, "--path-output", out, "--all", "-W", "-n", "--keep-going"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    html, made = out / "html", out / "_build" / "html"
    if done.returncode or not (made / "index.html").exists():
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8"))
        text = text.replace(f"{stage}{os.sep}", "book/").replace(".ipynb:", ".md (cell and line) ")
        complaints = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Exception", line)] or text.splitlines()[-20:]
        raise BookError("The pages could not be built without warnings:\n" + "\n".join(complaints) + f"\nAll of it: {os.path.relpath(log)}")
    for page in made.rglob("*.html"):
        page.write_text(UNUSED.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree(html, ignore_errors=True)
    made.rename(html)


def banner(profile):
    """One line for the top of every page of a run: profile, photos, weights."""
    found = json.loads((runs_folder() / profile / "data.json").read_text(encoding="utf-8"))
    weights = "ImageNet weights" if all(found["weights"].values()) else "an untrained VGG"
    return (
        f"<strong>A run of your own</strong>, profile “{profile}”: {found['photos'][0]}; {weights}. "
        "The numbers are this run's; the text describes a run at full size."
    )


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
        for chapter in chapters():
            run_key(chapter, profile)  # a slip in a chapter is told before anything runs
        failed = snakemake(profile, folder / profile / "pipeline.log")
    if failed:
        raise BookError(f"The book is not finished; what is finished is kept.\n{failed}")
    page = BUILD / profile / "html" / "index.html"
    print(f"\nOpen {os.path.relpath(page)} in a browser.")


def snakemake(profile, log):
    """Run the Snakefile; show the chapters' lines, keep Snakemake's own in ``log``. Returns what to say of a failure."""
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", f"profile={profile}", "--keep-going"]
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
    parser.add_argument("step", choices=("book", "prepare", "execute", "render"))
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
        else:
            render(options.profile)
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
