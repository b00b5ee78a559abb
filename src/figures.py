"""The look of figures: colours, the book's font, and pictures that suit light and dark pages.

Two kinds of figures, told apart by their type. What is drawn (curves, bars) becomes a PNG with transparent ground and dark ink; on a dark page
``book.css`` turns its lightness round. What is made of photos becomes an SVG that holds one WebP with transparent ground; its pixels stay as
they are, and its words stand on small plates that are legible on any ground.
"""

import base64
import io
import textwrap

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import SVG
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from paths import BOOK

# Cats are blue and dogs are orange, in every figure, bar and word, and nothing else is: Okabe and Ito's blue and vermilion, darkened so that words can
# have them, too. book/_static/look.css has the same two.
CAT, DOG = "#0a5f96", "#b3500b"
# Whatever else has to be told apart: four colours that colour-blind readers tell from each other and from these two.
GREEN, PURPLE, INK, STONE = "#147a55", "#ae528b", "#22211e", "#9d978a"
BLUE, ORANGE, RED, SKY, YELLOW, BLACK = "#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#F0E442", "#000000"  # of the first edition's figures
PLATE = "#f4f1ea"

PAGE = 6.75  # inches: width of the text on a page, to which wider figures are shrunk
SMALLEST = 9  # points, of a figure's text as displayed
DOTS = 160  # per inch; src/frame.py shows a figure as many inches wide as it was drawn


def use_book_style():
    """Set the look of all figures: the book's font, readable sizes, colour-blind-safe colours, transparent ground."""
    font_manager.fontManager.addfont(BOOK / "_static" / "fonts" / "book-figures.ttf")
    plt.rcParams.update(
        {
            "font.family": ["Book Figures", "DejaVu Sans"],  # the second for signs that the first lacks
            "figure.dpi": DOTS,
            "figure.figsize": (PAGE, 3.4),
            "figure.constrained_layout.use": True,
            "font.size": 10.5,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "axes.prop_cycle": plt.cycler(linestyle=["-", ":"]) * plt.cycler(color=[GREEN, PURPLE, INK, STONE]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "axes.labelpad": 2,
            "axes.linewidth": 0.8,
            "lines.linewidth": 2,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "legend.labelspacing": 0.2,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.pad_inches": 0.03,
            **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
        }
    )
    if get_ipython():
        matplotlib.get_backend()  # sets up Jupyter's own way to show figures, which ours replaces
        get_ipython().display_formatter.formatters["image/png"].for_type(Figure, png)


def legible(figure):
    """Raise all text of a figure that would be smaller than 9 points on a page."""
    least = SMALLEST * max(1, figure.get_figwidth() / PAGE)
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), least))
    return figure


def png(figure):
    """A drawn figure as a PNG with transparent ground: bytes."""
    data = io.BytesIO()
    legible(figure).savefig(data, format="png", bbox_inches="tight")
    return data.getvalue()


def show_photos(figure, quality=75):
    """A figure made of photos, with transparent ground between them. Put it last in a cell. Words outside the photos get plates."""
    for text in legible(figure).findobj(Text):
        inside = text.axes is not None and text.get_transform() == text.axes.transData
        if text.get_text().strip() and not inside:
            text.set_bbox({"facecolor": PLATE, "edgecolor": "none", "boxstyle": "round,pad=0.15"})
    data, small = io.BytesIO(), io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    plt.close(figure)
    picture = Image.open(data)
    picture.save(small, "WEBP", quality=quality)
    size, shown = (f'width="{round(picture.width * k)}" height="{round(picture.height * k)}"' for k in (1, 96 / DOTS))
    source = f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}"
    return SVG(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" {shown}><image {size} href="{source}"/></svg>')


def show_images(images, titles=None, columns=8, size=1.3):
    """A grid of images with optional titles, to be put last in a cell.

    Args:
        images: a sequence of (height, width, 3) uint8, or float from 0 to 1.
        titles: a text per image.
        columns: images in a row. size: inches per image.
    """
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * size * (1.25 if titles else 1)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for index, (axis, image) in enumerate(zip(axes.flat, images)):
        axis.imshow(image)
        if titles:
            axis.set_title(titles[index], fontsize=SMALLEST)
    return show_photos(figure)


def plot_curves(outcomes, reference=None):
    """Accuracy and loss after each epoch, training dashed and validation solid; one colour per experiment. Curves are named at their ends.

    Args:
        outcomes: {label: outcome with ``history`` and ``best_epoch``}.
        reference: the report's test accuracy, 0–1, drawn as a grey line.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    ends = []
    for (label, result), colour in zip(outcomes.items(), colours):
        history, epochs = result["history"], np.arange(1, len(result["history"]["loss"]) + 1)
        for axis, key in zip(axes, ("accuracy", "loss")):
            axis.plot(epochs, history[key], "--", color=colour, linewidth=1.6)
            axis.plot(epochs, history[f"val_{key}"], color=colour)
            best = result["best_epoch"]
            axis.plot(best, history[f"val_{key}"][best - 1], "o", color=colour)
        if len(outcomes) == 1:
            ends += [(epochs[-1], history["accuracy"][-1], "training", colour), (epochs[-1], history["val_accuracy"][-1], "validation", colour)]
        else:
            ends.append((epochs[-1], history["val_accuracy"][-1], label, colour))
    if reference:
        axes[0].axhline(reference, color=STONE, linewidth=1)
        ends.append((axes[0].get_xlim()[1], reference, "report, test", "dimgrey"))
    for axis, name in zip(axes, ("accuracy", "loss (cross-entropy)")):
        axis.set(xlabel="epoch", title=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
    name_ends(axes[0], ends)
    if len(outcomes) > 1:
        lines = [plt.Line2D([], [], color=INK, linestyle="--", linewidth=1.6), plt.Line2D([], [], color=INK)]
        axes[1].legend(lines, ["training", "validation"], fontsize=SMALLEST, handlelength=1.6)
    return figure


def name_ends(axis, ends, size=SMALLEST + 0.5):
    """Names curves at their right ends, each in its colour, moved apart where they would touch; a legend where there is no room for that.

    Args:
        ends: ``[(x, y, name, colour)]``, x and y in the axis' units.
        size: points.
    """
    ends = sorted(ends, key=lambda end: end[1])
    names = [textwrap.fill(name, 14, break_long_words=False) for _, _, name, _ in ends]
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    line = 1.35 * size * (high - low) / (72 * axis.figure.get_figheight() * 0.72)  # of an axis that takes about so much of its figure
    early = [x < right - 0.2 * (right - left) for x, *_ in ends]  # such a curve has its name at its own end, inside the axis
    heights = [0 if own else line * (name.count("\n") + 1) for name, own in zip(names, early)]
    places = [y for _, y, _, _ in ends]
    for _ in range(200):
        for i in range(len(places) - 1):
            lacking = (heights[i] + heights[i + 1]) / 2 - (places[i + 1] - places[i])
            if lacking > 0 and heights[i] and heights[i + 1]:
                places[i], places[i + 1] = places[i] - lacking / 2, places[i + 1] + lacking / 2
        places = [min(max(place, low + height / 2), high - height / 2) for place, height in zip(places, heights)]
    if sum(heights) > high - low or max(abs(place - y) for place, (_, y, _, _) in zip(places, ends)) > 4 * line:
        axis.legend([plt.Line2D([], [], color=colour) for *_, colour in ends], [name for _, _, name, _ in ends], fontsize=SMALLEST)
        return
    words = {"fontsize": size, "va": "center", "linespacing": 0.9}
    for place, name, own, (x, _, _, colour) in zip(places, names, early, ends):
        if own:
            axis.annotate(name, (x, place), (7, 0), textcoords="offset points", color=colour, **words)
        else:
            axis.text(1.02, place, name, color=colour, transform=axis.get_yaxis_transform(), **words)
