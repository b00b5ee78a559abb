"""The commands of Jupyter's own tools, typed in the root of a clone with its environment: jupyter-book, papermill, nbconvert, JupyterLab."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

import pages
from conftest import FRONT_MATTER, copy_project

BIN = Path(sys.executable).parent
HEAD = FRONT_MATTER + "\n"
ONE = HEAD + """(one)=
# The first chapter

It counts to {glue:text}`total:.0f`, as {numref}`fig-one` shows.

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
steps = 3        # how far
```

```{code-cell} ipython3
---
tags: [slide]
mystnb:
  figure:
    name: fig-one
    caption: A line.
  image:
    alt: A straight line that rises.
---
import matplotlib.pyplot as plt
from myst_nb import glue

import paths

glue("total", sum(range(steps)), display=False)
glue("home", paths.PROJECT.name, display=False)
plt.plot(range(steps));
```

## The end

All is said.
"""
TWO = HEAD + """# The second chapter

The first one counts to {glue:text}`one.ipynb::total:.0f`; {ref}`one` has more. {cite:p}`LeCun1989`

```{code-cell} ipython3
print("tw" + "o")
```
"""
INDEX = """# A book

It counts to {glue:text}`chapters/one.ipynb::total:.0f`. See {ref}`one`.
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A copy of the project with two short chapters, run in the test profile, and that run for its edition."""
    copy = copy_project(tmp_path_factory.mktemp("commands") / "project")
    for path in [*copy.path.glob("book/chapters/*"), *copy.path.glob("edition/*/*")]:
        path.unlink()
    for name, text in {"chapters/one": ONE, "chapters/two": TWO, "index": INDEX}.items():
        (copy.path / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    names = "".join(f"  - file: book/{name}\n" for name in ("chapters/one", "chapters/two", "references"))
    (copy.path / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nchapters:\n{names}", encoding="utf-8")
    profile = (copy.path / "profiles" / "test.yml").read_text(encoding="utf-8")
    (copy.path / "profiles" / "test.yml").write_text(re.split(r"^chapters:", profile, flags=re.M)[0], encoding="utf-8")
    copy.build()
    for path in (copy.path / "runs" / "test" / "notebooks").glob("*.ipynb"):
        nbformat.write(pages.standalone(nbformat.read(path, as_version=4)), copy.path / "edition" / "notebooks" / path.name)
    return copy


@pytest.fixture
def untouched(small):
    """``small``, put back as it was after the test."""
    kept = {p: p.read_bytes() for folder in ("book", "edition", "runs/test/notebooks") for p in (small.path / folder).rglob("*") if p.is_file()}
    small.environment = {}
    yield small
    small.environment = {}
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def typed(copy, command, *arguments, check=True, **environment):
    """What a person types into a terminal, with .venv/bin in front."""
    copy.environment = environment
    return copy.run(BIN / command, *arguments, check=check)


def text_of(path):
    return re.sub(r"\s+", " ", BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select_one("article").get_text()).strip()


def edit(copy, name, old, new):
    path = copy.path / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def glued(notebook):
    outputs = [output for cell in pages.chapters.code_cells(notebook) for output in cell.outputs]
    return [(o.metadata.scrapbook.name, o.data) for o in outputs if "scrapbook" in o.get("metadata", {})]


# --- jupyter-book ------------------------------------------------------------------------------------------------


def test_jupyter_book_builds_the_edition(untouched):
    said = typed(untouched, "jupyter-book", "build", ".").stdout
    assert "WARNING" not in said and "build succeeded" in said
    html = untouched.path / "_build" / "html"
    assert "It counts to 3. See The first chapter." in text_of(html / "index.html")
    assert "It counts to 3, as Fig. 1 shows." in text_of(html / "chapters" / "one.html")
    assert "The first one counts to 3; The first chapter has more." in text_of(html / "chapters" / "two.html")
    assert not list(html.glob("**/*.venv*")) and not (html / "book").exists()
    assert "announcement" not in (html / "index.html").read_text(encoding="utf-8").split("<article")[0].split("<body")[1]
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    assert '"chapters/one"' in index and "book/" not in index.split('"envversion"')[0]
    assert "reveal/" not in (html / "index.html").read_text(encoding="utf-8")
    assert (html / "chapters" / "one.slides.html").exists() and not (html / "chapters" / "two.slides.html").exists()
    deck = (html / "chapters" / "one.slides.html").read_text(encoding="utf-8")
    assert "reveal.js" in deck and (html / "_static" / "reveal" / "reveal.js").exists()
    for name in ("one", "two"):
        nbformat.validate(nbformat.read(html / "_static" / "notebooks" / f"{name}.ipynb", as_version=4))
        assert f"_static/notebooks/{name}.ipynb" in (html / "chapters" / f"{name}.html").read_text(encoding="utf-8")


def test_the_same_command_builds_a_run_of_ones_own_and_make_uses_it(untouched):
    typed(untouched, "jupyter-book", "build", ".", "--path-output", "own", BOOK_PROFILE="test")
    ours, makes = untouched.path / "own" / "_build" / "html", untouched.html
    assert {p.relative_to(ours) for p in ours.rglob("*")} == {p.relative_to(makes) for p in makes.rglob("*")}
    for page in ("index", "chapters/one", "chapters/one.slides", "references"):
        assert (ours / f"{page}.html").read_bytes() == (makes / f"{page}.html").read_bytes(), page
    assert "A run of your own" in (ours / "index.html").read_text(encoding="utf-8")


def test_built_again_after_an_edit_or_a_run_the_pages_follow(untouched):
    typed(untouched, "jupyter-book", "build", ".")
    index = untouched.path / "_build" / "html" / "index.html"
    edit(untouched, "book/index.md", "It counts", "It really counts")
    typed(untouched, "jupyter-book", "build", ".")
    assert "It really counts to 3." in text_of(index)
    run = untouched.path / "edition" / "notebooks" / "one.ipynb"
    notebook = nbformat.read(run, as_version=4)
    next(data for name, data in glued(notebook) if name == "total")["application/papermill.record/text/plain"] = "4"
    nbformat.write(notebook, run)
    typed(untouched, "jupyter-book", "build", ".")
    assert "It really counts to 4." in text_of(index)


def test_a_chapter_that_has_not_been_run_is_shown_with_dashes(untouched):
    (untouched.path / "edition" / "notebooks" / "one.ipynb").unlink()
    said = untouched.run(sys.executable, "src/pipeline.py", "html").stdout
    assert f"{pages.NOT_RUN} one." in said
    html = untouched.path / "_build" / "edition" / "html"
    assert "It counts to –. See The first chapter." in text_of(html / "index.html")
    one = text_of(html / "chapters" / "one.html")
    assert f"The first chapter# notebook · slides {pages.NOT_RUN}" in one and "It counts to –, as the figure shows." in one and "All is said." in one
    assert "The first one counts to –;" in text_of(html / "chapters" / "two.html")
    assert pages.NOT_RUN not in text_of(html / "chapters" / "two.html")


def test_a_chapter_whose_code_has_changed_is_shown_as_it_ran(untouched):
    """As those of the first edition are, whose files carry a seed."""
    kept = untouched.path / "edition" / "notebooks" / "one.ipynb"
    kept.rename(kept.with_name("one-seed0.ipynb"))
    edit(untouched, "book/chapters/one.md", "sum(range(steps))", "max(range(steps))")
    edit(untouched, "book/chapters/one.md", "It counts", "It no longer counts")
    said = untouched.run(sys.executable, "src/pipeline.py", "html").stdout
    (kept.with_name("one-seed0.ipynb")).unlink()
    assert f"{pages.AS_IT_RAN} one." in said
    one = text_of(untouched.path / "_build" / "edition" / "html" / "chapters" / "one.html")
    assert f"The first chapter# notebook · slides {pages.AS_IT_RAN} It counts to 3, as Fig. 1 shows." in one


def test_a_slip_fails_a_complete_edition_and_is_listed_for_an_incomplete_one(untouched):
    html = untouched.path / "_build" / "edition" / "html"
    untouched.run(sys.executable, "src/pipeline.py", "edition-pages")
    before = (html / "index.html").read_bytes()
    edit(untouched, "book/chapters/two.md", "has more.", "has more, and {ref}`nowhere`.")
    line = 1 + (untouched.path / "book" / "chapters" / "two.md").read_text(encoding="utf-8").split("nowhere")[0].count("\n")
    done = untouched.run(sys.executable, "src/pipeline.py", "edition-pages", check=False)
    assert done.returncode and "could not be built without warnings" in done.stdout and "Traceback" not in done.stdout
    assert f"book/chapters/two.md:{line}:" in done.stdout and "nowhere" in done.stdout and "html.log" in done.stdout
    assert (html / "index.html").read_bytes() == before, "the pages that stood there are gone"
    (untouched.path / "edition" / "notebooks" / "one.ipynb").unlink()
    done = untouched.run(sys.executable, "src/pipeline.py", "edition-pages")
    assert f"book/chapters/two.md:{line}:" in done.stdout and "html.log" in done.stdout


@pytest.mark.parametrize("what, says", [("missing", "The chapter two has not been executed yet"), ("other code", "The code of the chapter two has changed"),
                                        ("dirty", "<iframe"), ("profile", "There is no profile"), ("contents", "Pages lie in book/")])  # fmt: skip
def test_what_cannot_be_shown_is_told_in_one_message(untouched, what, says):
    run, toc = untouched.path / "runs" / "test" / "notebooks" / "two.ipynb", untouched.path / "_toc.yml"
    contents = toc.read_text(encoding="utf-8")
    if what == "missing":
        run.unlink()
    elif what == "other code":
        edit(untouched, "book/chapters/two.md", '"tw" + "o"', '"t" + "wo"')
    elif what == "dirty":
        notebook = nbformat.read(run, as_version=4)
        pages.chapters.code_cells(notebook)[0].outputs.append(nbformat.v4.new_output("display_data", {"text/html": "<iframe src='https://example.org'>"}))
        nbformat.write(notebook, run)
    elif what == "contents":
        toc.write_text(contents.replace("book/references", "README"), encoding="utf-8")
    try:
        done = typed(untouched, "jupyter-book", "build", ".", check=False, BOOK_PROFILE="tset" if what == "profile" else "test")
    finally:
        toc.write_text(contents, encoding="utf-8")
    assert done.returncode and says in done.stdout and "Traceback" not in done.stdout, done.stdout[-3000:]


def test_a_build_that_is_killed_leaves_the_old_pages_whole(untouched):
    before = {p: p.read_bytes() for p in untouched.html.rglob("*") if p.is_file()}
    edit(untouched, "book/index.md", "It counts", "It still counts")
    command = [sys.executable, "src/pipeline.py", "pages", "--profile", "test"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **untouched.settings())
    new, deadline = untouched.path / "_build" / "test" / "new" / "_build" / "html", time.monotonic() + 60
    while not new.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert {p: p.read_bytes() for p in untouched.html.rglob("*") if p.is_file()} == before
    untouched.run(*command)
    assert "It still counts to 3." in text_of(untouched.html / "index.html")
    assert sorted(p.name for p in (untouched.path / "_build" / "test").iterdir() if not p.name.startswith(".")) == ["html", "html.log"]


# --- one chapter -------------------------------------------------------------------------------------------------


def pasted(path):
    """What an executed notebook handed to the pages: {key: text}."""
    return {name: data["application/papermill.record/text/plain"] for name, data in glued(nbformat.read(path, as_version=4))}


def test_papermill_runs_a_chapter_of_the_edition(untouched, tmp_path):
    out = tmp_path / "out.ipynb"
    typed(untouched, "papermill", "edition/notebooks/one.ipynb", out, "-p", "steps", "5")
    assert pasted(out)["total"] == "10"


def test_nbconvert_runs_a_chapter_of_the_edition(untouched, tmp_path):
    typed(untouched, "jupyter", "nbconvert", "--to", "notebook", "--execute", "edition/notebooks/one.ipynb", "--output-dir", tmp_path)
    assert pasted(tmp_path / "one.ipynb") == {"total": "3", "home": "'project'"}


@pytest.mark.parametrize("name", ["edition/notebooks/one.ipynb", "book/chapters/one.md"])
def test_jupyterlab_opens_a_chapter_and_its_kernel_finds_the_modules(untouched, tmp_path, name):
    """Through the server's own interface, as the browser does it: open the file as a notebook, start a kernel for it, run the cells."""
    from jupyter_client import BlockingKernelClient

    untouched.environment = {"JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    options = ["--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--IdentityProvider.token=", "--ServerApp.allow_root=True",
               "--ServerApp.disable_check_xsrf=True"]  # fmt: skip
    server = subprocess.Popen([BIN / "jupyter-lab", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **untouched.settings())
    try:
        notes, deadline = [], time.monotonic() + 60
        while not notes and server.poll() is None and time.monotonic() < deadline:
            notes = list(tmp_path.glob("jpserver-*.json"))
            time.sleep(0.1)
        address = json.loads(notes[0].read_text())["url"]

        def ask(path, body=None):
            request = urllib.request.Request(f"{address}api/{path}", data=body and json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        opened = ask(f"contents/{name}?type=notebook&content=1")
        session = ask("sessions", {"path": name, "name": "", "type": "notebook", "kernel": {"name": "python3"}})
        client = BlockingKernelClient(connection_file=str(tmp_path / f"kernel-{session['kernel']['id']}.json"))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        for cell in opened["content"]["cells"]:
            if cell["cell_type"] == "code":
                reply = client.execute_interactive(cell["source"], timeout=120, output_hook=lambda message: None)
                assert reply["content"]["status"] == "ok", reply["content"]
        client.stop_channels()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
