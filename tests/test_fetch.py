"""Downloads that are good, broken, silent or something else, and archives that are not what they should be."""

import errno
import hashlib
import http.server
import os
import time
import zipfile
import zlib

import numpy as np
import pytest

import fetch
from conftest import serving
from made_photos import zipped
from paths import BookError

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
    assert fetch.fetch(f"{server}/good.bin", target, checksum, len(BODY)) == target
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
        fetch.fetch(url, target, **options)
    assert url in str(caught.value)
    assert [p.name for p in target.parent.iterdir()] == (["file.bin"] if earlier else [])
    if earlier:
        assert target.read_bytes() == earlier


def test_unpack(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"PetImages/Cat/0.jpg": BODY, "readme.txt": b"hello"})
    fetch.unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "PetImages" / "Cat" / "0.jpg").read_bytes() == BODY
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "out", *(["runs"] if (tmp_path / "runs").exists() else [])]


@pytest.mark.parametrize("member", ["../escaped.txt", "inside/../../escaped.txt", "/tmp/escaped-from-a-book.txt"])
def test_unpack_refuses_members_that_land_elsewhere(tmp_path, member):
    archive = zipped(tmp_path / "bad.zip", {"good.txt": b"good", member: b"bad"})
    with pytest.raises(BookError, match="outside"):
        fetch.unpack(archive, tmp_path / "out")
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
        fetch.unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["photos.zip"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_to_is_not_blamed_on_the_network(server, tmp_path, monkeypatch, number):
    def fails(self, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.replace", fails)
    archive = zipped(tmp_path / "a.zip", {"Cat/0.jpg": BODY})
    for act in (lambda: fetch.fetch(f"{server}/good.bin", tmp_path / "good.bin"), lambda: fetch.unpack(archive, tmp_path / "out")):
        with pytest.raises(BookError, match=f"{os.strerror(number)}. Make room or permit writing"):
            act()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_zip_with_a_password_is_explained(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"Cat/0.jpg": BODY})
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # the flags, in both places
    data[data.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(BookError, match="a.zip cannot be unpacked .*password"):
        fetch.unpack(archive, tmp_path / "out")


# --- a network at its worst ------------------------------------------------------------------------------------


class Misbehaving(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind = self.path.strip("/").split(".")[0]
        if kind == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/stolen.bin")
            self.end_headers()
            return
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if kind in ("403", "500"):
            self.send_error(int(kind))
            return
        body = b"<html><body>Sign in to the guest network</body></html>" if kind == "portal" else BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (1000 if kind == "short" else 0)))
        self.end_headers()
        if kind == "silent":
            time.sleep(8)
        elif kind == "reset":
            self.wfile.write(body[:1000])
            self.connection.close()
        else:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def bad_server():
    with serving(Misbehaving) as address:
        yield address


@pytest.mark.parametrize("earlier", [None, b"an earlier good copy"])
@pytest.mark.parametrize("kind", ["elsewhere", "loop", "403", "500", "portal", "short", "silent", "reset", "wrong"])
def test_a_bad_download_is_explained_and_leaves_the_good_copy(bad_server, tmp_path, monkeypatch, kind, earlier):
    monkeypatch.setattr(fetch, "TIMEOUT", 2)
    target = tmp_path / "folder" / "photos.zip"
    target.parent.mkdir()
    if earlier:
        target.write_bytes(earlier)
    url = f"{bad_server}/{kind}.bin"
    checksum = "sha256:" + hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(BookError) as caught:
        fetch.fetch(url, target, checksum, attempts=1)
    assert url in str(caught.value) and "127.0.0.1" in str(caught.value) and "data/README.md" in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == (["photos.zip"] if earlier else [])
    assert not earlier or target.read_bytes() == earlier


def test_a_zip_with_a_symbolic_link_writes_nothing_outside(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as content:
        link = zipfile.ZipInfo("PetImages/Cat")
        link.external_attr = 0o120777 << 16
        content.writestr(link, str(tmp_path / "outside"))
        content.writestr("PetImages/Cat/0.jpg", BODY)
    (tmp_path / "outside").mkdir()
    try:
        fetch.unpack(archive, tmp_path / "out")
    except BookError as error:
        assert str(archive) in str(error)
    assert not list((tmp_path / "outside").iterdir())


def test_a_zip_bomb_is_refused_before_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_UNPACKED", 1_000_000)
    archive = zipped(tmp_path / "bomb.zip", {f"Cat/{i}.jpg": b"\0" * 300_000 for i in range(10)})
    with pytest.raises(BookError, match="bomb.zip.*bytes"):
        fetch.unpack(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip"]
