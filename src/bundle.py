"""`make bundle`: the project, its packages, photos and weights as a folder of pieces, for a machine without a network.

    python src/bundle.py --backend jax --python 3.12 --platform linux_x86_64 --piece 25

The folder holds project.tar.gz, wheels.tar and data.tar in pieces, their checksums, a README and unpack.sh, which puts
them together and installs. What was downloaded is kept in _build/wheels/, so a bundle that was interrupted goes on from
there, and the pieces of what has not changed come out the same, to the byte.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

from packaging.markers import Marker
from packaging.tags import mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename
from tqdm import tqdm

import assets
import fetch
import found
import install
from paths import BUILD, PROJECT, BookError, write_atomically

BATCH = 8  # packages that pip is asked for at a time; what is there after a kill is not asked for again
NEWEST_GLIBC = 28  # wheels for glibc 2.28 and older: systems since 2018
SCRIPT = """#!/bin/sh
# Puts the book together from the pieces beside this file and installs it. No network is needed.
#
#     sh unpack.sh [FOLDER]                          into FOLDER (default: image-recognition), with its own packages
#     SYSTEM_PACKAGES=1 sh unpack.sh [FOLDER]        on top of what this machine has, its own CUDA build of JAX, say
#     PYTHON=/path/to/python sh unpack.sh [FOLDER]   with this Python
set -eu
folder=${1:-image-recognition}
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
cd "$(dirname "$0")"

if command -v sha256sum >/dev/null; then sum="sha256sum"; else sum="shasum -a 256"; fi
echo "Checking the pieces ..."
if ! checked=$($sum -c SHA256SUMS 2>&1); then
    printf '%s\\n' "$checked" | grep -v ': OK$' >&2
    echo "Pieces are missing or damaged. Copy those again, then run this again." >&2
    exit 1
fi

if cmp -s SHA256SUMS "$folder/wheels/SHA256SUMS"; then
    echo "$folder is unpacked already."
elif [ -e "$folder" ]; then
    echo "$folder is there already and is not from these pieces. Name another folder: sh unpack.sh FOLDER" >&2
    exit 1
else
    echo "Unpacking into $folder ..."
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    for kind in project.tar.gz wheels.tar data.tar; do
        [ -e $kind.0000 ] || continue
        case $kind in *.gz) unpack=-xzof ;; *) unpack=-xof ;; esac
        cat $kind.[0-9]* | (cd "$folder.part" && tar $unpack -)
    done
    cp SHA256SUMS "$folder.part/wheels/SHA256SUMS"
    mv "$folder.part" "$folder"
fi

cd "$folder"
python=${PYTHON:-}
for candidate in python@PYTHON@ python3; do
    [ -n "$python" ] && break
    "$candidate" -I -c 'import sys; sys.exit(sys.version_info[:2] != (@TUPLE@))' 2>/dev/null && python=$candidate
done
[ -n "$python" ] || { echo "No Python @PYTHON@ is on the PATH. Name it: PYTHON=/path/to/python@PYTHON@ sh unpack.sh" >&2; exit 1; }
case ${SYSTEM_PACKAGES:-} in ''|0|no) system= ;; *) system=--system ;; esac
"$python" -I src/install.py --backend @BACKEND@ @GPU@ $system
echo "Ready:"
echo "    cd $folder"
echo "    make book          (without make: KERAS_BACKEND=@BACKEND@ .venv/bin/python src/pipeline.py book)"
"""
README = """Image recognition with convolutional networks: the book, to be run without a network
====================================================================================

{size} in {count} pieces, for Python {python} on {platform}, with {backend}{gpu}.

Copy this folder to the other machine. There:

    sh unpack.sh                 checks the pieces, puts them together in ./image-recognition, installs
    cd image-recognition && make book

Settings of unpack.sh: another folder (sh unpack.sh FOLDER), SYSTEM_PACKAGES=1 to build on what the machine has
installed, PYTHON=/path/to/python{python}. What it needs there: sh, tar, Python {python}; make for the second line.

Holds: {holds}.
{without}
Terms. The text and code are the project's own, see its README. The packages have their own licences, which lie in
them. The photos are of the Asirra collection, which Microsoft and Petfinder made available for research; the weights
are by the Visual Geometry Group, Oxford, CC BY 4.0. This copy is for your own class or your own computations: do not
pass it on and do not publish it. See data/README.md.
"""


# --- what the other machine is --------------------------------------------------------------------------------------


def this_platform():
    return re.sub(r"^macosx-[\d.]+-", "macosx_14_0_", sysconfig.get_platform()).replace("-", "_")


def platform_tags(name):
    """The wheels that a platform takes, best last, and its system and processor in the words of markers.

    Args:
        name: ``linux_x86_64``, ``manylinux_2_34_aarch64``, ``macosx_14_0_arm64``, …
    """
    if given := re.fullmatch(r"(?:linux|manylinux_2_(\d+)|manylinux2014)_(x86_64|aarch64)", name):
        arch, glibc = given[2], int(given[1] or (17 if "2014" in name else NEWEST_GLIBC))
        tags = [f"manylinux_2_{minor}_{arch}" for minor in range(5, glibc + 1)] + [f"manylinux2014_{arch}", f"linux_{arch}"]
        return tags + [f"manylinux2010_{arch}", f"manylinux1_{arch}"] * (arch == "x86_64"), ("linux", "Linux", arch)
    if given := re.fullmatch(r"macosx_(\d+)_(\d+)_(arm64|x86_64)", name):
        return [*mac_platforms((int(given[1]), int(given[2])), given[3])], ("darwin", "Darwin", given[3])
    raise BookError(
        f"PLATFORM is {name}, which is not one that the book runs on. Such are linux_x86_64, linux_aarch64, "
        "manylinux_2_34_x86_64 (glibc 2.34 or newer) and macosx_14_0_arm64."
    )


def needed(locks, python, platform_name, without=()):
    """``[(package, version, its hashes)]`` of the lock files for another Python and platform, whatever its third number is."""
    _, (sys_platform, system, machine) = platform_tags(platform_name)
    chosen = []
    for name, versions in sorted(install.pins(locks).items()):
        for version, lines in versions.items():
            marker = lines.splitlines()[0].rstrip("\\ ").partition(";")[2].strip()
            places = [
                {"python_version": python, "python_full_version": f"{python}.{last}", "sys_platform": sys_platform, "os_name": "posix",
                 "platform_system": system, "platform_machine": machine, "implementation_name": "cpython",
                 "platform_python_implementation": "CPython"}
                for last in (0, 99)
            ]  # fmt: skip
            if name not in without and (not marker or any(Marker(marker).evaluate(place) for place in places)):
                chosen.append((name, version, re.findall(r"sha256:([0-9a-f]{64})", lines)))
    return chosen


# --- packages --------------------------------------------------------------------------------------------------------


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wheels_in(folder):
    """``{(package, version): path}`` of the wheels in a folder."""
    return {(name, str(version)): p for p in folder.glob("*.whl") for name, version, *_ in [parse_wheel_filename(p.name)]}


def whole(path, hashes):
    """Is a wheel what the lock says, or, where it was made here, complete? A kill can have cut it short."""
    return sha256(path) in hashes or (path.name.endswith("-none-any.whl") and zipfile.is_zipfile(path))


def fetch_wheels(wanted, python, platform_name, folder):
    """Download what is not in ``folder`` yet, some packages at a time; returns the wheels' paths.

    Raises:
        BookError: a package has no wheel for this Python and platform, or the network fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = wheels_in(folder)
    missing = []
    for name, version, hashes in wanted:
        path = there.get((canonicalize_name(name), version))
        if path is None or not whole(path, hashes):
            if path:
                path.unlink()
            missing.append((name, version, hashes))
    batches = []
    for item in missing:  # pip takes one version of a package at a time
        batch = next((b for b in batches if len(b) < BATCH and item[0] not in {name for name, *_ in b}), None)
        batches.append([item]) if batch is None else batch.append(item)
    settings = install.pip_settings(sys.executable, "download")
    tags, _ = platform_tags(platform_name)
    options = ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    options += [part for tag in tags for part in ("--platform", tag)]

    def pip(command, batch, *more):
        with tempfile.TemporaryDirectory() as scratch:
            pins = Path(scratch) / "requirements.txt"
            pins.write_text("".join(f"{n}=={v} {' '.join(f'--hash=sha256:{h}' for h in hs)}\n" for n, v, hs in batch))
            line = [sys.executable, "-I", "-m", "pip", command, "-qq", "--no-deps", "--require-hashes", "-r", pins, *more]
            return subprocess.run(line, env=settings, capture_output=True, text=True)

    with tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="Packages", unit="", disable=None) as bar:
        for batch in batches:
            done = pip("download", batch, "--dest", folder, *options)
            if done.returncode and len(batch) > 1:  # which one is it?
                batches += [[item] for item in batch]
                continue
            if done.returncode:  # published without a wheel: made here, if that gives one for every machine
                made = pip("wheel", batch, "--wheel-dir", folder)
                name, version, _ = batch[0]
                path = wheels_in(folder).get((canonicalize_name(name), version))
                if path is None or not path.name.endswith("-none-any.whl"):
                    if path:
                        path.unlink()
                    raise BookError(
                        f"No wheel of {name} {version} for Python {python} on {platform_name} could be had. pip's words:\n"
                        f"{(made.stderr.strip() or done.stderr.strip())[-1500:]}\nThe same command goes on from there."
                    )
            bar.update(len(batch))
    there = wheels_in(folder)
    return [there[canonicalize_name(name), version] for name, version, _ in wanted]


# --- what is packed --------------------------------------------------------------------------------------------------


def project_files():
    """Names of the files that a clone has, with edits and new files that git does not ignore; without git, all but what is made."""
    git = ["git", "-C", PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (PROJECT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
        return sorted(name for name in listed if name and os.path.lexists(PROJECT / name))
    made = {".venv", "runs", "_build", "wheels", ".snakemake", "__pycache__", ".pytest_cache", ".ipynb_checkpoints", ".ruff_cache"}
    names = []
    for folder, inner, files in os.walk(PROJECT):
        here = Path(folder).relative_to(PROJECT)
        inner[:] = sorted(d for d in inner if d not in made and not (here == Path("data") and d in ("cats_vs_dogs", "weights")))
        names += [str(here / file) for file in sorted(files)]
    return sorted(names)


def data_files():
    """``({name in the bundle: path}, in words)`` of the photos and weights: those that the book finds here, else fetched into data/."""
    files, words = {}, []
    root = assets.find_photos()
    if root is None and os.environ.get("BOOK_DOWNLOAD") != "0":
        try:
            root = fetch.fetch_photos("part", PROJECT / "data")
        except BookError as error:
            print(error, file=sys.stderr)
    photos = found.list_photos(root)[0] if root else []
    files |= {f"data/cats_vs_dogs/{path.relative_to(root).as_posix()}": path for _, path in photos}
    words.append(f"{len(photos):,} photos" if photos else "no photos (the book will draw some; data/README.md says how to bring your own)")
    for name in assets.WEIGHTS:
        path = assets.find_weights(name, "quick")
        files |= {f"data/weights/{path.name}": path} if path else {}
        words.append(f"the weights of {name.upper()}" if path else f"no weights of {name.upper()}")
    return files, ", ".join(words)


class Pieces(io.RawIOBase):
    """A file that is written as pieces of ``size`` bytes: ``name.0000``, ``name.0001``, …, each there whole or not at all."""

    def __init__(self, folder, name, size):
        self.folder, self.name, self.size, self.buffer, self.sums = folder, name, size, bytearray(), {}

    def writable(self):
        return True

    def write(self, content):
        self.buffer += content
        while len(self.buffer) >= self.size:
            self._piece(bytes(self.buffer[: self.size]))
            del self.buffer[: self.size]
        return len(content)

    def _piece(self, content):
        name = f"{self.name}.{len(self.sums):04}"
        write_atomically(self.folder / name, content)
        self.sums[name] = hashlib.sha256(content).hexdigest()

    def close(self):
        if not self.closed and self.buffer:
            self._piece(bytes(self.buffer))
            self.buffer.clear()
        super().close()


def pack(folder, name, files, size, executable=()):
    """Write ``{name: path or bytes}`` as a tar file in pieces, the same bytes for the same content; returns ``{piece: sha256}``."""
    with Pieces(folder, name, size) as pieces:
        squeezed = gzip.GzipFile(fileobj=pieces, mode="wb", filename="", mtime=0) if name.endswith(".gz") else None
        with tarfile.open(fileobj=squeezed or pieces, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for inside, source in tqdm(sorted(files.items()), desc=name, unit=" files", disable=None):
                member = tarfile.TarInfo(inside)
                member.mtime = 1_577_836_800  # 2020
                if isinstance(source, bytes):
                    member.size = len(source)
                    tar.addfile(member, io.BytesIO(source))
                    continue
                source = Path(source)
                if source.is_symlink() and name.startswith("project"):
                    member.type, member.linkname = tarfile.SYMTYPE, os.readlink(source)
                    tar.addfile(member)
                    continue
                with open(source, "rb") as file:
                    info = os.fstat(file.fileno())
                    member.size, member.mode = info.st_size, 0o755 if info.st_mode & 0o100 else 0o644
                    tar.addfile(member, file)
        if squeezed:
            squeezed.close()
    return pieces.sums


def bundle(folder, backend, gpu=False, python=None, platform_name=None, piece=25, without=(), data=True):
    """Write the bundle into ``folder``.

    Raises:
        BookError: the folder holds something else, a package has no wheel for the other machine, no network.
    """
    python = python or ".".join(platform.python_version_tuple()[:2])
    if not re.fullmatch(r"3\.\d+", python) or not install.OLDEST <= tuple(map(int, python.split("."))) <= install.NEWEST:
        raise BookError(f"PYTHON_VERSION is {python}; the book runs on 3.11, 3.12 and 3.13.")
    if not 1 <= piece <= 1024:
        raise BookError(f"PIECE is {piece}; it must be 1 to 1024, the MiB of a piece.")
    if backend not in install.BACKENDS:
        raise BookError(f"BACKEND is {backend}; the book knows {', '.join(install.BACKENDS)}.")
    platform_name = platform_name or this_platform()
    platform_tags(platform_name)  # is it one?
    locks = install.locks(backend, gpu)
    wanted = needed(locks, python, platform_name, without)
    unknown = set(without) - install.pins(locks).keys()
    if unknown:
        raise BookError(f"WITHOUT names {', '.join(sorted(unknown))}, and no such package belongs to {' and '.join(locks)}.")
    ours = re.compile(r"(project\.tar\.gz|wheels\.tar|data\.tar)\.\d{4}|SHA256SUMS|README\.txt|unpack\.sh|\..*\.part")
    folder.mkdir(parents=True, exist_ok=True)
    strange = [p.name for p in folder.iterdir() if not ours.fullmatch(p.name)]
    if strange:
        raise BookError(f"{folder} holds {strange[0]}, which is no part of a bundle. Name another folder: BUNDLE=FOLDER")
    (folder / "SHA256SUMS").unlink(missing_ok=True)  # a bundle is whole when this file is there

    files, words = data_files() if data else ({}, "no photos and no weights")
    print(f"For Python {python} on {platform_name}, with {backend}: {len(wanted)} packages, {words}", file=sys.stderr)
    wheels = fetch_wheels(wanted, python, platform_name, BUILD / "wheels" / f"{python}-{platform_name}")
    # What is in it, with the hash of a wheel that was made here as well, and for which Python where there are two versions.
    lines = []
    for (name, version, hashes), path in zip(wanted, wheels, strict=True):
        marker = install.pins(locks)[name][version].splitlines()[0].rstrip("\\ ").partition(";")[2].strip()
        lines.append(f"{name}=={version}{f' ; {marker}' * bool(marker)} \\\n    --hash=sha256:{sha256(path)}")
    note = {"python": python, "platform": platform_name, "backend": backend, "locks": locks, "without": sorted(without)}
    packed = {f"wheels/{path.name}": path for path in wheels}
    packed |= {"wheels/bundle.json": json.dumps(note, indent=1).encode(), "wheels/requirements.txt": ("\n".join(lines) + "\n").encode()}
    size = piece * 2**20
    sums = pack(folder, "project.tar.gz", {name: PROJECT / name for name in project_files()}, size)
    sums |= pack(folder, "wheels.tar", packed, size)
    sums |= pack(folder, "data.tar", files, size) if files else {}
    for old in folder.iterdir():
        if old.name not in sums and ours.fullmatch(old.name):
            old.unlink()
    total = sum((folder / name).stat().st_size for name in sums)
    script = SCRIPT.replace("@PYTHON@", python).replace("@TUPLE@", python.replace(".", ", "))
    script = script.replace("@BACKEND@", backend).replace(" @GPU@", " --gpu" * gpu)
    missing = f"Not in it, to be found on the other machine (SYSTEM_PACKAGES=1): {', '.join(sorted(without))}.\n" if without else ""
    text = README.format(size=f"{total / 2**20:,.0f} MiB", count=len(sums), python=python, platform=platform_name, backend=backend,
                         gpu=" and CUDA" * gpu, holds=f"the project, {len(wheels)} packages, {words}", without=missing)  # fmt: skip
    for name, content in (("unpack.sh", script), ("README.txt", text)):
        write_atomically(folder / name, content.encode())
        sums[name] = hashlib.sha256(content.encode()).hexdigest()
    write_atomically(folder / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())
    return total, len(sums) - 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="`make help` names the same settings for make.")
    parser.add_argument("--to", default=str(BUILD / "bundle"), help="the folder to write (default: _build/bundle)")
    parser.add_argument("--backend", default="tensorflow", help="tensorflow (the default), jax or torch")
    parser.add_argument("--gpu", action="store_true", help="with CUDA for the backend")
    parser.add_argument("--python", help="version of the other machine's Python, such as 3.12 (default: this one's)")
    parser.add_argument("--platform", help="of the other machine: linux_x86_64, linux_aarch64, macosx_14_0_arm64, … (default: this one's)")
    parser.add_argument("--piece", type=int, default=25, help="MiB of a piece at most (default: 25)")
    parser.add_argument("--without", default="", help="packages that the other machine has, for SYSTEM_PACKAGES=1 there")
    parser.add_argument("--no-data", action="store_true", help="neither photos nor weights")
    args = parser.parse_args()
    without = {install.canonical(name) for name in re.split(r"[\s,]+", args.without) if name}
    folder = Path(args.to).expanduser().resolve()
    try:
        total, count = bundle(folder, args.backend, args.gpu, args.python, args.platform, args.piece, without, not args.no_data)
    except BookError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on from there.")
    print(f"{folder}: {total / 2**20:,.0f} MiB in {count} pieces.")
    print("A copy for your own class, not for passing on: README.txt there has the terms. On the other machine: sh unpack.sh")


if __name__ == "__main__":
    main()
