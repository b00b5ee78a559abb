"""Installing and the bundle: the locks, .venv on this machine and after a move, and a book put together without a network."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import bundle
import install
from assets import draw_photo
from conftest import PROJECT, Copy, copy_project
from paths import BookError

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
LOCKS = sorted(p.name for p in PROJECT.glob("requirements*.txt"))
MINE = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "KERAS_", "MAKE", "MFLAGS", "BACKEND"))}


def run(*command, **options):
    """Run a command; returns the completed process, output and errors together in ``stdout``."""
    options = {"env": MINE, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL} | options
    return subprocess.run([str(part) for part in command], **options)


# --- the locks -------------------------------------------------------------------------------------------------------


def test_each_lock_is_of_one_resolution_and_has_hashes():
    assert set(LOCKS) == {name for backend in install.BACKENDS for name in install.locks(backend, gpu=True, test=True)}
    for python in ("3.11", "3.12", "3.13"):
        for platform in ("linux_x86_64", "linux_aarch64", "macosx_14_0_arm64"):
            versions = {}
            for lock in LOCKS:
                for name, version, hashes in bundle.needed([lock], python, platform):
                    assert hashes, f"{lock}: {name} has no hash"
                    versions.setdefault(name, set()).add(version)
            two = {n: v for n, v in versions.items() if len(v) > 1}
            assert set(two) <= {"soupsieve"}, f"Python {python}, {platform}: {two}"  # it differs within 3.11


def test_a_backend_brings_no_other():
    base = install.pins(install.locks(None)).keys()
    assert not base & {"tensorflow", "jax", "jaxlib", "torch"} and {"keras", "pip", "nh3", "snakemake"} <= base
    assert "tensorflow" not in install.pins(install.locks("jax")) and "tensorflow" not in install.pins(install.locks("torch"))
    assert any(name.startswith("jax-cuda13") for name in install.pins(install.locks("jax", gpu=True)))
    assert "nvidia-cudnn-cu12" in install.pins(install.locks("tensorflow", gpu=True))


def test_what_another_machine_needs():
    def versions(python, platform, *without):
        return {name: version for name, version, _ in bundle.needed(install.locks("jax", gpu=True), python, platform, without)}

    linux, mac = versions("3.12", "linux_x86_64"), versions("3.12", "macosx_14_0_arm64")
    assert "jax-cuda13-plugin" in linux and linux["jax"] == mac["jax"]
    assert not any("cudnn" in name for name in mac)
    assert versions("3.11", "linux_x86_64")["numpy"] != linux["numpy"]  # the newest one for each Python
    assert not {"jax", "numpy"} & versions("3.12", "linux_x86_64", "jax", "numpy").keys()
    both = [version for name, version, _ in bundle.needed(["requirements.txt"], "3.11", "linux_x86_64") if name == "soupsieve"]
    assert len(both) == len(set(both)) == len(install.pins(["requirements.txt"])["soupsieve"])


@pytest.mark.parametrize("name", ["windows_amd64", "linux", "manylinux_3_x86_64", "macosx_arm64", ""])
def test_a_platform_that_is_none(name):
    with pytest.raises(BookError, match="linux_x86_64, linux_aarch64"):
        bundle.platform_tags(name)


# --- pip without anybody's settings ----------------------------------------------------------------------------------


def test_only_the_way_to_packages_is_taken_from_pips_settings(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "foreign"))
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nextra-index-url =\n  https://a.example\n  https://b.example\n"
        "user = true\nrequire-virtualenv = true\nno-binary = :all:\nconstraint = /nowhere.txt\n"
        "[install]\ntarget = /elsewhere\nprefix = /elsewhere\ntrusted-host = mirror.example\n"
    )
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    made = install.pip_settings(sys.executable)
    kept = {k: v for k, v in made.items() if k.startswith(("PIP_", "PYTHON"))}
    machine = subprocess.run([sys.executable, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True, env=MINE | {"HOME": "/"}).stdout
    if "global." not in machine:  # else what is set for this whole machine comes along
        assert kept.keys() <= {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_TIMEOUT", "PIP_CONFIG_FILE",
                               "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_INPUT"}  # fmt: skip
    assert kept["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert kept["PIP_EXTRA_INDEX_URL"] == "https://a.example https://b.example"
    assert kept["PIP_TRUSTED_HOST"] == "mirror.example" and kept["PIP_TIMEOUT"] == "7"
    assert not kept.keys() & {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT", "PIP_NO_BINARY", "PIP_REQUIRE_VIRTUALENV",
                              "PIP_NO_DEPS", "PYTHONPATH"}  # fmt: skip
    assert kept["PIP_CONFIG_FILE"] == os.devnull


# --- .venv, in projects of a few packages that are written here ------------------------------------------------------


def wheel(folder, name, version, *needs):
    """Write a wheel that holds one module which says its version; returns its hash."""
    path, module = folder / f"{name}-{version}-py3-none-any.whl", name.replace("-", "_")
    meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{module}.py": f"__version__ = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": meta,
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(c.encode()).digest()).rstrip(b'=').decode()},{len(c)}" for n, c in files.items()]
    files[f"{name}-{version}.dist-info/RECORD"] = "\n".join([*lines, f"{name}-{version}.dist-info/RECORD,,"]) + "\n"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(inside, content)
    return bundle.sha256(path)


@pytest.fixture
def small(tmp_path):
    """A project whose whole lock is four packages, carried as the wheels of an unpacked bundle."""
    project = tmp_path / "small"
    (project / "src").mkdir(parents=True)
    shutil.copy(PROJECT / "src" / "install.py", project / "src")
    wheels = project / "wheels"
    pinned = {
        ("numpy", "2.4.0"): wheel(wheels, "numpy", "2.4.0"),
        ("scipy", "1.17.0"): wheel(wheels, "scipy", "1.17.0", "numpy>=2.0"),
        ("keras", "3.15.0"): wheel(wheels, "keras", "3.15.0", "numpy"),
        ("jax", "0.12.0"): wheel(wheels, "jax", "0.12.0", "numpy>=2.0", "scipy>=1.13"),
    }
    lines = [f"{n}=={v} \\\n    --hash=sha256:{h}\n" for (n, v), h in pinned.items()]
    (project / "requirements.in").write_text("numpy>=2.0\nscipy>=1.13\nkeras\n")
    (project / "requirements.txt").write_text("".join(lines[:3]))
    (project / "requirements-jax.txt").write_text(lines[3])
    (wheels / "requirements.txt").write_text("".join(lines))
    (wheels / "bundle.json").write_text(json.dumps({"python": VERSION, "locks": ["requirements.txt", "requirements-jax.txt"]}))
    return project


def installing(project, *options, python=sys.executable, **environment):
    return run(python, "-I", project / "src" / "install.py", "--backend", "jax", *options, env=MINE | environment)


def versions(project, *names):
    code = f"import importlib as i; print(*(i.import_module(n).__version__ for n in {names}))"
    return run(project / ".venv" / "bin" / "python", "-I", "-c", code).stdout.split()


def test_an_environment_and_what_does_not_reach_it(small, tmp_path):
    wheel(tmp_path, "numpy", "1.0")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "numpy.py").write_text("raise ImportError('foreign')")
    (tmp_path / "pip.conf").write_text(f"[global]\nuser = true\ntarget = {tmp_path}/elsewhere\nrequire-hashes = false\n")
    settings = {"PYTHONPATH": str(tmp_path / "foreign"), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_USER": "1", "HOME": str(tmp_path)}
    done = installing(small, **settings)
    assert done.returncode == 0, done.stdout
    assert versions(small, "numpy", "keras", "jax") == ["2.4.0", "3.15.0", "0.12.0"] and not (tmp_path / "elsewhere").exists()
    assert (small / ".venv" / "backend").read_text() == "jax\n"
    assert installing(small).stdout == ""  # all is there

    (small / "requirements.txt").write_text((small / "requirements.txt").read_text() + "# said anew\n")
    assert "requirements.txt" in installing(small).stdout  # content decides, not time
    os.utime(small / "requirements.txt", (2e9, 2e9))
    assert installing(small).stdout == ""

    refused = installing(small, "--system")
    assert refused.returncode and "Delete .venv" in refused.stdout
    (small / ".venv" / "bin" / "python").unlink()
    (small / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    assert installing(small).returncode == 0 and versions(small, "jax") == ["0.12.0"]  # its Python was removed: made anew


def test_renamed_and_copied_folders(small, tmp_path):
    assert installing(small).returncode == 0
    script = ".venv/bin/pip"
    for target in (tmp_path / "renamed", tmp_path / "with a space", tmp_path / ("long" * 30) / "name", tmp_path / "short"):
        target.parent.mkdir(exist_ok=True)
        before = Path(small)
        small = small.rename(target)
        done = installing(small)
        assert done.returncode == 0 and f"This folder was {before} when .venv was made" in done.stdout, done.stdout
        shown = run(small / script, "--version", cwd=tmp_path)
        assert shown.returncode == 0 and str(small) in shown.stdout, shown.stdout
        active = run("sh", "-c", f". '{small}/.venv/bin/activate'; command -v pip", cwd=tmp_path)
        assert active.stdout.strip() == str(small / script)
        assert installing(small).stdout == ""
    copy = shutil.copytree(small, tmp_path / "copy", symlinks=True)
    assert "follows" in installing(copy).stdout  # although the old folder still stands
    assert str(copy) in run(copy / script, "--version").stdout and str(small) in run(small / script, "--version").stdout


def test_on_top_of_what_a_machine_has(small, tmp_path):
    """A machine's own numpy and jax stay, a scipy that is too old is replaced, what makes pages is the lock's."""
    machine = tmp_path / "machine"
    run(sys.executable, "-I", "-m", "venv", machine)
    has = tmp_path / "has"
    for name, version, *needs in (("numpy", "2.1.0"), ("scipy", "1.2.0"), ("jax", "0.11.9", "numpy")):
        wheel(has, name, version, *needs)
    run(machine / "bin" / "python", "-I", "-m", "pip", "install", "-q", "--no-index", *has.glob("*.whl"), check=True)
    done = installing(small, "--system", python=machine / "bin" / "python")
    assert done.returncode == 0, done.stdout
    assert "jax 0.11.9, numpy 2.1.0" in done.stdout and "Too old here: scipy 1.2.0; .venv gets 1.17.0" in done.stdout
    assert versions(small, "numpy", "jax", "scipy", "keras") == ["2.1.0", "0.11.9", "1.17.0", "3.15.0"]
    assert installing(small).stdout == ""


def test_a_python_that_cannot_be_used(small):
    (small / "wheels" / "bundle.json").write_text(json.dumps({"python": "3.99", "locks": []}))
    done = installing(small)
    assert done.returncode and "for Python 3.99" in done.stdout and "PYTHON=/path/to/python3.99" in done.stdout
    done = run(sys.executable, "-I", small / "src" / "install.py", "--backend", "theano")
    assert done.returncode and "BACKEND is theano; the book knows tensorflow, jax, torch." in done.stdout


# --- make ------------------------------------------------------------------------------------------------------------


def test_make_knows_the_backend(tmp_path):
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()

    def planned(*arguments, **environment):
        return run("make", "-n", *arguments, cwd=tmp_path, env=MINE | environment).stdout

    assert "--backend tensorflow" in planned("book")
    assert "--backend torch" in planned("book", KERAS_BACKEND="torch") and "--backend jax" in planned("book", BACKEND="jax", KERAS_BACKEND="torch")
    (tmp_path / ".venv" / "backend").write_text("jax\n")
    assert "--backend jax" in planned("html") and "--backend tensorflow" in planned("book", "BACKEND=tensorflow")
    assert "--system" in planned("book", "SYSTEM_PACKAGES=1") and "--system" not in planned("book", "SYSTEM_PACKAGES=0")
    assert "--executor slurm --jobs 9" in planned("book", "EXECUTOR=slurm", "JOBS=9") and "--executor" not in planned("book")
    assert "--python 3.12" in planned("bundle", "PYTHON_VERSION=3.12") and '--without "jax scipy"' in planned("bundle", "WITHOUT=jax scipy")
    assert "Targets:" in run("make", cwd=tmp_path).stdout
    none = run("make", "book", "PYTHON=", cwd=tmp_path)
    assert none.returncode and "none is on the PATH" in none.stdout


# --- pieces ----------------------------------------------------------------------------------------------------------

INSTALLER = "import os, sys; print('installing', *sys.argv[1:], os.path.basename(os.getcwd()))\n"


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    """A function that bundles a project of three files, without packages, into small pieces."""
    project, folder = tmp_path / "project", tmp_path / "pieces"
    (project / "src").mkdir(parents=True)
    (project / "src" / "install.py").write_text(INSTALLER)
    (project / "run me").write_text("#!/bin/sh\n")
    (project / "run me").chmod(0o755)
    (project / "large").write_bytes(os.urandom(3_500_000))
    (project / "made").symlink_to("large")
    monkeypatch.setattr(bundle, "PROJECT", project)
    monkeypatch.setattr(bundle, "data_files", lambda: ({"data/weights/x.h5": project / "large"}, "one file"))
    monkeypatch.setattr(bundle, "fetch_wheels", lambda *_: [])
    monkeypatch.setattr(bundle, "needed", lambda *_: [])

    def make(**options):
        bundle.bundle(folder, "jax", piece=1, **options)
        return folder

    return make


def test_pieces_put_together(pieces, tmp_path):
    folder = pieces()
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {"README.txt", "SHA256SUMS", "unpack.sh", "project.tar.gz.0003", "wheels.tar.0000", "data.tar.0003"} <= first.keys()
    assert max(map(len, first.values())) == 2**20
    assert {p.name: p.read_bytes() for p in pieces().iterdir()} == first  # the same, to the byte
    text = first["README.txt"].decode()
    assert "sh unpack.sh" in text and "your own class" in text and "not publish" in text and f"Python {VERSION}" in text

    done = run("sh", folder / "unpack.sh", "my book", cwd=tmp_path)
    assert done.returncode == 0 and "installing --backend jax my book" in done.stdout, done.stdout
    assert (tmp_path / "my book" / "large").read_bytes() == (tmp_path / "project" / "large").read_bytes()
    assert (tmp_path / "my book" / "data" / "weights" / "x.h5").stat().st_size == 3_500_000
    assert os.access(tmp_path / "my book" / "run me", os.X_OK) and (tmp_path / "my book" / "made").is_symlink()
    again = run("sh", folder / "unpack.sh", tmp_path / "my book", cwd="/", env=MINE | {"SYSTEM_PACKAGES": "1", "PYTHON": sys.executable})
    assert "unpacked already" in again.stdout and "--system" in again.stdout
    assert "--gpu" in run("sh", pieces(gpu=True) / "unpack.sh", "gpu", cwd=tmp_path).stdout


@pytest.mark.parametrize("fault", ["missing", "damaged", "cut"])
def test_pieces_that_did_not_arrive(pieces, tmp_path, fault):
    folder = pieces()
    piece = folder / "project.tar.gz.0001"
    content = bytearray(piece.read_bytes())
    piece.unlink()
    if fault == "damaged":
        content[1000] ^= 1
        piece.write_bytes(content)
    elif fault == "cut":
        piece.write_bytes(content[:1000])
    done = run("sh", folder / "unpack.sh", cwd=tmp_path)
    assert done.returncode == 1 and "project.tar.gz.0001" in done.stdout and "Copy those again" in done.stdout
    assert "data.tar" not in done.stdout and not (tmp_path / "image-recognition").exists()


def test_folders_that_are_in_the_way(pieces, tmp_path):
    folder = pieces()
    (tmp_path / "image-recognition").mkdir()
    done = run("sh", folder / "unpack.sh", cwd=tmp_path)
    assert done.returncode == 1 and "Name another folder" in done.stdout
    (tmp_path / "half.part").mkdir()  # left by a kill
    (tmp_path / "half.part" / "old").write_text("")
    assert run("sh", folder / "unpack.sh", "half", cwd=tmp_path).returncode == 0 and not (tmp_path / "half" / "old").exists()
    none = run("sh", folder / "unpack.sh", "none", cwd=tmp_path, env=MINE | {"PATH": "/usr/bin:/bin", "PYTHON": "/nowhere/python"})
    assert none.returncode and "/nowhere/python" in none.stdout

    (folder / "thesis.doc").write_text("")
    with pytest.raises(BookError, match=r"thesis\.doc, which is no part of a bundle"):
        pieces()
    assert (folder / "thesis.doc").exists()


@pytest.mark.parametrize(
    "options, words",
    [({"python": "3.9"}, "3.11, 3.12 and 3.13"), ({"platform_name": "amiga"}, "PLATFORM is amiga"), ({"without": {"jaxx"}}, "WITHOUT names jaxx")],
)
def test_settings_that_do_not_fit(pieces, options, words):
    with pytest.raises(BookError, match=re.escape(words)):
        pieces(**options)


def test_what_is_packed(tmp_path, monkeypatch):
    """A clone's files, and the same from a folder without git, where what runs have made lies about."""
    names = bundle.project_files()
    assert {"Makefile", "src/bundle.py", "data/README.md"} <= set(names) and not [n for n in names if n.startswith((".venv", "runs/", "_build/"))]
    copy = copy_project(tmp_path / "copy").path
    for made in (".venv/x", "runs/x", "_build/x", "wheels/x", "data/weights/x.h5", "src/__pycache__/x.pyc"):
        (copy / made).parent.mkdir(parents=True, exist_ok=True)
        (copy / made).write_text("")
    monkeypatch.setattr(bundle, "PROJECT", copy)
    assert bundle.project_files() == names


# --- the whole way: make test-bundle ---------------------------------------------------------------------------------

# A namespace without a network still has its own loopback, over which Jupyter talks to its kernels; here it begins switched off.
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
os.execvp(sys.argv[1], sys.argv[1:])
"""
ALONE = ("unshare", "-rn", sys.executable, "-I", "-c", LOOPBACK)


@pytest.fixture(scope="module")
def wheels_kept():
    """Wheels are downloaded once, into the project's own _build/wheels."""
    return PROJECT / "_build" / "wheels" / f"{VERSION}-{bundle.this_platform()}"


@pytest.fixture
def packed(tmp_path, monkeypatch, wheels_kept):
    """A function that makes a bundle with drawn photos as data; returns its folder."""
    if run(*ALONE, "true").returncode:
        assert not os.environ.get("CI"), "unshare -rn does not work here"
        pytest.skip("unshare -rn does not work here")
    photos = tmp_path / "data" / "cats_vs_dogs"
    photos.mkdir(parents=True)
    for index in range(4):
        Image.fromarray(draw_photo(index % 2, index, 64)).save(photos / f"{('cat', 'dog')[index % 2]}.{index}.jpg")
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "data"))

    def make(backend):
        bundle.bundle(tmp_path / "pieces", backend)
        return tmp_path / "pieces"

    return make


@pytest.mark.bundle
def test_a_killed_bundle_goes_on(packed, wheels_kept, monkeypatch):
    folder = packed("jax")
    before = (folder / "SHA256SUMS").read_bytes()
    some = sorted(wheels_kept.glob("*.whl"))[:40:4]
    for path in some[:-1]:
        path.unlink()
    some[-1].write_bytes(some[-1].read_bytes()[:5000])  # cut short
    asked = []
    real = subprocess.run
    monkeypatch.setattr(bundle.subprocess, "run", lambda line, **o: asked.append(line) or real(line, **o))
    assert (packed("jax") / "SHA256SUMS").read_bytes() == before
    assert 1 <= len([line for line in asked if "download" in line]) <= 4


@pytest.mark.bundle
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_from_pieces_to_pages_without_a_network(packed, tmp_path, backend):
    folder = packed(backend)
    assert max(p.stat().st_size for p in folder.iterdir()) <= 25 * 2**20
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    assert "unreachable" in run(*ALONE, sys.executable, "-c", reach).stdout

    place = tmp_path / "elsewhere" / "book"
    place.parent.mkdir()
    environment = MINE | {"HOME": str(tmp_path / "home"), "PYTHON": sys.executable}
    for name in ("BOOK_DATA", "BOOK_RUNS", "BOOK_BUILD", "BOOK_DOWNLOAD"):
        environment.pop(name, None)
    (tmp_path / "home").mkdir()
    done = run(*ALONE, "sh", folder / "unpack.sh", place, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    shutil.rmtree(folder)
    for other in {"tensorflow", "jax", "torch"} - {backend}:
        assert not list((place / ".venv").glob(f"lib/python*/site-packages/{other}/__init__.py")), f"{other} came along"
    assert len(list((place / "data" / "cats_vs_dogs").iterdir())) == 4

    done = run(*ALONE, "make", "book", "PROFILE=test", cwd=place, env=environment)
    assert done.returncode == 0, done.stdout[-5000:]
    pages = {p.stem for p in (place / "_build" / "test" / "html").rglob("*.html")}
    chapters = {Path(name).name for name in Copy(place).pages()}
    assert len(chapters) > 20 and chapters <= pages
    assert "Open" in done.stdout
