"""The environment .venv: made, filled from the locks, mended after a move; and the locks themselves.

Standard library only, since it runs before anything is installed. `make` calls it before every target:

    python3 -I src/install.py --backend jax        what is missing in .venv for this backend; nothing if all is there
    python3 -I src/install.py --lock               pin requirements*.in anew (needs uv)

`.venv/book.json` notes what was installed, from which locks (by content, not by time) and in which folder.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from ast import literal_eval
from contextlib import suppress
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
NOTE = VENV / "book.json"
WHEELS = PROJECT / "wheels"  # there after `make bundle` was unpacked
OLDEST, NEWEST = (3, 11), (3, 13)

# What a machine may bring where SYSTEM_PACKAGES=1 asks for it; and the newest that the locks take.
BACKENDS = {"tensorflow": "tensorflow>=2.18", "jax": "jax>=0.5", "torch": "torch>=2.5"}
# From 0.11 on JAX answers not-a-number on a CPU where convolutions in bfloat16 follow each other (seen with 0.11.2 and
# 0.12.0.1, not with 0.10.2; XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= mends it there).
NEWEST_THAT_WORKS = {"jax": "<0.11"}
# Cards of today need CUDA 12.8 or newer. TensorFlow's newest release brings 12.9, JAX 13; PyPI's torch has CUDA 13 in it.
GPU = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda13]"}
SIZES = {"tensorflow": "1.5 GB", "jax": "1 GB", "torch": "1.5 GB, on Linux 6 GB with CUDA"}

# What computes may come from the machine, with all that it needs; what makes the pages is always the lock's.
COMPUTES = {"tensorflow", "jax", "torch", "numpy", "scipy", "pandas", "statsmodels", "matplotlib", "pillow", "h5py"}

# Of pip's settings only those that say how packages are reached; `user`, `target`, `constraint` and the like are
# somebody's wishes for other environments.
REACH = {"index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "cert", "client-cert",
         "timeout", "default-timeout", "retries", "resume-retries", "keyring-provider", "cache-dir", "no-cache-dir"}  # fmt: skip


def locks(backend, gpu=False, test=False):
    """Names of the lock files that belong to an environment, in the order of installation. ``backend`` None: the pages alone."""
    names = ["requirements.txt"]
    if backend:
        names.append(f"requirements-{backend}.txt")
    if gpu and backend in GPU:
        names.append(f"requirements-gpu-{backend}.txt")
    return names + ["requirements-test.txt"] * test


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(names):
    """``{package: {version: its lines}}`` of lock files. A package has two versions where Pythons need different ones."""
    found = {}
    for name in names:
        for block in re.split(r"\n(?=[A-Za-z0-9])", (PROJECT / name).read_text(encoding="utf-8")):
            pin = re.match(r"([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", block)
            if pin:
                lines = "\n".join(line for line in block.splitlines() if not line.lstrip().startswith("#"))
                found.setdefault(canonical(pin[1]), {})[pin[2]] = lines
    return found


def clean(environment=os.environ):
    """The environment without what would bend another Python: PYTHONPATH, PYTHONHOME, the settings of pip and of a venv."""
    return {k: v for k, v in environment.items() if not k.startswith(("PYTHON", "PIP_")) and k != "VIRTUAL_ENV"}


def pip_settings(python, command="install"):
    """Environment for pip: no setting of the person's or the machine's but those that say how packages are reached."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    listed = subprocess.run([python, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True, env=settings)
    kept = {}
    for section in ("global", command, ":env:"):  # the later one decides, as in pip
        for line in listed.stdout.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(section + ".") and key.removeprefix(section + ".") in REACH:
                with suppress(ValueError, SyntaxError):
                    kept[key.removeprefix(section + ".")] = " ".join(str(literal_eval(value)).split("\n")).strip()
    found = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in kept.items() if value}
    return clean() | found | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


# --- the folder .venv ------------------------------------------------------------------------------------------------


def note():
    try:
        return json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def usable():
    """Does .venv hold a Python that starts, and the one that its packages were installed for?"""
    try:
        code = "import sys; print(*sys.version_info[:2], sep='.')"
        done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, env=clean())
    except OSError:
        return False
    return done.returncode == 0 and (VENV / "lib" / f"python{done.stdout.strip()}" / "site-packages").is_dir()


def make(system):
    """Make .venv with the Python that runs this file."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"The book needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {sys.version.split()[0]}. "
                 "Name another: PYTHON=/path/to/python3.11")  # fmt: skip
    carried = bundle_note().get("python")
    if carried and carried != f"{sys.version_info[0]}.{sys.version_info[1]}":
        sys.exit(f"wheels/ holds packages for Python {carried}, and {sys.executable} is {sys.version.split()[0]}. Name a "
                 f"Python {carried} (PYTHON=/path/to/python{carried}), or delete wheels/ to install from the network.")  # fmt: skip
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        sys.exit(f"{VENV} is in the way: it is no environment of Python. Move it, then run again.")
    pips = sorted(WHEELS.glob("pip-*.whl"))  # a Python without ensurepip takes the bundle's
    alone = bool(pips) and subprocess.run([sys.executable, "-I", "-c", "import ensurepip"], capture_output=True).returncode != 0
    options = ["--clear"] + ["--system-site-packages"] * system + ["--without-pip"] * alone
    done = subprocess.run([sys.executable, "-I", "-m", "venv", *options, VENV], env=clean(), stdout=subprocess.DEVNULL)
    if done.returncode == 0 and alone:
        code = f"import runpy, sys; sys.path.insert(0, {str(pips[-1])!r}); sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
        arguments = ["install", "-qq", "--no-index", "--no-deps", pips[-1]]
        done = subprocess.run([PYTHON, "-I", "-c", code, *arguments], env=clean() | {"PIP_CONFIG_FILE": os.devnull})
    if done.returncode:
        sys.exit(f"{sys.executable} could not make the environment {VENV}; its message is above. On Debian and Ubuntu: "
                 "apt-get install python3-venv; or name another Python: PYTHON=/path/to/python3.11")  # fmt: skip
    if system and sys.prefix != sys.base_prefix:  # the machine's packages lie in an environment themselves
        paths = sysconfig.get_paths()
        (site,) = VENV.glob("lib/python*/site-packages")
        (site / "_machine.pth").write_text("\n".join(dict.fromkeys((paths["purelib"], paths["platlib"]))) + "\n")


KERNEL = """\
# A chapter that is opened in JupyterLab finds the modules of the project in which it lies.
get_config().InteractiveShellApp.exec_lines = [
    "__import__('sys').path[:0] = [str(p / 'src') for p in (lambda here: (here, *here.parents))(__import__('pathlib').Path.cwd())"
    " if (p / 'src' / 'helpers.py').exists()][:1]"
]
"""


def mend():
    """Let Jupyter's kernels find src/; after the project's folder was renamed or copied, the commands in .venv/bin this .venv."""
    settings = VENV / "etc" / "ipython" / "ipython_kernel_config.py"
    if not settings.exists() or settings.read_text(encoding="utf-8") != KERNEL:
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(KERNEL, encoding="utf-8")
    configuration = VENV / "pyvenv.cfg"
    made = re.search(r"^command = .* -m venv (?:--\S+ )*(.+)$", configuration.read_text(encoding="utf-8"), re.M)
    old = note().get("folder") or (made[1] if made else str(VENV))
    if old == str(VENV) or (os.path.exists(old) and os.path.samefile(old, VENV)):
        return
    print(f"This folder was {Path(old).parent} when .venv was made; .venv follows.", file=sys.stderr)
    shell = b"#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''" % bytes(PYTHON)  # a #! line takes no spaces and 127 bytes
    direct = shell if b" " in bytes(PYTHON) or len(bytes(PYTHON)) > 120 else b"#!" + bytes(PYTHON)
    for path in [configuration, *(VENV / "bin").iterdir()]:
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if content.startswith(b"#!") or path == configuration or path.name.lower().startswith("activate"):
            changed = re.sub(rb"\A#!%s/bin/python[\w.]*" % re.escape(old.encode()), lambda _: direct, content)
            changed = changed.replace(old.encode() + b"/bin", bytes(VENV) + b"/bin").replace(old.encode() + b"\n", bytes(VENV) + b"\n")
            changed = changed.replace(b'"%s"' % old.encode(), b'"%s"' % bytes(VENV)).replace(b"'%s'" % old.encode(), b"'%s'" % bytes(VENV))
            if changed != content:
                path.write_bytes(changed)
    remember(**note() | {"folder": str(VENV)})


def remember(**content):
    part = NOTE.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(NOTE)
    installed = [b for b in BACKENDS if f"requirements-{b}.txt" in content.get("locks", {})]
    (VENV / "backend").write_text(f"{installed[0]}\n" if installed else "", encoding="utf-8")  # make's default


# --- packages --------------------------------------------------------------------------------------------------------


def bundle_note():
    """What the wheels of an unpacked bundle are for, else {}."""
    try:
        return json.loads((WHEELS / "bundle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def pip(*arguments, settings, **options):
    """Run .venv's pip. ``-qq`` in its arguments leaves errors only: an index that lacks a package is no news."""
    return subprocess.run([PYTHON, "-I", "-m", "pip", *map(str, arguments)], env=settings, stdin=subprocess.DEVNULL, **options)


def machine_packages(settings):
    """``{package: version}`` of what computes on this machine outside .venv."""
    found = json.loads(pip("inspect", settings=settings, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    there = {}
    for item in found["installed"]:
        if not Path(item["metadata_location"]).is_relative_to(VENV):
            there.setdefault(canonical(item["metadata"]["name"]), item["metadata"])
    kept, look_at = {}, sorted(COMPUTES & there.keys())
    while look_at:
        name = look_at.pop()
        if name in there and name not in kept:
            kept[name] = there[name]["version"]
            needs = [r for r in there[name].get("requires_dist", []) if "extra ==" not in r]
            look_at += [canonical(re.match(r"[\w.-]+", r)[0]) for r in needs]
    return kept


def on_top_of_machine(names, backend, where, settings):
    """Lines to install so that what the machine has is used where pip finds it new enough, and the rest is the locks'.

    pip decides without installing anything. Where it would fetch something that the machine has in an older version,
    that package is held to its lock and pip decides again.
    """
    locked = pins(names)
    free = {name for name in machine_packages(settings)}
    wishes = [BACKENDS[backend]] if backend else []
    with tempfile.TemporaryDirectory() as folder:
        report, limits = Path(folder) / "report.json", Path(folder) / "limits.txt"
        while True:
            held = [lines.split("\\\n")[0].strip() for name, of in locked.items() if name not in free for lines in of.values()]
            limits.write_text("\n".join(held) + "\n", encoding="utf-8")
            done = pip("install", "-qq", "--dry-run", "--report", report, "-c", limits, "-r", PROJECT / "requirements.in",
                       *wishes, *where, settings=settings)  # fmt: skip
            if done.returncode:
                return None
            chosen = {canonical(i["metadata"]["name"]): i for i in json.loads(report.read_text(encoding="utf-8"))["install"]}
            too_old = {n for n in free & locked.keys() & chosen.keys() if chosen[n]["metadata"]["version"] not in locked[n]}
            if not too_old:
                break
            free -= too_old
    lines = []
    for name, item in sorted(chosen.items()):
        version = item["metadata"]["version"]
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(locked.get(name, {}).get(version) or f"{name}=={version} --hash=sha256:{digest}")
    used = {n: v for n, v in machine_packages(settings).items() if n in COMPUTES and n not in chosen}
    print("Used from this machine:", ", ".join(f"{n} {v}" for n, v in sorted(used.items())) or "nothing", file=sys.stderr)
    replaced = {n: v for n, v in machine_packages(settings).items() if n in COMPUTES and n in chosen}
    for name, version in sorted(replaced.items()):
        print(f"Too old here: {name} {version}; .venv gets {chosen[name]['metadata']['version']}.", file=sys.stderr)
    return lines


def fill(backend, gpu, test, system):
    """Install what .venv lacks."""
    names = locks(backend, gpu, test)
    wanted = {name: hashlib.sha256((PROJECT / name).read_bytes()).hexdigest() for name in names}
    have = note().get("locks", {})
    if all(have.get(name) == digest for name, digest in wanted.items()):
        return
    carried = bundle_note()
    offline = carried and set(names) <= set(carried["locks"])
    new = [name for name in names if have.get(name) != wanted[name]]
    where = ["--find-links", WHEELS] + ["--no-index"] * bool(offline) if carried else []
    settings = clean() | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"} if offline else pip_settings(PYTHON)
    size = "some minutes" if offline else f"about {SIZES.get(backend, '500 MB')}, some minutes"
    size = "a minute" if new == ["requirements-test.txt"] else size
    print(f"Installing the packages of {' and '.join(new)} into .venv ({size}) …", file=sys.stderr, flush=True)

    names = ["wheels/requirements.txt"] if offline else names  # the same, with the hashes of what was built for it
    base = names if offline else locks(backend)
    lines = on_top_of_machine(base, backend, where, settings) if system else None
    failed = system and lines is None
    if not failed and system:
        with tempfile.TemporaryDirectory() as folder:
            chosen = Path(folder) / "requirements.txt"
            chosen.write_text("\n".join(lines) + "\n", encoding="utf-8")
            failed = lines and pip("install", "-qq", "--no-deps", "--require-hashes", "-r", chosen, *where, settings=settings).returncode
        names = [name for name in names if name not in base]  # CUDA and the tests' packages as locked
    if not failed and names:
        files = [part for name in names for part in ("-r", PROJECT / name)]
        failed = pip("install", "-qq", "--require-hashes", "--no-deps", *files, *where, settings=settings).returncode
    if failed:
        hint = "The wheels of this bundle do not fit this machine." if offline else "Is there a network, and room on the disk?"
        sys.exit(f"The packages could not be installed; pip's message is above. {hint} The same command goes on from there.")
    remember(folder=str(VENV), system=bool(system), locks=have | wanted)


# --- the locks -------------------------------------------------------------------------------------------------------


def lock():
    """Pin requirements*.in, the backends and CUDA for them in one resolution, and write it as a file for each."""
    if not shutil.which("uv"):
        sys.exit("Pinning needs uv, which is not on the PATH: pip install uv")
    compile_ = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--custom-compile-command", "make requirements"]
    book = (PROJECT / "requirements.in").read_text(encoding="utf-8")
    wanted = {"requirements.txt": book}
    limited = {name: f"{name}{NEWEST_THAT_WORKS[name]}" if name in NEWEST_THAT_WORKS else name for name in BACKENDS}
    wanted |= {f"requirements-{name}.txt": line for name, line in limited.items()}
    wanted |= {f"requirements-gpu-{name}.txt": f"{line}\n{limited[name]}" for name, line in GPU.items()}
    wanted["requirements-test.txt"] = (PROJECT / "requirements-test.in").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "everything.txt"
        subprocess.run([*compile_, "--upgrade", "--no-header", "--no-annotate", "-", "-o", everything],
                       input="\n".join(wanted.values()), text=True, check=True, cwd=folder)  # fmt: skip
        for name, lines in wanted.items():
            shutil.copy(everything, Path(folder) / name)  # uv keeps to the versions in the file that it writes
            subprocess.run([*compile_, "--generate-hashes", "-", "-o", name], input=lines, text=True, check=True, cwd=folder)
        for name in wanted:
            os.replace(shutil.copy(Path(folder) / name, PROJECT / f".{name}"), PROJECT / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", help=", ".join(BACKENDS) + "; without it only what the pages need")
    parser.add_argument("--gpu", action="store_true", help="with CUDA")
    parser.add_argument("--test", action="store_true", help="with what the tests need")
    parser.add_argument("--system", action="store_true", help="on top of the packages of this machine")
    parser.add_argument("--lock", action="store_true", help="pin requirements*.in anew (needs uv)")
    args = parser.parse_args()
    if args.lock:
        return lock()
    if args.backend and args.backend not in BACKENDS:
        sys.exit(f"BACKEND is {args.backend}; the book knows {', '.join(BACKENDS)}.")
    door = os.open(PROJECT, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(door, fcntl.LOCK_EX)  # two at once would install into each other
    if not usable():
        make(args.system)
    elif args.system and "include-system-site-packages = true" not in (VENV / "pyvenv.cfg").read_text(encoding="utf-8"):
        sys.exit("SYSTEM_PACKAGES=1, and .venv was made without the packages of this machine. Delete .venv, then run again.")
    mend()
    fill(args.backend, args.gpu, args.test, system=args.system or note().get("system", False))


if __name__ == "__main__":
    main()
