"""Photos and weights: which folder is meant, decoded once, known by their bytes, divided without twins, fetched or refused."""

import hashlib
import io
import json
import os
import re
import time

import numpy as np
import pytest
from PIL import Image

import assets
import fetch
from assets import BookError
from made_photos import collection, picture, put, zipped
from test_found import LFS, shapes_of_vgg, write_weights


@pytest.fixture
def photo_folder(tmp_path, monkeypatch, no_data):
    """The folder in which the book looks for photos, still empty, with BOOK_DATA pointing above it."""
    folder = tmp_path / "given" / "cats_vs_dogs"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BOOK_DATA", str(folder.parent))
    return folder


# --- which folder is meant -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, names, root",
    [
        ("", ["cats_vs_dogs/train/cat.0.jpg", "cats_vs_dogs/train/dog.0.jpg"], "cats_vs_dogs"),
        ("", ["cats_vs_dogs/Cat/0.jpg", "cats_vs_dogs/Dog/0.jpg", "holiday/dog.1.jpg"], "cats_vs_dogs"),
        ("cats_vs_dogs", ["cats_vs_dogs/train/cat.0.jpg", "cats_vs_dogs/train/dog.0.jpg"], "cats_vs_dogs"),
        ("", ["PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg"], ""),
        ("PetImages", ["PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg"], "PetImages"),
        ("", ["kagglecatsanddogs_5340/PetImages/Cat/0.jpg", "kagglecatsanddogs_5340/PetImages/Dog/0.jpg"], ""),
        ("", ["train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg"], ""),
        ("train", ["train/cat.0.jpg", "train/dog.0.jpg"], "train"),
        ("", ["Cats/0.jpg", "Dogs/0.jpg"], ""),
        ("", ["train/cats/0.jpg", "train/dogs/0.jpg", "validation/cats/1.jpg"], ""),
        ("", ["Cats_vs_Dogs/train_cats/0.jpg", "Cats_vs_Dogs/train_dogs/0.jpg"], ""),
    ],
)
@pytest.mark.parametrize("by", ["BOOK_DATA", "link", "data"])
def test_the_folder_that_is_meant_is_understood(tmp_path, monkeypatch, no_data, given, names, root, by):
    top = no_data / "data" if by == "data" else tmp_path / "given"
    for i, name in enumerate(names):
        put(top / name, i)
    if by == "link":
        (tmp_path / "link").symlink_to(top)
        top = tmp_path / "link"
    if by != "data" or given:  # data/ itself is always looked into
        monkeypatch.setenv("BOOK_DATA", str(top / given))
    assert assets.find_photos() == (top / root if root else top)
    photos = assets.load_photos("quick", 48)
    assert set(photos.labels) == {0, 1} and "drawn" not in photos.source


@pytest.mark.parametrize("files", [[], ["train.zip"], ["photos/1.jpg", "photos/2.jpg"], ["notes.txt", "a/b.csv"], [".Trash-1/cat.0.jpg"]])
@pytest.mark.parametrize("profile", ["quick", "report"])
def test_a_folder_that_is_not_understood_is_an_error_that_says_what_is_there(tmp_path, monkeypatch, no_data, files, profile):
    given = tmp_path / "given"
    given.mkdir()
    for name in files:
        (given / name).parent.mkdir(exist_ok=True)
        (given / name).write_bytes(b"x")
    collection(no_data / "data" / "cats_vs_dogs", 2)  # not what was asked for
    monkeypatch.setenv("BOOK_DATA", str(given))
    with pytest.raises(BookError) as caught:
        assets.load_photos(profile, 48)
    text = str(caught.value)
    assert str(given) in text and "Expected: cats_vs_dogs/" in text
    assert all(name.split("/")[0] in text for name in files) and ("There: nothing" in text) == (not files)
    assert ("neither its folder nor its name says cat or dog" in text) == ("photos/1.jpg" in files)
    assert len(assets.load_photos("test", 48).images) == 120  # the test profile draws, whatever is there
    assert isinstance(assets.fingerprint(profile), str)


def test_a_folder_with_weights_alone_leaves_the_photos_to_data(tmp_path, monkeypatch, no_data):
    path = write_weights(tmp_path / "given" / "weights" / "vgg16_notop.weights.h5", shapes_of_vgg("vgg16"), "new")
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
    assert assets.find_photos() is None and assets.find_weights("vgg16", "report") == path
    collection(no_data / "data" / "cats_vs_dogs", 2)
    assert assets.find_photos() == no_data / "data" / "cats_vs_dogs"


def test_book_data_that_points_to_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(BookError, match="BOOK_DATA points to .*nowhere, which is not a folder"):
        assets.load_photos("quick", 48)
    assert "drawn" in assets.load_photos("test", 48).source


def test_relative_book_data_is_below_the_project(no_data, monkeypatch):
    (no_data / "mine" / "cats_vs_dogs").mkdir(parents=True)
    monkeypatch.setenv("BOOK_DATA", "mine")
    assert assets.find_photos() == no_data / "mine" / "cats_vs_dogs"


# --- what is on the disk, in short -----------------------------------------------------------------------------


def test_the_fingerprint_changes_with_all_that_decides_what_is_found(photo_folder, no_data, monkeypatch, tmp_path):
    def weights():
        return write_weights(photo_folder.parent / "weights" / "vgg16_notop.weights.h5", shapes_of_vgg("vgg16"), "new")

    def time_of(path):
        os.utime(path, (1e9, 1e9))

    collection(photo_folder, 3)
    train, kept = photo_folder / "train", tmp_path / "home" / ".keras" / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    seen = [assets.fingerprint("quick")]
    for change in (
        lambda: put(train / "cat.9.jpg", 9),
        lambda: put(train / "cat.9.jpg", 10),
        lambda: time_of(train / "cat.9.jpg"),
        lambda: (train / "cat.9.jpg").rename(train / "cat.10.jpg"),
        lambda: (train / "dog.0.jpg").unlink(),
        lambda: train.rename(photo_folder / "train2"),
        lambda: (photo_folder / "train3").symlink_to(collection(tmp_path / "disk", 2)),
        lambda: put(tmp_path / "disk" / "train" / "dog.7.jpg"),
        weights,
        lambda: time_of(weights()),
        lambda: write_weights(photo_folder.parent / "weights" / "vgg19 (1).h5", shapes_of_vgg("vgg19"), "old"),
        lambda: write_weights(kept, shapes_of_vgg("vgg19"), "old"),
        lambda: monkeypatch.setenv("BOOK_DOWNLOAD", "1"),
        lambda: monkeypatch.setenv("BOOK_DATA", str(tmp_path / "nowhere")),
        lambda: monkeypatch.delenv("BOOK_DATA"),
        lambda: put(no_data / "data" / "Cat" / "1.jpg"),
        lambda: monkeypatch.setattr(assets, "fixed_test_photos", lambda: frozenset(["cat.1"])),
    ):
        change()
        assert assets.fingerprint("quick") == assets.fingerprint("quick")
        seen.append(assets.fingerprint("quick"))
    assert len(set(seen)) == len(seen), seen
    assert not (tmp_path / "runs").exists()  # nothing is written


def test_the_fingerprint_of_the_test_profile_is_that_of_the_drawing(photo_folder, monkeypatch):
    first = assets.fingerprint("test")
    collection(photo_folder, 3)
    assert assets.fingerprint("test") == first != assets.fingerprint("quick")
    monkeypatch.setattr(assets, "draw_photo", assets.read_photo)
    assert assets.fingerprint("test") != first


def test_the_fingerprint_is_cheap(photo_folder):
    for label in ("cat", "dog"):
        (photo_folder / label).mkdir()
        for i in range(2500):
            (photo_folder / label / f"{i}.jpg").touch()
    seconds = []
    for _ in range(5):
        started = time.process_time()
        assets.fingerprint("report")
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1  # 25,000 files: five times as much


def test_stock_is_known_while_nothing_changes(photo_folder, monkeypatch, tmp_path):
    collection(photo_folder, 3)
    write_weights(photo_folder.parent / "weights" / "vgg16_notop.weights.h5", shapes_of_vgg("vgg16"), "new")
    found = assets.stock("quick", 48)
    assert found["photos"] == [*(getattr(assets.load_photos("quick", 48), key) for key in ("source", "digest"))]
    assert len(found["weights"]["vgg16"]) == 16 and found["weights"]["vgg19"] is None
    assets.write_atomically(tmp_path / "runs" / "quick" / "data.json", json.dumps(found).encode())
    with monkeypatch.context() as patch:
        patch.setattr(assets, "load_photos", None)
        assert assets.stock("quick", 48) == found
    put(photo_folder / "train" / "cat.0.jpg", 77)
    assert assets.stock("quick", 48)["photos"] != found["photos"]


# --- a collection ----------------------------------------------------------------------------------------------


def test_photos_are_decoded_once(photo_folder, monkeypatch):
    collection(photo_folder, 2)
    first = assets.load_photos("quick", 48)
    monkeypatch.setattr(assets, "read_photo", None)
    monkeypatch.setattr(hashlib, "file_digest", None)
    again = assets.load_photos("quick", 48)
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.images, first.images)


def test_a_changed_photo_is_decoded_again(photo_folder):
    collection(photo_folder, 2)
    first = assets.load_photos("quick", 48)
    put(photo_folder / "train" / "dog.1.jpg", 77)
    second = assets.load_photos("quick", 48)
    assert second.digest != first.digest
    assert (second.images[3] != first.images[3]).any() and (second.images[:3] == first.images[:3]).all()


def test_what_identifies_photos_is_their_bytes_names_and_labels(photo_folder, monkeypatch, tmp_path):
    first = assets.load_photos("quick", 48) if collection(photo_folder, 2) else None
    assert re.fullmatch("[0-9a-f]{16}", first.digest)
    assert assets.load_photos("quick", 32).digest == first.digest  # not the size
    os.utime(photo_folder / "train" / "cat.0.jpg", (1e9, 1e9))
    assert assets.load_photos("quick", 48).digest == first.digest  # not the time
    monkeypatch.setattr(assets, "_decoder", lambda: "another Pillow")
    monkeypatch.setattr(assets, "read_photo", lambda path, size: np.full((size, size, 3), 7, np.uint8))
    assert assets.load_photos("quick", 48).digest == first.digest  # not the pixels
    photo_folder.parent.rename(tmp_path / "moved")
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "moved"))
    assert assets.load_photos("quick", 48).digest == first.digest  # not the place
    train, seen = tmp_path / "moved" / "cats_vs_dogs" / "train", [first.digest]
    with open(train / "cat.0.jpg", "ab") as file:
        file.write(b"one byte more")
    seen.append(assets.load_photos("quick", 48).digest)
    (train / "cat.0.jpg").rename(train / "cat.7.jpg")
    seen.append(assets.load_photos("quick", 48).digest)
    (train / "cat.7.jpg").rename(train / "dog.7.jpg")
    seen.append(assets.load_photos("quick", 48).digest)
    assert len(set(seen)) == 4


def test_what_identifies_drawn_photos_is_how_and_how_many(no_data, monkeypatch):
    one, small = assets.load_photos("test", 48), assets.load_photos("test", 32)
    assert one.digest == small.digest != assets.load_photos("test", 48, drawn_per_class=5).digest
    monkeypatch.setattr(assets, "_code_of", lambda function: "drawn otherwise")
    assert assets.load_photos("test", 48).digest != one.digest


def test_comments_and_docstrings_are_no_code(tmp_path, monkeypatch):
    (tmp_path / "one_module.py").write_text('def f(x):\n    """Says something."""\n    # and this\n    return x+1\n\ndef g(x):\n    return x + 2\n')
    (tmp_path / "other_module.py").write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import one_module
    import other_module

    assert assets._code_of(one_module.f) == assets._code_of(other_module.f) != assets._code_of(one_module.g).replace("g(", "f(")


def test_photos_of_others_are_not_called_asirra(photo_folder):
    for name in ("Cat/7.jpg", "Dog/8.jpg", "cats/cat.9.jpg", "cat (1).jpg"):
        put(photo_folder / name, len(name))
    assert assets.load_photos("quick", 48).source == "4 photos of the Asirra (Dogs vs. Cats) collection"
    for i in range(4):
        put(photo_folder / "my dogs" / f"2024-{i}.jpg", i)
    assert assets.load_photos("quick", 48).source == "8 photos of your own"


def test_a_damaged_note_of_what_is_known_is_no_trouble(photo_folder, tmp_path):
    collection(photo_folder, 2)
    first = assets.load_photos("quick", 48)
    for note in (tmp_path / "runs" / "cache").glob("photos-*.json"):
        note.write_text('{"train/cat.0.jpg": {"st')
    assert assets.load_photos("quick", 48).digest == first.digest


def test_near_duplicates_do_not_depend_on_the_size(photo_folder):
    collection(photo_folder, 20)
    for name, size, quality in (("cat.100.jpg", 90, 40), ("dog.101.jpg", 70, 60)):
        picture(3).resize((size, size)).save(photo_folder / "train" / name, quality=quality)
    groups = {size: assets.load_photos("quick", size) for size in (8, 48, 150)}
    assert len({tuple(photos.groups) for photos in groups.values()}) == 1
    group = dict(zip(groups[8].names, groups[8].groups))
    assert group["train/cat.3.jpg"] == group["train/cat.100.jpg"] == group["train/dog.101.jpg"] and len(set(group.values())) == 40


def test_no_photos(photo_folder):
    (photo_folder / "notes.txt").write_text("none yet")
    for i in range(3):
        put(photo_folder / "train" / f"horse.{i}.jpg")
    put(photo_folder / ".Trash-1000" / "cat.1.jpg")
    with pytest.raises(BookError, match="No photos of cats and dogs") as caught:
        assets.load_photos("quick", 48)
    assert str(photo_folder) in str(caught.value)
    assert "train/horse.0.jpg and 2 more (neither its folder nor its name says cat or dog)" in str(caught.value)
    assert "notes.txt" in str(caught.value) and ".Trash-1000/ (" in str(caught.value) and "1 file in it" in str(caught.value)


def test_no_readable_photo(photo_folder):
    (photo_folder / "cat.1.jpg").write_bytes(b"")
    with pytest.raises(BookError, match="None of the 1 image files .* empty file"):
        assets.load_photos("quick", 48)


def test_test_profile_always_draws(photo_folder):
    collection(photo_folder, 2)
    photos = assets.load_photos("test", 48, drawn_per_class=5)
    assert len(photos.images) == 10 and "drawn" in photos.source
    assert photos.labels.tolist() == [0] * 5 + [1] * 5
    assert len(set(photos.groups)) == 10


def test_quick_draws_when_there_is_nothing_and_report_refuses(no_data):
    assert "not photos" in assets.load_photos("quick", 48, drawn_per_class=3).source
    with pytest.raises(BookError, match="needs the real photos"):
        assets.load_photos("report", 48)


def test_without_network_quick_draws_and_report_names_both_ways(no_data, monkeypatch):
    monkeypatch.setenv("BOOK_DOWNLOAD", "1")
    gone = {**fetch.DOWNLOADS["all"], "url": "http://127.0.0.1:9/photos.zip"}
    monkeypatch.setattr(fetch, "DOWNLOADS", {"all": gone, "part": gone})
    assert "not photos" in assets.load_photos("quick", 48, drawn_per_class=3).source
    with pytest.raises(BookError) as caught:
        assets.load_photos("report", 48)
    for words in ("http://127.0.0.1:9/photos.zip", "download", "data/cats_vs_dogs", "BOOK_DATA"):
        assert words in str(caught.value)


def test_drawn_photos_are_repeatable_and_different():
    first = [assets.draw_photo(label, i, 48) for label in (0, 1) for i in range(4)]
    again = [assets.draw_photo(label, i, 48) for label in (0, 1) for i in range(4)]
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (48, 48, 3) and first[0].dtype == np.uint8
    assert len({image.tobytes() for image in first}) == 8


def test_photos_are_fetched_unpacked_and_used(no_data, monkeypatch, tmp_path):
    collection(tmp_path / "source", 2)
    members = {p.relative_to(tmp_path / "source").as_posix(): p.read_bytes() for p in (tmp_path / "source").rglob("*.jpg")}
    data = zipped(tmp_path / "photos.zip", members).read_bytes()
    monkeypatch.setattr(fetch, "DOWNLOADS", {"part": {"url": "https://example.org/photos.zip", "hash": None, "bytes": len(data)}})
    monkeypatch.setattr(fetch, "fetch", lambda url, target, known_hash, size: target.write_bytes(data))
    monkeypatch.setenv("BOOK_DOWNLOAD", "1")
    photos = assets.load_photos("quick", 48)
    assert photos.labels.tolist() == [0, 0, 1, 1]
    assert [p.name for p in (no_data / "data").iterdir()] == ["cats_vs_dogs"]


# --- near-duplicates and splits --------------------------------------------------------------------------------


def re_encoded(image, quality=40, side=80):
    """The same picture, smaller and compressed again."""
    data = io.BytesIO()
    Image.fromarray(image).resize((side, side)).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB").resize(image.shape[1::-1]))


def made(count, twins=()):
    """``count`` photos of each class; ``twins``: pairs of indices, the second photo becomes a copy of the first."""
    images = [np.asarray(picture(i)) for i in range(2 * count)]
    for one, other in twins:
        images[other] = re_encoded(images[one])
    images = np.stack(images)
    labels = np.repeat([0, 1], count).astype(np.uint8)
    names = tuple(f"{assets.CLASSES[n]}.{i}.jpg" for i, n in enumerate(labels))
    return assets.Photos(images, labels, names, assets.near_duplicates(images), "made", "d" * 16, (("broken.jpg", "empty"),))


def test_near_duplicates_are_found_and_others_are_not():
    photos = made(20, [(0, 1), (0, 2), (21, 33)])
    groups = photos.groups
    assert groups[0] == groups[1] == groups[2] and groups[21] == groups[33]
    assert len(set(groups)) == 40 - 3


def test_split_sizes_and_no_photo_twice():
    photos = made(20)
    parts = assets.split(photos, 0, 10, 5, 4)
    for part, size in ((parts.train, 10), (parts.validation, 5), (parts.test, 4)):
        assert np.bincount(part.labels).tolist() == [size, size]
        assert part.images.shape == (2 * size, 96, 96, 3) and len(part.names) == 2 * size
        for image, label, name in zip(part.images, part.labels, part.names):
            i = photos.names.index(name)
            assert photos.labels[i] == label and (photos.images[i] == image).all()
    names = parts.train.names + parts.validation.names + parts.test.names
    assert len(set(names)) == len(names) == 38


def test_split_depends_on_the_seed_alone():
    photos = made(20)
    one, same, other = (assets.split(photos, seed, 10, 5, 5) for seed in (3, 3, 4))
    assert one.digest == same.digest and one.train.names == same.train.names and one.test.names == same.test.names
    assert one.digest != other.digest and set(one.train.names) != set(other.train.names)
    assert one.test.names == other.test.names and re.fullmatch("[0-9a-f]{16}", one.digest)
    assert one.train.labels.tolist() != sorted(one.train.labels)  # mixed, not all cats first


def test_near_duplicates_stay_together():
    photos = made(12, [(0, 1), (0, 2), (3, 4), (13, 14)])
    place = {}
    for seed in range(25):
        parts = assets.split(photos, seed, 5, 3, 3)
        where = {n: k for k, p in enumerate((parts.train, parts.validation, parts.test)) for n in p.names}
        for group in set(photos.groups):
            members = [photos.names[i] for i in np.flatnonzero(photos.groups == group)]
            assert len({where.get(n, "unused") for n in members}) == 1, (seed, members)
        place[where.get(photos.names[0], "unused")] = True
    assert len(place) > 1  # not always the same part


def test_no_test_photo_has_a_twin_of_the_other_class_in_training():
    photos = made(12, [(0, 12), (1, 13)])  # the same picture filed as a cat and as a dog
    for seed in range(25):
        parts = assets.split(photos, seed, 5, 3, 2)
        groups = [{photos.groups[photos.names.index(n)] for n in p.names} for p in (parts.train, parts.validation, parts.test)]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2]), seed


# --- the fixed test set ----------------------------------------------------------------------------------------


def numbered(count, groups=None, start=0, form="train/{kind}.{i}.jpg", size=1):
    """``count`` photos of each class without pictures, only names."""
    names = tuple(form.format(kind=kind, i=i) for kind in assets.CLASSES for i in range(start, start + count))
    labels = np.repeat([0, 1], count).astype(np.uint8)
    images = np.arange(2 * count, dtype=np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2).repeat(3, 3)
    return assets.Photos(images, labels, names, np.arange(2 * count) if groups is None else np.array(groups), "made", "d" * 16, ())


def bases(part):
    return {assets.base_name(name, label) for name, label in zip(part.names, part.labels)}


@pytest.fixture
def ten_named(monkeypatch):
    """A list of ten test photos of each class: those whose number ends in 3."""
    names = frozenset(f"{kind}.{i}" for kind in assets.CLASSES for i in range(3, 100, 10))
    monkeypatch.setattr(assets, "fixed_test_photos", lambda: names)
    return names


def test_the_committed_list():
    names = assets.fixed_test_photos()
    assert len(names) == 1000 and sum(name.startswith("cat.") for name in names) == 500
    numbers = [int(re.fullmatch(r"(cat|dog)\.(\d+)", name)[2]) for name in names]
    assert all(1 <= n <= 1000 or 4001 <= n <= 5000 for n in numbers)


@pytest.mark.parametrize("form", ["train/{kind}.{i}.jpg", "PetImages/{kind}/{i}.jpg", "{kind}s/{kind}.{i}.JPEG", "a/b/{kind}.{i}.png"])
def test_the_test_set_is_the_named_one_in_every_layout_for_every_seed_and_size(ten_named, form):
    for seed in range(5):
        for size in (1, 2):
            parts = assets.split(numbered(100, form=form, size=size), seed, 60, 30, 10)
            assert bases(parts.test) == ten_named
            assert not (bases(parts.train) | bases(parts.validation)) & ten_named


def test_a_smaller_test_set_is_a_fixed_draw_of_the_named_and_the_others_train_nothing(ten_named):
    drawn = {size: assets.split(numbered(100), 0, 40, 20, size).test.names for size in (10, 5, 2)}
    assert set(drawn[2]) < set(drawn[5]) < set(drawn[10])
    for seed in range(10):
        parts = assets.split(numbered(100), seed, 60, 30, 5)
        assert parts.test.names == drawn[5] and bases(parts.test) < ten_named
        assert not (bases(parts.train) | bases(parts.validation)) & ten_named
    assert assets.split(numbered(100), 0, 60, 34, 5).test.names == drawn[5]  # only where no others are left


def test_other_photos_get_a_fixed_draw_that_knows_nothing_of_positions(ten_named):
    for photos in (numbered(50, start=1000), numbered(50, form="{kind}.{i} (drawn)"), numbered(8), numbered(30)):  # 30: three named of each
        first = assets.split(photos, 0, 3, 1, 4)
        assert first.test.names == assets.split(photos, 7, 3, 1, 4).test.names
        order = np.random.default_rng(0).permutation(len(photos.names))
        mixed = assets.Photos(photos.images[order], photos.labels[order], tuple(photos.names[i] for i in order), photos.groups[order], "", "d", ())
        assert assets.split(mixed, 0, 3, 1, 4).test.names == first.test.names


def test_a_near_duplicate_of_a_test_photo_never_trains(ten_named):
    groups = np.arange(200)
    for i, twin in ((3, 4), (13, 23), (33, 140), (43, 143), (153, 154), (163, 99)):  # of the same class and of the other, named and not
        groups[twin] = groups[i]
    photos = numbered(100, groups)
    group = dict(zip(photos.names, groups))
    for seed in range(10):
        for test_size in (10, 5):
            parts = assets.split(photos, seed, 50, 30, test_size)
            one, two, three = ({group[name] for name in part.names} for part in (parts.train, parts.validation, parts.test))
            assert not (one & two or one & three or two & three)
            assert (bases(parts.test) == ten_named) == (test_size == 10) and bases(parts.test) <= ten_named
            assert np.bincount(parts.test.labels).tolist() == [test_size, test_size]


def test_the_digest_of_a_split_is_over_names(ten_named):
    one, larger = (assets.split(numbered(100, size=size), 0, 60, 30, 10) for size in (1, 2))
    assert one.digest == larger.digest  # not over pixels
    assert len({assets.split(numbered(100), 0, *sizes).digest for sizes in ((60, 30, 10), (60, 20, 10), (50, 30, 10), (60, 30, 9))}) == 4


def test_parts_may_be_empty(ten_named):
    parts = assets.split(numbered(20), 0, 4, 0, 0)
    assert parts.test.images.shape == (0, 1, 1, 3) and parts.validation.names == () and len(parts.train.labels) == 8


def test_too_few_photos_for_the_split():
    with pytest.raises(BookError) as caught:
        assets.split(made(6), 0, 1000, 500, 500)
    for words in ("2,000", "1,000 for training", "6 of cats and 6 of dogs", "1 files left out"):
        assert words in str(caught.value)


def test_one_class_only(photo_folder):
    for i in range(4):
        put(photo_folder / "Cat" / f"{i}.jpg", i)
    photos = assets.load_photos("quick", 48)
    with pytest.raises(BookError, match="4 of cats and 0 of dogs"):
        assets.split(photos, 0, 1, 1, 1)


def test_nothing_but_copies_cannot_be_divided():
    with pytest.raises(BookError, match="near-duplicates"):
        assets.split(made(3, [(0, 1), (0, 2)]), 0, 1, 1, 1)


# --- weights ---------------------------------------------------------------------------------------------------


def test_weights_are_found_in_order(no_data, monkeypatch, tmp_path):
    assert assets.find_weights("vgg19", "quick") is None
    with pytest.raises(BookError, match="ImageNet weights of VGG19"):
        assets.find_weights("vgg19", "report")
    kept = tmp_path / "home" / ".keras" / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    own = no_data / "data" / "weights" / "vgg19_notop.weights.h5"
    given = tmp_path / "given" / "weights" / "vgg19_notop.weights.h5"
    for path in (kept, own, given):
        write_weights(path, shapes_of_vgg("vgg19"), "old" if path == kept else "new")
        if path == given:
            monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
        assert assets.find_weights("vgg19", "report") == path
    assert assets.find_weights("vgg19", "test") is None


@pytest.mark.parametrize("given", ["", "weights", "cats_vs_dogs"])
def test_weights_are_found_wherever_in_a_data_folder_book_data_points(no_data, monkeypatch, tmp_path, given):
    collection(tmp_path / "given" / "cats_vs_dogs", 1)
    path = write_weights(tmp_path / "given" / "weights" / "vgg16_notop.weights.h5", shapes_of_vgg("vgg16"), "new")
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given" / given))
    assert assets.find_weights("vgg16", "report") == path
    assert (assets.find_photos() is None) == (given == "weights")


@pytest.mark.parametrize("profile", ["quick", "report"])
def test_weights_that_are_none_are_told_when_they_are_found(no_data, profile):
    path = no_data / "data" / "weights" / "vgg16_notop.weights.h5"
    path.parent.mkdir()
    path.write_bytes(LFS)
    with pytest.raises(BookError, match="vgg16_notop.weights.h5 does not hold .* Git LFS"):
        assets.find_weights("vgg16", profile)
    assert assets.find_weights("vgg16", "test") is None


@pytest.mark.parametrize(
    "name",
    ["vgg16_weights_tf_dim_ordering_tf_kernels_notop (1).h5", "VGG16_notop.weights.h5", "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
     "vgg16.h5", "weights.h5", "vgg16_notop.weights.h5.crdownload", "vgg16.pth", "vgg16_notop.weights.keras"],
)  # fmt: skip
def test_weights_that_lie_there_unused_are_named(no_data, capsys, name):
    folder = no_data / "data" / "weights"
    for each in (name, "README.md", "vgg19_notop.weights.h5"):
        folder.mkdir(exist_ok=True)
        (folder / each).write_bytes(b"x")
    assert assets.unused_weights() == [folder / name]
    assert assets.find_weights("vgg16", "quick") is None
    said = capsys.readouterr().err
    assert str(folder / name) in said and "vgg19" not in said and "untrained VGG16" in said
    with pytest.raises(BookError, match=re.escape(name)):
        assets.find_weights("vgg16", "report")


def test_weights_that_cannot_be_fetched(no_data, monkeypatch):
    monkeypatch.setenv("BOOK_DOWNLOAD", "1")
    monkeypatch.setattr(fetch, "WEIGHTS_URL", "http://127.0.0.1:9/")
    assert assets.find_weights("vgg16", "quick") is None
    with pytest.raises(BookError, match="http://127.0.0.1:9/.*\n(.*\n)*.*vgg16_notop.weights.h5 in data/weights"):
        assets.find_weights("vgg16", "report")
