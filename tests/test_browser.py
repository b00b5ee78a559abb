"""The built pages in a real headless Chromium: no error, no request to another host, math typeset, fit for a phone."""

import http.server
import os
import shutil
from functools import partial
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import chapters
from conftest import serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no name is looked up, whatever a page asks
]  # fmt: skip
WIDTHS = {"laptop": (1280, 900), "phone": (360, 780), "tablet": (768, 1024), "desktop": (1600, 900)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site(book):
    """Address of a server of the built pages."""
    with serving(partial(Quiet, directory=book.html)) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = "there is no Chromium on the PATH (Debian: apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


class Visit:
    """One page, opened and listened to."""

    def __init__(self, browser, size="laptop", scheme="light"):
        width, height = WIDTHS[size]
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.faults, self.elsewhere = [], []
        self.page.on("console", lambda m: self.faults.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("requestfailed", lambda r: self.faults.append(f"failed: {r.url} {r.failure}"))
        self.page.on("response", lambda r: self.faults.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        self.page.on("request", self.note)

    def note(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about", "file") and parts.hostname != "127.0.0.1":
            self.elsewhere.append(request.url)

    def open(self, url):
        self.faults.clear()
        self.elsewhere.clear()
        self.page.goto(url, wait_until="load")
        if self.page.locator(".math").count():
            self.page.wait_for_selector("mjx-container", state="attached", timeout=20_000)
            self.page.evaluate("() => MathJax.startup.promise")
        return self

    def complaints(self):
        found = self.faults + [f"another host: {url}" for url in self.elsewhere]
        found += [f"not typeset: {text}" for text in self.page.locator("mjx-merror, merror").all_inner_texts()]
        bare = "() => [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).map(e => e.textContent)"
        found += [f"not typeset: {text}" for text in self.page.evaluate(bare)]
        broken = """async () => {
            const images = [...document.querySelectorAll('article img')];
            for (const i of images) i.loading = 'eager';
            await Promise.all(images.map(i => i.decode().catch(() => null)));
            return images.filter(i => !i.naturalWidth).map(i => i.src);
        }"""
        found += [f"image not shown: {source}" for source in self.page.evaluate(broken)]
        return found


def serious(page, context=None):
    """What axe calls serious or critical in an open page: Deque's rules for readers with a screen reader, a keyboard or weak eyes."""
    return [f"{v['id']} ({v['impact']}), {len(v['nodes'])} times, first: {v['nodes'][0]['html'][:150]}"
            for v in Axe().run(page, context).response["violations"] if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("size, scheme", [("laptop", "light"), ("phone", "dark")])
def test_every_page_opens_without_error_or_another_host_and_axe_finds_nothing_serious(book, site, chromium, size, scheme):
    visit, faults = Visit(chromium, size, scheme), []
    for name in [*book.pages(), "genindex", "search"]:
        found = visit.open(f"{site}/{name}.html").complaints()
        if size == "phone":
            width, window = visit.page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
            if width > window:
                wide = """() => [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right >
                    innerWidth + 1 && !e.closest('pre, table, .math, mjx-container')).slice(0, 3).map(e => e.outerHTML.slice(0, 90))"""
                found.append(f"{width} px wide on a screen of {window} px: {visit.page.evaluate(wide)}")
        if name != "genindex" and (size == "laptop" or "solutions" not in name):  # solutions are made of the same parts
            without_code = {"exclude": [["div.highlight"]]}  # takes long, and one page's code will do
            found += serious(visit.page, None if name.endswith("/training") else without_code)
        faults += [f"{name}: {fault}" for fault in found]
    visit.context.close()
    assert not faults, "\n".join(faults[:40])


@pytest.mark.parametrize("size", ["tablet", "desktop"])
def test_no_page_moves_sideways(book, site, chromium, size):
    visit, wide = Visit(chromium, size), []
    for name in book.pages():
        width, window = visit.open(f"{site}/{name}.html").page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        wide += [(name, width)] if width > window else []
    visit.context.close()
    assert not wide


def test_the_books_own_fonts_are_used(site, chromium):
    visit = Visit(chromium).open(f"{site}/chapters/training.html")
    loaded = visit.page.evaluate("async () => { await document.fonts.ready; return [...document.fonts].filter(f => f.status === 'loaded').map(f => f.family.replaceAll('\"', '')); }")
    assert {"Source Serif 4", "Source Sans 3", "Source Code Pro"} <= set(loaded)
    visit.context.close()


def test_contents_of_the_page_and_notes_in_the_margin_do_not_cover_each_other(book, site, chromium):
    """Wherever one scrolls: where a note stands beside the text the contents fold, and unfold for the keyboard."""
    visit, names = Visit(chromium), [name for name in book.pages() if "margin sidebar" in (book.html / f"{name}.html").read_text(encoding="utf-8")]
    assert names
    look = """() => {
        const contents = document.querySelector('.bd-sidebar-secondary'), shown = contents.getBoundingClientRect(), lists = contents.querySelector('nav');
        const folded = getComputedStyle(lists).opacity < 0.05, bottom = folded ? shown.top + 48 : shown.bottom;
        return [...document.querySelectorAll('article aside.margin')].filter(note => {
            const box = note.getBoundingClientRect(); return box.bottom > 60 && box.top > 60 && box.top < bottom && box.right > shown.left && box.left < shown.right;
        }).length;
    }"""
    for name in names:
        page = visit.open(f"{site}/{name}.html").page
        for note in page.locator("article aside.margin").all():
            for above in (80, 200, 400):
                note.evaluate("(note, above) => scrollTo({top: note.getBoundingClientRect().top + scrollY - above, behavior: 'instant'})", above)
                page.wait_for_timeout(700)  # they fold softly
                assert page.evaluate(look) == 0, (name, above)
    link = page.locator(".bd-sidebar-secondary nav a").first
    link.focus()
    page.wait_for_timeout(700)
    assert page.locator(".bd-sidebar-secondary nav").evaluate("nav => getComputedStyle(nav).opacity") == "1"
    visit.context.close()


def test_a_prediction_is_kept_shown_beside_the_result_listed_and_forgotten(site, chromium):
    visit = Visit(chromium)
    page = visit.open(f"{site}/chapters/training.html").page
    card = page.locator("[data-predict]").first
    name, place = card.get_attribute("id").removeprefix("predict-"), page.locator("[data-predicted]").first
    assert place.is_hidden() and card.get_by_role("button").inner_text() == "Keep my guess"
    card.get_by_role("button").press("Enter")
    assert card.get_by_role("status").inner_text() == "Type a number first." and page.evaluate("document.activeElement.type") == "number"
    page.keyboard.type("68")
    assert card.get_by_role("slider").input_value() == "68"
    page.keyboard.press("Enter")
    assert "68\u00a0% is kept, in this browser only" in card.get_by_role("status").inner_text()
    assert place.inner_text().startswith("You said 68\u00a0%. It is ")
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('predictions'))") == ["cats-and-dogs-book.predictions"]
    assert not serious(page)

    page.reload()
    assert page.locator(f"#predict-{name} input[type=number]").input_value() == "68" and place.is_visible()
    visit.open(f"{site}/predictions.html")
    row = page.locator(f"tr:has(a[href$='predict-{name}'])")
    assert row.locator("td").nth(1).inner_text() == "68\u00a0%" and "–" not in row.locator("td").all_inner_texts()
    assert not serious(page)
    page.get_by_role("button", name="Forget all of them").press("Enter")
    assert page.locator("[data-predictions] output").inner_text() == "Forgotten. No answer is kept." and row.locator("td").nth(1).inner_text() == "–"
    visit.open(f"{site}/chapters/training.html")
    assert place.is_hidden() and page.locator(f"#predict-{name} input[type=number]").input_value() == ""
    assert not visit.faults and not visit.elsewhere
    visit.context.close()


def test_a_prediction_by_finger(site, chromium):
    context = chromium.new_context(viewport={"width": 360, "height": 780}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{site}/chapters/training.html")
    card = page.locator("[data-predict]").first
    for control in card.locator("input, button").all():
        assert control.bounding_box()["height"] >= 24  # WCAG 2.2, target size
    slider = card.get_by_role("slider")
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    assert 90 <= float(card.locator("input[type=number]").input_value()) <= 100
    card.get_by_role("button").tap()
    assert "is kept" in card.get_by_role("status").inner_text()
    context.close()


def test_without_a_script_predictions_are_questions_and_checks_can_be_answered(site, chromium):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/chapters/training.html")
    assert page.locator("[data-predict] :is(input, button)").count() == 0 and page.locator("[data-predict]").first.inner_text().endswith("?")
    assert page.locator("[data-predicted]").first.is_hidden()
    right = page.locator(".book-check details.book-yes").first
    assert not right.locator("p").first.is_visible()
    right.locator("summary").press("Enter")
    assert right.locator("p").first.is_visible() and right.locator("p").first.inner_text().startswith("Right.")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_answered_check_and_all_that_unfolds_can_be_read_by_everyone(site, chromium, scheme):
    visit = Visit(chromium, scheme=scheme).open(f"{site}/chapters/training.html")
    visit.page.evaluate("() => { for (const details of document.querySelectorAll('article details')) details.open = true; }")
    assert not serious(visit.page)
    visit.context.close()


def test_math_is_typeset(site, chromium):
    visit = Visit(chromium).open(f"{site}/chapters/training.html")
    assert visit.page.locator("mjx-container").count() >= 3
    box = visit.page.locator("mjx-container[display='true']").first.bounding_box()
    assert box["height"] > 15 and box["width"] > 40
    visit.context.close()


def test_a_page_opens_from_the_disk(book, chromium):
    visit = Visit(chromium).open((book.html / "chapters" / "training.html").as_uri())
    found = visit.complaints()
    assert visit.page.locator("mjx-container").count() >= 3
    visit.context.close()
    assert not found, "\n".join(found)


def test_slides_turn_by_keyboard_offline(book, site, chromium):
    decks = sorted(book.html.glob("chapters/*.slides.html"))
    taught = [c for c in chapters.chapters() if not c.endswith("_solutions") and c != "edition"]
    assert [deck.name.split(".")[0] for deck in decks] == sorted(taught)
    for deck in decks:
        visit = Visit(chromium).open(f"{site}/chapters/{deck.name}")  # a new one: fonts on their way fail when a page is left
        page = visit.page
        assert page.locator("section.present h1").inner_text() and not visit.faults and not visit.elsewhere, (deck, visit.faults)
        assert page.evaluate("Reveal.getTotalSlides()") >= 4, deck
        page.keyboard.press("ArrowRight")
        assert page.locator("section.present h2").inner_text().startswith("In this chapter"), deck
        assert page.evaluate("Reveal.getState().indexh") == 1, deck
        page.keyboard.press("End")
        assert page.locator("section.present h2").inner_text() == "What to take away", deck
        high = page.evaluate("Math.max(...[...document.querySelectorAll('.slides > section')].map(s => s.scrollHeight))")
        assert high <= 720, (deck, high)
        assert not serious(page), deck
        visit.context.close()
        phone = Visit(chromium, "phone").open(f"{site}/chapters/{deck.name}")  # one column of slides
        assert not serious(phone.page), deck
        phone.context.close()


def test_following_a_link_leads_to_the_next_page(site, chromium):
    visit = Visit(chromium).open(f"{site}/index.html")
    visit.page.locator("a.right-next").click()
    visit.page.wait_for_url("**/chapters/*.html")
    assert visit.page.locator("article h1").count() == 1 and not visit.faults
    visit.context.close()


def test_search_finds_a_chapter_offline(site, chromium):
    visit = Visit(chromium).open(f"{site}/search.html?q=overfitting")
    visit.page.wait_for_selector("#search-results li a", timeout=20_000)
    links = visit.page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
    assert any("chapters/training.html" in link for link in links)
    assert not visit.faults and not visit.elsewhere
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_stay_legible(site, chromium, scheme):
    """A figure has no ground of its own; on a dark page what is drawn is turned round, and photos are not."""
    visit = Visit(chromium, scheme=scheme).open(f"{site}/chapters/film.html")
    dark = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark.strip("rgba()").split(",")[:3])) < 200) == (scheme == "dark")
    look = """async (end) => {
        const image = document.querySelector(`article figure img[src$="${end}"]`); image.loading = 'eager'; await image.decode();
        const canvas = document.createElement('canvas'); canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
        const style = getComputedStyle(image); return [pen.getImageData(2, 2, 1, 1).data[3], style.backgroundColor, style.filter];
    }"""
    *ground, turned = visit.page.evaluate(look, ".png")
    assert ground == [0, "rgba(0, 0, 0, 0)"] and turned.startswith("invert" if scheme == "dark" else "none")
    visit.open(f"{site}/chapters/filters.html")
    assert visit.page.evaluate(look, ".svg")[1:] == ["rgba(0, 0, 0, 0)", "none"]
    visit.context.close()


def test_the_film_plays_by_keyboard_and_shows_three_frames_without_scripts(site, chromium):
    visit = Visit(chromium).open(f"{site}/chapters/film.html")
    shown, page = visit.page.locator(".film .frame:visible"), visit.page
    assert shown.count() == 1 and page.locator(".film output").inner_text() == "before training"
    page.locator(".film button.on").press("Enter")
    assert shown.count() == 1 and page.locator(".film output").inner_text().startswith("epoch 1,")
    page.locator(".film input").press("ArrowRight")
    assert page.locator(".film output").inner_text().startswith("epoch 2,")
    page.locator(".film button.play").click()
    page.wait_for_function("document.querySelector('.film output').textContent === 'before training'")  # it goes round
    assert not visit.faults
    visit.context.close()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/chapters/film.html")
    assert page.locator(".film .frame:visible").count() == 3 and page.locator(".film-controls").count() == 0
    context.close()
