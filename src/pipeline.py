"""The command line behind `make`: prepare, one piece of work, the pages, and `book`, which calls Snakemake for all of it.

    python src/pipeline.py book --profile quick            all that follows, as far as it is needed
    python src/pipeline.py prepare --profile quick         find, fetch and decode photos and weights
    python src/pipeline.py train small_cnn-seed0           compute one experiment
    python src/pipeline.py execute vgg --profile quick     execute one chapter
    python src/pipeline.py pages --profile quick           weave all pages and build the HTML
    python src/pipeline.py html                            build the pages of edition/; nothing is executed
    python src/pipeline.py promote                         copy what the report profile has finished to edition/
    python src/pipeline.py compare --profile report        put a run's accuracies beside the edition's
"""

import environment

environment.enter()

import argparse
import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import album
import assets
import chapters
import cluster
from machine import backend
from paths import BUILD, EDITION, PROJECT, BookError, runs_folder, say, shown, write_atomically

MARK = "» "  # begins the lines that are to be shown; Snakemake's own go to a log


def prepare(profile):
    """Find, fetch and decode what the chapters need, say what was found, and write it to ``runs/<profile>/data.json``."""
    if importlib.util.find_spec(backend()) is None:
        raise BookError(
            f"KERAS_BACKEND is {backend()}, and this package is not installed in {sys.prefix}.\n"
            "Install a backend with make install BACKEND=tensorflow, jax or torch (and GPU=1 with a card), or unset KERAS_BACKEND."
        )
    shared = chapters.load_profile(profile)["shared"]
    found = {**assets.stock(profile, shared["image_size"]), "album": album.digest()}
    photos = assets.load_photos(profile, shared["image_size"])
    say(f"Photos:  {photos.source}" + (f"; {len(photos.left_out)} files left out" if photos.left_out else ""))
    remarks = [(name, f"left out: {reason}") for name, reason in photos.left_out] + [(name, f"used, but: {words}") for name, words in photos.warnings]
    listing = runs_folder() / profile / "photos.txt"
    write_atomically(listing, "".join(f"{name}\t{remark}\n" for name, remark in remarks).encode())  # of today, empty if there are none
    for name, remark in remarks[:10]:
        say(f"         {name} ({remark})")
    if len(remarks) > 10:
        say(f"         … and {len(remarks) - 10} more, all of them in {shown(listing)}")
    assets.split(photos, 0, shared["train_size"], shared["validation_size"], shared["test_size"])  # enough of them?
    if found["album"]:
        say(f"         and those of your own in {album.folder_of()}, for the chapters that ask for them")
    for name, path in found["files"].items():
        say(f"Weights: {name.upper()} " + (f"from {path}" if path else "untrained"))
    for path in assets.unused_weights() if profile != "test" else ():
        say(f"         {shown(path)} is not used: its name is none of those that data/README.md lists")
    write_atomically(runs_folder() / profile / "data.json", json.dumps(found, indent=1).encode())


def book(profile, executor, target="all"):
    """Have Snakemake do what is needed, show the lines that matter, and say which page to open.

    Raises:
        BookError: another run is under way, or something failed.
    """
    from joblib import cpu_count

    chapters.check(profile)  # a word about a slip now
    folder = runs_folder()
    (folder / profile).mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BookError(f"Another run is under way in {folder}. Wait until it has ended, or stop it.") from error
        cancelled = cluster.cancel_left_behind()
        if cancelled:
            say(f"Cancelled {cancelled} jobs of an earlier run that was killed; what they had finished is kept.")
        free, needed = environment.free_memory(), chapters.load_profile(profile)["memory"]
        if free < needed and executor == "local":
            say(f"Memory:  {free:.1f} GiB may be used; the profile {profile} needs about {needed} GiB. If a chapter is ended for want of memory,\n"
                "         close other programs and run again: finished chapters are kept.")  # fmt: skip
        command = [sys.executable, "-m", "snakemake", target, "--snakefile", PROJECT / "Snakefile", "--config", f"profile={profile}"]
        if executor != "local":
            command += [f"gpus={environment.cards_wanted() or 0}"]  # a job must count as this process does
        command += ["--nolock"]  # the lock is ours: it ends with this process, however that ends
        if executor == "local":
            command += ["--cores", str(cpu_count())]
            failed = snakemake(command, folder / profile / "pipeline.log")
        else:
            command += cluster.arguments(executor, profile)
            cluster.started(executor)
            try:
                with cluster.Relay(folder / profile / "jobs", MARK, show):
                    failed = snakemake(command, folder / profile / "pipeline.log")
            finally:
                cluster.cancel_left_behind()
            if failed:
                failed = cluster.failures(folder / profile / "pipeline.log") or failed
    if failed:
        raise BookError(f"The book is not finished; what is finished is kept.\n{failed}")
    if target == "all" and EDITION.exists() and profile != "test":
        print(f"\nThe edition, with the results at full size:  {shown(BUILD / 'edition' / 'html' / 'index.html')}")
    if target == "all":
        print(f"\nOpen {shown(BUILD / profile / 'html' / 'index.html')} in a browser: your own run.")
    else:
        print(f"Open {shown(BUILD / 'edition' / 'html' / 'index.html')} in a browser.")


def not_of_tomorrow(profile):
    """Give finished work that carries a time to come, from a clock that was wrong, the time of now: Snakemake fails at outputs older than inputs."""
    now = time.time()
    folder = runs_folder() / profile
    for path in [*folder.glob("*.json"), *folder.glob("*/*")]:
        if path.is_file() and path.stat().st_mtime > now:
            os.utime(path)


def show(line):
    with suppress(OSError):  # a terminal that was closed ends no run
        print(line, flush=True)


def snakemake(command, log):
    """Run Snakemake; show the marked lines, keep its own in ``log``. Returns what to say of a failure, or None."""
    shown, stopped = False, False

    def stop(number, frame):
        """Whatever ends this process ends Snakemake as Ctrl-C does: only then it cancels its jobs and clears up."""
        nonlocal stopped
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        if not stopped:
            timer = threading.Timer(30, lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
            timer.daemon = True
            timer.start()
        stopped = True

    def apart():
        environment.die_with_parent()
        os.setpgid(0, 0)  # a Ctrl-C comes by `stop`, once
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a script starts with `&` ignores it, and so would its children

    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            [str(part) for part in command], cwd=runs_folder(), env={**os.environ, "BOOK_RELAY": MARK}, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=apart,
        ) as process,
    ):  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, stop)
        for line in process.stdout:
            file.write(line.removeprefix(MARK))
            file.flush()
            if line.startswith(MARK):
                shown = True
                show(line.removeprefix(MARK).rstrip("\n"))
    if stopped or process.returncode < 0 or process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode == 0:
        return None
    return f"All messages: {log}" if shown else "".join(log.read_text(encoding="utf-8").splitlines(True)[-15:])


def known(name, names):
    if name not in names:
        raise BookError(f"There is no {name!r}. There are: {', '.join(names)}.")
    return name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="`make help` lists the same by what one wants.")
    parser.add_argument("step", choices=("book", "prepare", "train", "execute", "pages", "html", "edition-pages", "slides", "promote", "compare"))
    parser.add_argument("names", nargs="*", help="for execute: a chapter; for train: experiments with their seeds, such as small_cnn-seed0")
    parser.add_argument("--chapter", help="for train: the chapter that has the experiments; then no other is read")
    parser.add_argument("--profile", default="quick", help="a file of profiles/ (default: quick)")
    parser.add_argument("--executor", default="local", help="local (the default), or a Snakemake executor that is installed, such as slurm")
    parser.add_argument("--jobs", help="how many jobs the cluster is given at a time (default: $JOBS, or 20)")
    options = parser.parse_args()
    if options.jobs:
        os.environ["JOBS"] = options.jobs
    if options.step in ("train", "execute") and not options.names:
        parser.error(f"{options.step} needs a name")
    try:
        if options.step in ("train", "execute", "pages"):
            not_of_tomorrow(options.profile)
        if options.step == "book":
            book(options.profile, options.executor)
        elif options.step == "html":
            book("report", "local", target="edition_pages")
        elif options.step == "prepare":
            prepare(options.profile)
        elif options.step in ("train", "execute"):
            import execute

            environment.die_with_parent()
            if options.step == "execute":
                for name in options.names:
                    execute.execute(known(name, chapters.chapters()), options.profile)
            else:
                there = chapters.experiments_of(options.chapter, options.profile) if options.chapter else chapters.all_experiments(options.profile).values()
                there = {experiment.run: experiment for experiment in there}
                asked = [there[known(name, there)] for name in options.names]
                for chapter in dict.fromkeys(e.chapter for e in asked):
                    execute.train([e for e in asked if e.chapter == chapter], options.profile)
        elif options.step in ("pages", "edition-pages"):
            import pages

            pages.render(options.profile) if options.step == "pages" else pages.html()
        elif options.step == "slides":
            import slides

            slides.main()
        else:
            import edition

            edition.promote() if options.step == "promote" else edition.compare(options.profile)
    except BookError as error:
        say(f"\n{error}\n")
        sys.exit(1)
    except OSError as error:
        advice = {28: " Make room, then run again.", 13: " Permit access, then run again.", 30: " Permit writing, then run again."}.get(error.errno, "")
        say(f"\n{error.filename or runs_folder()}: {error.strerror or error}.{advice}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("" if os.environ.get("BOOK_RELAY") else "\nStopped. What is finished is kept; the same command goes on from there.")


if __name__ == "__main__":
    main()
