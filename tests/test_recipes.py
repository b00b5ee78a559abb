"""The choice of recipes: what was tried is written down, and could be tried again."""

import json

import pytest

import chapters
import recipes
from conftest import PROJECT

RECORD = PROJECT / "edition" / "recipes.json"


def test_the_record_is_whole_and_no_seed_of_the_edition_has_chosen():
    entries = recipes.read(RECORD)
    fields = {"experiment", "seed", "changes", "epochs", "best", "best_epoch", "last_five", "seconds", "val_accuracy"}
    assert entries and all(fields <= set(e) and e["seed"] >= 100 and 0.5 < e["best"] < 1 for e in entries)
    assert len({recipes.key_of(e) for e in entries}) == len(entries)


def test_candidates_are_experiments_of_the_book():
    known = {e.name: e for e in chapters.all_experiments("report").values()}
    for name, seed, changes in recipes.CANDIDATES:
        experiment = recipes.changed(known[name], changes)
        assert seed >= 100 and set(known[name].data) == set(experiment.data)
        if "image_size" in changes:
            assert experiment.data["image_size"] == changes["image_size"] and "image_size" not in experiment.arguments
        assert json.loads(json.dumps(changes)) == changes, "a record has lists, no tuples"


def test_what_another_machine_has_found_is_taken_over(tmp_path, monkeypatch):
    here, there = tmp_path / "test" / "recipes.json", tmp_path / "there.json"
    here.parent.mkdir()

    def entry(rate, last):
        return {"experiment": "a", "seed": 100, "changes": {"rate": rate}, "last_five": last}

    recipes.write(here, [entry(1, 0.7), entry(2, 0.6)])
    recipes.write(there, [entry(1, 0.8), entry(3, 0.9)])
    monkeypatch.setenv("BOOK_RUNS", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["recipes.py", "--profile", "test", "--add", str(there)])
    recipes.main()
    assert [(e["changes"]["rate"], e["last_five"]) for e in recipes.read(here)] == [(3, 0.9), (1, 0.8), (2, 0.6)]


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"image_size": 8, "epochs": 2}])
def test_a_candidate_keeps_what_it_does_not_change(changes):
    first = chapters.Experiment("a", 0, "train", {"image_size": 16, "train_size": 4}, {"epochs": 9, "rate": 1}, "b")
    second = recipes.changed(first, changes)
    assert second.data == {"image_size": changes.get("image_size", 16), "train_size": 4}
    assert second.arguments == {"epochs": changes["epochs"], "rate": 1} and second.function == "train"
