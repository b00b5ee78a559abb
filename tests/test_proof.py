"""No test photo trains or chooses: proved from what runs have left, the edition's and one in the test profile, and from the chapters' code."""

import ast
import csv
import json
from functools import cache

import numpy as np
import pytest

import assets
import chapters
import outcomes
from conftest import FOLDER, PROJECT, needs
from test_edition import whole

EDITION = PROJECT / "edition"
OUTCOMES = sorted((EDITION / "outcomes").glob("*.npz"))
complete = pytest.mark.skipif(not OUTCOMES, reason="edition/ has no outcomes yet")


# --- what runs have left ----------------------------------------------------------------------------------------


def base_names(part):
    return [assets.base_name(name, label) for name, label in zip(part["names"], part["labels"])]


def answers_in(outcome):
    """The answers to test and validation photos in an outcome, by their names in it: "test", "test_mirrored", …"""
    named = outcome.items() if isinstance(outcome, dict) else ()  # a solution's outcome may be a list of curves
    return {k: v for k, v in named if k.startswith(("test", "validation")) and isinstance(v, dict) and "names" in v}


def faults_of_outcome(path, photos):
    """What is wrong with the photos of an outcome: it was tested on exactly the book's test photos, and neither they nor near-duplicates of
    them are among those that trained and validated.

    ``photos``: those of the run; the split is made anew from them and the seed.
    """
    outcome, about = outcomes.load(path)
    answered = answers_in(outcome)
    if about["data"] is None:
        return [f"answers to photos of its own: {part}" for part in answered]
    sizes = {k: v for k, v in about["data"].items() if k != "image_size"}
    parts, faults = split(photos, about["seed"] or 0, **sizes), []
    for part, given in answered.items():
        expected = getattr(parts, part.split("_")[0])
        if list(given["names"]) != list(expected.names) or not np.array_equal(given["labels"], expected.labels):
            faults.append(f"its {part} photos are not those of seed {about['seed']}")
    group = dict(zip(photos.names, photos.groups))
    test = {group[name] for name in parts.test.names}
    held_out = {part: {group[name] for name in getattr(parts, part).names} for part in ("train", "validation")}
    return faults + [f"near-duplicates of test photos among those of {part}" for part, groups in held_out.items() if groups & test]


def split(photos, seed, **sizes):
    return _split(photos.digest, seed, tuple(sorted(sizes.items())), Held(photos))


class Held:
    """Photos as an argument of a cached function, which only the other arguments tell apart."""

    def __init__(self, photos):
        self.photos = photos

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


@cache
def _split(digest, seed, sizes, held):
    return assets.split(held.photos, seed, **dict(sizes))


def faults_of_answers(path, expected):
    """Of a file ``…-seed<k>.csv``: it holds answers to the test photos, of each experiment one to each, and to no other photo."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    answered = {}
    for row in rows:
        answered.setdefault(row["experiment"], []).append((assets.base_name(row["photo"], int(row["label"])), int(row["label"])))
    return [f"{path.name}: {name}" for name, photos in answered.items() if sorted(photos) != sorted(expected)]


FIXED = sorted((name, int(name.startswith("dog"))) for name in assets.fixed_test_photos())


@complete
@pytest.mark.parametrize("path", OUTCOMES, ids=lambda path: path.stem)
def test_an_outcome_of_the_edition_was_tested_on_the_books_test_photos_and_no_other(path):
    outcome, about = outcomes.load(path)
    answered = answers_in(outcome)
    assert about["data"] or not answered
    for part, given in answered.items():
        photos = set(zip(base_names(given), map(int, given["labels"])))
        if part.startswith("test"):
            assert photos <= set(FIXED) and len(photos) == len(given["names"]) == 2 * about["data"]["test_size"]  # 1,000 are all
        else:
            assert not photos & set(FIXED)


@pytest.fixture(scope="module")
def real_photos(tmp_path_factory):
    """All photos of the book, decoded very small: near-duplicates are told at one size, whatever the size of the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_DATA", str(FOLDER))
        patch.setenv("BOOK_RUNS", str(tmp_path_factory.mktemp("proof")))
        return assets.load_photos("report", 8)


@complete
@needs("cats_vs_dogs")
def test_no_training_of_the_edition_saw_a_test_photo_or_a_near_duplicate(real_photos):
    faults = {path.stem: found for path in OUTCOMES if (found := faults_of_outcome(path, real_photos))}
    assert not faults, faults


@needs("cats_vs_dogs")
def test_the_test_photos_are_in_no_other_part_whatever_the_seed(real_photos):
    """Of all seeds with which anything was trained, those with which recipes were chosen among them."""
    seeds = {e.seed for e in chapters.all_experiments("report").values() if e.seed is not None} | recipe_seeds()
    group = dict(zip(real_photos.names, real_photos.groups))
    label = dict(zip(real_photos.names, real_photos.labels))
    shared = chapters.load_profile("report")["shared"]
    for seed in seeds:
        parts = split(real_photos, seed, **{k: shared[k] for k in ("train_size", "validation_size", "test_size")})
        assert sorted((assets.base_name(n, label[n]), int(label[n])) for n in parts.test.names) == FIXED
        others = [*parts.train.names, *parts.validation.names]
        assert not {group[n] for n in others} & {group[n] for n in parts.test.names}, seed
        assert len(set(others)) == len(others)


@whole
def test_the_editions_files_of_answers_hold_test_photos_only():
    paths = sorted((EDITION / "results").glob("*-seed*.csv"))
    assert paths
    faults = [fault for path in paths for fault in faults_of_answers(path, FIXED)]
    assert not faults, faults


def test_a_run_in_the_test_profile_proves_the_same(book):
    photos = assets.load_photos("test", 8)
    paths = sorted((book.path / "runs" / "test" / "outcomes").glob("*.npz"))
    assert paths
    faults = {path.stem: found for path in paths if (found := faults_of_outcome(path, photos))}
    assert not faults, faults
    shared = chapters.load_profile("test")["shared"]
    test = split(photos, 0, **{k: shared[k] for k in ("train_size", "validation_size", "test_size")}).test
    expected = [(assets.base_name(name, label), int(label)) for name, label in zip(test.names, test.labels)]
    answers = sorted(book.results.glob("*-seed*.csv"))
    assert answers and not [fault for path in answers for fault in faults_of_answers(path, expected)]


# --- the proof itself can fail ----------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path):
    """A function that writes an outcome as a training leaves it, with something changed; returns its path and the photos."""
    photos, sizes = assets.load_photos("test", 8), {"train_size": 10, "validation_size": 4, "test_size": 4}
    parts = assets.split(photos, 3, **sizes)

    def write(seed=3, data=sizes, **other_parts):
        answered = {part: other_parts.get(part, getattr(parts, part)) for part in ("test", "validation")}
        answered = {part: {"names": list(p.names), "labels": p.labels, "probability": np.zeros(len(p.labels))} for part, p in answered.items()}
        path = tmp_path / "small_cnn-seed3.npz"
        outcomes.save(path, answered, {"key": "0", "seed": seed, "data": data and {"image_size": 8, **data}})
        return path, photos

    write.parts = parts
    return write


def test_an_outcome_in_order_has_no_fault(left):
    assert faults_of_outcome(*left()) == []


def test_an_outcome_with_other_photos_is_found(left):
    assert faults_of_outcome(*left(test=left.parts.validation)) == ["its test photos are not those of seed 3"]
    assert faults_of_outcome(*left(validation=left.parts.test)) == ["its validation photos are not those of seed 3"]
    assert faults_of_outcome(*left(seed=4)) == ["its validation photos are not those of seed 4"]
    assert faults_of_outcome(*left(data=None)) == ["answers to photos of its own: test", "answers to photos of its own: validation"]


def test_a_near_duplicate_is_found(left):
    path, photos = left()
    place = {name: i for i, name in enumerate(photos.names)}
    photos.groups[place[left.parts.train.names[0]]] = photos.groups[place[left.parts.test.names[0]]]
    assert faults_of_outcome(path, photos) == ["near-duplicates of test photos among those of train"]


def test_answers_to_other_photos_are_found(tmp_path):
    path = tmp_path / "training-seed0.csv"
    path.write_text("experiment,photo,label,probability\na,train/cat.1.jpg,0,0.5\na,train/dog.7.jpg,1,0.5\nb,train/cat.1.jpg,0,0.5\n")
    assert faults_of_answers(path, [("cat.1", 0), ("dog.7", 1)]) == ["training-seed0.csv: b"]


# --- recipes ----------------------------------------------------------------------------------------------------


def recipe_seeds():
    return {entry["seed"] for path in EDITION.glob("recipes*.json") for entry in json.loads(path.read_text(encoding="utf-8"))}


def test_recipes_were_chosen_with_seeds_that_no_result_has():
    assert recipe_seeds() and min(recipe_seeds()) >= 100
    results = {e.seed for e in chapters.all_experiments("report").values() if e.seed is not None}
    assert results and max(results) < 100


# --- the chapters' code -----------------------------------------------------------------------------------------

SHOWN = {  # chapters whose code may look at test photos, and what for; their answers, and how many there are, are for every page
    "data": "compares the three parts, and asks its two simple rules",
    "data_solutions": "shows how little a mean over all photos changes",
    "fine_tuning": "the answers of its networks, to mirror images, too",
    "noise": "reads the test with filters switched off, and chooses nothing by it",
    "residual": "the answers of its network",
    "sure": "asks again about changed photos, and measures on which ones networks fail",
    "training": "shows the worst mistakes",
    "transfer": "the features of its networks, and their answers",
}


def looks_at_test_photos(source):
    """Does a piece of code reach for the test part of a split, other than for its labels? Answers in an outcome, ``["test"]``, are no photos."""
    tree = ast.parse(source)
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "test":
            above = parent.get(node)
            if not (isinstance(above, ast.Attribute) and above.attr == "labels"):
                return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr" and '"test"' in source.replace("'", '"'):
            return True
    return False


@pytest.mark.parametrize("source, looks", [
    ("parts.test.images[0]", True),
    ("some(parts.test)", True),
    ("for p in ('train', 'test'):\n    getattr(parts, p)", True),
    ("getattr(parts, 'validation').images", False),
    ("len(parts.test.labels)", False),
    ("result['test']['probability']", False),
    ("parts.validation.images", False),
])  # fmt: skip
def test_reaching_for_test_photos_is_seen(source, looks):
    assert looks_at_test_photos(source) == looks


def test_the_chapters_that_look_at_test_photos_are_known():
    looking = {c for c in chapters.chapters() if any(looks_at_test_photos(cell.source) for cell in chapters.code_cells(chapters.read_source(c)))}
    assert looking <= set(SHOWN), f"may {', '.join(sorted(looking - set(SHOWN)))} look at test photos? Choices are made on validation photos. Else say what for, in SHOWN."
