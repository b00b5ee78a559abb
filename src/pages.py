"""From runs to pages: weave the text of the sources with the outputs of a run, and have Jupyter Book build the HTML.

`jupyter-book build .` builds the edition; with ``BOOK_PROFILE=quick`` in its environment, the pages of that run. src/book_extension.py hands
it what is woven here; ``build`` calls the same command for `make`.
"""

import fcntl
import hashlib
import os
import posixpath
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from html import escape

import nbformat
import yaml

import cast
import chapters
import execute
import live
import sanitise
from paths import BOOK, BUILD, EDITION, PROJECT, BookError, runs_folder, say, shown, write_atomically

AS_IT_RAN = "This page shows an earlier version of the chapter, text and numbers, as it ran at full size."
NOT_RUN = "This chapter has not been run at full size yet: it is shown without results, and a dash stands for each number."


# --- one page --------------------------------------------------------------------------------------------------


def same_code(source, executed):
    """Do two notebooks have the same code cells, apart from layout, comments and the values of parameters?"""
    ours, theirs = chapters.code_cells(source), chapters.code_cells(executed)
    return len(ours) == len(theirs) and all(
        chapters.parameters_of(nb_of(a)).keys() == chapters.parameters_of(nb_of(b)).keys()
        if chapters.has_tag(a, "parameters")
        else chapters.cell_code(a) == chapters.cell_code(b)
        for a, b in zip(ours, theirs)
    )


def weave(source, executed, name):
    """A page: text, tags and captions of the source, outputs of the run. Both notebooks are changed in place.

    Raises:
        BookError: the code cells differ, so the outputs belong to other code; or an output does not belong on a page.
    """
    if not same_code(source, executed):
        raise BookError(f"The code of the chapter {name} has changed since it was executed. Execute it again.")
    sanitise.clean(executed, name)
    for cell, run in zip(chapters.code_cells(source), chapters.code_cells(executed)):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        if chapters.has_tag(cell, "parameters"):
            cell.source = run.source
    source.metadata["kernelspec"] = executed.metadata["kernelspec"]
    return numbered(source)


def numbered(notebook):
    """The notebook with ``cell-<i>`` for ids, which do not differ from build to build."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def nb_of(cell):
    return nbformat.v4.new_notebook(cells=[cell])


def read_run(path):
    """An executed notebook, without the cell that ``standalone`` adds."""
    if not path.exists():
        raise BookError(f"The chapter {path.stem} has not been executed yet: {path} is missing.")
    return execute.without_help(nbformat.read(path, as_version=4))


@dataclass(frozen=True)
class Page:
    """A chapter as the pages show it: its notebook, and what is to be said about it, "" if all is well."""

    notebook: nbformat.NotebookNode
    remark: str


def run_of(chapter, profile):
    """The file of a chapter's run. In the edition a run may carry a seed, ``training-seed0``, as those of the first edition do."""
    if profile != "edition":
        return runs_folder() / profile / "notebooks" / f"{chapter}.ipynb"
    path = EDITION / "notebooks" / f"{chapter}.ipynb"
    return path if path.exists() else next(iter(sorted(path.parent.glob(f"{chapter}-seed*.ipynb"))), path)


@cache
def page(chapter, profile):
    """The page of a chapter in a run of one's own, or in the profile ``edition`` that of the edition.

    A chapter of the edition whose code has changed since is shown as it ran: its numbers belong to that code and that text.

    Raises:
        BookError: a run of one's own is missing or belongs to other code.
    """
    source, path = chapters.read_source(chapter), run_of(chapter, profile)
    if profile != "edition":
        return Page(weave(source, read_run(path), chapter), "")
    if not path.exists():
        return Page(numbered(source), NOT_RUN)
    executed = read_run(path)
    if same_code(source, executed):
        return Page(weave(source, executed, chapter), "")
    return Page(sanitise.clean(executed, chapter), AS_IT_RAN)


@cache
def remarks(profile):
    """``{remark: [chapters]}``: what a reader must know about chapters of the edition; {} if it is complete."""
    found = {}
    for chapter in chapters.chapters():
        if remark := page(chapter, profile).remark:
            found.setdefault(remark, []).append(chapter)
    return found


# --- numbers and figures that are not there ----------------------------------------------------------------------

PASTED = re.compile(r"\{glue:?\w*\}`(?:(?P<doc>[^`\n]*?)::)?(?P<key>[^`:\n]+)(?::[^`\n]*)?`")
PASTED_BLOCK = re.compile(r"^(?P<fence>`{3,}|:{3,})\{glue:?\w*\} *(?P<key>\S+)\n(?P<options>.*?)^(?P=fence) *$", re.M | re.S)
REFERENCE = re.compile(r"\{(?:num)?ref\}`(?:[^`<]*<)?(?P<name>[\w.-]+)>?`")


@cache
def glued(chapter, profile):
    """``{name: value}`` of what a chapter's run hands to the pages with ``glue``; each value as Python writes it, "" for a table or a picture."""
    found = {}
    for cell in chapters.code_cells(page(chapter, profile).notebook):
        for output in cell.outputs:
            if mark := output.get("metadata", {}).get("scrapbook"):
                found[mark["name"]] = output.data.get(mark.get("mime_prefix", "") + "text/plain", "")
    return found


def keys_of(chapter, profile):
    return glued(chapter, profile).keys()


@cache
def undrawn(profile):
    """Names of the figures that are not there because their chapters have not been run."""
    cells = [cell for c in remarks(profile).get(NOT_RUN, []) for cell in chapters.code_cells(page(c, profile).notebook)]
    return {cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells}


def with_dashes(text, docname, profile):
    """The text of a page with "–" in place of each number that it pastes and that is not there, in the edition.

    Args:
        docname: the page, such as ``chapters/vgg``; paths of other pages in the text are relative to it.
    """
    if not remarks(profile):
        return text  # complete: what is missing is a slip, and the build says so
    own = chapters_by_page()

    def filled(found):
        doc = found.groupdict().get("doc")
        if "options" in found.groupdict() and (option := re.search(r"^:doc: *(\S+)", found["options"], re.M)):
            doc = option[1]
        there = docname if doc is None else posixpath.normpath(posixpath.join(posixpath.dirname(docname), doc.rsplit(".", 1)[0]))
        return found[0] if there in own and found["key"].strip() in keys_of(own[there], profile) else "–"

    text = PASTED_BLOCK.sub(filled, PASTED.sub(filled, text))
    return REFERENCE.sub(lambda found: "the figure" if found["name"] in undrawn(profile) else found[0], text)


# --- the notebook of a page ----------------------------------------------------------------------------------------

ALONE = """\
# This notebook is a chapter of a book and uses the book's modules. This cell finds them, or gets them.
import importlib.util
import pathlib
import subprocess
import sys

here, repository = pathlib.Path.cwd(), {url!r}
project = next((p for p in (here, *here.parents, here / "book-project") if (p / "src" / "helpers.py").exists()), None)
if project is None and importlib.util.find_spec("helpers") is None:
    if not repository:
        raise SystemExit("Put this notebook into the folder of the book's project (it holds src/helpers.py) and run it there.")
    project = here / "book-project"
    subprocess.run(["git", "clone", "--depth", "1", "--branch", {branch!r}, repository, project], check=True)
    packages = ["myst-nb", "jupytext", "joblib", "pooch", "statsmodels", "papermill"]  # Colab has the others
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *packages], check=True)
if project is not None:
    sys.path.insert(0, str(project / "src"))"""


@cache
def repository():
    """Address and branch of the public repository from ``_config.yml``; the address may be empty."""
    return yaml.safe_load((PROJECT / "_config.yml").read_text(encoding="utf-8"))["repository"]


def before_code(notebook, cell):
    """A copy of the notebook with one more cell before its first code cell."""
    copy = nbformat.from_dict(notebook)
    copy.cells.insert(next(i for i, c in enumerate(copy.cells) if c.cell_type == "code"), cell)
    return copy


def standalone(notebook):
    """The executed notebook as a file of its own: its first code cell finds the book's modules, or gets them."""
    return before_code(notebook, nbformat.v4.new_code_cell(ALONE.format(**repository()), id="alone"))


def ways_to_run(chapter, notebook):
    """What leads from a page to its code and its slides: ``[(address, words)]``; if the repository's address is set, to Colab and Binder, too."""
    public, top = repository(), "../" * docname_of(chapter).count("/")
    links = [(f"{top}_static/notebooks/{chapter}.ipynb", "notebook")]
    if any("slide" in cell.metadata.get("tags", []) for cell in notebook.cells):
        links.append((f"{chapter}.slides.html", "slides"))
    if public["url"]:
        place, branch = public["url"].removeprefix("https://github.com/").removesuffix(".git").strip("/"), public["branch"]
        links += [(f"https://colab.research.google.com/github/{place}/blob/{branch}/edition/notebooks/{chapter}.ipynb", "Colab"),
                  (f"https://mybinder.org/v2/gh/{place}/{branch}?urlpath=lab/tree/book/chapters/{chapter}.md", "Binder")]
    return links


def folded(notebook):
    """The notebook with its set-up folded: the parameters and, after them, the imports. Changed in place."""
    setting_up = False
    for cell in chapters.code_cells(notebook):
        if chapters.has_tag(cell, "parameters"):
            setting_up, words = True, "Parameters"
        elif setting_up:
            setting_up, words = False, "Set-up"
        else:
            continue
        if not any(tag.startswith(("hide", "remove")) for tag in cell.metadata.get("tags", [])):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata["mystnb"] = {**cell.metadata.get("mystnb", {}), "code_prompt_show": words, "code_prompt_hide": words}
    return notebook


# --- all pages ------------------------------------------------------------------------------------------------------

JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.argv[0] = 'jupyter-book'; main()"  # also where .venv has moved
# What book_extension.py says for ``build`` to read: the beginning of a message to the reader, and that all is made.
SORRY, MADE = "The pages cannot be built: ", "Pages, notebooks and slides are made."


@cache
def chapters_by_page():
    """``{docname: chapter}``"""
    return {docname_of(chapter): chapter for chapter in chapters.chapters()}


def docname_of(chapter):
    """A chapter's page as Sphinx and the addresses have it, ``chapters/vgg``."""
    return chapters.source_of(chapter).relative_to(BOOK).with_suffix("").as_posix()


def copy_tables(profile, target):
    """Copy the tables that chapters have written beside their records (``noise.filters.csv``), for pages to offer as downloads."""
    for chapter in chapters.chapters():
        for path in (cast.folder_of(profile) / "results").glob(f"{chapter}.*.csv"):
            write_atomically(target / path.name, path.read_bytes())


def render(profile):
    """Build the pages of a run into ``_build/<profile>/html``; delete runs of chapters that are no more."""
    say("  building the pages …")
    folder = runs_folder() / profile
    known = {f"{c}.ipynb" for c in chapters.chapters()} | {path.name for c in chapters.chapters() for path in execute.files_of(c, folder / "results")}
    for path in [*(folder / "notebooks").glob("*"), *(folder / "results").glob("*")]:
        if path.name not in known:
            path.unlink()
    cast.write_six(profile, folder)
    build(profile)


def html():
    """Build the pages of ``edition/`` into ``_build/edition/html`` and say what is not as it should be; returns the page to open."""
    say("  building the pages of the edition …")
    lacking, complaints = build("edition")
    for line in lacking + complaints[:10]:
        say(f"  {line}")
    if complaints:
        say(f"  These and all other messages: {shown(BUILD / 'edition' / 'html.log')}")
    return BUILD / "edition" / "html" / "index.html"


def build(profile):
    """Have Jupyter Book build the pages beside the old ones, then put them in their place.

    Returns:
        Of an edition that is not complete, what it lacks and what Sphinx had to warn of: two lists of lines.

    Raises:
        BookError: a chapter cannot be shown, or Sphinx had to warn of something in a book that is complete.
    """
    out = BUILD / profile
    html, made, old, log = out / "html", out / "new" / "_build" / "html", out / "old", out / "html.log"
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once build one after the other
        shutil.rmtree(out / "new", ignore_errors=True)
        command = [sys.executable, "-c", JUPYTER_BOOK, "build", PROJECT, "--path-output", out / "new", "--all", "-W", "-n", "--keep-going"]
        with open(log, "w", encoding="utf-8") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"BOOK_PROFILE": profile})
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8", errors="replace")).replace(f"{PROJECT}{os.sep}", "")
        if SORRY in text:
            raise BookError(text.rpartition(SORRY)[2].strip())
        lacking = [line for line in text.splitlines() if line.startswith((AS_IT_RAN, NOT_RUN))]
        complaints = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Exception", line)]
        if MADE not in text or done.returncode and not lacking:
            what = "\n".join(complaints or text.splitlines()[-20:])
            raise BookError(f"The pages could not be built without warnings:\n{what}\nAll of it: {shown(log)}")
        shutil.rmtree(old, ignore_errors=True)
        if html.exists():
            html.rename(old)
        made.rename(html)
        for folder in (old, out / "new"):
            shutil.rmtree(folder, ignore_errors=True)
    return lacking, complaints


def banner(profile):
    """One line for the top of every page of a run: profile, photos, weights; none in the edition."""
    return "" if profile == "edition" else banner_of(profile, chapters.found_data(profile))


def banner_of(profile, data):
    weights = "ImageNet weights" if all(data["weights"].values()) else "an untrained VGG"
    return (
        f"<strong>A run of your own</strong>, profile “{profile}”: {escape(data['photos'][0])}; {weights}. "
        "The numbers are this run's; the text describes a run at full size."
    )


# --- what decides the pages -----------------------------------------------------------------------------------------


def _files():
    """What the pages are made of besides the runs: all text and decoration, and the code that makes the pages."""
    made = [p for p in sorted(BOOK.rglob("*")) if p.is_file() and not any(part.startswith(".") for part in p.relative_to(BOOK).parts)]
    made += [PROJECT / "_config.yml", PROJECT / "_toc.yml", *sorted((PROJECT / "src" / "deck").glob("*"))]
    made += [p for p in sorted(live.SOURCES.rglob("*")) if p.is_file()]
    rooms = ("pages", "book_extension", "cast", "frame", "questions", "sanitise", "slides", "live", "live_directive")
    return made + [PROJECT / "src" / f"{name}.py" for name in rooms]


def key(profile, data):
    """What decides the pages of a run: text, decoration, the keys of all runs, the banner."""
    keys = [chapters.chapter_key(c, profile, data) for c in chapters.chapters()]
    return chapters.digest(_digests(_files()), _digests(filter(os.path.exists, [live.COLLECTED])), keys, banner_of(profile, data))


def edition_key():
    """What decides the pages of the edition: text, decoration, its executed notebooks, what the live figures take from it."""
    return chapters.digest(_digests(_files()), digest_of_runs("edition"))


def digest_of_runs(profile):
    """Stands for the content of all runs that the pages show."""
    runs = [path for path in (run_of(c, profile) for c in chapters.chapters()) if path.exists()]
    return chapters.digest(_digests([*runs, *cast.files(profile), *live.sources(profile)]))


def _digests(paths):
    return [(os.path.relpath(p, PROJECT), hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths]
