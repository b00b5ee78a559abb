"""Slides for teaching: the marked cells of each chapter as a deck beside its page. `make slides`.

A deck is made from the built page, where numbers, captions and links are in place. It shows the chapter's question, its aims,
"Predict first", the output of each code cell with the tag ``slide`` and each live figure with the option ``slide`` under the title of
its section, and what to take away.
"""

import re
import sys
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import SlidesExporter

import chapters
from paths import BOOK, BUILD, shown

PARTS = (
    "article .book-aims, article .admonition.note, article .book-predict, article .cell.tag_slide, article .admonition.important, "
    "article figure.live-slide"
)
CODE = re.compile(r'(<div class="cell_input[^>]*>\s*<div class="highlight[^>]*><div class="highlight"><pre>).*?(?=</pre>)', re.S)  # no slide has it


def slides_of(text, name):
    """The slides of a built page (its HTML and its file's name) as pieces of HTML, in order, and its title."""
    article = re.search(r"<article.*</article>", text, re.S)[0]
    soup = BeautifulSoup(CODE.sub(r"\1", article), "html.parser")
    for mark in soup.select("a.headerlink"):
        mark.decompose()
    for link in soup.select("a[href^='#']"):
        link["href"] = name + link["href"]  # to the page: the deck may lack what it leads to
    title = soup.select_one("article h1").get_text()
    slides = [f"<h1>{title}</h1>\n{soup.select_one('article section > p:not(.remark)')}"]
    for part in soup.select(PARTS):
        if "book-aims" in part["class"]:
            time = part.summary.extract().select_one("span")
            heading, shown = f"In this chapter · {time.get_text()}" if time else "In this chapter", part
        elif "book-predict" in part["class"]:
            heading, shown, before = part.select_one(".book-card-title").extract().get_text(), part, part.find_previous_sibling()
            if before and "book-predict" in before.get("class", []):  # the second question of one card
                slides[-1] += part.decode_contents().strip()
                continue
        elif "admonition" in part["class"]:
            heading, shown = part.select_one(".admonition-title").extract().get_text(), part
        elif part.name == "figure":  # the script of the page wakes it here, too
            scripts = "".join(str(script.extract()) for script in soup.select("script[src*='live/page.']"))
            slides.append(f"<h2>{part.find_parent('section').select_one('h2, h3').get_text()}</h2>\n{part}{scripts}")
            continue
        elif part.select_one(".cell_output") is None:  # a chapter that has not been run yet
            continue
        else:
            heading, shown = part.find_parent("section").select_one("h2, h3").get_text(), part.select_one(".cell_output")
        slides.append(f"<h2>{heading}</h2>\n{shown.decode_contents().strip()}")
    return slides, title


def write_decks(html):
    """Write ``<name>.slides.html`` beside each page in the folder ``html``; returns the decks' paths."""
    exporter, decks = SlidesExporter(extra_template_basedirs=[str(Path(__file__).parent)], template_name="deck"), []
    for chapter in chapters.chapters():
        page = html / chapters.source_of(chapter).relative_to(BOOK).with_suffix(".html")
        text = page.read_text(encoding="utf-8")
        if "tag_slide" in text:  # a page without marked cells, such as one of solutions, need not be parsed
            slides, title = slides_of(text, page.name)
            cells = [nbformat.v4.new_raw_cell(slide, metadata={"slideshow": {"slide_type": "slide"}}) for slide in slides]
            notebook = nbformat.v4.new_notebook(cells=cells, metadata={"title": title})
            decks.append(page.with_suffix(".slides.html"))
            decks[-1].write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
    return decks


def main():
    built = [path.parent for path in sorted(BUILD.glob("*/html/index.html"))]
    if not built:
        sys.exit("There are no pages yet to make slides from. Run: make book, or make html.")
    for html in built:
        try:
            decks = write_decks(html)
        except OSError as error:
            sys.exit(f"{error.filename}: {error.strerror}. The pages are not complete; build them with make book or make html.")
        print(*(f"Open {shown(deck)}" for deck in decks), sep="\n")
