"""Photos of the reader's own: what a folder may look like, one clear message for each that will not do, and who runs again because of it."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

import album
import chapters
from conftest import mini_project
from made_photos import damaged_files, picture, put
from paths import PROJECT, BookError
from test_freshness import done, text_of


def own_folder(root, mugs=6, cups=5):
    """A folder of made photos in two classes."""
    for kind, count, first in (("mugs", mugs, 0), ("cups", cups, 500)):
        for i in range(count):
            put(root / kind / f"{kind}_{i}.jpg", first + i)
    return root


def test_a_folder_of_two_classes(tmp_path):
    put(own_folder(tmp_path) / "mugs" / "older" / "deep.png", 900, "PNG")
    (tmp_path / "mugs" / ".DS_Store").write_bytes(b"x")
    found = album.load(str(tmp_path), 32)
    assert found.classes == ("cups", "mugs") and found.images.shape == (12, 32, 32, 3) and found.images.dtype == np.uint8
    assert np.bincount(found.labels).tolist() == [5, 7] and "mugs/older/deep.png" in found.names
    assert len(set(found.groups)) == 12 and not found.left_out
    assert found.source == "12 photos of your own: 5 of cups, 7 of mugs"


def test_three_classes_and_any_names(tmp_path):
    for i in range(5):
        put(own_folder(tmp_path) / "Ünïcode $x$" / f"{i}.JPG", 900 + i)
    assert album.load(str(tmp_path), 16).classes == ("cups", "mugs", "Ünïcode $x$")


def test_neither_folder_nor_setting(monkeypatch):
    assert album.load("", 16) is None and album.digest() is None and album.fingerprint() == ""
    monkeypatch.setenv("OWN", "some/where")
    assert album.folder_of() == PROJECT / "some" / "where" and album.folder_of("/else") == album.folder_of("/else/")


def test_copies_are_told(tmp_path):
    picture(3).save(own_folder(tmp_path) / "mugs" / "again.png")
    found = album.load(str(tmp_path), 64)
    again, three = found.names.index("mugs/again.png"), found.names.index("mugs/mugs_3.jpg")
    assert found.groups[again] == found.groups[three] and len(set(found.groups)) == 11


def heic(path):
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_what_cannot_be_read_is_left_out_by_name(tmp_path):
    reasons = damaged_files(own_folder(tmp_path) / "mugs")
    put(tmp_path / "loose.jpg", 77)
    (tmp_path / "cups" / "notes.txt").write_text("x")
    heic(tmp_path / "cups" / "phone.HEIC")
    heic(tmp_path / "cups" / "renamed.jpg")
    (tmp_path / "cups" / "twin.jpg").symlink_to(tmp_path / "cups" / "cups_0.jpg")
    found = album.load(str(tmp_path), 16)
    left_out = dict(found.left_out)
    assert len(found.labels) == 11
    assert {f"mugs/{name}" for name in reasons} <= set(left_out)
    for name, words in {"loose.jpg": "in no sub-folder", "cups/phone.HEIC": "HEIC", "cups/renamed.jpg": "save it as a JPEG", "cups/notes.txt": "does not end in",
                        "cups/twin.jpg": "a link to a photo"}.items():  # fmt: skip
        assert words in left_out[name], name


def too_few(root):
    own_folder(root, cups=4)


def one_class(root):
    shutil.rmtree(own_folder(root) / "cups")


def no_sub_folder(root):
    put(root / "a.jpg")


def nothing_but_heic(root):
    shutil.rmtree(own_folder(root) / "cups")
    (root / "cups").mkdir()
    for i in range(9):
        heic(root / "cups" / f"{i}.heic")


def copies_only(root):
    for i in range(6):
        put(root / "same" / f"{i}.jpg", 40)
    own_folder(root)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: shutil.rmtree(root), "There is no folder .*names a folder with a sub-folder of photos for each class"),
        (no_sub_folder, "has no sub-folder with photos. Two or more are needed(.|\n)*a.jpg .in no sub-folder"),
        (one_class, "has one sub-folder with photos, mugs. Two or more"),
        (too_few, "cups has 4 photos that can be read; every class needs 5"),
        (nothing_but_heic, "cups has 0 photos that can be read; (.|\n)*0.heic and 8 more .HEIC"),
        (copies_only, "same has 6 photos that can be read, which show 1 different pictures"),
    ],
    ids=["no folder", "no sub-folder", "one class", "too few", "HEIC", "copies"],
)
def test_one_clear_message(tmp_path, make, message, monkeypatch):
    root = tmp_path / "own"
    root.mkdir()
    make(root)
    with pytest.raises(BookError, match=message):
        album.load(str(root), 16)
    monkeypatch.setenv("OWN", str(root))
    with pytest.raises(BookError, match=message):
        album.digest()
    album.fingerprint()


def test_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(album, "MOST", 10)
    with pytest.raises(BookError, match="holds 11 photos, and this chapter is made for a few"):
        album.load(str(own_folder(tmp_path)), 16)


def test_one_photo(tmp_path):
    assert album.read(put(tmp_path / "a.jpg"), 24).shape == (24, 24, 3)
    heic(tmp_path / "b.jpg")
    for name, words in {"b.jpg": "HEIC", "c.jpg": "There is no file", ".": "There is no file"}.items():
        with pytest.raises(BookError, match=words):
            album.read(tmp_path / name, 24)


def test_the_digest_is_of_the_content(tmp_path, monkeypatch):
    monkeypatch.setenv("OWN", str(own_folder(tmp_path)))
    before, stamp = album.digest(), album.fingerprint()
    os.utime(tmp_path / "mugs" / "mugs_0.jpg", (1, 1))
    assert album.digest() == before and album.fingerprint() != stamp
    put(tmp_path / "mugs" / "mugs_0.jpg", 123)
    other = album.digest()
    (tmp_path / "mugs" / "mugs_1.jpg").rename(tmp_path / "cups" / "mugs_1.jpg")
    assert len({before, other, album.digest()}) == 3


def test_only_a_chapter_that_asks_has_it_in_its_key():
    data = {"photos": ["words", "digest"], "weights": {"vgg16": "a", "vgg19": "b"}}
    changed = {c for c in chapters.chapters() if chapters.chapter_key(c, "test", data) != chapters.chapter_key(c, "test", {**data, "album": "x"})}
    asking = {c for c in chapters.chapters() if any("album.load(" in cell.source for cell in chapters.code_cells(chapters.read_source(c)))}
    readers = {c for c in chapters.chapters() if asking & set(chapters.needs(c, "test"))}
    solutions = {f"{c}_solutions" for c in asking}
    assert asking and asking <= changed <= asking | readers | solutions


# --- the whole path, in a book of three small chapters ---------------------------------------------------------

CELL = """
```{code-cell} ipython3
import album

mine = album.load("", 16)
print(f"gamma has {mine and mine.source}")
```
"""


def test_a_run_with_own_photos_and_an_edition_without_them(tmp_path):
    book = mini_project(tmp_path / "project")
    source = book.path / "book" / "chapters" / "gamma-1.md"
    source.write_text(source.read_text() + CELL)
    book.build()
    assert "gamma has None" in text_of(book, "chapters/gamma-1")

    book.environment["OWN"] = str(own_folder(tmp_path / "own"))
    output = book.build().stdout
    assert done(output) == {"prepare", "gamma-1", "pages"} and "and those of your own" in output, output
    assert "gamma has 11 photos of your own" in text_of(book, "chapters/gamma-1")
    assert "Nothing to be done" in book.snakemake("--dry-run").stdout
    put(tmp_path / "own" / "cups" / "new.jpg", 321)
    assert done(book.build().stdout) == {"prepare", "gamma-1", "pages"}
    assert "gamma has 12 photos of your own" in text_of(book, "chapters/gamma-1")

    promote = "import sys; sys.path.insert(0, 'src'); import edition; edition.promote('test')"
    said = book.run(sys.executable, "-c", promote).stdout
    assert "2 chapters and 3 experiments" in said and "Not finished yet: gamma-1 (or run with photos of your own" in said
    edition = book.path / "edition"
    assert not list(edition.rglob("gamma*")) and not json.loads((edition / "data.json").read_text())["album"]
    assert str(tmp_path / "own") not in "".join(p.read_text() for p in edition.rglob("*.json"))

    shutil.rmtree(tmp_path / "own" / "mugs")
    result = book.build(check=False)
    assert result.returncode == 1 and "has one sub-folder with photos, cups. Two or more are needed" in result.stdout and "Traceback" not in result.stdout

    del book.environment["OWN"]
    assert done(book.build().stdout) >= {"prepare", "pages"}
    assert "gamma has None" in text_of(book, "chapters/gamma-1")
