"""Memory and cards are Snakemake's to give: what runs side by side, and which card each sees. Cards are simulated (BOOK_GPUS)."""

import multiprocessing
import os
import time

import pytest

import environment
from noting import noting_project
from paths import BookError


@pytest.fixture
def no_cards(monkeypatch):
    for name in ("BOOK_GPUS", "BOOK_CARDS", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "visible, wanted, expected",
    [
        ("2,5", None, ["2", "5"]),
        ("2,5", "1", ["2"]),
        ("2,5", "0", []),
        ("-1", None, []),
        ("", None, []),
        ("NoDevFiles", None, []),
        ("GPU-1b2c, MIG-3d", None, ["GPU-1b2c", "MIG-3d"]),
        ("", "2", ["0", "1"]),
    ],
)
def test_cards_are_those_that_a_run_is_left(no_cards, monkeypatch, visible, wanted, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if wanted is not None:
        monkeypatch.setenv("BOOK_GPUS", wanted)
    assert environment.cards() == expected


@pytest.mark.parametrize("name, function", [("BOOK_GPUS", environment.cards), ("BOOK_MEMORY", environment.free_memory)])
def test_a_number_that_is_none_is_named(no_cards, monkeypatch, name, function):
    monkeypatch.setenv(name, "many")
    with pytest.raises(BookError, match=f"{name} is 'many'"):
        function()


@pytest.mark.parametrize("mode, wanted, seen", [("given", True, "7"), ("given", False, ""), ("none", True, ""), ("none", False, "")])
def test_in_a_job_of_a_cluster_the_cluster_has_chosen(no_cards, monkeypatch, mode, wanted, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("BOOK_CARDS", mode)
    with environment.one_card(wanted):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def hold_a_card(queue, seconds):
    with environment.one_card(True):
        queue.put((os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic()))
        time.sleep(seconds)
        queue.put((None, time.monotonic()))


def test_three_processes_share_two_cards(no_cards, monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_GPUS", "2")
    (tmp_path / "runs").mkdir()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    for process in (three := [context.Process(target=hold_a_card, args=(queue, 2)) for _ in range(3)]):
        process.start()
    for process in three:
        process.join(30)
    events = sorted((queue.get(timeout=5) for _ in range(6)), key=lambda e: e[1])
    cards = [card for card, _ in events if card is not None]
    assert sorted(cards[:2]) == ["0", "1"] and [card for card, _ in events[:3]].count(None) == 1, events


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


def test_with_one_card_trainings_queue_and_other_chapters_run_beside_them(tmp_path):
    copy = noting_project(tmp_path / "copy")
    copy.environment = {"BOOK_GPUS": "1", "BOOK_MEMORY": "8"}
    copy.chapter("trained", first=dict(beside="plain"), second=dict(beside="plain"))
    copy.chapter("plain", beside=("first-seed0", "second-seed0"))
    copy.snakemake("-p", copy.outcome("first-seed0"), copy.outcome("second-seed0"), copy.path / "runs/test/notebooks/plain.ipynb")
    spans = copy.spans()
    assert [spans[name][2] for name in ("first-seed0", "second-seed0", "plain")] == ["0", "0", ""]
    assert not overlap(spans["first-seed0"], spans["second-seed0"])
    assert any(overlap(spans["plain"], spans[name]) for name in ("first-seed0", "second-seed0"))


def test_with_two_cards_two_trainings_run_and_each_sees_its_own(tmp_path):
    copy = noting_project(tmp_path / "copy")
    copy.environment = {"BOOK_GPUS": "2", "BOOK_MEMORY": "8"}
    copy.chapter("trained", first=dict(beside="second-seed0"), second=dict(beside="first-seed0"))
    copy.snakemake("-p", copy.outcome("first-seed0"), copy.outcome("second-seed0"))
    first, second = copy.spans()["first-seed0"], copy.spans()["second-seed0"]
    assert overlap(first, second) and {first[2], second[2]} == {"0", "1"}


def test_with_memory_for_one_nothing_runs_beside_it(tmp_path):
    copy = noting_project(tmp_path / "copy")
    copy.environment = {"BOOK_MEMORY": "2", "BOOK_GPUS": "0"}
    copy.chapter("trained", first={}, second={})
    copy.snakemake("-p", copy.outcome("first-seed0"), copy.outcome("second-seed0"))
    first, second = copy.spans()["first-seed0"], copy.spans()["second-seed0"]
    assert not overlap(first, second) and first[2] == second[2] == ""
