"""Sphinx extension that lets `jupyter-book build .` weave: each chapter's text from its source, its outputs from a run or the edition.

Named in _config.yml. ``BOOK_PROFILE`` in the environment says whose outputs: those of ``runs/<profile>``, or without it the edition's.
"""

import os
import re
import shutil
from functools import wraps
from pathlib import Path

import nbformat
import yaml
from docutils import nodes
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import cast
import chapters
import frame
import pages
import questions
import slides
from paths import BOOK, PROJECT, BookError

# What the theme puts on every page and the book does not use: thebe, a way to run cells on another host, whose script
# stands there twice and so fails; Font Awesome, of which icons.css has the few icons that are shown; and a preloading of its fonts.
UNUSED = re.compile(
    r'\s*<script>const THEBE_JS_URL[^<]*</script>|\s*<script[^>]*(?:sphinx-thebe|fontawesome)[^>]*></script>'
    r'|\s*<link[^>]*(?:sphinx-thebe|fontawesome)[^>]*>|\s*<link rel="preload" as="font"[^>]*>'
)  # fmt: skip
READER = {".md": ("nbformat.reads", {"as_version": 4}, False)}  # myst-nb's form: how to read a page that was woven
logger = logging.getLogger(__name__)


def told(handler):
    """A slip in the book is told in its own words, without the trace of Sphinx."""

    @wraps(handler)
    def careful(*arguments):
        try:
            return handler(*arguments)
        except BookError as error:
            raise SystemExit(f"\n{pages.SORRY}{error}\n") from error

    return careful


@told
def configure(app, config):
    """The contents without ``book/`` in front of each name, as docnames and so addresses are; the banner; what makes all pages anew."""
    profile = config["book_profile"]
    if profile != "edition":
        chapters.load_profile(profile)  # a word about a wrong name now
    for name in chapters.toc_files():
        if not name.startswith(f"book{os.sep}"):
            raise BookError(f"_toc.yml lists {name}. Pages lie in book/: move the file there and write book/{name}.")
    contents = Path(app.doctreedir) / "toc.yml"
    contents.parent.mkdir(parents=True, exist_ok=True)
    contents.write_text(yaml.safe_dump(without_folder(chapters.read_yaml(PROJECT / "_toc.yml")), sort_keys=False), encoding="utf-8")
    config["external_toc_path"] = str(contents)
    config["html_theme_options"] = {**config["html_theme_options"], "announcement": pages.banner(profile)}
    config["mathjax_path"] = "mathjax/startup.js"  # sphinx-mathjax-offline names the file that holds all of MathJax
    config["book_runs"] = pages.digest_of_runs(profile)
    config["live_profile"] = profile


def without_folder(node):
    if isinstance(node, list):
        return [without_folder(item) for item in node]
    if isinstance(node, dict):
        return {k: os.path.normpath(v).removeprefix(f"book{os.sep}") if k in ("root", "file") else without_folder(v) for k, v in node.items()}
    return node


@told
def weave(app, docname, content):
    """Before a page is read: a chapter's becomes the woven notebook; numbers that are not there become dashes."""
    profile, chapter = app.config["book_profile"], pages.chapters_by_page().get(docname)
    app.env.mystnb_config = app.env.mystnb_config.copy(custom_formats=READER if chapter else {})
    if not chapter:
        content[0] = pages.with_dashes(content[0], docname, profile)
        return
    page = pages.page(chapter, profile)
    shown = nbformat.from_dict(page.notebook)
    lines = [] if page.remark == pages.AS_IT_RAN else read_myst_markdown_notebook(content[0], add_source_map=True).metadata["source_map"]
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            cell.source = pages.with_dashes(cell.source, docname, profile)
    if len(lines) == len(shown.cells):  # then warnings name the line of the source
        shown.metadata["source_map"] = lines
    pages.folded(shown)
    content[0] = nbformat.writes(shown)


@told
def add_remark(app, doctree):
    """Below the title of a page that does not show a run of the chapter as it is: a line that says so."""
    chapter = pages.chapters_by_page().get(app.env.docname)
    if chapter and (remark := pages.page(chapter, app.config["book_profile"]).remark):
        title = next(doctree.findall(nodes.title))
        title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", remark, classes=["remark"]))


class FromRecords(SphinxDirective):
    """A directive whose content is made from the records of the run that the pages show. Its argument: an experiment, or nothing."""

    optional_arguments = 1

    def run(self):
        experiment = self.arguments[0] if self.arguments else ""
        try:
            html = self.html(self.config.book_profile, experiment)
        except BookError as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", html, format="html")] if html else []


class Ladder(FromRecords):
    def html(self, profile, experiment):
        return cast.ladder_html(profile, experiment)


class TheSix(FromRecords):
    def html(self, profile, experiment):
        return cast.six_html(profile, experiment, "../" * self.env.docname.count("/"))


def write_in_parallel(app, env):
    """All pages are read: they are written side by side. (Reading is left in order, as some extensions number things while they read.)"""
    app.parallel = min(os.cpu_count() or 1, 4)
    return []


@told
def finish(app, exception):
    """After the build: notebooks to download, slides, and what the theme adds in vain taken out."""
    if exception or app.builder.name != "html":
        return
    html, profile = Path(app.outdir), app.config["book_profile"]
    notebooks = html / "_static" / "notebooks"
    notebooks.mkdir(parents=True, exist_ok=True)
    cast.copy_pictures(profile, html / "_static")
    pages.copy_tables(profile, html / "_static" / "results")
    for chapter in chapters.chapters():
        nbformat.write(pages.standalone(pages.page(chapter, profile).notebook), notebooks / f"{chapter}.ipynb")
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        tidy = UNUSED.sub("", text)
        tidy = tidy.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # its children are no list items
        tidy = tidy.replace('<summary aria-label="Toggle hidden content">', "<summary>")  # it says itself what it unfolds
        tidy = frame.early(frame.sized(tidy, path.parent.resolve()))
        if tidy != text:
            path.write_text(tidy, encoding="utf-8")
    shutil.rmtree(html / "_static" / "vendor", ignore_errors=True)
    slides.write_decks(html)
    for remark, names in pages.remarks(profile).items():
        logger.info("%s %s.", remark, ", ".join(names))
    logger.info(pages.MADE)


def setup(app):
    if Path(app.srcdir) != PROJECT:
        raise SystemExit(f"\n{pages.SORRY}the book is built as a whole. Run: jupyter-book build {os.path.relpath(PROJECT)}\n")
    app.srcdir = type(app.srcdir)(BOOK)  # pages lie there; settings and contents one folder up
    app.add_config_value("book_profile", os.environ.get("BOOK_PROFILE") or "edition", "env", str)
    app.add_config_value("book_runs", "", "env", str)  # another value: Sphinx reads every page again, as pages quote each other's numbers
    app.add_directive("ladder", Ladder)
    app.add_directive("the-six", TheSix)
    app.setup_extension("live_directive")
    app.connect("config-inited", configure, priority=100)  # before the contents are read
    app.connect("source-read", weave)
    app.connect("doctree-read", add_remark)
    questions.setup(app)
    frame.setup(app)
    app.connect("env-updated", write_in_parallel)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
