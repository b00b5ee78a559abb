"""The look of figures: colours, the book's font, and pictures that suit light and dark pages.

Two kinds of figures, told apart by their type. What is drawn (curves, bars) becomes a PNG with transparent ground and dark ink; on a dark page
``book.css`` turns its lightness round. What is made of photos becomes an SVG that holds one WebP with transparent ground; its pixels stay as
they are, and its words stand on small plates that are legible on any ground.
"""

import base64
import io

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

# Okabe and Ito's palette: eight colours that colour-blind readers tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
CAT, DOG = BLUE, RED  # in every figure, for nothing else where cats and dogs are shown, too
INK, PLATE = "#22211e", "#f4f1ea"

PAGE = 7.4  # inches: width of the text on a page, to which wider figures are shrunk
SMALLEST = 9  # points, of a figure's text as displayed


def use_book_style():
    """Set the look of all figures: the book's font, readable sizes, colour-blind-safe colours, transparent ground."""
    font_manager.fontManager.addfont(BOOK / "_static" / "fonts" / "book-figures.ttf")
    plt.rcParams.update(
        {
            "font.family": ["Book Figures", "DejaVu Sans"],  # the second for signs that the first lacks
            "figure.dpi": 130,
            "figure.figsize": (7.4, 3.6),
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.prop_cycle": plt.cycler(color=[GREEN, PURPLE, SKY, BLACK, ORANGE, RED, BLUE]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "axes.labelpad": 1,
            "lines.linewidth": 2,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "legend.labelspacing": 0.2,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
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
    size = f'width="{picture.width}" height="{picture.height}"'
    source = f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}"
    return SVG(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" {size}><image {size} href="{source}"/></svg>')


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
    """Accuracy and loss after each epoch, training dashed and validation solid; one colour per experiment.

    Args:
        outcomes: {label: outcome with ``history`` and ``best_epoch``}.
        reference: the report's test accuracy, 0–1, drawn as a grey line.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 3.4))
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for (label, result), colour in zip(outcomes.items(), colours):
        history, epochs = result["history"], np.arange(1, len(result["history"]["loss"]) + 1)
        for axis, key in zip(axes, ("accuracy", "loss")):
            axis.plot(epochs, history[key], "--", color=colour, alpha=0.8, label=f"{label}, training")
            axis.plot(epochs, history[f"val_{key}"], color=colour, label=f"{label}, validation")
            best = result["best_epoch"]
            axis.plot(best, history[f"val_{key}"][best - 1], "o", color=colour)
    if reference:
        axes[0].axhline(reference, color="grey", linewidth=1, label="report, test")
    for axis, name in zip(axes, ("accuracy", "loss (cross-entropy)")):
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(fontsize=SMALLEST)
    return figure
