"""The face of the book: three fonts and their licence, colours that can be read, and one truth about them in style sheets and figures."""

import re

import pytest

import figures
from conftest import PROJECT

STATIC = PROJECT / "book" / "_static"
LOOK = (STATIC / "look.css").read_text(encoding="utf-8")
PAIRS = [  # what stands on what, and the least contrast that WCAG 2.2 asks for: 4.5 of text
    (word, ground, 4.5) for word in ("ink", "quiet", "accent", "plum", "cat", "dog") for ground in ("paper", "card", "code")
]  # fmt: skip


def colours(theme):
    """The colours of a theme from look.css, ``{name: "#rrggbb"}``."""
    block = re.search(rf'html\[data-theme="{theme}"\] \{{(.*?)\}}', LOOK, re.S)[1]
    return dict(re.findall(r"--book-(\w+): (#[0-9a-f]{6});", block))


def channels(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(one, other):
    """Contrast of two colours, 1 to 21 (WCAG 2.2)."""

    def luminance(colour):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def turned(colour):
    """What ``invert(0.92) hue-rotate(180deg) brightness(1.1)`` makes of a colour (the filter of book.css for drawn figures on dark pages)."""
    inverted = [0.92 - 0.84 * c for c in channels(colour)]
    grey = 0.213 * inverted[0] + 0.715 * inverted[1] + 0.072 * inverted[2]
    rotated = [min(max(2 * grey - c, 0), 1) for c in inverted]  # hue-rotate(180deg) mirrors a colour at its grey
    return [min(1.1 * c, 1) for c in rotated]


def test_the_fonts_are_small_complete_and_licensed():
    fonts = sorted((STATIC / "fonts").glob("*.woff2")) + sorted((STATIC / "fonts").glob("*.ttf"))
    assert sum(path.stat().st_size for path in fonts) <= 250 * 1024
    assert set(re.findall(r'url\("fonts/([^"]+)"\)', LOOK)) == {path.name for path in fonts if path.suffix == ".woff2"}
    licence = (STATIC / "fonts" / "OFL.txt").read_text(encoding="utf-8")
    for family in ("Source Serif 4", "Source Sans 3", "Source Code Pro"):
        assert f'font-family: "{family}"' in LOOK and family in licence


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("word", "ground", "least"), PAIRS)
def test_words_can_be_read_in_both_themes(theme, word, ground, least):
    palette = colours(theme)
    assert contrast(palette[word], palette[ground]) >= least


def test_figures_and_pages_have_the_same_colours():
    light = colours("light")
    assert (light["cat"], light["dog"], light["ink"]) == (figures.CAT, figures.DOG, figures.INK)
    for drawn in (figures.CAT, figures.DOG, figures.GREEN, figures.PURPLE):
        assert contrast(drawn, light["paper"]) >= 4.5, "names of curves have their colours"


@pytest.mark.parametrize("name", ["cat", "dog", "accent", "plum"])
def test_a_colour_on_a_dark_page_is_what_a_dark_page_makes_of_it_in_a_figure(name):
    assert channels(colours("dark")[name]) == pytest.approx(turned(colours("light")[name]), abs=0.012)


def test_blue_and_orange_are_for_cats_and_dogs_alone():
    """No other rule of the style sheets names one of the two colours, and figures draw everything else in others."""
    for sheet in ("look.css", "book.css", "slides.css"):
        for selector in re.findall(r"([^{}]+)\{[^{}]*var\(--book-(?:cat|dog)\)[^{}]*\}", (STATIC / sheet).read_text(encoding="utf-8")):
            assert re.search(r"\.book-(cat|dog|bar)\b", selector), (sheet, selector)
