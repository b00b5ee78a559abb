"""Reading photos: unusual ones are used, damaged ones are left out for the true reason, and warnings belong to a file."""

import json
import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import assets
from conftest import PROJECT
from found import CLASSES
from made_photos import collection, damaged_files, picture, put

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


def test_damaged_files_say_what_is_wrong(tmp_path):
    for name, word in damaged_files(tmp_path).items():
        with pytest.raises((ValueError, OSError), match=word):
            assets.read_photo(tmp_path / name, 48)


def test_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "MAX_PIXELS", 96 * 96 - 1)
    with pytest.raises(ValueError, match="96 × 96 pixels are too many"):
        assets.read_photo(put(tmp_path / "cat.0.jpg"), 48)


# --- notes and warnings ----------------------------------------------------------------------------------------


def with_segment(path, marker, content):
    """Put a segment of a JPEG file right behind its beginning."""
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content + data[2:])
    return path


def exif(*entries, count=None):
    """The EXIF segment of a JPEG file. ``entries``: (tag, type, number of values, value or place)."""
    body = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries) if count is None else count) + body + b"\0\0\0\0"


TURNED = (0x0112, 3, 1, 6 << 16)
MALFORMED = {
    "nothing but the name": b"Exif\0\0",
    "cut": exif(TURNED)[:20],
    "no TIFF": b"Exif\0\0this is not TIFF at all",
    "too many entries": exif(TURNED, count=500),
    "leads outside": exif((0x010F, 2, 5000, 0x7FFFFFFF), TURNED),
    "orientation is a text": exif((0x0112, 2, 4, 0x41424344)),
    "orientation 99": exif((0x0112, 3, 1, 99 << 16)),
    "thousand orientations": exif((0x0112, 3, 1000, 8)),
    "unknown type": exif((0x0112, 77, 1, 6 << 16)),
}


@pytest.fixture
def folder(tmp_path, monkeypatch, no_data):
    """A folder with three photos of each class, found by BOOK_DATA."""
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "given"))
    return collection(tmp_path / "given" / "cats_vs_dogs", 3) / "train"


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_exif_costs_no_photo_and_no_word_in_the_progress_bar(folder, kind, capfd, recwarn):
    with_segment(put(folder / "cat.7.jpg", 7), 0xE1, MALFORMED[kind])
    photos = assets.load_photos("quick", 48)
    assert "train/cat.7.jpg" in photos.names and photos.left_out == ()
    assert all(name == "train/cat.7.jpg" and text and "\n" not in text for name, text in photos.warnings)
    plain = np.asarray(Image.open(put(folder / "cat.8.jpg", 7)).resize((48, 48), Image.Resampling.BILINEAR))
    image = photos.images[photos.names.index("train/cat.7.jpg")]
    assert any(close(image, np.rot90(plain, turns)) for turns in (0, -1))
    assert not recwarn.list and "Warning" not in "".join(capfd.readouterr())


def test_each_warning_belongs_to_its_file_and_is_of_today(folder, capfd, recwarn):
    for i in range(40):  # between others, so that threads mix them up if they can
        path = put(folder / f"dog.{100 + i}.jpg", 100 + i)
        if i % 3 == 0:
            with_segment(path, 0xE1, MALFORMED["leads outside"])
    photos = assets.load_photos("quick", 48)
    assert {name for name, _ in photos.warnings} == {f"train/dog.{100 + i}.jpg" for i in range(0, 40, 3)}
    assert assets.load_photos("quick", 32).warnings == photos.warnings  # known, not heard again
    (folder / "dog.100.jpg").unlink()
    assert "train/dog.100.jpg" not in {name for name, _ in assets.load_photos("quick", 48).warnings}
    assert not recwarn.list and "Warning" not in "".join(capfd.readouterr())


def test_warnings_are_as_they_were_after_reading(folder):
    before = warnings.showwarning, list(warnings.filters)
    assets.load_photos("quick", 48)
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_mpo_files_of_cameras_are_used(folder, recwarn):
    picture(8).save(folder / "cat.8.jpg", "MPO", save_all=True, append_images=[picture(9)])
    data = (folder / "cat.8.jpg").read_bytes()
    (folder / "cat.9.jpg").write_bytes(data.replace(b"MPF\0MM", b"MPF\0XX").replace(b"MPF\0II", b"MPF\0XX"))  # "malformed MPO file"
    photos = assets.load_photos("quick", 48)
    expected = picture(8).resize((48, 48), Image.Resampling.BILINEAR)
    for name in ("train/cat.8.jpg", "train/cat.9.jpg"):
        assert close(photos.images[photos.names.index(name)], expected)
    assert {name for name, _ in photos.warnings} == {"train/cat.9.jpg"} and not recwarn.list


def test_adobe_cmyk_is_not_inverted(folder):
    picture(5).convert("CMYK").save(folder / "cat.5.jpg", quality=95)  # with Adobe's mark and inverted, as Photoshop does
    data = (folder / "cat.5.jpg").read_bytes()
    assert b"Adobe" in data
    place = data.index(b"Adobe") + 11  # 2 in place of 0: called YCCK, so its colours are others
    (folder / "cat.6.jpg").write_bytes(data[:place] + b"\2" + data[place + 1 :])
    photos = assets.load_photos("quick", 48)
    assert close(photos.images[photos.names.index("train/cat.5.jpg")], picture(5).resize((48, 48), Image.Resampling.BILINEAR))
    assert "train/cat.6.jpg" in photos.names and photos.left_out == ()


def test_the_list_of_left_out_files_is_of_today(folder):
    whole = (folder / "cat.0.jpg").read_bytes()
    damaged_files(folder)
    (folder / "horse.1.jpg").write_bytes(whole)
    assert len(assets.load_photos("quick", 48).left_out) == 8
    for name in ("cat.900.jpg", "cat.901.jpg", "cat.905.jpg", "horse.1.jpg"):
        (folder / name).unlink()
    (folder / "cat.902.jpg").write_bytes(whole)  # mended
    photos = assets.load_photos("quick", 48)
    assert {name for name, _ in photos.left_out} == {f"train/cat.{i}.jpg" for i in (903, 904, 906)}
    assert "train/cat.902.jpg" in photos.names


def test_a_file_that_may_be_read_again_is_asked_again(folder, monkeypatch):
    """A permission changes neither size nor time of a file."""
    read = assets.read_photo

    def refuse(path, size):
        if path.name == "cat.1.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path, size)

    assets._decoder()  # or the code of `refuse` would count
    monkeypatch.setattr(assets, "read_photo", refuse)
    assert assets.load_photos("quick", 48).left_out == (("train/cat.1.jpg", "Permission denied"),)
    monkeypatch.setattr(assets, "read_photo", read)
    assert len(assets.load_photos("quick", 48).images) == 6


# --- hard knocks -----------------------------------------------------------------------------------------------


def whole_photos(folder, count):
    """JPEG files of both classes that are in order."""
    for label, kind in enumerate(CLASSES):
        for i in range(count):
            picture(1000 * label + i, 160).save(folder / f"{kind}.{i}.jpg", quality=90)


def variants(folder):
    """Write some 500 damaged or unusual files; returns {name: "used", "left out" or "either"}."""
    rng, expected = np.random.default_rng(0), {}

    def write(name, content, fate):
        (folder / name).write_bytes(content)
        expected[name] = fate

    def save(name, image, fate="used", **options):
        image.save(folder / name, **options)
        expected[name] = fate

    kinds = [CLASSES[k % 2] for k in range(12)]
    good = [(kind, (folder / f"{kind}.{k}.jpg").read_bytes()) for k, kind in enumerate(kinds)]
    number = 5000
    for kind, data in good:
        for tenth in range(10):  # cut: at 0/10 nothing is left
            write(f"{kind}.{number}.jpg", data[: len(data) * tenth // 10], "left out")
            number += 1
        for _ in range(18):  # one to twenty bits flipped
            broken = bytearray(data)
            for _ in range(int(rng.integers(1, 21))):
                broken[int(rng.integers(len(broken)))] ^= 1 << int(rng.integers(8))
            write(f"{kind}.{number}.jpg", bytes(broken), "either")
            number += 1
    for k in range(30):
        kind, image = CLASSES[k % 2], picture(9000 + k, 120)
        for form, suffix in (("PNG", "jpg"), ("GIF", "jpg"), ("WEBP", "jpeg"), ("BMP", "png")):  # called by another name
            save(f"{kind}.{number}.{suffix}", image, format=form)
            number += 1
    for k in range(8):
        kind = CLASSES[k % 2]
        image = picture(9500 + k, 120)
        write(f"{kind}.{number}.jpg", b"", "left out")
        write(f"{kind}.{number + 1}.jpg", b"this is text, whatever it is called\n" * 9, "left out")
        write(f"{kind}.{number + 2}.jpg", b"\x00" * 4000, "left out")
        save(f"{kind}.{number + 3}.jpg", image.convert("CMYK"), format="JPEG")
        save(f"{kind}.{number + 4}.png", Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) << 8) + 7), format="PNG")
        save(f"{kind}.{number + 5}.jpg", image.convert("L"), format="JPEG")
        save(f"{kind}.{number + 6}.gif", image, format="GIF", save_all=True, append_images=[picture(k, 120)] * 3)
        turned = Image.Exif()
        turned[0x0112] = 1 + k
        save(f"{kind}.{number + 7}.jpg", image, format="JPEG", exif=turned)
        save(f"{kind}.{number + 8}.png", picture(k, 1), "left out", format="PNG")
        number += 9
    save(f"cat.{number}.png", Image.new("1", (20_000, 20_000)), "left out", format="PNG")  # a decompression bomb
    save(f"cat.{number + 1}.gif", Image.new("L", (30_000, 9_000)), "left out", format="GIF")
    (folder / f"dog.{number + 2}.jpg").symlink_to(folder / "nowhere.jpg")
    expected[f"dog.{number + 2}.jpg"] = "left out"
    (folder / f"cat.{number + 3}.jpg").mkdir()
    expected[f"cat.{number + 3}.jpg"] = "left out"
    for name in ("cat.猫.jpg", "dog.é ü.jpg", "cat.it's \"one\".jpg", "dog." + "x" * 240 + ".jpg", "cat.\n.jpg", "dog.-rf.jpg"):
        save(name, picture(number + len(name), 120), format="JPEG")
    if os.geteuid():  # root reads everything
        write("dog.secret.jpg", good[1][1], "left out")
        (folder / "dog.secret.jpg").chmod(0)
    for kind, other in (("cat", "dog"), ("dog", "cat")):  # the same photo under other names, and in both classes
        data = (folder / f"{kind}.11.jpg").read_bytes()
        write(f"{kind}.again.jpg", data, "used")
        write(f"{other}.both.jpg", data, "used")
    return expected


LOADING = """
import json, resource, sys
import assets
limit = 2 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
photos = assets.load_photos("quick", 64)
json.dump({"names": photos.names, "groups": photos.groups.tolist(), "left_out": photos.left_out,
           "labels": photos.labels.tolist(), "finite": bool((photos.images >= 0).all())}, sys.stdout)
"""


def test_five_hundred_damaged_or_odd_files_are_used_or_named(tmp_path, monkeypatch):
    """In 2 GiB of address space and a minute: none stops the run, none vanishes, none is used that should not be."""
    folder = tmp_path / "given" / "cats_vs_dogs"
    folder.mkdir(parents=True)
    whole_photos(folder, 20)
    expected = variants(folder)
    assert len(expected) >= 500
    environment = {**os.environ, "BOOK_DATA": str(folder.parent), "PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    used, left_out = set(found["names"]), dict(found["left_out"])
    assert not used & set(left_out)
    fates = {name: "used" if name in used else "left out" if name in left_out else "lost" for name in expected}
    allowed = {"used": ["used"], "left out": ["left out"], "either": ["used", "left out"]}
    wrong = {name: (fate, fates[name], left_out.get(name)) for name, fate in expected.items() if fates[name] not in allowed[fate]}
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)[:3000]
    assert all(reason for reason in left_out.values())
    group = dict(zip(found["names"], found["groups"]))
    for kind, other in (("cat", "dog"), ("dog", "cat")):
        assert group[f"{kind}.again.jpg"] == group[f"{other}.both.jpg"]  # the split keeps them in one part
