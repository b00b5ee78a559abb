"""From a source and a run to a page: what is woven, what is refused, what stands in place of a number that is not there."""

import jupytext
import nbformat
import pytest

import pages
from paths import BookError

SOURCE = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# A page

Some prose.

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
epochs = 5  # how long
```

```{code-cell} ipython3
print(epochs * 2)  # a comment
```

More prose.

```{code-cell} ipython3
x = 3
x
```
"""


def read(text):
    return jupytext.reads(text, fmt="md:myst")


@pytest.fixture
def run():
    """The page, executed with two epochs."""
    notebook = read(SOURCE.replace("epochs = 5 ", "epochs = 2 ").replace('"quick"', '"test"'))
    first, second = pages.chapters.code_cells(notebook)[1:]
    first.outputs, first.execution_count = [nbformat.v4.new_output("stream", text="4\n")], 2
    second.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "3"}, execution_count=3)]
    return notebook


def test_a_page_has_the_text_of_the_source_and_the_outputs_of_the_run(run):
    source = read(SOURCE.replace("Some prose.", "Quite other prose.").replace("# a comment", "# another").replace(":tags: [par", ":tags: [slide, par"))
    page = pages.weave(source, run, "small")
    assert [cell.cell_type for cell in page.cells] == ["markdown", "code", "code", "markdown", "code"]
    assert [cell.id for cell in page.cells] == [f"cell-{i}" for i in range(5)]
    parameters, first, second = pages.chapters.code_cells(page)
    assert "Quite other prose." in page.cells[0].source and "# another" in first.source
    assert parameters.metadata.tags == ["slide", "parameters"] and 'profile = "test"\nepochs = 2 ' in parameters.source  # what ran, not the default
    assert first.outputs[0].text == "4\n" and second.outputs[0].data == {"text/plain": "3"}
    nbformat.validate(page)


@pytest.mark.parametrize(
    "old, new",
    [
        ("epochs * 2", "epochs * 3"),
        ("x = 3\nx\n", "x = 3\nx;\n"),
        ("epochs = 5 ", "rounds = 5 "),
        ("```{code-cell} ipython3\nx = 3\nx\n```\n", ""),
        ("More prose.", "```{code-cell} ipython3\n1 + 1\n```\n"),
    ],
)
def test_changed_code_is_never_shown_with_old_outputs(run, old, new):
    assert old in SOURCE
    with pytest.raises(BookError, match="The code of the chapter small has changed"):
        pages.weave(read(SOURCE.replace(old, new)), run, "small")


def test_an_output_that_does_not_belong_on_a_page_is_refused(run):
    pages.chapters.code_cells(run)[1].outputs.append(nbformat.v4.new_output("display_data", {"text/html": "<svg/onload=alert(1)>"}))
    with pytest.raises(BookError, match="chapter small, code cell 2"):
        pages.weave(read(SOURCE), run, "small")


def test_standalone_and_back(run):
    alone = pages.standalone(run)
    assert [cell.id for cell in alone.cells if cell.id == "alone"] and len(alone.cells) == len(run.cells) + 1
    compile(next(cell.source for cell in alone.cells if cell.id == "alone"), "alone", "exec")
    assert pages.execute.without_help(alone).cells == run.cells


@pytest.mark.parametrize(
    "text, shown",
    [
        ("{glue:text}`here:.1%` and {glue:}`here`", "{glue:text}`here:.1%` and {glue:}`here`"),
        ("{glue:text}`gone:.1%`, {glue:}`gone`, {glue}`gone`, {glue:md}`gone`", "–, –, –, –"),
        ("{glue:text}`b.ipynb::there:,.0f` of {glue:text}`b.md::here`", "{glue:text}`b.ipynb::there:,.0f` of –"),
        ("{glue:text}`../chapters/b.ipynb::there`, {glue:text}`c.ipynb::there`", "{glue:text}`../chapters/b.ipynb::there`, –"),
        ("a\n```{glue} here\n```\nb", "a\n```{glue} here\n```\nb"),
        ("a\n```{glue} there\n:doc: b.ipynb\n```\nb", "a\n```{glue} there\n:doc: b.ipynb\n```\nb"),
        ("a\n```{glue} here\n:doc: b.ipynb\n```\nb", "a\n–\nb"),
        ("a\n:::{glue:figure} gone\n:name: fig\n\nText.\n:::\nb", "a\n–\nb"),
        ("{numref}`fig-gone`, {numref}`Figure %s <fig-gone>`, {ref}`fig-here`", "the figure, the figure, {ref}`fig-here`"),
    ],
)
def test_a_dash_stands_for_a_number_that_is_not_there(monkeypatch, text, shown):
    keys = {"a": {"here"}, "b": {"there"}}
    monkeypatch.setattr(pages, "remarks", lambda profile: {pages.NOT_RUN: ["c"]})
    monkeypatch.setattr(pages, "chapters_by_page", lambda: {"chapters/a": "a", "chapters/b": "b"})
    monkeypatch.setattr(pages, "keys_of", lambda chapter, profile: keys[chapter])
    monkeypatch.setattr(pages, "undrawn", lambda profile: {"fig-gone"})
    assert pages.with_dashes(text, "chapters/a", "edition") == shown
    monkeypatch.setattr(pages, "remarks", lambda profile: {})
    assert pages.with_dashes(text, "chapters/a", "edition") == text, "of a complete book everything is asked"
