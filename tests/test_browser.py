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
WIDTHS = {"laptop": (1280, 900), "phone": (390, 844)}


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
