"""Shared by the tests: isolation from the reader's own folders, a copy of the project, and the book built from it."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

PROJECT = Path(__file__).resolve().parent.parent
REAL_DATA = os.environ.get("BOOK_DATA")  # before `isolated` hides it
FOLDER = PROJECT / REAL_DATA if REAL_DATA else None  # a relative path is below the project, as everywhere
SETTINGS = ("OWN", "BOOK_DATA", "BOOK_RUNS", "BOOK_BUILD", "BOOK_DOWNLOAD", "BOOK_MEMORY", "BOOK_GPUS", "BOOK_ENVIRONMENT", "BOOK_PROFILE", "KERAS_BACKEND")

FRONT_MATTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""  # of a chapter


def needs(*names):
    there = FOLDER is not None and all((FOLDER / name).exists() for name in names)
    return pytest.mark.skipif(not there, reason=f"BOOK_DATA names no folder with {' and '.join(names)}")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Every test writes into a folder of its own, sees no data but its own, and downloads nothing."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("BOOK_DOWNLOAD", "0")


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """A project folder without photos and weights."""
    import assets

    (tmp_path / "project" / "data").mkdir(parents=True)
    monkeypatch.setattr(assets, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "project"


class BookInOneProcess(LoadScopeScheduling):
    """With ``--numprocesses 2`` the tests of the built book stay together, so that it is built once, and so do those of a small one; others spread."""

    def _split_scope(self, nodeid):
        if nodeid.startswith(("tests/test_commands.py", "tests/test_freshness.py", "tests/test_edition.py")):
            return nodeid.split("::")[0]
        return "book" if nodeid.startswith(("tests/test_book.py", "tests/test_browser.py", "tests/test_proof.py")) else nodeid


def pytest_xdist_make_scheduler(config, log):
    return BookInOneProcess(config, log)


# --- the project, copied and built -----------------------------------------------------------------------------


@dataclass
class Copy:
    """A copy of the project as a fresh clone has it; commands run inside it, on its own runs/ and _build/."""

    path: Path
    profile: str = "test"
    environment: dict = field(default_factory=dict)  # set for its commands; None takes a variable away

    def settings(self):
        """What a command in the copy needs besides itself: its folder, its environment, no input."""
        environment = {k: v for k, v in os.environ.items() if k not in SETTINGS and k != "PYTHONPATH"}
        environment.update(self.environment, PYTHONDONTWRITEBYTECODE="1")
        environment = {k: v for k, v in environment.items() if v is not None}
        return {"cwd": self.path, "env": environment, "stdin": subprocess.DEVNULL}

    def run(self, *command, check=True):
        """Run a command in the copy; returns the completed process, output and errors together in ``stdout``."""
        done = subprocess.run(
            [str(part) for part in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.settings()
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-8000:]}", pytrace=False)
        return done

    def pipeline(self, *arguments, check=True):
        return self.run(sys.executable, "src/pipeline.py", *arguments, "--profile", self.profile, check=check)

    def snakemake(self, *options, check=True):
        """What a person types who does not use `make`."""
        return self.run(sys.executable, "-m", "snakemake", "--cores", 2, "--config", f"profile={self.profile}", *options, check=check)

    def edit(self, name, old, new):
        """Replace a piece of a file that must be there."""
        text = (self.path / name).read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        (self.path / name).write_text(text.replace(old, new), encoding="utf-8")

    def build(self, check=True):
        """What `make book PROFILE=test` calls."""
        return self.pipeline("book", check=check)

    def start(self, **options):
        """Start ``build`` and do not wait for it; returns the process."""
        command = [sys.executable, "src/pipeline.py", "book", "--profile", self.profile]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.settings(), **options)

    @property
    def html(self):
        return self.path / "_build" / self.profile / "html"

    @property
    def results(self):
        return self.path / "runs" / self.profile / "results"

    def pages(self):
        """The pages of ``_toc.yml``, in order, as their addresses have them: without ``book/`` and suffix."""
        toc = yaml.safe_load((self.path / "_toc.yml").read_text(encoding="utf-8"))

        def files(node):
            if isinstance(node, list):
                return [f for item in node for f in files(item)]
            if not isinstance(node, dict):
                return []
            own = [node[key].removeprefix("book/").removesuffix(".md") for key in ("root", "file") if key in node]
            return own + [f for value in node.values() for f in files(value)]

        return files(toc)

    def times(self):
        """When each executed notebook and record was written, by path."""
        run = self.path / "runs" / self.profile
        return {p: p.stat().st_mtime_ns for d in ("notebooks", "results") for p in sorted((run / d).glob("*"))}


def copy_project(target):
    """Copy the files that a clone would have (tracked, and new ones that git does not ignore)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True
    )
    if listing.returncode == 0:
        for name in filter(None, listing.stdout.split("\0")):
            if (PROJECT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / name, target / name)
    else:  # unpacked from an archive, without git
        skip = shutil.ignore_patterns(".venv", "runs", "_build", ".snakemake", "cats_vs_dogs", "weights", "__pycache__")
        shutil.copytree(PROJECT, target, ignore=skip, dirs_exist_ok=True)
    return Copy(target)


def mini_project(target):
    """The project with a book of three small chapters (tests/mini), which use no network library: a run takes seconds."""
    copy = copy_project(target)
    mini, book = PROJECT / "tests" / "mini", target / "book"
    shutil.rmtree(target / "edition", ignore_errors=True)
    shutil.rmtree(book / "chapters")
    for path in [*book.glob("*.md"), *(target / "profiles").glob("*.yml")]:
        path.unlink()
    shutil.copy(mini / "test.yml", target / "profiles" / "report.yml")
    places = {"toc.yml": target / "_toc.yml", "helpers.py": target / "src" / "helpers.py", "test.yml": target / "profiles" / "test.yml"}
    places |= {name: book / name for name in ("index.md", "about.md")}
    for path in mini.iterdir():
        place = places.get(path.name, book / "chapters" / path.name)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)
    return copy


@contextmanager
def serving(handler):
    """A web server on this machine while the block runs; yields its address. ``handler`` answers requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def project(tmp_path):
    """A fresh copy of the project, for one test to edit."""
    return copy_project(tmp_path / "copy")


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """A copy of the project in which the whole book was executed and rendered in the test profile.

    With BOOK_TEST_COPY=FOLDER the copy lies there and is kept, so that the next run of the tests executes only what
    has changed since.
    """
    kept = os.environ.get("BOOK_TEST_COPY")
    copy = copy_project(Path(kept).resolve() if kept else tmp_path_factory.mktemp("book") / "project")
    copy.build()
    return copy
