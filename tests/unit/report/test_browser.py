"""The page in a real browser: hostile text stays text, nothing runs, nothing is fetched, and it fits small screens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.report_stories import HOSTILE
from vecferry.report import write_html
from vecferry.report.text import shown
from vecferry.testing.skips import reason, skip

try:
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    skip("browser")

CHROMIUM = os.environ.get("VECFERRY_TEST_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=reason("browser"))


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A browser of our own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens a report; what the page asked for, said and raised is in `page.heard`."""
    pages = []

    def open_(report, **options):
        path = write_html(report, tmp_path / "report.html")
        page = browser.new_page(**options)
        page.heard = []
        page.on("request", lambda request: page.heard.append(request.url))
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("dialog", lambda dialog: page.heard.append(dialog.message))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.goto(path.as_uri())
        assert page.heard == [path.as_uri()], "one file, no script, no complaint of the policy"
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()


def test_hostile_text_is_shown_and_does_nothing(hostile, open_page):
    page = open_page(hostile)
    assert page.title().startswith("Differences found")
    text = page.locator("body").inner_text()
    for value in HOSTILE:
        assert " ".join(shown(value).split()) in " ".join(text.split()), value
    counts = page.evaluate(
        "['script', 'img', 'plaintext', 'iframe', 'object', 'b'].map(name => document.querySelectorAll(name).length)"
    )
    assert counts == [0, 0, 0, 0, 0, 0]
    assert page.evaluate("document.querySelectorAll('style').length") == 1
    assert page.evaluate(
        "[...document.querySelectorAll('*')].every(e => [...e.attributes].every(a => !/^on/.test(a.name)))"
    )
    assert page.locator("footer").count() == 1, "the page was not cut short"


def test_the_style_sheet_is_allowed_by_the_page_s_own_policy(story, open_page):
    """A wrong hash would leave the page naked."""
    page = open_page(story)
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "6px"


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_never_scrolls_sideways(story, hostile, open_page, width):
    for report in (story, hostile):
        page = open_page(report, viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_light_and_dark_are_both_readable(story, open_page):
    """The verdict's text against its ground: a contrast of at least 4.5 (WCAG AA) in both schemes."""
    for scheme in ("light", "dark"):
        page = open_page(story, color_scheme=scheme)
        for selector in (".verdict p", ".verdict strong", "p.lead", "tbody th"):
            assert _contrast(page, selector) >= 4.5, (scheme, selector)


def _contrast(page, selector):
    colours = page.evaluate(
        """selector => {
            let element = document.querySelector(selector), ground = element;
            const colour = getComputedStyle(element).color;
            while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
            const grounds = [colour, getComputedStyle(ground).backgroundColor];
            return grounds.map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number));
        }""",
        selector,
    )
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def test_it_prints(story, open_page):
    """To a document of several pages."""
    pdf = open_page(story).pdf()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type/Page") >= 2
