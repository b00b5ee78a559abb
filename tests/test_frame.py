"""What stands around a chapter's text: where it stands in the book, the cards of the parts, and the files that a page loads."""

import re

import pytest
from PIL import Image

import frame
from conftest import PROJECT

TOC = {
    "root": "book/index",
    "parts": [
        {"caption": "I · Networks", "chapters": [{"file": "book/chapters/a"}, {"file": "book/chapters/b"}]},
        {"caption": "II · Cats", "chapters": [{"file": "book/chapters/c.md"}]},
        {"caption": "Back matter", "chapters": [{"file": "book/glossary"}, {"file": "book/solutions", "sections": [{"file": "book/chapters/a_solutions"}]}]},
    ],
}


@pytest.fixture
def toc(monkeypatch):
    monkeypatch.setattr(frame.chapters, "read_yaml", lambda path: TOC)
    for function in (frame.contents, frame.counted):
        function.cache_clear()
    yield
    for function in (frame.contents, frame.counted):
        function.cache_clear()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chapters/a", "Part I · Networks · Chapter 1"),
        ("chapters/c", "Part II · Cats · Chapter 3"),
        ("glossary", "Back matter"),
        ("index", ""),
        ("chapters/a_solutions", ""),
    ],
)
def test_a_page_says_where_it_stands(toc, name, words):
    assert frame.place(name) == words


class File:
    def __init__(self, filename):
        self.filename = filename


def loaded(body):
    """What a page with this body loads of these files."""
    names = ["_static/film.js", "_static/predict.js", "_static/book.js", "_static/exercise.css", "_static/sphinx-design.min.css", "_static/copybutton.js", "_static/mystnb.0a1b.css"]
    context = {"body": body, "css_files": [File(n) for n in names if n.endswith(".css")], "script_files": [File(n) for n in names if n.endswith(".js")]}
    frame.only_what_it_uses(None, "page", "page.html", context, None)
    return {file.filename.rpartition("/")[2] for key in ("css_files", "script_files") for file in context[key]}


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ("<p>Words about a film, an exercise and data-sets.</p>", set()),
        ('<div class="film" data-label="x"></div>', {"film.js"}),
        ('<p data-predicted="{}" hidden></p>', {"predict.js"}),
        ('<div class="exercise admonition"></div>', {"exercise.css"}),
        ('<div class="highlight"><pre>x</pre></div>', {"copybutton.js", "mystnb.0a1b.css"}),
        ('<div class="docutils cell"></div>', {"mystnb.0a1b.css"}),
        ('<div class="sd-card x"></div>', {"sphinx-design.min.css"}),
        (None, set()),
    ],
)
def test_a_page_loads_only_what_it_uses(body, files):
    assert loaded(body) == files | {"book.js"}


def test_a_picture_is_shown_as_wide_as_it_was_drawn(tmp_path):
    (tmp_path / "_images").mkdir()
    Image.new("RGBA", (800, 400)).save(tmp_path / "_images" / "drawn.png", dpi=(160, 160))
    Image.new("RGBA", (800, 400)).save(tmp_path / "_images" / "other.png")
    (tmp_path / "_images" / "photos.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="648" height="200"></svg>')
    text = "".join(f'<img alt="" src="../_images/{name}"/>' for name in ("drawn.png", "other.png", "photos.svg", "gone.png"))
    (tmp_path / "chapters").mkdir()
    shown = frame.sized(text + '<img width="3" src="../_images/drawn.png"/>', tmp_path / "chapters")
    assert shown == (
        '<img width="480" height="240" alt="" src="../_images/drawn.png"/><img alt="" src="../_images/other.png"/>'
        '<img width="648" height="200" alt="" src="../_images/photos.svg"/><img alt="" src="../_images/gone.png"/><img width="3" src="../_images/drawn.png"/>'
    )


def test_fonts_are_asked_for_before_the_style_sheets_and_are_there():
    page = frame.early('<head><link href="../_static/styles/theme.css?digest=1" rel="stylesheet" /><link href="../_static/styles/theme.css" /></head>')
    assert page.index("<script>") < page.index("theme.css") and page.count("<script>") == 1 and "../_static/fonts/" in page
    names = re.findall(r'"(source-[\w-]+)"', page)
    assert len(names) == 3 and all((PROJECT / "book" / "_static" / "fonts" / f"{name}.woff2").exists() for name in names)
