"""Every claim of a chapter can fail: its function has an example that gives True, and one that gives False."""

import ast
import doctest
import io

import pytest

import chapters
import experiments
from paths import BookError


def claims():
    """(chapter, text, the call that says whether it holds) of every ``helpers.claim`` in the chapters."""
    for chapter in chapters.chapters():
        for cell in chapters.code_cells(chapters.read_source(chapter)):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "helpers.claim":
                    yield pytest.param(chapter, *node.args, id=f"{chapter}: {ast.unparse(node.args[0])[:40]}")


def function_of(chapter, name):
    """The source of a function that a chapter defines."""
    cells = (cell.source for cell in chapters.code_cells(chapters.read_source(chapter)) if f"def {name}(" in cell.source)
    return next(node for cell in cells for node in ast.parse(cell).body if getattr(node, "name", None) == name)


def examples_of(function):
    """The examples in a function's docstring, run with nothing but Python: their wanted answers."""
    names = {}
    exec(ast.unparse(function), names)
    test = doctest.DocTestParser().get_doctest(ast.get_docstring(function) or "", names, function.name, None, None)
    said = io.StringIO()
    doctest.DocTestRunner(verbose=False).run(test, out=said.write, clear_globs=False)
    assert not said.getvalue(), said.getvalue()
    return [example.want.strip() for example in test.examples if example.source.startswith(f"{function.name}(")]


@pytest.mark.parametrize(("chapter", "text", "holds"), list(claims()))
def test_a_claim_can_fail(chapter, text, holds):
    assert isinstance(text, ast.Constant), "a claim is one plain text"
    assert isinstance(holds, ast.Call) and isinstance(holds.func, ast.Name), "whether it holds is what a function of the chapter returns"
    assert set(examples_of(function_of(chapter, holds.func.id))) == {"True", "False"}


def test_an_example_that_is_wrong_is_found():
    wrong = ast.parse('def more(a, b):\n    """\n    >>> more(2, 1)\n    True\n    >>> more(1, 2)\n    True\n    """\n    return a > b').body[0]
    with pytest.raises(AssertionError, match="Expected"):
        examples_of(wrong)


@pytest.mark.parametrize("profile", ["report", "quick"])
def test_a_false_claim_stops_the_report_profile_only(profile, monkeypatch, capsys):
    monkeypatch.setenv("BOOK_CHAPTER", "noise")
    monkeypatch.setenv("BOOK_PROFILE", profile)
    experiments.claim("One is less than two.", 1 < 2)
    experiments.save_result("noise", profile, more=1)
    if profile == "report":
        with pytest.raises(BookError, match="noise claims: 'Two is less than one.'"):
            experiments.claim("Two is less than one.", 2 < 1)
    else:
        experiments.claim("Two is less than one.", 2 < 1)
        assert "does not hold in this run" in capsys.readouterr().out
        assert experiments.load_claims(profile) == {"noise": {"One is less than two.": True, "Two is less than one.": False}}


def test_a_chapter_opened_alone_only_prints(monkeypatch, capsys):
    monkeypatch.delenv("BOOK_CHAPTER", raising=False)
    monkeypatch.delenv("BOOK_PROFILE", raising=False)
    experiments.claim("Two is less than one.", 2 < 1)
    assert capsys.readouterr().out == "does not hold in this run: Two is less than one.\n"
    assert experiments.load_claims("report") == {}


@pytest.mark.parametrize("holds", [1, "yes", None, [True], (x for x in ())])
def test_a_claim_is_true_or_false(holds):
    with pytest.raises(BookError, match="neither true nor false"):
        experiments.claim("Something holds.", holds)
