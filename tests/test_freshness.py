"""What an edit repeats: the whole path, from a file that is changed to the page that shows it, on a book of three small chapters.

The edits follow one another in one checkout, as a person makes them. For each it is said beforehand what must be done: `snakemake -n` must plan
exactly that, the run must do exactly that, the page must show it, and then nothing may be left to do.
"""

import os
import re
import shutil
import time

import pytest

from conftest import mini_project

SEEDS = {"alpha_trained-seed0", "alpha_trained-seed1"}
ALPHA = {"alpha", "beta", "pages"}  # the chapter, the one that reads it, the pages
EVERYTHING = SEEDS | ALPHA | {"prepare", "alpha_counted", "gamma-1"}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return mini_project(tmp_path_factory.mktemp("freshness") / "project")


def done(output):
    """The names of what a run has done: chapters, experiments, pages, prepare."""
    found = set(re.findall(r"^  (?:\[\d+/\d+\] )?([\w-]+) …$", output, flags=re.M))
    found |= {"pages"} if "building the pages" in output else set()
    return found | ({"prepare"} if "Photos:  " in output else set())


def planned(output):
    """The names of what `snakemake -n` would do. (An experiment may turn out to have been computed before.)"""
    found = set(re.findall(r"^Job \d+: ([\w-]+)$", output, flags=re.M))
    return found | {rule for rule in re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):$", output, flags=re.M) if rule != "all"}


def text_of(book, page):
    text = (book.html / f"{page}.html").read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>", "", text)


def helper(old, new):
    return lambda book: book.edit("src/helpers.py", old, new)


def chapter(name, old, new):
    return lambda book: book.edit(f"book/chapters/{name}.md", old, new)


def profile(old, new):
    return lambda book: book.edit("profiles/test.yml", old, new)


def delete(*names):
    def edit(book):
        for name in names:
            path = book.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return edit


def clock(book):
    """The clock of a machine that was wrong: every file is a day older or younger, and the text that is edited is of tomorrow."""
    for number, path in enumerate(p for p in sorted(book.path.rglob("*")) if p.is_file() and ".snakemake" not in p.parts):
        moved = path.stat().st_mtime + (-86400 if number % 2 else 86400)
        os.utime(path, (moved, moved))
    book.edit("book/about.md", "Words.", "Words of tomorrow.")
    tomorrow = time.time() + 86400
    os.utime(book.path / "book" / "about.md", (tomorrow, tomorrow))


def many(*edits):
    return lambda book: [edit(book) for edit in edits]


# Groups of edits: name, edit, what it adds to what is to be done, (page, what it shows afterwards). Each edit is planned; a group is run together.
GROUPS = {
    "text": [
        ("nothing", lambda book: None, set(), ("chapters/alpha", "alpha says 6.0 [0, 1]")),
        ("prose", chapter("alpha", "first words", "second words"), {"pages"}, ("chapters/alpha", "second words")),
        ("front page", lambda b: b.edit("book/index.md", "# A small book", "# A smaller book"), {"pages"}, ("index", "A smaller book")),
        ("caption", chapter("alpha", "The curve of", "The line of"), {"pages"}, ("chapters/alpha", "The line of alpha.")),
        ("comment", chapter("alpha", "for _ in range(3)]", "for _ in range(3)]  # thrice"), {"pages"}, ("chapters/alpha", "# thrice")),
        ("docstring", chapter("alpha", "Pretends to train", "Claims to train"), {"pages"}, ("chapters/alpha", "Claims to train")),
    ],
    "figures": [
        ("progress", helper("print(text)", "print(text, text)"), set(), None),
        ("a helper that nobody uses", helper("def offset", "def unused():\n    return 1\n\n\ndef offset"), set(), None),
        ("figure", chapter("alpha", '"o-"', '"s--"'), ALPHA, ("chapters/alpha", "s--")),
        ("the look of figures", helper('"font.size": 11', '"font.size": 12'), ALPHA, ("chapters/alpha", "alpha says 6.0")),
    ],
    "helpers": [
        ("of an experiment", helper("return 3.0", "return 4.0"), {"alpha_counted"} | ALPHA, ("index", "found 8.0")),
        ("of a training, through another", helper("return x / 2", "return x / 4"), SEEDS | ALPHA, ("chapters/beta", "beta read 5.0")),
    ],
    "the profile": [
        ("a value", profile("factor: 2.0", "factor: 3.0"), SEEDS | {"alpha_counted"} | ALPHA, ("index", "found 12.0")),
        ("a seed more", profile("seeds: [0, 1]", "seeds: [0, 1, 2]"), {"alpha_trained-seed2"}, ("chapters/alpha", "12.0 [0, 1, 2]")),
    ],
    "less, and code of another chapter": [
        ("a seed less", profile("seeds: [0, 1, 2]", "seeds: [0, 1]"), ALPHA, ("chapters/beta", "beta read 6.5")),
        ("code", chapter("gamma-1", "6 * 7", "7 * 7"), {"gamma-1"}, ("chapters/gamma-1", "gamma says 49")),
    ],
    "code of a training": [("code", chapter("alpha", "* (seed + 1)", "* (seed + 3)"), SEEDS | ALPHA, ("chapters/beta", "beta read 12.5"))],
    "an edit that is taken back": [("code", chapter("alpha", "* (seed + 3)", "* (seed + 1)"), SEEDS | ALPHA, ("chapters/beta", "beta read 6.5"))],
    "photos": [("photos", lambda b: b.edit("src/assets.py", "rng.integers(40, 220, 3)", "rng.integers(30, 220, 3)"), SEEDS | ALPHA | {"prepare"}, None)],
    "deleted": [
        ("pages", delete("_build/test/html/index.html"), {"pages"}, ("index", "found 12.0")),
        ("a notebook", delete("runs/test/notebooks/gamma-1.ipynb"), {"gamma-1"}, ("chapters/gamma-1", "gamma says 49")),
        ("an outcome", delete("runs/test/outcomes/alpha_trained-seed1.npz", "runs/test/kept"), {"alpha_trained-seed1"} | ALPHA, ("chapters/beta", "6.5")),
    ],
    "a wrong clock": [("all files", clock, {"pages"}, ("about", "Words of tomorrow."))],
    "notes of Snakemake are lost": [
        ("and edits made", many(delete("runs/.snakemake"), chapter("gamma-1", "7 * 7", "8 * 8"), helper("return 4.0", "return 5.0")),
         {"gamma-1", "alpha_counted"} | ALPHA, ("index", "found 15.0")),
    ],
    "_toc.yml": [
        ("another order", lambda b: b.edit("_toc.yml", "- file: book/chapters/gamma-1\n- file: book/about", "- file: book/about\n- file: ./book/chapters/gamma-1"),
         {"pages"}, ("chapters/gamma-1", "gamma says 64")),
    ],
}  # fmt: skip


def test_from_nothing(book):
    """Without `make`, in a clean clone: all is done, once."""
    output = book.snakemake().stdout
    assert done(output) == EVERYTHING, output
    assert "found 6.0" in text_of(book, "index") and "beta read 8.0" in text_of(book, "chapters/beta")


@pytest.mark.parametrize("group", GROUPS)
def test_an_edit_repeats_what_it_must_and_no_more(book, group):
    expected = set()
    for name, edit, adds, _ in GROUPS[group]:
        edit(book)
        expected |= adds
        plan = book.snakemake("--dry-run").stdout
        if "prepare" not in expected:  # what follows from other photos is known once they are read
            assert planned(plan) == expected, f"{name}: {plan}"
    output = (book.snakemake() if len(group) % 2 else book.build()).stdout
    assert done(output) == expected - (SEEDS if "taken back" in group else set()), output  # what was computed before is found
    for page, text in (shown for *_, shown in GROUPS[group] if shown):
        assert text in text_of(book, page), (page, text)
    assert "Nothing to be done" in book.snakemake("--dry-run").stdout


def test_another_backend_executes_chapters_and_trains_nothing(book):
    book.environment["KERAS_BACKEND"] = "numpy"
    assert done(book.build().stdout) == ALPHA
    del book.environment["KERAS_BACKEND"]
    assert done(book.build().stdout) == ALPHA


def test_a_chapter_that_is_gone_leaves_nothing_behind_and_a_new_one_needs_one_line(book):
    toc = (book.path / "_toc.yml").read_text()
    book.edit("_toc.yml", "- file: ./book/chapters/gamma-1\n", "")
    assert done(book.snakemake().stdout) == {"pages"}
    assert not [p for p in [*(book.path / "runs").rglob("*gamma*"), *book.html.rglob("*gamma*")] if ".snakemake" not in p.parts and p.suffix in (".html", ".ipynb")]
    (book.path / "_toc.yml").write_text(toc.replace("./book/chapters/gamma-1", "book/chapters/delta"))
    source = (book.path / "book" / "chapters" / "gamma-1.md").read_text()
    (book.path / "book" / "chapters" / "delta.md").write_text(source.replace("gamma says", "delta says"))
    output = book.snakemake().stdout
    assert done(output) == {"delta", "pages"} and "[3/3] delta" in output
    assert "delta says 64" in text_of(book, "chapters/delta")


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("beta", '"alpha-seed*"', '"omega-seed*"', "beta.md reads the record 'omega-seed\\*', which no chapter"),
        ("alpha", "import numpy as np", 'import numpy as np\nhelpers.needs("beta", profile=profile)', "circle: alpha → beta → alpha"),
        ("alpha", "function=count", "function=missing", "alpha.md cannot be planned .NameError: name 'missing'"),
        ("alpha", "helpers.offset() * factor}", "helpers.offset() * data['image_size'] * factor}", "count.* uses data, a value of the page"),
        ("alpha", '"alpha_counted": dict', '"Alpha counted": dict', "The experiment 'Alpha counted'"),
        ("alpha", "epochs = 3", "epochs = (", "slip"),
        ("gamma-1", 'print("gamma', '%matplotlib inline\nprint("gamma', "begin with % or ! are Jupyter's"),
    ],
)
def test_a_chapter_that_does_not_fit_gets_one_clear_message(book, name, old, new, message):
    path = book.path / "book" / "chapters" / f"{name}.md"
    if not path.exists() or old not in path.read_text():
        pytest.skip("the text of the small book has changed")
    before, toc = path.read_text(), (book.path / "_toc.yml").read_text()
    try:
        if name not in toc:
            (book.path / "_toc.yml").write_text(toc.replace("book/chapters/delta", f"book/chapters/{name}"))
        path.write_text(before.replace(old, new))
        result = book.build(check=False)
        assert result.returncode == 1 and re.search(message, result.stdout), result.stdout[-3000:]
        assert "Traceback" not in result.stdout and len(result.stdout) < 2500, result.stdout[-3000:]
    finally:
        path.write_text(before)
        (book.path / "_toc.yml").write_text(toc)
