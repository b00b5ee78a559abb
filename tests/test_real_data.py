"""The real photos and the real weights, where BOOK_DATA has them: loaders, twins, networks."""

from pathlib import Path

import numpy as np
import pytest

import assets
import helpers
from assets import BookError
from conftest import FOLDER, needs

TWINS = [("cat.4126.jpg", "cat.4575.jpg"), ("dog.74.jpg", "dog.180.jpg")]


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("BOOK_DATA", str(FOLDER))


@pytest.fixture(scope="module")
def some_photos(tmp_path_factory):
    """200 of the real photos, the known twins among them, decoded: whatever the folder's layout."""
    files = {p.name: (label, p) for label, p in assets.list_photos(FOLDER / "cats_vs_dogs")[0]}
    wanted = [name for pair in TWINS for name in pair if name in files]
    wanted += [name for name in list(files)[:: max(1, len(files) // 200)] if name not in wanted]
    images = np.stack([assets.read_photo(files[name][1], 150) for name in wanted])
    return wanted, np.array([files[name][0] for name in wanted]), images


@needs("cats_vs_dogs")
def test_real_photos_are_read(some_photos):
    names, labels, images = some_photos
    assert images.shape == (len(names), 150, 150, 3) and images.dtype == np.uint8
    assert set(labels) == {0, 1}
    assert all(name.startswith(assets.CLASSES[label]) for name, label in zip(names, labels) if name[:3] in assets.CLASSES)
    assert (images.std(axis=(1, 2, 3)) > 3).all() and 80 < images.mean() < 160


@needs("cats_vs_dogs")
def test_known_twins_are_found(some_photos):
    names, _, images = some_photos
    if not all(name in names for pair in TWINS for name in pair):
        pytest.skip("the collection has not these photos")
    groups = dict(zip(names, assets.near_duplicates(images)))
    for one, other in TWINS:
        assert groups[one] == groups[other]
    assert len(set(groups.values())) == len(names) - len(TWINS)


@needs("cats_vs_dogs")
def test_real_photos_load_split_and_cache(real, monkeypatch, tmp_path, some_photos):
    folder = tmp_path / "given" / "cats_vs_dogs" / "train"
    folder.mkdir(parents=True)
    files = {p.name: p for _, p in assets.list_photos(FOLDER / "cats_vs_dogs")[0]}
    for name in some_photos[0]:
        (folder / name).symlink_to(files[name].resolve())
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
    photos = assets.load_photos("report", 150)
    assert len(photos.images) == len(some_photos[0]) and photos.left_out == ()
    assert "Asirra" in photos.source and "drawn" not in photos.source
    parts = assets.split(photos, 0, 40, 20, 20)
    assert np.bincount(parts.test.labels).tolist() == [20, 20]


@needs("weights/vgg16_notop.weights.h5", "weights/vgg19_notop.weights.h5")
def test_real_weights_are_recognised_and_see_something(real, some_photos):
    _, labels, images = some_photos
    chosen = np.concatenate([np.flatnonzero(labels == label)[:2] for label in (0, 1)])
    four = helpers.scale(images[chosen], "vgg")
    network, description = helpers.vgg("vgg19", "report", 150)
    where = "own" if helpers._is_rounded(network.get_layer("block4_conv1")) else "official"
    expected = {"own": "ImageNet VGG19, blocks 4–5 rounded to 8 bits", "official": "ImageNet VGG19"}[where]
    assert description == expected
    maps = helpers.forward(network)(four)
    assert maps.shape == (4, 4, 4, 512) and np.isfinite(maps).all()
    assert (maps > 0).any() and maps.std(axis=(1, 2, 3)).min() > 0
    assert all(np.abs(maps[i] - maps[j]).mean() > 1e-3 for i in range(4) for j in range(i))


@needs("weights/vgg16_notop.weights.h5", "weights/vgg19_notop.weights.h5")
def test_real_vgg16_and_its_8_bit_control(real):
    network, description = helpers.vgg("vgg16", "report", 48)
    assert description == "ImageNet VGG16"
    kernel = network.get_layer("block1_conv1").get_weights()[0]
    assert kernel.shape == (3, 3, 3, 64) and 0.01 < kernel.std() < 1
    helpers.round_to_8_bits(network)
    rounded = [layer.name for layer in network.layers if helpers._is_rounded(layer)]
    assert rounded == [f"block{b}_conv{c}" for b in (4, 5) for c in (1, 2, 3)]


@needs("weights/vgg16_notop.weights.h5", "weights/vgg19_notop.weights.h5")
@pytest.mark.parametrize("name, given", [("vgg16", "vgg19"), ("vgg19", "vgg16")])
def test_weights_of_the_other_network_are_refused(monkeypatch, tmp_path, name, given):
    path = tmp_path / "given" / "weights" / f"{name}_notop.weights.h5"
    path.parent.mkdir(parents=True)
    path.symlink_to((Path(FOLDER) / "weights" / f"{given}_notop.weights.h5").resolve())
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
    with pytest.raises(BookError, match=f"does not hold the weights of {name.upper()}"):
        helpers.vgg(name, "report", 48)
