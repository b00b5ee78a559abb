"""One piece of work: what a run leaves is the same for equal runs, whole, and of the code that it says."""


import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import execute
import outcomes
from paths import BookError

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def executed(*outputs, metadata=None):
    """A run as papermill leaves it: a parameters cell, an injected cell, a cell with outputs; times and ids of its own."""
    tags = {"tags": ["parameters"], "papermill": {"duration": 1.5}}
    cells = [
        new_markdown_cell("Words."),
        new_code_cell('profile = "quick"        # which photos\nepochs = 5\nrate = 1e-4              # step', metadata=tags),
        new_code_cell('# Parameters\nprofile = "test"\nepochs = 2\n', metadata={"tags": ["injected-parameters"]}),
        new_code_cell("print(4)", outputs=list(outputs), execution_count=3, metadata={"collapsed": True, **(metadata or {})}),
    ]
    return new_notebook(cells=cells, metadata={**KERNEL, "papermill": {"start_time": "now"}})


def test_normalise():
    run = execute.normalise(executed(stream("noise", "stderr"), stream("4\n")))
    _, parameters, cell = run.cells
    assert parameters.source == 'profile = "test"         # which photos\nepochs = 2\nrate = 1e-4              # step'
    assert [o.name for o in cell.outputs] == ["stdout"]
    assert [cell.id for cell in run.cells] == [f"cell-{i}" for i in range(3)]
    assert set(run.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags", "mystnb"} for cell in run.cells)
    nbformat.validate(run)


@pytest.mark.parametrize("pieces", [["4\n", "5\n"], ["4", "\n5\n"], ["", "4\n5\n"]])
def test_a_print_that_comes_in_two_pieces_is_one_output(pieces):
    """As it does on a busy machine, also around what is sent to standard error."""
    whole = execute.normalise(executed(stream("4\n5\n")))
    split = execute.normalise(executed(stream(pieces[0]), stream("noise", "stderr"), stream(pieces[1])))
    assert nbformat.writes(split) == nbformat.writes(whole)


@pytest.mark.parametrize(
    "source, values, expected",
    [
        ("epochs = 5", {"epochs": "2"}, "epochs = 2"),
        ("epochs = 5  # why", {"epochs": "2"}, "epochs = 2  # why"),
        ("epochs = 5         # why\nrate = 1e-4        # how", {"epochs": "12345"}, "epochs = 12345     # why\nrate = 1e-4        # how"),
        ("epochs = 5  # why", {"epochs": "123456"}, "epochs = 123456  # why"),
        ("epochs = 5\nmore_epochs = 5", {"epochs": "2"}, "epochs = 2\nmore_epochs = 5"),
        ("names = ['a', 'b']", {"names": "['c']"}, "names = ['c']"),
        ('path = "a"', {"path": r'"C:\\new\\1"'}, r'path = "C:\\new\\1"'),
        ("epochs = 5", {"other": "2"}, "epochs = 5"),
    ],
)
def test_with_values(source, values, expected):
    assert execute.with_values(source, values) == expected


def test_a_figure_that_is_announced_must_be_there():
    announced = {"mystnb": {"figure": {"name": "fig-a", "caption": "x"}}}
    execute.check_figures("small", executed(new_output("display_data", data={"image/png": "AAAA"}), metadata=announced))
    for outputs in ([], [stream("4\n")]):
        with pytest.raises(BookError, match="chapter small announces the figure fig-a"):
            execute.check_figures("small", executed(*outputs, metadata=announced))


def test_files_of_a_chapter(tmp_path):
    for name in ("noise.json", "noise.block3.webp", "noise-seed0.csv", "noise-seed0.json", "noise_solutions.json", "noisy.json", "noise-2.json"):
        (tmp_path / name).write_text("{}")
    assert {p.name for p in execute.files_of("noise", tmp_path)} == {"noise.json", "noise.block3.webp", "noise-seed0.csv", "noise-seed0.json"}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"run": 3}', '{"run": {}}', None])
def test_a_record_that_is_damaged_has_no_key(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    assert execute.key_of(path) is None


# --- outcomes --------------------------------------------------------------------------------------------------


def test_an_outcome_comes_back_as_it_was(tmp_path):
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.uint8)]
    outcome = {"weights": weights, "history": {"loss": [0.5, 0.25]}, "names": ["cät"], "none": None, "n": np.int64(3), "ok": np.bool_(True), "pair": (1, 2)}
    outcomes.save(tmp_path / "a.npz", outcome, {"key": "k", "seconds": 1.5})
    back, about = outcomes.load(tmp_path / "a.npz")
    assert about == {"key": "k", "seconds": 1.5} == outcomes.about(tmp_path / "a.npz")
    assert [w.dtype for w in back["weights"]] == [np.float32, np.uint8] and np.array_equal(back["weights"][0], weights[0])
    assert (back["history"], back["names"], back["none"], back["n"], back["ok"], back["pair"]) == ({"loss": [0.5, 0.25]}, ["cät"], None, 3, True, [1, 2])


def some_weights():
    """A convolution whose channels differ in size, one of them of zeros, and a dense layer of one unit."""
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(3, 3, 8, 5)) * [1, 1e-3, 0, 40, 1e-9]).astype(np.float32)
    return [kernel, rng.normal(size=5).astype(np.float32), rng.normal(size=(7, 1)).astype(np.float32), np.zeros(1, np.float32)]


@pytest.mark.parametrize(("bits", "error"), [(16, 2**-11), (8, 0.5 / 127)])
def test_packed_weights_come_back_within_rounding(tmp_path, bits, error):
    weights = some_weights()
    outcomes.save(tmp_path / "a.npz", {"weights": outcomes.pack_weights(weights, bits)}, {"key": "k"})
    back = outcomes.unpack_weights(outcomes.load(tmp_path / "a.npz")[0]["weights"])
    assert [(w.shape, w.dtype) for w in back] == [(w.shape, np.float32) for w in weights]
    largest = np.abs(weights[0]).max((0, 1, 2))
    smallest = 2**-25 if bits == 16 else 0  # half of the least number above 0 of float16; a step of one's own has none
    assert (np.abs(back[0] - weights[0]) <= 1.001 * error * largest + smallest).all()
    assert (np.abs(back[2] - weights[2]) <= 2**-11 * np.abs(weights[2])).all()
    for i in (1, 3):
        np.testing.assert_array_equal(back[i], weights[i])


def test_packed_weights_take_two_bytes_or_one_a_number():
    half, (eight, *others) = outcomes.pack_weights(some_weights()), outcomes.pack_weights(some_weights(), 8)
    assert [w.dtype for w in half] == [np.float16, np.float32, np.float16, np.float32]
    assert (eight["int8"].dtype, eight["step"].dtype, eight["step"].shape) == (np.int8, np.float32, (5,)) and np.abs(eight["int8"]).max() == 127
    assert [w.dtype for w in others] == [np.float32, np.float16, np.float32]


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0, np.array([object()])])
def test_an_outcome_holds_no_code(tmp_path, value):
    with pytest.raises(BookError, match="a.npz"):
        outcomes.save(tmp_path / "a.npz", {"x": value}, {"key": "k"})


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "pickle", "missing"])
def test_a_damaged_outcome_is_told_and_has_no_key(tmp_path, damage):
    path = tmp_path / "a.npz"
    outcomes.save(path, {"x": np.zeros(1000)}, {"key": "k"})
    content = path.read_bytes()
    if damage == "pickle":
        np.savez(path, text=np.array([{"a": 1}], dtype=object))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"<html>"}[damage])
    assert outcomes.about(path) == {}
    with pytest.raises(BookError, match="a.npz"):
        outcomes.load(path)


def test_an_outcome_is_found_by_its_key_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(outcomes, "EDITION", tmp_path / "edition")
    outcomes.save(tmp_path / "edition" / "outcomes" / "a-seed0.npz", {"x": 1}, {"key": "right"})
    assert outcomes.find("a-seed0", "wrong", "test") is None
    found = outcomes.find("a-seed0", "right", "test")
    assert found == outcomes.path_of("a-seed0", "test") and outcomes.load(found)[0] == {"x": 1}
    outcomes.save(found, {"x": 2}, {"key": "newer"})
    assert outcomes.load(outcomes.find("a-seed0", "newer", "test"))[0] == {"x": 2}
