"""The statistics of the chapter results, on tables whose answer is known; and its names, which are those of real experiments."""

import ast

import numpy as np
import pandas as pd
import pytest

import chapters

DRAWS = 4000


@pytest.fixture(scope="module")
def page():
    return chapters.definitions("results", only_functions=True)


@pytest.fixture(scope="module")
def table_of_names():
    """The chapter's tables ``ladder``, ``names``, ``in_the_report`` and ``elsewhere``, which stand alone."""
    names = {}
    for cell in chapters.code_cells(chapters.read_source("results")):
        if "\nladder = {" in f"\n{cell.source}":
            exec(cell.source, names)
    return names


def spread(page, table, groups=None):
    """Standard deviation of the drawn means of a table."""
    groups = np.arange(table.shape[1]) if groups is None else groups
    return page["bootstrap"](table, page["draw_photos"](groups, DRAWS)).std()


def test_photos_alone_give_the_binomial_error(page):
    answers = np.repeat([[1.0] * 800 + [0.0] * 200], 3, axis=0)  # three seeds that agree
    assert spread(page, answers) == pytest.approx(np.sqrt(0.8 * 0.2 / 1000), rel=0.05)
    low, high = page["interval"](page["bootstrap"](answers, page["draw_photos"](np.arange(1000), DRAWS)))
    assert (low, high) == pytest.approx((0.775, 0.825), abs=0.003)


@pytest.mark.parametrize("levels", [(0.6, 0.7, 0.9), (0.5, 0.5, 0.6, 0.7, 0.9)])
def test_seeds_alone_give_the_error_of_their_mean(page, levels):
    table = np.repeat(np.array(levels)[:, None], 50, axis=1)  # no photo differs from another
    assert spread(page, table) == pytest.approx(np.std(levels, ddof=1) / np.sqrt(len(levels)), rel=0.05)


def test_one_seed_has_the_error_of_the_photos(page):
    assert spread(page, np.array([[1.0] * 90 + [0.0] * 10])) == pytest.approx(0.03, rel=0.06)


def test_near_duplicates_are_one_photo(page):
    answers = np.array([[1.0, 1.0] * 80 + [0.0, 0.0] * 20])
    pairs = np.repeat(np.arange(100), 2)
    assert spread(page, answers, pairs) == pytest.approx(0.04, rel=0.06)
    assert spread(page, answers) == pytest.approx(0.04 / np.sqrt(2), rel=0.06)
    times = page["draw_photos"](pairs, 50)
    assert (times[:, ::2] == times[:, 1::2]).all() and (times.sum(axis=1) == 200).all()


def test_the_interval_holds_the_truth_about_as_often_as_it_says(page):
    """Photos and seeds with effects of their own, and chance in each answer: of 300 such experiments, the share whose interval holds the truth."""
    rng, photos, seeds, held = np.random.default_rng(3), 300, 5, 0
    times = page["draw_photos"](np.arange(photos), 1000)
    for _ in range(300):
        table = 0.8 + 0.2 * rng.normal(size=photos) + 0.01 * rng.normal(size=(seeds, 1)) + 0.2 * rng.normal(size=(seeds, photos))
        low, high = page["interval"](page["bootstrap"](table, times))
        held += low <= 0.8 <= high
    assert 0.91 <= held / 300 <= 0.99


def test_p_value(page):
    rng = np.random.default_rng(0)
    assert page["p_value"](rng.normal(size=DRAWS)) > 0.8
    assert page["p_value"](rng.normal(loc=1.96, size=DRAWS)) == pytest.approx(0.05, abs=0.01)
    assert page["p_value"](-2 + np.zeros(DRAWS)) == 2 / DRAWS, "no smaller than the draws can tell"
    assert page["p_value"](np.zeros(DRAWS)) == 1


def test_two_networks_are_compared_on_the_same_photos_and_seeds(page):
    photos = [f"cat.{i}" for i in range(200)]
    before = pd.DataFrame(0.0, index=[0, 1, 2, 3], columns=photos)
    after = pd.DataFrame(0.0, index=[0, 1, 2], columns=photos)
    before.iloc[:, :100] = after.iloc[:, :100] = 1
    after.iloc[:, 100:120] = 1  # twenty photos more, in every seed
    page["right"] = {"after": after, "before": before}
    page["times"] = page["draw_photos"](np.arange(200), DRAWS)
    gains = page["difference"]("after", "before")
    assert list(gains.index) == [0, 1, 2]
    said = page["compare"](gains)
    error = np.sqrt(0.1 * 0.9 / 200)
    assert said["gain"] == pytest.approx(0.1) and (said["agree"], said["seeds"]) == (3, 3)
    assert (said["low"], said["high"]) == pytest.approx((0.1 - 1.96 * error, 0.1 + 1.96 * error), abs=0.008)
    assert said["p"] == 2 / DRAWS
    assert page["compare"](page["difference"]("after", "after"))["p"] == 1
    back = page["compare"](page["difference"]("before", "after"))
    assert back["gain"] == pytest.approx(-0.1) and back["agree"] == 3


def test_experiments_without_a_name_are_named(page):
    assert page["unnamed"](["a", "b_1", "c", "d_2"], {"a": "A"}, ["b_*"]) == ["c", "d_2"]


def test_the_pages_names_are_those_of_experiments(table_of_names):
    there = {e.name for e in chapters.all_experiments("report").values()}
    assert set(table_of_names["names"]) <= there, "no chapter has these: take them out of `names` in results.md, or mend their spelling"
    assert set(table_of_names["ladder"]) | set(table_of_names["in_the_report"]) <= set(table_of_names["names"])


def test_every_question_is_about_experiments_that_have_names(table_of_names):
    """The pairs in the list of questions; a misspelt one would be left out without a word."""
    cell = next(c for c in chapters.code_cells(chapters.read_source("results")) if "questions = [" in c.source)
    known = {**table_of_names, "right": {}, "zip": zip}
    tree = ast.parse(cell.source)
    tree.body = [n for n in tree.body if ast.unparse(n).startswith(("questions", "kinds", "settings"))]
    exec(compile(tree, "questions", "exec"), {**known, "climbed": list(table_of_names["ladder"])}, known)
    unknown = {name for _, *pair, _ in known["questions"] for name in pair} - set(table_of_names["names"])
    assert not unknown
