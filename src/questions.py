"""Questions to the reader: predictions that the reader's browser keeps, and questions to check oneself, each answer with its reason.

Three directives for predictions and a role, and one directive for checks, in MyST:

    ```{predict} new-photos
    :result: accuracy                  a glued number of this page; of another one: chapters/results.ipynb::key
    :kind: percent                     percent (the result is a share from 0 to 1), number, or choice
    :range: 50 100                     optional: also a slider
    How many new photos in a hundred will it get right?
    ```

    ```{predict} gap
    Will the gap between the curves be wider or narrower?
    - wider
    - [x] narrower                     what was found; or :result: names a glued text that equals one of the choices
    ```

    ```{predicted} new-photos          beside the result: what the reader said, and how far off it was. As a role: {predicted}`new-photos`
    ```

    ```{predictions}                   all predictions of the book, and a button that forgets them
    ```

    ```{check}
    Which of the two would you quote to a friend?
    - [ ] The training accuracy.

      It says how well the network remembers.
    - [x] The validation accuracy.

      These photos taught it nothing.
    ```

Without a script a prediction reads as a question, and what compares stays hidden; ``_static/predict.js`` does the rest. An answer of a check is a
``<details>`` element, which needs no script. A check that cannot be answered stops the build.
"""

import ast
import json
import posixpath
import re
from html import escape

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

import pages

KINDS = ("percent", "number", "choice")
MARK = re.compile(r"\[([ xX])\]\s*")
logger = logging.getLogger(__name__)


class tagged(nodes.General, nodes.Element):
    """An HTML element around its children: ``tagged(tag="details", attributes={...})``."""


class tagged_line(nodes.Part, nodes.TextElement):
    """The same for an element that holds words, such as ``summary``."""


def start(tag, attributes):
    """The start tag of an HTML element."""
    return "<" + " ".join([tag, *(f'{name}="{escape(value)}"' for name, value in attributes.items())]) + ">"


def visit(translator, node):
    translator.body.append(start(node["tag"], node.get("attributes", {})))


def depart(translator, node):
    translator.body.append(f"</{node['tag']}>\n")


class place_of_prediction(nodes.General, nodes.Element):
    """A place that is filled in when all pages are read: ``{predicted}`` and ``{predictions}``."""


class place_in_sentence(nodes.Inline, nodes.Element):
    """The same within a sentence."""


# --- predictions -----------------------------------------------------------------------------------------------------


class Predict(SphinxDirective):
    required_arguments = 1
    has_content = True
    option_spec = {"kind": lambda word: directives.choice(word, KINDS), "result": directives.unchanged, "unit": directives.unchanged,
                   "digits": directives.nonnegative_int, "range": directives.unchanged, "title": directives.unchanged}  # fmt: skip

    def run(self):
        name, options = self.arguments[0], self.options
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise self.error(f"The name of a prediction is made of small letters, digits and hyphens, not {name!r}.")
        body = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, body)
        listed = next((child for child in body if isinstance(child, nodes.bullet_list)), None)
        kind = options.get("kind", "choice" if listed else "percent")
        entry = {"name": name, "kind": kind, "result": None}
        if kind == "choice":
            entry |= self.choices(listed)
        else:
            entry |= self.number(kind)
        book = self.env.book_predictions
        other = next((doc for doc, there in book.items() if name in there), None)
        if other:
            raise self.error(f"There are two predictions of the name {name!r}; the other one is in {other}.")
        sentences = [sentence for child in body if isinstance(child, nodes.paragraph) for sentence in re.split(r"(?<=[.?!])\s+", child.astext())]
        question = " ".join(sentence for sentence in sentences if sentence.endswith("?"))  # for the table of all predictions
        if not question:
            raise self.error(f"The prediction {name!r} asks nothing: none of its sentences ends with a question mark.")
        book.setdefault(self.env.docname, {})[name] = entry | {"question": question}
        title = f"predict-{name}-title"
        attributes = {"class": "book-card book-predict", "id": f"predict-{name}", "role": "group", "aria-labelledby": title}
        card = tagged(tag="div", attributes=attributes | {"data-predict": json.dumps(entry)})
        card += tagged_line("", options.get("title", "Predict first"), tag="p", attributes={"class": "book-card-title", "id": title})
        card.extend(body.children)
        return [card]

    def choices(self, listed):
        """What the choices say, and which of them was found. Marks are taken out of the list."""
        if listed is None or not 2 <= len(listed) <= 5:
            raise self.error("A prediction of the kind choice has a list of two to five choices.")
        marks = [take_mark(item) for item in listed]
        words = [item.astext().strip() for item in listed]
        listed["classes"].append("book-choices")
        if "result" in self.options:
            found = self.value()
            if found is not None and found not in words:
                raise self.error(f"{self.options['result']} is {found!r}, which is none of the choices: {', '.join(words)}.")
        else:
            if marks.count("x") != 1:
                raise self.error("Mark the choice that was found: - [x] narrower; or name a glued text with :result:.")
            found = words[marks.index("x")]
        return {"choices": words, "result": found, "shown": found}

    def number(self, kind):
        value = self.value()
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self.error(f"{self.options['result']} is {value!r}, not a number.")
        digits = self.options.get("digits", 1 if kind == "percent" else 0)
        unit = "%" if kind == "percent" else self.options.get("unit", "")
        entry = {"unit": unit, "digits": digits}
        if "range" in self.options:
            try:
                entry["range"] = low, high = [float(word) for word in self.options["range"].split()]
            except ValueError:
                low = high = 0
            if not low < high:
                raise self.error(f":range: holds the lowest and the highest number of a slider, such as 50 100, not {self.options['range']!r}.")
        if value is not None:
            entry["result"] = round(100 * value if kind == "percent" else value, digits)
            entry["shown"] = f"{entry['result']:,.{digits}f}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")
        return entry

    def value(self):
        """The glued value that ``:result:`` names; None if the run that the pages show has none."""
        if "result" not in self.options:
            raise self.error("Name the result with :result: key, a value that a chapter glues.")
        doc, _, key = self.options["result"].rpartition("::")
        here = self.env.docname
        place = posixpath.normpath(posixpath.join(posixpath.dirname(here), doc.rsplit(".", 1)[0])) if doc else here
        chapter = pages.chapters_by_page().get(place)
        if chapter is None:
            raise self.error(f":result: {self.options['result']} leads to {place}, which is no chapter.")
        values, profile = pages.glued(chapter, self.config.book_profile), self.config.book_profile
        if key not in values and not pages.remarks(profile):
            raise self.error(f"The chapter {chapter} glues no {key!r}.")
        try:
            return ast.literal_eval(values[key]) if key in values else None
        except (SyntaxError, ValueError) as error:
            raise self.error(f"{key} is {values[key]}, neither a number nor a text. Glue a plain one.") from error


class Predicted(SphinxDirective):
    required_arguments = 1

    def run(self):
        return [self.with_place(place_of_prediction(kind="predicted", name=self.arguments[0]))]

    def with_place(self, node):
        self.set_source_info(node)
        return node


class PredictedRole(SphinxRole):
    def run(self):
        node = place_in_sentence(kind="predicted", name=self.text)
        self.set_source_info(node)
        return [node], []


class Predictions(SphinxDirective):
    def run(self):
        return [place_of_prediction(kind="predictions")]


def forget(app, env, docname):
    env.book_predictions.pop(docname, None)


def begin(app, env, docnames):
    env.book_predictions = getattr(env, "book_predictions", {})


def fill_in(app, doctree, docname):
    """All pages are read: what compares knows the question, wherever it stands."""
    asked = {name: (doc, entry) for doc, entries in app.env.book_predictions.items() for name, entry in entries.items()}
    for node in [*doctree.findall(place_of_prediction), *doctree.findall(place_in_sentence)]:
        if node["kind"] == "predictions":
            node.replace_self(overview(app, docname))
            continue
        if node["name"] not in asked:
            if not pages.remarks(app.config.book_profile):  # in a book that is not complete the question may stand on a page that is shown as it ran
                logger.warning("There is no prediction of the name %r.", node["name"], location=node)
            node.parent.remove(node)
            continue
        entry = {key: value for key, value in asked[node["name"]][1].items() if key != "question"}
        tag = "span" if isinstance(node, place_in_sentence) else "p"
        place = start(tag, {"class": "book-predicted", "data-predicted": json.dumps(entry), "hidden": ""})
        node.replace_self(nodes.raw("", f"{place}</{tag}>", format="html"))


def overview(app, docname):
    """The table of all predictions, in the order of the book; the script fills in what the reader said."""
    book, order = app.env.book_predictions, [*pages.chapters_by_page(), *sorted(app.env.book_predictions)]
    rows, number = [], 0
    for doc in dict.fromkeys(doc for doc in order if doc in book):
        for name, entry in book[doc].items():
            number += 1
            data = escape(json.dumps({key: value for key, value in entry.items() if key != "question"}))
            link = f"{app.builder.get_relative_uri(docname, doc)}#predict-{name}"
            rows.append(
                f'<tr data-row="{data}"><th scope="row"><a href="{escape(link)}">{escape(app.env.titles[doc].astext())}</a></th>'
                f"<td>{escape(entry['question'])}</td><td>–</td><td>–</td><td>–</td></tr>"
            )
    head = "".join(f'<th scope="col">{word}</th>' for word in ("Chapter", "Question", "You said", "Found", "Off by"))
    note = '<p class="book-note">Your answers lie in this browser and nowhere else. Without JavaScript this table shows the questions only.</p>'
    controls = f'<p class="book-forget" hidden><output>0 of {number} questions answered.</output> <button type="button">Forget all of them</button></p>'
    table = f'<table class="book-predictions"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return nodes.raw("", f'<div data-predictions="">{note}{table}{controls}</div>', format="html")


# --- check yourself --------------------------------------------------------------------------------------------------


def take_mark(item):
    """Take ``[x]`` or ``[ ]`` off the beginning of an item of a list; returns "x", " ", or "" if there is none."""
    text = next(item.findall(nodes.Text), None)
    found = MARK.match(text) if text is not None else None
    if not found:
        return ""
    text.parent.replace(text, nodes.Text(text[found.end() :]))
    return found[1].lower()


class Check(SphinxDirective):
    """One question with two to four answers. An answer begins with ``[x]`` if it is right and ``[ ]`` if not; the rest of its item is the reason."""

    has_content = True
    option_spec = {"several": directives.flag}

    def run(self):
        body = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, body)
        if not body.children or not isinstance(body[0], nodes.paragraph):
            raise self.error("A question to check oneself begins with its question.")
        question, *more, answers = body.children if len(body) > 1 else [body[0], None]
        if not isinstance(answers, nodes.bullet_list) or not 2 <= len(answers) <= 4:
            raise self.error("A question to check oneself ends with a list of two to four answers.")
        marks, several = [take_mark(item) for item in answers], "several" in self.options
        if "" in marks:
            raise self.error("Each answer begins with [x] if it is right, or with [ ].")
        if several and marks.count("x") < 2 or not several and marks.count("x") != 1:
            raise self.error(f"{marks.count('x')} answers are right. One must be, or several with the option :several:.")
        name = f"check-{self.env.new_serialno('check')}"
        card = tagged(tag="div", attributes={"class": "book-card book-check", "role": "group", "aria-labelledby": name})
        card += tagged_line("", "Check yourself", tag="p", attributes={"class": "book-card-title"})
        asked = tagged_line("", "", *question.children, tag="p", attributes={"class": "book-question", "id": name})
        if several:
            asked += nodes.Text(" (Several are right.)")
        card += [asked, *more]
        for letter, mark, item in zip("ABCD", marks, answers):
            first, *reason = item.children or [None]
            if not isinstance(first, nodes.paragraph) or not "".join(part.astext() for part in reason).strip():
                raise self.error(f"Answer {letter} has no reason. Write it below the answer, as a paragraph of the same item.")
            verdict = tagged_line("", "Right.", tag="strong") if mark == "x" else tagged_line("", "No." if not several else "Not this one.", tag="strong")
            answer = tagged(tag="details", attributes={"class": "book-yes" if mark == "x" else "book-no"})
            words = tagged_line("", "", tagged_line("", letter, tag="span", attributes={"class": "book-letter"}), nodes.Text(" "), *first.children, tag="summary")
            if isinstance(reason[0], nodes.paragraph):
                reason[0].insert(0, [verdict, nodes.Text(" ")])
            else:
                reason.insert(0, nodes.paragraph("", "", verdict))
            answer += [words, *reason]
            card += answer
        return [card]


def setup(app):
    for node in (tagged, tagged_line):
        app.add_node(node, html=(visit, depart))
    for node in (place_of_prediction, place_in_sentence):
        app.add_node(node)
    app.add_directive("predict", Predict)
    app.add_directive("predicted", Predicted)
    app.add_role("predicted", PredictedRole())
    app.add_directive("predictions", Predictions)
    app.add_directive("check", Check)
    app.connect("env-before-read-docs", begin)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-resolved", fill_in)
