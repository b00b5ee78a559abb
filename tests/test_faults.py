"""Hard knocks: damaged photos, misbehaving servers, poor surroundings, killed runs. The long ones: `make test-faults`."""

import hashlib
import http.server
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import assets
from assets import BookError
from conftest import PROJECT, copy_project, serving
from test_assets import picture, zipped

# --- photos ----------------------------------------------------------------------------------------------------


def whole_photos(folder, count):
    """JPEG files of both classes that are in order."""
    for label, kind in enumerate(assets.CLASSES):
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

    kinds = [assets.CLASSES[k % 2] for k in range(12)]
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
        kind, image = assets.CLASSES[k % 2], picture(9000 + k, 120)
        for form, suffix in (("PNG", "jpg"), ("GIF", "jpg"), ("WEBP", "jpeg"), ("BMP", "png")):  # called by another name
            save(f"{kind}.{number}.{suffix}", image, format=form)
            number += 1
    for k in range(8):
        kind = assets.CLASSES[k % 2]
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


# --- downloads -------------------------------------------------------------------------------------------------

BODY = b"0123456789" * 20_000


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
def server():
    with serving(Misbehaving) as address:
        yield address


@pytest.mark.parametrize("earlier", [None, b"an earlier good copy"])
@pytest.mark.parametrize("kind", ["elsewhere", "loop", "403", "500", "portal", "short", "silent", "reset", "wrong"])
def test_a_bad_download_is_explained_and_leaves_the_good_copy(server, tmp_path, monkeypatch, kind, earlier):
    monkeypatch.setattr(assets, "TIMEOUT", 2)
    target = tmp_path / "folder" / "photos.zip"
    target.parent.mkdir()
    if earlier:
        target.write_bytes(earlier)
    url = f"{server}/{kind}.bin"
    checksum = "sha256:" + hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(BookError) as caught:
        assets.fetch(url, target, checksum, attempts=1)
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
        assets.unpack(archive, tmp_path / "out")
    except BookError as error:
        assert str(archive) in str(error)
    assert not list((tmp_path / "outside").iterdir())


def test_a_zip_bomb_is_refused_before_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "MAX_UNPACKED", 1_000_000)
    archive = zipped(tmp_path / "bomb.zip", {f"Cat/{i}.jpg": b"\0" * 300_000 for i in range(10)})
    with pytest.raises(BookError, match="bomb.zip.*bytes"):
        assets.unpack(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip"]


# --- surroundings ----------------------------------------------------------------------------------------------


def build(copy, **environment):
    """Build the book of a copy in these surroundings; returns (exit status, output)."""
    done = replace(copy, environment=environment).build(check=False)
    return done.returncode, done.stdout


def one_chapter(copy):
    """Leave the introduction alone in the book, so that a run takes seconds."""
    (copy.path / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: chapters/introduction\n- file: references\n")
    (copy.path / "book" / "index.md").write_text("# A book\n\n{cite:p}`LeCun1989`\n")
    text = (copy.path / "book" / "chapters" / "introduction.md").read_text()
    (copy.path / "book" / "chapters" / "introduction.md").write_text(re.sub(r"\{(ref|numref|term)\}`[^`]*`", "a page", text))
    return copy


def test_a_path_with_spaces_and_chinese_characters_and_no_home(tmp_path):
    copy = one_chapter(copy_project(tmp_path / "猫和狗 café"))
    status, output = build(copy, LANG="C.UTF-8", HOME=None)
    assert status == 0 and "Open _build" in output, output[-3000:]


def test_a_full_disk_is_one_message_and_the_run_goes_on_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        copy = one_chapter(copy_project(tmp_path / "copy"))
        status, output = build(copy, BOOK_RUNS=str(disk))
        assert status == 1 and re.search("No space left|Make room", output) and "Traceback" not in output, output[-3000:]
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        status, output = build(copy, BOOK_RUNS=str(disk))
        assert status == 0, output[-3000:]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_checkout_is_one_message(tmp_path):
    copy = one_chapter(copy_project(tmp_path / "copy"))
    if subprocess.run(["mount", "--bind", "-o", "ro", copy.path, copy.path], capture_output=True).returncode:
        pytest.skip("only root may mount a folder read-only")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", copy.path], check=True)
        status, output = build(copy)
        assert status == 1 and "Traceback" not in output and re.search("Read-only|permit", output), output[-3000:]
        status, output = build(copy, BOOK_RUNS=str(tmp_path / "runs"), BOOK_BUILD=str(tmp_path / "build"))
        assert status == 0, output[-3000:]
    finally:
        subprocess.run(["umount", copy.path], check=True)


def test_a_backend_that_is_not_installed_is_named(tmp_path):
    copy = one_chapter(copy_project(tmp_path / "copy"))
    status, output = build(copy, KERAS_BACKEND="theano")
    assert status == 1 and "theano" in output and "Traceback" not in output and len(output) < 1500, output


def test_an_old_python_is_told_which_ones_will_do(tmp_path):
    copy = copy_project(tmp_path / "copy")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")  # as `sys.exit(not 3.11 <= version)` does in an old one
        (tools / name).chmod(0o755)
    done = subprocess.run(["make", "book"], cwd=copy.path, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode and "needs Python 3.11, 3.12 or 3.13" in done.stdout, done.stdout


# --- security --------------------------------------------------------------------------------------------------


def test_a_model_that_brings_code_is_not_loaded(tmp_path):
    import keras

    import helpers

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(helpers.results_folder("test") / "evil-seed0.keras")
    with pytest.raises(ValueError, match="(?i)lambda|unsafe"):
        helpers.load_model("evil", "test", seed=0)


def test_nothing_in_the_project_unpickles_what_it_did_not_write():
    """The trainings' store (joblib) lies in runs/, which a run itself writes; edition/ holds no pickle."""
    names = [p.name for p in (PROJECT / "edition").rglob("*") if p.is_file()] if (PROJECT / "edition").exists() else []
    assert all(name.endswith((".json", ".csv", ".ipynb", ".keras", ".webp")) for name in names), names
    sources = "\n".join(p.read_text(encoding="utf-8") for p in [*PROJECT.glob("src/*.py"), *PROJECT.glob("book/chapters/*.md")])
    assert "import pickle" not in sources and "allow_pickle=True" not in sources and "safe_mode=False" not in sources


# --- killed ----------------------------------------------------------------------------------------------------


def children(root):
    """Process numbers of all that descend from ``root``, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found, ahead = set(), {root}
    while ahead:
        ahead = {child for child, parent in parents.items() if parent in ahead} - found
        found |= ahead
    return found


def alive(numbers):
    living = set()
    for number in numbers:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            living.add(number)
    return living


def without_times(path):
    """A record or a table without what may differ between two runs of the same code."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        table = pd.read_csv(path, dtype=str)
        return table.drop(columns="seconds").to_csv() if "seconds" in table else content
    record = json.loads(content)
    record.pop("run", None)
    text = json.dumps(record, sort_keys=True)
    return re.sub(r'"(seconds|slower)": [\d.e-]+', "", text)


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_killed_twenty_times_ends_as_if_nothing_had_happened(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it, and so would the run
    rng, copy = random.Random(0), copy_project(tmp_path / "killed")
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
    finished, kills, repeated = {}, 0, []
    folder = copy.path / "runs" / "test" / "notebooks"
    while True:
        run = copy.start(start_new_session=True)
        if kills < 20:
            try:
                run.wait(rng.uniform(2, 30))
            except subprocess.TimeoutExpired:
                family = children(run.pid)
                how = signals[kills % 3]
                if how == signal.SIGINT:
                    os.killpg(run.pid, how)  # as Ctrl-C in a terminal
                else:
                    run.send_signal(how)
                run.wait(30)
                deadline = time.monotonic() + 20
                while alive(family) and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert not alive(family), f"{how.name} left processes behind"
                kills += 1
        else:
            run.wait(900)
        now = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.ipynb")} if folder.exists() else {}
        repeated += [name for name, stamp in finished.items() if now.get(name) != stamp]
        finished = now
        if run.returncode == 0:
            break
    assert kills == 20 and not repeated, (kills, repeated)
    undisturbed = copy_project(tmp_path / "undisturbed")
    undisturbed.build()
    for path in [*sorted(undisturbed.results.glob("*.csv")), *sorted(undisturbed.results.glob("*.json"))]:
        assert without_times(copy.results / path.name) == without_times(path), path.name


@pytest.mark.faults
def test_two_runs_at_once_in_one_checkout(tmp_path):
    copy = copy_project(tmp_path / "copy")
    first = copy.start()
    time.sleep(10)
    status, output = build(copy)
    assert status == 1 and "Another run is under way" in output and "Traceback" not in output, output[-2000:]
    assert first.wait(900) == 0


@pytest.mark.faults
def test_the_test_profile_fits_into_two_gibibytes(tmp_path):
    """Resident memory of all processes of the run together, looked at twice a second; pages that they share count once."""
    copy = copy_project(tmp_path / "copy")
    copy.environment["BOOK_MEMORY"] = "2"
    run, most = copy.start(), 0
    while run.poll() is None:
        total = 0
        for number in {run.pid} | children(run.pid):
            try:
                total += int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{number}/smaps_rollup").read_text())[1])
            except (OSError, TypeError):
                continue
        most = max(most, total)
        time.sleep(0.5)
    assert run.returncode == 0 and most < 2 * 2**20, f"{most / 2**20:.2f} GiB"
