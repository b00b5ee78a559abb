"""Files are written whole or not at all."""

import errno

import pytest

from paths import BookError, write_atomically


def test_write_atomically(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, b"first")
    write_atomically(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")

    def fails(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BookError, match="file.txt: No space left"):
        write_atomically(path, fails)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BookError, match="Could not write"):
        write_atomically(tmp_path / "file" / "result.json", b"{}")
