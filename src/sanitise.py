"""What a run puts out, before it gets onto a page: what is on the lists below passes, anything else is an error.

Nothing is taken out silently. HTML is parsed and written anew by nh3, so that every browser reads it as nh3 did; if
anything was lost on that way, the error names it.
"""

import base64
import binascii
import copy
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import nh3
from PIL import Image

from paths import BookError

PREFIX = "application/papermill.record/"  # papermill's and glue's records: the prefix and an ordinary type
PICTURES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}  # by the name that Pillow has for them

# --- lists for HTML: pandas' tables, styled ones too, and what the chapters write themselves ---------------------

TAGS = set(
    "a abbr b br caption code col colgroup dd details div dl dt em figcaption figure h3 h4 h5 h6 hr i img kbd li ol p pre "
    "s small span strong style sub summary sup table tbody td tfoot th thead tr u ul var".split()
)
IMPLIED = {"colgroup", "tbody", "tr"}  # HTML has them in a table even where they are not written
ATTRIBUTES = {
    "*": {"aria-hidden", "aria-label", "class", "dir", "id", "lang", "style", "title"},
    "a": {"href"},
    "col": {"span"},
    "colgroup": {"span"},
    "details": {"open"},
    "div": {"data-label"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "style": {"scoped", "type"},
    "table": {"border"},
    "td": {"align", "colspan", "rowspan", "valign"},
    "th": {"align", "colspan", "rowspan", "scope", "valign"},
}
# Classes are a list as well: some wake a script of the page ("math" has MathJax follow \href to any address).
CLASSES = set("dataframe film frame key mathjax_ignore results tex2jax_ignore".split())
STYLER_CLASS = re.compile(r"(row|col|level)\d+|(row|col)_(heading|trim)|blank|data|index_name", re.ASCII)
STYLER_ID = re.compile(r"T_\w+", re.ASCII)  # no other: an id can hide a variable of the page's scripts
# An address has no way to hide a scheme in it: no blanks, no control characters, and a colon only behind http(s).
ADDRESS = re.compile(r"https?://[\w.-]+(:\d+)?([/?#][\w./#%=&?~+:@,;!()'*$-]*)?|(?!//)[\w./#%=&?~+-]+", re.ASCII)
EMBEDDED = re.compile(r"data:(image/\w+);base64,([A-Za-z0-9+/=\s]+)", re.ASCII)

# --- lists for CSS: no backslash, no comment, no @rule, no function but these -------------------------------------

PROPERTIES = re.compile(
    r"(background-|border-((top|right|bottom|left)-)?|text-decoration-)?color|background|border(-(top|right|bottom|left|collapse|spacing))?"
    r"|font(-(family|size|style|variant|weight))?|(max-|min-)?(height|width)|line-height|(margin|padding)(-(top|right|bottom|left))?"
    r"|opacity|overflow-wrap|text-(align|anchor|decoration|indent)|vertical-align|white-space"
    r"|clip-(path|rule)|fill(-(opacity|rule))?|image-rendering|paint-order|stop-(color|opacity)|stroke(-[a-z]+)?",
)  # fmt: skip
FUNCTION = re.compile(r"(rgba?|hsla?|linear-gradient|var)\(|url\(#[\w-]+\)", re.ASCII)  # url: only to a part of the same figure
VALUE = re.compile(r"([\w\s.,%#()+-]|'[\w\s-]*')+", re.ASCII)
RULE = re.compile(r"([^{}]*)\{([^{}]*)\}")
TABLE_SELECTOR = re.compile(r"\s*(#T_\w+|\.dataframe)[\w\s.#:>+~()-]*", re.ASCII)  # a table's rules reach that table only
FIGURE_SELECTOR = re.compile(r"\s*(\*|[.#][\w-]+)\s*", re.ASCII)

# --- lists for SVG: what matplotlib draws -------------------------------------------------------------------------

SVG, XLINK, XML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"
SHAPES = set(
    "circle clipPath defs desc ellipse g image line linearGradient marker mask path pattern polygon polyline radialGradient "
    "rect stop style svg symbol text title tspan use".split()
)
GEOMETRY = set(
    "aria-label class clipPathUnits cx cy d dx dy fx fy gradientTransform gradientUnits height id markerHeight markerUnits "
    "markerWidth offset orient pathLength patternContentUnits patternTransform patternUnits points preserveAspectRatio r refX "
    "refY role rotate rx ry spreadMethod text-anchor textLength transform type version viewBox width x x1 x2 y y1 y2".split()
)
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


class Unwanted(Exception):
    """What was found that is on no list."""


def clean(notebook, name):
    """The executed notebook with clean outputs; it is changed in place.

    Raises:
        BookError: an output holds what no page may show; chapter, cell and what was found are named.
    """
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        where = f"chapter {name}, code cell {number} ({first[:60]!r})"
        cell.outputs = [clean_output(output, where) for output in cell.outputs]
    return notebook


def clean_output(output, where):
    """A clean copy of one output. ``where`` is said in the error: chapter and cell.

    Raises:
        BookError: it holds what no page may show.
    """
    output = copy.deepcopy(output)
    if output["output_type"] in ("stream", "error"):  # text, which the pages escape
        return output
    for kind, content in output.get("data", {}).items():
        try:
            output["data"][kind] = clean_content(kind.removeprefix(PREFIX), content)
        except Unwanted as found:
            raise BookError(
                f"An output of the {where} does not belong on a page: {found} ({kind}). Pages show text, tables and images "
                "that run no script and load nothing; the lists are in src/sanitise.py."
            ) from None
    return output


def clean_content(kind, content):
    """Content of one MIME type, clean. Raises: Unwanted."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):  # as notebooks have it on the disk
        content = "".join(content)
    if not isinstance(content, str):
        raise Unwanted("no text")
    if kind == "text/plain":  # the pages escape it
        return content
    if kind == "text/html":
        return clean_html(content)
    if kind == "image/svg+xml":
        return clean_svg(content)
    if kind in PICTURES:
        if not is_picture(kind, content):
            raise Unwanted("something that is no such image")
        return content
    raise Unwanted("a type that is not on the list")


def is_picture(kind, content):
    """Is the base64 text an image of this type?"""
    try:
        with Image.open(io.BytesIO(base64.b64decode("".join(content.split()), validate=True))) as image:
            image.verify()
            return image.format == PICTURES.get(kind)
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # SyntaxError: Pillow's for a bad PNG
        return False


# --- HTML ---------------------------------------------------------------------------------------------------------


def clean_html(text):
    """HTML as nh3 writes what is on the lists. Raises: Unwanted, with the first thing that nh3 took out."""
    cleaned = rewritten(text)
    before, after = Reader.read(text), Reader.read(cleaned)
    for rules in (content for kind, content in after if kind == "style"):
        if not are_rules(rules, TABLE_SELECTOR):
            raise Unwanted(f"style rules {rules.strip()[:80]!r}")
    if before != after:
        lost = [part for part in before if part not in after]
        raise Unwanted(describe(lost, after) if lost else "tags that do not nest")
    return cleaned


def rewritten(text):
    """What nh3 leaves of a piece of HTML. Whether a ``<style>`` is in order is not looked at here."""
    return nh3.clean(
        text, tags=TAGS, attributes=ATTRIBUTES, attribute_filter=allowed, clean_content_tags={"script"},
        url_schemes={"http", "https", "data"}, link_rel=None,
    )  # fmt: skip


def allowed(tag, name, value):
    """nh3 asks for each attribute on the list: its value if that may stay, else None."""
    if name == "class":
        good = all(part in CLASSES or STYLER_CLASS.fullmatch(part) for part in value.split())
    elif name == "id":
        good = STYLER_ID.fullmatch(value)
    elif name == "style":
        good = are_declarations(value)
    elif name == "href":
        good = ADDRESS.fullmatch(value)
    elif name == "src":
        embedded = EMBEDDED.fullmatch(value)
        good = embedded and is_picture(*embedded.groups())
    elif name == "type":
        good = value == "text/css"
    else:
        good = True
    return value if good else None


class Reader(HTMLParser):
    """A piece of HTML as a list: start tags with their attributes, text without its blanks, and what else there is.

    Two pieces with equal lists say the same. Closing tags, and those of IMPLIED, are where nh3 tidies up.
    """

    @classmethod
    def read(cls, text):
        reader = cls(convert_charrefs=True)
        reader.parts, reader.inside = [], None
        reader.feed(text)
        reader.close()
        return reader.parts

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        if attributes or tag not in IMPLIED:
            self.parts.append((f"<{tag}>", sorted((name, value or "") for name, value in attributes)))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        kind, data = ("style", data) if self.inside == "style" else ("text", "".join(data.split()))
        if self.parts and self.parts[-1][0] == kind:
            data = self.parts.pop()[1] + data
        if data:
            self.parts.append((kind, data))

    def other(self, data):
        self.parts.append(("a comment or declaration", data))

    handle_comment = handle_decl = handle_pi = unknown_decl = other


def describe(lost, after):
    """Words for the first of the parts that are not in the cleaned HTML; for text only if there is nothing else."""
    kind, content = next((part for part in lost if part[0] != "text"), lost[0])
    if not kind.startswith("<"):
        return f"{kind} {content[:80]!r}"
    kept = [attributes for other, attributes in after if other == kind]
    for name, value in content:
        if kept and not any((name, value) in attributes for attributes in kept):
            return f"{kind[:-1]} {name}={value[:80]!r}>"
    return kind


# --- CSS ----------------------------------------------------------------------------------------------------------


def are_declarations(text):
    """Is this a list of properties and values as they may stand in a style attribute?"""
    pairs = [pair.partition(":") for pair in text.split(";") if pair.strip()]
    return all(PROPERTIES.fullmatch(name.strip()) and is_value(value) for name, _, value in pairs)


def is_value(text):
    text = FUNCTION.sub("(", text.replace("!important", ""))
    return bool(VALUE.fullmatch(text)) and not re.search(r"[\w-]\s*\(", text)


def are_rules(text, selector):
    """Is this a style sheet in which every rule begins with such a selector?"""
    rules, rest = RULE.findall(text), RULE.sub("", text)
    return not rest.strip() and all(
        all(map(selector.fullmatch, selectors.split(","))) and are_declarations(declarations) for selectors, declarations in rules
    )


# --- SVG ----------------------------------------------------------------------------------------------------------


def clean_svg(text):
    """SVG, written anew without comments, document type and metadata. Raises: Unwanted."""
    hidden = re.search(r"<!ENTITY|<!DOCTYPE[^>]*\[|<\?(?!xml\s)", text)
    if hidden:
        raise Unwanted(hidden.group()[:20])
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise Unwanted(f"SVG that cannot be read, {error}") from None
    if root.tag != f"{{{SVG}}}svg":
        raise Unwanted("no SVG")
    check_shape(root)
    return ET.tostring(root, encoding="unicode")


def check_shape(shape):
    space, _, name = shape.tag[1:].partition("}")
    if space != SVG or name not in SHAPES:
        raise Unwanted(f"<{name or shape.tag}>")
    for attribute, value in shape.attrib.items():
        local = attribute.rpartition("}")[2]
        if attribute in ("href", f"{{{XLINK}}}href"):
            embedded = EMBEDDED.fullmatch(value)
            good = re.fullmatch(r"#[\w-]+", value) or name == "image" and embedded and is_picture(*embedded.groups())
        elif attribute == "style":
            good = are_declarations(value)
        elif PROPERTIES.fullmatch(attribute):
            good = is_value(value)
        else:
            good = attribute in GEOMETRY or attribute == f"{{{XML}}}space"
        if not good:
            raise Unwanted(f"<{name} {local}={value[:80]!r}>")
    if name in ("style", "title", "desc"):
        if len(shape):
            raise Unwanted(f"<{name}> with elements in it")
        if name == "style" and not are_rules(shape.text or "", FIGURE_SELECTOR):
            raise Unwanted(f"style rules {(shape.text or '').strip()[:80]!r}")
    for child in list(shape):
        if child.tag == f"{{{SVG}}}metadata":  # who drew it and when, no part of the figure
            shape.remove(child)
        else:
            check_shape(child)
