"""Sphinx extension: the directive ``live``, a figure that answers the reader's hand where the page has its script, and a still picture elsewhere.

    ```{live} kernel
    :name: fig-convolution-live

    ![A window over a table of numbers](still.png)

    The caption, which holds for both.
    ```

The last paragraph is the caption, all before it the still picture. Options: ``name``, to refer to the figure; ``slide``, to have it on
a slide, too; ``networks``, names of experiments; ``network``, ``experiments`` and ``size``, what a figure shows first. What they mean to each figure stands in ``live/figures``.
"""

import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

import live


class live_figure(nodes.figure):  # noqa: N801 (as docutils' own nodes are called)
    """A figure with the attributes ``live``, its name, and ``options``, a dict; counted and referred to as figures are."""


class Live(SphinxDirective):
    required_arguments, has_content = 1, True
    option_spec = {
        "name": directives.unchanged,
        "networks": str.split,
        "network": directives.unchanged,
        "experiments": str.split,
        "size": directives.positive_int,
        "slide": directives.flag,
    }

    def run(self):
        name = self.arguments[0]
        if name not in live.NEEDS:
            raise self.error(f"There is no live figure {name}. There are: {', '.join(live.NEEDS)}.")
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        *still, caption = holder.children or [None]
        if not still or not isinstance(caption, nodes.paragraph):
            raise self.error(
                "A live figure has a still picture in it, which stays where there is no script, and then a paragraph, its caption."
            )
        options = {key: value for key, value in self.options.items() if key not in ("name", "slide")}
        if "networks" in live.NEEDS[name]:
            options.setdefault("networks", live.DEFAULT_NETWORKS[name])
        figure = live_figure(
            "",
            nodes.container("", *still, classes=["live-still"]),
            nodes.caption(caption.rawsource, "", *caption.children),
            live=name,
            options=options,
            slide="slide" in self.options,
        )
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


def missing(figure, files):
    """Names of what a figure needs and these pages do not have."""
    wanted = [
        n
        for need in live.NEEDS[figure["live"]]
        for n in (figure["options"]["networks"] if need == "networks" else [need])
    ]
    return [name for name in wanted if name not in files]


def visit(translator, node):
    files, attributes = translator.builder.app.live_files, {"CLASS": "live live-slide" if node["slide"] else "live"}
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
    app.add_enumerable_node(
        live_figure,
        "figure",
        html=(visit, depart),
        latex=(as_figure("visit"), as_figure("depart")),
        text=(as_figure("visit"), as_figure("depart")),
    )
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
