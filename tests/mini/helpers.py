"""What the chapters of the small book share."""

import matplotlib.pyplot as plt

from experiments import load_outcomes, load_records, needs, results_folder, run, save_records, save_result  # noqa: F401
from paths import decides_nothing

BLUE = "#0072B2"


@decides_nothing
def setup(seed=0):
    use_book_style()


def slope(factor):
    return half(2 * factor)


def half(x):
    return x / 2


def offset():
    return 3.0


def use_book_style():
    plt.rcParams.update({"font.size": 11})


@decides_nothing
def progress(text):
    print(text)
