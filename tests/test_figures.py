"""Figures suit light and dark pages: transparent ground, text of 9 points at least, the book's font."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import figures
import sanitise


@pytest.fixture(autouse=True)
def style():
    figures.use_book_style()
    yield
    plt.close("all")
    plt.rcdefaults()


def drawn(width=9, size=6):
    figure, axis = plt.subplots(figsize=(width, 3))
    axis.plot([1, 2, 3], label="a − b → c")
    axis.set_title("10 × 10", fontsize=size)
    axis.legend(fontsize=size)
    return figure


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGBA")


def test_a_drawn_figure_has_transparent_ground_and_dark_ink():
    pixels = np.asarray(opened(figures.png(drawn())))
    assert pixels[0, 0, 3] == 0 and np.mean(pixels[..., 3] == 0) > 0.8
    assert pixels[pixels[..., 3] == 255][:, :3].sum(axis=1).min() < 150  # ink


@pytest.mark.parametrize(("width", "least"), [(5, 9), (figures.PAGE, 9), (2 * figures.PAGE, 18)])
def test_text_is_legible_when_the_figure_is_shrunk_to_the_page(width, least):
    shown = [text.get_fontsize() for text in figures.legible(drawn(width)).findobj(Text) if text.get_text()]
    assert min(shown) == pytest.approx(least)


def test_the_books_font_is_used_and_has_what_figures_say(recwarn):
    figures.png(drawn())
    assert "Book Figures" in {plt.matplotlib.font_manager.get_font(p).family_name for p in [plt.matplotlib.font_manager.findfont("Book Figures")]}
    assert not [w for w in recwarn if "Glyph" in str(w.message) or "findfont" in str(w.message)]


def test_photos_keep_their_pixels_between_transparent_gaps():
    shown = figures.show_images([np.full((8, 8, 3), (200, 30, 30), np.uint8), np.full((8, 8, 3), 0.5)], ["one", "two"], columns=2)
    cleaned = sanitise.clean_svg(shown.data)
    content = re.search(r"data:image/webp;base64,([\w+/=]+)", cleaned)[1]
    pixels = np.asarray(opened(base64.b64decode(content)))
    height, width = pixels.shape[:2]
    red = pixels[int(height * 0.7), width // 4]
    assert red[3] == 255 and np.abs(red[:3].astype(int) - (200, 30, 30)).max() < 12
    assert pixels[-1, width // 2, 3] == 0
    assert not plt.get_fignums()  # or the figure would be shown twice


def test_cats_and_dogs_have_colours_of_their_own():
    first = plt.rcParams["axes.prop_cycle"].by_key()["color"][:4]
    assert figures.CAT != figures.DOG and not {figures.CAT, figures.DOG} & set(first)


HISTORY = {"accuracy": [0.5, 0.6], "val_accuracy": [0.5, 0.4], "loss": [0.7, 0.6], "val_loss": [0.7, 0.8]}


def test_plot_curves():
    figure = figures.plot_curves({"net": {"history": HISTORY, "best_epoch": 1}}, reference=0.733)
    accuracy, loss = figure.axes
    assert accuracy.lines[1].get_ydata().tolist() == [0.5, 0.4] and loss.lines[0].get_ydata().tolist() == [0.7, 0.6]
    assert accuracy.lines[2].get_xydata().tolist() == [[1, 0.5]]  # the dot on the best epoch
    assert [text.get_text() for text in accuracy.texts] == ["validation", "training", "report, test"] and accuracy.get_legend() is None


def test_curves_of_several_experiments_are_named_at_their_ends_and_names_do_not_touch():
    history = {key: np.linspace(*values, 30).tolist() for key, values in HISTORY.items()}
    figure = figures.plot_curves({name: {"history": history, "best_epoch": 1} for name in ("one", "another", "a third one, of two lines")})
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 3 and all(lower.y1 <= upper.y0 + 1 for lower, upper in zip(boxes, boxes[1:]))
    assert {text.get_color() for text in figure.axes[0].texts} == {line.get_color() for line in figure.axes[0].lines}
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["training", "validation"]


def test_a_curve_that_ends_early_has_its_name_there_and_a_crowd_has_a_legend():
    figure, axis = plt.subplots(figsize=(3, 2))
    axis.set(xlim=(0, 100), ylim=(0, 1))
    figures.name_ends(axis, [(30, 0.5, "short", "red"), (100, 0.5, "long", "green")])
    assert [getattr(text, "xy", None) for text in axis.texts] == [(30, 0.5), None]
    figures.name_ends(axis, [(100, 0.5, f"curve {i}", "red") for i in range(12)])
    assert len(axis.get_legend().get_texts()) == 12


def test_a_figure_says_how_wide_it_was_drawn():
    assert Image.open(io.BytesIO(figures.png(drawn(5)))).info["dpi"][0] == pytest.approx(figures.DOTS, abs=1)
