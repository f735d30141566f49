"""Pages in a real browser: they stay fresh by themselves, let go when nobody looks, and run nothing of an agent's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aar.events import ModelCalled
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.store.event_log import append_event

from .conftest import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = "/campaigns/k3v9qd"


def post(site: Site, title: str) -> None:
    with site.db.writing() as session:
        create_post(session, "k3v9qd", Author("r2", "k3v9qd-r2"), kind="insight", title=title, body="b")


def is_refresh(request: Any) -> bool:
    return "hx-request" in request.headers


def test_a_new_post_appears_by_itself(site: Site, address: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{address}{CAMPAIGN}")
    page.wait_for_selector('.live[data-on="yes"]')
    post(site, "Fresh from r2")
    page.wait_for_selector("#posts >> text=Fresh from r2")
    assert "Fresh from r2" in page.locator("#log").inner_text()
    page.close()


def test_many_events_make_few_requests_and_quiet_ones_none(site: Site, address: str, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.headers["aar-seen"]) if is_refresh(request) else None)
    page.goto(f"{address}{CAMPAIGN}")
    page.wait_for_selector('.live[data-on="yes"]')
    with site.db.writing() as session:
        for index in range(20):
            append_event(
                session, "k3v9qd", ModelCalled(request_id=f"quiet-{index}", model="offline-search"), "k3v9qd-r2"
            )
    page.wait_for_function("() => document.querySelectorAll('#log li').length >= 50")
    assert asked == []
    for index in range(20):
        post(site, f"One of many, {index}")
    page.wait_for_selector("#posts >> text=One of many, 19")
    assert page.locator("#log li").count() == 60
    assert 1 <= len(asked) <= 8
    assert asked == sorted(set(asked), key=int)
    page.close()


def test_a_page_that_nobody_looks_at_lets_go_and_catches_up(site: Site, address: str, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}{CAMPAIGN}")
    page.wait_for_selector('.live[data-on="yes"]')
    look = "(hidden) => { Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true});"
    look += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(look, True)
    asked.clear()
    post(site, "While nobody looked")
    page.wait_for_timeout(1500)
    assert asked == []
    page.evaluate(look, False)
    page.wait_for_selector("#posts >> text=While nobody looked")
    assert page.locator("#log >> text=While nobody looked").count() == 1
    assert sum("/live?after=" in each for each in asked) == 1
    page.close()


def test_figures_show_values_zoom_and_open_submissions(site: Site, address: str, browser: Browser) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{address}{CAMPAIGN}")
    over = page.locator("#chart .u-over")
    over.wait_for()
    assert not page.locator("#chart .described").is_visible()
    legend = page.locator("#chart .u-legend")
    page.locator("#chart .u-legend button", has_text="r2").press("Enter")
    assert page.locator("#chart .u-legend .u-off").count() == 1
    over.focus()
    over.press("End")
    over.press("ArrowLeft")
    said = over.get_attribute("aria-valuetext")
    assert said is not None
    assert said.startswith("s14 by r2: PGR 0.55")
    assert said in legend.inner_text()
    box = over.bounding_box()
    assert box is not None
    zoomed = "() => document.querySelector('#chart .plot').plot.u.scales.x.min"
    assert page.evaluate(zoomed) == 0
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 22, steps=4)
    page.mouse.up()
    page.wait_for_function(zoomed)
    began = page.evaluate(zoomed)
    post(site, "Zoomed in")
    page.wait_for_selector("#posts >> text=Zoomed in")
    assert page.evaluate(zoomed) == began
    over.press("Escape")
    page.wait_for_function(f"() => !({zoomed})()")
    over.press("Enter")
    page.wait_for_url("**/submissions/14")
    assert complaints == []
    page.close()


def test_an_attack_in_a_post_does_nothing(address: str, browser: Browser) -> None:
    page = browser.new_page()
    elsewhere, complaints = [], []
    page.on("request", lambda request: elsewhere.append(request.url) if address not in request.url else None)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    for path in ("/posts/5", "/posts", "", "/submissions/14", "/researchers/r1", "/report"):
        page.goto(f"{address}{CAMPAIGN}{path}")
        page.wait_for_load_state("load")
        assert page.title() != "owned"
    assert (elsewhere, complaints) == ([], [])
    page.close()


def test_everything_reads_without_javascript(address: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}{CAMPAIGN}")
    page.click("#board >> text=PCA-10 head, prior, confidence floor")
    assert "Rank 1 of 13" in page.inner_text("main")
    page.click("nav >> text=forum")
    page.fill("input[name=q]", "components")
    page.click("main button")
    assert "Ten principal components are enough" in page.inner_text("main")
    context.close()
