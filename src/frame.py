"""What stands around a chapter's text: the lines above and below its title, the parts as cards, and the files that only some pages load.

``_toc.yml`` is the one truth about order and parts. A part whose caption begins with a Roman numeral, ``II · Cats and dogs``, counts its chapters.
"""

import re
from functools import cache
from html import escape

from docutils import nodes
from PIL import Image
from sphinx.util.docutils import SphinxDirective

import chapters
import pages
from paths import PROJECT

COUNTED = re.compile(r"([IVX]+) · ")
AIMS = re.compile(r"(?P<where>In this chapter|On this page)(?: · (?P<time>.+))?$")  # the title of the admonition that becomes the line below a chapter's title

# Style sheets and scripts of which a page needs its own: what a page that uses them has in its body. All others are on every page.
USED_BY = {
    "film.js": 'class="film"',
    "predict.js": "data-predict",
    "exercise.css": r'class="(exercise|solution)',
    "proof.css": r'class="proof',
    "sphinx-design.min.css": r'class="[^"]*\bsd-',
    "design-tabs.js": r'class="[^"]*\bsd-tab',
    "togglebutton.css": r'class="[^"]*\b(dropdown|toggle)\b',
    "togglebutton.js": r'class="[^"]*\b(dropdown|toggle)\b',
    "copybutton.css": 'class="highlight',
    "copybutton.js": 'class="highlight',
    "clipboard.min.js": 'class="highlight',
    "mystnb.": r'class="[^"]*\b(cell|highlight)\b',
    "sphinx-thebe.css": r"thebe-launch-button",
    "sphinx-thebe.js": r"thebe-launch-button",
}


# --- order and parts -------------------------------------------------------------------------------------------------


@cache
def contents():
    """``[(caption, [docname, …])]``: the parts with the pages that they list, without those below a page."""
    toc = chapters.read_yaml(PROJECT / "_toc.yml")
    return [(part.get("caption", ""), [docname(entry) for entry in part.get("chapters", []) if "file" in entry]) for part in toc.get("parts", [])]


def docname(entry):
    return str(entry["file"]).removeprefix("book/").removesuffix(".md")


@cache
def counted():
    """``{docname: number}`` of the chapters in parts that are counted."""
    names = [name for caption, listed in contents() if COUNTED.match(caption) for name in listed]
    return {name: number for number, name in enumerate(names, 1)}


def place(name):
    """Where a page stands, as the line above its title says it: ``Part II · Cats and dogs · Chapter 7``; "" if that says nothing."""
    caption = next((caption for caption, listed in contents() if name in listed), "")
    if name in counted():
        return f"Part {caption} · Chapter {counted()[name]}"
    return caption


# --- the opening -----------------------------------------------------------------------------------------------------


def opening(app, doctree):
    """Above a page's title where it stands; below a chapter's title its minutes, its aims, its notebook, slides and solutions."""
    name, title = app.env.docname, next(doctree.findall(nodes.title), None)
    if title is None or title.parent.parent is not doctree:
        return
    section = title.parent
    if words := place(name):
        doctree.insert(doctree.index(section), nodes.paragraph("", words, classes=["book-place"]))
    if chapter := pages.chapters_by_page().get(name):
        section.insert(section.index(title) + 1, below(app, doctree, chapter))


def below(app, doctree, chapter):
    """The line below a chapter's title. The admonition *In this chapter · 30 minutes* becomes its part that unfolds."""
    opened = [nodes.raw("", '<div class="book-opening">', format="html")]
    for admonition in doctree.findall(nodes.admonition):
        if found := AIMS.match(admonition[0].astext()):
            opened.append(nodes.raw("", f'<details class="book-aims"><summary>{summary(**found.groupdict())}</summary>', format="html"))
            opened += [*admonition.children[1:], nodes.raw("", "</details>", format="html")]
            admonition.parent.remove(admonition)
            break
    links = pages.ways_to_run(chapter, pages.page(chapter, app.config["book_profile"]).notebook)
    if f"{app.env.docname}_solutions" in app.env.found_docs:
        links.append((f"{chapter}_solutions.html", "solutions"))
    shown = " · ".join(f'<a href="{escape(address)}"{" download" * address.endswith(".ipynb")}>{words}</a>' for address, words in links)
    return [*opened, nodes.raw("", f'<div class="book-ways">{shown}</div></div>\n', format="html")]


def summary(where, time):
    return f"<span>{escape(time)}</span> · {where[0].lower()}{where[1:]} you will …" if time else f"{where} you will …"


# --- the parts -------------------------------------------------------------------------------------------------------


class place_of_parts(nodes.General, nodes.Element):
    """The place of the cards, filled in when all titles are known."""


class Parts(SphinxDirective):
    """The parts of the book as cards: ``{parts}``."""

    def run(self):
        return [place_of_parts()]


def fill_in(app, doctree, name):
    for node in list(doctree.findall(place_of_parts)):
        cards = [card(app, name, caption, listed) for caption, listed in contents() if COUNTED.match(caption)]
        rest = [link(app, name, other) for caption, listed in contents() if not COUNTED.match(caption) for other in listed]
        after = f'<p class="book-rest">And at the back: {" · ".join(rest)}</p>' if rest else ""
        node.replace_self(nodes.raw("", f'<div class="book-parts">{"".join(cards)}</div>{after}', format="html"))


def card(app, name, caption, listed):
    items = "".join(f'<li value="{counted()[other]}">{link(app, name, other)}</li>' for other in listed)
    return f'<div class="book-card"><h3>{escape(caption)}</h3><ol>{items}</ol></div>'


def link(app, name, other):
    title = app.env.titles[other].astext() if other in app.env.titles else other
    return f'<a href="{escape(app.builder.get_relative_uri(name, other))}">{escape(title)}</a>'


# --- what is loaded --------------------------------------------------------------------------------------------------


def only_what_it_uses(app, pagename, templatename, context, doctree):
    """Take out of a page's head what its body does not use."""
    body = context.get("body") or ""

    def used(file):
        name = str(getattr(file, "filename", file)).rpartition("/")[2]
        return all(re.search(mark, body) for known, mark in USED_BY.items() if name.startswith(known))

    for key in ("css_files", "script_files"):
        context[key] = [file for file in context.get(key, []) if used(file)]


# Of the fonts the first screen needs these three, before the style sheets have named them. From a disk browsers refuse to load fonts early.
EARLY = """<script>
if (location.protocol !== "file:") for (const name of ["source-serif-4-latin-wght-normal", "source-serif-4-latin-wght-italic", "source-sans-3-latin-wght-normal"])
  document.head.append(Object.assign(document.createElement("link"), {rel: "preload", as: "font", type: "font/woff2", crossOrigin: "", href: "STATIC/fonts/" + name + ".woff2"}));
</script>
"""
SHEETS = re.compile(r'<link href="(?P<static>[^"]*_static)/styles/theme\.css')  # the first of them


def early(text):
    """The HTML of a page that loads its fonts beside its style sheets, not after them, so that no line moves."""
    return SHEETS.sub(lambda found: EARLY.replace("STATIC", found["static"]) + found[0], text, count=1)


# --- pictures --------------------------------------------------------------------------------------------------------

PICTURE = re.compile(r'<img (?![^>]*\bwidth=)(?P<before>[^>]*?)src="(?P<source>[^":]*_images/[^"/]+\.(?:png|svg))"')


def sized(text, folder):
    """The HTML of a page in ``folder`` with the size of each picture: as many inches wide as it was drawn, and known before it has been read."""

    def with_size(found):
        size = size_of(folder / found["source"])
        shown = f'width="{size[0]}" height="{size[1]}" ' if size else ""
        return f'<img {shown}{found["before"]}src="{found["source"]}"'

    return PICTURE.sub(with_size, text)


@cache
def size_of(path):
    """Width and height of a PNG that says how many dots it has to an inch, or of an SVG, in CSS pixels, 96 to an inch; None for others."""
    if not path.exists():
        return None
    if path.suffix == ".svg":
        found = re.search(r'<svg[^>]*?\swidth="(\d+)[^"]*" height="(\d+)', path.read_text(encoding="utf-8")[:1000])
        return (int(found[1]), int(found[2])) if found else None
    with Image.open(path) as picture:
        if "dpi" not in picture.info:
            return None
        across, down = picture.info["dpi"]
        return round(picture.width * 96 / across), round(picture.height * 96 / down)


def setup(app):
    app.add_directive("parts", Parts)
    app.add_node(place_of_parts)
    app.connect("doctree-read", opening)
    app.connect("doctree-resolved", fill_in)
    app.connect("html-page-context", only_what_it_uses, priority=900)
