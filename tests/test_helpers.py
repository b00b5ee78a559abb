"""What the chapters share: arithmetic against NumPy, networks against their counts, caching against its promises."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from multiprocessing.pool import ThreadPool
from pathlib import Path

import keras
import numpy as np
import pytest

import assets
import chapters
import helpers
import outcomes
from assets import BookError


@pytest.fixture(autouse=True)
def exact():
    """float32 throughout, so that references can be compared closely."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- scaling, augmentation -------------------------------------------------------------------------------------


def test_scale_unit():
    images = pixels(2, 5, 6, 3)
    scaled = helpers.scale(images, "unit")
    assert scaled.dtype == np.float32 and scaled.min() >= 0 and scaled.max() <= 1
    np.testing.assert_allclose(scaled, images / 255, rtol=1e-6)


def test_scale_vgg():
    images = pixels(2, 5, 6, 3)
    kept = images.copy()
    expected = images[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]  # blue, green, red of ImageNet
    scaled = helpers.scale(images, "vgg")
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, atol=1e-4)
    np.testing.assert_array_equal(images, kept)  # not changed in place
    floats = images.astype(np.float32)
    helpers.scale(floats, "vgg")
    np.testing.assert_array_equal(floats, kept)


@pytest.mark.parametrize("name, parts", helpers.SCALINGS.items())
def test_scale_leaves_parts_of_the_preprocessing_out(name, parts):
    images = pixels(2, 5, 6, 3)
    expected = images.astype(np.float64)
    if "mean" in parts:
        expected -= [123.68, 116.779, 103.939]
    if "order" in parts:
        expected = expected[..., [2, 1, 0]]
    if "range" not in parts:
        expected /= 255
    np.testing.assert_allclose(helpers.scale(images, name), expected, atol=1e-4)
    np.testing.assert_allclose(helpers.scale(list(images), name), expected, atol=1e-4)


def test_augmentation_keeps_shape_and_range_and_acts_in_training_only():
    images = pixels(8, 32, 32, 3).astype(np.float32)
    augment = helpers.augmentation(seed=1)
    for _ in range(3):
        changed = np.asarray(augment(images, training=True))
        assert changed.shape == images.shape
        assert changed.min() >= 0 and changed.max() <= 255
        assert all(np.abs(a - b).mean() > 1 for a, b in zip(changed, images))
    np.testing.assert_array_equal(np.asarray(augment(images, training=False)), images)


def test_augmentation_repeats_with_its_seed():
    images = pixels(4, 32, 32, 3).astype(np.float32)
    one, same, other = (np.asarray(helpers.augmentation(seed)(images, training=True)) for seed in (5, 5, 50))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


# --- networks --------------------------------------------------------------------------------------------------


def test_small_cnn():
    model = helpers.small_cnn(150)
    assert model.count_params() == 3_453_121
    assert model.output_shape == (None, 1)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling"] + ["Conv2D", "MaxPooling2D"] * 4 + ["Flatten", "Dense", "Dense"]
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [32, 64, 128, 128]
    assert "Dropout" in [type(layer).__name__ for layer in helpers.small_cnn(48, dropout=0.5).layers]


def test_small_cnn_takes_bytes_and_scales_them():
    model, images = helpers.small_cnn(48), pixels(2, 48, 48, 3)
    x = images / np.float32(255)
    for layer in model.layers[1:]:
        x = layer(x)
    np.testing.assert_allclose(np.asarray(model(images)), np.asarray(x), atol=1e-6)


def split_of(n, size, seed=0):
    """A split of random pixels with ``n`` photos in each part."""
    parts = [assets.Part(pixels(n, size, size, 3, seed=seed + i), (np.arange(n) % 2).astype(np.uint8), tuple(f"{i}.{j}" for j in range(n))) for i in range(3)]
    return assets.Split(*parts, "0123")


def train_tiny(seed, **options):
    keras.utils.set_random_seed(seed)
    model, parts = helpers.small_cnn(48, dropout=0.5), split_of(16, 48)
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(
        parts.train.images, parts.train.labels, batch_size=8, epochs=2, verbose=0,
        validation_data=(parts.validation.images, parts.validation.labels), callbacks=[helpers.keep_best()],
    )  # fmt: skip
    return model, helpers.outcome(model, history, parts, **options)


def test_same_seed_same_training():
    (_, one), (_, same), (_, other) = (train_tiny(seed, keep_weights=True) for seed in (1, 1, 2))
    for a, b in zip(one["weights"], same["weights"]):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one["test"]["probability"], same["test"]["probability"])
    assert any((a != b).any() for a, b in zip(one["weights"], other["weights"]))


def test_outcome_and_keep_best():
    model, result = train_tiny(3)
    assert result["epochs"] == 2 == len(result["history"]["loss"]) == len(result["history"]["val_accuracy"])
    assert result["best_epoch"] == int(np.argmax(result["history"]["val_accuracy"])) + 1
    assert result["trainable_parameters"] == model.count_params() and result["train_size"] == 16
    assert "weights" not in result
    part = result["validation"]
    assert part["probability"].shape == (16,) and part["probability"].dtype == np.float32 and part["names"][0] == "1.0"
    accuracy = np.mean((part["probability"] > 0.5) == (part["labels"] == 1))
    assert accuracy == pytest.approx(result["history"]["val_accuracy"][result["best_epoch"] - 1])  # the best epoch's weights
    json.dumps(result["history"])  # plain numbers


@pytest.mark.parametrize("bits", [16, 8])
def test_kept_weights_answer_as_the_trained_network_did(bits):
    model, result = train_tiny(4, keep_weights=True, bits=bits)
    copy = helpers.small_cnn(48)
    copy.set_weights(helpers.unpack_weights(result["weights"]))
    answers = copy.predict(split_of(16, 48).test.images, verbose=0).ravel()
    np.testing.assert_allclose(answers, result["test"]["probability"], atol=0.02)


def test_a_training_that_has_diverged_leaves_no_outcome():
    model = helpers.small_cnn(48)
    model.set_weights([w * np.nan for w in model.get_weights()])
    history = type("History", (), {"history": {"loss": [0.7], "val_accuracy": [0.5]}})
    with pytest.raises(BookError, match="has diverged"):
        helpers.outcome(model, history, split_of(2, 48))


def vgg_like(seed=0):
    """Two convolutions named like VGG's, with an input that ``scale`` fits."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, name="block1_conv1", activation="relu"),
            keras.layers.Conv2D(256, 3, name="block4_conv1", bias_initializer="normal"),
        ]
    )


def frozen(parts, views=0, scaling="unit", layer="block4_conv1", **options):
    return helpers.frozen_maps(parts, vgg_like(), scaling, layer, views, **options)


@pytest.mark.parametrize("scaling", ["unit", "vgg"])
def test_frozen_maps_equal_the_network(scaling):
    parts, network = split_of(7, 16), vgg_like()
    maps = frozen(parts, scaling=scaling)
    assert maps["train"].shape == (1, 7, 12, 12, 256) and maps["test"].shape == (7, 12, 12, 256)
    for part, found in (("train", maps["train"][0]), ("validation", maps["validation"]), ("test", maps["test"])):
        expected = np.asarray(network(helpers.scale(getattr(parts, part).images, scaling)))
        assert found.dtype == np.float16
        np.testing.assert_allclose(found.astype(np.float32), expected, rtol=2e-3, atol=np.abs(expected).max() * 1e-3)


def test_frozen_maps_are_computed_once(monkeypatch):
    passed = []
    whole = helpers.scale
    monkeypatch.setattr(helpers, "scale", lambda images, scaling: passed.append(len(images)) or whole(images, scaling))
    monkeypatch.setattr(helpers.inspect, "getsource", lambda function: function.__name__)
    parts = split_of(5, 16)
    one = frozen(parts, also=["block1_conv1"])
    assert sum(passed) == 15
    np.testing.assert_array_equal(frozen(parts)["train"], one["train"])
    assert frozen(parts, layer="block1_conv1")["test"].shape == (5, 14, 14, 8)
    assert sum(passed) == 15  # both layers came from one pass
    swapped = assets.Split(parts.validation, parts.train, parts.test, "4567")  # another seed divides the same photos in another way
    np.testing.assert_array_equal(frozen(swapped)["validation"], one["train"][0])
    assert sum(passed) == 15
    frozen(parts, views=2)
    assert sum(passed) == 25
    frozen(parts, scaling="vgg")
    assert sum(passed) == 40


def test_views_depend_on_no_seed_and_on_no_earlier_run(monkeypatch, tmp_path):
    parts = split_of(30, 16)  # 90 photos: views are made fifty at a time
    swapped = assets.Split(parts.validation, parts.train, parts.test, "4567")
    first = frozen(parts, views=2)["train"]
    assert first.shape[:2] == (2, 30) and (first[0] != first[1]).any()
    second = frozen(swapped, views=2)["train"]
    monkeypatch.setenv("BOOK_RUNS", str(tmp_path / "others"))
    keras.utils.set_random_seed(9)
    np.testing.assert_array_equal(frozen(swapped, views=2)["train"], second)
    np.testing.assert_array_equal(frozen(parts, views=2)["train"], first)


def test_a_pass_that_was_killed_goes_on_where_it_was(monkeypatch):
    parts, whole, passed = split_of(40, 16), frozen(split_of(40, 16)), []
    monkeypatch.setenv("BOOK_RUNS", os.environ["BOOK_RUNS"] + "-2")
    network, scale = vgg_like(), helpers.scale

    def killed(images, scaling):
        if len(passed) == 1:
            passed.append(0)
            raise KeyboardInterrupt
        passed.append(len(images))
        return scale(images, scaling)

    monkeypatch.setattr(helpers, "scale", killed)
    monkeypatch.setattr(helpers.inspect, "getsource", lambda function: function.__name__)
    with pytest.raises(KeyboardInterrupt):
        helpers.frozen_maps(parts, network, "unit", "block4_conv1")
    again = helpers.frozen_maps(parts, network, "unit", "block4_conv1")
    assert passed == [50, 0, 50, 20]  # 120 photos, none of them twice
    np.testing.assert_array_equal(again["train"], whole["train"])


def test_frozen_maps_stay_finite_in_float16():
    network = vgg_like()
    network.layers[-1].set_weights([network.layers[-1].get_weights()[0] * 1e6, network.layers[-1].get_weights()[1]])
    maps = helpers.frozen_maps(split_of(2, 16), network, "vgg", "block4_conv1")
    assert all(np.isfinite(part).all() for part in maps.values())


def drawn(count):
    return np.stack([assets.draw_photo(i % 2, i, 32) for i in range(count)])


@pytest.fixture
def passed(monkeypatch):
    """How many photos went through a network, call by call."""
    calls, forward = [], helpers.forward
    monkeypatch.setattr(helpers, "forward", lambda network: lambda batch: calls.append(len(batch)) or forward(network)(batch))
    return calls


def test_vgg_features_are_means_over_the_positions_of_both_looks():
    images = drawn(3)
    found = helpers.vgg_features(images, "vgg16", "test")
    assert found.shape == (2, 3, 512) and found.dtype == np.float32
    keras.utils.set_random_seed(0)
    network = helpers.vgg("vgg16", "test", 32)[0]
    for look, view in zip(found, (images, images[:, :, ::-1])):
        maps = np.asarray(network(helpers.scale(view, "vgg")))
        np.testing.assert_allclose(look, maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_vgg_features_are_computed_once_for_each_photo(passed):
    images = drawn(30)
    first = helpers.vgg_features(images[:20], "vgg16", "test")
    assert passed == [20, 20]  # the photos and their mirror images
    np.testing.assert_array_equal(helpers.vgg_features(images[[7, 3, 7]], "vgg16", "test"), first[:, [7, 3, 7]])
    assert sum(passed) == 40
    more = helpers.vgg_features(images[::-1], "vgg16", "test")
    assert sum(passed) == 60
    np.testing.assert_array_equal(more[:, :9:-1], first)
    other = helpers.vgg_features(images[:2], "vgg19", "test")
    assert sum(passed) == 64 and np.abs(other - first[:, :2]).max() > 1e-3
    np.testing.assert_array_equal(helpers.vgg_features(images, "vgg16", "test"), more[:, ::-1])
    helpers.vgg_features(np.stack([assets.draw_photo(0, 0, 48)]), "vgg16", "test")
    assert sum(passed) == 66  # another size


def test_vgg_features_go_on_after_a_kill(monkeypatch, passed):
    images, forward = drawn(60), helpers.forward

    def killed(network):
        def step(batch):
            if len(passed) == 3:
                raise KeyboardInterrupt
            return forward(network)(batch)

        return step

    monkeypatch.setattr(helpers, "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        helpers.vgg_features(images, "vgg16", "test")
    monkeypatch.setattr(helpers, "forward", forward)
    (rows,) = helpers.runs_folder().glob("cache/features/*/rows")
    with open(rows, "ab") as file:
        file.write(b"half a row")
    found = helpers.vgg_features(images, "vgg16", "test")
    assert passed == [25, 25, 25, 25, 25, 10, 10]  # of the second batch the first look was lost
    rows.unlink()
    np.testing.assert_allclose(helpers.vgg_features(images, "vgg16", "test"), found, rtol=1e-4, atol=1e-5)


def test_two_at_once_compute_no_features_twice(monkeypatch, passed):
    images, stock = drawn(20), assets.stock("test")
    monkeypatch.setattr(assets, "stock", lambda profile: stock)  # ast, which it uses, is not made for threads
    with ThreadPool(2) as pool:
        one, two = pool.map(lambda part: helpers.vgg_features(part, "vgg16", "test"), [images[:15], images[5:]])
    assert sum(passed) == 40
    np.testing.assert_array_equal(one[:, 5:], two[:, :10])


def test_the_regression_on_features_is_the_lowest_point_of_its_loss():
    rng, strength = np.random.default_rng(0), 0.05
    labels = np.arange(60) % 2
    features = (rng.normal(size=(2, 60, 5)) * [1, 9, 0.1, 1, 1] + 3 + labels[:, None]).astype(np.float32)
    transfer = chapters.definitions("transfer", only_functions=True)
    fitted = transfer["fit_regression"](features, labels, strength)
    asked = transfer["ask_regression"](fitted, features)
    assert asked.shape == (2, 60)
    inputs = features.reshape(120, 5).astype(float)
    standard = (inputs - inputs.mean(0)) / inputs.std(0)
    error = asked.ravel() - np.tile(labels, 2)
    slopes = standard.T @ error / 120 + strength * fitted["weights"] * inputs.std(0)
    assert np.abs(slopes).max() < 1e-3 and abs(error.mean()) < 1e-3


def test_round_to_8_bits():
    network = vgg_like()
    before = {layer.name: layer.get_weights() for layer in network.layers}
    assert not any(helpers._is_rounded(layer) for layer in network.layers)
    helpers.round_to_8_bits(network)
    assert [helpers._is_rounded(layer) for layer in network.layers] == [False, True]
    kernel, bias = network.get_layer("block4_conv1").get_weights()
    old, old_bias = before["block4_conv1"]
    step = (old.max() - old.min()) / 255
    assert len(np.unique(kernel)) <= 256 < len(np.unique(old))
    assert np.abs(kernel - old).max() <= step / 2 * (1 + 1e-4)
    np.testing.assert_array_equal(bias, old_bias)
    np.testing.assert_array_equal(network.get_layer("block1_conv1").get_weights()[0], before["block1_conv1"][0])


def test_views():
    maps = np.arange(3 * 10).reshape(3, 10, 1).astype(np.float16)  # map v of photo i is 10 v + i
    labels = np.arange(10)
    one, same = (helpers.Views(maps, labels, 4, seed=2) for _ in range(2))
    assert len(one) == 3
    epochs = []
    for _ in range(6):
        batches = [one[i] for i in range(len(one))]
        repeated = [same[i] for i in range(len(same))]
        for (x, y), (x2, y2) in zip(batches, repeated):
            assert x.dtype == np.float32 and (x.ravel() % 10 == y).all()
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)
        assert [len(y) for _, y in batches] == [4, 4, 2]
        assert sorted(np.concatenate([y for _, y in batches])) == list(range(10))
        epochs.append(np.concatenate([x.ravel() for x, _ in batches]))
        one.on_epoch_end()
        same.on_epoch_end()
    assert len({tuple(e) for e in epochs}) == 6  # another order and other views every epoch
    assert {int(v) // 10 for e in epochs for v in e} == {0, 1, 2}


def test_vgg_without_weights(no_data):
    model, description = helpers.vgg("vgg19", "test", 48)
    assert description == "untrained VGG19 (random weights)"
    assert model.count_params() == 20_024_384
    assert sum(w.size for w in model.get_layer("block5_conv4").get_weights()) == 2_359_808
    with pytest.raises(BookError, match="ImageNet weights of VGG19"):
        helpers.vgg("vgg19", "report", 48)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other network"])
def test_vgg_with_a_damaged_weights_file(no_data, damage):
    path = no_data / "data" / "weights" / "vgg16_notop.weights.h5"
    path.parent.mkdir()
    vgg_like().save_weights(path)
    whole = path.read_bytes()
    content = {"empty": b"", "text": b"<html>404</html>", "cut": whole[: len(whole) // 2], "other network": whole}
    path.write_bytes(content[damage])
    with pytest.raises(BookError) as caught:
        helpers.vgg("vgg16", "quick", 48)
    assert str(path) in str(caught.value) and "VGG16" in str(caught.value) and "Replace the file" in str(caught.value)


# --- caching ---------------------------------------------------------------------------------------------------

CHAPTER = '''
import helpers

calls = []

def helper(x):
    return {helper}

@helpers.cached
def train(epochs, rate):
    """{docstring}"""
    calls.append(epochs)  # {comment}
    return {{"value": {code}}}
'''


@pytest.fixture
def chapter(tmp_path):
    """A function that writes a chapter's code with some parts changed and imports it."""
    count = 0

    def write(**changes):
        nonlocal count
        count += 1
        path = tmp_path / f"chapter{count}.py"
        parts = {"helper": "x", "docstring": "Train.", "comment": "note", "code": "helper(epochs) * rate"}
        path.write_text(CHAPTER.format(**{**parts, **changes}))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return write


def test_cached_runs_once(chapter):
    module = chapter()
    assert [module.train(epochs=3, rate=2.0) for _ in range(3)] == [{"value": 6.0}] * 3
    assert module.calls == [3]
    module.train(epochs=4, rate=2.0)
    module.train(epochs=3, rate=3.0)
    assert module.calls == [3, 4, 3]


@pytest.mark.parametrize("changes", [{}, {"comment": "other"}, {"docstring": "Other words."}, {"code": "(helper(epochs)\n     * rate)"}])
def test_comments_docstrings_and_layout_repeat_nothing(chapter, changes):
    chapter().train(epochs=3, rate=2.0)
    again = chapter(**changes)
    assert again.train(epochs=3, rate=2.0) == {"value": 6.0} and again.calls == []


@pytest.mark.parametrize("changes", [{"code": "epochs + rate"}, {"helper": "x + 1"}])
def test_a_change_of_code_or_helper_repeats(chapter, changes):
    chapter().train(epochs=3, rate=2.0)
    again = chapter(**changes)
    again.train(epochs=3, rate=2.0)
    assert again.calls == [3]
    first = chapter()
    assert first.train(epochs=3, rate=2.0) == {"value": 6.0} and first.calls == []  # what was kept is still there


def test_a_damaged_cache_is_computed_again(chapter):
    chapter().train(epochs=3, rate=2.0)
    (stored,) = (assets.runs_folder() / "cache").rglob("output.pkl")
    stored.write_bytes(stored.read_bytes()[:10])
    again = chapter()
    assert again.train(epochs=3, rate=2.0) == {"value": 6.0} and again.calls == [3]


def test_a_failed_training_is_not_kept(chapter):
    module = chapter(code="1 / (rate - 2)")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            module.train(epochs=3, rate=2.0)
    assert module.calls == [3, 3]


# --- records ---------------------------------------------------------------------------------------------------


def test_save_records():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40).astype(np.uint8)
    names = [f'cat "{i}", the first.jpg' for i in range(40)]  # quotes and commas
    probability = rng.random(40).astype(np.float32)
    probability[:3] = [0, 1, 0.5]
    history = {"loss": [0.7, 0.6], "val_accuracy": [0.5, 0.6]}
    common = {"epochs": 2, "best_epoch": 2, "trainable_parameters": 7, "history": history, "train_size": 10}
    results = {"one": {3: {"test": {"names": names, "labels": truth, "probability": probability}, **common}}}
    results["two"] = {3: {"test": {"names": names, "labels": truth, "probability": 1 - probability}, **common, "seconds": 0.5}}
    regression = {"test": results["one"][3]["test"], "train_size": 10, "trainable_parameters": 513}  # no epochs
    results["three"] = {3: regression}
    for name in results:
        outcomes.save(outcomes.path_of(f"{name}-seed3", "test"), results[name][3], {"key": "k", "seconds": 1.5, **helpers.provenance()})
    returned = helpers.save_records("training", "test", results, weights={"vgg19": "none"})

    record = json.loads((helpers.results_folder("test") / "training-seed3.json").read_text(encoding="utf-8"))
    assert record["experiments"] == [returned[name][3] for name in ("one", "two", "three")]
    assert returned["three"][3].keys() == returned["one"][3].keys() - {"epochs", "best_epoch", "history"}
    assert (record["chapter"], record["profile"], record["seed"]) == ("training", "test", 3)
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    one = returned["one"][3]
    assert one["accuracy"] == np.mean((p > 0.5) == (truth == 1))
    assert one["loss"] == pytest.approx(-np.mean(np.where(truth == 1, np.log(p), np.log(1 - p))), rel=1e-12)
    assert (one["name"], one["train_size"], one["test_size"], one["epochs"], one["history"]) == ("one", 10, 40, 2, history)
    assert one["seconds"] == 1.5 and returned["two"][3]["seconds"] == 0.5 and one["precision"] == "float32" and one["device"]
    provenance = record["provenance"]
    assert "drawn" in provenance["photos"] and provenance["weights"] == {"vgg19": "none"} and provenance["versions"]["keras"] == keras.__version__

    with open(helpers.results_folder("test") / "training-seed3.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120 and set(rows[0]) == {"experiment", "photo", "label", "probability"}
    assert [r["photo"] for r in rows[:40]] == names and [r["experiment"] for r in rows[40::40]] == ["two", "three"]
    assert [int(r["label"]) for r in rows[:40]] == truth.tolist()
    np.testing.assert_allclose([float(r["probability"]) for r in rows[:40]], probability, atol=5e-7)


def test_save_result():
    helpers.save_result("vgg", "test", words="Größe 3×3", number=1.5)
    text = (helpers.results_folder("test") / "vgg.json").read_text(encoding="utf-8")
    assert "Größe 3×3" in text and json.loads(text) == {"profile": "test", "words": "Größe 3×3", "number": 1.5}
    assert helpers.load_records("vgg", "test") == [json.loads(text)]
    with pytest.raises(BookError, match="-seed0.json is missing: a chapter that this one reads has not been executed"):
        helpers.load_records("*-seed*", "test")


# --- progress --------------------------------------------------------------------------------------------------


def test_progress_speaks_on_standard_error(capsys):
    line = helpers.Progress("maps", every=0)
    line.say(5, 10, "photos")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("    maps: 5 of 10 photos")


def test_setup_prints_what_it_runs_on(capsys):
    helpers.setup(seed=4, precision="float32")
    assert textwrap.shorten(capsys.readouterr().out, 200).endswith("float32; seed 4")
    first = np.random.random()
    helpers.setup(seed=4, precision="float32")
    assert np.random.random() == first


# --- repeatability ---------------------------------------------------------------------------------------------

TRAINING = """
import hashlib, sys
import keras
import numpy as np
import assets, helpers

helpers.setup(int(sys.argv[1]))
images = np.stack([assets.draw_photo(label, i, 64) for label in (0, 1) for i in range(10)])
labels = np.repeat([0, 1], 10)
network = helpers.small_cnn(64, dropout=0.5)
model = keras.Sequential([keras.Input((64, 64, 3)), helpers.augmentation(0), network])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
history = model.fit(images, labels, batch_size=4, epochs=3, verbose=0).history
print(hashlib.sha256(b"".join(w.tobytes() for w in network.get_weights())).hexdigest(), history)
"""


def test_the_same_seed_gives_the_same_network_to_the_last_bit_in_another_process():
    command = [sys.executable, "-c", TRAINING]
    environment = {**os.environ, "PYTHONPATH": str(Path(helpers.__file__).parent)}
    outputs = []
    for seed in ("7", "7", "8"):
        done = subprocess.run([*command, seed], capture_output=True, text=True, env=environment, check=True)
        outputs.append(done.stdout.splitlines()[-1])
    assert outputs[0] == outputs[1] != outputs[2]
