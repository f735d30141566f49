"""What people do on the pages, once each, with a mouse and a keyboard, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = "/campaigns/k3v9qd"


def test_a_submission_is_confirmed_disqualified_and_reinstated(
    address: str, browser: Browser, log_in: Callable[..., None]
) -> None:
    where = f"{CAMPAIGN}/submissions/11"
    page = browser.new_page()
    page.goto(f"{address}{where}")
    assert page.locator("form[action$=decide]").count() == 0
    log_in(page, where)
    page.fill("input[name=reason]", "Is it that bad?")
    page.click("button[value=confirmation]")
    page.wait_for_selector("main >> text=Is it that bad?")
    page.click("button[value=disqualification]")
    page.wait_for_selector("main >> text=rule")
    page.goto(f"{address}{where}")
    page.fill("input[name=rule]", "person.leak")
    page.fill("input[name=reason]", "It reads the scorer's folder.")
    page.click("button[value=disqualification]")
    page.wait_for_selector("#result >> text=Off the board for person.leak")
    page.fill("input[name=reason]", "It does not.")
    page.click("button[value=reinstatement]")
    page.wait_for_selector("#result >> text=It does not.")
    assert "human:ana" in page.inner_text("#result")
    page.close()
