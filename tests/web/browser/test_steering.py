"""Acting from pages: with and without JavaScript, on a phone, and with mistakes shown beside their fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aar.web.rendering import campaign_link

from ..conftest import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = campaign_link("k3v9qd")
LogIn = Callable[..., None]


def test_a_person_logs_in_steers_and_logs_out_without_javascript(site: Site, address: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}{CAMPAIGN}/researchers/r2")
    page.click("#steer >> text=Log in as the operator")
    page.fill("input[name=token]", "aar_wrong")
    page.click("main button")
    assert "Unknown token" in page.inner_text("main")
    page.fill("input[name=token]", site.operator["Authorization"].removeprefix("Bearer "))
    page.fill("input[name=name]", "ana")
    page.click("main button")
    assert page.url == f"{address}{CAMPAIGN}/researchers/r2"
    page.fill("#steer textarea", "Look at the residuals.")
    page.click("button[value=message]")
    assert "r2 reads it at" in page.inner_text("main")
    page.goto(f"{address}{CAMPAIGN}")
    page.click("text=Change limits")
    page.fill("input[name=usd]", "12")
    page.click("form[action$=limits] button")
    assert "limits of k3v9qd: usd 12" in page.inner_text("main")
    page.click("text=log out")
    assert page.url == f"{address}/login"
    page.goto(f"{address}{CAMPAIGN}/researchers/r2")
    assert page.locator("#steer form").count() == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forms_fit_a_phone(address: str, browser: Browser, log_in: LogIn, scheme: str, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/login")
    page.screenshot(path=tmp_path / "login.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    log_in(page)
    for name, path in (("launch", "/launch"), ("team", CAMPAIGN), ("one", f"{CAMPAIGN}/researchers/r2")):
        page.goto(f"{address}{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    context.close()


def test_the_launch_form_shows_mistakes_beside_their_fields(address: str, browser: Browser, log_in: LogIn) -> None:
    context = browser.new_context()
    page = context.new_page()
    log_in(page)
    page.goto(f"{address}/launch?start=overnight")
    assert page.input_value("input[name='limits.usd']") == "60"
    page.select_option("select[name=problem]", "toy")
    page.fill("input[name='researchers.count']", "two")
    page.fill("input[name='limits.hours']", "-1")
    page.click("button[value=check]")
    for field, says in (("researchers.count", "valid integer"), ("limits.hours", "greater than 0")):
        assert says in page.inner_text(f"fieldset:has([name='{field}'])")
        assert page.get_attribute(f"[name='{field}']", "aria-invalid") == "true"
    page.fill("input[name='researchers.count']", "2")
    page.fill("input[name='limits.hours']", "3")
    page.click("button[value=check]")
    assert page.locator(".wrong").count() == 0
    assert "$20.00" in page.inner_text("section[aria-label=Cost]")
    context.close()
