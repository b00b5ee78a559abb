"""The engine of the live figures: its kernels beside NumPy, its compiled file beside its source, and what is exported for it."""

import base64
import ctypes
import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import cast
import live
import outcomes
from conftest import PROJECT
from paths import BookError

CLOSE = dict(rtol=1e-5, atol=1e-5)


class Kernels:
    """``live/nn.wasm``, run by wasmtime: arrays go in as float32, pieces of its memory come back."""

    def __init__(self):
        import wasmtime

        self.store = wasmtime.Store()
        module = wasmtime.Module.from_file(self.store.engine, str(live.SOURCES / "nn.wasm"))
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(64, None)))
        self.functions = wasmtime.Instance(self.store, module, [self.memory]).exports(self.store)
        self.top = self("heap") + 15 & ~15

    def __call__(self, name, *arguments):
        return self.functions[name](self.store, *(self.put(a) if isinstance(a, np.ndarray) else a for a in arguments))

    def room(self, count):
        place = self.top
        self.top += count * 4 + 15 & ~15
        return place

    def put(self, array):
        place = self.room(array.size)
        self.view(place, array.size)[:] = array.astype(np.float32).ravel()
        return place

    def view(self, place, count):
        address = ctypes.addressof(self.memory.data_ptr(self.store).contents)
        return np.frombuffer((ctypes.c_float * count).from_address(address + place), np.float32)

    def into(self, name, shape, *arguments):
        """Call a function; ``...`` among its arguments stands for the place of a result of this shape, which is returned."""
        place = self.room(int(np.prod(shape)))
        self(name, *(place if a is ... else a for a in arguments))
        return self.view(place, int(np.prod(shape))).reshape(shape).copy()

    def conv(self, image, kernel, bias, stride=1, relu=0):
        kh, kw, ci, co = kernel.shape
        packed = self.room(kh * kw * ci * (co + 7 & ~7))
        self("pack", kernel, packed, kh * kw * ci, co)
        ho, wo = (image.shape[0] - kh) // stride + 1, (image.shape[1] - kw) // stride + 1
        return self.into(
            "conv", (ho, wo, co), image, image.shape[1], ci, packed, bias, ..., ho, wo, co, kh, kw, stride, relu
        )


@pytest.fixture
def kernels():
    return Kernels()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def windows(image, kh, kw, stride):
    """(rows, columns, channels, kh, kw) of an image (height, width, channels)."""
    return np.lib.stride_tricks.sliding_window_view(image, (kh, kw), axis=(0, 1))[::stride, ::stride]


def numpy_conv(image, kernel, bias, stride=1):
    return np.einsum("yxirs,rsio->yxo", windows(image, *kernel.shape[:2], stride), kernel) + bias


# Channels that are no multiple of 8, places that are no multiple of 4, windows that are not square.
@pytest.mark.parametrize(
    "height, width, kh, kw, ci, co, stride",
    [
        (9, 11, 3, 3, 3, 32, 1),
        (8, 7, 5, 5, 3, 12, 2),
        (6, 5, 1, 1, 16, 8, 2),
        (5, 9, 2, 3, 4, 1, 1),
        (1, 1, 1, 1, 640, 5, 1),
    ],
)
def test_convolution(kernels, rng, height, width, kh, kw, ci, co, stride):
    image, kernel, bias = (
        rng.normal(size=(height, width, ci)),
        rng.normal(size=(kh, kw, ci, co)) / np.sqrt(kh * kw * ci),
        rng.normal(size=co),
    )
    expected = numpy_conv(image, kernel, bias, stride)
    np.testing.assert_allclose(kernels.conv(image, kernel, bias, stride), expected, **CLOSE)
    np.testing.assert_allclose(kernels.conv(image, kernel, bias, stride, relu=1), np.maximum(expected, 0), **CLOSE)
    np.testing.assert_allclose(kernels.conv(image, kernel, 0, stride), expected - bias, **CLOSE)


@pytest.mark.parametrize("ci, co, kh, kw", [(3, 16, 3, 3), (12, 1, 3, 3), (8, 5, 1, 3)])
def test_gradient_of_a_convolution_is_one_with_the_kernel_turned(kernels, rng, ci, co, kh, kw):
    """Against the definition: sum over all places of the gradient behind times the weight with which a number of the image met it."""
    image, kernel, behind = (
        rng.normal(size=(7, 6, ci)),
        rng.normal(size=(kh, kw, ci, co)),
        rng.normal(size=(7 - kh + 1, 6 - kw + 1, co)),
    )
    expected = np.zeros_like(image)
    for y in range(behind.shape[0]):
        for x in range(behind.shape[1]):
            expected[y : y + kh, x : x + kw] += kernel @ behind[y, x]
    packed = kernels.room(kh * kw * co * (ci + 7 & ~7))
    kernels("pack_turned", kernel, packed, kh, kw, ci, co)
    larger = np.pad(behind, ((kh - 1,) * 2, (kw - 1,) * 2, (0, 0)))
    found = kernels.into("conv", image.shape, larger, larger.shape[1], co, packed, 0, ..., 7, 6, ci, kh, kw, 1, 0)
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution(kernels, rng, stride):
    image, weights = rng.normal(size=(9, 8, 12)), rng.normal(size=(3, 3, 12))
    expected = np.einsum("yxirs,rsi->yxi", windows(image, 3, 3, stride), weights)
    found = kernels.into("depthwise", expected.shape, image, 8, 12, weights, ..., *expected.shape[:2], 3, 3, stride)
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("k, stride", [(2, 2), (3, 2), (3, 1)])
def test_max_pooling(kernels, rng, k, stride):
    image = rng.normal(size=(9, 8, 4))
    expected = windows(image, k, k, stride).max(axis=(3, 4))
    np.testing.assert_allclose(
        kernels.into("maxpool", expected.shape, image, 8, 4, ..., *expected.shape[:2], k, stride), expected, **CLOSE
    )


def test_gradient_of_max_pooling_goes_to_the_first_of_the_largest(kernels, rng):
    image, behind = (
        rng.integers(0, 3, (7, 6, 4)).astype(float),
        rng.normal(size=(3, 3, 4)),
    )  # many are equal; the last row is in no window
    expected = np.zeros_like(image)
    for y, x, c in np.ndindex(behind.shape):
        r, s = np.unravel_index(image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c].argmax(), (2, 2))
        expected[2 * y + r, 2 * x + s, c] = behind[y, x, c]
    np.testing.assert_allclose(
        kernels.into("maxpool_gradient", image.shape, image, behind, ..., 7, 6, 4), expected, **CLOSE
    )


def test_what_works_number_by_number(kernels, rng):
    image, other, factor, shift = (
        rng.normal(size=(5, 3, 8)),
        rng.normal(size=(5, 3, 8)),
        rng.normal(size=8),
        rng.normal(size=8),
    )
    np.testing.assert_allclose(
        kernels.into("affine", image.shape, image, factor, shift, ..., 15, 8, 0), image * factor + shift, **CLOSE
    )
    np.testing.assert_allclose(
        kernels.into("affine", image.shape, image, factor, shift, ..., 15, 8, 1),
        np.maximum(image * factor + shift, 0),
        **CLOSE,
    )
    np.testing.assert_allclose(kernels.into("add", image.shape, image, other, ..., image.size), image + other, **CLOSE)
    np.testing.assert_allclose(kernels.into("mean", (8,), image, ..., 15, 8), image.mean(axis=(0, 1)), **CLOSE)
    np.testing.assert_allclose(
        kernels.into("pad", (8, 6, 8), image, ..., 5, 3, 8, 2, 1, 8, 6, -1.5),
        np.pad(image, ((2, 1), (1, 2), (0, 0)), constant_values=-1.5),
        **CLOSE,
    )
    place = kernels.put(other)
    kernels("relu_gradient", np.maximum(image, 0), place, image.size)
    np.testing.assert_allclose(
        kernels.view(place, image.size).reshape(image.shape), np.where(image > 0, other, 0), **CLOSE
    )


# --- the compiled file ---------------------------------------------------------------------------------------------------


def test_the_compiled_file_is_that_of_its_source():
    assert (live.SOURCES / "nn.sha256").read_text() == live.digests(), (
        "live/nn.c or its flags have changed: run make live"
    )


def test_compiling_anew_gives_the_same_bytes(tmp_path):
    """Where the compiler is at hand: in this environment, or in the Python that ZIG names, as in CI."""
    python = os.environ.get("ZIG") or (importlib.util.find_spec("ziglang") and sys.executable)
    if not python:
        pytest.skip("ZIG names no Python that has live/requirements.txt")
    command = [python, "-m", "ziglang", "cc", "@nn.flags", "-o", tmp_path / "nn.wasm", "nn.c"]
    subprocess.run(
        command,
        cwd=live.SOURCES,
        check=True,
        env=os.environ
        | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "cache"), "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert (tmp_path / "nn.wasm").read_bytes() == (live.SOURCES / "nn.wasm").read_bytes()


def test_the_source_is_short_enough_to_be_read():
    assert len((live.SOURCES / "nn.c").read_text().splitlines()) <= 200


# --- exports -------------------------------------------------------------------------------------------------------------


def small_weights(rng, channels=(8, 8, 8, 8), size=150):
    """Weights of a small network of few channels, random."""
    weights, inside = [], 3
    for width in channels:
        weights += [rng.normal(size=(3, 3, inside, width)), rng.normal(size=width)]
        inside, size = width, (size - 2) // 2
    return [
        np.float32(w)
        for w in (
            *weights,
            rng.normal(size=(size * size * inside, 16)),
            rng.normal(size=16),
            rng.normal(size=(16, 1)),
            rng.normal(size=1),
        )
    ]


def test_weights_come_back_from_a_pack_as_they_were_rounded(rng):
    pack = live.packed(live.small_cnn(small_weights(rng), 150))
    content = gzip.decompress(base64.b64decode(pack["bytes"]))
    network = live.small_cnn(small_weights(np.random.default_rng(0)), 150)
    assert json.loads(json.dumps(pack)) == pack
    for (array, kind), (shape, said, first, count, *scales) in zip(network["tensors"], pack["tensors"]):
        assert said == kind and tuple(shape) == array.shape and first % 4 == 0 and count == array.size
        if kind == "i8":
            steps = np.frombuffer(content, "<f4", shape[-1], scales[0])
            back = np.frombuffer(content, np.int8, count, first).reshape(shape) * steps
            assert np.abs(back - array).max() <= steps.max() / 2 * 1.001
        else:
            np.testing.assert_allclose(
                np.frombuffer(content, {"f16": "<f2", "f32": "<f4"}[kind], count, first).reshape(shape),
                array,
                rtol=1e-3,
            )
    assert [kind for _, kind in network["tensors"]].count("i8") == 1  # the wide dense layer


@pytest.fixture
def edition(monkeypatch, tmp_path):
    """An empty folder in the place of ``edition/``."""
    monkeypatch.setattr(cast, "EDITION", tmp_path)
    monkeypatch.setattr(live, "COLLECTED", tmp_path / "live.npz")
    for function in (cast.answers, cast.six):
        function.cache_clear()
    yield tmp_path
    for function in (cast.answers, cast.six):
        function.cache_clear()


def test_an_edition_without_outcomes_has_no_networks_and_no_answers(edition):
    data = live.data_for("edition")
    assert set(data) == {"photos", "layers"} and len(data["photos"]) == 6


def test_what_an_edition_has_is_exported(edition, tmp_path, rng):
    outcomes.save(
        tmp_path / "outcomes" / "small_cnn-seed0.npz",
        {"weights": outcomes.pack_weights(small_weights(rng))},
        {"key": "", "data": {"image_size": 150}},
    )
    outcomes.save(
        tmp_path / "outcomes" / "residual-seed0.npz", {"history": []}, {"key": "", "data": {"image_size": 180}}
    )  # its weights were not kept
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "training-seed0.csv").write_text(
        "experiment,photo,label,probability\na,train/cat.7.jpg,0,0.25\na,train/dog.2.jpg,1,0.75\n"
    )
    file = np.frombuffer(b"\xff\xd8photo", np.uint8)
    photos = [{"name": name, "label": int(name.startswith("dog")), "file": file} for name in ("cat.7", "dog.2")]
    vgg = [w for ci, co in ((3, 8), (8, 8), (8, 8), (8, 8), (8, 8)) for w in (np.zeros((3, 3, ci, co)), np.zeros(co))]
    outcomes.save(
        tmp_path / "live.npz", {"six": photos, "hard": photos, "vgg19": outcomes.pack_weights(vgg)}, {"key": ""}
    )
    data = live.data_for("edition")
    assert set(data) == {"photos", "layers", "small_cnn", "answers", "vgg19", "hard"}
    assert data["answers"]["photos"] == ["cat.7", "dog.2"] and data["answers"]["labels"] == "01"
    assert data["hard"]["scores"] == [{"name": "a", "right": 2.0, "seeds": 1}]
    assert (
        data["photos"][0]["alt"] == "cat.7, a photo of a cat" and "cat" not in data["hard"]["photos"][0]["alt"]
    )  # it must not tell
    assert len(live.data_for("test")["photos"]) == 6 and "vgg19" not in live.data_for("test")


def test_the_hardest_photos_that_some_network_gets_right():
    labels = np.array([0] * 6 + [1] * 6)
    weak, strong = np.full(12, 0.5), labels * 0.8 + 0.1
    weak[[0, 1, 6]], weak[[2, 3, 4, 5]], weak[[7, 8, 9, 10, 11]] = [0.9, 0.8, 0.2], 0.1, 0.9
    strong[1], strong[11] = 0.9, 0.2  # nobody gets photo 1 right
    runs = [("weak", 0, weak), ("weak", 1, weak), ("strong", 0, strong), ("strong", 1, strong)]
    assert live.hard_photos(labels, runs, count=4) == [0, 2, 6, 11]
    assert live.scores([0, 2, 6, 11], labels, runs) == [
        {"name": "weak", "right": 2.0, "seeds": 2},
        {"name": "strong", "right": 3.0, "seeds": 2},
    ]


def test_files_have_their_content_in_their_names(tmp_path):
    files = live.write(tmp_path, live.data_for("test"))
    assert set(live.NEEDS) <= set(files) and sorted(p.name for p in (tmp_path / "live").iterdir()) == sorted(
        files.values()
    )
    for name in files.values():
        assert hashlib.sha256((tmp_path / "live" / name).read_bytes()).hexdigest().startswith(name.split(".")[1])
    again = live.write(tmp_path / "other", live.data_for("test") | {"layers": []})
    assert again["layers"] != files["layers"] and again["page"] != files["page"] and again["engine"] == files["engine"]


def test_the_engine_is_small_and_a_page_loads_little(tmp_path, rng):
    """At most 40 KB for the engine and the script of the page; with a figure's own script and the style a little more."""
    files = live.write(tmp_path, {})
    size = {name: (tmp_path / "live" / file).stat().st_size for name, file in files.items()}
    assert size["engine"] + size["page"] <= 40_000
    assert size["style"] + max(size[name] for name in live.NEEDS) <= 25_000
    full = live.packed(live.small_cnn(small_weights(rng, (32, 64, 128, 128)), 150))
    assert len(json.dumps(full)) < 5.1e6  # 0.5 MB less would not pay: convolutions keep 16 bits


def test_a_wrong_command_is_told():
    with pytest.raises(BookError, match="Usage"):
        live.main(["all"])


# --- the directive ---------------------------------------------------------------------------------------------------------


def build(folder, text, *settings):
    """Build one page with the directive; ``settings``: more lines of ``conf.py``. Returns its HTML and what Sphinx had to say."""
    (folder / "index.md").write_text(text, encoding="utf-8")
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(PROJECT / 'src')!r})",
        "extensions = ['myst_parser', 'live_directive']",
        "live_profile = 'test'",
        "numfig = True",
    ]
    (folder / "conf.py").write_text("\n".join([*lines, *settings]))
    (folder / "still.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-E", "-n", folder, folder / "out"], capture_output=True, text=True
    )
    return (folder / "out" / "index.html").read_text(encoding="utf-8"), done.stderr


PAGE = """# A page

See {numref}`fig-one`.

```{live} kernel
:name: fig-one

![A still picture](still.svg)

Its *caption*.
```

```{live} try
:networks: no_such_network

![Another one](still.svg)

A caption.
```
"""


def test_the_directive_makes_a_figure_with_its_still_picture_behind_it(tmp_path):
    from bs4 import BeautifulSoup

    html, said = build(tmp_path, PAGE)
    assert not said
    soup = BeautifulSoup(html, "html.parser")
    first, second = soup.select("figure.live")
    assert (
        first["data-live"] == "kernel"
        and first["id"] == "fig-one"
        and first.select_one(".live-still img")["alt"] == "A still picture"
    )
    assert (
        "Its caption." in first.figcaption.get_text() and soup.select_one("a[href='#fig-one']").get_text() == "Fig. 1"
    )
    scripts = [script["src"] for script in soup.select("script[src*='live/']")]
    assert len(scripts) == 1 and (tmp_path / "out" / scripts[0]).exists()
    assert not second.has_attr("data-live") and second.select_one(
        "img"
    )  # its network is not there: the still picture stays


def test_a_slip_in_the_directive_is_told(tmp_path):
    slips = "```{live} nothing\n![a](still.svg)\n\nb\n```\n\n```{live} kernel\nOnly words.\n```\n"
    said = build(tmp_path, f"# A page\n\n{slips}")[1]
    assert "no live figure nothing" in said and "has a still picture" in said
