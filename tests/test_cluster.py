"""The book on a cluster: a real SLURM of one node, started here (`make test-cluster`). Needs root and four packages of Debian."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cluster as jobs
from conftest import copy_project
from noting import noting_project

pytestmark = pytest.mark.cluster
HERE = Path(__file__).resolve().parent / "cluster"
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
OPTIONS = "--latency-wait 10 --slurm-init-seconds-before-status-checks 2"  # look again soon: the jobs take seconds
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")


def cannot(reason):
    """Without a cluster the tests are skipped, except where one is expected."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no SLURM can be started here: {reason}", pytrace=False)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running cluster; yields the environment in which its commands find it."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "squeue") if not shutil.which(name, path=PATH)]
    if missing:
        cannot(f"{', '.join(missing)} not installed (apt-get install slurmctld slurmd slurm-client munge)")
    if os.geteuid():
        cannot("only root may start its daemons")
    if Path("/etc/slurm/slurm.conf").exists():
        cannot("/etc/slurm/slurm.conf exists: this machine has a cluster of its own")
    folder = tmp_path_factory.mktemp("slurm")
    environment = {"SLURM_CONF": str(folder / "etc" / "slurm.conf"), "PATH": PATH}
    try:
        up = subprocess.run([HERE / "up", folder], env={**os.environ, **environment}, text=True, capture_output=True, timeout=60)
        if up.returncode:
            cannot(f"{up.stdout}{up.stderr}")
        yield environment
    finally:
        subprocess.run([HERE / "down", folder], env={**os.environ, **environment}, timeout=60)


@pytest.fixture
def project(slurm, tmp_path):
    """Makes small projects whose book runs on the cluster; afterwards none of their jobs may be left."""
    made = []

    def make(name="copy"):
        copy = noting_project(tmp_path / name)
        copy.environment = {**slurm, "EXECUTOR_OPTIONS": OPTIONS}
        made.append(copy)
        return copy

    yield make
    for process in (process for copy in made for process in copy.started if process.poll() is None):
        process.kill()  # of a test that failed
        process.wait()
    left = [job for copy in made for job in left_of(copy)]
    if left:
        subprocess.run(["scancel", *(job["id"] for job in left)], env={**os.environ, **slurm}, timeout=60)
    assert not left


def jobs_of(copy):
    """All jobs that a project has ever submitted, in order: dicts of id, state, what (``experiment_one_seed0``, ``chapter one``), cores, memory."""
    prefix = jobs_prefix(copy)
    listing = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%j|%T|%k|%C|%m"],
        env={**os.environ, **copy.environment}, text=True, capture_output=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    rows = [line.split("|") for line in listing.splitlines()]
    return [
        {"id": row[0], "state": row[2], "what": row[3].removeprefix("rule_").replace("_wildcards_", " "), "cores": row[4], "memory": row[5]}
        for row in rows
        if row[1].startswith(prefix)
    ]


def jobs_prefix(copy):
    before = os.environ.get("BOOK_RUNS")
    os.environ["BOOK_RUNS"] = str(copy.path / "runs")
    try:
        return jobs.prefix()
    finally:
        os.environ["BOOK_RUNS"] = before


def left_of(copy):
    return [job for job in jobs_of(copy) if job["state"] not in OVER]


def until(condition, seconds=120):
    """Wait until a function returns something true; returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    pytest.fail(f"waited {seconds} seconds in vain")


def running(copy, *names):
    """Wait until these experiments have begun their work."""
    until(lambda: set(names) <= set(copy.count("start")))


def on_slurm(copy):
    """Run the book of a copy on the cluster; returns the process."""
    return copy.book("--executor", "slurm")


# --- what is submitted -----------------------------------------------------------------------------------------


def test_trainings_and_chapters_are_jobs_that_ask_for_what_they_need_and_see_their_card_only(project):
    copy = project()
    copy.environment["BOOK_GPUS"] = "1"  # for each training
    with open(copy.path / "profiles" / "test.yml", "a") as file:
        file.write("\ncores: 2\n")
    copy.chapter("trained", first=dict(beside="second-seed0"), second=dict(beside="first-seed0"))
    copy.chapter("plain")
    done = on_slurm(copy)
    assert done.returncode == 0, done.stdout
    for line in ("first-seed0 …", "second-seed0 done in", "trained …", "plain done in", "Open _build/test/html/index.html"):
        assert done.stdout.count(line) == 1, done.stdout
    submitted = jobs_of(copy)
    names = ["chapter plain", "chapter trained", "experiment_first_seed0", "experiment_second_seed0"]
    assert sorted(job["what"] for job in submitted) == names and {job["state"] for job in submitted} == {"COMPLETED"}
    assert {(job["cores"], job["memory"]) for job in submitted} == {("2", "1792M")}
    spans = copy.spans()
    assert {spans["first-seed0"][2], spans["second-seed0"][2]} == {"0", "1"}  # they ran side by side
    assert spans["plain"][2] == spans["trained"][2] == ""
    again = on_slurm(copy)
    assert again.returncode == 0 and len(jobs_of(copy)) == 4, again.stdout


def test_a_partition_too_small_is_told_at_once(project):
    copy = project()
    copy.environment["EXECUTOR_OPTIONS"] += " --default-resources slurm_partition=short runtime=10"
    copy.chapter("trained", first={}, second={})
    started = time.monotonic()
    done = on_slurm(copy)
    assert done.returncode == 1 and time.monotonic() - started < 90
    assert done.stdout.count("the cluster refused the job") == 1, done.stdout
    assert "Failed: first-seed0, second-seed0 (" in done.stdout and "Requested time limit is invalid" in done.stdout
    assert "Traceback" not in done.stdout and len(done.stdout) < 1500 and not jobs_of(copy)


def test_a_node_with_too_little_memory_is_told_at_once(project):
    copy = project()
    profile = copy.path / "profiles" / "test.yml"
    profile.write_text(profile.read_text().replace("memory: 1.75", "memory: 100"))
    copy.chapter("plain")
    done = on_slurm(copy)
    assert done.returncode == 1 and "Failed: plain (the cluster refused the job: " in done.stdout, done.stdout
    assert "Memory" in done.stdout and not left_of(copy)


@pytest.mark.parametrize(
    "arguments, environment, expected",
    [
        (["--executor", "moon"], {}, "There is no executor 'moon'. Installed: local, slurm."),
        (["--executor", "slurm", "--jobs", "many"], {}, "JOBS is 'many'"),
        (["--executor", "slurm"], {"SLURM_CONF": "/dev/null"}, "The cluster does not answer: "),
        (["--executor", "slurm"], {"PATH": "/nowhere"}, "needs the commands sbatch and squeue"),
        (["--executor", "slurm"], {"BOOK_GPUS": "-1"}, "BOOK_GPUS is '-1'"),
    ],
)
def test_what_cannot_be_is_one_message(project, arguments, environment, expected):
    copy = project()
    settings, copy.environment = copy.environment, {**copy.environment, **environment}
    copy.chapter("plain")
    done = copy.book(*arguments)
    assert done.returncode == 1 and expected in done.stdout and "Traceback" not in done.stdout and len(done.stdout) < 700, done.stdout
    copy.environment = settings


# --- failures --------------------------------------------------------------------------------------------------


def test_a_job_that_fails_stops_what_needs_it_and_nothing_else(project):
    copy = project()
    copy.chapter("broken", burst=dict(fails=True), calm={})
    copy.chapter("lost", gone=dict(seconds=300))
    copy.chapter("plain")
    with open(copy.path.parent / "said", "w") as said:
        head = copy.start("--executor", "slurm", output=said)
        running(copy, "gone-seed0")
        subprocess.run(
            ["scancel", *(job["id"] for job in jobs_of(copy) if "gone" in job["what"])], env={**os.environ, **copy.environment}, check=True
        )  # as a cluster ends a job that takes too long
        assert head.wait(240) == 1
    output = (copy.path.parent / "said").read_text()
    assert "The experiment burst-seed0 of the chapter broken failed." in output and "the network has burst" in output, output
    assert str(copy.path / "runs" / "test" / "failed" / "burst-seed0.log") in output
    assert "Failed: gone-seed0 (the job's end: CANCELLED)." in output and "jobs/experiment/gone-seed0.log" in output, output
    assert sorted(copy.count("end")) == ["calm-seed0", "plain"]  # siblings and strangers, not the chapters broken and lost
    assert not (copy.path / "_build" / "test" / "html" / "index.html").exists() and "Open _build" not in output
    copy.chapters.clear()
    copy.chapter("broken", burst=dict(fails=False), calm={})
    copy.chapter("plain")
    done = on_slurm(copy)
    assert done.returncode == 0, done.stdout
    assert copy.count("end") == {"calm-seed0": 1, "plain": 1, "burst-seed0": 1, "broken": 1}


# --- the head is killed ----------------------------------------------------------------------------------------


def start_and_wait(copy, times=1):
    """A head whose run has finished one training and is at work on another, which ends when the test says so."""
    if not copy.chapters:
        copy.chapter("trained", quick={}, long=dict(beside="go"))
    head = copy.start("--executor", "slurm", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # as after `&` in a script
    until(lambda: copy.count("start").get("long-seed0") == times)
    until(lambda: copy.outcome("quick-seed0").exists())
    return head


def nothing_twice(copy):
    """What was finished was done once, and no job is left."""
    assert copy.count("end") == {"quick-seed0": 1, "long-seed0": 1, "trained": 1}, copy.events()
    assert copy.count("start")["quick-seed0"] == 1
    assert not left_of(copy)


def test_a_head_killed_outright_leaves_no_job_to_the_next(project):
    copy = project()
    head = start_and_wait(copy)
    head.kill()
    head.wait()
    orphans = [job["id"] for job in left_of(copy)]
    assert orphans  # nobody can end them but the next run
    with open(copy.path.parent / "said", "w") as said:
        head = copy.start("--executor", "slurm", output=said)
        until(lambda: copy.count("start")["long-seed0"] == 2)
        states = {job["id"]: job["state"] for job in jobs_of(copy)}
        assert {states[number] for number in orphans} <= {"CANCELLED", "COMPLETED"} and "CANCELLED" in states.values()
        copy.go()
        assert head.wait(240) == 0
    assert "Cancelled " in (copy.path.parent / "said").read_text()
    nothing_twice(copy)


def test_what_jobs_finish_after_their_head_was_killed_is_kept_also_by_a_local_run(project):
    copy = project()
    head = start_and_wait(copy)
    head.kill()
    head.wait()
    copy.go()
    until(lambda: not left_of(copy))
    done = copy.book()
    assert done.returncode == 0 and "long-seed0 …" not in done.stdout, done.stdout
    nothing_twice(copy)
    assert copy.count("start")["long-seed0"] == 1


def test_a_head_that_is_stopped_takes_its_jobs_along(project):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what runs below nohup ignores it, and so would the head
    copy = project()
    for times, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), start=1):
        head = start_and_wait(copy, times)
        head.send_signal(number)
        assert head.wait(60) == 1, number
        assert not left_of(copy), number
    copy.go()
    done = on_slurm(copy)
    assert done.returncode == 0 and "Cancelled" not in done.stdout, done.stdout
    nothing_twice(copy)


def test_two_projects_of_one_person_leave_each_others_jobs_alone(project):
    one, other = project("one"), project("other")
    one.chapter("trained", steady=dict(beside="go"))
    head = one.start("--executor", "slurm")
    running(one, "steady-seed0")
    other.chapter("trained", doomed=dict(beside="go"))
    doomed = other.start("--executor", "slurm")
    running(other, "doomed-seed0")
    doomed.kill()
    doomed.wait()
    doomed = other.start("--executor", "slurm")
    until(lambda: other.count("start")["doomed-seed0"] == 2)
    assert [job["state"] for job in jobs_of(one)] == ["RUNNING"]
    assert [job["state"] for job in jobs_of(other)] == ["CANCELLED", "RUNNING"]
    one.go()
    other.go()
    assert head.wait(240) == doomed.wait(240) == 0
    assert one.count("start")["steady-seed0"] == one.count("end")["steady-seed0"] == 1


# --- the whole book --------------------------------------------------------------------------------------------


def plain(value):
    """A record without what differs between two runs of the same code: times, where it ran."""
    if isinstance(value, dict):
        left_out = ("seconds", "slower", "run", "provenance", "device", "processor", "revision")
        return {k: plain(v) for k, v in value.items() if k not in left_out and not k.endswith("seconds")}
    return [plain(v) for v in value] if isinstance(value, list) else value


def test_the_whole_book_has_the_same_records_as_a_local_run(slurm, book, tmp_path):
    copy = copy_project(tmp_path / "whole")
    copy.environment = {**slurm, "EXECUTOR_OPTIONS": OPTIONS, "BOOK_DOWNLOAD": "0"}
    done = copy.run(sys.executable, "src/pipeline.py", "book", "--profile", "test", "--executor", "slurm")
    assert "Open _build/test/html/index.html" in done.stdout
    names = sorted(p.name for p in book.results.glob("*.json"))
    assert names == sorted(p.name for p in copy.results.glob("*.json"))
    for name in names:
        local, cluster = (json.loads((folder / name).read_text(encoding="utf-8")) for folder in (book.results, copy.results))
        assert plain(cluster) == plain(local), name
    assert not subprocess.run(["squeue", "-h"], env={**os.environ, **slurm}, capture_output=True, text=True).stdout
