"""Hard knocks: poor surroundings, files that could bring code, killed runs. The long ones: `make test-faults`."""

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

from conftest import PROJECT, copy_project, mini_project

# --- surroundings ----------------------------------------------------------------------------------------------


def build(copy, **environment):
    """Build the book of a copy in these surroundings; returns (exit status, output)."""
    done = replace(copy, environment=environment).build(check=False)
    return done.returncode, done.stdout


def notebooks(copy):
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((copy.path / "runs" / "test" / "notebooks").glob("*.ipynb"))}


def hostile_home(folder):
    """A home with settings of IPython, Jupyter, Keras, matplotlib and Snakemake that people have, and a kernel of their own."""
    files = {
        ".ipython/profile_default/ipython_kernel_config.py": "c.InteractiveShell.ast_node_interactivity = 'all'\nc.InteractiveShellApp.exec_lines = ['print(1)']\n"
        "c.InlineBackend.figure_formats = {'svg'}\nc.InteractiveShell.pdb = True\n",
        ".ipython/profile_default/startup/00.py": "print('startup')\nimport matplotlib\nmatplotlib.use('Agg')\n",
        ".jupyter/jupyter_config.py": "raise SystemExit('jupyter')\n",
        ".keras/keras.json": '{"backend": "theano", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1.0}',
        ".config/matplotlib/matplotlibrc": "backend: Agg\nsavefig.dpi: 10\nlines.linewidth: 30\n",
        ".config/snakemake/default/config.yaml": "cores: none\n",
        ".local/share/jupyter/kernels/python3/kernel.json": '{"argv": ["/nowhere/python"], "display_name": "dead", "language": "python"}',
        "foreign/numpy/__init__.py": "raise ImportError('a foreign NumPy')\n",
        "foreign/sitecustomize.py": "import sys\nsys.stderr.write('sitecustomize\\n')\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return {
        "HOME": str(folder), "MPLBACKEND": "Agg", "MATPLOTLIBRC": str(folder), "IPYTHONDIR": str(folder / ".ipython"), "PYTHONSTARTUP": "/nowhere",
        "PYTHONPATH": str(folder / "foreign"), "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"), "JUPYTER_PATH": str(folder / ".local/share/jupyter"),
        "KERAS_HOME": str(folder / ".keras"), "SNAKEMAKE_PROFILE": "slurm", "LC_ALL": "de_DE.ISO-8859-1", "LANG": "de_DE.ISO-8859-1", "PYTHONIOENCODING": "latin-1",
        "TF_USE_LEGACY_KERAS": "1", "PIP_USER": "1", "GIT_DIR": "/nowhere", "JUPYTER_PREFER_ENV_PATH": "0", "PYTHONWARNINGS": "error", "COLUMNS": "20",
    }  # fmt: skip


def test_no_personal_setting_reaches_a_run(tmp_path):
    """Nor a path with spaces and Chinese characters, nor a home that cannot be written to."""
    plain, personal = mini_project(tmp_path / "plain"), mini_project(tmp_path / "猫和狗 café")
    assert build(plain, LC_ALL="C.UTF-8", HOME="/proc")[0] == 0  # nobody can write there
    status, output = build(personal, **hostile_home(tmp_path / "home"))
    assert status == 0 and "Open _build" in output and output.count("sitecustomize") <= 1, output[-3000:]  # once: before it starts anew
    assert notebooks(personal) == notebooks(plain) and len(notebooks(plain)) == 3


def test_the_clean_environment(monkeypatch):
    import environment

    for name, value in {"MPLBACKEND": "Agg", "PYTHONPATH": "/x", "KERAS_BACKEND": "jax", "BOOK_DATA": "/d", "CUDA_VISIBLE_DEVICES": "1", "XLA_FLAGS": "a"}.items():
        monkeypatch.setenv(name, value)
    made = environment.clean()
    assert "MPLBACKEND" not in made and made["PYTHONPATH"] == str(PROJECT / "src")
    assert (made["KERAS_BACKEND"], made["BOOK_DATA"], made["CUDA_VISIBLE_DEVICES"], made["XLA_FLAGS"]) == ("jax", "/d", "1", "a")
    own = [made[name] for name in ("IPYTHONDIR", "MPLCONFIGDIR", "KERAS_HOME", "XDG_CACHE_HOME", "JUPYTER_CONFIG_DIR")]
    assert all(Path(path).is_relative_to(os.environ["BOOK_RUNS"]) for path in own)


def test_a_full_disk_is_one_message_and_the_run_goes_on_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        copy = mini_project(tmp_path / "copy")
        status, output = build(copy, BOOK_RUNS=str(disk))
        assert status == 1 and re.search("No space left|Make room", output) and "Traceback" not in output, output[-3000:]
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        status, output = build(copy, BOOK_RUNS=str(disk))
        assert status == 0, output[-3000:]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_checkout_is_one_message(tmp_path):
    copy = mini_project(tmp_path / "copy")
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
    status, output = build(mini_project(tmp_path / "copy"), KERAS_BACKEND="theano")
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


def test_nothing_in_the_project_unpickles_what_it_did_not_write():
    """What joblib keeps lies in runs/, which a run itself writes; outcomes and the rest of edition/ hold no pickle."""
    names = [p.name for p in (PROJECT / "edition").rglob("*") if p.is_file()] if (PROJECT / "edition").exists() else []
    assert all(name.endswith((".json", ".csv", ".ipynb", ".npz", ".keras", ".webp")) for name in names), names
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
