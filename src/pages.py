"""From runs to pages: weave the text of the sources with the outputs of a run, and build the HTML."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

import chapters
import execute
import slides
from paths import BOOK, BUILD, EDITION, PROJECT, BookError, runs_folder, say, write_atomically

# What the theme puts on every page and the book does not use: thebe, a way to run cells on another host, whose script
# stands there twice and so fails; and a preloading of fonts that browsers refuse for pages opened from a disk.
UNUSED = re.compile(
    r'\s*<script>const THEBE_JS_URL[^<]*</script>|\s*<script[^>]*sphinx-thebe[^>]*></script>'
    r'|\s*<link[^>]*sphinx-thebe[^>]*>|\s*<link rel="preload" as="font"[^>]*>'
)
# Outputs are pictures, text and tables. Anything that a browser would run has no place in them.
SHOWN = ("text/plain", "text/html", "image/png", "image/jpeg", "application/papermill.record/text/plain", "application/papermill.record/text/html")
ACTIVE = re.compile(r"<\s*(script|iframe|object|embed|form|meta|link|base)\b|<[^>]*\son\w+\s*=|javascript:", re.IGNORECASE)


def weave(source, executed, name):
    """A page: text, tags and captions of the source, outputs of the run.

    Raises:
        BookError: the code cells differ, so the outputs belong to other code; or an output could run a script.
    """
    ours, theirs = chapters.code_cells(source), chapters.code_cells(executed)
    same = len(ours) == len(theirs) and all(
        chapters.parameters_of(nb_of(a)).keys() == chapters.parameters_of(nb_of(b)).keys() if chapters.has_tag(a, "parameters") else chapters.cell_code(a) == chapters.cell_code(b)
        for a, b in zip(ours, theirs)
    )
    if not same:
        raise BookError(f"The code of the chapter {name} has changed since it was executed. Execute it again.")
    for cell, run in zip(ours, theirs):
        for output in run.outputs:
            for kind, content in output.get("data", {}).items():
                if kind not in SHOWN or kind.startswith("text/") and ACTIVE.search(str(content)):
                    raise BookError(f"An output of the chapter {name} could run a script in the page ({kind}): {cell.source[:80]!r} …")
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        if chapters.has_tag(cell, "parameters"):
            cell.source = run.source
    for number, cell in enumerate(source.cells):
        cell.id = f"cell-{number}"
    source.metadata["kernelspec"] = executed.metadata["kernelspec"]
    return source


def nb_of(cell):
    return nbformat.v4.new_notebook(cells=[cell])


def render(profile):
    """Weave every chapter with its run and build the HTML into ``_build/<profile>/html``; delete runs of chapters that are no more."""
    say("  building the pages …")
    folder = runs_folder() / profile
    known = {f"{c}.ipynb" for c in chapters.chapters()} | {path.name for c in chapters.chapters() for path in execute.files_of(c, folder / "results")}
    for path in [*(folder / "notebooks").glob("*"), *(folder / "results").glob("*")]:
        if path.name not in known:
            path.unlink()
    pages = {c: weave(chapters.read_source(c), read_run(folder / "notebooks" / f"{c}.ipynb"), c) for c in chapters.chapters()}
    build_html(pages, BUILD / profile, banner(profile))


def read_run(path):
    """An executed notebook, without the cell that ``standalone`` adds."""
    if not path.exists():
        raise BookError(f"The chapter {path.stem} has not been executed yet: {path} is missing.")
    return without_help(nbformat.read(path, as_version=4))


def _files():
    """What the pages are made of besides the runs: all text and decoration, and the code that makes the pages."""
    made = [p for p in sorted(BOOK.rglob("*")) if p.is_file() and not any(part.startswith(".") for part in p.relative_to(BOOK).parts)]
    made += [PROJECT / "_config.yml", PROJECT / "_toc.yml", *sorted(p for p in (PROJECT / "src" / "deck").glob("*"))]
    return made + [PROJECT / "src" / f"{name}.py" for name in ("pages", "slides")]


def key(profile, data):
    """What decides the pages of a run: text, decoration, the keys of all runs, the banner."""
    files = [(str(p.relative_to(PROJECT)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in _files()]
    return chapters.digest(files, [chapters.chapter_key(c, profile, data) for c in chapters.chapters()], banner_of(profile, data))


def edition_key():
    """What decides the pages of the edition: text, decoration, its executed notebooks."""
    files = [*_files(), *sorted((EDITION / "notebooks").glob("*.ipynb")), PROJECT / "profiles" / "report.yml"]
    return chapters.digest([(str(p.relative_to(PROJECT)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])


ALONE = """\
# This notebook is a chapter of a book and uses the book's modules. This cell finds them, or gets them.
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec("helpers") is None:
    here, repository = pathlib.Path.cwd(), {url!r}
    project = next((p for p in (here, *here.parents, here / "book-project") if (p / "src" / "helpers.py").exists()), None)
    if project is None and not repository:
        raise SystemExit("Put this notebook into the folder of the book's project (it holds src/helpers.py) and run it there.")
    if project is None:
        project = here / "book-project"
        subprocess.run(["git", "clone", "--depth", "1", "--branch", {branch!r}, repository, project], check=True)
        packages = ["myst-nb", "jupytext", "joblib", "pooch", "statsmodels", "papermill"]  # Colab has the others
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *packages], check=True)
    sys.path.insert(0, str(project / "src"))"""


def repository():
    """Address and branch of the public repository from ``_config.yml``; the address may be empty."""
    return yaml.safe_load((PROJECT / "_config.yml").read_text(encoding="utf-8"))["repository"]


def before_code(page, cell):
    """A copy of the notebook with one more cell before its first code cell."""
    copy = nbformat.from_dict(page)
    copy.cells.insert(next(i for i, c in enumerate(copy.cells) if c.cell_type == "code"), cell)
    return copy


def standalone(page):
    """The executed notebook as a file of its own: its first code cell finds the book's modules, or gets them."""
    return before_code(page, nbformat.v4.new_code_cell(ALONE.format(**repository()), id="alone"))


def without_help(notebook):
    """The notebook without the cell that ``standalone`` adds."""
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != "alone"]
    return notebook


def ways_to_run(chapter, page, public):
    """A line of links: the notebook of the page, its slides; and, if the repository's address is set, Colab and Binder."""
    links = [f'<a href="../_static/notebooks/{chapter}.ipynb" download>download this notebook</a>']
    if any("slide" in cell.metadata.get("tags", []) for cell in page.cells):
        links.append(f'<a href="{chapter}.slides.html">slides</a>')
    if public["url"]:
        place, branch = public["url"].removeprefix("https://github.com/").removesuffix(".git").strip("/"), public["branch"]
        links += [f'<a href="https://colab.research.google.com/github/{place}/blob/{branch}/edition/notebooks/{chapter}.ipynb">open in Colab</a>',
                  f'<a href="https://mybinder.org/v2/gh/{place}/{branch}?urlpath=lab/tree/book/chapters/{chapter}.md">open in Binder</a>']
    return nbformat.v4.new_markdown_cell(f'<p class="run-it">Run it yourself: {" · ".join(links)}</p>', id="run-it")


def build_html(pages, out, announcement):
    """Build the HTML into ``out/html``.

    Args:
        pages: {chapter: notebook}, woven.
        out: folder of this build, ``_build/<profile>`` or ``_build/edition``.
        announcement: a line of HTML for the top of every page, or "".

    Raises:
        BookError: Sphinx had to warn of something.
    """
    stage = out / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(BOOK, stage, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "chapters"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(PROJECT / name, stage / name)
    (stage / "_toc.yml").write_text((stage / "_toc.yml").read_text(encoding="utf-8").replace(": book/", ": "), encoding="utf-8")
    config = yaml.safe_load((stage / "_config.yml").read_text(encoding="utf-8"))
    (stage / "chapters").mkdir()
    (stage / "_static" / "notebooks").mkdir()
    for chapter, page in pages.items():
        nbformat.write(standalone(page), stage / "_static" / "notebooks" / f"{chapter}.ipynb")
        nbformat.write(before_code(page, ways_to_run(chapter, page, config["repository"])), stage / "chapters" / f"{chapter}.ipynb")
    config["sphinx"]["config"]["html_theme_options"] = {
        **config["sphinx"]["config"].get("html_theme_options", {}), "announcement": announcement
    }
    (stage / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    log = out / "html.log"
    with open(log, "w", encoding="utf-8") as file:
        command = [sys.executable, "-m", "jupyter_book", "build", stage, "--path-output", out, "--all", "-W", "-n", "--keep-going"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    html, made = out / "html", out / "_build" / "html"
    if done.returncode or not (made / "index.html").exists():
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8"))
        text = text.replace(f"{stage}{os.sep}", "book/").replace(".ipynb:", ".md (cell and line) ")
        complaints = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Exception", line)] or text.splitlines()[-20:]
        raise BookError("The pages could not be built without warnings:\n" + "\n".join(complaints) + f"\nAll of it: {os.path.relpath(log)}")
    for page in made.rglob("*.html"):
        text = UNUSED.sub("", page.read_text(encoding="utf-8"))
        text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # its children are no list items
        page.write_text(text, encoding="utf-8")
    slides.write_decks(made)
    shutil.rmtree(html, ignore_errors=True)
    made.rename(html)


def banner(profile):
    """One line for the top of every page of a run: profile, photos, weights."""
    return banner_of(profile, chapters.found_data(profile))


def banner_of(profile, data):
    weights = "ImageNet weights" if all(data["weights"].values()) else "an untrained VGG"
    return (
        f"<strong>A run of your own</strong>, profile “{profile}”: {data['photos'][0]}; {weights}. "
        "The numbers are this run's; the text describes a run at full size."
    )


def html():
    """Build the pages of ``edition/`` into ``_build/edition/html``.

    A chapter whose code has changed since is shown as it ran, with a word about it; its own text belongs to other code.

    Returns:
        The page to open.

    Raises:
        BookError: a chapter is missing in the edition.
    """
    say("  building the pages of the edition …")
    pages, missing = {}, []
    for chapter in chapters.chapters():
        found = [p for p in (EDITION / "notebooks" / f"{chapter}.ipynb", EDITION / "notebooks" / f"{chapter}-seed0.ipynb") if p.exists()]
        if not found:
            missing.append(chapter)
            continue
        executed = read_run(found[0])
        try:
            pages[chapter] = weave(chapters.read_source(chapter), executed, chapter)
        except BookError:
            pages[chapter] = executed
    if missing:
        raise BookError(
            f"The edition lacks {', '.join(missing)}. Execute at full size with make book PROFILE=report, then make edition."
        )
    build_html(pages, BUILD / "edition", "")
    return BUILD / "edition" / "html" / "index.html"
