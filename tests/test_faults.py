"""Hard knocks: poor surroundings, models that bring code, killed runs. The long ones: `make test-faults`."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from conftest import PROJECT, copy_project

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
