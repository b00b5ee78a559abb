"""The command line: errors are one message that says what to do."""

import os
import subprocess
import sys

import pytest

from conftest import PROJECT
from paths import runs_folder


def pipeline(*arguments, **environment):
    command = [sys.executable, str(PROJECT / "src" / "pipeline.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **environment})


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["book", "--profile", "nosuch"], "Known profiles: quick, report, test"),
        (["prepare", "--profile", "nosuch"], "Known profiles: quick, report, test"),
        (["book", "--profile", "test", "--executor", "nosuch"], "no executor 'nosuch'"),
        (["execute", "nosuch", "--profile", "test"], "There is no 'nosuch'. There are: introduction"),
        (["train", "nosuch-seed0", "--profile", "test"], "There is no 'nosuch-seed0'. There are: "),
        (["execute", "vgg", "--profile", "test"], "data.json is missing"),
        (["execute", "--profile", "test"], "execute needs a name"),
        (["promote"], "data.json is missing"),
        (["compare", "--profile", "test"], "has no records of trainings yet"),
        (["nosuch"], "invalid choice"),
    ],
)
def test_errors_are_one_message(arguments, words):
    done = pipeline(*arguments)
    assert done.returncode not in (0, None)
    assert words in done.stderr and "Traceback" not in done.stderr and len(done.stderr) < 2500, done.stderr


def test_slides_without_pages_say_what_to_run(tmp_path):
    done = pipeline("slides", BOOK_BUILD=str(tmp_path))
    assert done.returncode == 1 and "make book" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_book_data_that_points_to_nothing_is_one_message(tmp_path):
    done = pipeline("prepare", "--profile", "quick", BOOK_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "BOOK_DATA points to" in done.stderr and "Traceback" not in done.stderr


def test_a_second_run_is_told_that_one_is_under_way():
    fcntl = pytest.importorskip("fcntl")
    (runs_folder() / "test").mkdir(parents=True)
    with open(runs_folder() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = pipeline("book", "--profile", "test")
    assert done.returncode == 1 and "Another run is under way" in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name, value", [("BOOK_MEMORY", "much"), ("BOOK_GPUS", "two")])
def test_a_setting_that_is_no_number_is_named(name, value):
    done = pipeline("book", "--profile", "test", **{name: value})
    assert done.returncode == 1 and f"{name} is {value!r}" in done.stderr + done.stdout and "Traceback" not in done.stderr, done.stderr
