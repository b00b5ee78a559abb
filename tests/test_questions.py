"""Predictions and questions to check oneself: what they become, and that those which cannot be answered stop the build."""

import json
import re

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace

import chapters
import pages
import questions
from conftest import PROJECT

SHARE = """
```{predict} new-photos
:result: accuracy
:range: 50 100
The network sees 2,000 photos. How many *new* ones in a hundred will it get right?
```
"""
GAP = """
```{predict} gap
Wider or narrower?
- wider
- [x] narrower, by *far*
```
"""
CHECK = """
```{check}
Which one, `a` or *b*?
- [ ] The first.

  It is **not**.
- [x] The second.

  Because of this.

  And of that.
```
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build two pages from MyST text; returns the first one's soup, and what was warned of."""
    monkeypatch.setattr(pages, "chapters_by_page", lambda: {"index": "index", "other": "other"})
    monkeypatch.setattr(pages, "remarks", lambda profile: {})
    monkeypatch.setattr(pages, "glued", lambda chapter, profile: {"accuracy": "0.7214", "steps": "1234.0", "word": "'wider'", "array": "np.float32(3)"})

    def run(text, other="# Other\n"):
        (tmp_path / "index.md").write_text(f"# First\n{text}\n```{{toctree}}\nother\n```\n", encoding="utf-8")
        (tmp_path / "other.md").write_text(other, encoding="utf-8")
        with open(tmp_path / "log", "w+", encoding="utf-8") as log, docutils_namespace():
            app = Sphinx(tmp_path, None, tmp_path / "html", tmp_path / "trees", "html", {"extensions": ["myst_parser"]}, status=None, warning=log)
            app.add_config_value("book_profile", "edition", "env", str)
            questions.setup(app)
            app.build(force_all=True)
            log.seek(0)
            said = log.read()
        return BeautifulSoup((tmp_path / "html" / "index.html").read_text(encoding="utf-8"), "html.parser"), said

    return run


def test_a_prediction_is_a_question_that_knows_its_result(build):
    page, said = build(SHARE)
    card = page.select_one("#predict-new-photos")
    assert not said and card["role"] == "group" and page.find(id=card["aria-labelledby"]).get_text() == "Predict first"
    assert "How many new ones" in card.get_text() and card.em.get_text() == "new"
    assert json.loads(card["data-predict"]) == {"name": "new-photos", "kind": "percent", "unit": "%", "digits": 1, "range": [50, 100], "result": 72.1, "shown": "72.1\u00a0%"}


def test_a_number_has_a_unit(build):
    page, _ = build("```{predict} steps\n:result: other.ipynb::steps\n:kind: number\n:unit: steps\nHow many?\n```")
    assert json.loads(page.select_one("#predict-steps")["data-predict"])["shown"] == "1,234\u00a0steps"


def test_choices_stand_in_a_list_and_the_mark_is_taken_off(build):
    page, said = build(GAP)
    entry = json.loads(page.select_one("#predict-gap")["data-predict"])
    assert not said and entry["choices"] == ["wider", "narrower, by far"] and entry["result"] == "narrower, by far"
    assert [item.get_text().strip() for item in page.select("#predict-gap ul.book-choices li")] == ["wider", "narrower, by far"]
    page, _ = build(GAP.replace("Wider or", ":result: word\nWider or").replace("[x] ", ""))
    assert json.loads(page.select_one("#predict-gap")["data-predict"])["result"] == "wider"


def test_beside_the_result_stands_a_place_that_is_hidden_until_the_script_fills_it(build):
    page, said = build("```{predicted} new-photos\n```\nIt is so. {predicted}`new-photos`", other=f"# Other\n{SHARE}")
    places = page.select("[data-predicted]")
    assert not said and [place.name for place in places] == ["p", "span"] and all(place.has_attr("hidden") and not place.get_text() for place in places)
    assert json.loads(places[0]["data-predicted"])["result"] == 72.1


def test_all_predictions_stand_in_one_table_and_lead_to_their_questions(build):
    page, said = build(f"{GAP}\n```{{predictions}}\n```", other=f"# Other\n{SHARE}")
    rows = page.select("[data-predictions] tbody tr")
    assert not said and [row.a["href"] for row in rows] == ["#predict-gap", "other.html#predict-new-photos"]
    assert rows[1].select("td")[0].get_text() == "How many new ones in a hundred will it get right?"
    assert "0 of 2" in page.select_one(".book-forget").get_text() and page.select_one(".book-forget").has_attr("hidden")


def test_what_has_not_been_run_has_no_result(build, monkeypatch):
    monkeypatch.setattr(pages, "remarks", lambda profile: {pages.NOT_RUN: ["index"]})
    page, said = build(SHARE.replace("accuracy", "gone"))
    assert not said and json.loads(page.select_one("#predict-new-photos")["data-predict"])["result"] is None


def test_answers_are_details_with_their_reasons(build):
    page, said = build(CHECK)
    card = page.select_one(".book-check")
    assert not said and page.find(id=card["aria-labelledby"]).get_text() == "Which one, a or b?"
    first, second = card.select("details")
    assert first.summary.get_text(" ", strip=True) == "A The first." and first["class"] == ["book-no"] and not first.has_attr("open")
    assert first.select_one("p").get_text(" ", strip=True) == "No. It is not ."
    assert [p.get_text(" ", strip=True) for p in second.select("p")] == ["Right. Because of this.", "And of that."]
    page, said = build(CHECK.replace("[ ]", "[x]").replace("{check}", "{check}\n:several:"))
    assert not said and "(Several are right.)" in page.select_one(".book-question").get_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SHARE.replace("new-photos", "New-photos"), "small letters"),
        (SHARE.replace("accuracy", "gone"), "glues no 'gone'"),
        (SHARE.replace("accuracy", "word"), "not a number"),
        (SHARE.replace("accuracy", "array"), "neither a number nor a text"),
        (SHARE.replace("accuracy", "elsewhere.md::accuracy"), "which is no chapter"),
        (SHARE.replace(":result: accuracy\n", ""), "Name the result"),
        (SHARE.replace("50 100", "100 50"), "lowest and the highest"),
        (SHARE.replace("right?", "right."), "asks nothing"),
        (SHARE + SHARE, "two predictions"),
        (GAP.replace("[x] ", ""), "Mark the choice"),
        (GAP.replace("- wider\n", ""), "two to five choices"),
        (GAP.replace("Wider or", ":result: accuracy\nWider or"), "none of the choices"),
        ("```{predicted} nothing\n```", "no prediction of the name"),
        (CHECK.replace("[ ]", "[x]"), "2 answers are right"),
        (CHECK.replace("[x]", "[ ]"), "0 answers are right"),
        (CHECK.replace("{check}", "{check}\n:several:"), "1 answers are right"),
        (CHECK.replace("[ ] ", ""), "begins with"),
        (CHECK.replace("  It is **not**.\n", ""), "Answer A has no reason"),
        ("```{check}\n- [x] So.\n\n  Reason.\n```", "begins with its question"),
        ("```{check}\nBecause.\n```", "two to four answers"),
        ("```{check}\nWhy?\n- [x] So.\n\n  Reason.\n```", "two to four answers"),
    ],
)
def test_what_cannot_be_asked_or_answered_is_complained_of(build, text, complaint):
    try:
        _, said = build(text)
    except SphinxError as error:
        said = str(error)
    assert complaint in said, said


def test_each_question_of_the_book_is_met_again_beside_its_result():
    """What is predicted is compared somewhere, and every comparison has its question."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "book").rglob("*.md")))
    asked = re.findall(r"^```\{predict\} (\S+)", text, re.M)
    met = re.findall(r"^```\{predicted\} (\S+)", text, re.M) + re.findall(r"\{predicted\}`([^`]+)`", text)
    assert asked and set(asked) == set(met)
    assert chapters.toc_files().count("book/predictions") == 1
