"""Photos and weights from the network: downloads that are verified before they get their name, and unpacking with limits."""

import errno
import stat
import sys
import tempfile
import urllib.parse
import zipfile
import zlib
from pathlib import Path

from paths import BookError, decides_nothing

MAX_UNPACKED = 4_000_000_000  # bytes; the whole collection has 0.9 GB
TIMEOUT = 20  # seconds without an answer after which a download is given up
NOT_THE_NETWORK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # the disk is to blame

# Microsoft publishes the whole collection; Google a part of it that is enough for a quick run. No checksum of
# Google's file is published, so its exact size and the checksums inside the zip are verified instead.
DOWNLOADS = {
    "all": {
        "url": "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
        "kagglecatsanddogs_5340.zip",
        "hash": "sha256:b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
        "bytes": 824_887_076,
    },
    "part": {
        "url": "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
        "hash": None,
        "bytes": 68_606_236,
    },
}
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
WEIGHTS = {  # the files that keras.applications itself downloads, with Keras's own checksums
    "vgg16": ("vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:6d6bbae143d832006294945121d1f1fc"),
    "vgg19": ("vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:253f8cb515780f3b799900260a226db6"),
}


@decides_nothing
def fetch(url, target, known_hash=None, size=None, attempts=2):
    """Download ``url`` to the file ``target`` and return the path.

    The file appears under its name only once it is complete and verified; a broken download is removed and
    tried again, ``attempts`` times in all.

    Raises:
        BookError: no network, an interrupted transfer, or a file of the wrong size or checksum.
    """
    import pooch  # imported here: only a download needs it
    from pooch.hashes import hash_matches

    target = Path(target)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    for attempt in range(1, attempts + 1):
        print(f"Fetching {url}", file=sys.stderr)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
                part = Path(folder) / target.name
                download(url, part, None)
                got = part.stat().st_size
                if size is not None and got != size:
                    raise ValueError(f"it has {got:,} bytes instead of {size:,}")
                if known_hash and not hash_matches(part, known_hash):
                    raise ValueError("its checksum is wrong")
                part.replace(target)
                return target
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            if getattr(error, "errno", None) in NOT_THE_NETWORK:
                raise BookError(f"Could not write {target}: {error.strerror}. Make room or permit writing, then run again.") from error
            reason = error
        print(f"  attempt {attempt} of {attempts} failed: {reason}", file=sys.stderr)
    host = urllib.parse.urlsplit(url).netloc
    raise BookError(
        f"Could not download {url}\n  {reason}\n"
        f"Check that this machine reaches {host}, or fetch the file by other means (see data/README.md)."
    )


@decides_nothing
def unpack(archive, folder):
    """Unpack the zip file ``archive`` into ``folder``, which appears only when all of it is there.

    Raises:
        BookError: not a zip, a damaged or locked one, one with a member that would land outside ``folder``, or no room.
    """
    from tqdm import tqdm  # imported here: the Snakefile reads this module each time, and unpacks nothing

    folder = Path(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch, zipfile.ZipFile(archive) as content:
            inside = Path(scratch) / "content"
            size = sum(member.file_size for member in content.infolist())
            if size > MAX_UNPACKED:
                raise BookError(f"{archive} would unpack to {size:,} bytes, which no collection of these photos has. Delete it.")
            for member in tqdm(content.infolist(), desc="Unpacking", unit=" files", disable=None):
                if not (inside / member.filename).resolve().is_relative_to(inside.resolve()):
                    raise BookError(f"{archive} holds {member.filename!r}, which would land outside {folder}.")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise BookError(f"{archive} holds {member.filename!r}, a link to another place. Delete the file.")
                content.extract(member, inside)
            inside.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotADirectoryError, IsADirectoryError) as error:
        raise BookError(f"{archive} is damaged ({error}). Delete it and run again.") from error
    except RuntimeError as error:  # a password, or a way of packing that Python does not know
        raise BookError(f"{archive} cannot be unpacked ({error}). Unpack it by other means into {folder}.") from error
    except OSError as error:
        raise BookError(f"Could not unpack {archive}: {error.strerror or error}. Make room or permit writing, then run again.") from error


@decides_nothing
def fetch_photos(which, data):
    """Download the photos and unpack them into ``data/cats_vs_dogs``. ``which``: "all" (787 MB) or "part" (69 MB)."""
    item = DOWNLOADS[which]
    archive = data / item["url"].rsplit("/", 1)[1]
    if not archive.exists():
        fetch(item["url"], archive, item["hash"], item["bytes"])
    unpack(archive, data / "cats_vs_dogs")
    archive.unlink()
    return data / "cats_vs_dogs"


@decides_nothing
def fetch_weights(name, data):
    """Download the weights of "vgg16" or "vgg19" into ``data/weights``; returns the file."""
    path, checksum = WEIGHTS[name]
    return fetch(WEIGHTS_URL + path, data / "weights" / path.split("/")[1], checksum)
