"""The committed edition: it fits the chapters, its pages build, and its network answers as its record says."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import assets
import helpers
import notebooks
from conftest import FOLDER, PROJECT, needs

EDITION = PROJECT / "edition"
RUNS = [(chapter, run) for chapter in notebooks.chapters() for run in notebooks.runs_of(chapter, "report")]


@pytest.fixture(autouse=True)
def photos_and_weights_of_the_edition():
    assets.write_atomically(assets.runs_folder() / "report" / "data.json", (EDITION / "data.json").read_bytes())


@pytest.mark.parametrize("chapter, run", RUNS, ids=[run for _, run in RUNS])
def test_a_run_of_the_edition_is_one_of_the_code_as_it_is(chapter, run):
    record = json.loads((EDITION / "results" / f"{run}.json").read_text())["run"]
    assert record["key"] == notebooks.run_key(chapter, "report", record["seed"]), f"{run}: the chapter's code has changed, run it again"
    assert (EDITION / "notebooks" / f"{run}.ipynb").exists()


def test_nothing_else_is_in_the_edition():
    known = {run for _, run in RUNS}
    files = [p for folder in ("notebooks", "results") for p in (EDITION / folder).iterdir()]
    assert [p.name for p in files if p.name.split(".")[0] not in known | {"small_cnn_augmented-seed0"}] == []
    assert sum(p.stat().st_size for p in files if p.suffix == ".ipynb") <= 15 * 2**20


def test_its_pages_build_and_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", str(tmp_path / "build"))
    done = subprocess.run([sys.executable, notebooks.__file__, "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {page.stem for page in (tmp_path / "build" / "edition" / "html" / "chapters").glob("*.html") if not page.name.endswith(".slides.html")}
    assert made == set(notebooks.chapters())
    assert not list((assets.runs_folder() / "report").glob("notebooks/*"))


@needs("cats_vs_dogs", "weights")
def test_a_full_run_repeats_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_DATA", str(FOLDER))
    monkeypatch.setenv("BOOK_BUILD", str(tmp_path / "build"))
    done = subprocess.run([sys.executable, notebooks.__file__, "book", "--profile", "report"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Taken from edition/" in done.stdout
    assert "done in" not in done.stdout + done.stderr, "a chapter ran again"
    assert (tmp_path / "build" / "report" / "html" / "index.html").exists()


@needs("cats_vs_dogs")
def test_its_network_answers_as_recorded():
    answers = pd.read_csv(EDITION / "results" / "augmentation-seed0.csv")
    answers = answers[answers["experiment"] == "small_cnn_augmented"]
    files = {path.name: path for _, path in assets.list_photos(FOLDER / "cats_vs_dogs")[0]}
    model = helpers.load_model("small_cnn_augmented", "report", seed=0)  # there is no run here, so that of the edition
    images = np.stack([assets.read_photo(files[name.rsplit("/")[-1]], model.input_shape[1]) for name in answers["photo"]])
    probability = model.predict(images, verbose=0).ravel()
    assert np.abs(probability - answers["probability"]).max() < 0.05  # other processors round otherwise
    assert np.mean((probability > 0.5) == answers["label"]) == pytest.approx(np.mean((answers["probability"] > 0.5) == answers["label"]), abs=0.005)
