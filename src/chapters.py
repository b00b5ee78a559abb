"""What a chapter is, read from its source: its parameters, its experiments, what it reads, and the keys that decide when it runs.

A chapter is a page of ``_toc.yml`` whose front matter names a kernel. It is one MyST notebook. Three things in its code speak to the
pipeline, which reads them without running anything:

- the cell with the tag ``parameters`` holds plain values; a profile replaces them;
- the cell with the tag ``experiments`` fills a dictionary ``experiments``: what is trained, by which function, with which arguments;
- ``helpers.needs("noise")`` and ``helpers.load_records("*-seed*", profile)`` name records of other chapters, ``helpers.load_outcomes("residual",
  profile)`` an experiment of another chapter; what they name comes first. ``helpers.committed("edition/audit.csv")`` names a file of the project.
"""

import ast
import copy
import fnmatch
import hashlib
import json
import linecache
import os
import re
import symtable
from dataclasses import dataclass
from functools import cache, lru_cache

import yaml

from machine import backend
from paths import PROJECT, BookError, decides_nothing, runs_folder

# --- profiles and the table of contents ------------------------------------------------------------------------


@decides_nothing
def load_profile(name):
    """A file of ``profiles/``: parameters that replace the chapters' own, and the memory that a run takes."""
    path = PROJECT / "profiles" / f"{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yml")))
        raise BookError(f"There is no profile {name!r}. Known profiles: {known}.")
    return read_yaml(path)


def read_yaml(path):
    """The content of a YAML file of the project, which must be a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BookError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise BookError(f"{path} holds no mapping of names to values.")
    return content


def toc_files():
    """The files that ``_toc.yml`` lists, in reading order, without suffix, relative to the project."""
    path = PROJECT / "_toc.yml"

    def files(node):
        if isinstance(node, list):
            return [name for item in node for name in files(item)]
        if not isinstance(node, dict):
            return []
        own = [str(node[key]) for key in ("root", "file") if key in node]
        return own + [name for value in node.values() for name in files(value)]

    return [os.path.normpath(name.removesuffix(".md")) for name in files(read_yaml(path))]


@cache
def sources():
    """``{chapter: path of its source}`` in reading order: the pages of ``_toc.yml`` whose front matter names a kernel.

    Raises:
        BookError: an entry leads to no file, or two chapters have one name.
    """
    found = {}
    for name in toc_files():
        path = PROJECT / f"{name}.md"
        if not path.is_file():
            raise BookError(f"_toc.yml lists {name}, and there is no {name}.md. Write the file, or take the line out.")
        if "kernelspec" not in front_matter(path):
            continue
        if not re.fullmatch(r"\w[\w.-]*", path.stem):
            raise BookError(f"_toc.yml lists {name}: a chapter's name is made of letters, digits, '_', '-' and '.'. Rename the file.")
        if path.stem in found:
            raise BookError(f"_toc.yml lists two chapters of the name {path.stem}: {found[path.stem]} and {path}. Rename one.")
        found[path.stem] = path
    return found


def front_matter(path):
    """The YAML at the top of a text file, ``{}`` without one."""
    text = path.read_text(encoding="utf-8")
    found = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, flags=re.S)
    try:
        return yaml.safe_load(found[1]) or {} if found else {}
    except yaml.YAMLError as error:
        raise BookError(f"The front matter of {path} is not YAML: {error}") from error


@decides_nothing
def chapters():
    """Names of the chapters in reading order."""
    return list(sources())


# --- the source of a chapter -----------------------------------------------------------------------------------


@cache
def _notebook(chapter):
    """The source notebook, read once; not to be changed."""
    import jupytext

    return jupytext.read(source_of(chapter))


def source_of(chapter):
    """Path of a chapter's source."""
    if chapter not in sources():
        raise BookError(f"There is no chapter {chapter!r} in _toc.yml.")
    return sources()[chapter]


@decides_nothing
def read_source(chapter):
    """The source notebook of a chapter, as an nbformat notebook of one's own."""
    return copy.deepcopy(_notebook(chapter))


@decides_nothing
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@decides_nothing
def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


@decides_nothing
def parameters_of(notebook):
    """Names and default values in the notebook's parameters cell, ``{}`` without one."""
    source = "\n".join(cell.source for cell in code_cells(notebook) if has_tag(cell, "parameters"))
    return {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(source).body if isinstance(n, ast.Assign)}


@cache
def _declared(chapter):
    try:
        return parameters_of(_notebook(chapter))
    except (SyntaxError, ValueError) as error:
        raise slip(chapter, error, "A parameters cell holds plain values only.") from error


def slip(chapter, error, advice=""):
    """What to say of a chapter's code that cannot be read."""
    text = (getattr(error, "text", None) or "").strip()
    if text.startswith(("%", "!")):
        advice = "Lines that begin with % or ! are Jupyter's, not Python, and do not work here: write what they do in Python, or take them out."
    return BookError(
        f"{source_of(chapter)} has a slip in a code cell: {text} ({getattr(error, 'msg', error)}). {advice} Mend the cell and run again.".replace("  ", " ")
    )


@decides_nothing
def parameters_for(chapter, profile):
    """The values with which a chapter runs, those of the profile in place of its own.

    Raises:
        BookError: the profile sets something that the chapter does not have.
    """
    declared, settings = _declared(chapter), load_profile(profile)
    own = (settings.get("chapters") or {}).get(chapter) or {}
    unknown = sorted(set(own) - set(declared))
    if unknown:
        raise BookError(f"profiles/{profile}.yml sets {', '.join(unknown)} for {chapter}, which has no such parameter.")
    shared = {"profile": profile, **(settings.get("shared") or {})}
    return {**{k: v for k, v in shared.items() if k in declared}, **own}


@decides_nothing
def definitions(chapter, only_functions=False, **values):
    """The names that a chapter defines, without what it computes: for solutions, trainings and the choice of recipes.

    Runs the chapter's parameters with other values, its setting up (the next code cell), and the imports, functions and
    classes of all later cells.

    Args:
        only_functions: of the setting up, too, only imports, functions and classes.
        values: parameters in place of the chapter's own.

    Returns:
        dict of names; it is the global namespace of the chapter's functions.
    """
    names = {"__name__": f"chapter {chapter}"}
    setting_up = True
    for number, cell in enumerate(code_cells(_notebook(chapter))):
        name = f"<{chapter}, cell {number}>"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)  # inspect reads it
        tree = ast.parse(cell.source)
        parameters = has_tag(cell, "parameters")
        if not parameters and (only_functions or not setting_up):
            tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)]
        setting_up = setting_up and parameters
        exec(compile(tree, name, "exec"), names)
        if parameters:
            names.update(values)
    return names


# --- code without layout ---------------------------------------------------------------------------------------


@lru_cache(maxsize=2000)
def bare_code(source):
    """Python without comments, docstrings and layout: edits of those repeat nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@decides_nothing
def cell_code(cell):
    """What a code cell does: its bare code, and the semicolon at its end that keeps a notebook from showing a value."""
    return bare_code(cell.source) + (";" if re.search(r";\s*(#.*)?$", cell.source.rstrip()) else "")


@dataclass
class Definition:
    """One name of a module or a chapter: its bare code, and what it refers to, as (module, name)."""

    code: str
    refers: frozenset
    counts: bool = True  # False: decorated with ``decides_nothing``


def names_from_outside(node):
    """The names that a statement takes from the page or module around it: no arguments of a function, nor what it sets itself."""
    found, tables = set(), [symtable.symtable(ast.unparse(node), "statement", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        module = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if (s.is_referenced() if module else s.is_global())}
    return found


class Module:
    """What a piece of Python defines, and what each definition uses of itself and of the project's modules."""

    def __init__(self, name, *texts):
        self.name, self.aliases, self.defined, self.others, nodes = name, {}, {}, [], []
        for statement in (s for text in texts for s in ast.parse(bare_code(text)).body):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.add_import(statement)
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                nodes.append((statement, {statement.name}))
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                nodes.append((statement, {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}))
                self.others.append(statement)
            else:
                self.others.append(statement)
        for node, names in nodes:
            decorators = {ast.unparse(d).split(".")[-1] for d in getattr(node, "decorator_list", [])}
            for each in names:
                self.defined[each] = Definition(ast.unparse(node), self.references(node), "decides_nothing" not in decorators)

    def add_import(self, statement):
        for alias in statement.names:
            if isinstance(statement, ast.Import) and (PROJECT / "src" / f"{alias.name}.py").is_file():
                self.aliases[alias.asname or alias.name] = (alias.name, None)
            elif isinstance(statement, ast.ImportFrom) and (PROJECT / "src" / f"{statement.module}.py").is_file():
                self.aliases[alias.asname or alias.name] = (statement.module, alias.name)

    def references(self, node):
        """What the names in ``node`` lead to: (module, name) in this module and in the others of the project."""
        found = set()
        outside = names_from_outside(node)
        modules = {name: self.aliases[name][0] for name in outside if self.aliases.get(name, ("", ""))[1] is None}
        for n in ast.walk(node):
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in modules:
                found.add((modules[n.value.id], n.attr))
        return frozenset(found | {self.aliases.get(name, (self.name, name)) for name in outside if name not in modules})


@cache
def _project_module(name):
    path = PROJECT / "src" / f"{name}.py"
    return Module(name, path.read_text(encoding="utf-8")) if path.is_file() else None


@decides_nothing
def closure(start, own):
    """All that ``start`` uses: what it names, what that names in turn, in whichever module it stands.

    What is decorated with ``decides_nothing`` is in it, and what that uses is not looked at.

    Args:
        start: references, (module, name); own: the ``Module`` of the chapter, or of the notebook that is open.

    Returns:
        {(module, name): Definition}.
    """
    seen, ahead = {}, set(start)
    while ahead:
        module_name, name = ahead.pop()
        module = own if module_name == own.name else _project_module(module_name)
        if module is None or (module_name, name) in seen:
            continue
        if name in module.aliases and module.aliases[name][1]:  # a name that one module passes on from another
            ahead.add(module.aliases[name])
        if name in module.defined:
            seen[module_name, name] = module.defined[name]
            ahead |= module.defined[name].refers if module.defined[name].counts else set()
    return seen


def _code(used):
    return sorted(d.code for d in used.values() if d.counts)  # by itself: an open notebook is a module of another name


@cache
def chapter_module(chapter):
    """The definitions of a chapter's cells, and its imports."""
    try:
        return Module(f"chapter {chapter}", *(c.source for c in code_cells(_notebook(chapter)) if not has_tag(c, "parameters")))
    except SyntaxError as error:
        raise slip(chapter, error) from error


# --- experiments -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """One experiment with one seed, the unit of work.

    Attributes:
        name: the experiment's; with the seed it names the file of the outcome.
        seed: int, or None where chance has no part.
        function: the function that computes it, or "chapter.function" for one of another chapter.
        data: sizes with which photos are loaded and split for it, or None: then it gets no photos.
        arguments: what else the function is called with.
        chapter: the chapter that has it.
        profile: the one in which it runs; it says which outcomes its function reads.
    """

    name: str
    seed: int | None
    function: object
    data: dict | None
    arguments: dict
    chapter: str = ""
    profile: str = ""

    @property
    def run(self):
        return self.name if self.seed is None else f"{self.name}-seed{self.seed}"


@decides_nothing
def expand(experiments, seeds, chapter="", profile=""):
    """A chapter's dictionary ``experiments`` as a list of ``Experiment``, one for each seed.

    Args:
        experiments: {name: {"function": …, "data": {…} or left out, "seeds": [...], None or left out, and arguments}}.
        seeds: for those that name none of their own.
    """
    made = []
    for name, entry in experiments.items():
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise BookError(f"The experiment {name!r} of {chapter or 'this page'}: a name is made of small letters, digits and '_'.")
        arguments = {k: v for k, v in entry.items() if k not in ("function", "data", "seeds")}
        own = entry.get("seeds", seeds)
        for seed in [None] if own is None else own:
            made.append(Experiment(name, seed, entry["function"], entry.get("data"), arguments, chapter, profile))
    return made


@decides_nothing
@cache
def experiments_of(chapter, profile):
    """The experiments of a chapter in a profile, read from its source: a tuple of ``Experiment``, functions by name."""
    cells = [cell.source for cell in code_cells(_notebook(chapter)) if has_tag(cell, "experiments")]
    if not cells:
        return ()
    module = chapter_module(chapter)
    names = {name: name for name, d in module.defined.items() if d.code.lstrip().startswith(("def ", "@"))}
    names |= {**_declared(chapter), **parameters_for(chapter, profile)}
    try:
        for cell in cells:
            exec(compile(cell, f"<experiments of {chapter}>", "exec"), names)
        return tuple(expand(names["experiments"], names.get("seeds", [0]), chapter, profile))
    except BookError:
        raise
    except Exception as error:  # whatever a person writes there
        raise BookError(
            f"The cell with the tag 'experiments' in {source_of(chapter)} cannot be planned ({type(error).__name__}: {error}). It may use the "
            "parameters, plain values and the chapter's functions, and fills the dictionary experiments."
        ) from error


@decides_nothing
@cache
def all_experiments(profile):
    """``{run: Experiment}`` of all chapters, such as ``small_cnn-seed0``.

    Raises:
        BookError: two chapters have an experiment of one name.
    """
    found = {}
    for chapter in chapters():
        for experiment in experiments_of(chapter, profile):
            if experiment.run in found:
                raise BookError(f"Two chapters, {found[experiment.run].chapter} and {chapter}, have an experiment {experiment.name}. Rename one.")
            found[experiment.run] = experiment
    return found


# --- what a chapter reads --------------------------------------------------------------------------------------

READERS = ("needs", "load_records", "load_outcomes", "committed")  # functions of helpers whose first arguments say what a chapter reads


@cache
def _named(chapter):
    """``{function: [names]}`` that the chapter's code hands to the readers of helpers, and to ``save_records``.

    Who takes the definitions of another chapter runs its set-up, and so reads what that reads.
    """
    try:
        found = names_in("\n".join(cell.source for cell in code_cells(_notebook(chapter))))
    except SyntaxError as error:
        raise slip(chapter, error) from error
    others = [_named(other) for other in found["definitions"] if other != chapter]
    return found | {reader: list(dict.fromkeys(found[reader] + [n for other in others for n in other[reader]])) for reader in READERS}


def names_in(code):
    """``{function: [names]}`` that a piece of Python hands to the readers of helpers, and to ``save_records``."""
    of_helpers = (*READERS, "save_records")
    found = {function: [] for function in (*of_helpers, "definitions")}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            who, what = node.func.value.id, node.func.attr
            if (who == "helpers" and what in of_helpers) or (who == "chapters" and what == "definitions"):
                named = node.args if what == "needs" else node.args[:1]
                found[what] += [a.value for a in named if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return found


@cache
def records_of(chapter, profile):
    """Names of the records that a chapter writes: ``training`` and, where it saves those of its seeds, ``training-seed0``, …"""
    seeds = sorted({e.seed for e in experiments_of(chapter, profile) if e.seed is not None and e.data})
    seeds = seeds if _named(chapter)["save_records"] else []
    return (chapter, *(f"{chapter}-seed{seed}" for seed in seeds))


@cache
def needs(chapter, profile):
    """The chapters whose records a chapter reads, in reading order. ``"*"`` means all that do not themselves read all.

    Raises:
        BookError: it reads a chapter that does not exist.
    """
    patterns = [*_named(chapter)["needs"], *_named(chapter)["load_records"]]
    found = set()
    for pattern in patterns:
        if pattern == "*":
            found |= {c for c in chapters() if c != chapter and "*" not in _named(c)["load_records"] + _named(c)["needs"]}
            continue
        matching = {c for c in chapters() if c != chapter and fnmatch.filter(records_of(c, profile), pattern)}
        if not matching and pattern not in records_of(chapter, profile):
            raise BookError(f"{source_of(chapter)} reads the record {pattern!r}, which no chapter of _toc.yml writes.")
        found |= matching
    return [c for c in chapters() if c in found]


@decides_nothing
def matching_records(pattern, profile):
    """Names of all records that fit a pattern such as ``*-seed*``, by chapter and seed."""
    readers = [c for c in chapters() if pattern == "*" and "*" in _named(c)["load_records"] + _named(c)["needs"]]  # as in `needs`
    return [name for chapter in chapters() if chapter not in readers for name in fnmatch.filter(records_of(chapter, profile), pattern)]


@cache
def experiments_read(chapter, profile):
    """The runs of other chapters' experiments that a chapter reads.

    Raises:
        BookError: it reads an experiment that does not exist.
    """
    return _runs_named(_named(chapter)["load_outcomes"], source_of(chapter), profile)


def _runs_named(names, reader, profile):
    """The runs of the experiments of these names; ``reader``: who asks for them, for the message."""
    runs = []
    for name in names:
        found = [run for run, e in all_experiments(profile).items() if e.name == name]
        if not found:
            raise BookError(f"{reader} reads the experiment {name!r}, which no chapter of _toc.yml has.")
        runs += found
    return runs


def files_read(chapter):
    """The files of the project that a chapter reads, by name, each with its digest; None for one that is not there."""
    paths = {name: PROJECT / name for name in _named(chapter)["committed"]}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None for name, path in paths.items()}


# --- keys ------------------------------------------------------------------------------------------------------


@decides_nothing
def digest(*parts):
    """16 hexadecimal digits that stand for plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def found_data(profile):
    """What ``prepare`` found: ``{"photos": [in words, digest], "weights": {name: digest}, "album": digest or None, "fingerprint": …}``."""
    path = runs_folder() / profile / "data.json"
    if not path.exists():
        raise BookError(f"{path} is missing: run make book PROFILE={profile}, which finds and decodes photos and weights first.")
    return json.loads(path.read_text(encoding="utf-8"))


PHOTOS, WEIGHTS, ALBUM = ("assets", "load_photos"), ("assets", "find_weights"), ("album", "load")
PIXELS = {("assets", "read_photo"), ("assets", "draw_photo"), ("assets", "split")}  # what decides the photos that a chapter gets from files


def _data_used(used, data):
    """What stands in a key for the photos and weights that the code in ``used`` works on: digests, and the code that reads photos."""
    pixels = _code(closure(PIXELS, Module(""))) if PHOTOS in used else None
    return [pixels, data["photos"][1] if pixels else None, data["weights"] if WEIGHTS in used else None]


def _function_of(experiment, own=None):
    """(what computes an experiment and all that this uses, as ``closure`` has it; the ``Module`` that holds the function)."""
    name = experiment.function
    if "." in name:
        chapter, name = name.split(".")
        own = chapter_module(chapter)
    own = own or chapter_module(experiment.chapter)
    if name not in own.defined:
        raise BookError(f"The experiment {experiment.name} is computed by {experiment.function}, and {own.name} defines no such function.")
    return closure({(own.name, name)} | ({PHOTOS} if experiment.data else set()), own), own


def outcomes_read(experiment, own=None):
    """The runs whose outcomes an experiment's function reads, with ``helpers.load_outcomes``.

    Raises:
        BookError: it reads an experiment that does not exist.
    """
    texts = [d.code for d in _function_of(experiment, own)[0].values() if d.counts and "load_outcomes" in d.code]
    names = {name for text in texts for name in names_in(text)["load_outcomes"]}
    return _runs_named(sorted(names), f"The experiment {experiment.name}", experiment.profile)


@decides_nothing
def outcome_key(experiment, data, own=None, chain=()):
    """The key of an experiment's outcome: all that decides it, and nothing of the page around it.

    Its function and what that uses, in whichever module, without what is decorated with ``decides_nothing``; its data, arguments and seed; the
    photos and weights, where they are used; the keys of the outcomes that it reads. Neither the processor nor the backend: they are recorded with the outcome.

    Args:
        experiment: an ``Experiment`` whose function is a name.
        data: what ``found_data`` returns.
        own: the ``Module`` that holds the function, by default its chapter.
    """
    if experiment.run in chain:
        raise BookError("These experiments read each other in a circle: " + " → ".join([*chain, experiment.run]) + ".")
    used, own = _function_of(experiment, own)
    for (module, each), definition in used.items():
        if module == own.name and not definition.code.lstrip().startswith(("def ", "class ", "@")):
            raise BookError(
                f"{experiment.function}, which computes {experiment.name}, uses {each}, a value of the page ({own.name}). Hand it over as an argument."
            )
    read = [
        outcome_key(all_experiments(experiment.profile)[run], data, chain=(*chain, experiment.run)) for run in outcomes_read(experiment, own)
    ]
    decides = [_code(used), experiment.data, experiment.arguments, experiment.seed, _data_used(used, data)]
    return digest(*decides, *([read] if read else []))


@cache
def _code_of_chapter(chapter):
    """(code of the cells, ``{(module, name): Definition}`` that they use)."""
    own = chapter_module(chapter)
    cells = [cell for cell in code_cells(_notebook(chapter)) if not has_tag(cell, "parameters")]
    start = {ref for cell in cells for statement in ast.parse(bare_code(cell.source)).body for ref in own.references(statement)}
    used = {where: d for where, d in closure(start, own).items() if where[0] != own.name}
    return [cell_code(cell) for cell in cells], used


def chapter_key(chapter, profile, data, chain=()):
    """The key of a chapter's run: its code and what that uses, its parameters, the backend, and the keys of all that it reads.

    To these belong files of the project that it names, and the reader's own photos, where it asks for them.

    Raises:
        BookError: a slip in the chapter's code, or a circle of chapters that read each other.
    """
    if chapter in chain:
        raise BookError("These chapters read each other in a circle: " + " → ".join([*chain[chain.index(chapter) :], chapter]) + ".")
    cells, used = _code_of_chapter(chapter)
    taken = [_code_of_chapter(other) for other in _named(chapter)["definitions"]]  # a solution and its chapter
    for _, more in taken:
        used = used | more
    experiments = [outcome_key(e, data) for e in experiments_of(chapter, profile)]
    experiments += [outcome_key(all_experiments(profile)[run], data) for run in experiments_read(chapter, profile)]
    if experiments:
        used = {**used, **closure({PHOTOS}, chapter_module(chapter))}
    more = [files_read(chapter)] if files_read(chapter) else []
    more += [data.get("album")] if ALBUM in used else []
    return digest(
        cells, [code for code, _ in taken], _code(used), parameters_for(chapter, profile), _data_used(used, data),
        backend() if used else None, experiments,
        [chapter_key(other, profile, data, (*chain, chapter)) for other in needs(chapter, profile)], *more,
    )  # fmt: skip


def runs_needed(chapter, profile):
    """The runs of experiments whose outcomes a chapter shows: its own, and those that it reads."""
    return [e.run for e in experiments_of(chapter, profile)] + experiments_read(chapter, profile)


def check(profile):
    """Read all chapters, so that what does not fit is told before anything runs.

    Raises:
        BookError: the first thing that does not fit.
    """
    nothing = {"photos": ["", ""], "weights": {}}
    for experiment in all_experiments(profile).values():
        outcome_key(experiment, nothing)
    for chapter in chapters():
        chapter_key(chapter, profile, nothing)
