"""A chapter as its source tells it: the table of contents, parameters, experiments, what it reads, and its keys."""

import pytest
import yaml

import chapters
from conftest import FRONT_MATTER, PROJECT
from paths import BookError

HEAD = FRONT_MATTER + """
# A chapter

Some prose.
"""
SOURCE = (
    HEAD
    + """
```{code-cell} ipython3
:tags: [parameters]

profile = "quick"        # which photos
seeds = [0]
epochs = 5
rate = 1e-4              # step
```

```{code-cell} ipython3
import helpers
import tools
from tools import twice

x = epochs * 2  # twice
print(x)
```

```{code-cell} ipython3
def train(parts, seed, epochs):
    x = twice(epochs)
    return tools.fit(parts, x)


def count(n):
    return n
```

```{code-cell} ipython3
:tags: [experiments]

experiments = {
    "long": dict(function=train, data=dict(image_size=8), epochs=epochs),
    **{f"count_{n}": dict(function=count, seeds=None, n=n) for n in (1, 2)},
}
```

```{code-cell} ipython3
helpers.save_records("small", profile, {})
```
"""
)
TOOLS = '''"""Words."""

import assets
from paths import decides_nothing

A = 1  # comment
B = 1


def twice(x):
    """Words."""
    return 2 * x


def fit(parts, x):
    tell(x)
    return once(x) + A


def once(x):
    return x


@decides_nothing
def tell(x):
    print(x, B)
'''
DATA = {"photos": ["photos", "digest"], "weights": {"vgg16": "a"}, "fingerprint": "f"}


def forget():
    """What was read of one project is not that of another."""
    for thing in vars(chapters).values():
        getattr(thing, "cache_clear", lambda: None)()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two chapters, one of which takes a function of the other."""
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "tools.py").write_text(TOOLS)
    (tmp_path / "src" / "helpers.py").write_text("from tools import fit\n")
    for name in ("assets", "paths"):
        (tmp_path / "src" / f"{name}.py").write_text((PROJECT / "src" / f"{name}.py").read_text())
    (tmp_path / "book" / "chapters" / "small.md").write_text(SOURCE)
    other = HEAD + '\n```{code-cell} ipython3\nimport helpers\nrecords = helpers.load_records("small-seed*", "test")\n```\n'
    (tmp_path / "book" / "chapters" / "other.md").write_text(other)
    (tmp_path / "book" / "about.md").write_text("# About\n")
    (tmp_path / "_toc.yml").write_text("root: book/about\nchapters:\n- file: book/chapters/small\n- file: book/chapters/other\n")
    for name, epochs in (("test", 2), ("quick", 7)):
        (tmp_path / "profiles" / f"{name}.yml").write_text(f"memory: 1\nshared: {{seeds: [0, 1]}}\nchapters: {{small: {{epochs: {epochs}}}}}\n")
    monkeypatch.setattr(chapters, "PROJECT", tmp_path)
    forget()
    yield tmp_path
    forget()


def edit(project, old, new, name="book/chapters/small.md"):
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))
    forget()


# --- the table of contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("toc, expected", [
    ("root: book/about\nchapters:\n- file: book/chapters/small\n", ["small"]),
    ("root: book/about\nchapters:\n# - file: book/chapters/small\n- file: book/chapters/other\n", ["other"]),
    ("root: book/about\nchapters:\n- file: 'book/chapters/small'\n- file: ./book/chapters/other.md\n", ["small", "other"]),
    ("root: book/about\nparts:\n- caption: x\n  chapters:\n  - file: book/chapters/other\n    sections:\n    - file: book/chapters/small\n", ["other", "small"]),
    ("root: book/chapters/small\nchapters:\n- file: book/about\n- url: https://example.org\n", ["small"]),
])  # fmt: skip
def test_chapters_are_the_pages_of_the_toc_that_name_a_kernel(project, toc, expected):
    (project / "_toc.yml").write_text(toc)
    forget()
    assert chapters.chapters() == expected


@pytest.mark.parametrize("name", ["my-chapter", "2nd", "a.b", "Ünïcode"])
def test_any_name_of_a_chapter_that_sphinx_takes(project, name):
    (project / "book" / "chapters" / f"{name}.md").write_text(HEAD)
    (project / "_toc.yml").write_text(f"root: book/about\nchapters:\n- file: book/chapters/{name}\n")
    forget()
    assert chapters.chapters() == [name]


@pytest.mark.parametrize("toc, message", [
    ("root: book/about\nchapters:\n- file: book/chapters/missing\n", "lists book/chapters/missing, and there is no book/chapters/missing.md"),
    ("root: book/about\nchapters: [\n", "_toc.yml is not YAML"),
    ("- a\n- b\n", "_toc.yml holds no mapping"),
    ("root: book/about\nchapters:\n- file: book/chapters/small\n- file: book/more/small\n", "two chapters of the name small"),
])  # fmt: skip
def test_an_entry_that_does_not_fit_is_named(project, toc, message):
    (project / "book" / "more").mkdir()
    (project / "book" / "more" / "small.md").write_text(HEAD)
    (project / "_toc.yml").write_text(toc)
    forget()
    with pytest.raises(BookError, match=message):
        chapters.chapters()


# --- parameters, profiles --------------------------------------------------------------------------------------


def test_parameters(project):
    assert chapters.parameters_of(chapters.read_source("small")) == {"profile": "quick", "seeds": [0], "epochs": 5, "rate": 1e-4}
    assert chapters.parameters_for("small", "test") == {"profile": "test", "seeds": [0, 1], "epochs": 2}


def test_a_profile_that_does_not_fit_is_named(project):
    with pytest.raises(BookError, match="no profile 'nosuch'. Known profiles: quick, test"):
        chapters.load_profile("nosuch")
    edit(project, "epochs: 2", "epoch: 2", "profiles/test.yml")
    with pytest.raises(BookError, match="profiles/test.yml sets epoch for small"):
        chapters.parameters_for("small", "test")
    (project / "profiles" / "test.yml").write_text("a: [")
    with pytest.raises(BookError, match="test.yml is not YAML"):
        chapters.load_profile("test")


@pytest.mark.parametrize("profile", ["quick", "report", "test"])
def test_the_real_profiles_fit_the_chapters(profile):
    forget()
    for chapter in chapters.chapters():
        assert chapters.parameters_for(chapter, profile).get("profile", profile) == profile
        chapters.needs(chapter, profile)
        chapters.experiments_read(chapter, profile)
        assert chapters.chapter_key(chapter, profile, DATA)
    settings = chapters.load_profile(profile)
    assert set(settings["chapters"]) <= set(chapters.chapters())
    assert settings["memory"] > 0 and all(isinstance(seed, int) for seed in settings["shared"]["seeds"])
    assert chapters.all_experiments(profile)


def test_every_line_of_the_real_toc_is_yaml_that_jupyter_book_reads():
    assert set(yaml.safe_load((PROJECT / "_toc.yml").read_text())) <= {"format", "root", "parts", "chapters"}


# --- experiments -----------------------------------------------------------------------------------------------


def test_experiments_are_read_without_running_the_chapter(project):
    found = chapters.all_experiments("test")
    assert list(found) == ["long-seed0", "long-seed1", "count_1", "count_2"]
    assert found["long-seed1"].arguments == {"epochs": 2} and found["long-seed1"].data == {"image_size": 8}
    assert found["count_2"].seed is None and found["count_2"].function == "count"


def test_records_and_what_is_read(project):
    assert chapters.records_of("small", "test") == ("small", "small-seed0", "small-seed1")
    edit(project, 'helpers.save_records("small", profile, {})', "pass", "book/chapters/small.md")
    assert chapters.records_of("small", "test") == ("small",), "a page of solutions keeps what its trainings found to itself"
    edit(project, "pass", 'helpers.save_records("small", profile, {})', "book/chapters/small.md")
    assert chapters.needs("other", "test") == ["small"] and chapters.needs("small", "test") == []
    edit(project, '"small-seed*"', '"*"', "book/chapters/other.md")
    assert chapters.needs("other", "test") == ["small"]
    edit(project, "helpers.load_records(", "helpers.load_outcomes(", "book/chapters/other.md")
    edit(project, '"*"', '"long"', "book/chapters/other.md")
    assert chapters.experiments_read("other", "test") == ["long-seed0", "long-seed1"]


def keys(project, profile="test", data=DATA):
    """All keys: of experiments by run, of chapters by name."""
    forget()
    found = {run: chapters.outcome_key(e, data) for run, e in chapters.all_experiments(profile).items()}
    return found | {c: chapters.chapter_key(c, profile, data) for c in chapters.chapters()}


def changed(project, act, **options):
    before = keys(project)
    act()
    after = keys(project, **options)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


LONG, SMALL = {"long-seed0", "long-seed1"}, {"small", "other"}


@pytest.mark.parametrize(
    "name, old, new, expected",
    [
        ("book/chapters/small.md", "Some prose.", "Quite other prose.\n\nAnd more.", set()),
        ("book/chapters/small.md", "# twice", "# doubled", set()),
        ("book/chapters/small.md", "x = epochs * 2", "x   =  epochs*2", set()),
        ("book/chapters/small.md", "# step", "# how far", set()),
        ("book/chapters/small.md", "epochs = 5", "epochs = 6", set()),  # the profile sets another value
        ("book/chapters/small.md", "```{code-cell} ipython3\nimport", "```{code-cell} ipython3\n:tags: [hide-input]\nimport", set()),
        ("book/chapters/small.md", "epochs * 2", "epochs * 3", SMALL),
        ("book/chapters/small.md", "print(x)\n", "print(x);\n", SMALL),
        ("book/chapters/small.md", "rate = 1e-4", "speed = 1e-4", set()),
        ("book/chapters/small.md", "twice(epochs)\n", "twice(epochs) + 1\n", LONG | SMALL),
        ("book/chapters/small.md", "    return n\n", "    return n + 1\n", {"count_1", "count_2"} | SMALL),
        ("book/chapters/small.md", "in (1, 2)", "in (1, 3)", {"count_2", "count_3"} | SMALL),
        ("src/tools.py", "A = 1", "A = 2", LONG | SMALL),
        ("src/tools.py", "# comment", "# remark", set()),
        ("src/tools.py", '    """Words."""\n', '    """Other words."""\n', set()),
        ("src/tools.py", "return 2 * x", "return 3 * x", LONG | SMALL),
        ("src/tools.py", "def once(x):\n    return x", "def once(x):\n    return -x", LONG | SMALL),
        ("src/tools.py", "print(x, B)", "print(B, x)", set()),
        ("src/tools.py", "B = 1", "B = 2", set()),
        ("src/tools.py", "def once", "def unused():\n    return A\n\n\ndef once", set()),
        ("src/assets.py", "Image.Resampling.BILINEAR", "Image.Resampling.NEAREST", LONG | SMALL),  # what is read from photos
        ("profiles/test.yml", "epochs: 2", "epochs: 3", LONG | SMALL),
        ("profiles/test.yml", "[0, 1]", "[0]", {"long-seed1"} | SMALL),
        ("profiles/quick.yml", "epochs: 7", "epochs: 3", set()),
        ("book/chapters/other.md", "records =", "r =", {"other"}),
    ],
)
def test_what_an_edit_changes(project, name, old, new, expected):
    assert changed(project, lambda: edit(project, old, new, name)) == expected


def reads(project, name="long", function="count"):
    """Have an experiment's function read the outcomes of another one."""
    edit(project, f"def {function}(n):\n", f'def {function}(n):\n    n += len(helpers.load_outcomes("{name}", "test"))\n')


def test_an_experiment_that_reads_another_one_has_its_key_in_its_own(project):
    reads(project)
    found = chapters.all_experiments("test")
    assert chapters.outcomes_read(found["count_1"]) == ["long-seed0", "long-seed1"] and chapters.outcomes_read(found["long-seed0"]) == []
    assert chapters.runs_needed("small", "test")[-2:] == ["long-seed0", "long-seed1"]
    counted = {"count_1", "count_2"}
    assert changed(project, lambda: edit(project, "twice(epochs)\n", "twice(epochs) + 1\n")) == LONG | SMALL | counted
    assert changed(project, lambda: edit(project, "return n\n", "return n + 1\n")) == SMALL | counted


def test_what_an_experiment_reads_must_be_there_and_lead_out_of_it(project):
    reads(project, name="missing")
    with pytest.raises(BookError, match="The experiment count_1 reads the experiment 'missing', which no chapter"):
        keys(project)
    edit(project, '"missing"', '"count_2"')
    with pytest.raises(BookError, match="read each other in a circle: count_1 → count_2 → count_2"):
        keys(project)


def test_a_file_of_the_project_that_a_chapter_names_is_in_its_key(project):
    cell = '\n```{code-cell} ipython3\npath = helpers.committed("edition/table.csv")\n```\n'
    other = project / "book" / "chapters" / "other.md"
    other.write_text(other.read_text() + cell)
    forget()
    assert chapters.files_read("other") == {"edition/table.csv": None}
    (project / "edition").mkdir()
    table = project / "edition" / "table.csv"
    assert changed(project, lambda: table.write_text("a\n")) == {"other"}
    assert changed(project, lambda: table.write_text("b\n")) == {"other"}
    assert changed(project, table.touch) == set()


def test_own_photos_are_in_the_key_of_who_asks_for_them(project):
    (project / "src" / "album.py").write_text("def load(folder):\n    return folder\n")
    other = project / "book" / "chapters" / "other.md"
    other.write_text(other.read_text() + "\n```{code-cell} ipython3\nimport album\nmine = album.load(1)\n```\n")
    assert changed(project, lambda: None, data={**DATA, "album": "x"}) == {"other"}


def test_data_backend_and_profile_in_keys(project, monkeypatch):
    assert changed(project, lambda: None, data={**DATA, "photos": ["words", "digest"]}) == set()
    assert changed(project, lambda: None, data={**DATA, "photos": ["photos", "other"]}) == LONG | SMALL
    assert changed(project, lambda: None, data={**DATA, "weights": {"vgg16": "b"}}) == set()  # nothing here loads VGG
    edit(project, "return once(x) + A", "return assets.find_weights(once(x)) + A", "src/tools.py")
    assert changed(project, lambda: None, data={**DATA, "weights": {"vgg16": "b"}}) == LONG | SMALL
    assert changed(project, lambda: monkeypatch.setenv("KERAS_BACKEND", "jax")) == SMALL
    monkeypatch.delenv("KERAS_BACKEND")
    edit(project, "epochs: 7", "epochs: 2", "profiles/quick.yml")
    assert changed(project, lambda: None, profile="quick") == SMALL  # the same arguments, the same outcomes


def test_a_function_that_takes_something_from_the_page_is_told(project):
    edit(project, "return n\n", "return n + rows\n")
    edit(project, "print(x)", "rows = 3\nprint(x)")
    with pytest.raises(BookError, match="count, which computes count_1, uses rows, a value of the page"):
        keys(project)


def test_names_that_a_function_sets_itself_are_its_own(project):
    before = keys(project)
    edit(project, "print(x)", "parts = seed = epochs\nprint(x)")  # as the page names them, too
    assert {k for k, v in keys(project).items() if before[k] != v} == SMALL


@pytest.mark.parametrize("old, new", [("x = epochs * 2", "x = = 2"), ("epochs = 5", "epochs ="), ("epochs = 5", "epochs = 2 * 3"), ("print(x)", "!ls")])
def test_a_slip_in_a_cell_is_named_with_its_chapter(project, old, new):
    edit(project, old, new)
    with pytest.raises(BookError, match="small.md has a slip in a code cell"):
        keys(project)


def test_bare_code():
    source = '"""Module."""\nclass A:\n    """Words."""\n\ndef f(x):  # why\n    """Words."""\n    return (x\n            + 1)\n'
    assert chapters.bare_code(source) == "class A:\n    pass\n\ndef f(x):\n    return x + 1"


def test_definitions_are_functions_without_what_is_computed(project, capsys, monkeypatch):
    monkeypatch.syspath_prepend(project / "src")
    names = chapters.definitions("small", only_functions=True, epochs=3)
    assert names["epochs"] == 3 and names["count"](4) == 4 and "x" not in names and not capsys.readouterr().out


def test_who_takes_the_definitions_of_a_chapter_waits_for_what_that_reads():
    takers = [(c, other) for c in chapters.chapters() for other in chapters._named(c)["definitions"] if other != c]
    assert takers
    for chapter, other in takers:
        assert set(chapters.needs(other, "test")) - {chapter} <= set(chapters.needs(chapter, "test")), (chapter, other)
        assert set(chapters.experiments_read(other, "test")) <= set(chapters.experiments_read(chapter, "test")), (chapter, other)
