"""The rooms of src/: each has one purpose that its first line says, and arrows point down only."""

import ast

import pytest

from conftest import PROJECT

MODULES = {path.stem: path for path in sorted((PROJECT / "src").glob("*.py"))}
# What a chapter may use, from the lowest room up. The pipeline stands above them, and none of them knows it.
BELOW_CHAPTERS = ("paths", "machine", "fetch", "found", "assets", "album", "chapters", "outcomes", "experiments", "figures", "augment", "helpers")


def imports_of(path):
    """The project's modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names & set(MODULES)


GRAPH = {name: imports_of(path) for name, path in MODULES.items()}


def below(name, seen=()):
    """All modules that a module uses, directly or through others; a circle is an error."""
    if name in seen:
        raise AssertionError("circle: " + " → ".join([*seen[seen.index(name) :], name]))
    return set().union(*({other} | below(other, (*seen, name)) for other in GRAPH[name]))


@pytest.mark.parametrize("name", MODULES)
def test_no_module_stands_in_a_circle(name):
    below(name)


@pytest.mark.parametrize("name", [n for n in BELOW_CHAPTERS if n in MODULES])
def test_what_chapters_use_does_not_climb_to_the_pipeline(name):
    climbed = below(name) - set(BELOW_CHAPTERS[: BELOW_CHAPTERS.index(name)])
    assert not climbed, f"{name} uses {', '.join(sorted(climbed))}"


@pytest.mark.parametrize("name", MODULES)
def test_the_first_line_says_the_purpose(name):
    purpose = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    assert purpose and 20 <= len(purpose.splitlines()[0]) <= 160


def test_helpers_can_be_read_in_one_sitting():
    assert len(MODULES["helpers"].read_text(encoding="utf-8").splitlines()) <= 600


def test_no_shared_code_knows_a_chapters_name():
    """Neither a module, nor the Snakefile, nor a page's tool has a case for one chapter."""
    import chapters

    names = {c for c in chapters.chapters() if c not in ("data", "filters", "edition", "training", "results", "noise", "report", "sure")}  # words of their own
    pipeline = set(MODULES) - set(BELOW_CHAPTERS) - {"recipes", "bench", "live"}  # these measure or export certain networks
    shared = [*(MODULES[name] for name in sorted(pipeline)), PROJECT / "Snakefile", PROJECT / "Makefile"]
    found = []
    for path in shared:
        text = path.read_text(encoding="utf-8")
        strings = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)} if path.suffix == ".py" else set(text.split('"'))
        found += [f"{path.name}: {string!r}" for string in strings if string in names or any(string == f"{n}-seed0" for n in names)]
    assert not found, found
