"""A book of few and quick pages, for tests of the whole path: its experiments write down when they ran and which cards they saw."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("edition", "runs", "_build", ".git", ".venv", "tests", ".snakemake", "__pycache__", "data/cats_vs_dogs", "data/weights")

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# {title}

```{{code-cell}} ipython3
:tags: [parameters]

profile = "quick"
seeds = [0]
```

```{{code-cell}} ipython3
import json
import os
import time

import helpers
```

```{{code-cell}} ipython3
def note(what):
    with open(os.environ["MINI_NOTES"], "a") as file:
        about = dict(pid=os.getpid(), time=time.time(), cards=os.environ.get("CUDA_VISIBLE_DEVICES"))
        file.write(json.dumps(what | about) + "\\n")


def wait_for(name):
    until = time.time() + 300
    while name and time.time() < until and f'"name": "{{name}}", "event": "start"' not in open(os.environ["MINI_NOTES"]).read():
        time.sleep(0.1)


def train(name, seconds=0, fails=False, beside=None, seed=None):
    name = name if seed is None else f"{{name}}-seed{{seed}}"
    note(dict(name=name, event="start"))
    wait_for(beside)
    time.sleep(seconds)
    if fails:
        raise RuntimeError("the network has burst")
    note(dict(name=name, event="end"))
    return dict(name=name, seconds_asked=seconds, seed=seed)
```
"""

TRAINING = """
```{{code-cell}} ipython3
:tags: [experiments]

experiments = {experiments}
```

```{{code-cell}} ipython3
note(dict(name="{chapter}", event="start"))
results = helpers.run(experiments, profile, seeds)
time.sleep({seconds})
note(dict(name="{chapter}", event="end"))
```
"""

PLAIN = """
```{{code-cell}} ipython3
note(dict(name="{chapter}", event="start"))
time.sleep({seconds})
note(dict(name="{chapter}", event="end"))
```
"""

TOC = """format: jb-book
root: book/index
chapters:
{chapters}- file: book/references
"""


@dataclass
class Mini:
    """A copy of the project with chapters of its own. ``notes``: what experiments and chapters wrote down."""

    path: Path
    environment: dict = field(default_factory=dict)

    def chapter(self, name, seconds=0, **experiments):
        """Add a chapter that takes ``seconds``, and whose experiments take a dict of ``seconds``, ``fails``, ``seeds``, ``beside``
        (what must have started before it ends)."""
        entries = ", ".join(f'"{e}": dict(function=train, name="{e}", **{given!r})' for e, given in experiments.items())
        text = HEADER.format(title=name.capitalize())
        text += (TRAINING if experiments else PLAIN).format(chapter=name, seconds=seconds, experiments=f"{{{entries}}}")
        (self.path / "book" / "chapters" / f"{name}.md").write_text(text)
        self.chapters.append(name)
        (self.path / "_toc.yml").write_text(TOC.format(chapters="".join(f"- file: book/chapters/{c}\n" for c in self.chapters)))

    def __post_init__(self):
        self.chapters, self.notes = [], self.path.parent / f"{self.path.name}-notes.jsonl"
        (self.path / "book" / "index.md").write_text("# A book\n\n{cite:p}`LeCun1989`\n")

    def settings(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BOOK_", "PYTHON", "CUDA_")) and k != "KERAS_BACKEND"}
        kept |= {"MINI_NOTES": str(self.notes), "PYTHONDONTWRITEBYTECODE": "1", "BOOK_DOWNLOAD": "0"} | self.environment
        return {"cwd": self.path, "env": kept, "stdin": subprocess.DEVNULL, "text": True}

    def command(self, *arguments):
        return [sys.executable, "src/pipeline.py", "book", "--profile", "test", *map(str, arguments)]

    def book(self, *arguments, timeout=300):
        """Run what `make book PROFILE=test` runs; returns the process, all that it said in ``stdout``."""
        return subprocess.run(self.command(*arguments), timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.settings())

    def start(self, *arguments, output=subprocess.DEVNULL, **options):
        return subprocess.Popen(self.command(*arguments), stdout=output, stderr=subprocess.STDOUT, **self.settings(), **options)

    def snakemake(self, *arguments, timeout=300):
        """Run Snakemake as people do who do not care for `make`."""
        command = [sys.executable, "-m", "snakemake", "--config", "profile=test", "--cores", "2", *map(str, arguments)]
        return subprocess.run(command, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.settings())

    def outcome(self, run):
        return self.path / "runs" / "test" / "outcomes" / f"{run}.npz"

    def go(self):
        """Let experiments end that run ``beside="go"``."""
        with open(self.notes, "a") as file:
            file.write(json.dumps({"name": "go", "event": "start", "time": 0, "cards": None}) + "\n")

    def events(self):
        """``[(name, "start" or "end", time, cards)]`` in order of time."""
        lines = [json.loads(line) for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        return sorted(((e["name"], e["event"], e["time"], e["cards"]) for e in lines if e["name"] != "go"), key=lambda e: e[2])

    def spans(self):
        """``{name: (start, end, cards)}`` of what ran to its end."""
        events = self.events()
        ends = {name: time for name, event, time, _ in events if event == "end"}
        return {name: (time, ends[name], cards) for name, event, time, cards in events if event == "start" and name in ends}

    def count(self, event):
        """``{name: how often}`` it started or ended."""
        names = [name for name, what, *_ in self.events() if what == event]
        return {name: names.count(name) for name in names}


def mini(target):
    """A copy of the project's files without chapters, edition and tests."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True
    )
    names = listing.stdout.split("\0") if listing.returncode == 0 else [str(p.relative_to(PROJECT)) for p in PROJECT.rglob("*")]
    for name in names:
        if name and (PROJECT / name).is_file() and not re.match(rf"({'|'.join(map(re.escape, LEFT_OUT))})/|book/chapters/", name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target / name)
    (target / "book" / "chapters").mkdir(exist_ok=True)
    for profile in (target / "profiles").glob("*.yml"):  # what the real book's chapters are given
        text = re.sub(r"(?ms)^(chapters|more_seeds):.*?(?=^\w|\Z)", "", profile.read_text())
        profile.write_text(text)
    return Mini(target)
