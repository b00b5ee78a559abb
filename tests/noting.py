"""A book of few and quick pages, for tests of the whole path: its experiments write down when they ran and which cards they saw."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from conftest import FRONT_MATTER, Copy, copy_project

HELPERS = '''"""What the chapters of this book share."""

from experiments import run  # noqa: F401


def setup(seed=0):
    """Nothing to set up without a network."""
'''

HEADER = FRONT_MATTER + """
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


def wait_for(*names):
    until = time.time() + 300
    starts = [f'"name": "{{name}}", "event": "start"' for name in names if name]
    while starts and time.time() < until and not any(start in open(os.environ["MINI_NOTES"]).read() for start in starts):
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
wait_for(*{beside!r})
time.sleep({seconds})
note(dict(name="{chapter}", event="end"))
```
"""

TOC = """format: jb-book
root: book/index
chapters:
{chapters}"""


@dataclass
class Noting(Copy):
    """A copy of the project with chapters of its own. ``notes``: what experiments and chapters wrote down."""

    chapters: list = field(default_factory=list)
    started: list = field(default_factory=list)  # processes

    @property
    def notes(self):
        return self.path.parent / f"{self.path.name}-notes.jsonl"

    def chapter(self, name, seconds=0, beside=(), **experiments):
        """Add a chapter that takes ``seconds``. Its experiments take a dict of ``seconds``, ``fails``, ``seeds`` and ``beside``, what must have
        started before it ends; a chapter without experiments may have several of these, of which one must have started."""
        entries = ", ".join(f'"{e}": dict(function=train, name="{e}", **{given!r})' for e, given in experiments.items())
        text = HEADER.format(title=name.capitalize())
        text += (TRAINING if experiments else PLAIN).format(chapter=name, seconds=seconds, beside=beside, experiments=f"{{{entries}}}")
        (self.path / "book" / "chapters" / f"{name}.md").write_text(text)
        self.chapters.append(name)
        (self.path / "_toc.yml").write_text(TOC.format(chapters="".join(f"- file: book/chapters/{c}\n" for c in self.chapters)))

    def settings(self):
        settings = super().settings()
        for name in ("BOOK_GPUS", "BOOK_CARDS", "CUDA_VISIBLE_DEVICES"):
            settings["env"] = {k: v for k, v in settings["env"].items() if k != name or k in self.environment}
        settings["env"] |= {"MINI_NOTES": str(self.notes), "BOOK_DOWNLOAD": "0"}
        return settings

    def command(self, *arguments):
        return [sys.executable, "src/pipeline.py", "book", "--profile", "test", *map(str, arguments)]

    def book(self, *arguments, timeout=300):
        """Run what `make book PROFILE=test` runs; returns the process, all that it said in ``stdout``."""
        return subprocess.run(self.command(*arguments), timeout=timeout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.settings())

    def start(self, *arguments, output=subprocess.DEVNULL, **options):
        self.started.append(subprocess.Popen(self.command(*arguments), stdout=output, stderr=subprocess.STDOUT, **self.settings(), **options))
        return self.started[-1]

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


def noting_project(target):
    """A copy of the project without its chapters and its edition; what its pages share needs no network library."""
    copy = Noting(copy_project(target).path)
    for folder in ("edition", "book/chapters"):
        for path in sorted((target / folder).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    for page in (target / "book").glob("*.md"):
        page.unlink()
    (target / "book" / "index.md").write_text("# A book\n\nOf few pages.\n")
    (target / "src" / "helpers.py").write_text(HELPERS)
    for profile in (target / "profiles").glob("*.yml"):
        profile.unlink()
    (target / "profiles" / "test.yml").write_text("memory: 1.75\nshared: {seeds: [0], image_size: 16, train_size: 4, validation_size: 2, test_size: 2}\n")
    return copy
