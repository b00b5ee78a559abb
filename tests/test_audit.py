"""Contact sheets tell nothing but the photos, the key tells the rest, and only whole readings get into the table."""

import csv

import numpy as np
import pytest
from PIL import Image

import assets
import audit
import experiments
from paths import PROJECT, BookError, runs_folder

NAMES = [f"cat.{i} (drawn)" for i in range(60)] + [f"dog.{i} (drawn)" for i in range(60)]
LABELS = np.repeat([0, 1], 60)


def outcome(seed):
    return {"test": {"names": NAMES, "labels": LABELS, "probability": np.random.default_rng(seed).random(120).astype(np.float32)}}


@pytest.fixture
def sheets(tmp_path, monkeypatch, capsys):
    """Sheets of drawn pictures, on which two networks have been tested: their folder."""
    monkeypatch.setattr(experiments, "load_outcomes", lambda name, profile: {0: outcome(1), 1: outcome(2)} if name == "good" else {0: outcome(3)})
    audit.make_sheets(tmp_path / "sheets", ["good", "better"], 20, 15, 0, "test")
    assert "The reader gets this folder, and not" in capsys.readouterr().out
    return tmp_path / "sheets"


def key(folder):
    with open(audit.key_of(folder), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_sheets_and_key(sheets):
    rows = key(sheets)
    assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1)) and 20 <= len(rows) <= 35
    assert {"doubted", "random"} <= {row["sample"] for row in rows} <= {"doubted", "random", "doubted random"}
    assert sum("doubted" in row["sample"] for row in rows) == 20 and sum("random" in row["sample"] for row in rows) == 15
    assert {row["photo"].split(".")[0] for row in rows[:15]} == {"cat", "dog"}, "shuffled"
    doubt = audit.doubts([outcome(1), outcome(2), outcome(3)])
    limit = sorted(doubt.values())[19]
    by_base = {assets.base_name(name, label): doubt[name] for name, label in zip(NAMES, LABELS)}
    assert all((by_base[row["photo"]] <= limit) == ("doubted" in row["sample"]) for row in rows)
    files = sorted(path.name for path in sheets.iterdir())
    assert files == [f"sheet-{i + 1:02}.png" for i in range(-(-len(rows) // 20))], "no key among them"
    with Image.open(sheets / files[0]) as page:
        assert page.size == (5 * 250 + 26, 4 * 250 + 26) and not page.info


def test_a_photo_stands_where_its_number_says(sheets):
    third = key(sheets)[2]
    kind, index = third["photo"].removesuffix(" (drawn)").split(".")
    drawn = assets.draw_photo(int(kind == "dog"), int(index), audit.SIDE)
    page = np.asarray(Image.open(sheets / "sheet-01.png"))
    x, y = audit.EDGE + 2 * (audit.SIDE + audit.EDGE), audit.EDGE
    assert np.abs(page[y : y + audit.SIDE, x : x + audit.SIDE].astype(int) - drawn).mean() < 1


def test_a_photo_has_its_own_shape_again():
    assert audit.in_shape(np.zeros((224, 224, 3), np.uint8), (500, 250)).size == (224, 112)


def test_photos_are_not_put_into_the_project(tmp_path):
    for folder, message in ((PROJECT / "edition" / "sheets", "where photos do not belong"), (tmp_path, "is not empty")):
        (tmp_path / "something").write_text("x")
        with pytest.raises(BookError, match=message):
            audit.make_sheets(folder, ["good"], 1, 1, 0, "test")
    assert runs_folder() != PROJECT


def write(path, rows, verdict="cat", but=()):
    said = dict(but)
    path.write_text("# by hand\n\n" + "".join(f"{row['number']}, {said.get(int(row['number']), verdict)}\n" for row in rows))
    return path


def test_verdicts_get_into_the_table(sheets, tmp_path):
    rows, table = key(sheets), tmp_path / "audit.csv"
    audit.collect(sheets, write(tmp_path / "a.txt", rows, "Cat", {2: "both"}), "a student", table)
    audit.collect(sheets, write(tmp_path / "b.txt", rows, "dog"), "a teacher", table)
    audit.collect(sheets, write(tmp_path / "b.txt", rows, "neither"), "a teacher", table)  # in place of the first reading
    with open(table, encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert len(told) == 2 * len(rows) and list(told[0]) == audit.COLUMNS
    by = {(line["reader"], line["photo"]): line for line in told}
    assert by["a student", rows[1]["photo"]]["verdict"] == "both" and by["a student", rows[0]["photo"]]["verdict"] == "cat"
    assert by["a teacher", rows[0]["photo"]] == {"photo": rows[0]["photo"], "sample": rows[0]["sample"], "verdict": "neither", "reader": "a teacher"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 cat\n2 horse\n", "The line '2 horse' is no verdict"),
        ("1 cat\n1 dog\n", "Photo 1 has two verdicts"),
        ("1 cat\n", "no verdict for .* photos, the first is 2"),
        ("".join(f"{i} cat\n" for i in range(1, 90)), "the sheets end at"),
    ],
)
def test_a_reading_that_is_not_whole_is_told(sheets, tmp_path, text, message):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(BookError, match=message):
        audit.collect(sheets, tmp_path / "v.txt", "someone", tmp_path / "audit.csv")
    assert not (tmp_path / "audit.csv").exists()
