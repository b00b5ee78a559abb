"""Photos and weights: found in every layout, left out when damaged, divided without twins, fetched or refused."""

import errno
import hashlib
import http.server
import io
import os
import re
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

import assets
from assets import BookError
from conftest import serving


def picture(seed, side=96):
    """A smooth random colour picture, so that JPEG changes it little and no two are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def put(path, seed=0, form="JPEG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, form, **options)
    return path


def collection(root, per_class, first_seed=0):
    """Photos in Kaggle's layout below ``root``."""
    for label, kind in enumerate(assets.CLASSES):
        for i in range(per_class):
            put(root / "train" / f"{kind}.{i}.jpg", first_seed + 1000 * label + i)
    return root


@pytest.fixture
def photo_folder(tmp_path, monkeypatch, no_data):
    """The folder in which the book looks for photos, still empty, with BOOK_DATA pointing above it."""
    folder = tmp_path / "given" / "cats_vs_dogs"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BOOK_DATA", str(folder.parent))
    return folder


# --- finding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["train/cat.0.jpg", "train/dog.0.jpg"],  # Kaggle
        ["cat.0.jpg", "dog.0.jpg"],
        ["PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg"],  # Microsoft
        ["train/cats/cat.0.jpg", "validation/dogs/dog.2000.jpg"],  # Google
        ["training_set/cats/a.jpeg", "training_set/dogs/b.PNG"],
    ],
)
def test_layouts(tmp_path, names):
    for name in names:
        put(tmp_path / name, form="PNG" if name.endswith("PNG") else "JPEG")
    used, left_out = assets.list_photos(tmp_path)
    assert [(label, p.relative_to(tmp_path).as_posix()) for label, p in used] == list(enumerate(names))
    assert left_out == []


def test_natural_order(tmp_path):
    for i in (10, 9, 100, 1):
        put(tmp_path / f"cat.{i}.jpg")
    assert [p.name for _, p in assets.list_photos(tmp_path)[0]] == ["cat.1.jpg", "cat.9.jpg", "cat.10.jpg", "cat.100.jpg"]


def test_odd_digits_in_names_are_no_trouble(tmp_path):
    put(tmp_path / "Cat" / "1²2.jpg")
    assert len(assets.list_photos(tmp_path)[0]) == 1


@pytest.mark.parametrize("folder", ["dog-vs-cat", "dog_cat_photos", "dogs-vs-cats"])
def test_a_folder_named_after_both_decides_nothing(tmp_path, folder):
    put(tmp_path / folder / "cat.0.jpg")
    put(tmp_path / folder / "dog.0.jpg")
    assert [label for label, _ in assets.list_photos(tmp_path)[0]] == [0, 1]


def test_files_that_are_no_photos_are_named(tmp_path):
    put(tmp_path / "train" / "cat.0.jpg")
    put(tmp_path / "train" / "horse.0.jpg")
    put(tmp_path / "train" / "category.1.jpg")
    (tmp_path / "train" / "cat.7.jpg").mkdir()
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    used, left_out = assets.list_photos(tmp_path)
    assert [p.name for _, p in used] == ["cat.0.jpg"]
    reasons = {p.name: reason for p, reason in left_out}
    assert set(reasons) == {"horse.0.jpg", "category.1.jpg", "cat.7.jpg", "Thumbs.db"}
    assert "folder" in reasons["cat.7.jpg"] and "cat or dog" in reasons["horse.0.jpg"]


# --- reading ---------------------------------------------------------------------------------------------------


def close(image, expected, tolerance=6):
    return np.abs(image.astype(int) - np.asarray(expected).astype(int)).mean() < tolerance


def test_read_photo_equals_pillow(tmp_path):
    path = put(tmp_path / "cat.0.png", 1, "PNG")
    expected = picture(1).resize((48, 48), Image.Resampling.BILINEAR)
    image = assets.read_photo(path, 48)
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_unusual_but_usable(tmp_path):
    expected = picture(2).resize((48, 48), Image.Resampling.BILINEAR)
    grey = np.repeat(np.asarray(picture(2).convert("L").resize((48, 48), Image.Resampling.BILINEAR))[..., None], 3, 2)

    picture(2).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert close(assets.read_photo(tmp_path / "cmyk.jpg", 48), expected)

    wide = np.asarray(picture(2).convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "sixteen.png")
    assert close(assets.read_photo(tmp_path / "sixteen.png", 48), grey, 2)

    picture(2).save(tmp_path / "a.gif")
    assert close(assets.read_photo(tmp_path / "a.gif", 48), expected, 12)

    picture(2).save(tmp_path / "png-called.jpg", "PNG")  # the name is wrong, the content decides
    assert close(assets.read_photo(tmp_path / "png-called.jpg", 48), expected, 1)

    picture(2).convert("L").save(tmp_path / "grey.jpg", quality=95)
    assert close(assets.read_photo(tmp_path / "grey.jpg", 48), grey)

    picture(2).convert("RGBA").save(tmp_path / "alpha.png")
    assert close(assets.read_photo(tmp_path / "alpha.png", 48), expected, 1)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right by 90° to view"
    picture(3).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    upright = picture(3).rotate(-90).resize((48, 48), Image.Resampling.BILINEAR)
    assert close(assets.read_photo(tmp_path / "turned.jpg", 48), upright)


def damaged_files(folder):
    """Files that cannot be used, with a word that the reason must hold."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(whole, "JPEG")
    whole = whole.getvalue()
    (folder / "cat.900.jpg").write_bytes(b"")
    (folder / "cat.901.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cat.902.jpg").write_text("I am a letter, not a photo.")
    (folder / "cat.903.jpg").write_bytes(whole[:20])
    Image.new("RGB", (1, 1)).save(folder / "cat.904.jpg")
    (folder / "cat.905.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "cat.906.jpg").symlink_to(folder / "cat.906.jpg")
    return {
        "cat.900.jpg": "empty", "cat.901.jpg": "damaged", "cat.902.jpg": "not an image", "cat.903.jpg": "damaged|not an image",
        "cat.904.jpg": "too few", "cat.905.jpg": "No such file", "cat.906.jpg": "symbolic links",
    }  # fmt: skip


def test_damaged_files_say_what_is_wrong(tmp_path):
    for name, word in damaged_files(tmp_path).items():
        with pytest.raises((ValueError, OSError), match=word):
            assets.read_photo(tmp_path / name, 48)


def test_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "MAX_PIXELS", 96 * 96 - 1)
    with pytest.raises(ValueError, match="96 × 96 pixels are too many"):
        assets.read_photo(put(tmp_path / "cat.0.jpg"), 48)


def test_damaged_files_are_left_out_and_named(photo_folder):
    reasons = damaged_files(photo_folder / "train")
    collection(photo_folder, 3)
    photos = assets.load_photos("quick", 48)
    assert photos.images.shape == (6, 48, 48, 3) and photos.images.dtype == np.uint8
    assert photos.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert photos.names == tuple(f"train/{kind}.{i}.jpg" for kind in ("cat", "dog") for i in range(3))
    left_out = {name.split("/")[1]: reason for name, reason in photos.left_out}
    assert set(left_out) == set(reasons)
    for name, word in reasons.items():
        assert re.search(word, left_out[name]), (name, left_out[name])


# --- a collection ----------------------------------------------------------------------------------------------


def test_photos_are_decoded_once(photo_folder, monkeypatch):
    collection(photo_folder, 2)
    first = assets.load_photos("quick", 48)
    monkeypatch.setattr(assets, "read_photo", None)
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
    assert assets.load_photos("quick", 32).digest != second.digest


def test_no_photos(photo_folder):
    (photo_folder / "notes.txt").write_text("none yet")
    with pytest.raises(BookError, match="No photos of cats and dogs") as caught:
        assets.load_photos("quick", 48)
    assert str(photo_folder) in str(caught.value)


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
    gone = {**assets.DOWNLOADS["all"], "url": "http://127.0.0.1:9/photos.zip"}
    monkeypatch.setattr(assets, "DOWNLOADS", {"all": gone, "part": gone})
    assert "not photos" in assets.load_photos("quick", 48, drawn_per_class=3).source
    with pytest.raises(BookError) as caught:
        assets.load_photos("report", 48)
    for words in ("http://127.0.0.1:9/photos.zip", "download", "data/cats_vs_dogs", "BOOK_DATA"):
        assert words in str(caught.value)


def test_book_data_that_points_to_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(BookError, match="BOOK_DATA points to .*nowhere, which is not a folder"):
        assets.load_photos("quick", 48)


def test_relative_book_data_is_below_the_project(no_data, monkeypatch):
    (no_data / "mine" / "cats_vs_dogs").mkdir(parents=True)
    monkeypatch.setenv("BOOK_DATA", "mine")
    assert assets.find_photos() == no_data / "mine" / "cats_vs_dogs"


def test_drawn_photos_are_repeatable_and_different():
    first = [assets.draw_photo(label, i, 48) for label in (0, 1) for i in range(4)]
    again = [assets.draw_photo(label, i, 48) for label in (0, 1) for i in range(4)]
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (48, 48, 3) and first[0].dtype == np.uint8
    assert len({image.tobytes() for image in first}) == 8


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
    assert one.digest != other.digest and set(one.test.names) != set(other.test.names)
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


# --- downloads -------------------------------------------------------------------------------------------------

BODY = b"0123456789" * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing.bin":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) * (2 if self.path == "/cut.bin" else 1)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with serving(Handler) as address:
        yield address


def test_fetch(server, tmp_path):
    target = tmp_path / "deep" / "good.bin"
    checksum = "sha256:" + hashlib.sha256(BODY).hexdigest()
    assert assets.fetch(f"{server}/good.bin", target, checksum, len(BODY)) == target
    assert target.read_bytes() == BODY
    assert [p.name for p in target.parent.iterdir()] == ["good.bin"]


@pytest.mark.parametrize(
    "path, options, cause",
    [
        ("/cut.bin", {}, "IncompleteRead|broken|more expected|closed"),
        ("/good.bin", {"size": 7}, "50,000 bytes instead of 7"),
        ("/good.bin", {"known_hash": "md5:" + "0" * 32}, "checksum"),
        ("/missing.bin", {}, "404"),
        (None, {}, "refused"),
    ],
)
@pytest.mark.parametrize("earlier", [None, b"an earlier good copy"])
def test_a_failed_fetch_names_address_and_cause_and_leaves_nothing(server, tmp_path, path, options, cause, earlier):
    url = f"{server}{path}" if path else "http://127.0.0.1:9/nobody.bin"
    target = tmp_path / "folder" / "file.bin"
    target.parent.mkdir()
    if earlier:
        target.write_bytes(earlier)
    with pytest.raises(BookError, match=f"(?i){cause}") as caught:
        assets.fetch(url, target, **options)
    assert url in str(caught.value)
    assert [p.name for p in target.parent.iterdir()] == (["file.bin"] if earlier else [])
    if earlier:
        assert target.read_bytes() == earlier


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unpack(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"PetImages/Cat/0.jpg": BODY, "readme.txt": b"hello"})
    assets.unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "PetImages" / "Cat" / "0.jpg").read_bytes() == BODY
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "out", *(["runs"] if (tmp_path / "runs").exists() else [])]


@pytest.mark.parametrize("member", ["../escaped.txt", "inside/../../escaped.txt", "/tmp/escaped-from-a-book.txt"])
def test_unpack_refuses_members_that_land_elsewhere(tmp_path, member):
    archive = zipped(tmp_path / "bad.zip", {"good.txt": b"good", member: b"bad"})
    with pytest.raises(BookError, match="outside"):
        assets.unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]
    assert not os.path.exists("/tmp/escaped-from-a-book.txt")


@pytest.mark.parametrize("damage", ["no zip", "cut", "flipped", "stored checksum"])
def test_unpack_of_a_damaged_zip(tmp_path, damage):
    noise = np.random.default_rng(0).bytes(500) * 20
    archive = zipped(tmp_path / "photos.zip", {"train/cat.0.jpg": noise, "train/dog.0.jpg": noise})
    data = bytearray(archive.read_bytes())
    if damage == "no zip":
        data = b"<html>Sign in to the network</html>"
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[60:200] = b"\xff" * 140
    else:
        checksum = zlib.crc32(noise).to_bytes(4, "little")
        data = bytes(data).replace(checksum, b"\0\0\0\0")
    archive.write_bytes(data)
    with pytest.raises(BookError, match="photos.zip is damaged"):
        assets.unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["photos.zip"]


def test_photos_are_fetched_unpacked_and_used(server, no_data, monkeypatch, tmp_path):
    collection(tmp_path / "source", 2)
    members = {p.relative_to(tmp_path / "source").as_posix(): p.read_bytes() for p in (tmp_path / "source").rglob("*.jpg")}
    data = zipped(tmp_path / "photos.zip", members).read_bytes()
    monkeypatch.setattr(f"{__name__}.BODY", data)
    monkeypatch.setattr(assets, "DOWNLOADS", {"part": {"url": f"{server}/photos.zip", "hash": None, "bytes": len(data)}})
    monkeypatch.setenv("BOOK_DOWNLOAD", "1")
    photos = assets.load_photos("quick", 48)
    assert photos.labels.tolist() == [0, 0, 1, 1]
    assert [p.name for p in (no_data / "data").iterdir()] == ["cats_vs_dogs"]


# --- writing ---------------------------------------------------------------------------------------------------


def test_write_atomically(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    assets.write_atomically(path, b"first")
    assets.write_atomically(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")

    def fails(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BookError, match="file.txt: No space left"):
        assets.write_atomically(path, fails)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]




def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BookError, match="Could not write"):
        assets.write_atomically(tmp_path / "file" / "result.json", b"{}")


# --- weights ---------------------------------------------------------------------------------------------------


def test_weights_are_found_in_order(no_data, monkeypatch, tmp_path):
    assert assets.find_weights("vgg19", "quick") is None
    with pytest.raises(BookError, match="ImageNet weights of VGG19"):
        assets.find_weights("vgg19", "report")
    kept = tmp_path / "home" / ".keras" / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    own = no_data / "data" / "weights" / "vgg19_notop.weights.h5"
    given = tmp_path / "given" / "weights" / "vgg19_notop.weights.h5"
    for path in (kept, own, given):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
        if path == given:
            monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
        assert assets.find_weights("vgg19", "report") == path
    assert assets.find_weights("vgg19", "test") is None


def test_weights_that_cannot_be_fetched(no_data, monkeypatch):
    monkeypatch.setenv("BOOK_DOWNLOAD", "1")
    monkeypatch.setattr(assets, "WEIGHTS_URL", "http://127.0.0.1:9/")
    assert assets.find_weights("vgg16", "quick") is None
    with pytest.raises(BookError, match="http://127.0.0.1:9/.*\n(.*\n)*.*vgg16_notop.weights.h5 in data/weights"):
        assets.find_weights("vgg16", "report")
