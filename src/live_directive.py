"""Sphinx extension: the directive ``live``, a figure that answers the reader's hand where the page has its script, and a still picture elsewhere.

    ```{live} kernel
    :figure: fig-convolution-sliding
    ```

makes a figure of the page live, one that a cell has drawn, say: its picture is the still one, its caption holds for both. Or the directive
has both in it, and is a figure of its own; the last paragraph is the caption:

    ```{live} beat
    :name: fig-results-beat

    ![Twenty photos](still.png)

    Cat or dog? Twenty hard test photos.
    ```

Other options: ``slide``, to have it live on a slide, too; ``bare``: all that is in it is the still picture, and it has neither caption nor number;
``class``; ``alt``, for a still picture that is pasted and has no text of its own; and what a figure
shows first, see ``live/figures``: ``networks`` (names of experiments), ``network``, ``experiments``, ``size``.
"""

import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import live

logger = logging.getLogger(__name__)


class live_figure(nodes.figure):  # noqa: N801 (as docutils' own nodes are called)
    """A figure with the attributes ``live``, its name, and ``options``, a dict; counted and referred to as figures are."""


class Live(SphinxDirective):
    required_arguments, has_content = 1, True
    option_spec = {
        "name": directives.unchanged,
        "figure": directives.unchanged,
        "alt": directives.unchanged,
        "networks": str.split,
        "network": directives.unchanged,
        "experiments": str.split,
        "size": directives.positive_int,
        "slide": directives.flag,
        "bare": directives.flag,
        "class": directives.class_option,
    }

    def run(self):
        name = self.arguments[0]
        if name not in live.NEEDS:
            raise self.error(f"There is no live figure {name}. There are: {', '.join(live.NEEDS)}.")
        own = ("name", "figure", "alt", "slide", "bare", "class")
        options = {key: value for key, value in self.options.items() if key not in own}
        if "networks" in live.NEEDS[name]:
            options.setdefault("networks", live.DEFAULT_NETWORKS[name])
            options["titles"] = [live.TITLES.get(network, network) for network in options["networks"]]
        classes = ["live", *["live-slide"] * ("slide" in self.options), *self.options.get("class", [])]
        figure = live_figure(live=name, options=options, classes=classes, alt=self.options.get("alt", ""))
        self.set_source_info(figure)
        if "figure" in self.options:
            figure["figure"] = nodes.fully_normalize_name(self.options["figure"])
            return [figure]
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        if "bare" in self.options:
            figure += nodes.container("", *holder.children, classes=["live-still"])
            return [figure]
        *still, caption = holder.children or [None]
        pasted = any("{" in line for line in self.content)  # by a directive, which may have nothing to paste yet
        if not (still or pasted) or not isinstance(caption, nodes.paragraph):
            raise self.error(
                "A live figure has a still picture in it, which stays where there is no script, and then a paragraph, "
                "its caption. Or its option figure names a figure of the page."
            )
        figure += nodes.container("", *still, classes=["live-still"])
        figure += nodes.caption(caption.rawsource, "", *caption.children)
        self.add_name(figure)
        return [figure]


class MakeLive(SphinxTransform):
    """Put live figures in the place of the figures that they name."""

    default_priority = 500  # before Sphinx looks for names to refer to

    def apply(self):
        for figure in list(self.document.findall(live_figure)):
            if "figure" not in figure:
                continue
            figure.parent.remove(figure)
            name = figure["figure"]
            still = next((f for f in self.document.findall(nodes.figure) if name in f["names"]), None)
            if still is None:
                logger.warning("the live figure %s: this page has no figure %s", figure["live"], name, location=figure)
                continue
            words = (nodes.caption, nodes.legend)
            figure += nodes.container("", *(c for c in still if not isinstance(c, words)), classes=["live-still"])
            figure += [child for child in still if isinstance(child, words)]
            for key in ("ids", "names"):
                figure[key] = still[key]
            still.replace_self(figure)
            self.document.ids.update(dict.fromkeys(figure["ids"], figure))


def missing(figure, files):
    """Names of what a figure needs and these pages do not have."""
    wanted = [
        n
        for need in live.NEEDS[figure["live"]]
        for n in (figure["options"]["networks"] if need == "networks" else [need])
    ]
    return [name for name in wanted if name not in files]


def visit(translator, node):
    files, attributes = translator.builder.app.live_files, {}
    for image in node.findall(nodes.image) if node["alt"] else ():  # what is pasted from a cell has none of its own
        image["alt"] = node["alt"]
    if not missing(node, files):
        attributes |= {"data-live": node["live"], "data-options": json.dumps(node["options"])}
        if not getattr(translator, "has_live_script", False):  # on this page
            translator.has_live_script = True
            top = "../" * translator.builder.current_docname.count("/")
            translator.body.append(f'<script defer="defer" src="{top}live/{files["page"]}"></script>\n')
    translator.body.append(translator.starttag(node, "figure", **attributes))


def depart(translator, node):
    translator.body.append("</figure>\n")


def as_figure(name):
    """For other writers a live figure is a figure."""
    return lambda translator, node: getattr(translator, f"{name}_figure")(node)


def write(app):
    """Before any page is written: scripts and data, whose names pages and scripts hold."""
    app.live_files = (
        live.write(Path(app.outdir), live.data_for(app.config.live_profile)) if app.builder.format == "html" else {}
    )


def setup(app):
    app.add_config_value("live_profile", "edition", "env", str)
    app.add_directive("live", Live)
    app.add_transform(MakeLive)
    app.add_enumerable_node(
        live_figure,
        "figure",
        html=(visit, depart),
        latex=(as_figure("visit"), as_figure("depart")),
        text=(as_figure("visit"), as_figure("depart")),
    )
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
