"""The whole book in the test profile, in a fresh copy of the project: executed, rendered, and what a page must be."""

import csv
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

import chapters
import frame
import outcomes
from conftest import PROJECT, copy_project

GIVEN = {  # where a page names other files
    "a": "href", "link": "href", "script": "src", "img": "src", "source": "src", "video": "src", "iframe": "src",
    "object": "data", "embed": "src",
}  # fmt: skip
LOADED = set(GIVEN) - {"a"}  # fetched without a click


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path):
    return {tag.get("id") for tag in soup(path).find_all(id=True)} | {tag["name"] for tag in soup(path).select("a[name]")}


def html_pages(book):
    return sorted(book.html.glob("*.html")) + sorted((book.html / "chapters").glob("*.html"))


def references(page):
    for name, attribute in GIVEN.items():
        for tag in soup(page).select(f"{name}[{attribute}]"):
            yield tag, tag[attribute].strip()


def complain(list_of_faults):
    assert not list_of_faults, "\n".join(map(str, list_of_faults[:40]))


# --- the run ---------------------------------------------------------------------------------------------------


def test_every_page_of_the_contents_is_there(book):
    assert len(book.pages()) > 3
    complain([page for page in book.pages() if not (book.html / f"{page}.html").is_file()])
    assert {f"chapters/{c}" for c in chapters.chapters()} <= set(book.pages())
    assert not (book.html / "book").exists(), "addresses of pages are short"


def test_every_chapter_was_executed_to_its_end(book):
    for chapter in chapters.chapters():
        notebook = nbformat.read(book.path / "runs" / "test" / "notebooks" / f"{chapter}.ipynb", as_version=4)
        nbformat.validate(notebook)
        counts = [cell.execution_count for cell in chapters.code_cells(notebook) if cell.source.strip()]
        assert counts and None not in counts and counts == sorted(counts), chapter
        kinds = [o.output_type for cell in chapters.code_cells(notebook) for o in cell.outputs]
        assert "error" not in kinds, chapter
    assert not list((book.path / "runs" / "test" / "failed").glob("*"))


def test_parameters_on_the_page_are_those_that_ran(book):
    for chapter in chapters.chapters():
        notebook = nbformat.read(book.html / "_static" / "notebooks" / f"{chapter}.ipynb", as_version=4)
        shown, ran = chapters.parameters_of(notebook), chapters.parameters_for(chapter, "test")
        assert {k: shown[k] for k in ran} == ran, chapter


def strict(text):
    """JSON without NaN and Infinity, which other readers refuse."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_records_are_valid(book):
    runs = set(chapters.chapters())
    assert runs <= {path.stem for path in book.results.glob("*.json")}
    for path in book.results.glob("*.json"):
        if path.name.endswith(".claims.json"):
            continue  # lists of claims, not records
        record = strict(path.read_text(encoding="utf-8"))
        assert record["profile"] == "test", path
        if path.stem in runs:
            assert {"chapter", "seconds", "revision", "key"} <= set(record["run"]) and record["run"]["seconds"] > 0, path


def test_training_records_have_all_fields_and_agree_with_their_tables(book):
    records = [name for c in chapters.chapters() for name in chapters.records_of(c, "test") if "-seed" in name]
    there = [path.stem for path in book.results.glob("*-seed*.json")]
    assert there and set(there) <= set(records)
    seen = set()
    for name in there:
        record = strict((book.results / f"{name}.json").read_text(encoding="utf-8"))
        assert {"chapter", "seed", "profile", "experiments", "provenance"} <= set(record)
        assert f"{record['chapter']}-seed{record['seed']}" == name
        assert {"backend", "device", "precision", "python", "versions", "photos"} <= set(record["provenance"])
        assert "drawn" in record["provenance"]["photos"]
        with open(book.results / f"{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {r["experiment"] for r in rows} == {e["name"] for e in record["experiments"]}
        for e in record["experiments"]:
            assert {"accuracy", "loss", "train_size", "test_size", "seconds", "trainable_parameters"} <= set(e)
            assert {"epochs", "best_epoch", "history"} <= set(e) or not {"epochs", "best_epoch", "history"} & set(e)  # a regression has none
            own = [r for r in rows if r["experiment"] == e["name"]]
            assert len(own) == e["test_size"] == len({r["photo"] for r in own})
            right = [(float(r["probability"]) > 0.5) == (r["label"] == "1") for r in own]
            assert sum(right) / len(right) == pytest.approx(e["accuracy"]), e["name"]
            assert all(len(values) == e["epochs"] for values in e.get("history", {}).values()), e["name"]
        seen |= {e["name"] for e in record["experiments"]}
    tests = {
        tuple(sorted({(r["photo"], r["label"]) for r in csv.DictReader(open(book.results / f"{n}.csv", encoding="utf-8"))}))
        for n in there
    }
    assert len(tests) == 1, "all seeds of all chapters are tested on the same photos"
    assert {e.name for e in chapters.all_experiments("test").values() if e.data and e.seed is not None} >= seen


# --- the pages -------------------------------------------------------------------------------------------------


def test_internal_links_lead_somewhere(book):
    faults = []
    for page in html_pages(book):
        for tag, target in references(page):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            aim = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            aim = aim / "index.html" if aim.is_dir() else aim
            if not aim.is_file():
                faults.append(f"{page.name}: {tag.name} {target} is missing")
            elif parts.fragment and aim.suffix == ".html" and unquote(parts.fragment) not in anchors(aim):
                faults.append(f"{page.name}: {target} has no such anchor")
    complain(faults)


def test_images_are_real(book):
    faults, count = [], 0
    for path in {
        (page.parent / unquote(urlsplit(img["src"]).path)).resolve()
        for page in html_pages(book)
        for img in soup(page).select("img[src]")
        if not urlsplit(img["src"]).scheme
    }:
        count += 1
        try:
            if path.suffix == ".svg":
                assert "<svg" in path.read_text(encoding="utf-8")
            else:
                with Image.open(path) as image:
                    image.load()
        except Exception as error:
            faults.append(f"{path.name}: {error}")
    assert count
    complain(faults)


def test_every_figure_has_an_alt_text(book):
    faults, count = [], 0
    for page in html_pages(book):
        for img in soup(page).select("article img, main figure img"):
            alt, count = (img.get("alt") or "").strip(), count + 1
            name = Path(urlsplit(img["src"]).path).name
            if len(alt) < 15 or " " not in alt or name in alt or alt == img["src"]:
                faults.append(f"{page.name}: {name} has the alt text {alt!r}")
    assert count
    complain(faults)


def test_every_figure_has_a_caption_and_a_number(book):
    faults = []
    for page in (p for p in html_pages(book) if p.parent.name == "chapters"):
        for figure in soup(page).select("article figure"):
            caption = figure.find("figcaption")
            if caption is None or not caption.select_one(".caption-number") or len(caption.get_text(strip=True)) < 20:
                faults.append(f"{page.name}: figure {figure.get('id')} has no numbered caption")
    complain(faults)


def test_nothing_is_loaded_from_another_host(book):
    faults = []
    for page in html_pages(book):
        for tag, target in references(page):
            parts = urlsplit(target)
            if tag.name in LOADED and (parts.netloc or parts.scheme not in ("", "data")):
                if tag.name == "link" and set(tag.get("rel", [])) & {"canonical", "license", "author"}:
                    continue
                faults.append(f"{page.name}: {tag.name} {target}")
        for tag in soup(page).select("[srcset]"):
            if "//" in tag["srcset"]:
                faults.append(f"{page.name}: {tag.name} {tag['srcset']}")
        for style in [t.get_text() for t in soup(page).find_all("style")] + [t["style"] for t in soup(page).select("[style]")]:
            faults += [f"{page.name}: {found}" for found in outside(style)]
    for sheet in book.html.rglob("*.css"):
        faults += [f"{sheet.name}: {found}" for found in outside(sheet.read_text(encoding="utf-8", errors="replace"))]
    complain(faults)


def outside(css):
    """What a style sheet loads from other hosts."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    return re.findall(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""", css)


def test_links_to_the_web_are_secure_and_whole(book):
    faults = []
    for page in html_pages(book):
        for tag, target in references(page):
            parts = urlsplit(target)
            if tag.name == "a" and parts.scheme and parts.scheme not in ("https", "http", "mailto"):
                faults.append(f"{page.name}: {target}")
            if parts.scheme == "file" or parts.netloc.startswith(("localhost", "127.")):
                faults.append(f"{page.name}: {target}")
    complain(faults)


def test_pages_are_well_made(book):
    titles = {}
    for name in book.pages():
        page = soup(book.html / f"{name}.html")
        assert page.html.get("lang", "").startswith("en"), name
        assert len(page.select("article h1")) == 1, name
        assert page.select_one("meta[name=viewport]"), name
        titles.setdefault(page.title.get_text(strip=True), []).append(name)
        text = page.select_one("article").get_text(" ")
        for word in ("Traceback (most recent call last)", "WARNING:", "{glue", "{numref}", "{ref}", "{cite", "```", str(book.path), f"{PROJECT.parent}{os.sep}"):
            assert word not in text, (name, word)
        assert not re.search(r"\bnan ?%|\bnan\b", text.replace("np.nan", "")), name
    complain([pages for pages in titles.values() if len(pages) > 1])


def test_every_page_says_which_run_it_shows(book):
    for name in book.pages():
        banner = soup(book.html / f"{name}.html").select_one(".bd-header-announcement")
        assert banner is not None, name
        for words in ("A run of your own", "test", "drawn by the project, not photos", "untrained VGG"):
            assert words in banner.get_text(" "), (name, words)


def test_the_six_and_the_ladder_are_on_the_pages_that_ask_for_them(book):
    """Filled in when pages are made, from this run's own records and photos."""
    for name in ("training", "results"):
        page = soup(book.html / "chapters" / f"{name}.html")
        pictures = page.select(".book-six img")
        assert len(pictures) == 6 and all((book.html / "chapters" / p["src"]).is_file() for p in pictures)
        assert len(page.select(".book-ladder li")) >= 6
    assert soup(book.html / "chapters" / "training.html").select_one(".book-now .book-rung").get_text() == "small network"
    assert "No name in words" not in soup(book.html / "chapters" / "results.html").get_text()


def test_all_results_are_one_table_to_download(book):
    link = soup(book.html / "chapters" / "results.html").select_one("a[download][href$='results.experiments.csv']")
    with open(book.html / "chapters" / link["href"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = [strict(path.read_text(encoding="utf-8")) for path in sorted(book.results.glob("*-seed*.json"))]
    recorded = {(e["name"], str(r["seed"])): e["accuracy"] for r in records for e in r["experiments"]}
    assert {(row["experiment"], row["seed"]): pytest.approx(float(row["accuracy"]), abs=1e-5) for row in rows} == recorded
    columns = strict((book.results / "results.json").read_text(encoding="utf-8"))["columns"]
    assert list(rows[0]) == list(columns) and all(len(words) > 10 for words in columns.values())


def test_the_sidebar_holds_parts_and_chapters_and_solutions_are_reached_from_their_chapters(book):
    for name in book.pages():
        page = soup(book.html / f"{name}.html")
        assert not page.select(".bd-sidebar-primary a[href$='_solutions.html']"), name
        if f"{name}_solutions" in book.pages():
            link = page.select_one(".book-opening .book-ways a[href$='_solutions.html']")
            assert link and link["href"] == f"{name.rpartition('/')[2]}_solutions.html", name
    listed = {link["href"].split("#")[0] for link in soup(book.html / "solutions.html").select("article a[href]")}
    assert {f"{name}.html" for name in book.pages() if name.endswith("_solutions")} <= listed


def test_a_chapter_opens_with_one_quiet_line(book):
    for chapter in (c for c in chapters.chapters() if not c.endswith("_solutions")):
        page = soup(book.html / "chapters" / f"{chapter}.html")
        assert page.select_one("article > .book-place").get_text(), chapter
        opening = page.select_one("article h1").find_next_sibling()
        assert "book-opening" in opening["class"] and opening.select("a[href$='.ipynb']"), chapter
        cells = page.select("article .cell.tag_parameters")
        assert all(cell.select_one("details.hide") for cell in cells), f"{chapter} shows its parameters unfolded"


def test_no_page_loads_a_style_sheet_or_script_that_it_does_not_use(book):
    faults = []
    for page in html_pages(book):
        if page.name.endswith(".slides.html"):
            continue
        body = str(soup(page).select_one("article") or "")
        files = [urlsplit(tag.get("src") or tag.get("href")).path.rpartition("/")[2] for tag in soup(page).select("script[src], link[rel=stylesheet]")]
        faults += [f"{page.name}: {file}" for file in files if any(file.startswith(name) and not re.search(mark, body) for name, mark in frame.USED_BY.items())]
        faults += [f"{page.name}: {file}" for file in files if file in ("reveal.js", "reveal.css", "slides.css", "all.min.js", "all.min.css")]
        faults += [f"{page.name}: MathJax" for file in files if file == "startup.js" and "math" not in body]
    complain(faults)


# --- running again ---------------------------------------------------------------------------------------------


def state(book):
    return {**book.times(), "html": (book.html / "index.html").stat().st_mtime_ns}


def test_a_second_run_executes_and_renders_nothing(book):
    before = state(book)
    book.build()
    assert state(book) == before


def test_an_edit_of_prose_renders_and_executes_nothing(book):
    source = book.path / "book" / "chapters" / "training.md"
    text, before = source.read_text(encoding="utf-8"), state(book)
    try:
        source.write_text(text.replace("\n## ", "\nThis sentence was added by a reader.\n\n## ", 1), encoding="utf-8")
        book.build()
        after = state(book)
        assert {k: v for k, v in after.items() if k != "html"} == {k: v for k, v in before.items() if k != "html"}
        assert after["html"] != before["html"]
        assert "This sentence was added by a reader." in (book.html / "chapters" / "training.html").read_text(encoding="utf-8")
    finally:
        source.write_text(text, encoding="utf-8")  # the page keeps the sentence: to build once more would take a minute


def test_jupyter_book_as_people_type_it_builds_the_edition(book):
    done = book.run(Path(sys.executable).parent / "jupyter-book", "build", ".")
    assert "build succeeded" in done.stdout
    made = book.path / "_build" / "html"
    complain([page for page in book.pages() if not (made / f"{page}.html").is_file()])
    assert "A run of your own" not in (made / "index.html").read_text(encoding="utf-8")


def test_running_a_chapter_twice_gives_the_same_file(book):
    path = book.path / "runs" / "test" / "notebooks" / "convolution.ipynb"
    once, record = path.read_bytes(), (book.results / "convolution.json").read_bytes()
    times = path.stat(), (book.results / "convolution.json").stat()
    path.unlink()  # or the run would find itself
    try:
        book.pipeline("execute", "convolution")
        same = path.read_bytes() == once  # pytest would look for the difference for minutes
        assert same
    finally:
        for file, content, stat in zip((path, book.results / "convolution.json"), (once, record), times):
            file.write_bytes(content)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_failing_chapter_is_named_and_the_others_are_kept(tmp_path):
    """A book of two chapters, one of which fails: the other is executed, the message names chapter, cell and error."""
    copy = copy_project(tmp_path / "copy")
    texts = copy.path / "book" / "chapters"
    head = (texts / "training.md").read_text(encoding="utf-8").split("(training)=")[0]
    cell = "# A\n\n```{code-cell} ipython3\nprint(6 * 7)\n```\n"
    (texts / "good.md").write_text(head + cell, encoding="utf-8")
    (texts / "bad.md").write_text(head + cell + "\n```{code-cell} ipython3\n1 / 0  # the slip\n```\n", encoding="utf-8")
    (copy.path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/chapters/bad\n- file: book/chapters/good\n")
    settings = (copy.path / "profiles" / "test.yml").read_text(encoding="utf-8")
    (copy.path / "profiles" / "test.yml").write_text(settings.split("chapters:")[0] + "chapters: {}\n", encoding="utf-8")

    done = copy.build(check=False)
    assert done.returncode != 0
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    for words in ("bad", "ZeroDivisionError", "cell 2", "1 / 0  # the slip"):
        assert words in said, said
    assert "snakemake" not in said.lower() and "papermill" not in said.lower(), said
    written = copy.path / "runs" / "test" / "notebooks"
    assert [p.name for p in written.glob("*")] == ["good.ipynb"]
    assert not copy.html.exists()
    kept = (written / "good.ipynb").stat().st_mtime_ns

    (texts / "bad.md").write_text(head + cell.replace("6", "5"), encoding="utf-8")
    copy.build(check=False)  # the index may quote chapters that this book lacks; here the runs count
    assert sorted(p.name for p in written.glob("*")) == ["bad.ipynb", "good.ipynb"]
    assert (written / "good.ipynb").stat().st_mtime_ns == kept


def test_no_chapter_has_trained_itself(book):
    """What a page shows was found under the key that the pipeline computed from the source: it names the chapter, an open notebook does not."""
    found = {path.stem: outcomes.about(path) for path in (book.path / "runs" / "test" / "outcomes").glob("*.npz")}
    assert set(chapters.all_experiments("test")) <= set(found)
    assert [run for run, about in found.items() if not about.get("chapter")] == []


def test_the_code_is_tidy():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "src", "tests"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
