"""What decides an experiment's outcome, for all experiments of the book: the pipeline and an open notebook agree on it, and a page around it has no part."""

import ast
import linecache
from dataclasses import replace

import jupytext
import pytest

import chapters
import experiments
from paths import PROJECT

DATA = {"photos": ["120 pictures", "0123"], "weights": {"vgg16": None, "vgg19": None}}
ALL = chapters.all_experiments("test")


def keys():
    """The key of every run."""
    return {run: chapters.outcome_key(e, DATA) for run, e in ALL.items()}


def opened(chapter):
    """The names of a chapter that is open in Jupyter, as far as its experiments need them: functions of the module __main__, parameters."""
    names = {"__name__": "__main__"}
    for number, cell in enumerate(chapters.code_cells(chapters.read_source(chapter))):
        name = f"<{chapter} open, cell {number}>"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)
        tree = ast.parse(cell.source)
        if not chapters.has_tag(cell, "parameters") and not chapters.has_tag(cell, "experiments"):
            tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)]
        exec(compile(tree, name, "exec"), names)
        if chapters.has_tag(cell, "parameters"):
            names.update(chapters.parameters_for(chapter, "test"))
    return names


@pytest.mark.parametrize("chapter", sorted({e.chapter for e in ALL.values()}))
def test_an_open_notebook_finds_what_the_pipeline_has_computed(chapter):
    names = opened(chapter)
    for experiment in chapters.expand(names["experiments"], names.get("seeds", [0])):
        function = experiment.function
        if isinstance(function, str):
            other, name = function.split(".")
            function = chapters.definitions(other, only_functions=True)[name]
        live = chapters.outcome_key(replace(experiment, function=function.__name__, profile="test"), DATA, experiments._module_of(function))
        assert live == chapters.outcome_key(ALL[experiment.run], DATA), experiment.run


# --- edits -----------------------------------------------------------------------------------------------------


BEFORE = keys()


@pytest.fixture
def edit(monkeypatch):
    """Edit the text of a chapter or of a module of src/ in memory; returns the runs whose keys this changes."""

    def changed(where, old, new):
        path = PROJECT / "src" / f"{where}.py"
        text = (path if path.exists() else chapters.source_of(where)).read_text(encoding="utf-8")
        assert old in text, f"{where} has no {old!r} to edit"
        text = text.replace(old, new, 1)
        if path.exists():
            edited, whole = chapters.Module(where, text), chapters._project_module
            monkeypatch.setattr(chapters, "_project_module", lambda name: edited if name == where else whole(name))
        else:
            cells = [c for c in chapters.code_cells(jupytext.reads(text, fmt="md:myst")) if not chapters.has_tag(c, "parameters")]
            edited, whole = chapters.Module(f"chapter {where}", *(c.source for c in cells)), chapters.chapter_module
            monkeypatch.setattr(chapters, "chapter_module", lambda name: edited if name == where else whole(name))
        after = keys()
        return {run for run in BEFORE if BEFORE[run] != after[run]}

    return changed


NOTHING = [  # what, where, old, new
    ("prose", "training", "Three ingredients", "Three things"),
    ("a caption", "training", "Accuracy and loss of the small network in each epoch", "Accuracy and loss"),
    ("a figure", "training", '{"labels shuffled": shuffled}', '{"shuffled labels": shuffled}'),
    ("a figure of another part", "augmentation", "figsize=(7.5, 1.8)", "figsize=(7.5, 1.9)"),
    ("a claim", "training", "## The test, once", '```{code-cell} ipython3\nhelpers.claim("right", accuracy > 0.7)\n```\n\n## The test, once'),
    ("a comment", "transfer", "# the next chapter goes on from there", "# for the next chapter"),
    ("a docstring", "fine_tuning", "The head, then block 5 with the head.", "First the head."),
    ("an experiment's cell in other words", "training", "learning_rate=learning_rate, epochs=epochs", "learning_rate = learning_rate, epochs = epochs"),
    ("the look of figures", "figures", "def use_book_style(", "LOOK = 1\n\n\ndef use_book_style("),
    ("progress", "helpers", "about {left:.0f} s left", "{left:.0f} s to go"),
    ("setting up", "helpers", "; seed {seed}", " and seed {seed}"),
    ("a lock", "helpers", 'open(folder / "lock", "w")', 'open(folder / "door", "w")'),
    ("a docstring of a helper", "helpers", "The report's small network, built", "The small network, built"),
    ("records", "experiments", '"accuracy": float(', '"accuracy": 1.0 * float('),
]


@pytest.mark.parametrize("where, old, new", [case[1:] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_an_edit_of_a_page_repeats_no_training(edit, where, old, new):
    assert edit(where, old, new) == set()


def chapter_of(run):
    return ALL[run].chapter


TRAININGS = {"training", "augmentation", "transfer", "fine_tuning"}
REGRESSIONS = {"vgg16_features", "vgg16_features_150", "vgg19_features", "vgg19_pooled"}  # no training in epochs
WITH = {  # what, where, old, new, and the runs of these chapters and their solutions that use it
    "the small network": ("helpers", "(32, 64, 128, 128)", "(32, 64, 128, 64)", lambda run: chapter_of(run) in {
        "training", "augmentation", "training_solutions", "augmentation_solutions"}),
    "the best epoch": ("helpers", "patience=10**6", "patience=10**5", lambda run: chapter_of(run) in {
        *TRAININGS, "training_solutions", "fine_tuning_solutions"} and ALL[run].name not in REGRESSIONS or run in {"augmentation_small_steps", "small_cnn_widths"}),
    "frozen maps": ("helpers", "-65504, 65504", "-65000, 65000", lambda run: chapter_of(run) in {
        "transfer", "fine_tuning", "fine_tuning_solutions", "transfer_solutions"} and ALL[run].name not in REGRESSIONS - {"vgg19_pooled"}),
    "VGG's preprocessing": ("helpers", "images /= 255", "images /= 256", lambda run: chapter_of(run) in {
        "transfer", "fine_tuning", "fine_tuning_solutions", "transfer_solutions"}),
    "features": ("helpers", ".mean(axis=(1, 2))", ".max(axis=(1, 2))", lambda run: ALL[run].name in REGRESSIONS - {"vgg19_pooled"}),
    "the regression": ("transfer", "strength * looks * n", "2 * strength * looks * n", lambda run: ALL[run].name in REGRESSIONS),
    "a training, also for the solutions": ("training", "rmsprop(learning_rate)", "rmsprop(2 * learning_rate)", lambda run: chapter_of(run) in {
        "training", "training_solutions"}),
    "a function that the training uses": ("transfer", "layers.Dropout(0.5)", "layers.Dropout(0.4)", lambda run: chapter_of(run) == "transfer" and ALL[run].name not in REGRESSIONS),
    "one function of a page": ("transfer_solutions", "rate, start, epochs)\n", "rate, 1 + start, epochs)\n", lambda run: run == "transfer_averaged"),
}  # fmt: skip


@pytest.mark.parametrize("where, old, new, uses", WITH.values(), ids=WITH)
def test_an_edit_inside_a_training_repeats_what_uses_it(edit, where, old, new, uses):
    mine = {run for run in ALL if chapter_of(run).removesuffix("_solutions") in {*TRAININGS, "small_cnn"}}
    assert edit(where, old, new) & mine == {run for run in mine if uses(run)}


def test_what_decides_is_in_the_key():
    run, experiment = next((r, e) for r, e in ALL.items() if e.name == "vgg19_frozen")
    key = chapters.outcome_key(experiment, DATA)
    others = [
        replace(experiment, seed=7),
        replace(experiment, arguments={**experiment.arguments, "epochs": 99}),
        replace(experiment, data={**experiment.data, "train_size": 9}),
    ]
    found = [chapters.outcome_key(e, DATA) for e in others]
    found += [chapters.outcome_key(experiment, {**DATA, **part}) for part in ({"photos": ["120 pictures", "4567"]}, {"weights": {"vgg19": "89ab"}})]
    assert len({key, *found}) == 6, run
