"""The browser of a module's tests, and a page of its own for each; tests that ask for them are skipped where there is none."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser import Browser, Page


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, without a window."""
    from tests.browser import start_browser

    with start_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page of a session of its own."""
    from tests.browser import open_page

    with open_page(browser) as page:
        yield page
