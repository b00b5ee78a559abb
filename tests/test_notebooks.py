"""The pipeline's own code: what repeats a run, what a page is woven from, and errors that are one message."""

import json
import subprocess
import sys

import joblib
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks
import pages
from assets import BookError

SOURCE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

Some prose.

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"        # which photos
epochs = 5
rate = 1e-4              # step
```

```{code-cell} ipython3
import helpers

helpers.setup(0)
x = epochs * 2  # twice
print(x)
```

```{code-cell} ipython3
photos = assets.load_photos(profile, 48)
```
"""


USED = {"helpers": "setup", "assets": "load_photos"}


@pytest.fixture
def small_project(tmp_path, monkeypatch):
    """A project of one chapter, with two profiles and what `prepare` leaves behind."""
    root = tmp_path / "project"
    (root / "book" / "chapters").mkdir(parents=True)
    (root / "profiles").mkdir()
    (root / "src").mkdir()
    (root / "book" / "chapters" / "small.md").write_text(SOURCE)
    (root / "_config.yml").write_text("repository: {url: \"\", branch: main}\n")
    (root / "_toc.yml").write_text("root: index\nchapters:\n- file: chapters/small\n- file: chapters/training\n- file: about\n")
    shared = "seeds: [0, 1]\nshared: {image_size: 48, train_size: 2}\nchapters: {small: {epochs: %s}}\n"
    (root / "profiles" / "test.yml").write_text(shared % 2)
    (root / "profiles" / "quick.yml").write_text(shared % 7)
    for name in ("helpers", "assets"):
        (root / "src" / f"{name}.py").write_text(f'"""Words."""\n\nA = 1  # comment\nB = 1\n\n\ndef {USED[name]}(x, y=0):\n    return A\n')
    monkeypatch.setattr(notebooks, "PROJECT", root)
    monkeypatch.setattr(pages, "PROJECT", root)
    monkeypatch.setattr(notebooks, "BOOK", root / "book")
    for profile in ("test", "quick"):
        write_data(profile, "digest")
    return root


def write_data(profile, digest, weights=None):
    folder = notebooks.runs_folder() / profile
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps({"photos": ["photos", digest], "weights": weights}))


def edit(root, old, new, name="book/chapters/small.md"):
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


# --- profiles and parameters -----------------------------------------------------------------------------------


def test_chapters_and_runs(small_project):
    assert notebooks.chapters() == ["small", "training"]
    assert notebooks.runs_of("small", "test") == ["small"]
    assert notebooks.runs_of("training", "test") == ["training-seed0", "training-seed1"]
    edit(small_project, "seeds: [0, 1]", "seeds: [0, 1]\nmore_seeds: {training: [4]}", "profiles/test.yml")
    assert notebooks.runs_of("training", "test") == ["training-seed0", "training-seed1", "training-seed4"]


def test_parameters(small_project):
    assert notebooks.parameters_of(notebooks.read_source("small")) == {"profile": "quick", "epochs": 5, "rate": 1e-4}
    assert notebooks.parameters_for("small", "test") == {"profile": "test", "epochs": 2}  # no image_size: it has none


def test_unknown_profile():
    with pytest.raises(BookError, match="no profile 'nosuch'. Known profiles: quick, report, test"):
        notebooks.load_profile("nosuch")


def test_unknown_parameter(small_project):
    edit(small_project, "epochs: 2", "epoch: 2", "profiles/test.yml")
    with pytest.raises(BookError, match="profiles/test.yml sets epoch for small"):
        notebooks.parameters_for("small", "test")


@pytest.mark.parametrize("profile", ["quick", "report", "test"])
def test_the_real_profiles_fit_the_chapters(profile):
    for chapter in notebooks.chapters():
        if (notebooks.BOOK / "chapters" / f"{chapter}.md").exists():
            values = notebooks.parameters_for(chapter, profile, 0)
            assert values.get("profile", profile) == profile
    settings = notebooks.load_profile(profile)
    assert set(settings["chapters"]) <= set(notebooks.chapters())
    assert settings["memory"] > 0
    more = settings.get("more_seeds", {})
    assert set(more) <= set(notebooks.PER_SEED)
    assert settings["seeds"] and all(isinstance(seed, int) for seed in sum(more.values(), settings["seeds"]))


@pytest.mark.parametrize("given, at_once, warned", [("1.5", 1, True), ("2", 1, False), ("5.9", 2, False), ("64", 3, False)])
def test_chapters_run_side_by_side_as_far_as_memory_goes(small_project, monkeypatch, capsys, given, at_once, warned):
    (small_project / "profiles" / "test.yml").write_text("memory: 2\n")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.setenv("BOOK_MEMORY", given)
    assert notebooks.chapters_at_once("test") == at_once
    assert ("needs about 2 GiB" in capsys.readouterr().err) == warned


def test_memory_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("BOOK_MEMORY", "much")
    with pytest.raises(BookError, match="BOOK_MEMORY is 'much'"):
        notebooks.free_memory()
    monkeypatch.delenv("BOOK_MEMORY")
    assert notebooks.free_memory() > 0.1


# --- when to run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new",
    [
        ("Some prose.", "Quite other prose.\n\nAnd more of it."),
        ("# twice", "# doubled"),
        ("x = epochs * 2", "x   =  epochs*2"),
        ("# step", "# how far"),
        ("epochs = 5", "epochs = 6"),  # the default; the profile sets another value
        ("```{code-cell} ipython3\nimport", "```{code-cell} ipython3\n:tags: [hide-input]\nimport"),
    ],
)
def test_edits_that_repeat_nothing(small_project, old, new):
    before = notebooks.run_key("small", "test")
    edit(small_project, old, new)
    assert notebooks.run_key("small", "test") == before


def test_a_solution_is_repeated_with_the_chapter_whose_functions_it_takes(small_project):
    solution = SOURCE.replace("x = epochs * 2", 'chapter = notebooks.definitions("small", profile=profile)\nx = epochs')
    (small_project / "book" / "chapters" / "small_solutions.md").write_text(solution)
    before = notebooks.run_key("small_solutions", "test")
    edit(small_project, "Some prose.", "Other prose.")
    assert notebooks.run_key("small_solutions", "test") == before
    edit(small_project, "x = epochs * 2", "x = epochs * 3")
    assert notebooks.run_key("small_solutions", "test") != before


def test_edits_of_helpers_that_the_chapter_does_not_use_repeat_nothing(small_project):
    before = notebooks.run_key("small", "test")
    edit(small_project, "B = 1", "B = 2", "src/helpers.py")
    edit(small_project, "B = 1", "def new():\n    return A", "src/assets.py")
    assert notebooks.run_key("small", "test") == before


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("book/chapters/small.md", "epochs * 2", "epochs * 3"),
        ("book/chapters/small.md", "print(x)\n", "print(x)\nx\n"),
        ("book/chapters/small.md", "print(x)\n", "print(x);\n"),
        ("profiles/test.yml", "epochs: 2", "epochs: 3"),
        ("src/helpers.py", "A = 1", "A = 2"),
        ("src/assets.py", "A = 1", "A = 2"),
        ("src/assets.py", "return A", "return 2 * A"),
    ],
)
def test_edits_that_repeat_a_run(small_project, name, old, new):
    before = notebooks.run_key("small", "test")
    edit(small_project, old, new, name)
    assert notebooks.run_key("small", "test") != before


def test_other_photos_profile_seed_or_backend_repeat_a_run(small_project, monkeypatch):
    before = notebooks.run_key("small", "test")
    edit(small_project, '"""Words."""', '"""Other words."""', "src/helpers.py")
    edit(small_project, "# comment", "# remark", "src/helpers.py")
    assert notebooks.run_key("small", "test") == before
    assert notebooks.run_key("small", "quick") != before
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert notebooks.run_key("small", "test") != before
    monkeypatch.delenv("KERAS_BACKEND")
    write_data("test", "digest", weights={"vgg16": [1, 2]})
    assert notebooks.run_key("small", "test") == before  # this chapter loads no VGG
    write_data("test", "other")
    assert notebooks.run_key("small", "test") != before
    write_data("test", "digest")
    edit(small_project, "photos = ", "network = helpers.vgg(1)\nphotos = ")
    before = notebooks.run_key("small", "test")
    write_data("test", "digest", weights={"vgg16": [1, 2]})
    assert notebooks.run_key("small", "test") != before


@pytest.mark.parametrize("old, new", [("x = epochs * 2", "x = = 2"), ("epochs = 5", "epochs = ="), ("epochs = 5", "epochs = 2 * 3")])
def test_a_slip_in_a_cell_is_named_with_its_chapter(small_project, old, new):
    edit(small_project, old, new)
    with pytest.raises(BookError, match="small"):
        notebooks.run_key("small", "test")


def test_bare_code():
    source = '"""Module."""\nclass A:\n    """Words."""\n\ndef f(x):  # why\n    """Words."""\n    return (x\n            + 1)\n'
    assert notebooks.bare_code(source) == "class A:\n    pass\n\ndef f(x):\n    return x + 1"


# --- weaving ---------------------------------------------------------------------------------------------------


def executed(source, outputs):
    """A run of ``source``, as papermill leaves it: an injected cell, outputs, times, ids of its own."""
    cells = []
    for cell in source.cells:
        cell = nbformat.from_dict(json.loads(json.dumps(cell)))
        cell.metadata["papermill"] = {"duration": 1.5}
        cells.append(cell)
        if notebooks.is_parameters(cell):
            injected = new_code_cell("# Parameters\nprofile = \"test\"\nepochs = 2\n")
            injected.metadata["tags"] = ["injected-parameters"]
            cells.append(injected)
    run = new_notebook(cells=cells, metadata={**source.metadata, "papermill": {"start_time": "now"}})
    for number, (cell, text) in enumerate(zip(notebooks.code_cells(run)[2:], outputs)):
        cell.execution_count = number + 3
        cell.outputs = [new_output("stream", name="stderr", text="noise"), new_output("stream", name="stdout", text=text)]
    return run


@pytest.fixture
def run(small_project):
    return notebooks.normalise(executed(notebooks.read_source("small"), ["4\n", ""]))


def test_normalise(run):
    parameters, first, _ = notebooks.code_cells(run)
    assert parameters.source == 'profile = "test"        # which photos\nepochs = 2\nrate = 1e-4              # step'
    assert [o.name for o in first.outputs] == ["stdout"]
    assert [cell.id for cell in run.cells] == [f"cell-{i}" for i in range(len(run.cells))]
    assert set(run.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags", "mystnb"} for cell in run.cells)
    nbformat.validate(run)


def test_equal_runs_give_equal_files(small_project):
    one, two = (notebooks.normalise(executed(notebooks.read_source("small"), ["4\n", ""])) for _ in range(2))
    assert nbformat.writes(one) == nbformat.writes(two)


def test_prose_may_change_after_the_run(small_project, run):
    edit(small_project, "Some prose.", "Quite other prose.")
    edit(small_project, "# twice", "# doubled")
    edit(small_project, "# A chapter", "# A better title\n\nAn added paragraph.\n\n## And a section")
    page = pages.weave(notebooks.read_source("small"), run, "small")
    parameters, first, _ = notebooks.code_cells(page)
    assert "Quite other prose." in "".join(cell.source for cell in page.cells)
    assert first.outputs[0].text == "4\n" and first.source.startswith("import helpers")
    assert 'profile = "test"' in parameters.source
    assert "epochs = 2" in parameters.source  # what ran, not the default
    nbformat.validate(page)


@pytest.mark.parametrize(
    "old, new",
    [
        ("epochs * 2", "epochs * 3"),
        ("print(x)", "print(x);"),
        ("```{code-cell} ipython3\nphotos = assets.load_photos(profile, 48)\n```\n", ""),
        ("rate = 1e-4", "speed = 1e-4"),
        ("Some prose.", "```{code-cell} ipython3\n1 + 1\n```\n"),
    ],
)
def test_changed_code_is_never_shown_with_old_outputs(small_project, run, old, new):
    edit(small_project, old, new)
    with pytest.raises(BookError, match="code of the chapter small has changed"):
        pages.weave(notebooks.read_source("small"), run, "small")


@pytest.mark.parametrize(
    "source, values, expected",
    [
        ("epochs = 5", {"epochs": "2"}, "epochs = 2"),
        ("epochs = 5  # why", {"epochs": "2"}, "epochs = 2  # why"),
        ("epochs = 5\nmore_epochs = 5", {"epochs": "2"}, "epochs = 2\nmore_epochs = 5"),
        ("names = ['a', 'b']", {"names": "['c']"}, "names = ['c']"),
        ('path = "a"', {"path": r'"C:\\new\\1"'}, r'path = "C:\\new\\1"'),
        ("epochs = 5", {"other": "2"}, "epochs = 5"),
    ],
)
def test_with_values(source, values, expected):
    assert notebooks.with_values(source, values) == expected


@pytest.mark.parametrize(
    "kind, content",
    [
        ("text/html", "<table></table><script>alert(1)</script>"),
        ("text/html", '<img src="x" onerror="alert(1)">'),
        ("text/html", '<a href="JavaScript:alert(1)">more</a>'),
        ("text/html", "< IFRAME src='x'>"),
        ("text/markdown", "a [link](javascript:alert(1))"),
        ("application/javascript", "alert(1)"),
        ("image/svg+xml", "<svg onload='alert(1)'></svg>"),
        ("application/vnd.jupyter.widget-view+json", "{}"),
    ],
)
def test_no_output_can_run_a_script_in_a_page(small_project, run, kind, content):
    notebooks.code_cells(run)[1].outputs.append(new_output("display_data", data={kind: content, "text/plain": "harmless"}))
    with pytest.raises(BookError, match="chapter small could run a script"):
        pages.weave(notebooks.read_source("small"), run, "small")


def test_markdown_before_code_cells_is_kept_in_order():
    source = new_notebook(cells=[new_markdown_cell("a"), new_code_cell("1"), new_markdown_cell("b")])
    ran = new_notebook(cells=[new_code_cell("1", execution_count=1)], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    assert [c.source for c in pages.weave(source, ran, "x").cells] == ["a", "1", "b"]


# --- command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["book", "--profile", "nosuch"], "Known profiles: quick, report, test"),
        (["prepare", "--profile", "nosuch"], "Known profiles: quick, report, test"),
        (["execute", "nosuch", "--profile", "test"], "nosuch"),
        (["execute", "--profile", "test"], "chapter"),
        (["render", "--profile", "test"], "run"),
    ],
)
def test_errors_are_one_message(arguments, words):
    command = [sys.executable, str(notebooks.__file__), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode not in (0, None)
    assert words in done.stderr and "Traceback" not in done.stderr and len(done.stderr) < 1000, done.stderr


def test_slides_without_pages_say_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_BUILD", str(tmp_path))
    command = [sys.executable, str(notebooks.PROJECT / "src" / "slides.py")]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "make book" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_book_data_that_points_to_nothing_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "nowhere"))
    command = [sys.executable, str(notebooks.__file__), "prepare", "--profile", "quick"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "BOOK_DATA points to" in done.stderr and "Traceback" not in done.stderr


def test_a_second_run_is_told_that_one_is_under_way(monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    notebooks.runs_folder().mkdir(parents=True)
    with open(notebooks.runs_folder() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BookError, match="Another run is under way"):
            notebooks.book("test")


# --- stale runs and the edition --------------------------------------------------------------------------------


@pytest.fixture
def finished(small_project, monkeypatch):
    """A report run of the chapter `small` that is finished: notebook, record and table."""
    (small_project / "profiles" / "report.yml").write_text((small_project / "profiles" / "test.yml").read_text())
    (small_project / "_toc.yml").write_text("root: index\nchapters:\n- file: chapters/small\n")
    monkeypatch.setattr(notebooks, "EDITION", small_project / "edition")
    write_data("report", "digest")
    folder = notebooks.runs_folder() / "report"
    run = notebooks.normalise(executed(notebooks.read_source("small"), ["4\n", ""]))
    for name in ("notebooks", "results"):
        (folder / name).mkdir()
    nbformat.write(run, folder / "notebooks" / "small.ipynb")
    record = {"profile": "report", "run": {"chapter": "small", "seed": None, "key": notebooks.run_key("small", "report")}}
    (folder / "results" / "small.json").write_text(json.dumps(record))
    (folder / "results" / "small.csv").write_text("photo\n")
    return folder


def test_a_run_of_the_same_code_is_kept_and_one_of_other_code_deleted(small_project, finished):
    edit(small_project, "# twice", "# doubled")
    notebooks.drop_stale("report")
    assert (finished / "notebooks" / "small.ipynb").exists()
    edit(small_project, "epochs * 2", "epochs * 3")
    notebooks.drop_stale("report")
    assert not (finished / "notebooks" / "small.ipynb").exists() and not (finished / "results" / "small.json").exists()


def test_a_lost_runs_folder_is_filled_from_the_edition_unless_the_code_has_changed(small_project, finished, capsys):
    notebooks.promote()
    kept = {p.name for p in small_project.glob("edition/*/*")}
    assert kept == {"small.ipynb", "small.json", "small.csv"}
    for path in [*finished.glob("notebooks/*"), *finished.glob("results/*")]:
        path.unlink()
    notebooks.restore()
    assert {p.name for p in finished.glob("*/*")} == kept and "small" in capsys.readouterr().out
    edit(small_project, "epochs * 2", "epochs * 3")
    notebooks.drop_stale("report")
    notebooks.restore()
    assert not list(finished.glob("notebooks/*"))


def test_figures_of_further_seeds_stay_out_of_the_edition(small_project, finished, monkeypatch):
    monkeypatch.setattr(notebooks, "PER_SEED", ("small",))
    run = nbformat.read(finished / "notebooks" / "small.ipynb", as_version=4)
    notebooks.code_cells(run)[-1].outputs.append(new_output("display_data", data={"image/png": "AAAA"}))
    for seed in (0, 1):
        nbformat.write(run, finished / "notebooks" / f"small-seed{seed}.ipynb")
        (finished / "results" / f"small-seed{seed}.json").write_text("{}")
    notebooks.promote()
    for seed, figures in ((0, 1), (1, 0)):
        kept = nbformat.read(small_project / "edition" / "notebooks" / f"small-seed{seed}.ipynb", as_version=4)
        assert sum("image/png" in o.get("data", {}) for cell in notebooks.code_cells(kept) for o in cell.outputs) == figures


def test_a_run_whose_network_is_still_wanted_is_not_taken_from_the_edition(small_project, finished, monkeypatch):
    monkeypatch.setattr(notebooks, "READERS", {"small": ("other",)})
    notebooks.promote()
    for path in [*finished.glob("notebooks/*"), *finished.glob("results/*")]:
        path.unlink()
    (small_project / "_toc.yml").write_text("root: index\nchapters:\n- file: chapters/small\n- file: chapters/other\n")
    notebooks.restore()
    assert not list(finished.glob("results/*"))  # other must run, and only small can make what it loads
    (small_project / "_toc.yml").write_text("root: index\nchapters:\n- file: chapters/small\n")
    notebooks.restore()
    assert (finished / "results" / "small.json").exists()


def test_a_notebook_of_the_edition_finds_the_modules_of_the_project_by_itself(small_project, finished, tmp_path):
    notebooks.promote()
    shown = nbformat.read(small_project / "edition" / "notebooks" / "small.ipynb", as_version=4)
    help = next(cell for cell in shown.cells if cell.cell_type == "code")
    assert len(shown.cells) == len(pages.read_run(small_project / "edition" / "notebooks", "small", "report").cells) + 1
    command = [sys.executable, "-c", help.source + "\nimport helpers; print(helpers.A)"]
    inside, outside = (subprocess.run(command, cwd=folder, capture_output=True, text=True) for folder in (small_project / "edition" / "notebooks", tmp_path))
    assert inside.stdout == "1\n", inside.stderr
    assert outside.returncode and "Put this notebook into the folder of the book's project" in outside.stderr


def test_promoting_names_what_is_missing(small_project, finished, capsys):
    (small_project / "_toc.yml").write_text("root: index\nchapters:\n- file: chapters/small\n- file: chapters/training\n")
    notebooks.promote()
    assert "Not finished yet: training-seed0, training-seed1." in capsys.readouterr().out
    (finished / "results" / "small.json").unlink()
    with pytest.raises(BookError, match="finished no chapter"):
        notebooks.promote()


@pytest.mark.parametrize("name, old, new, words", [
    ("book/chapters/small.md", "epochs * 2", "epochs * 3", "small .other code."),
    ("profiles/report.yml", "epochs: 2", "epochs: 4", "small .other parameters."),
])  # fmt: skip
def test_the_edition_is_not_shown_with_other_code_or_parameters(small_project, finished, name, old, new, words):
    notebooks.promote()
    edit(small_project, old, new, name)
    with pytest.raises(BookError, match=words):
        pages.html()


def test_a_chapter_that_the_edition_lacks_is_named(small_project, finished):
    notebooks.promote()
    (small_project / "edition" / "notebooks" / "small.ipynb").unlink()
    with pytest.raises(BookError, match="small .not in it yet."):
        pages.html()
