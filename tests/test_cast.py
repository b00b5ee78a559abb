"""The six, chosen by rule from answers, and the ladder: what pages show of them, and what they show without them."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

import assets
import cast
import pages
from paths import BookError, runs_folder, write_atomically

NETWORKS = ["weak", "fair", "good", "better", "best"]
RUNGS = [
    {"experiment": None, "name": "a coin", "accuracy": 0.5, "network": False},
    {"experiment": "rule", "name": "a rule <3", "accuracy": 0.444, "network": False},
    *({"experiment": name, "name": f"the {name} one", "accuracy": 0.7 + 0.05 * i, "network": True} for i, name in enumerate(NETWORKS)),
    {"experiment": "planned", "name": "planned", "accuracy": None, "network": True},
]


def answer_table(patterns, seeds=(0, 1), sure=0.9):
    """Answers of NETWORKS: {photo: (label, which networks are right)}."""
    rows = []
    for photo, (label, right) in patterns.items():
        for name, good in zip(NETWORKS, right):
            truth = sure if good else 1 - sure
            rows += [{"seed": s, "experiment": name, "photo": photo, "label": label, "probability": truth if label else 1 - truth} for s in seeds]
    return pd.DataFrame(rows)


PATTERNS = {
    "cat.1.jpg": (0, (1, 1, 1, 1, 1)),
    "dog.1.jpg": (1, (1, 1, 1, 1, 1)),
    "cat.2.jpg": (0, (0, 0, 1, 1, 1)),
    "dog.2.jpg": (1, (0, 0, 0, 1, 1)),
    "dog.3.jpg": (1, (0, 0, 0, 0, 0)),
    "cat.3.jpg": (0, (0, 0, 0, 0, 0)),
    "cat.4.jpg": (0, (1, 0, 1, 0, 1)),
    "dog.4.jpg": (1, (1, 1, 0, 1, 1)),
}
EXPECTED = ["cat.1.jpg", "dog.1.jpg", "cat.2.jpg", "dog.2.jpg", "dog.3.jpg", "cat.3.jpg"]


def test_the_six_are_chosen_by_rule():
    chosen = cast.choose(answer_table(PATTERNS), NETWORKS)
    assert [entry["photo"] for entry in chosen] == EXPECTED
    assert [entry["why"] for entry in chosen][::2] == ["all networks are right", "only the better networks are right", "no network is right"]
    shuffled = answer_table(PATTERNS).sample(frac=1, random_state=0)
    assert cast.choose(shuffled, NETWORKS) == chosen, "the order of the records says nothing"


def test_of_equals_the_clearest_is_taken():
    given = pd.concat([answer_table(PATTERNS), answer_table({"cat.9.jpg": (0, (1, 1, 1, 1, 1))}, sure=0.99)])
    assert cast.choose(given, NETWORKS)[0]["photo"] == "cat.9.jpg"


def test_a_wrong_label_is_the_last_of_the_six_and_no_other():
    chosen = cast.choose(answer_table(PATTERNS), NETWORKS, {"dog.3.jpg", "cat.77.jpg"})
    assert [entry["photo"] for entry in chosen] == ["cat.1.jpg", "dog.1.jpg", "cat.2.jpg", "dog.2.jpg", "dog.4.jpg", "dog.3.jpg"]
    assert chosen[-1]["why"] == "its label is wrong"


def test_an_unclear_photo_is_none_of_the_six():
    chosen = cast.choose(answer_table(PATTERNS), NETWORKS, (), {"dog.3.jpg"})
    assert [entry["photo"] for entry in chosen] == ["cat.1.jpg", "dog.1.jpg", "cat.2.jpg", "dog.2.jpg", "dog.4.jpg", "cat.3.jpg"]


def test_what_readers_of_labels_found(monkeypatch, tmp_path):
    monkeypatch.setattr(cast, "EDITION", tmp_path)
    photos = SimpleNamespace(names=[f"train/{kind}.{i}.jpg" for kind in ("cat", "dog") for i in range(4)], labels=[0] * 4 + [1] * 4)
    assert cast.audited(photos) == ([], [])
    rows = ["cat.0,a,dog,x", "cat.0,a,dog,y", "cat.1,a,dog,x", "cat.1,a,cat,y", "dog.2,a,both,x", "dog.3,a,dog,x", "dog.99,a,cat,x"]
    (tmp_path / "audit.csv").write_text("\n".join(["photo,sample,verdict,reader", *rows]))
    assert cast.audited(photos) == (["train/cat.0.jpg"], ["train/cat.1.jpg", "train/dog.2.jpg"])


def test_where_no_photo_fits_the_nearest_is_taken_and_none_twice():
    few = {photo: PATTERNS[photo] for photo in ("cat.1.jpg", "cat.4.jpg", "dog.4.jpg")}
    chosen = cast.choose(answer_table(few), NETWORKS)
    assert [entry["photo"] for entry in chosen] == ["cat.1.jpg", "dog.4.jpg", "cat.4.jpg"]


# --- a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    """Records of a run in the test profile, whose chapter data has left a ladder; answers to the pictures that the profile draws."""
    for cached in (cast.ladder, cast.answers, cast.six, cast._said):
        cached.cache_clear()
    photos = assets.load_photos("test", 48)
    renamed = {f"{kind}.{i}.jpg": photos.names[photos.labels.tolist().index(label) + i] for label, kind in enumerate(("cat", "dog")) for i in range(9)}
    given = answer_table(PATTERNS).replace({"photo": renamed})
    results = runs_folder() / "test" / "results"
    write_atomically(results / "data.json", json.dumps({"profile": "test", "ladder": RUNGS}).encode())
    for seed, rows in given.groupby("seed"):
        write_atomically(results / f"data-seed{seed}.csv", rows.drop(columns="seed").to_csv(index=False).encode())
    yield {new: old for old, new in renamed.items()}
    for cached in (cast.ladder, cast.answers, cast.six, cast._said):
        cached.cache_clear()


def test_a_run_writes_its_six_with_pictures(run):
    folder = runs_folder() / "test"
    cast.write_six("test", folder)
    written = json.loads((folder / "six.json").read_text(encoding="utf-8"))
    assert written["networks"] == NETWORKS
    assert [run[entry["photo"]] for entry in written["photos"]] == EXPECTED
    assert [Image.open(folder / "six" / f"{i}.webp").size for i in range(1, 7)] == [(48, 48)] * 6
    before = pages.digest_of_runs("test")
    written["photos"][0]["alt"] = "A black cat with yellow eyes."
    write_atomically(folder / "six.json", json.dumps(written).encode())
    assert pages.digest_of_runs("test") != before, "other words make other pages"
    cast.write_six("test", folder)
    assert json.loads((folder / "six.json").read_text(encoding="utf-8"))["photos"][0]["alt"] == "A black cat with yellow eyes."


def test_what_a_page_shows_of_the_six(run):
    cast.write_six("test", runs_folder() / "test")
    shown = BeautifulSoup(cast.six_html("test", "fair", "../"), "html.parser")
    pictures = shown.select("img")
    assert [p["src"] for p in pictures] == [f"../_static/six/{i}.webp" for i in range(1, 7)]
    assert all(len(p["alt"]) >= 15 for p in pictures)
    said = [re.sub(r"\s+", " ", li.get_text()).strip() for li in shown.select("li")]
    assert said == ["cat, 90 %", "dog, 90 %", "dog, 90 % wrong", "cat, 90 % wrong", "cat, 90 % wrong", "dog, 90 % wrong"]
    widths = [float(i["style"].split(":")[1].rstrip("%")) for i in shown.select(".book-bar i")]
    assert widths == [10, 90, 90, 10, 10, 90], "the part of the bar that is the dog's"
    everything = BeautifulSoup(cast.six_html("test", "", ""), "html.parser")
    assert [th.get_text() for th in everything.select("thead th")][1:] == [f"the {name} one" for name in NETWORKS]
    assert len(everything.select("tbody tr")) == 6 and len(everything.select("tbody td")) == 30
    assert everything.select_one("img")["src"] == "_static/six/1.webp"


def test_what_a_page_shows_of_the_ladder(run):
    shown = BeautifulSoup(cast.ladder_html("test", "weak"), "html.parser")
    rungs = {li.select_one(".book-rung").get_text(): (li["class"][0], li.select_one(".book-share").get_text()) for li in shown.select("li")}
    assert list(rungs) == [rung["name"] for rung in RUNGS]
    assert rungs["a coin"] == ("book-before", "50 %") and rungs["a rule <3"] == ("book-before", "44.4 %")
    assert rungs["the weak one"] == ("book-now", "70.0 %") and shown.select_one("li[aria-current=step]") is shown.select_one(".book-now")
    assert {rungs[f"the {name} one"] for name in NETWORKS[1:]} == {("book-later", "?")}
    widths = [float(i["style"].split(":")[1].rstrip("%")) for i in shown.select(".book-track i")]
    assert widths[:3] == [0, 0, 40] and set(widths[3:]) == {0}, "bars begin at one half"
    whole = BeautifulSoup(cast.ladder_html("test", ""), "html.parser")
    assert not whole.select(".book-later, .book-now") and whole.select(".book-share")[-1].get_text() == "–"
    with pytest.raises(BookError, match="no rung 'strong'. It has: rule, weak"):
        cast.ladder_html("test", "strong")


def test_a_run_without_records_shows_nothing_and_fails_at_nothing():
    for cached in (cast.ladder, cast.answers, cast.six, cast._said):
        cached.cache_clear()
    cast.write_six("quick", runs_folder() / "quick")
    assert not (runs_folder() / "quick" / "six.json").exists()
    assert cast.six_html("quick", "small_cnn", "") == cast.ladder_html("quick", "small_cnn") == ""
    assert cast.files("quick") == [] and cast.answers("quick").empty


def test_an_experiment_that_has_not_answered_shows_nothing(run):
    cast.write_six("test", runs_folder() / "test")
    assert cast.six_html("test", "planned", "") == ""


def test_answers_in_words():
    def words(probability, label, why):
        return BeautifulSoup(cast.says(probability, {"label": label, "why": why}), "html.parser").get_text()

    assert words(0.5, 0, "all networks are right") == "cat, 50 %"
    assert words(np.float64(0.998), 0, "no network is right") == "dog, 100 % wrong"
    assert words(0.9, 0, cast.MISLABELLED) == "dog, 90 % not its label"
