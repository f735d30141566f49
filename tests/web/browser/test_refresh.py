"""What somebody does on a page while it stays fresh: opened, typed, focused and scrolled things stay so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aar.forum.authors import Author
from aar.forum.posts import create_post

from ..conftest import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = "/campaigns/k3v9qd"


def post(site: Site, title: str) -> None:
    with site.db.writing() as session:
        create_post(session, "k3v9qd", Author("r2", "k3v9qd-r2"), kind="insight", title=title, body="b")


def test_what_somebody_does_on_a_page_outlives_its_refreshes(
    site: Site, address: str, browser: Browser, log_in: Callable[..., None]
) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 500})
    log_in(page, f"{CAMPAIGN}/researchers/r2")
    page.wait_for_selector('.live[data-on="yes"]')
    page.fill("#steer textarea", "Half a thought")
    details = page.locator("#transcript details:not([open])").first
    was_closed = details.evaluate("each => each.closest('article').id")
    details.locator("summary").click()
    opened = page.locator("#transcript details[open]").count()
    page.evaluate("() => { window.scrollTo(0, 300); document.querySelector('#now a').focus({preventScroll: true}); }")
    kept = page.evaluate("() => { window.focused = document.activeElement; return window.scrollY; }")
    post(site, "It goes on")
    page.wait_for_selector("#now >> text=It goes on")
    assert page.locator("#transcript details[open]").count() == opened
    assert page.locator(f"#{was_closed} details[open]").count() >= 1
    assert page.input_value("#steer textarea") == "Half a thought"
    assert page.evaluate("() => window.focused === document.activeElement")
    assert page.evaluate("() => window.scrollY") == kept
    page.close()
