"""A real browser for tests of pages: the distribution's Chromium, driven by Playwright, and axe for what keeps people out."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
try:
    from axe_playwright_python.base import AXE_FILE_PATH
    from playwright.sync_api import Browser, Page, expect, sync_playwright
except ModuleNotFoundError as missing:
    pytest.skip(f"no {missing.name}: the page is not tried in a browser", allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("no chromium (apt-get install chromium): the page is not tried in a browser", allow_module_level=True)

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-unsafe-swiftshader"]
PATIENCE = 60_000
"""Milliseconds; machines that test are busy."""


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser) -> Iterator[Page]:
    """A page of a session of its own; whatever its console complains of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def find_serious(page: Page) -> list[str]:
    """What axe finds that is serious or worse."""
    page.evaluate(AXE_FILE_PATH.read_text())
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in {"serious", "critical"}]
