"""The edition: what is put into it is found again, and only while it fits; the committed one builds, and its numbers are its own."""

import json
import shutil
import subprocess
import sys

import pytest

import chapters
import edition
import execute
import outcomes
from conftest import PROJECT, copy_project, mini_project
from paths import BookError, write_atomically
from test_freshness import done, text_of

EDITION = PROJECT / "edition"
MISSING = set(chapters.all_experiments("report")) - {path.stem for path in (EDITION / "outcomes").glob("*.npz")}
COMPLETE = not MISSING  # while a new edition is computed, outcomes are committed as they come
whole = pytest.mark.skipif(not COMPLETE, reason=f"edition/ still waits for {len(MISSING)} experiments of the full run")

# --- promoting, finding again, comparing, on a book of three small chapters -------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    copy = mini_project(tmp_path_factory.mktemp("edition") / "project")
    copy.build()
    return copy


def in_copy(book, code):
    return book.run(sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'); import edition; {code}").stdout


def test_what_is_promoted_is_found_again_by_a_clone_that_has_no_runs(book):
    said = in_copy(book, "edition.promote('test')")
    assert "3 chapters and 3 experiments" in said and "Not finished" not in said
    shutil.rmtree(book.path / "runs")
    shutil.rmtree(book.path / "_build")
    output = book.build().stdout
    assert done(output) == {"prepare", "pages"} and output.count("taken from edition/") == 3, output
    assert "found 6.0" in text_of(book, "index")


def test_what_no_longer_fits_is_done_again_and_the_rest_is_taken(book):
    shutil.rmtree(book.path / "runs")
    book.edit("book/chapters/alpha.md", '"o-"', '"x-"')  # a figure: the trainings are taken, the chapter is executed
    assert done(book.build().stdout) == {"prepare", "alpha", "beta", "pages"}
    shutil.rmtree(book.path / "runs")
    book.edit("src/helpers.py", "return 3.0", "return 4.0")
    assert done(book.build().stdout) == {"prepare", "alpha_counted", "alpha", "beta", "pages"}


def test_promoting_names_what_is_missing(book):
    book.edit("book/chapters/gamma-1.md", "6 * 7", "9 * 7")
    said = in_copy(book, "edition.promote('test')")
    assert "2 chapters and 3 experiments" in said and "Not finished yet: gamma-1." in said


def test_an_edition_with_other_code_shows_the_page_as_it_ran(book):
    output = book.run(sys.executable, "src/pipeline.py", "html").stdout
    page = (book.path / "_build" / "edition" / "html" / "chapters" / "gamma-1.html").read_text()
    assert "gamma says 42" in page and "gamma-1" in output, output


def record(folder, name, seed, *accuracies):
    experiments = [{"name": f"e{i}", "accuracy": a, "test_size": 1000} for i, a in enumerate(accuracies)]
    write_atomically(folder / f"{name}-seed{seed}.json", json.dumps({"seed": seed, "experiments": experiments}).encode())


def test_compare(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(edition, "EDITION", tmp_path / "edition")
    monkeypatch.setattr(chapters, "matching_records", lambda pattern, profile: [f"a-seed{s}" for s in (0, 1, 2)])
    for seed, value in enumerate((0.80, 0.82, 0.84)):
        record(tmp_path / "edition" / "results", "a", seed, value, value)
    ours = outcomes.path_of("x", "quick").parent.parent / "results"
    with pytest.raises(BookError, match="no records"):
        edition.compare("quick")
    for seed in (0, 1):
        record(ours, "a", seed, 0.83, 0.70, 0.5)
    edition.compare("quick")
    said = capsys.readouterr().out
    assert "Outside what chance allows: e1." in said
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("e")}
    assert "83.0%" in lines["e0"] and "80.0%" in lines["e0"] and "84.0%" in lines["e0"] and "apart" not in lines["e0"]
    assert "apart" in lines["e1"] and "not in the edition" in lines["e2"]


# --- the committed edition --------------------------------------------------------------------------------------


@pytest.fixture
def found():
    return json.loads((EDITION / "data.json").read_text())


@whole
@pytest.mark.parametrize("chapter", chapters.chapters())
def test_a_chapter_of_the_edition_is_one_of_the_code_as_it_is(chapter, found):
    assert execute.key_of(EDITION / "results" / f"{chapter}.json") == chapters.chapter_key(chapter, "report", found), f"{chapter}: run it again"
    assert (EDITION / "notebooks" / f"{chapter}.ipynb").exists()


@whole
@pytest.mark.parametrize("run", chapters.all_experiments("report"))
def test_an_outcome_of_the_edition_is_one_of_the_code_as_it_is(run, found):
    key = chapters.outcome_key(chapters.all_experiments("report")[run], found)
    assert outcomes.about(EDITION / "outcomes" / f"{run}.npz").get("key") == key, f"{run}: compute it again"


@whole
def test_nothing_else_is_in_the_edition():
    known = {path for c in chapters.chapters() for path in execute.files_of(c, EDITION / "results")}
    known |= {EDITION / "notebooks" / f"{c}.ipynb" for c in chapters.chapters()}
    known |= {EDITION / "outcomes" / f"{run}.npz" for run in chapters.all_experiments("report")}
    assert {p for folder in ("notebooks", "results", "outcomes") for p in (EDITION / folder).iterdir()} <= known
    assert sum(p.stat().st_size for p in (EDITION / "notebooks").iterdir()) <= 15 * 2**20


def test_its_pages_build_from_a_clone_and_nothing_is_executed(tmp_path):
    copy = copy_project(tmp_path / "clone")
    result = copy.run(sys.executable, "src/pipeline.py", "html")
    html = copy.path / "_build" / "edition" / "html"
    made = {page.stem for page in (html / "chapters").glob("*.html") if not page.name.endswith(".slides.html")}
    assert made == set(chapters.chapters()) and (html / "index.html").exists(), result.stdout
    assert not list((copy.path / "runs").rglob("*.ipynb"))


@whole
def test_a_full_run_repeats_nothing_of_it(tmp_path):
    copy = copy_project(tmp_path / "clone")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "profile=report", "--dry-run"]
    output = subprocess.run(command, cwd=copy.path, capture_output=True, text=True).stdout
    assert "experiment" not in output
